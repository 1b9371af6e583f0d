"""What the matrix of a linear system can be: explicit (dense or CSR), or a damped Gram matrix known by its factor.

`as_operator` and `as_columns` are the door: they check what a user hands in before any work starts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .backends.base import Backend
from .errors import (
    DataTypeError,
    NonFiniteError,
    NotEnoughMemoryError,
    NotSymmetricError,
    ParameterError,
    ShapeError,
)

SYMMETRY_TOLERANCE = 1e-10
LARGEST_MAGNITUDE = 1e60  # beyond it, or below its inverse, squares and products of norms leave the range of FP64


class Operator(Protocol):
    """A real symmetric H of shape (N, N)."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nonzeros(self) -> int:
        """Stored entries of H (N^2 where H is not explicit)."""
        ...

    @property
    def product_flops(self) -> float:
        """Floating-point operations of one product H v."""
        ...

    @property
    def product_bytes(self) -> float:
        """Bytes one product H v moves at least."""
        ...

    @property
    def assembly_flops(self) -> float:
        """Floating-point operations that `dense` needs."""
        ...

    def matvec(self, v: Any) -> Any:
        """H v for v of shape (N, k)."""
        ...

    def dense(self) -> Any:
        """H as an array of shape (N, N)."""
        ...


class MatrixOperator:
    """An explicit symmetric matrix, dense or CSR, in FP64."""

    assembly_flops = 0.0

    def __init__(self, matrix: Any, backend: Backend) -> None:
        self.sparse = not isinstance(matrix, backend.xp.ndarray)
        self.matrix = backend.csr(matrix) if self.sparse else matrix
        self.backend = backend
        self.shape: tuple[int, int] = matrix.shape

    @property
    def nonzeros(self) -> int:
        return int(self.matrix.nnz) if self.sparse else self.matrix.size

    @property
    def product_flops(self) -> float:
        return 2.0 * self.nonzeros

    @property
    def product_bytes(self) -> float:
        return (12.0 if self.sparse else 8.0) * self.nonzeros

    def matvec(self, v: Any) -> Any:
        return self.backend.real_product(self.matrix, v)

    def dense(self) -> Any:
        return self.matrix.toarray() if self.sparse else self.matrix

    def absolute_row_sums(self) -> Any:
        sums = abs(self.matrix).sum(axis=1)
        return self.backend.xp.asarray(sums).ravel()


@runtime_checkable
class Factor(Protocol):
    """G of shape (m, n), of which only products need to be known."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def frobenius_squared(self) -> float:
        """||G||_F^2, exactly: block encodings need a bound, not an estimate."""
        ...

    @property
    def product_flops(self) -> float:
        """Floating-point operations of one product G^t G v."""
        ...

    @property
    def product_bytes(self) -> float: ...
    @property
    def gram_flops(self) -> float:
        """Floating-point operations of `gram`."""
        ...

    def matvec(self, v: Any) -> Any:
        """G v for v of shape (n, k)."""
        ...

    def rmatvec(self, u: Any) -> Any:
        """G^t u for u of shape (m, k)."""
        ...

    def normal_matvec(self, v: Any) -> Any:
        """G^t G v for real or complex v of shape (n, k)."""
        ...

    def gram(self) -> Any:
        """G^t G as an array of shape (n, n)."""
        ...


class MatrixFactor:
    """A factor G that is an explicit dense or CSR matrix."""

    def __init__(self, matrix: Any, backend: Backend) -> None:
        self.matrix, self.backend = matrix, backend
        self.shape: tuple[int, int] = matrix.shape
        self._transposed = matrix.T if isinstance(matrix, backend.xp.ndarray) else matrix.T.tocsr()

    @property
    def _stored(self) -> Any:
        return self.matrix if isinstance(self.matrix, self.backend.xp.ndarray) else self.matrix.data

    @cached_property
    def frobenius_squared(self) -> float:
        return float((self._stored**2).sum())

    @property
    def product_flops(self) -> float:
        return 4.0 * self._stored.size

    @property
    def product_bytes(self) -> float:
        return 16.0 * self._stored.size

    @property
    def gram_flops(self) -> float:
        m, n = self.shape
        return float(m) * n * n

    def matvec(self, v: Any) -> Any:
        return self.backend.real_product(self.matrix, v)

    def rmatvec(self, u: Any) -> Any:
        return self.backend.real_product(self._transposed, u)

    def normal_matvec(self, v: Any) -> Any:
        return self.rmatvec(self.matvec(v))

    def gram(self) -> Any:
        product = self._transposed @ self.matrix
        return product if isinstance(product, self.backend.xp.ndarray) else product.toarray()


class GramOperator:
    """H = G^t G + damping I, for an array G or any `Factor` (for a network: products with its Jacobian).

    Positive definite by construction: lambda_min >= damping > 0, which is the certificate that solvers use.

    >>> import numpy as np
    >>> from qnewton_gpu import GramOperator
    >>> H = GramOperator(np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), damping=0.5)
    >>> H.dense().tolist()
    [[2.5, 1.0], [1.0, 5.5]]
    """

    def __init__(self, factor: Any, damping: float, backend: Backend | str = "auto") -> None:
        from .backends import select_backend

        if not (isinstance(damping, (int, float, np.floating)) and math.isfinite(damping) and damping > 0):
            raise ParameterError(
                "damping", f"{damping!r} is not a finite number > 0", "A Gram operator needs some damping"
            )
        self.backend = select_backend(backend)
        self.damping = float(damping)
        is_array = isinstance(factor, (np.ndarray, list)) or _is_sparse(factor) or _is_torch(factor)
        if is_array or not isinstance(factor, Factor):
            matrix = _real_matrix(factor, "factor", self.backend)
            factor = MatrixFactor(matrix, self.backend)
        self.factor: Factor = factor
        self.shape: tuple[int, int] = (factor.shape[1], factor.shape[1])

    @property
    def nonzeros(self) -> int:
        return self.shape[0] ** 2

    @property
    def product_flops(self) -> float:
        return self.factor.product_flops

    @property
    def product_bytes(self) -> float:
        return self.factor.product_bytes

    @property
    def assembly_flops(self) -> float:
        return self.factor.gram_flops

    def matvec(self, v: Any) -> Any:
        product = self.factor.normal_matvec(v)
        product += self.damping * v
        return product

    @cached_property
    def _dense(self) -> Any:
        matrix = self.factor.gram().copy()
        matrix.flat[:: matrix.shape[0] + 1] += self.damping
        return matrix

    def dense(self) -> Any:
        return self._dense


def _is_sparse(A: Any) -> bool:
    # no SciPy import for users who hand in none
    module = type(A).__module__
    return module.startswith("scipy.sparse")


def _is_torch(A: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(A, torch.Tensor)


def _real_matrix(A: Any, argument: str, backend: Backend) -> Any:
    """A as a finite FP64 matrix, dense or CSR, of any shape without a zero in it."""
    if _is_torch(A):
        if A.layout is not sys.modules["torch"].strided:
            import scipy.sparse as sp

            coo = A.detach().to_sparse_coo().coalesce()
            A = sp.coo_array((_from_torch(coo.values()), _from_torch(coo.indices())), shape=tuple(coo.shape))
        else:
            A = _from_torch(A)
    if not _is_sparse(A):
        try:
            A = np.asarray(A)
        except (ValueError, TypeError) as problem:
            raise DataTypeError(
                argument, f"is not an array ({problem})", "Pass a NumPy, SciPy sparse or torch array"
            ) from None
    _check_numbers(A.dtype, argument)
    if A.ndim != 2:
        raise ShapeError(argument, f"has {A.ndim} dimensions", "Pass a matrix, an array of two dimensions")
    if 0 in A.shape:
        raise ShapeError(argument, f"is empty, of shape {A.shape}", "Pass a matrix with at least one row and column")
    if _is_sparse(A):
        matrix = A.tocsr().astype(np.float64, copy=False)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        stored = matrix.data
    else:
        matrix = stored = np.ascontiguousarray(A, dtype=np.float64)
    _check_finite(stored, argument)
    return matrix if _is_sparse(matrix) else backend.asarray(matrix)


def _check_numbers(dtype: np.dtype, argument: str) -> None:
    if np.issubdtype(dtype, np.complexfloating):
        raise DataTypeError(
            argument,
            "is complex, which is not supported yet",
            "Pass a real matrix, or its real embedding [[Re, -Im], [Im, Re]]",
        )
    if not (np.issubdtype(dtype, np.number) or np.issubdtype(dtype, np.bool_)):
        raise DataTypeError(argument, f"holds {dtype}, not numbers", "Convert it to float64")


def _from_torch(tensor: Any) -> np.ndarray:
    torch = sys.modules["torch"]
    tensor = tensor.detach().resolve_conj().cpu().to_dense()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.to(torch.float64)  # NumPy has no bfloat16
    return tensor.numpy()


def _check_magnitude(largest: float, argument: str) -> None:
    if largest and not 1 / LARGEST_MAGNITUDE <= largest <= LARGEST_MAGNITUDE:
        raise ParameterError(
            argument,
            f"has a largest magnitude of {largest:.3g}, where FP64 norms overflow or underflow",
            f"Multiply it by a constant so that it lies between {1 / LARGEST_MAGNITUDE:.0e} and {LARGEST_MAGNITUDE:.0e}",
        )


def _check_finite(values: Any, argument: str) -> None:
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise NonFiniteError(argument, f"holds {bad} NaN or infinite entries", "Remove or replace them")


def as_operator(A: Any, backend: Backend) -> Operator:
    """The symmetric operator that a user handed in.

    Raises ShapeError (not square, empty), NotSymmetricError (says how far), DataTypeError (complex, no numbers),
    NonFiniteError and ParameterError (entries near the ends of the FP64 range). An asymmetry of rounding size, below 1e-10 max|A|, is averaged away.
    """
    if isinstance(A, (GramOperator, MatrixOperator)):
        return A
    matrix = _real_matrix(A, "A", backend)
    if matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(
            "A", f"is not square, of shape {matrix.shape}", "For least squares pass GramOperator(A, damping) and A^t b"
        )
    largest = float(abs(matrix).max())
    _check_magnitude(largest, "A")
    asymmetry = float(abs(matrix - matrix.T).max())
    if asymmetry > SYMMETRY_TOLERANCE * largest:
        raise NotSymmetricError(
            "A",
            f"is not symmetric: max |A - A^t| = {asymmetry:.3g}, where max |A| = {largest:.3g}",
            "Pass (A + A^t)/2 if the difference is noise; general matrices are not supported yet",
        )
    if asymmetry:
        matrix = 0.5 * (matrix + matrix.T)
        matrix = matrix.tocsr() if _is_sparse(matrix) else matrix
    if _is_sparse(matrix):
        matrix.sort_indices()
    return MatrixOperator(matrix, backend)


def as_columns(b: Any, size: int, backend: Backend) -> tuple[Any, Callable[[Any], Any]]:
    """b as FP64 columns (N, k), and the function that gives a result (N, k) the shape, kind and device that b had."""
    tensor = b if _is_torch(b) else None
    if tensor is not None:
        b = _from_torch(tensor)
    elif _is_sparse(b):
        b = b.toarray()
    try:
        array = np.asarray(b)
    except (ValueError, TypeError) as problem:
        raise DataTypeError("b", f"is not an array ({problem})", "Pass a NumPy or torch array") from None
    _check_numbers(array.dtype, "b")
    if array.ndim not in (1, 2) or array.shape[0] != size or array.size == 0:
        raise ShapeError(
            "b",
            f"has shape {array.shape}, but A has {size} rows",
            f"Pass shape ({size},), or ({size}, k) for k right-hand sides",
        )
    _check_finite(array, "b")
    shape = array.shape
    kind = array.dtype if np.issubdtype(array.dtype, np.floating) else np.dtype(np.float64)
    columns = np.array(array.reshape(size, -1), dtype=np.float64, order="C")  # a copy: x must not share memory with b
    for largest in np.abs(columns).max(axis=0):
        _check_magnitude(float(largest), "b")

    def restore(x: Any) -> Any:
        result = backend.to_numpy(x).reshape(shape).astype(kind, copy=False)
        if tensor is None:
            return result
        torch = sys.modules["torch"]
        dtype = tensor.dtype if tensor.is_floating_point() else torch.float64
        return torch.from_numpy(np.ascontiguousarray(result)).to(tensor.device, dtype)

    return backend.asarray(columns), restore


def check_memory(argument: str, needed: float, backend: Backend, what_fits: str) -> None:
    """Raise NotEnoughMemoryError before memory is taken that the machine does not have."""
    free = backend.available_bytes()
    if needed > free:
        raise NotEnoughMemoryError(
            argument,
            f"needs {needed / 2**30:.3g} GiB, but {free / 2**30:.3g} GiB are free on {backend.device}",
            what_fits,
        )
