"""Randomised block power iteration: its Ritz value, its bound, and what crosses to the host."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from standins.cupy_standin import Transfers
from standins.rehearsal import rehearse

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.block_power import block_power
from qnewton_gpu.conditioning.lanczos import start_generator

CPU = select_backend("cpu")
SPECTRA = {
    "crowded top": np.linspace(0, 1, 400) ** 0.25,
    "clustered": np.r_[np.full(380, 0.1), np.linspace(0.9, 1, 20)],
    "all equal": np.full(400, 3.0),
    "steep": 10.0 ** -np.linspace(0, 30, 400),
    "rank one": np.r_[np.zeros(399), 7.0],
    "below the smallest normal number of its powers": np.linspace(0, 1e-60, 400),
    "above the largest number of its powers": np.linspace(0, 1e60, 400),
    "N < k": np.array([1.0, 5.0, 5.0]),
    "N = k + 1": np.linspace(0, 2, 5),
    "N = 1": np.array([4.0]),
}


def diagonal(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda v: values[:, None] * v


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(5))
def test_the_largest_eigenvalue_is_between_the_ritz_value_and_the_bound(name: str, seed: int) -> None:
    values = SPECTRA[name]
    found = block_power(diagonal(values), len(values), 4, 10, CPU, seed)
    assert found.theta <= values.max() * (1 + 1e-13)
    assert values.max() <= found.upper_bound() <= 1.45 * values.max()
    assert found.matvecs == 10 * min(len(values), 4)


def test_the_bound_closes_on_the_eigenvalue_where_there_is_a_gap() -> None:
    values = np.r_[np.linspace(0, 0.3, 999), 1.0]
    assert block_power(diagonal(values), 1000, 4, 10, CPU, 0).upper_bound() <= 1.01


def test_the_bound_is_that_of_the_docstring() -> None:
    """lambda^(q-1) tau = ||R Y D M|| ||M^-1 Y^t S|| at the bound, with R, Q and S made another way."""
    values, q = SPECTRA["crowded top"], 10
    bound = block_power(diagonal(values), 400, 4, q, CPU, 3).upper_bound()
    V = start_generator(3).standard_normal((400, 4))
    Q, S = np.linalg.qr(values[:, None] ** (q - 1) * V)
    ritz = Q.T @ (values[:, None] * Q)
    R = values[:, None] * Q - Q @ ritz
    tau = math.sqrt(2 * math.sqrt(1e-6 * 2))  # Gamma(k/2 + 1) = 2
    theta, Y = np.linalg.eigh((ritz + ritz.T) / 2)
    M = np.diag(np.linalg.norm(Y.T @ S, axis=1))
    right = np.linalg.norm(R @ Y @ np.diag(1 / (bound - theta)) @ M, 2) * np.linalg.norm(np.linalg.inv(M) @ Y.T @ S, 2)
    assert bound ** (q - 1) * tau == pytest.approx(right, rel=1e-6)
    assert bound ** (q - 1) * tau >= np.linalg.norm(R @ np.linalg.solve(bound * np.eye(4) - ritz, S), 2)


@pytest.mark.parametrize("columns", [1, 2, 4, 8])
def test_a_gaussian_vector_is_rarely_as_short_as_tau(columns: int) -> None:
    """P(||c|| < tau) <= eta, from the law chi^2 of ||c||^2."""
    from scipy.special import gammainc

    for eta in (1e-9, 1e-6, 1e-3, 0.1):
        tau_squared = 2 * (eta * math.gamma(columns / 2 + 1)) ** (2 / columns)
        assert 0.3 * eta <= gammainc(columns / 2, tau_squared / 2) <= eta


@pytest.mark.parametrize("name", ["crowded top", "clustered", "all equal", "steep"])
@pytest.mark.parametrize(("columns", "products"), [(1, 6), (3, 4), (8, 2), (2, 1)])
def test_the_bound_fails_no_more_often_than_said(name: str, columns: int, products: int) -> None:
    values, probability, runs = SPECTRA[name], 0.2, 100
    bounds = [
        block_power(diagonal(values), 400, columns, products, CPU, seed).upper_bound(probability)
        for seed in range(runs)
    ]
    failures = sum(bound < values.max() for bound in bounds)
    assert failures <= probability * runs + 4 * math.sqrt(runs * probability * (1 - probability))


def test_a_bound_can_fail_where_one_eigenvector_hides_among_many() -> None:
    """Else the probability would be for nothing: two products of one column, N = 2000."""
    values = np.r_[np.full(1999, 0.9), 1.0]
    bounds = [block_power(diagonal(values), 2000, 1, 2, CPU, seed).upper_bound(0.2) for seed in range(200)]
    assert 0 < sum(bound < 1.0 for bound in bounds) <= 0.2 * 200 + 4 * math.sqrt(200 * 0.16)


def test_a_smaller_failure_probability_gives_a_larger_bound() -> None:
    found = block_power(diagonal(SPECTRA["crowded top"]), 400, 4, 10, CPU, 0)
    bounds = [found.upper_bound(probability) for probability in (1e-2, 1e-6, 1e-12)]
    assert bounds == sorted(set(bounds))


@pytest.mark.parametrize("name", ["crowded top", "clustered", "steep"])
def test_one_orthonormalisation_at_the_end_gives_what_one_after_every_product_gives(name: str) -> None:
    values = SPECTRA[name]
    product = diagonal(values)
    v = start_generator(3).standard_normal((len(values), 8))
    for _ in range(15):
        v = np.linalg.qr(product(v))[0]
    expected = np.linalg.eigvalsh(v.T @ product(v))[-1]
    assert block_power(product, len(values), 8, 16, CPU, 3).theta == pytest.approx(expected, rel=1e-12)


def test_the_zero_matrix_has_the_bound_zero() -> None:
    found = block_power(diagonal(np.zeros(50)), 50, 4, 10, CPU, 0)
    assert found.theta == found.upper_bound() == 0


def test_the_same_seed_gives_the_same_power_iteration_and_another_seed_another() -> None:
    product = diagonal(SPECTRA["crowded top"])
    first, again, other = (block_power(product, 400, 4, 10, CPU, seed).theta for seed in (4, 4, 5))
    assert first == again != other


def test_rehearsal_of_power_brings_nothing_to_the_host_before_its_end() -> None:
    G = np.random.default_rng(0).standard_normal((40, 300))
    with rehearse() as backend:
        H = qn.GramOperator(G, 0.5, backend)
        before, seen = Transfers.to_host, []

        def product(v: object) -> object:
            seen.append(Transfers.to_host - before)
            return H.matvec(v)

        found = block_power(product, 300, 4, 10, backend, 1)
        assert seen == [0] * 10 and Transfers.to_host - before == 8 * (3 * 4 * 4 + 1)
    on_host = block_power(lambda v: G.T @ (G @ v) + 0.5 * v, 300, 4, 10, CPU, 1)
    assert found.theta == pytest.approx(on_host.theta, rel=1e-12)
    assert found.upper_bound() == pytest.approx(on_host.upper_bound(), rel=1e-9)
