"""The quantum-walk encoding of a sparse symmetric matrix: alpha is the largest absolute row sum.

    T|j> = sum_k sqrt(|H_jk|/alpha) |j,k> + sqrt(1 - r_j/alpha) |j,s1>,  r_j = sum_k |H_jk|
    S|j,k> = sgn(H_jk) |k,j>,  S|j,s1> = |j,s2>

The register holds one amplitude for each stored entry, row by row as in CSR, and two slack amplitudes after each
row; S is a gather by the transpose permutation. Sources: Childs, arXiv 0810.0312; Berry and Childs, arXiv 0910.4157.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..operators import Operator
from .base import ExplicitSymmetric, Side, positive_or_one, qubits

SIGN = 1 << 31


@dataclass(frozen=True)
class WalkRegister:
    """T and S entry by entry, in CSR order: what the queries on the whole register read."""

    starts: Any
    """First entry of each row, and their number: (N + 1,) int32. Row j begins in the register at starts[j] + 2 j."""
    gather: Any
    """Where the transposed entry stands in the register, with the sign of the entry in bit 31: (nnz,) uint32."""
    amplitude: Any
    """sqrt(|H_jk|/alpha), (nnz,)."""
    slack: Any
    """sqrt(1 - r_j/alpha), (N,)."""


class WalkEncoding(ExplicitSymmetric):
    """H/alpha for an explicit symmetric H, alpha = max_j sum_k |H_jk| >= ||H||_2."""

    name = "walk"

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        n = operator.shape[0]
        self.alpha = positive_or_one(self.operator.largest_row_sum())
        self.system_qubits = qubits(n)
        self.ancilla_qubits = qubits(n + 2)  # the column register: N columns and two slacks
        self.register_size = self.operator.count_nonzero() + 2 * n

    @cached_property
    def register(self) -> WalkRegister:
        """The tables of T and S: those of a sparse matrix are made on the host, those of a dense one where it is."""
        return self._register_of_sparse() if self.operator.sparse else self._register_of_dense()

    def _register_of_dense(self) -> WalkRegister:
        xp, H = self.backend.xp, self.operator.matrix
        stored = H != 0  # sgn(0) = 0 would break S S = I
        row, column = xp.nonzero(stored)
        number = xp.cumsum(stored.ravel()).reshape(H.shape) - 1
        value = H[row, column]
        transposed = number[column, row] + 2 * column
        return WalkRegister(
            starts=xp.concatenate([xp.zeros(1, dtype=np.int32), number[:, -1].astype(np.int32) + np.int32(1)]),
            gather=(transposed | xp.where(value < 0, SIGN, 0)).astype(np.uint32),
            amplitude=xp.sqrt(abs(value) / self.alpha),
            slack=xp.sqrt(xp.maximum(1 - abs(H).sum(axis=1) / self.alpha, 0.0)),
        )

    def _register_of_sparse(self) -> WalkRegister:
        import scipy.sparse as sp

        H = sp.csr_array(self.operator.matrix, copy=True)
        H.eliminate_zeros()
        H.sort_indices()
        n, nnz = H.shape[0], H.nnz
        place = np.arange(nnz) + 2 * np.repeat(np.arange(n), np.diff(H.indptr))  # of each entry in the register
        transposed = sp.csr_array((np.arange(nnz), H.indices, H.indptr), shape=H.shape).tocsc().data
        put = self.backend.asarray
        return WalkRegister(
            starts=put(H.indptr.astype(np.int32)),
            gather=put((place[transposed] | np.where(H.data < 0, SIGN, 0)).astype(np.uint32)),
            amplitude=put(np.sqrt(np.abs(H.data) / self.alpha)),
            slack=put(np.sqrt(np.maximum(1 - abs(H).sum(axis=1) / self.alpha, 0.0))),
        )

    @cached_property
    def _slots(self) -> tuple[Any, Any, Any, Any, Any]:
        """The same slot by slot: amplitude of T, row, first slot of each row, S as a gather, and its signs."""
        table, xp = self.register, self.backend.xp
        n, starts = len(table.slack), self.backend.to_numpy(table.starts).astype(np.int64)
        row = np.repeat(np.arange(n), np.diff(starts) + 2)
        first = starts[:-1] + 2 * np.arange(n)
        slack = starts[1:] + 2 * np.arange(n)
        put = self.backend.asarray
        entry = xp.ones(self.register_size, dtype=bool)
        entry[put(slack)] = entry[put(slack + 1)] = False
        amplitude, sign = xp.zeros(self.register_size), xp.ones(self.register_size)
        amplitude[entry], amplitude[put(slack)] = table.amplitude, table.slack
        gather = xp.empty(self.register_size, dtype=xp.int64)
        gather[entry] = table.gather & (SIGN - 1)
        gather[put(slack)], gather[put(slack + 1)] = put(slack + 1), put(slack)
        sign[entry] = xp.where(table.gather & SIGN, -1.0, 1.0)
        return amplitude[:, None], put(row), put(first), gather, sign[:, None]

    def lift(self, v: Any, side: Side = "right") -> Any:
        amplitude, row, *_ = self._slots
        return amplitude * v.take(row, axis=0)

    def lower(self, psi: Any, side: Side = "right") -> Any:
        amplitude, _, first, *_ = self._slots
        return self.backend.row_sums(amplitude * psi, first)

    def reflect(self, psi: Any) -> Any:
        *_, gather, sign = self._slots
        return sign * psi.take(gather, axis=0)
