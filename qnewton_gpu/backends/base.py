"""What a backend must offer: an array module, the bridge to torch, and the few primitives that solvers are built on.

Index order, for all of the package: qubit 0 is the least significant bit of an index (cuStateVec's order).
Vectors have shape (N, k): k columns that are solved together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Literal, Protocol

from ..circuit import Gate

Side = Literal["right", "left"]


class StateVector(Protocol):
    """k registers of n qubits, and what can be done with them."""

    @property
    def amplitudes(self) -> Any:
        """(2^n, k)."""
        ...

    def lowest(self, size: int) -> Any:
        """The first `size` amplitudes, (size, k): of registers whose qubits above these are all found in |0>."""
        ...

    def norms(self) -> Any:
        """The norm of each register, (k,)."""
        ...

    def apply(self, gate: Gate) -> None: ...

    def run(self, gates: Iterable[Any]) -> None:
        """Apply the gates of a program (a Circuit, or what `fuse` gave), one after the other."""
        ...

    def fuse(self, gates: Iterable[Any]) -> list[Any]:
        """Fewer gates that do the same here: for a block that will be run often."""
        ...

    def probability(self, qubits: Iterable[int]) -> Any:
        """That all of these qubits are |0>, (k,); of no qubits: the squared norm."""
        ...

    def postselect(self, qubits: Iterable[int]) -> Any:
        """Collapse to all of these qubits being |0>, and scale to norm one; returns the probability, (k,)."""
        ...

    def sample(self, shots: int, seed: int, column: int = 0) -> Any:
        """Basis indices measured in `shots` runs of a normalised column, (shots,) on the host."""
        ...


class RegisterProgram(Protocol):
    """Queries on whole registers. Each list has one item for every encoding that the program was made of."""

    def run(self, phases: Sequence[Any], starts: Sequence[Any], side: Side) -> list[tuple[Any, Any]]:
        """(psi, T^t psi), of shapes (register_size, k) and (N, k), for reflection phases phi_0..phi_d on T start."""
        ...


class SubspaceProgram(Protocol):
    """Queries in the subspace recurrence, for symmetric encodings of explicit matrices."""

    def run(self, phases: Sequence[Any], starts: Sequence[Any]) -> list[tuple[Any, Any]]:
        """(x, y) with psi = exp(-i sum of phases) (T x + S T y), each (N, k)."""
        ...


class Backend(Protocol):
    """One place to compute. Arrays below are arrays of `xp`; nothing crosses to the host unless a name says so."""

    name: str
    xp: ModuleType
    torch_device: Any
    """Where a model and its data have to be for their tensors to cross without a copy."""
    modes: tuple[str, ...]
    """How circuits can be simulated here, see simulation/"""
    register_bytes: tuple[int, int]
    """Taken by a whole register for each amplitude: by each column, and once for the tables."""
    register_kernels: tuple[str, ...]
    """Encodings whose registers have kernels here: those that mode="auto" keeps. The others are kept on request."""
    register_bytes_per_second: float
    """Rate at which these kernels stream a register, a cautious one."""

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

    def conjugate_gradients(self, product: Any, rhs: Any, tolerance: float, steps: int) -> Any:
        """x with product(x) = rhs, (N, 1), to a relative residual of `tolerance`, or what `steps` products gave."""
        ...

    def state_vector(self, start: Any, num_qubits: int) -> StateVector:
        """`start`, (N, k), as the lowest amplitudes of k registers of `num_qubits`."""
        ...

    def register_program(self, encodings: Sequence[Any], dtype: str) -> RegisterProgram | None:
        """Queries on the whole register by kernels of this backend; None: lift, lower and reflect have to do.

        Several encodings share one launch a query, where the backend can. dtype is "complex128" or "complex64".
        """
        ...

    def subspace_program(self, encodings: Sequence[Any], dtype: str) -> SubspaceProgram | None:
        """The same for the two vectors of the subspace recurrence; None: products have to do."""
        ...

    def own_stream(self) -> AbstractContextManager[None]:
        """For a thread beside others: what it asks of the device while inside runs at the same time as what they ask.

        It comes after what the caller of this had asked before the call, and before what the caller asks after the end.
        """
        ...

    def synchronize(self) -> None:
        """Wait until everything that this thread asked of the device is done."""
        ...

    def available_bytes(self) -> int:
        """Memory that may still be taken."""
        ...

    @property
    def out_of_memory(self) -> tuple[type[Exception], ...]:
        """What running out of memory raises here."""
        ...
