"""Spectrum bounds: certified ones hold always, the others are exact where Lanczos sees everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.spectrum import lanczos, lanczos_relative_error, smallest_eigenvalue
from qnewton_gpu.errors import NotSymmetricError, ParameterError
from qnewton_gpu.operators import as_operator

CPU = select_backend("cpu")


def rotated(values: np.ndarray, seed: int) -> np.ndarray:
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    H = (Q * values) @ Q.T
    return (H + H.T) / 2


@given(
    m=st.integers(1, 60), n=st.integers(1, 60), damping=st.floats(1e-8, 1e2), extra=st.sampled_from([0.0, 0.5]),
    decay=st.floats(0, 3), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_certified_bounds_of_a_gram_operator_hold(
    m: int, n: int, damping: float, extra: float, decay: float, seed: int
) -> None:
    G = np.random.default_rng(seed).standard_normal((m, n)) * np.arange(1.0, n + 1) ** -decay
    bounds = qn.estimate_spectrum(qn.GramOperator(G, damping), damping=extra, seed=seed % 7)
    values = np.linalg.eigvalsh(G.T @ G + (damping + extra) * np.eye(n))
    assert bounds.certified
    assert bounds.lower <= values[0] + 1e-13 * values[-1]
    assert bounds.upper >= values[-1] * (1 - 1e-14)
    assert bounds.matvecs <= 24


@pytest.mark.parametrize("n", [30, 150, 400])
def test_certified_upper_bounds_hold_over_many_starts_where_lanczos_has_not_converged(n: int) -> None:
    values = np.linspace(0, 1, n) ** 0.25  # a crowded top: the hard case of Lanczos
    G = np.diag(np.sqrt(values))
    H = qn.GramOperator(G, 1e-6)
    true = 1 + 1e-6
    for seed in range(60):
        bounds = qn.estimate_spectrum(H, seed=seed)
        assert true <= bounds.upper <= 1.25 * true


@given(n=st.integers(1, 100), seed=st.integers(0, 10**6), definite=st.booleans(), sparse=st.booleans())
def test_lanczos_is_exact_up_to_a_hundred_unknowns(n: int, seed: int, definite: bool, sparse: bool) -> None:
    random = np.random.default_rng(seed)
    values = 10 ** random.uniform(-2, 1, n) * (1 if definite else random.choice([-1, 1], n))
    H = rotated(values, seed)
    bounds = qn.estimate_spectrum(sp.csr_array(H) if sparse else H)
    assert bounds.lower == pytest.approx(np.abs(values).min(), rel=1e-8)
    assert bounds.upper == pytest.approx(np.abs(values).max(), rel=1e-8)
    assert bounds.kappa == bounds.upper / bounds.lower


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(5))
def test_above_a_hundred_the_safety_factor_keeps_a_mild_spectrum_inside(sign: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = 50.0 ** -random.random(300)
    values[::2] *= sign
    bounds = qn.estimate_spectrum(rotated(values, seed), seed=seed)
    assert not bounds.certified
    assert 0.7 * np.abs(values).min() <= bounds.lower <= np.abs(values).min()
    assert np.abs(values).max() <= bounds.upper <= 1.2 * np.abs(values).max()


def test_the_upper_bound_is_never_above_the_row_sums() -> None:
    H = np.diag(np.linspace(1, 2, 300))
    assert qn.estimate_spectrum(H).upper <= 2.0


@pytest.mark.parametrize("n", [5, 50, 100])
@pytest.mark.parametrize("zeros", [1, 3])
def test_a_zero_mode_gives_a_lower_bound_of_zero_and_the_smallest_nonzero(n: int, zeros: int) -> None:
    values = np.r_[np.zeros(zeros), np.linspace(0.25, 2, n - zeros)]
    bounds = qn.estimate_spectrum(rotated(values, n))
    assert bounds.lower == 0 and math.isinf(bounds.kappa)
    assert bounds.smallest_nonzero == pytest.approx(0.25, rel=1e-9)


def test_the_zero_matrix_has_no_smallest_nonzero() -> None:
    bounds = qn.estimate_spectrum(np.zeros((4, 4)))
    assert (bounds.lower, bounds.upper, bounds.smallest_nonzero) == (0.0, 0.0, None)


def test_damping_is_added_before_the_bound() -> None:
    bounds = qn.estimate_spectrum(np.diag([-0.05, 0.2, 1.0]), damping=0.08)
    assert (bounds.lower, bounds.upper) == (pytest.approx(0.03, rel=1e-9), pytest.approx(1.08, rel=1e-9))


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_eigenvalue_is_bounded_from_below_on_random_matrices(seed: int) -> None:
    H = np.random.default_rng(seed).standard_normal((250, 250))
    H = (H + H.T) / 2
    true = np.linalg.eigvalsh(H)[0]
    found = smallest_eigenvalue(as_operator(H, CPU), CPU, seed)
    assert true - 0.01 * abs(true) <= found <= true + 1e-10 * abs(true)


def test_repeated_eigenvalues_close_the_krylov_space() -> None:
    ritz = lanczos(lambda v: np.where(np.arange(500)[:, None] < 250, 1.0, 3.0) * v, 500, 100, CPU, 0)
    assert ritz.complete and ritz.steps == 2
    assert ritz.values == pytest.approx([1.0, 3.0], rel=1e-12)


@pytest.mark.parametrize(("n", "steps"), [(10**3, 24), (10**6, 24), (10**3, 80)])
def test_the_error_of_lanczos_is_that_of_the_theorem(n: int, steps: int) -> None:
    e = lanczos_relative_error(n, steps)
    assert 1.648 * math.sqrt(n) * math.exp(-math.sqrt(e) * (2 * steps - 1)) == pytest.approx(1e-6, rel=1e-9)


def test_the_same_seed_gives_the_same_bounds() -> None:
    H = rotated(np.linspace(0.1, 3, 200), 0)
    assert qn.estimate_spectrum(H, seed=4) == qn.estimate_spectrum(H, seed=4)


def test_bad_input_is_refused() -> None:
    for damping in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="damping"):
            qn.estimate_spectrum(np.eye(2), damping=damping)
    with pytest.raises(NotSymmetricError):
        qn.estimate_spectrum(np.triu(np.ones((3, 3))))


def test_a_closed_krylov_space_is_certified_and_a_zero_mode_or_an_open_one_is_not() -> None:
    random = np.random.default_rng(0)
    Q = np.linalg.qr(random.standard_normal((60, 60)))[0]
    values = np.linspace(-1.0, 2.0, 60)
    bounds = qn.estimate_spectrum((Q * values) @ Q.T)
    assert bounds.certified and bounds.negative
    assert bounds.lower <= np.abs(values).min() <= bounds.lower * (1 + 1e-10)
    assert bounds.upper >= 2.0 >= bounds.upper * (1 - 1e-10)
    values[30] = 0.0
    singular = qn.estimate_spectrum((Q * values) @ Q.T)
    assert singular.lower == 0 and not singular.certified
    assert not qn.estimate_spectrum(np.diag(np.linspace(1.0, 2.0, 300))).certified


def test_a_positive_spectrum_is_never_called_negative() -> None:
    assert not qn.estimate_spectrum(np.diag([1.0, 2.0, 3.0])).negative
    assert not qn.estimate_spectrum(np.ones((2, 2))).negative
    assert qn.estimate_spectrum(-np.eye(3)).negative
