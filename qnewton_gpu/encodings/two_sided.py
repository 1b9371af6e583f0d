"""The two-sided walk of a real matrix that is not symmetric, or not square: T_R over its columns, T_L over its rows.

With r the largest absolute row sum of A (m, n), c the largest absolute column sum, and alpha = sqrt(r c),
    T_R|k> = sum_j sqrt(|A_jk|/c) |j,k> + sqrt(1 - c_k/c) |s_R,k>,   c_k = sum_j |A_jk|
    T_L|j> = sum_k sqrt(|A_jk|/r) |j,k> + sqrt(1 - r_j/r) |j,s_L>,   r_j = sum_k |A_jk|
    S|j,k> = sgn(A_jk) |j,k>, the identity on the slacks
so that T_L^t S T_R = A/alpha, and ||A||_2 <= alpha by Schur's test. The register holds one amplitude for each stored
entry, row by row, then n right slacks and m left ones. Source: Gilyen et al., arXiv 1806.01838, lemma 48, for oracles
that prepare |A_jk| itself instead of max|A|.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..operators import GeneralMatrix, Operator
from .base import OfOperator, Side, positive_or_one, qubits


class TwoSidedEncoding(OfOperator):
    """A/alpha between R^n (right) and R^m (left), alpha = sqrt(largest row sum * largest column sum) >= ||A||_2."""

    name = "two_sided"
    symmetric = False
    encodes = GeneralMatrix

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        m, n = operator.shape
        self.row_sum = positive_or_one(self.operator.largest_row_sum())
        self.column_sum = positive_or_one(self.operator.largest_column_sum())
        self.alpha = math.sqrt(self.row_sum) * math.sqrt(self.column_sum)
        self.system_qubits = qubits(max(m, n))
        self.ancilla_qubits = qubits(m + 1) + qubits(n + 1) - self.system_qubits  # |j or s_R> |k or s_L>
        self.register_size = self.operator.count_nonzero() + n + m

    @cached_property
    def _tables(self) -> tuple[dict[Side, Any], dict[Side, Any], Any]:
        """T_R and T_L as sparse matrices, their transposes, and the signs of S."""
        import scipy.sparse as sp

        A = sp.csr_array(self.operator.host, copy=True)
        A.eliminate_zeros()  # sgn(0) = 0 would break S S = I
        A.sort_indices()
        (m, n), nnz, size = A.shape, A.nnz, np.abs(A.data)
        entry, row = np.arange(nnz), np.repeat(np.arange(m), np.diff(A.indptr))

        def isometry(index: np.ndarray, dimension: int, largest: float, slack: int) -> Any:
            missing = 1 - np.bincount(index, size, dimension) / largest
            values = np.sqrt(np.concatenate([size / largest, np.maximum(missing, 0.0)]))
            here = np.concatenate([entry, slack + np.arange(dimension)])
            there = np.concatenate([index, np.arange(dimension)])
            return sp.csr_array((values, (here, there)), shape=(self.register_size, dimension))

        T = {"right": isometry(A.indices, n, self.column_sum, nnz), "left": isometry(row, m, self.row_sum, nnz + n)}
        sign = np.concatenate([np.sign(A.data), np.ones(n + m)])[:, None]
        put = self.backend.csr
        lifts: dict[Side, Any] = {side: put(T[side]) for side in ("right", "left")}
        lowers: dict[Side, Any] = {side: put(T[side].T.tocsr()) for side in ("right", "left")}
        return lifts, lowers, self.backend.asarray(sign)

    def lift(self, v: Any, side: Side) -> Any:
        return self.backend.real_product(self._tables[0][side], v)

    def lower(self, psi: Any, side: Side) -> Any:
        return self.backend.real_product(self._tables[1][side], psi)

    def reflect(self, psi: Any) -> Any:
        return self._tables[2] * psi

    def matvec(self, v: Any) -> Any:
        return self.operator.matvec(v) / self.alpha

    def rmatvec(self, u: Any) -> Any:
        return self.operator.rmatvec(u) / self.alpha
