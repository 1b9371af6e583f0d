"""Small factorisations behind every truncation, and the two-sweep compression of a chain.

A chain psi of sites 0..n-1 is a list of `Factor`s: products with its tensors from either side. The first
sweep keeps of a QR factorisation only R_k, psi = Q_k R_k (sites k..n-1); the second goes back from the last site,
    M = R_k B_k = U S V,  B_k = (site k) X_(k+1),  X_k = B_k V^dagger,
takes the kept rows of V as the new site k and never needs Q_k or U.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from ..errors import NonFiniteError, ParameterError

Array = Any
"""A NumPy or a CuPy array."""
DEPENDENT = 1e-14
"""Of the longest column: what another has to add to those kept in order to be kept, too."""

MOST_MASKED = 1 << 12
"""Entries of a triangle whose mask is kept, at most 1024 of them: bonds change all the time, and so do shapes."""


def array_module(array: Array) -> Any:
    """The module that the array is of: numpy or cupy, which is imported already where there is an array of it."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def check_truncation(bond_dimension: int | None, cutoff: float) -> None:
    """Raise ParameterError for a bond dimension below 1 or a cutoff outside [0, 1)."""
    if bond_dimension is not None and not bond_dimension >= 1:
        raise ParameterError("bond_dimension", f"{bond_dimension!r} is not at least 1", "None means no limit")
    if not 0 <= cutoff < 1:
        raise ParameterError("cutoff", f"{cutoff!r} is not in [0, 1)", "It is relative to the norm of the state")


def kept_values(values: Array, threshold: float, most: int | None) -> tuple[int, float]:
    """(how many of the descending singular values are kept, 2-norm of the others).

    The smallest are dropped while the 2-norm of all that are dropped is at most `threshold`; at most `most` are kept,
    and always one.
    """
    host = (values.get() if hasattr(values, "get") else values).tolist()
    rank, squares, most = len(host), 0.0, len(host) if most is None else most
    while rank > 1 and (rank > most or squares + host[rank - 1] ** 2 <= threshold**2):
        rank -= 1
        squares += host[rank] ** 2
    return rank, math.sqrt(squares)


def triangle(matrix: Array) -> Array:
    """R of matrix = Q R, (min(m, n), n); Q is not formed."""
    if not isinstance(matrix, np.ndarray):
        return array_module(matrix).linalg.qr(matrix, mode="r")
    from scipy.linalg import lapack  # not before a chain is made

    factor = lapack.zgeqrf if np.iscomplexobj(matrix) else lapack.dgeqrf
    packed, *_ = factor(matrix, lwork=32 * matrix.shape[1])
    kept = packed[: min(matrix.shape)]
    return np.asarray(kept * _upper(*kept.shape) if kept.size <= MOST_MASKED else np.triu(kept))


@lru_cache(maxsize=1024)
def _upper(rows: int, columns: int) -> np.ndarray:
    return np.triu(np.ones((rows, columns)))


def singular_values(matrix: Array) -> tuple[Array, Array, Array]:
    """(U, S, V) of matrix = U S V, S descending; raises NonFiniteError for NaN and infinity."""
    xp = array_module(matrix)
    try:
        u, values, v = xp.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:  # divide and conquer did not converge: the slower QR iteration does
        checked_norm(matrix)
        import scipy.linalg

        host = matrix.get() if hasattr(matrix, "get") else matrix
        u, values, v = map(xp.asarray, scipy.linalg.svd(host, full_matrices=False, lapack_driver="gesvd"))
    return u, values, v


def right_vectors(matrix: Array) -> tuple[Array, Array]:
    """(S, V) of matrix = U S V, S descending, V with orthonormal rows; U is not needed by the sweep."""
    rows, columns = matrix.shape
    _, values, right = singular_values(triangle(matrix) if rows > columns else matrix)
    return values, right


def independent_columns(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(kept, C) with matrix = kept C: some of its columns, and the others as combinations of them.

    An interpolative decomposition by pivoted QR: columns are dropped that add to those kept less than 1e-14 of the
    longest, and the entries of C stay of order one.
    """
    import scipy.linalg

    _, r, order = scipy.linalg.qr(matrix, mode="economic", pivoting=True)
    steps = abs(r.diagonal())
    rank = max(1, int(np.count_nonzero(steps > DEPENDENT * steps[0])))
    combinations = np.zeros((rank, matrix.shape[1]), dtype=r.dtype)
    if steps[0] > 0:
        combinations[:, order] = scipy.linalg.solve_triangular(r[:rank, :rank], r[:rank])
    return matrix[:, order[:rank]], combinations


class Factor(Protocol):
    """A tensor (l, d, r) of a chain, which may be a product that is not written out."""

    def from_left(self, rows: Array) -> Array:
        """(n, l) times the tensor, (n, d, r)."""
        ...

    def from_right(self, columns: Array) -> Array:
        """The tensor times (r, s), (l, d, s)."""
        ...


class Site:
    """A tensor that is written out."""

    def __init__(self, tensor: Array) -> None:
        self.tensor = tensor

    def from_left(self, rows: Array) -> Array:
        shape = self.tensor.shape
        return (rows @ self.tensor.reshape(shape[0], -1)).reshape(-1, *shape[1:])

    def from_right(self, columns: Array) -> Array:
        return self.tensor @ columns


def compress(
    sites: Sequence[Factor],
    left: Array,
    right: Array,
    bond_dimension: int | None,
    cutoff: float,
) -> tuple[list[Array], float]:
    """(tensors (left, d, right) of the compressed chain, ||psi - compressed||).

    `left` and `right` are identities on the outer bonds, behind which the chain has to be isometric. The first tensor
    carries the norm; all others have orthonormal rows.

    At every bond at most `bond_dimension` singular values stay, and the smallest are dropped while their 2-norm is at
    most cutoff ||psi||. The error is exact, the root of the sum of all dropped squares: what is dropped at bond k is
    orthogonal to the span of the kept V_k, and all that is kept or dropped at bonds further left lies in that span
    (arXiv 1008.3477, section 4.5), so that the parts dropped are orthogonal to each other and Pythagoras adds them.
    """
    check_truncation(bond_dimension, cutoff)
    triangles = [left]
    for k in range(len(sites) - 1):
        product = sites[k].from_left(triangles[k])
        triangles.append(triangle(product.reshape(-1, product.shape[-1])))
    tensors, dropped, threshold = [], 0.0, None
    for k in range(len(sites) - 1, 0, -1):
        block = sites[k].from_right(right)
        shape = block.shape
        block = block.reshape(shape[0], -1)
        values, rows = right_vectors(triangles[k] @ block)
        if threshold is None:
            threshold = cutoff * checked_norm(values)
        rank, error = kept_values(values, threshold, bond_dimension)
        dropped += error**2
        rows = rows[:rank]
        tensors.append(rows.reshape(rank, *shape[1:]))
        right = block @ rows.conj().T
    first = sites[0].from_right(right)
    tensors.append((left @ first.reshape(first.shape[0], -1)).reshape(left.shape[0], *first.shape[1:]))
    if threshold is None:
        checked_norm(tensors[0])
    return tensors[::-1], float(np.sqrt(dropped))


def checked_norm(array: Array) -> float:
    """The 2-norm of all entries; raises NonFiniteError where it is NaN or infinite."""
    norm = float(array_module(array).linalg.norm(array.reshape(-1)))
    if not np.isfinite(norm):
        raise NonFiniteError("tensors", f"the norm of the chain is {norm}", "Check the entries of state and operator")
    return norm
