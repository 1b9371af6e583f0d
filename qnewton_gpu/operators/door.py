"""From a user's A and b to real arithmetic, and back.

A complex A x = b is the real system [[Re A, -Im A], [Im A, Re A]] [Re x; Im x] = [Re b; Im b]: one qubit more. Singular
values are those of A, each twice; a Hermitian A gives a symmetric matrix; the largest row sum, which is alpha for most
encodings, grows by sqrt(2) at most. A complex b with a real A is two real right-hand sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..errors import DataTypeError, NotSymmetricError, ShapeError
from .arrays import any_matrix, as_array, as_columns, check_magnitude, is_complex, is_sparse, like
from .base import ExplicitMatrix, MatrixOperator, Operator
from .general import GeneralMatrix

SYMMETRY_TOLERANCE = 1e-10
REAL_TOLERANCE = 4 * float(np.finfo(np.float64).eps)


def as_operator(A: Any, backend: Backend) -> Operator:
    """The operator that a user handed in: symmetric, or a GeneralMatrix; of a complex A its real embedding.

    An asymmetry of rounding size, below 1e-10 max|A|, is averaged away; the operator then keeps A as `given`. Raises
    ShapeError (no matrix, empty), DataTypeError (no numbers), NonFiniteError and ParameterError (entries near the ends
    of the FP64 range).
    """
    return A if isinstance(A, Operator) else _explicit(A, backend)[0]


def as_symmetric(A: Any, backend: Backend) -> Operator:
    """The same for what is defined for real symmetric matrices: NotSymmetricError, ShapeError or DataTypeError else."""
    if isinstance(A, Operator):
        operator, embedded = A, False
    else:
        operator, embedded, _ = _explicit(A, backend)
    if embedded:
        raise DataTypeError("A", "is complex", "Pass a real matrix, or its real embedding [[Re, -Im], [Im, Re]]")
    check_symmetric(operator, "A", "Pass (A + A^t)/2 if the difference is noise")
    return operator


def check_symmetric(operator: Operator, argument: str, remedy: str) -> None:
    """Raise ShapeError where the operator is not square, NotSymmetricError (says how far) where it is not symmetric."""
    if operator.symmetric:
        return
    m, n = operator.shape
    if m != n:
        raise ShapeError(argument, f"is not square, of shape {operator.shape}", remedy)
    assert isinstance(operator, ExplicitMatrix)
    asymmetry, largest = float(abs(operator.matrix - operator.matrix.T).max()), float(abs(operator.matrix).max())
    raise NotSymmetricError(
        argument, f"is not symmetric: max |A - A^t| = {asymmetry:.3g}, where max |A| = {largest:.3g}", remedy
    )


def _explicit(A: Any, backend: Backend) -> tuple[Operator, bool, bool]:
    """The operator of an array, whether it is the real embedding of a complex A, and whether A has a complex dtype."""
    matrix = any_matrix(A, "A", backend)
    largest = float(abs(matrix).max())
    check_magnitude(largest, "A")
    complex_dtype = is_complex(matrix)
    embedded = complex_dtype and float(abs(matrix.imag).max()) > REAL_TOLERANCE * largest
    if embedded:
        matrix = _embedding(matrix, backend)
    elif complex_dtype:
        matrix = matrix.real.tocsr() if is_sparse(matrix) else backend.xp.ascontiguousarray(matrix.real)
    if is_sparse(matrix):
        matrix.sort_indices()
    return _of_real(matrix, backend), embedded, complex_dtype


def _of_real(matrix: Any, backend: Backend) -> Operator:
    if matrix.shape[0] != matrix.shape[1]:
        return GeneralMatrix(matrix, backend)
    asymmetry = float(abs(matrix - matrix.T).max())
    if not asymmetry:
        return MatrixOperator(matrix, backend)
    if asymmetry > SYMMETRY_TOLERANCE * float(abs(matrix).max()):
        return GeneralMatrix(matrix, backend)
    average = 0.5 * (matrix + matrix.T)
    if is_sparse(average):
        average = average.tocsr()
        average.sort_indices()
    operator = MatrixOperator(average, backend)
    operator.given = GeneralMatrix(matrix, backend)
    return operator


def _embedding(matrix: Any, backend: Backend) -> Any:
    """[[Re, -Im], [Im, Re]]."""
    real, imaginary = matrix.real, matrix.imag
    if is_sparse(matrix):
        import scipy.sparse as sp

        embedded = sp.block_array([[real, -imaginary], [imaginary, real]], format="csr")
        embedded.eliminate_zeros()
        return embedded
    xp = backend.xp
    return xp.concatenate(
        [xp.concatenate([real, -imaginary], axis=1), xp.concatenate([imaginary, real], axis=1)], axis=0
    )


@dataclass(frozen=True)
class RealForm:
    """A x = b in real arithmetic: `operator` x' = `columns`, and the way from x' to x and back."""

    operator: Operator
    columns: Any
    b: Any
    embedded: bool
    """A is complex: x' is [Re x; Im x]."""
    parts: bool
    """b is complex and A is not: x' is [Re x, Im x], twice as many columns."""
    complex_dtype: bool
    """A or b has a complex dtype, whatever it holds: then x has one."""
    backend: Backend

    def restore(self, x: Any) -> Any:
        """x of shape (n,) or (n, k), of the kind, device and precision of b, from the real x'."""
        if self.embedded:
            n = len(x) // 2
            x = x[:n] + 1j * x[n:]
        elif self.parts:
            k = x.shape[1] // 2
            x = x[:, :k] + 1j * x[:, k:]
        elif self.complex_dtype:
            x = x.astype(np.complex128)
        return like(self.b, x, self.backend)

    def columns_of(self, x: Any) -> Any:
        """x' in FP64, from an x as `restore` made it."""
        x = as_array(x, "x", self.backend)
        x = x.reshape(len(x), -1)
        if self.embedded or self.parts:
            x = self.backend.xp.concatenate([x.real, x.imag], axis=1 if self.parts else 0)
        return self.backend.asarray(x.real, dtype=np.float64)


def real_form(A: Any, b: Any, backend: Backend) -> RealForm:
    """A x = b in real arithmetic; raises what `as_operator` raises, and the same for b, with "b" as the argument."""
    if isinstance(A, Operator):
        operator, embedded, complex_dtype = A, False, False
    else:
        operator, embedded, complex_dtype = _explicit(A, backend)
    columns = as_columns(b, operator.shape[0] // (2 if embedded else 1), backend)
    xp, parts = backend.xp, False
    if is_complex(columns):
        complex_dtype = True
        small = abs(columns.imag).max(axis=0) <= REAL_TOLERANCE * abs(columns).max(axis=0)
        parts = not embedded and not bool(small.all())
    if embedded or parts:
        columns = xp.concatenate([columns.real, columns.imag], axis=1 if parts else 0)
    return RealForm(operator, xp.ascontiguousarray(columns.real), b, embedded, parts, complex_dtype, backend)
