"""Regularisation H + delta I: which delta."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.base import Backend
from ..operators import MatrixOperator
from .spectrum import FP64_EPSILON, smallest_eigenvalue

PAPER_EPSILON = 5e-3


def paper_damping(H: MatrixOperator, epsilon: float = PAPER_EPSILON) -> float:
    """delta = epsilon max|H_ij| (arXiv 2405.00252). With small negative eigenvalues it can make kappa worse."""
    return epsilon * float(abs(H.matrix).max())


def add_to_diagonal(H: MatrixOperator, value: Any, backend: Backend) -> MatrixOperator:
    """H + diag(value), `value` a number or an (N,) array of NumPy's."""
    n = H.shape[0]
    if H.sparse:
        import scipy.sparse as sp

        return MatrixOperator((H.matrix + sp.diags_array(value + np.zeros(n), format="csr")).tocsr(), backend)
    matrix = H.matrix.copy()
    diagonal = backend.xp.arange(n)
    matrix[diagonal, diagonal] += value if np.isscalar(value) else backend.asarray(value)
    return MatrixOperator(matrix, backend)


def definite_shift(H: MatrixOperator, backend: Backend, seed: int = 0) -> float:
    """max(0, -lambda_min) as `smallest_eigenvalue` finds it: makes an indefinite H semidefinite before damping.

    Where an end that is crowded was not resolved, what it misses is left to the damping (3e-8 ||H|| for N = 101 with
    eigenvalues x^4; the bound that is certain to 1e-6 would shift by up to 1e-2 ||H|| too much).
    """
    smallest = smallest_eigenvalue(H, backend, seed)
    rounding = H.shape[0] * FP64_EPSILON * H.largest_row_sum()
    return -smallest if smallest < -rounding else 0.0
