"""The door: what a user hands in is checked here, before any work starts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..errors import DataTypeError, NonFiniteError, NotEnoughMemoryError, ParameterError, ShapeError

LARGEST_MAGNITUDE = 1e60  # beyond it, or below its inverse, squares and products of norms leave the range of FP64


def is_sparse(A: Any) -> bool:
    # no SciPy import for users who hand in none
    module = type(A).__module__
    return module.startswith("scipy.sparse")


def is_torch(A: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(A, torch.Tensor)


def real_matrix(A: Any, argument: str, backend: Backend) -> Any:
    """A as a finite FP64 matrix, dense or CSR, of any shape without a zero in it."""
    if is_torch(A):
        if A.layout is not sys.modules["torch"].strided:
            import scipy.sparse as sp

            coo = A.detach().to_sparse_coo().coalesce()
            A = sp.coo_array((_from_torch(coo.values()), _from_torch(coo.indices())), shape=tuple(coo.shape))
        else:
            A = _from_torch(A)
    _check_unmasked(A, argument)
    if not is_sparse(A):
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
    if is_sparse(A):
        matrix = A.tocsr().astype(np.float64, copy=False)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        stored = matrix.data
    else:
        matrix = stored = np.ascontiguousarray(A, dtype=np.float64)
    _check_finite(stored, argument)
    return matrix if is_sparse(matrix) else backend.asarray(matrix)


def _check_unmasked(array: Any, argument: str) -> None:
    if isinstance(array, np.ma.MaskedArray):
        raise DataTypeError(argument, "is a masked array, whose mask would be lost", "Fill it: array.filled(value)")


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


def check_magnitude(largest: float, argument: str) -> None:
    if largest and not 1 / LARGEST_MAGNITUDE <= largest <= LARGEST_MAGNITUDE:
        raise ParameterError(
            argument,
            f"has a largest magnitude of {largest:.3g}, where FP64 norms overflow or underflow",
            f"Multiply it by a constant to lie between {1 / LARGEST_MAGNITUDE:.0e} and {LARGEST_MAGNITUDE:.0e}",
        )


def _check_finite(values: Any, argument: str) -> None:
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise NonFiniteError(argument, f"holds {bad} NaN or infinite entries", "Remove or replace them")


def as_columns(b: Any, size: int, backend: Backend) -> tuple[Any, Callable[[Any], Any]]:
    """b as FP64 columns (N, k), and the function that gives a result (N, k) the shape, kind and device that b had."""
    tensor = b if is_torch(b) else None
    if tensor is not None:
        b = _from_torch(tensor)
    elif is_sparse(b):
        b = b.toarray()
    _check_unmasked(b, "b")
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
        check_magnitude(float(largest), "b")

    def restore(x: Any) -> Any:
        with np.errstate(over="ignore"):  # the certificate of the returned x finds it
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
