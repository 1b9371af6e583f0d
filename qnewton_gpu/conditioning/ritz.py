"""Ritz values of a Krylov space, and how far beyond them an eigenvalue can be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ritz:
    """What k steps of Lanczos give: H V = V T + beta_k v e_k^t, T tridiagonal with off-diagonals beta_1 ... beta_(k-1).

    Of a bidiagonalisation A V = U B `values` are the singular values of B, and the off-diagonals those of T = B^t B.
    """

    values: np.ndarray
    """Ascending."""
    residuals: np.ndarray
    """How far from each value an eigenvalue is at most."""
    off_diagonals: np.ndarray
    """beta_1 ... beta_k, each at least the rounding of the products."""
    steps: int
    closed: bool
    """beta_k is rounding: every eigenvalue that the start vector sees is among the values."""
    complete: bool
    """k = N: these are all eigenvalues, with their multiplicities, whatever the start vector was."""


def eigenvalues_lie_within(
    ritz_values: np.ndarray, off_diagonals: np.ndarray, size: int, failure_probability: float
) -> tuple[float, float]:
    """(low, high) with low <= lambda_min and lambda_max <= high, each wrong with probability < failure_probability.

    The next Lanczos vector is p(H) b with the start vector b and p(x) = prod_j (x - theta_j)/beta_j. It has norm one,
    so |u.b| |p(lambda)| <= 1 for every unit eigenvector u. A random unit b has |u.b| < c = eta sqrt(pi/(2N)) with
    probability < eta, as for N >= 3 its density is at most Gamma(N/2)/(sqrt(pi) Gamma((N-1)/2)) <= sqrt(N/(2 pi)).
    So lambda_max is at most where p first exceeds 1/c beyond theta_max, and lambda_min the same below.
    Source: van Dorsselaer, Hochstenbach and van der Vorst, SIAM J. Matrix Anal. Appl. 22 (2000) 837.
    """
    log_bound = float(np.log(off_diagonals).sum()) + 0.5 * math.log(2 * size / math.pi) - math.log(failure_probability)
    high = ritz_values[-1] + _gap(ritz_values[-1] - ritz_values, log_bound)
    low = ritz_values[0] - _gap(ritz_values - ritz_values[0], log_bound)
    return float(low), float(high)


def _gap(distances: np.ndarray, log_bound: float) -> float:
    """The g > 0 with prod_j (g + distance_j) = exp(log_bound), from above."""
    low, high = -700.0, log_bound / len(distances)  # of log g: the product is at least g^k
    if high <= low:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        exceeds = float(np.log(math.exp(middle) + distances).sum()) > log_bound
        low, high = (low, middle) if exceeds else (middle, high)
    return math.exp(high)
