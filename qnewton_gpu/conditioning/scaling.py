"""Symmetric Jacobi scaling: D^-1/2 H D^-1/2 with D = |diag H|."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.base import Backend
from ..operators import MatrixOperator


def jacobi_scaling(H: MatrixOperator, backend: Backend) -> tuple[MatrixOperator, Any]:
    """(D^-1/2 H D^-1/2, s) with s = D^-1/2 of shape (N, 1): H x = b is then s H s (x/s) = s b; zero diagonals stay."""
    xp = np if H.sparse else backend.xp
    diagonal = abs(H.matrix.diagonal())
    s = 1 / xp.sqrt(xp.where(diagonal > 0, diagonal, 1.0))
    if H.sparse:
        scaled = H.matrix.copy()
        scaled.data *= np.repeat(s, np.diff(scaled.indptr)) * s[scaled.indices]
    else:
        scaled = s[:, None] * H.matrix * s
    return MatrixOperator(scaled, backend), backend.asarray(s)[:, None]
