"""The door: what a user hands in is checked here, before any work starts."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..errors import DataTypeError, NonFiniteError, NotEnoughMemoryError, ParameterError, ShapeError

LARGEST_MAGNITUDE = 1e60  # beyond it, or below its inverse, squares and products of norms leave the range of FP64


def is_sparse(A: Any) -> bool:
    # no SciPy import for users who hand in none
    return type(A).__module__.startswith("scipy.sparse")


def is_torch(A: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(A, torch.Tensor)


def is_complex(A: Any) -> bool:
    """Whether an array of NumPy, CuPy or SciPy has a complex dtype, whatever it holds."""
    return bool(np.issubdtype(A.dtype, np.complexfloating))


def is_cupy(A: Any) -> bool:
    """Whether A is a CuPy array, dense or sparse."""
    return type(A).__module__.startswith("cupy") and hasattr(A, "get")


def as_array(A: Any, argument: str, backend: Backend) -> Any:
    """A as a SciPy sparse matrix, or a dense array where it is: on the backend's device or on the host."""
    if is_torch(A):
        return _from_torch(A, backend)
    if is_cupy(A):
        return A if isinstance(A, backend.xp.ndarray) else A.get()
    _check_unmasked(A, argument)
    if is_sparse(A):
        return A
    try:
        return np.asarray(A)
    except (ValueError, TypeError) as problem:
        raise DataTypeError(
            argument, f"is not an array ({problem})", "Pass a NumPy, SciPy sparse, torch or CuPy array"
        ) from None


def real_matrix(A: Any, argument: str, backend: Backend) -> Any:
    """A as a finite FP64 matrix of any shape without a zero in it: an array of the backend, or SciPy CSR."""
    matrix = any_matrix(A, argument, backend)
    if is_complex(matrix):
        raise DataTypeError(argument, "is complex", "Pass a real matrix, or its real embedding [[Re, -Im], [Im, Re]]")
    return matrix


def any_matrix(A: Any, argument: str, backend: Backend) -> Any:
    """The same of a real or complex A, in complex128 where it is complex."""
    A = as_array(A, argument, backend)
    _check_numbers(A.dtype, argument)
    dtype = np.complex128 if is_complex(A) else np.float64
    if A.ndim != 2:
        raise ShapeError(argument, f"has {A.ndim} dimensions", "Pass a matrix, an array of two dimensions")
    if 0 in A.shape:
        raise ShapeError(argument, f"is empty, of shape {A.shape}", "Pass a matrix with at least one row and column")
    if is_sparse(A):
        matrix = A.tocsr().astype(dtype, copy=False)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        _check_finite(matrix.data, argument, np)
        return matrix
    matrix = backend.xp.ascontiguousarray(backend.asarray(A), dtype=dtype)
    _check_finite(matrix, argument, backend.xp)
    return matrix


def _check_unmasked(array: Any, argument: str) -> None:
    if isinstance(array, np.ma.MaskedArray):
        raise DataTypeError(argument, "is a masked array, whose mask would be lost", "Fill it: array.filled(value)")


def _check_numbers(dtype: np.dtype, argument: str) -> None:
    if not (np.issubdtype(dtype, np.number) or np.issubdtype(dtype, np.bool_)):
        raise DataTypeError(argument, f"holds {dtype}, not numbers", "Convert it to float64")


def _from_torch(tensor: Any, backend: Backend) -> Any:
    tensor = tensor.detach().resolve_conj()
    if tensor.is_floating_point() and tensor.itemsize < 4:
        tensor = tensor.double()  # NumPy has no bfloat16
    elif tensor.is_complex() and tensor.itemsize < 8:
        tensor = tensor.cfloat()  # nor complex numbers of two halves
    if str(tensor.layout) != "torch.strided":
        import scipy.sparse as sp

        coo = tensor.to_sparse_coo().coalesce().cpu()
        return sp.coo_array((coo.values().numpy(), coo.indices().numpy()), shape=tuple(coo.shape))
    return backend.asarray(tensor)


def check_magnitude(largest: float, argument: str) -> None:
    if largest and not 1 / LARGEST_MAGNITUDE <= largest <= LARGEST_MAGNITUDE:
        raise ParameterError(
            argument,
            f"has a largest magnitude of {largest:.3g}, where FP64 norms overflow or underflow",
            f"Multiply it by a constant to lie between {1 / LARGEST_MAGNITUDE:.0e} and {LARGEST_MAGNITUDE:.0e}",
        )


def _check_finite(values: Any, argument: str, xp: Any) -> None:
    bad = values.size - int(xp.isfinite(values).sum())
    if bad:
        raise NonFiniteError(argument, f"holds {bad} NaN or infinite entries", "Remove or replace them")


def as_columns(b: Any, size: int, backend: Backend, argument: str = "b") -> Any:
    """b as finite columns, (N, k), float64 or complex128, that share no memory with b."""
    array, xp = as_array(b, argument, backend), backend.xp
    if is_sparse(array):
        array = array.toarray()
    _check_numbers(array.dtype, argument)
    if array.ndim not in (1, 2) or array.shape[0] != size or array.size == 0:
        raise ShapeError(
            argument,
            f"has shape {array.shape}, but A has {size} rows",
            f"Pass shape ({size},), or ({size}, k) for k right-hand sides",
        )
    dtype = np.complex128 if is_complex(array) else np.float64
    columns = xp.array(backend.asarray(array).reshape(size, -1), dtype=dtype, order="C")
    _check_finite(columns, argument, xp)
    for largest in backend.to_numpy(abs(columns).max(axis=0)):
        check_magnitude(float(largest), argument)
    return columns


def like(b: Any, x: Any, backend: Backend) -> Any:
    """The columns x, (n, k), as an array of b's kind, device, precision and number of dimensions.

    Of a floating dtype: complex where x is complex, float64 or complex128 where b holds integers.
    """
    xp = backend.xp
    x = xp.ascontiguousarray(x if np.ndim(b) == 2 else x[:, 0])
    if is_torch(b):
        torch = sys.modules["torch"]
        dtype = b.dtype if b.is_floating_point() or b.is_complex() else torch.float64
        if is_complex(x) and not dtype.is_complex:
            dtype = torch.complex64 if dtype.itemsize <= 4 else torch.complex128
        return backend.to_torch(x).to(b.device, dtype)
    kind = getattr(b, "dtype", np.dtype(np.float64))
    if not np.issubdtype(kind, np.inexact):
        kind = np.dtype(np.float64)
    if is_complex(x):
        kind = np.result_type(kind, np.complex64)
    with np.errstate(over="ignore"):  # the certificate of the returned x finds it
        return (x if is_cupy(b) else backend.to_numpy(x)).astype(kind, copy=False)


def check_memory(argument: str, needed: float, backend: Backend, what_fits: str) -> None:
    """Raise NotEnoughMemoryError before memory is taken that the machine does not have."""
    free = backend.available_bytes()
    if needed > free:
        raise NotEnoughMemoryError(
            argument,
            f"needs {needed / 2**30:.3g} GiB, but {free / 2**30:.3g} GiB are free on {backend.device}",
            what_fits,
        )
