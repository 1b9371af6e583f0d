"""Golub and Kahan's bidiagonalisation: Lanczos on A^t A that keeps the digits of small singular values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend

FP64_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Ritz:
    """Ritz values, ascending, how far an eigenvalue may be from each, and the steps taken."""

    values: np.ndarray
    residuals: np.ndarray
    steps: int
    complete: bool
    """The Krylov space closed: every eigenvalue that the start vector sees is among the values."""


def golub_kahan(
    product: Callable[[Any], Any],
    transposed: Callable[[Any], Any],
    shape: tuple[int, int],
    steps: int,
    backend: Backend,
    seed: int,
) -> Ritz:
    """Singular values of A, of shape (m, n) with m >= n, from at most `steps` products with A and as many with A^t.

    A V = U B and A^t U = V B^t + beta v e^t, with B upper bidiagonal; both bases are kept orthogonal. On A^t A the same
    Krylov space would lose what is below sqrt(FP64_EPSILON) ||A||. Source: Golub and Kahan, SIAM J. Numer. Anal. B 2
    (1965) 205.
    """
    xp, (m, n) = backend.xp, shape
    start = np.random.default_rng(seed).standard_normal((n, 1))
    v = backend.asarray(start / np.linalg.norm(start))
    steps = min(steps, n)
    left, right = xp.zeros((steps, m)), xp.zeros((steps, n))
    diagonal: list[float] = []
    off: list[float] = []
    largest = 0.0
    for k in range(steps):
        right[k] = v[:, 0]
        u, alpha = _orthogonal(product(v), left[:k])
        largest = max(largest, alpha)
        diagonal.append(alpha)
        if alpha > m * FP64_EPSILON * largest:
            left[k] = u[:, 0] / alpha
            v, beta = _orthogonal(transposed(left[k][:, None]), right[: k + 1])
        else:
            diagonal[-1] = beta = 0.0  # v is a null vector of what is left of A
        largest = max(largest, beta)
        off.append(beta)
        if beta <= m * FP64_EPSILON * largest:
            break
        v = v / beta
    count = len(diagonal)
    values, vectors = _singular(np.diag(diagonal) + np.diag(off[: count - 1], 1))
    complete = off[-1] <= m * FP64_EPSILON * largest or count == n
    residuals = np.zeros(count) if complete else off[-1] * np.abs(vectors[-1])
    return Ritz(values, residuals, count, complete)


def _orthogonal(w: Any, basis: Any) -> tuple[Any, float]:
    """w without its part in the span of the rows of `basis`, and its norm."""
    for _ in range(2):  # twice is enough (Kahan, Parlett)
        w = w - basis.T @ (basis @ w)
    return w, float((w * w).sum() ** 0.5)


def _singular(bidiagonal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values, ascending, and left vectors."""
    vectors, values, _ = np.linalg.svd(bidiagonal)
    return values[::-1], vectors[:, ::-1]
