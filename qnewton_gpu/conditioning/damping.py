"""Regularisation H + delta I: which delta."""

from __future__ import annotations

from ..backends.base import Backend
from ..operators import MatrixOperator
from .spectrum import smallest_eigenvalue

PAPER_EPSILON = 5e-3


def paper_damping(H: MatrixOperator, epsilon: float = PAPER_EPSILON) -> float:
    """delta = epsilon max|H_ij| (arXiv 2405.00252). With small negative eigenvalues it can make kappa worse."""
    return epsilon * float(abs(H.matrix).max())


def definite_shift(H: MatrixOperator, backend: Backend, seed: int = 0) -> float:
    """max(0, -lambda_min): what makes an indefinite H positive semidefinite before it is damped."""
    return max(0.0, -smallest_eigenvalue(H, backend, seed))
