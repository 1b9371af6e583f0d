"""Estimates of kappa from the entries of a matrix, against NumPy and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg as spla
from hypothesis import given
from hypothesis import strategies as st
from standins.rehearsal import rehearse

from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.explicit import (
    frobenius_bound,
    hager_higham,
    norm_determinant_bound,
    widened_for_rounding,
)

CPU = select_backend("cpu")


@given(n=st.integers(1, 40), seed=st.integers(0, 10**6), symmetric=st.booleans(), decades=st.floats(0, 8))
def test_hager_higham_is_below_kappa_1_and_rarely_far(n: int, seed: int, symmetric: bool, decades: float) -> None:
    random = np.random.default_rng(seed)
    A = random.standard_normal((n, n)) * 10 ** random.uniform(-decades / 2, decades / 2, n)
    A = A + A.T if symmetric else A
    kappa_1 = np.linalg.cond(A, 1)
    found = hager_higham(A, CPU)
    assert kappa_1 / 10 <= found <= kappa_1 * (1 + 1e-6)


def test_hager_higham_finds_what_scipy_finds() -> None:
    ratios = []
    for seed in range(30):
        A = np.random.default_rng(seed).standard_normal((30, 30))
        expected = np.linalg.norm(A, 1) * spla.onenormest(np.linalg.inv(A), t=1)
        ratios.append(hager_higham(A, CPU) / expected)
    assert np.median(ratios) == pytest.approx(1, rel=1e-9) and min(ratios) > 0.3


def test_alternating_signs_catch_a_matrix_that_deceives_the_climb() -> None:
    """Higham's example of 1988: B = I + theta C with C e = C^t e = 0, whose climb from e/N never leaves norm 1."""
    n, theta = 20, 1e3
    C = scipy.linalg.toeplitz([2.0, -1.0, *[0.0] * (n - 3), -1.0])
    inverse = np.eye(n) + theta * C
    A = np.linalg.inv(inverse)
    assert hager_higham(A, CPU) >= np.linalg.cond(A, 1) / 4


@given(n=st.integers(2, 30), seed=st.integers(0, 10**6))
def test_kappa_1_of_a_symmetric_matrix_is_between_kappa_2_and_n_times_it(n: int, seed: int) -> None:
    A = np.random.default_rng(seed).standard_normal((n, n))
    A = A + A.T
    kappa_1, kappa_2 = np.linalg.cond(A, 1), np.linalg.cond(A, 2)
    assert kappa_2 * (1 - 1e-9) <= kappa_1 <= n * kappa_2 * (1 + 1e-9)
    assert hager_higham(A, CPU) <= n * kappa_2 * (1 + 1e-6)


def test_a_singular_matrix_has_no_kappa() -> None:
    singular = np.diag([1.0, 0.0])
    assert hager_higham(singular, CPU) == math.inf
    assert norm_determinant_bound(singular, CPU) == (math.inf, math.inf)
    assert norm_determinant_bound(np.zeros((2, 2)), CPU) == (math.inf, math.inf)


def test_the_norm_and_determinant_bound_of_the_papers_example() -> None:
    kappa, log10_kappa = norm_determinant_bound(np.array([[1.0, 2.0], [3.0, 4.0]]), CPU)
    assert kappa == pytest.approx(14.93, abs=5e-3) and log10_kappa == pytest.approx(math.log10(kappa))
    assert kappa == pytest.approx(np.linalg.cond([[1.0, 2.0], [3.0, 4.0]]), rel=1e-12)  # equality for N = 2


@given(n=st.integers(2, 25), seed=st.integers(0, 10**6), decades=st.floats(0, 4))
def test_the_norm_and_determinant_bound_holds_and_is_its_formula(n: int, seed: int, decades: float) -> None:
    random = np.random.default_rng(seed)
    A = random.standard_normal((n, n)) * 10 ** random.uniform(-decades / 2, decades / 2, n)
    kappa, log10_kappa = norm_determinant_bound(A, CPU)
    assert widened_for_rounding(kappa, n) >= np.linalg.cond(A)
    values = np.linalg.svd(A, compute_uv=False)
    product = math.exp(n * math.log(n / (values**2).sum()) + 2 * np.log(values).sum())
    if 1e-10 < product < 1 - 1e-6:
        t = math.sqrt(1 - product)
        assert kappa == pytest.approx(math.sqrt((1 + t) / (1 - t)), rel=1e-5)
    assert log10_kappa >= math.log10(np.linalg.cond(A)) - 1e-9


@pytest.mark.parametrize(("n", "largest"), [(500, 1e3), (1500, 1e5)])
def test_the_norm_and_determinant_bound_never_overflows(n: int, largest: float) -> None:
    values = np.geomspace(1, largest, n)
    kappa, log10_kappa = norm_determinant_bound(np.diag(values), CPU)
    w = n * math.log(n / (values**2).sum()) + 2 * np.log(values).sum()
    assert kappa == math.inf and log10_kappa == pytest.approx((math.log(2) - w / 2) / math.log(10), rel=1e-12)
    assert log10_kappa > 308


def test_orthogonal_matrices_have_the_bound_one_but_for_rounding() -> None:
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 40)))[0]
    kappa, _ = norm_determinant_bound(Q, CPU)
    assert kappa == pytest.approx(1, abs=1e-5) and widened_for_rounding(kappa, 40) > 1


@given(n=st.integers(1, 40), rank=st.integers(1, 40), damping=st.floats(1e-6, 10), seed=st.integers(0, 10**6))
def test_the_frobenius_bound_holds(n: int, rank: int, damping: float, seed: int) -> None:
    G = np.random.default_rng(seed).standard_normal((rank, n))
    H = G.T @ G
    bound = frobenius_bound(H + damping * np.eye(n), damping)
    largest = np.linalg.norm(G, 2) ** 2
    true = (largest + damping) / ((np.linalg.svd(G, compute_uv=False)[-1] ** 2 if rank >= n else 0.0) + damping)
    assert true <= bound
    assert bound == pytest.approx(1 + np.linalg.norm(H) / damping, rel=1e-4)  # 8 N epsilon ||H||/damping


def test_the_frobenius_bound_is_infinite_where_rounding_hides_the_damping() -> None:
    assert frobenius_bound(1e6 * np.ones((50, 50)) + 1e-9 * np.eye(50), 1e-9) == math.inf


@pytest.mark.parametrize("ratio", [1e-4, 1e-6, 1e-9, 1e-12])
def test_the_frobenius_bound_sees_a_matrix_far_below_its_damping(ratio: float) -> None:
    g = np.random.default_rng(0).standard_normal((8, 1))
    H = ratio * (g @ g.T) / (g * g).sum()
    kappa = frobenius_bound(H + np.eye(8), 1.0)
    assert 1 + ratio * (1 - 1e-9) <= kappa <= 1 + 1.001 * ratio + 1e-13


@pytest.mark.parametrize("scale", [1e-58, 1e-20, 1.0, 1e37, 1e58])
@pytest.mark.parametrize("above_one", [1e-3, 1e-6, 1e-8])
def test_the_norm_and_determinant_bound_holds_whatever_the_units(scale: float, above_one: float) -> None:
    """The logarithms of very large and very small numbers would cancel, and leave less than kappa."""
    A = scale * np.diag([1.0, 1 + above_one])
    assert A[1, 1] / A[0, 0] <= norm_determinant_bound(A, CPU)[0] <= 1 + above_one + 1e-6


def test_a_bound_is_widened_by_what_rounding_may_hide() -> None:
    assert 10 < widened_for_rounding(10.0, 100) < 10 * (1 + 1e-11)
    assert widened_for_rounding(1e14, 100) == widened_for_rounding(math.inf, 1) == math.inf


def test_rehearsal_on_the_gpu_backend_gives_the_same() -> None:
    A = np.random.default_rng(0).standard_normal((30, 30))
    with rehearse() as backend:
        on_device = backend.asarray(A)
        assert hager_higham(on_device, backend) == pytest.approx(hager_higham(A, CPU), rel=1e-9)
        assert norm_determinant_bound(on_device, backend) == pytest.approx(norm_determinant_bound(A, CPU), rel=1e-9)
        assert frobenius_bound(on_device, 0.1) == pytest.approx(frobenius_bound(A, 0.1), rel=1e-12)
