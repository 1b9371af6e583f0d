"""All estimators of kappa through one door: the oracle's table, sides, certificates, counts."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from standins.rehearsal import rehearse

import qnewton_gpu as qn
from qnewton_gpu.conditioning import KappaEstimate, kappa_estimates
from qnewton_gpu.conditioning.kappa import ESTIMATORS, NEED_DAMPING, NEED_SEMIDEFINITE
from qnewton_gpu.errors import CombinationError, NotEnoughMemoryError, ParameterError, ShapeError, UnknownNameError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.operators.kronecker import KroneckerOperator

N = 256


def curvature(kappa: float) -> np.ndarray:
    """A singular positive semidefinite matrix, dense in the middle, whose kappa with damping 1 is `kappa`."""
    values = np.r_[np.zeros(100), np.geomspace(1e-3, 1, N - 100)] * (kappa - 1)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((N, N)))[0]
    H = (Q * values) @ Q.T
    return (H + H.T) / 2


def estimates(kappa: float, **options: object) -> dict[str, KappaEstimate]:
    return {e.method: e for e in kappa_estimates(curvature(kappa), damping=1.0, semidefinite=True, **options)}


@pytest.mark.parametrize("kappa", [10.0, 1e3, 1e5])
def test_the_table_of_the_methods(kappa: float) -> None:
    found = estimates(kappa)
    assert list(found) == list(ESTIMATORS)
    ratio = {name: e.kappa / kappa for name, e in found.items()}
    assert 1 <= ratio["lanczos_known_damping"] <= 1.1 and found["lanczos_known_damping"].matvecs == 24
    assert 1 <= ratio["power_known_damping"] <= 1.4 and found["power_known_damping"].matvecs == 40
    assert 1.7 <= ratio["frobenius"] <= 3.7 and found["frobenius"].matvecs == 0
    low, high = {10.0: (0.99, 1), 1e3: (0.6, 0.85), 1e5: (0.015, 0.05)}[kappa]  # oracle: 0.997, 0.74, 0.027
    assert low <= ratio["shifted_power"] <= high and found["shifted_power"].matvecs == 1600
    assert 0.9 <= ratio["lanczos_both_ends"] <= 1.2 and 0.9 <= ratio["lobpcg"] <= 1.2
    assert 1 <= ratio["hager_higham"] <= N and found["hager_higham"].factorisations == 1
    assert found["norm_determinant"].log10_kappa > 50 and found["norm_determinant"].factorisations == 1
    for e in found.values():
        assert not (e.certified and e.kappa < kappa)
        assert e.errs in ("above", "below", "either") and (e.errs != "above" or e.kappa >= kappa * (1 - 1e-9))
        assert e.errs != "below" or e.kappa <= kappa * (1 + 1e-9)
        assert e.kappa == math.inf or e.log10_kappa == pytest.approx(math.log10(e.kappa))
        assert e.note


def test_what_is_certified_and_with_which_probability() -> None:
    found = estimates(1e5)
    certified = {name: e.failure_probability for name, e in found.items() if e.certified}
    assert certified == {"lanczos_known_damping": 1e-6, "power_known_damping": 1e-6, "frobenius": 0.0}
    beyond = found["norm_determinant"]
    assert beyond.kappa == math.inf and 308 < beyond.log10_kappa < math.inf and "no proof" in beyond.note


def test_the_norm_and_determinant_bound_of_a_tame_matrix_is_certified() -> None:
    (found,) = kappa_estimates(np.array([[2.0, 1.0], [1.0, 2.0]]), methods=["norm_determinant"])
    assert found.certified and 3 <= found.kappa <= 3 * (1 + 1e-13) and found.errs == "above"


def test_a_gram_operator_brings_its_own_damping() -> None:
    G = np.random.default_rng(0).standard_normal((20, 60))
    true = 1 + np.linalg.norm(G, 2) ** 2 / 0.5
    found = {e.method: e for e in kappa_estimates(qn.GramOperator(G, 0.2, "cpu"), damping=0.3)}
    assert list(found) == list(ESTIMATORS)
    for name in ("lanczos_known_damping", "power_known_damping", "frobenius", "lanczos_both_ends"):
        assert found[name].certified and true <= found[name].kappa <= 6 * true
    assert found["lanczos_known_damping"].kappa == pytest.approx(true, rel=1e-4)
    assert found["lanczos_both_ends"].errs == "exact" and found["lanczos_both_ends"].kappa == pytest.approx(true)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_an_indefinite_matrix_gets_what_applies(kind: str) -> None:
    values = np.r_[-2.0, np.linspace(0.5, 4, 59)]
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((60, 60)))[0]
    H = (Q * values) @ Q.T
    H = (H + H.T) / 2
    found = {e.method: e for e in kappa_estimates(sp.csr_array(H) if kind == "sparse" else H)}
    assert set(found) == set(ESTIMATORS) - set(NEED_SEMIDEFINITE)
    assert found["lanczos_both_ends"].kappa == pytest.approx(8, rel=1e-9) and found["lanczos_both_ends"].certified
    assert found["lobpcg"].kappa == pytest.approx(8, rel=0.2)
    damped = kappa_estimates(H, damping=2.5, methods=["lanczos_both_ends"])
    assert damped[0].kappa == pytest.approx(6.5 / 0.5, rel=1e-9)


def test_a_semidefinite_matrix_without_damping_has_no_bound_by_damping() -> None:
    found = {e.method for e in kappa_estimates(np.diag([1.0, 2.0, 4.0]), semidefinite=True)}
    assert found == set(ESTIMATORS) - set(NEED_DAMPING)


def test_a_singular_matrix_has_an_infinite_kappa_by_every_estimator() -> None:
    for e in kappa_estimates(np.diag([0.0, *np.linspace(1, 2, 30)]), semidefinite=True):
        assert e.kappa == e.log10_kappa == math.inf and not e.certified, e.method


def test_shifted_power_errs_above_where_it_cannot_tell_the_small_end_from_zero() -> None:
    H = np.diag(np.r_[1e-14, np.linspace(0.5, 1, 49)])
    (found,) = kappa_estimates(H, semidefinite=True, methods=["shifted_power"], backend="cpu")
    assert found.kappa == math.inf and found.errs == "above"


def test_a_kronecker_product_is_estimated_by_products_and_by_entries() -> None:
    A, B = np.diag([1.0, 2.0]), np.diag([1.0, 3.0])
    for e in kappa_estimates(KroneckerOperator([A, B], "cpu"), damping=1.0):
        if e.method == "lanczos_both_ends":
            assert e.kappa == pytest.approx(7 / 2) and e.certified


def test_rehearsal_on_the_gpu_backend_gives_the_same_estimates() -> None:
    H = curvature(100.0)[:80, :80]
    expected = kappa_estimates(H, damping=0.5, semidefinite=True, backend="cpu")
    with rehearse():
        found = kappa_estimates(H, damping=0.5, semidefinite=True, backend="gpu")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.log10_kappa == pytest.approx(theirs.log10_kappa, rel=1e-6), ours.method
        assert (ours.matvecs, ours.certified) == (theirs.matvecs, theirs.certified), ours.method


@pytest.mark.parametrize("method", ["auto", "lobpcg"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_rehearsal_of_an_operator_on_the_gpu_is_estimated_there(kind: str, method: str) -> None:
    """Also where "auto" means the CPU."""
    H = np.diag(np.linspace(1.0, 3.0, 150))
    expected = qn.estimate_spectrum(H, backend="cpu", method=method)
    with rehearse() as backend:
        operator = as_operator(sp.csr_array(H) if kind == "sparse" else H, backend)
        bounds = qn.estimate_spectrum(operator, method=method)
        names = ["lanczos_both_ends", "lobpcg", "hager_higham"]
        found = kappa_estimates(operator, damping=1.0, methods=names)
    assert (bounds.lower, bounds.upper) == pytest.approx((expected.lower, expected.upper), rel=1e-9)
    assert [e.kappa for e in found] == pytest.approx([2.0, 2.0, 2.0], rel=0.1)


@pytest.mark.slow
def test_the_example_prints_the_estimators_side_by_side(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "examples" / "how_large_is_kappa.py"
    command = [sys.executable, str(script), "--steps", "0", "--plot", str(tmp_path / "kappa.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.count("true kappa") >= 5
    for name in ESTIMATORS:
        assert done.stdout.count(f"  {name} ") >= 4, name
    assert (tmp_path / "kappa.png").stat().st_size > 10_000


def test_bad_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match="damping"):
        kappa_estimates(np.eye(2), damping=-1.0)
    with pytest.raises(ParameterError, match="damping"):
        kappa_estimates(np.eye(2), damping="paper")
    with pytest.raises(UnknownNameError, match="lanczos_both_ends"):
        kappa_estimates(np.eye(2), methods=["arnoldi"])
    with pytest.raises(CombinationError, match="semidefinite"):
        kappa_estimates(np.eye(2), damping=1.0, methods=["frobenius"])
    with pytest.raises(ShapeError):
        kappa_estimates(np.ones((2, 3)))
    monkeypatch.setattr(qn.select_backend("cpu").__class__, "available_bytes", lambda self: 10)
    with pytest.raises(NotEnoughMemoryError, match="Leave out"):
        kappa_estimates(np.eye(2), methods=["hager_higham"])
