"""How far beyond Ritz values an eigenvalue can be, and the Krylov spaces that they are of."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.bidiagonal import golub_kahan
from qnewton_gpu.conditioning.lanczos import lanczos, new_direction
from qnewton_gpu.conditioning.ritz import eigenvalues_lie_within

CPU = select_backend("cpu")


def diagonal(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda v: values[:, None] * v


HARD = {
    "crowded top": np.linspace(0, 1, 300) ** 0.25,
    "crowded bottom": np.linspace(0, 1, 300) ** 4 + 0.1,
    "one at the top": np.r_[np.linspace(0, 0.9, 299), 1.0],
    "Chebyshev": np.cos(np.pi * (np.arange(300) + 0.5) / 300),
    "two clusters": np.r_[np.linspace(-1, -0.9, 150), np.linspace(0.9, 1, 150)],
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("steps", [3, 12, 40])
def test_eigenvalues_lie_beyond_their_bounds_no_more_often_than_said(name: str, steps: int) -> None:
    values, probability, runs = HARD[name], 0.2, 100
    below = above = 0
    for seed in range(runs):
        ritz = lanczos(diagonal(values), len(values), steps, CPU, seed)
        low, high = eigenvalues_lie_within(ritz.values, ritz.off_diagonals, len(values), probability)
        assert low <= ritz.values[0] and ritz.values[-1] <= high
        below += low > values.min() + 1e-13  # what has converged has met rounding
        above += high < values.max() - 1e-13
    limit = probability * runs + 4 * math.sqrt(runs * probability * (1 - probability))
    assert below <= limit and above <= limit


def test_the_failure_probability_is_nearly_attained_where_one_eigenvalue_stands_alone() -> None:
    """After one step p is linear, and the bound fails exactly where |u.b| is below its limit, but for the far end."""
    n, probability, runs = 400, 0.1, 600
    values = np.r_[np.full(n - 1, 0.5), 1.0]
    failures = 0
    for seed in range(runs):
        ritz = lanczos(diagonal(values), n, 1, CPU, seed)
        failures += eigenvalues_lie_within(ritz.values, ritz.off_diagonals, n, probability)[1] < 1.0
    assert 0.5 * probability * runs <= failures <= probability * runs + 4 * math.sqrt(runs * probability)


@pytest.mark.parametrize("n", [3, 17, 1000])
def test_a_random_unit_vector_is_rarely_nearly_orthogonal_to_a_given_one(n: int) -> None:
    """The c of the proof: P(|u.b| < eta sqrt(pi/(2N))) <= eta, from the law Beta(1/2, (N - 1)/2) of (u.b)^2."""
    from scipy.special import betainc

    for eta in (1e-6, 1e-3, 0.3):
        probability = betainc(0.5, (n - 1) / 2, eta**2 * math.pi / (2 * n))
        assert 0.7 * eta <= probability <= eta


def test_bounds_close_on_what_has_converged() -> None:
    values = np.r_[-5.0, np.linspace(0, 1, 300), 7.0]
    ritz = lanczos(diagonal(values), len(values), 60, CPU, 0)
    low, high = eigenvalues_lie_within(ritz.values, ritz.off_diagonals, len(values), 1e-6)
    assert low == pytest.approx(-5, rel=1e-9) and high == pytest.approx(7, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-60, 1.0, 1e60])
def test_bounds_scale_with_the_matrix(scale: float) -> None:
    values = np.linspace(1, 2, 200)
    expected, found = (
        eigenvalues_lie_within(ritz.values, ritz.off_diagonals, 200, 1e-6)
        for ritz in (lanczos(diagonal(factor * values), 200, 20, CPU, 0) for factor in (1.0, scale))
    )
    assert np.asarray(found) / scale == pytest.approx(expected, rel=1e-9)


def test_repeated_eigenvalues_close_the_krylov_space() -> None:
    ritz = lanczos(diagonal(np.repeat([1.0, 3.0], 250)), 500, 100, CPU, 0)
    assert ritz.closed and not ritz.complete and ritz.steps == 2
    assert ritz.values == pytest.approx([1.0, 3.0], rel=1e-12)
    low, high = eigenvalues_lie_within(ritz.values, ritz.off_diagonals, 500, 1e-6)
    assert 1 - 1e-4 < low <= 1 and 3 <= high < 3 + 1e-4


@pytest.mark.parametrize("values", [np.ones(30), np.zeros(5), np.repeat([1.0, 1.0, 2.0, -3.0], 20), np.array([2.0])])
def test_all_steps_find_all_eigenvalues_with_their_multiplicities(values: np.ndarray) -> None:
    n = len(values)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    ritz = lanczos(lambda v: (Q * values) @ (Q.T @ v), n, 100, CPU, 0)
    assert ritz.complete and ritz.closed and ritz.steps == n
    assert ritz.values == pytest.approx(np.sort(values), abs=1e-13)
    assert not ritz.residuals.any()


@pytest.mark.parametrize("seed", range(3))
def test_a_matrix_drawn_from_the_same_seed_is_independent_of_the_start(seed: int) -> None:
    """Its rows, drawn like starts, would span the space that the next start has to leave."""
    G = np.random.default_rng(seed).standard_normal((20, 60))
    ritz = lanczos(lambda v: G.T @ (G @ v) + 0.5 * v, 60, 100, CPU, seed)
    exact = np.r_[np.full(40, 0.5), np.sort(np.linalg.svd(G, compute_uv=False) ** 2 + 0.5)]
    assert ritz.values == pytest.approx(exact, rel=1e-11)


def test_a_new_direction_is_orthogonal_even_where_the_draw_was_not() -> None:
    class Within:
        """Draws a vector of the span."""

        def standard_normal(self, shape: tuple[int, int]) -> np.ndarray:
            return np.eye(*shape)

    v = new_direction(Within(), np.eye(7)[:4] + 1e-17, CPU)
    assert np.linalg.norm(v) == pytest.approx(1) and abs(v[:4]).max() < 1e-12


@pytest.mark.parametrize("shape", [(30, 30), (50, 30)])
@pytest.mark.parametrize("values", [np.ones(30), np.repeat([1.0, 0.0, 1e-8], 10), np.zeros(30)])
def test_all_steps_find_all_singular_values_with_their_multiplicities(
    shape: tuple[int, int], values: np.ndarray
) -> None:
    random = np.random.default_rng(0)
    U, V = (np.linalg.qr(random.standard_normal((k, k)))[0][:, :30] for k in shape)
    A = (U * values) @ V.T
    ritz = golub_kahan(lambda v: A @ v, lambda u: A.T @ u, shape, 100, CPU, 0)
    assert ritz.complete and ritz.steps == 30
    assert ritz.values == pytest.approx(np.sort(values), abs=1e-14)


def test_bidiagonalisation_bounds_small_singular_values_to_full_accuracy() -> None:
    """The polynomial is that of A^t A, but no digit of sigma is lost to the square."""
    values = np.r_[1e-10, np.linspace(0.5, 1, 199)]
    random = np.random.default_rng(0)
    U, V = (np.linalg.qr(random.standard_normal((k, k)))[0] for k in (200, 200))
    A = (U * values) @ V.T
    ritz = golub_kahan(lambda v: A @ v, lambda u: A.T @ u, (200, 200), 60, CPU, 0)
    low, high = eigenvalues_lie_within(ritz.values**2, ritz.off_diagonals, 200, 1e-6)
    assert math.sqrt(low) == pytest.approx(1e-10, rel=2e-2) and math.sqrt(high) == pytest.approx(1, rel=1e-2)
    assert not ritz.complete and math.sqrt(low) <= 1e-10 * (1 + 1e-4)
