"""Sparsity by symmetric pruning: an entry stays if it is among the largest of its row AND of its column."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import ParameterError, UnknownNameError
from ..operators import MatrixOperator, Operator, as_symmetric
from .damping import add_to_diagonal
from .spectrum import smallest_eigenvalue

REPAIRS = ("diagonal", "shift")


def prune_symmetric(
    H: Any, max_row_nonzeros: int, *, compensate: str | None = "diagonal", backend: str | Backend = "auto"
) -> Any:
    """H with at most `max_row_nonzeros` entries in each row and column, as a SciPy CSR array, symmetric.

    The diagonal always stays; H_ij stays if it is among the max_row_nonzeros - 1 largest |off-diagonal| entries of row
    i and of row j. Pruning breaks positive definiteness; `compensate` repairs it: "diagonal" adds each row's dropped
    absolute sum to its diagonal (positive semidefinite if H was, by diagonal dominance of what is added), "shift" adds
    max(0, -lambda_min) I, None does nothing. Raises what `qn.solve` raises for a bad matrix, ParameterError and
    UnknownNameError. Source: arXiv 2405.00252, whose row-wise rule is not symmetric.

    >>> import numpy as np
    >>> prune_symmetric(np.array([[2.0, 1.0, 0.1], [1.0, 2.0, 0.2], [0.1, 0.2, 2.0]]), 2).toarray()
    array([[2.1, 1. , 0. ],
           [1. , 2.2, 0. ],
           [0. , 0. , 2.3]])
    """
    if not (isinstance(max_row_nonzeros, (int, np.integer)) and max_row_nonzeros >= 1):
        raise ParameterError(
            "max_row_nonzeros", f"{max_row_nonzeros!r} is not an integer >= 1", "1 keeps the diagonal only"
        )
    if compensate not in (*REPAIRS, None):
        raise UnknownNameError.among("compensate", compensate, (*REPAIRS, "None"))
    backend = select_backend(backend)
    pruned, dropped = prune(as_symmetric(H, backend), int(max_row_nonzeros))
    if compensate is None:
        return pruned.matrix
    return add_to_diagonal(pruned, repair(pruned, dropped, compensate, backend), backend).matrix


def prune(H: Operator, max_row_nonzeros: int) -> tuple[MatrixOperator, np.ndarray]:
    """The pruned H in CSR, without a repair, and the absolute sum that each row lost, (N,)."""
    import scipy.sparse as sp

    dense = H.backend.to_numpy(H.dense())
    n = len(dense)
    off = np.abs(dense)
    np.fill_diagonal(off, 0.0)
    kept = np.zeros((n, n), dtype=bool)
    count = min(max_row_nonzeros - 1, n - 1)
    if count:
        largest = np.argpartition(off, n - count, axis=1)[:, n - count :]
        np.put_along_axis(kept, largest, True, axis=1)
        kept &= kept.T
    dropped = np.where(kept, 0.0, off).sum(axis=1)
    np.fill_diagonal(kept, True)
    return MatrixOperator(sp.csr_array(np.where(kept, dense, 0.0)), H.backend), dropped


def repair(pruned: MatrixOperator, dropped: np.ndarray, compensate: str, backend: Backend, seed: int = 0) -> np.ndarray:
    """What to add to the diagonal, (N,): the dropped sums, or max(0, -lambda_min) by Lanczos everywhere."""
    if compensate == "diagonal":
        return dropped
    return np.full(len(dropped), max(0.0, -smallest_eigenvalue(pruned, backend, seed)))
