"""Mode "circuit": the gate program of an encoding, gate by gate on what the backend keeps as a register."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..backends.base import Backend
from ..circuit import branch_gates
from .outcome import Outcome, largest_bond, truncation_of

if TYPE_CHECKING:
    from .runs import Run


def run_gates(runs: Sequence[Run], backend: Backend) -> list[Outcome]:
    return [by_column(run, backend, _gate_by_gate) for run in runs]


def by_column(run: Run, backend: Backend, each: Callable[[Any, Backend], Outcome]) -> Outcome:
    """A run gate by gate, where columns meet different circuits each through its own."""
    if run.encoding.same_for_all:
        return each(run, backend)
    columns = [
        each(replace(run, encoding=run.encoding.column(k), start=run.start[:, k : k + 1]), backend)
        for k in range(run.start.shape[1])
    ]

    def joined(name: str) -> Any:
        return backend.xp.concatenate([getattr(outcome, name) for outcome in columns], axis=-1)

    return replace(
        columns[0],
        amplitudes=joined("amplitudes"),
        success_probability=joined("success_probability"),
        register_norm=joined("register_norm"),
        register=lambda: backend.xp.concatenate([outcome.register() for outcome in columns], axis=1),
        truncation_error=max(outcome.truncation_error for outcome in columns),
        bond_dimension=largest_bond(outcome.bond_dimension for outcome in columns),
    )


def _gate_by_gate(run: Run, backend: Backend) -> Outcome:
    """`qsvt_circuit` gate by gate; N is padded with zeros, and the flag qubits have to be found in |0>.

    The branches psi_phi and psi_(-phi) of the real-part qubit are conjugate, so one is run; between its two Hadamard
    gates they become Re psi_phi in |0> and i Im psi_phi in |1>.
    """
    encoding, xp = run.encoding, backend.xp
    block, system = encoding.circuit(), encoding.system_qubits
    start, places = start_of_system(run, backend)
    state = backend.state_vector(start, block.num_qubits)
    state.run(branch_gates(state.fuse(block), block.num_qubits, system, run.phases, encoding.excluded))
    common = cmath.exp(-1j * math.fsum(run.phases))
    success = (common * state.lowest(1 << system)).real

    def register() -> Any:
        psi = common * state.amplitudes
        return xp.concatenate([psi.real.astype(psi.dtype), 1j * psi.imag])

    return Outcome(
        success[places], (success**2).sum(axis=0), state.norms(), run.queries, register, **truncation_of(state)
    )


def start_of_system(run: Run, backend: Backend) -> tuple[Any, Any]:
    """(the start on the 2^system_qubits basis states, where the unknowns stand among them)."""
    places = backend.asarray(run.encoding.places)
    start = backend.xp.zeros((1 << run.encoding.system_qubits, run.start.shape[1]), dtype=run.start.dtype)
    start[places] = run.start
    return start, places
