"""Golub and Kahan's bidiagonalisation: Lanczos on A^t A that keeps the digits of small singular values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.base import Backend
from .bounds import FP64_EPSILON
from .lanczos import TINY, new_direction, random_direction, start_generator, without
from .ritz import Ritz


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
    Krylov space would lose what is below sqrt(FP64_EPSILON) ||A||. Where the space closes it ends, or goes on as
    `lanczos` does. Source: Golub and Kahan, SIAM J. Numer. Anal. B 2 (1965) 205.
    """
    xp, (m, n) = backend.xp, shape
    random = start_generator(seed)
    exhaust, steps = n <= steps, min(steps, n)
    left, right = xp.zeros((steps, m)), xp.zeros((steps, n))
    v = random_direction(random, n, backend)
    diagonal: list[float] = []
    off: list[float] = []
    norms: list[float] = []
    largest = 0.0
    for k in range(steps):
        right[k] = v[:, 0]
        u = without(product(v), left[:k])
        alpha = _norm(u)
        largest = max(largest, alpha)
        noise = m * FP64_EPSILON * largest
        beta = 0.0
        if alpha > noise:
            left[k] = u[:, 0] / alpha
            v = without(transposed(left[k][:, None]), right[: k + 1])
            beta = _norm(v)
            largest = max(largest, beta)
            noise = m * FP64_EPSILON * largest
        closed = beta <= noise  # also where v is a null vector of what is left of A
        diagonal.append(alpha if alpha > noise else 0.0)
        off.append(0.0 if closed else beta)
        norms.append(alpha * max(beta, noise) if alpha > noise else noise * largest)
        if closed and not exhaust:
            break
        if k + 1 < steps:
            v = new_direction(random, right[: k + 1], backend) if closed else v / beta
    count = len(diagonal)
    values, vectors = _singular(np.diag(diagonal) + np.diag(off[: count - 1], 1))
    closed = closed or count == n
    residuals = np.zeros(count) if closed else off[-1] * np.abs(vectors[-1])
    return Ritz(values, residuals, np.maximum(norms, TINY), count, closed, count == n)


def _norm(w: Any) -> float:
    return float((w * w).sum() ** 0.5)


def _singular(bidiagonal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values, ascending, and left vectors."""
    vectors, values, _ = np.linalg.svd(bidiagonal)
    return values[::-1], vectors[:, ::-1]
