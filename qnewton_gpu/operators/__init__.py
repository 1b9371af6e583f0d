"""What the matrix of a linear system can be: explicit (dense or CSR), symmetric or not, or a damped Gram matrix."""

from __future__ import annotations

from typing import Any

from ..backends.base import Backend
from ..errors import NotSymmetricError, ShapeError
from .arrays import as_columns, check_magnitude, check_memory, is_sparse, real_matrix
from .base import ExplicitMatrix, MatrixOperator, Operator
from .general import GeneralMatrix
from .gram import Factor, GramOperator, MatrixFactor

SYMMETRY_TOLERANCE = 1e-10


def as_operator(A: Any, backend: Backend) -> Operator:
    """The symmetric operator that a user handed in.

    Raises ShapeError (not square, empty), NotSymmetricError (says how far), DataTypeError (complex, no numbers),
    NonFiniteError and ParameterError (entries near the ends of the FP64 range). An asymmetry of rounding size, below
    1e-10 max|A|, is averaged away.
    """
    if isinstance(A, (GramOperator, MatrixOperator)):
        return A
    matrix = real_matrix(A, "A", backend)
    if matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(
            "A", f"is not square, of shape {matrix.shape}", "For least squares pass GramOperator(A, damping) and A^t b"
        )
    largest = float(abs(matrix).max())
    check_magnitude(largest, "A")
    asymmetry = float(abs(matrix - matrix.T).max())
    if asymmetry > SYMMETRY_TOLERANCE * largest:
        raise NotSymmetricError(
            "A",
            f"is not symmetric: max |A - A^t| = {asymmetry:.3g}, where max |A| = {largest:.3g}",
            "Pass (A + A^t)/2 if the difference is noise; general matrices are not supported yet",
        )
    if asymmetry:
        matrix = 0.5 * (matrix + matrix.T)
        matrix = matrix.tocsr() if is_sparse(matrix) else matrix
    if is_sparse(matrix):
        matrix.sort_indices()
    return MatrixOperator(matrix, backend)


__all__ = [
    "ExplicitMatrix",
    "Factor",
    "GeneralMatrix",
    "GramOperator",
    "MatrixFactor",
    "MatrixOperator",
    "Operator",
    "as_columns",
    "as_operator",
    "check_memory",
]
