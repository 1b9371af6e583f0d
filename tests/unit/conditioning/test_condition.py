"""Damping rules, Jacobi scaling, the order of conditioning, and its record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from standins.rehearsal import rehearse

import qnewton_gpu as qn
import qnewton_gpu.conditioning.record as record_module
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning import Conditioned
from qnewton_gpu.conditioning.damping import definite_shift, paper_damping
from qnewton_gpu.conditioning.record import angle_between
from qnewton_gpu.conditioning.scaling import jacobi_scaling
from qnewton_gpu.errors import DataTypeError, NonFiniteError, ParameterError, ShapeError, UnknownNameError
from qnewton_gpu.operators import MatrixOperator, as_operator

CPU = select_backend("cpu")
BOTH = pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "sparse"])


def kappa_of(matrix: np.ndarray) -> float:
    magnitudes = np.abs(np.linalg.eigvalsh(matrix))
    return magnitudes.max() / magnitudes.min()


def badly_scaled(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    off = random.standard_normal((n, n)) / n
    scale = 10 ** random.uniform(-1.5, 1.5, n)
    return (np.eye(n) + 0.3 * (off + off.T)) * np.outer(scale, scale)


@BOTH
def test_the_rule_of_the_paper_is_a_share_of_the_largest_entry(kind) -> None:
    H = as_operator(kind(np.array([[1.0, -8.0], [-8.0, 2.0]])), CPU)
    assert paper_damping(H) == pytest.approx(0.04, rel=1e-15)
    assert paper_damping(H, 1e-2) == pytest.approx(0.08, rel=1e-15)


@pytest.mark.parametrize(("damping", "kappa"), [(0.0, 35), (0.049, 999), (0.051, 1001), (0.08, 34), (0.2, 8)])
def test_a_small_damping_makes_kappa_worse_where_eigenvalues_are_negative(damping: float, kappa: int) -> None:
    """The paper's rule near -lambda_min: the spectrum reaches from -0.05 to 0.95."""
    H = np.diag([-0.05, 0.95 / 35, 0.3, 0.95])
    bounds = qn.condition(H, damping=damping, definite=False).bounds
    assert round(bounds.kappa) == kappa
    assert bounds.kappa == pytest.approx(kappa_of(H + damping * np.eye(4)), rel=1e-9)


@BOTH
def test_the_definite_shift_is_what_lifts_the_smallest_eigenvalue_to_zero(kind) -> None:
    assert definite_shift(as_operator(kind(np.diag([-0.3, 1.0, 2.0])), CPU), CPU) == pytest.approx(0.3, abs=1e-12)
    assert definite_shift(as_operator(kind(np.diag([0.3, 1.0, 2.0])), CPU), CPU) == 0.0


@BOTH
def test_an_indefinite_matrix_is_shifted_damped_and_the_record_says_so(kind) -> None:
    conditioned = qn.condition(kind(np.diag([-0.5, 1.0, 2.0])), damping=0.25)
    assert conditioned.shift == pytest.approx(0.5, abs=1e-12) and conditioned.damping == 0.25
    assert np.allclose(conditioned.operator.dense(), np.diag([0.25, 1.75, 2.75]))
    assert conditioned.bounds.kappa == pytest.approx(11, rel=1e-9)
    assert [step.name for step in conditioned.record] == ["given", "definite shift", "damping"]
    assert "0.5" in conditioned.texts[0] and "indefinite" in conditioned.texts[0] and "0.25" in conditioned.texts[1]
    assert [step.smallest_eigenvalue for step in conditioned.record] == pytest.approx([-0.5, 0, 0.25], abs=1e-12)
    assert [step.kappa for step in conditioned.record] == pytest.approx([4, np.inf, 11])


def test_a_definite_matrix_is_left_as_it_is() -> None:
    conditioned = qn.condition(np.diag([1.0, 4.0]))
    assert (conditioned.shift, conditioned.damping, conditioned.scale, conditioned.texts) == (0.0, 0.0, None, [])
    (given,) = conditioned.record
    assert (given.name, given.row_nonzeros, given.alpha, given.angle) == ("given", 1, 4.0, None)
    assert given.kappa == conditioned.bounds.kappa == pytest.approx(4, rel=1e-12)
    assert conditioned.operator.dense().tolist() == [[1.0, 0.0], [0.0, 4.0]]


def test_the_paper_rule_takes_the_entries_before_pruning() -> None:
    H = np.full((8, 8), 0.1) + np.diag(np.arange(1.0, 9.0))
    conditioned = qn.condition(H, density=0.25, damping="paper")
    assert conditioned.damping == pytest.approx(5e-3 * 8.1, rel=1e-12)
    assert "2 of 8" in conditioned.texts[0]
    assert np.diff(sp.csr_array(conditioned.operator.matrix).indptr).max() <= 2


@pytest.mark.parametrize("density", [0.5, 0.1])
@pytest.mark.parametrize("compensate", ["diagonal", "shift", None])
def test_whatever_was_pruned_the_damped_result_is_definite_and_bounded(density: float, compensate: str | None) -> None:
    G = np.random.default_rng(0).standard_normal((60, 30))
    conditioned = qn.condition(G @ G.T, density=density, compensate=compensate, damping=0.5)
    values = np.linalg.eigvalsh(conditioned.operator.dense())
    assert values[0] >= 0.5 - 1e-9
    assert conditioned.bounds.lower <= values[0] * (1 + 1e-9) and conditioned.bounds.upper >= values[-1] * (1 - 1e-9)


@BOTH
@pytest.mark.parametrize("n", [64, 256])
def test_jacobi_scaling_undoes_bad_scaling(n: int, kind) -> None:
    H = badly_scaled(n, n)
    scaled, s = jacobi_scaling(as_operator(kind(H), CPU), CPU)
    assert kappa_of(H) > 1000
    assert kappa_of(scaled.dense()) < 20
    assert np.allclose(np.diag(scaled.dense()), 1)
    b = np.ones((n, 1))
    y = np.linalg.solve(scaled.dense(), s * b)
    assert np.allclose(H @ (s * y), b, rtol=0, atol=1e-8)


def test_jacobi_scaling_leaves_zero_diagonals_and_takes_negative_ones() -> None:
    scaled, s = jacobi_scaling(MatrixOperator(np.array([[0.0, 3.0], [3.0, -9.0]]), CPU), CPU)
    assert s.ravel().tolist() == [1.0, 1 / 3]
    assert np.allclose(scaled.dense(), [[0.0, 1.0], [1.0, -1.0]])


def test_scaling_auto_keeps_jacobi_only_where_it_helps() -> None:
    helped = qn.condition(badly_scaled(32, 1), scaling="auto")
    assert helped.scale is not None and helped.bounds.kappa < 30
    harmful = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # already perfect
    kept = qn.condition(harmful, scaling="auto")
    assert kept.scale is None and "not kept" in kept.texts[-1]
    assert kept.record[-1].kappa == kept.record[0].kappa == kept.bounds.kappa
    assert qn.condition(harmful, scaling="jacobi").scale is not None


def random_symmetric(n: int, seed: int, semidefinite: bool) -> np.ndarray:
    G = np.random.default_rng(seed).standard_normal((n, max(1, n // 2) if semidefinite else n))
    return G @ G.T / n if semidefinite else (G + G.T) / 2


OPTIONS = {
    "n": st.integers(1, 40),
    "seed": st.integers(0, 999),
    "semidefinite": st.booleans(),
    "density": st.sampled_from([1.0, 0.5, 0.2]),
    "compensate": st.sampled_from(["diagonal", "shift", None]),
    "damping": st.sampled_from([0.0, 0.3, "paper"]),
    "scaling": st.sampled_from(["none", "jacobi", "auto"]),
}


def consistent(conditioned: Conditioned) -> None:
    """The record against a dense eigendecomposition of every matrix that it speaks of."""
    assert [step.text for step in conditioned.record[1:]] == conditioned.texts
    for step, change in zip(conditioned.record, conditioned.changes, strict=True):
        dense = np.asarray(change.operator.dense())
        values = np.linalg.eigvalsh(dense)
        rounding = 1e-12 * np.abs(values).max()
        assert step.smallest_eigenvalue == pytest.approx(values[0], abs=rounding)
        assert step.row_nonzeros == (dense != 0).sum(axis=1).max()
        assert step.alpha == pytest.approx(np.abs(dense).sum(axis=1).max(), rel=1e-13)
        assert step.alpha >= np.abs(values).max() - rounding
        smallest = np.abs(values).min()
        if smallest <= rounding:
            assert step.kappa > 1e9
        else:  # FP64 knows the smallest eigenvalue to 1e-15 of the largest
            assert step.kappa == pytest.approx(np.abs(values).max() / smallest, rel=1e-9 + rounding / smallest)


@settings(max_examples=30, deadline=None)
@given(**OPTIONS)
def test_the_record_is_what_a_dense_eigendecomposition_says(n, seed, semidefinite, **options) -> None:
    """Below N = 101 the Krylov space closes, so the estimate is exact but where a certificate stands in its place."""
    H = random_symmetric(n, seed, semidefinite)
    conditioned = qn.condition(H, backend="cpu", **options)
    consistent(conditioned)
    assert conditioned.record[-1].kappa == conditioned.bounds.kappa
    assert all(step.angle is None for step in conditioned.record)


@settings(max_examples=30, deadline=None)
@given(**OPTIONS)
def test_with_a_gradient_the_record_has_the_angle_of_every_step(n, seed, semidefinite, **options) -> None:
    H = random_symmetric(n, seed, semidefinite)
    g = np.random.default_rng(seed + 1).standard_normal(n)
    conditioned = qn.condition(H, backend="cpu", gradient=g, **options)
    consistent(conditioned)
    exact = np.linalg.pinv(H, rcond=n * np.finfo(float).eps, hermitian=True) @ g
    for step, change in zip(conditioned.record, conditioned.changes, strict=True):
        if step.kappa > 1e6:
            continue  # where eigenvalues are near the rounding cut two pseudo-inverses need not agree
        s = 1.0 if change.scale is None else change.scale[:, 0]
        x = s * np.linalg.solve(change.operator.dense(), s * g)
        cosine = x @ exact / np.linalg.norm(x) / np.linalg.norm(exact)
        assert step.angle == pytest.approx(np.degrees(np.arccos(np.clip(cosine, -1, 1))), abs=1e-4)
    *_, before, last = [None, *conditioned.record]
    if last.name == "scaling" and max(before.kappa, last.kappa) < 1e6:
        assert last.angle == pytest.approx(before.angle, abs=1e-6)


def test_nothing_changed_is_no_angle_and_no_step_has_none() -> None:
    H = random_symmetric(30, 0, semidefinite=True)  # singular: H^+ g is the exact step
    g = np.arange(30.0)
    assert [step.angle for step in qn.condition(H, definite=False, gradient=g).record] == [0.0]
    damped = qn.condition(H, damping=1e-6, semidefinite=True, gradient=H @ g).record[-1]
    assert 0 < damped.angle < 0.1
    assert np.isnan(qn.condition(H, gradient=0 * g).record[0].angle)


def test_an_orthogonal_and_a_tiny_angle_are_exact() -> None:
    u, v = np.array([[3.0], [0.0]]), np.array([[0.0], [2.0]])
    assert angle_between(u, v) == pytest.approx(90, rel=1e-15)
    assert angle_between(u, -u) == pytest.approx(180, rel=1e-15)
    assert angle_between(u, u + 1e-12 * v) == pytest.approx(np.degrees(2e-12 / 3), rel=1e-9)


def test_a_semidefinite_matrix_that_cannot_be_told_from_a_singular_one_has_kappa_infinity() -> None:
    """Lanczos of 100 steps on N = 400 resolves no eigenvalue near zero: a finite kappa would be too small by far."""
    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((400, 400)))[0]
    values = np.concatenate([np.geomspace(1e-9, 1, 300), np.zeros(100)])
    H = (vectors * values) @ vectors.T
    estimated = qn.condition((H + H.T) / 2, semidefinite=True).record[0]
    exact = qn.condition((H + H.T) / 2, semidefinite=True, gradient=np.ones(400)).record[0]
    assert estimated.kappa == exact.kappa == np.inf
    assert exact.smallest_eigenvalue == pytest.approx(0, abs=1e-12)
    assert estimated.smallest_eigenvalue <= exact.smallest_eigenvalue + 1e-12


def test_what_pruning_broke_and_what_the_repair_mended_are_entries_of_their_own() -> None:
    H = random_symmetric(60, 3, semidefinite=True)
    for compensate, names in (("diagonal", 3), ("shift", 3), (None, 3)):
        record = qn.condition(H, density=0.2, compensate=compensate, definite=True).record
        assert [step.name for step in record[:2]] == ["given", "prune"] and len(record) == names
        assert record[-1].name == ("repair" if compensate else "definite shift")
        given, pruned, mended = record[0], record[1], record[-1]
        assert given.smallest_eigenvalue > -1e-12 > -0.1 > pruned.smallest_eigenvalue
        assert mended.smallest_eigenvalue > -1e-12
        assert given.row_nonzeros == 60 and pruned.row_nonzeros == mended.row_nonzeros <= 12


def test_the_record_is_measured_only_when_it_is_read(monkeypatch) -> None:
    called = []
    monkeypatch.setattr(record_module, "estimate_spectrum", lambda *a, **k: called.append(1) or 1 / 0)
    conditioned = qn.condition(random_symmetric(20, 0, True), density=0.5, damping=0.1)
    assert conditioned.texts and not called
    with pytest.raises(ZeroDivisionError):
        conditioned.record  # noqa: B018


def test_a_bad_gradient_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"gradient: .*rows"):
        qn.condition(np.eye(3), gradient=np.ones(2))
    with pytest.raises(ShapeError, match="columns"):
        qn.condition(np.eye(3), gradient=np.ones((3, 2)))
    with pytest.raises(DataTypeError, match="complex"):
        qn.condition(np.eye(3), gradient=[1j, 0, 1])
    with pytest.raises(NonFiniteError, match="gradient"):
        qn.condition(np.eye(3), gradient=[1.0, np.nan, 0.0])


def test_bad_options_are_refused() -> None:
    for density in (0, -1, 1.5, float("nan")):
        with pytest.raises(ParameterError, match="density"):
            qn.condition(np.eye(2), density=density)
    for damping in (-1.0, float("nan"), float("inf"), "rule", None):
        with pytest.raises(ParameterError, match="damping"):
            qn.condition(np.eye(2), damping=damping)
    with pytest.raises(UnknownNameError, match="none, jacobi, auto"):
        qn.condition(np.eye(2), scaling="row")


@pytest.mark.parametrize("options", [{"density": 0.5}, {"density": 0.3, "compensate": "shift"}, {"scaling": "jacobi"}])
def test_rehearsal_on_the_gpu_backend_keeps_the_same_record(options: dict) -> None:
    H, g = random_symmetric(30, 0, semidefinite=True), np.arange(30.0)
    for gradient in (None, g):
        expected = qn.condition(H, damping="paper", gradient=gradient, backend="cpu", **options).record
        with rehearse():
            found = qn.condition(H, damping="paper", gradient=gradient, backend="gpu", **options).record
        assert [step.name for step in found] == [step.name for step in expected]
        for a, b in zip(found, expected, strict=True):
            assert (a.row_nonzeros, a.alpha) == (b.row_nonzeros, pytest.approx(b.alpha, rel=1e-12))
            assert a.kappa == pytest.approx(b.kappa, rel=1e-6) or min(a.kappa, b.kappa) > 1e9
            assert a.angle == (None if gradient is None else pytest.approx(b.angle, abs=1e-4))


@pytest.mark.parametrize("option", [{"density": "half"}, {"density": None}, {"damping": 1e300}, {"damping": None}])
def test_what_is_no_number_or_no_magnitude_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(option))):
        qn.condition(np.eye(3), backend="cpu", **option)


def test_numbers_of_numpy_are_numbers() -> None:
    assert qn.condition(np.eye(3), damping=np.float32(0.5), backend="cpu").damping == 0.5
    assert qn.condition(np.eye(3), damping=np.int64(1), density=np.float64(1), backend="cpu").damping == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_a_repair_that_lifts_the_spectrum_counts_in_the_bounds(seed: int) -> None:
    """The diagonal repair leaves kappa near 1, which the known damping alone would call (largest)/damping."""
    G = np.random.default_rng(seed).standard_normal((40, 40))
    found = qn.condition(G @ G.T, density=0.1, damping=0.1, semidefinite=True, backend="cpu")
    magnitudes = np.linalg.eigvalsh(found.operator.dense())
    assert found.bounds.certified
    assert 1 <= found.bounds.kappa / (magnitudes[-1] / magnitudes[0]) < 1 + 1e-9


def test_what_is_shown_of_it_is_short() -> None:
    shown = repr(qn.condition(np.eye(200) * 2, damping=0.5, scaling="jacobi", gradient=np.ones(200)))
    assert "damping=0.5" in shown and "SpectrumBounds" in shown and len(shown) < 500
