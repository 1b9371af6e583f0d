"""What an operator offers, and the explicit matrix."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..backends.base import Backend


@runtime_checkable
class Operator(Protocol):
    """A real A of shape (m, n); `symmetric` says that m = n and A = A^t."""

    backend: Backend

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def symmetric(self) -> bool: ...
    @property
    def nonzeros(self) -> int:
        """Stored entries of A (m n where A is not explicit)."""
        ...

    @property
    def product_flops(self) -> float:
        """Floating-point operations of one product A v."""
        ...

    @property
    def product_bytes(self) -> float:
        """Bytes one product A v moves at least."""
        ...

    @property
    def assembly_flops(self) -> float:
        """Floating-point operations that `dense` needs."""
        ...

    def matvec(self, v: Any) -> Any:
        """A v for v of shape (n, k)."""
        ...

    def rmatvec(self, u: Any) -> Any:
        """A^t u for u of shape (m, k)."""
        ...

    def dense(self) -> Any:
        """A as an array of shape (m, n)."""
        ...


class ExplicitMatrix:
    """What matrices with stored entries share, dense or CSR, in FP64."""

    symmetric: bool
    assembly_flops = 0.0
    assembly_bytes = 0.0

    def __init__(self, matrix: Any, backend: Backend) -> None:
        """`matrix` is an array of the backend, or a SciPy CSR matrix, which stays on the host."""
        self.sparse = not isinstance(matrix, backend.xp.ndarray)
        self.matrix, self.backend = matrix, backend
        self.shape: tuple[int, int] = matrix.shape

    @cached_property
    def on_device(self) -> Any:
        """The matrix as what the backend multiplies with."""
        return self.backend.csr(self.matrix) if self.sparse else self.matrix

    @cached_property
    def host(self) -> Any:
        """The matrix as a SciPy CSR or NumPy array: graphs and permutations are made there."""
        return self.matrix if self.sparse else self.backend.to_numpy(self.matrix)

    def count_nonzero(self) -> int:
        return int(self.matrix.count_nonzero() if self.sparse else self.backend.xp.count_nonzero(self.matrix))

    @property
    def nonzeros(self) -> int:
        return int(self.matrix.nnz) if self.sparse else self.matrix.size

    @property
    def product_flops(self) -> float:
        return 2.0 * self.nonzeros

    @property
    def product_bytes(self) -> float:
        return (12.0 if self.sparse else 8.0) * self.nonzeros

    @cached_property
    def _widths(self) -> np.ndarray:
        """i minus the smallest j of row i in the pattern of a sparse A + A^t, after reverse Cuthill-McKee."""
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        coo = self.matrix.tocoo()
        place = np.empty(self.shape[0], dtype=np.int64)
        place[reverse_cuthill_mckee(self.matrix.tocsr(), symmetric_mode=self.symmetric)] = np.arange(self.shape[0])
        rows, columns = place[coo.row], place[coo.col]
        widths = np.zeros(self.shape[0], dtype=np.int64)
        np.maximum.at(widths, np.maximum(rows, columns), np.abs(rows - columns))
        return widths

    @cached_property
    def half_bandwidth(self) -> int:
        """max |i - j| over the entries of a square matrix, after reverse Cuthill-McKee where it is sparse."""
        return int(self._widths.max(initial=0)) if self.sparse else max(self.shape) - 1

    @cached_property
    def fill_flops(self) -> float:
        """Of an LU within the envelope that reverse Cuthill-McKee leaves of a sparse square matrix: 2 sum_i width_i^2.

        Against what SuperLU (COLAMD) does: the same for narrow bands and blocks, 1 to 5 times as much for grids of 10^3
        to 10^5 points, 1.5 times for 7 random entries a row, 20 to 40 times for 3.
        """
        return 2.0 * float((self._widths.astype(np.float64) ** 2).sum()) + 2.0 * self.shape[0]

    @cached_property
    def frobenius_norm(self) -> float:
        return float(((self.matrix.data if self.sparse else self.matrix) ** 2).sum() ** 0.5)

    def matvec(self, v: Any) -> Any:
        return self.backend.real_product(self.on_device, v)

    def dense(self) -> Any:
        return self.backend.asarray(self.matrix.toarray()) if self.sparse else self.matrix

    def largest_row_sum(self) -> float:
        """max_i sum_j |A_ij|, at least ||A||_2 where A is symmetric."""
        return float(abs(self.matrix).sum(axis=1).max())


class MatrixOperator(ExplicitMatrix):
    """An explicit symmetric matrix."""

    symmetric = True
    given: ExplicitMatrix | None = None
    """The A that was handed in, where this is (A + A^t)/2: certificates are made with it."""

    def rmatvec(self, u: Any) -> Any:
        return self.matvec(u)
