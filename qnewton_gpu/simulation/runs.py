"""Circuits to be simulated, one by one or one behind the other, and how they are run together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

from ..backends.base import Backend, Side
from ..encodings.base import EncodedProducts, other
from ..errors import NotEnoughMemoryError
from ..operators import check_memory
from .fused import run_fused
from .gates import run_gates
from .modes import predicted_bytes, subspace_needs
from .outcome import Outcome, largest_bond
from .subspace import run_subspace

RUN_IN = {"subspace": run_subspace, "fused": run_fused, "circuit": run_gates}
"""Of each mode, what runs circuits of one kind together: (runs, backend) -> outcomes."""


@dataclass(frozen=True)
class Run:
    """One circuit: reflection phases phi_0..phi_d (phi_d first) on T_side `start`, (N, k) with unit columns.

    Its d queries apply Re T^t psi = P(A/alpha) start, P the real polynomial of the phases. It ends on `side` if d is
    even and on the other one if d is odd.
    """

    encoding: Any
    phases: Any
    start: Any
    side: Side = "right"
    mode: str = "subspace"
    precision: str = "double"
    """Of the whole register: "double" (complex128) or "single" (complex64), in mode="fused"."""
    measured: bool = True
    """False where only the success or failure of the circuit is of interest, and no amplitude is read."""
    repeats: int = 1
    """Runs that the solver makes of it; one simulation tells what all of them do."""

    @property
    def queries(self) -> int:
        return len(self.phases) - 1

    @property
    def dtype(self) -> str:
        return "complex64" if self.precision == "single" and self.mode == "fused" else "complex128"

    @property
    def end(self) -> Side:
        return self.side if self.encoding.symmetric or self.queries % 2 == 0 else other(self.side)

    def execute(self, backend: Backend) -> Outcome:
        return run_sequences([self], backend)[0]

    def bytes_needed(self, mode: str, backend: Backend) -> float:
        """Memory that this run takes in a mode; a gate program has 2^qubits amplitudes."""
        encoding, register_size, gates = self.encoding, self.encoding.register_size, 0.0
        if mode == "circuit":
            register_size, gates = 1 << (encoding.system_qubits + encoding.ancilla_qubits), encoding.gate_bytes
        return gates + predicted_bytes(mode, encoding.operator.shape[0], register_size, self.start.shape[1], backend)


@dataclass(frozen=True)
class Chain:
    """Circuits one after the other on one system register, each behind the post-selection of the one before.

    `start` of the first run is that of all.
    """

    runs: Sequence[Run]
    measured: bool = True

    @property
    def queries(self) -> int:
        return sum(run.queries for run in self.runs)

    def bytes_needed(self, mode: str, backend: Backend) -> float:
        return max(run.bytes_needed(mode, backend) for run in self.runs)

    def execute(self, backend: Backend) -> Outcome:
        xp, amplitudes = backend.xp, self.runs[0].start
        norm, worst, register = xp.ones(amplitudes.shape[1]), xp.ones(amplitudes.shape[1]), None
        truncation, bonds = 0.0, []
        for run in self.runs:
            outcome = replace(run, start=amplitudes).execute(backend)
            length = xp.sqrt(outcome.success_probability)
            norm = norm * length
            amplitudes = outcome.amplitudes / xp.where(length > 0, length, 1.0)
            farther = abs(outcome.register_norm - 1) > abs(worst - 1)
            worst, register = xp.where(farther, outcome.register_norm, worst), outcome.register
            truncation += outcome.truncation_error  # the circuits behind it do not lengthen what is lost
            bonds.append(outcome.bond_dimension)
        assert register is not None
        return Outcome(
            norm * amplitudes,
            norm**2,
            worst,
            self.queries,
            register,
            truncation_error=truncation,
            bond_dimension=largest_bond(bonds),
        )


class Program(Protocol):
    """A simulation that a solver wants made: a `Run`, or what a solver that is no QSVT sequence executes itself."""

    @property
    def measured(self) -> bool: ...
    @property
    def queries(self) -> int: ...
    def bytes_needed(self, mode: str, backend: Backend) -> float: ...
    def execute(self, backend: Backend) -> Outcome: ...


def run_sequence(
    encoding: EncodedProducts,
    phases: Any,
    start: Any,
    backend: Backend,
    *,
    side: Side = "right",
    mode: str = "subspace",
    precision: str = "double",
) -> Outcome:
    """Run one circuit; see `Run` for the arguments and `run_sequences` for what is raised."""
    return run_sequences([Run(encoding, phases, start, side, mode, precision)], backend)[0]


def run_programs(programs: Sequence[Program], backend: Backend) -> list[Outcome]:
    """Run simulations: QSVT sequences side by side, others one by one. Raises as `run_sequences` does."""
    runs = [program for program in programs if isinstance(program, Run)]
    outcomes = iter(run_sequences(runs, backend) if runs else [])
    return [next(outcomes) if isinstance(program, Run) else program.execute(backend) for program in programs]


def run_sequences(runs: Sequence[Run], backend: Backend) -> list[Outcome]:
    """Run circuits, those of one kind together where the backend can share its launches among them.

    Raises NotEnoughMemoryError before memory is taken that is not there, and where it runs out all the same.
    """
    needed = sum(run.bytes_needed(run.mode, backend) for run in runs)
    smaller = sum(run.bytes_needed("subspace", backend) for run in runs)
    remedy = subspace_needs(smaller)
    if all(run.mode == "subspace" for run in runs):
        remedy = "Solve fewer right-hand sides or systems at once"
    check_memory("mode", needed, backend, remedy)
    outcomes: dict[int, Outcome] = {}

    def kind(place: int) -> tuple[str, str, str, str, int]:
        run = runs[place]
        return run.mode, run.encoding.name, run.dtype, run.side, run.start.shape[1]

    try:
        for (mode, *_), places in groupby(sorted(range(len(runs)), key=kind), key=kind):
            members = list(places)
            outcomes.update(zip(members, RUN_IN[mode]([runs[p] for p in members], backend), strict=True))
    except NotEnoughMemoryError:  # predicted, and says more
        raise
    except backend.out_of_memory as problem:
        what = f"ran out of memory on {backend.device}, {needed / 2**30:.3g} GiB were predicted ({problem})"
        raise NotEnoughMemoryError("mode", what, remedy) from problem
    return [outcomes[place] for place in range(len(runs))]
