"""A real matrix that need not be symmetric, nor square."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from .base import ExplicitMatrix, MatrixOperator


class GeneralMatrix(ExplicitMatrix):
    """An explicit real A of shape (m, n), dense or CSR, in FP64."""

    symmetric = False

    @cached_property
    def _transposed(self) -> Any:
        """A^t as what the backend multiplies with; of a sparse matrix a second copy, made once."""
        return self.backend.csr(self.matrix.T.tocsr()) if self.sparse else self.matrix.T

    def rmatvec(self, u: Any) -> Any:
        """A^t u for u of shape (m, k)."""
        return self.backend.real_product(self._transposed, u)

    def largest_column_sum(self) -> float:
        """max_j sum_i |A_ij|; with the largest row sum, ||A||_2 <= sqrt(row sum * column sum) (Schur's test)."""
        return float(abs(self.matrix).sum(axis=0).max())

    def hermitian_dilation(self) -> MatrixOperator:
        """[[0, A], [A^t, 0]], symmetric, of shape (m + n, m + n); its eigenvalues are 0 and +-sigma_i(A).

        For square A, A x = b is the system of the dilation with right-hand side [b; 0] and solution [0; x]. A symmetric
        encoding of it needs one qubit more than A.
        """
        m, n = self.shape
        if self.sparse:
            import scipy.sparse as sp

            blocks = sp.block_array([[None, self.matrix], [self.matrix.T, None]], format="csr")
            blocks.sort_indices()
            return MatrixOperator(blocks, self.backend)
        blocks = self.backend.xp.zeros((m + n, m + n))
        blocks[:m, m:], blocks[m:, :m] = self.matrix, self.matrix.T
        return MatrixOperator(blocks, self.backend)
