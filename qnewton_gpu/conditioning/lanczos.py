"""Lanczos: Ritz values of a symmetric H from products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.base import Backend
from .bounds import FP64_EPSILON
from .ritz import Ritz

TINY = float(np.finfo(np.float64).tiny)
_STREAM = 1950  # any number


def lanczos(product: Callable[[Any], Any], size: int, steps: int, backend: Backend, seed: int) -> Ritz:
    """Lanczos on a symmetric `product` from a random start, at most `steps` steps of O(size * steps) work.

    A Krylov space that closes ends it, except where all N steps are to be made: then it goes on from a new random
    direction, so that the values are all eigenvalues with their multiplicities.
    """
    xp = backend.xp
    random = start_generator(seed)
    exhaust, steps = size <= steps, min(steps, size)
    basis = xp.empty((steps, size))
    v = random_direction(random, size, backend)
    diagonal, off, norms = [], [], []
    largest = 0.0
    for k in range(steps):
        basis[k] = v[:, 0]
        w = product(v)
        along = (v * w).sum()
        w = without(w, basis[: k + 1])
        # the two numbers of a step come to the host together
        alpha, norm = backend.to_numpy(xp.stack([along, xp.sqrt((w * w).sum())])).tolist()
        largest = max(largest, abs(alpha), norm)
        noise = size * FP64_EPSILON * largest
        closed = norm <= noise
        diagonal.append(alpha)
        off.append(0.0 if closed else norm)
        norms.append(max(norm, noise))
        if closed and not exhaust:
            break
        if k + 1 < steps:
            v = new_direction(random, basis[: k + 1], backend) if closed else w / norm
    count = len(diagonal)
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off[: count - 1], 1) + np.diag(off[: count - 1], -1))
    closed = closed or count == size
    residuals = np.zeros(count) if closed else off[-1] * np.abs(vectors[-1])
    return Ritz(values, residuals, np.maximum(norms, TINY), count, closed, count == size)


def without(w: Any, basis: Any) -> Any:
    """w, (N, 1), without its part in the span of the orthonormal rows of `basis`."""
    for _ in range(2):  # twice is enough (Kahan, Parlett)
        w = w - basis.T @ (basis @ w)
    return w


def new_direction(random: np.random.Generator, basis: Any, backend: Backend) -> Any:
    """A random unit vector, (N, 1), orthogonal to the rows of `basis`, which span less than all."""
    w = random_direction(random, basis.shape[1], backend)
    for _ in range(2):  # the second round is for a w that lay in their span
        w = without(w, basis)
        w = w / backend.xp.sqrt((w * w).sum())
    return w


def start_generator(seed: int) -> np.random.Generator:
    """Where random starts come from: not default_rng(seed), of which a user may have drawn the matrix itself."""
    return np.random.default_rng([seed, _STREAM])


def random_direction(random: np.random.Generator, size: int, backend: Backend) -> Any:
    """A random unit vector, (N, 1), uniformly distributed."""
    start = random.standard_normal((size, 1))
    return backend.asarray(start / np.linalg.norm(start))
