"""What a backend must offer: an array module, the bridge to torch, and the few primitives that solvers are built on.

Index order, for all of the package: qubit 0 is the least significant bit of an index (cuStateVec's order).
Vectors have shape (N, k): k columns that are solved together.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

from ..circuit import Gate


class Backend(Protocol):
    """One place to compute. Arrays below are arrays of `xp`; nothing crosses to the host unless a name says so."""

    name: str
    xp: ModuleType

    @property
    def device(self) -> str:
        """The device in words, for logs."""
        ...

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """An `xp` array of a NumPy, torch or `xp` array, without a copy where that is possible."""
        ...

    def to_numpy(self, array: Any) -> Any: ...

    def to_torch(self, array: Any) -> Any: ...

    def csr(self, matrix: Any) -> Any:
        """A SciPy CSR matrix as this backend's CSR matrix."""
        ...

    def real_product(self, matrix: Any, vectors: Any) -> Any:
        """matrix @ vectors for a real matrix (dense or CSR) and real or complex vectors (N, k), in one pass over it."""
        ...

    def row_sums(self, values: Any, starts: Any) -> Any:
        """Sums of `values` (R, k) over the rows that begin at `starts`; no row is empty."""
        ...

    def cholesky_solve(self, matrix: Any, rhs: Any) -> Any:
        """x with matrix x = rhs by Cholesky; raises numpy.linalg.LinAlgError where matrix is not positive definite."""
        ...

    def lu_solve(self, matrix: Any, rhs: Any) -> Any:
        """x with matrix x = rhs by LU; raises numpy.linalg.LinAlgError where matrix is exactly singular."""
        ...

    def apply_gate(self, gate: Gate, state: Any) -> Any:
        """The gate on a state of shape (2^n, k), k columns at once."""
        ...

    def available_bytes(self) -> int:
        """Memory that may still be taken."""
        ...
