"""LOBPCG: the small end of a symmetric H from products with a block of a few columns, preconditioned if one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend
from .lanczos import start_generator

COLUMNS, ITERATIONS, TOLERANCE = 4, 200, 1e-2


@dataclass(frozen=True)
class SmallEnd:
    """Rayleigh-Ritz values, ascending, each above the eigenvalue of the same rank and within its residual of one."""

    values: np.ndarray
    residuals: np.ndarray
    """||H x - theta x|| of each value."""
    matvecs: int
    converged: bool
    """The smallest value's residual fell below the tolerance; that it is the smallest eigenvalue's is not proven."""


def lobpcg(
    product: Callable[[Any], Any],
    size: int,
    backend: Backend,
    *,
    columns: int = COLUMNS,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    noise: float = 0.0,
    seed: int = 0,
    precondition: Callable[[Any], Any] | None = None,
) -> SmallEnd:
    """The smallest eigenvalues of a symmetric `product`, `columns` products an iteration.

    Each iteration is Rayleigh-Ritz in the span of the block X, the preconditioned residuals and the last change P. X
    and P are kept orthonormal as combinations of one orthonormal basis, so that their images need no product. It ends
    when ||H x - theta x|| of the smallest is at most max(tolerance |theta|, noise). Sources: Knyazev, SIAM J. Sci.
    Comput. 23 (2001) 517; Duersch, Shao, Yang and Gu (arXiv 1704.07458) for the basis.
    """
    xp = backend.xp
    columns = min(columns, size)
    if size <= 3 * columns:
        H = backend.to_numpy(product(xp.eye(size)))
        return SmallEnd(np.linalg.eigvalsh((H + H.T) / 2)[:columns], np.zeros(columns), size, True)
    start = backend.asarray(start_generator(seed).standard_normal((size, columns)))
    basis = xp.linalg.qr(start)[0]
    image = product(basis)
    matvecs = columns
    while True:
        small = backend.to_numpy(basis.T @ image)
        values, vectors = np.linalg.eigh((small + small.T) / 2)
        chosen = vectors[:, :columns]
        change = chosen.copy()
        change[:columns] = 0  # what of the new block is not from the old one
        change = np.linalg.qr(np.concatenate([chosen, change], axis=1))[0][:, columns:]
        both = backend.asarray(np.concatenate([chosen, change], axis=1) if matvecs > columns else chosen)
        basis, image = basis @ both, image @ both
        values = values[:columns]
        residual = image[:, :columns] - basis[:, :columns] * backend.asarray(values)
        norms = np.sqrt(backend.to_numpy((residual * residual).sum(axis=0)))
        converged = bool(norms[0] <= max(tolerance * abs(values[0]), noise))
        if converged or matvecs >= columns * iterations:
            return SmallEnd(values, norms, matvecs, converged)
        direction = residual if precondition is None else precondition(residual)
        for _ in range(2):  # the second round makes up for columns that nearly lay in the basis
            direction = xp.linalg.qr(direction - basis @ (basis.T @ direction))[0]
        basis = xp.concatenate([basis, direction], axis=1)
        image = xp.concatenate([image, product(direction)], axis=1)
        matvecs += columns
