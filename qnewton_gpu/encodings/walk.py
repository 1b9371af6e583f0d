"""The quantum-walk encoding of a sparse symmetric matrix: alpha is the largest absolute row sum.

    T|j> = sum_k sqrt(|H_jk|/alpha) |j,k> + sqrt(1 - r_j/alpha) |j,s1>,  r_j = sum_k |H_jk|
    S|j,k> = sgn(H_jk) |k,j>,  S|j,s1> = |j,s2>

The register holds one amplitude for each stored entry, row by row as in CSR, and two slack amplitudes after each
row; S is a gather by the transpose permutation. Sources: Childs, arXiv 0810.0312; Berry and Childs, arXiv 0910.4157.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..operators import Operator
from .base import ExplicitSymmetric, Side, positive_or_one, qubits


class WalkEncoding(ExplicitSymmetric):
    """H/alpha for an explicit symmetric H, alpha = max_j sum_k |H_jk| >= ||H||_2."""

    name = "walk"

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        n = operator.shape[0]
        self.alpha = positive_or_one(float(self.operator.absolute_row_sums().max()))
        self.system_qubits = qubits(n)
        self.ancilla_qubits = qubits(n + 2)  # the column register: N columns and two slacks
        stored = self.operator.matrix.data if self.operator.sparse else self.operator.matrix
        self.register_size = int(backend.xp.count_nonzero(stored)) + 2 * n

    @cached_property
    def _tables(self) -> tuple[Any, Any, Any, Any, Any]:
        """Amplitudes of T, row of each amplitude, first amplitude of each row, and S as a gather with signs."""
        import scipy.sparse as sp

        H = sp.csr_array(self.operator.matrix, copy=True)
        H.eliminate_zeros()  # sgn(0) = 0 would break S S = I
        H.sort_indices()
        n, nnz = H.shape[0], H.nnz
        counts = np.diff(H.indptr)
        starts = H.indptr[:-1].astype(np.int64) + 2 * np.arange(n)
        row = np.repeat(np.arange(n), counts + 2)
        place = np.arange(nnz) + 2 * np.repeat(np.arange(n), counts)  # of each stored entry in the register
        slack = starts + counts

        amplitude = np.zeros(nnz + 2 * n)
        amplitude[place] = np.sqrt(np.abs(H.data) / self.alpha)
        amplitude[slack] = np.sqrt(np.maximum(1 - abs(H).sum(axis=1) / self.alpha, 0.0))

        transposed = sp.csr_array((np.arange(nnz), H.indices, H.indptr), shape=H.shape).tocsc().data
        gather = np.empty(nnz + 2 * n, dtype=np.int64)
        gather[place] = place[transposed]
        gather[slack], gather[slack + 1] = slack + 1, slack
        sign = np.ones(nnz + 2 * n)
        sign[place] = np.sign(H.data)
        put = self.backend.asarray
        return put(amplitude[:, None]), put(row), put(starts), put(gather), put(sign[:, None])

    def lift(self, v: Any, side: Side = "right") -> Any:
        amplitude, row, *_ = self._tables
        return amplitude * v[row]

    def lower(self, psi: Any, side: Side = "right") -> Any:
        amplitude, _, starts, *_ = self._tables
        return self.backend.row_sums(amplitude * psi, starts)

    def reflect(self, psi: Any) -> Any:
        *_, gather, sign = self._tables
        return sign * psi[gather]
