"""Which mode a circuit is run in, and the memory that each takes: known and checked before any is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..backends.tensornet import TensornetBackend
from ..circuit import branch_gates
from ..encodings import COMPOSED_WITH_GATES, WITH_GATES
from ..encodings.base import EncodedProducts
from ..errors import CombinationError, ParameterError, UnknownNameError
from ..operators import check_memory
from ..tensor_networks.gate_operators import check_bonds

MODES = ("subspace", "fused", "circuit")
SUBSPACE_VECTORS = 10
"""Complex vectors that mode "subspace" holds at its peak, those of the product among them."""
BYTES_A_QUERY = 48
"""Moved by one query for each amplitude, at most: see the headers of kernels/*.cu."""


@dataclass(frozen=True)
class RegisterBudget:
    """How much mode="auto" may spend to keep a whole register: a share of the free memory, and seconds a circuit."""

    memory_share: float = 0.8
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.memory_share <= 1:
            raise ParameterError("register_memory", f"{self.memory_share!r} is not in (0, 1]", "The default is 0.8")
        if not self.seconds > 0:
            raise ParameterError("register_seconds", f"{self.seconds!r} is not above 0", "The default is 10")


def check_mode(mode: str, encoding_name: str) -> None:
    """Raise UnknownNameError for a mode that does not exist, CombinationError for one that this encoding lacks."""
    if mode != "auto" and mode not in MODES:
        raise UnknownNameError.among("mode", mode, ("auto", *MODES))
    if mode == "circuit" and encoding_name not in ("auto", *WITH_GATES, *COMPOSED_WITH_GATES):
        raise CombinationError(
            "mode",
            f"{encoding_name} has no gate program",
            f"Use encoding='{WITH_GATES[0]}' of an explicit symmetric matrix, or mode='subspace' or 'fused'",
        )


def mode_on(backend: Backend, mode: str) -> str:
    """The mode asked for, where "auto" is the only one that a backend has, if it has but one.

    Raises CombinationError for a mode that this backend lacks.
    """
    if mode == "auto" and len(backend.modes) == 1:
        return backend.modes[0]
    if mode in MODES and mode not in backend.modes:
        problem = f"{mode!r} is not for backend {backend.name!r}, which runs circuits as networks of their gates"
        raise CombinationError("mode", problem, f"Use mode={backend.modes[0]!r}, or backend='cpu' or 'gpu'")
    return mode


def choose_mode(
    mode: str, encoding: EncodedProducts, queries: int, columns: int, backend: Backend, budget: RegisterBudget
) -> str:
    """The mode meant by "auto": subspace, or fused where the backend is made for it and the budget allows."""
    mode = mode_on(backend, mode)
    check_mode(mode, encoding.name)
    if mode != "auto":
        return mode
    if encoding.name not in backend.register_kernels:
        return "subspace"
    needed = predicted_bytes("fused", encoding.operator.shape[0], encoding.register_size, columns, backend)
    seconds = queries * BYTES_A_QUERY * encoding.register_size * columns / backend.register_bytes_per_second
    fits = needed <= budget.memory_share * backend.available_bytes() and seconds <= budget.seconds
    return "fused" if fits else "subspace"


def predicted_bytes(mode: str, size: int, register_size: int, columns: int, backend: Backend) -> float:
    """Memory that a simulation takes: complex copies of what it keeps, and the tables of T and S."""
    if mode == "subspace":
        return SUBSPACE_VECTORS * 16.0 * size * columns
    each_column, tables = backend.register_bytes
    return float(register_size) * (each_column * columns + tables)


def check_simulation_memory(mode: str, size: int, register_size: int, columns: int, backend: Backend) -> None:
    """Raise NotEnoughMemoryError, which says what is needed and what would fit, before the simulation takes it."""
    subspace = predicted_bytes("subspace", size, register_size, columns, backend)
    if mode != "subspace":
        fits = subspace_needs(subspace)
    else:
        fits = (
            f"About {int(backend.available_bytes() / subspace * size * columns)} unknowns (N times columns) would fit"
        )
    check_memory("mode", predicted_bytes(mode, size, register_size, columns, backend), backend, fits)


def check_circuit_memory(encoding: Any, columns: int, backend: Backend) -> None:
    """Raise NotEnoughMemoryError where the tensor network of one query already takes more than there is.

    More queries make it longer, but hardly larger. Of matrix-product states no bond is known before, but operators of
    gates may be too large for any. State vectors are checked by their size.
    """
    if not isinstance(backend, TensornetBackend):
        return
    block, system = encoding.circuit(), encoding.system_qubits
    if backend.bond_dimension is not None:
        check_bonds(block)
        return
    state: Any = backend.state_vector(np.zeros((1 << system, columns)), block.num_qubits)
    state.run(branch_gates(state.fuse(block), block.num_qubits, system, np.zeros(2)))
    state.check_lowest(1 << system)


def subspace_needs(bytes_needed: float) -> str:
    return f"mode='subspace' needs {bytes_needed / 2**20:.3g} MiB for the same answer"
