"""The quantum machine of a comparison, stated: its gates, logical or physical, and what a run of it is charged for."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ParameterError, UnknownNameError

ACCESS = ("qram", "qrom")
READOUT = ("none", "copies", "inverse")
LEVELS = ("logical", "physical")
THRESHOLD = 1e-2
"""Of the surface code, in the error of a physical gate."""
CYCLE_GATES = 8
"""Physical gates one after the other in a cycle of the surface code (arXiv 1208.0928, figure 1)."""
FAILURE = 0.01
"""Probability that a whole solve may end in a logical error."""
LARGEST_ERROR = 0.99 * THRESHOLD  # nearer to it, no code of a size that means anything is enough
FACTORIES = ((11, 1), (15, 2))
"""Logical gate times that a T state takes, and rounds of 15-to-1 in it: 15-to-1 and 225-to-1 of arXiv 1808.02892."""


@dataclass(frozen=True)
class Hardware:
    """A quantum machine, for projections only: nothing here touches what is simulated.

    gate_time in seconds a gate, of the stated level. access: one query costs log2(N)^2 gates ("qram", the paper's
    assumption) or one gate for each stored entry ("qrom", loading is paid for). readout charged: "none" (the paper),
    "copies" (0.65 N/eps^2 preparations) or "inverse" (N/eps, arXiv 2207.08800). amplification: 2m + 1 runs instead of
    1/p. state_preparation: loading the right-hand side is charged in every run.

    level "logical": gate_time is that of an error-corrected gate. "physical": a logical gate takes d cycles of the
    surface code of 8 physical gates each, d odd and the smallest with
    gates * qubits * d * 0.1 (p/1e-2)^((d+1)/2) <= 0.01 over the whole solve, p = physical_error < 1e-2 (arXiv
    1808.02892, section 1; cycle: arXiv 1208.0928). factories: T states come from so many factories, one each per 11
    logical gate times (15-to-1, error 35 p^3), or per 15 (225-to-1) where the T gates of the solve need less error;
    None: they are never waited for. t_gates_per_gate: T gates a gate, where they are not counted. parallel: so many
    such processors share the runs that are independent of one another.
    """

    gate_time: float = 1e-7
    access: str = "qram"
    readout: str = "none"
    amplification: bool = True
    state_preparation: bool = False
    level: str = "logical"
    physical_error: float = 1e-3
    factories: int | None = None
    t_gates_per_gate: float = 1.0
    parallel: int = 1

    def __post_init__(self) -> None:
        if not (_is_number(self.gate_time) and 1e-24 <= self.gate_time <= 1e6):
            problem = f"{self.gate_time!r} is not a number of seconds between 1e-24 and 1e6"
            raise ParameterError("gate_time", problem, "Use for example 1e-7")
        for name, value, valid in (("access", self.access, ACCESS), ("readout", self.readout, READOUT),
                                   ("level", self.level, LEVELS)):  # fmt: skip
            if value not in valid:
                raise UnknownNameError.among(name, value, valid)
        if not (_is_number(self.physical_error) and 1e-12 <= self.physical_error <= LARGEST_ERROR):
            problem = (
                f"{self.physical_error!r} is not between 1e-12 and {LARGEST_ERROR:g}, where the surface code works"
            )
            raise ParameterError("physical_error", problem, "Use for example 1e-3")
        if not (_is_number(self.t_gates_per_gate) and 0 <= self.t_gates_per_gate <= 1e6):
            problem = f"{self.t_gates_per_gate!r} is not between 0 and 1e6"
            raise ParameterError("t_gates_per_gate", problem, "The default is 1: every gate takes a T state")
        for name in ("factories", "parallel"):
            value = getattr(self, name)
            if not (name == "factories" and value is None) and not (_is_integer(value) and 1 <= value <= 1e12):
                raise ParameterError(name, f"{value!r} is not an integer between 1 and 1e12", "Give a count such as 10")

    def code_distance(self, gates: float, qubits: float) -> int:
        """Of the surface code, for so many logical gates in all on `qubits` logical qubits; 1 for level "logical"."""
        if self.level == "logical":
            return 1
        volume = math.log(max(gates, 1.0)) + math.log(max(qubits, 1.0))

        def enough(half: int) -> bool:
            distance = 2 * half + 1
            error = math.log(0.1 * distance) + (half + 1) * math.log(self.physical_error / THRESHOLD)
            return volume + error <= math.log(FAILURE)

        return 2 * bisect_left(range(10**6), True, lo=1, key=enough) + 1

    def gate_seconds(self, gates: float, qubits: float) -> float:
        """Of one logical gate in a solve of so many."""
        return self._gate_times_of_one(gates, qubits) * self.gate_time

    def _gate_times_of_one(self, gates: float, qubits: float) -> int:
        return 1 if self.level == "logical" else CYCLE_GATES * self.code_distance(gates, qubits)

    def gates_per_t_state(self, t_gates: float) -> float:
        """Logical gate times between two T states of all factories; inf where none of them is good enough."""
        if self.factories is None:
            return 0.0
        if self.level == "logical":
            return FACTORIES[0][0] / self.factories
        log_error = math.log(self.physical_error)
        for time, rounds in FACTORIES:
            left = log_error
            for _ in range(rounds):
                left = math.log(35.0) + 3 * left
            if math.log(max(t_gates, 1.0)) + left <= math.log(FAILURE):
                return time / self.factories
        return math.inf

    def gate_times(
        self, gates: float, qubits: float, t_gates: float | None = None, in_sequence: float | None = None
    ) -> float:
        """Gate times of the stated level that so many logical gates take: seconds are this times gate_time, exactly.

        `in_sequence` of the gates (None: all) follow one another, the others run beside them (see `speedup`). T states
        (None: t_gates_per_gate for each gate) are waited for where the factories are slower. It does not depend on
        gate_time, and is monotone in gates, qubits, T gates and the physical error.
        """
        if not math.isfinite(gates):
            return math.inf
        t_gates = gates * self.t_gates_per_gate if t_gates is None else t_gates
        wait = t_gates / max(gates, 1.0) * self.gates_per_t_state(t_gates) if t_gates else 0.0  # for each gate
        return (gates if in_sequence is None else in_sequence) * max(1.0, wait) * self._gate_times_of_one(gates, qubits)

    def seconds(
        self, gates: float, qubits: float, t_gates: float | None = None, in_sequence: float | None = None
    ) -> float:
        """Projected seconds of so many logical gates on `qubits` logical qubits; see `gate_times`."""
        return self.gate_times(gates, qubits, t_gates, in_sequence) * self.gate_time

    def speedup(self, columns: float, repetitions: float, copies: float) -> float:
        """By which `parallel` processors are faster: independent runs, over those that the busiest of them does.

        Right-hand sides, copies that are read, and repetitions without amplification are independent; rounds of
        refinement, rounds of amplification, and readout by inverse access are not.
        """
        runs = columns * copies * (1.0 if self.amplification else repetitions)
        if self.parallel == 1 or runs <= 1 or not math.isfinite(runs):
            return 1.0
        return runs / math.ceil(runs / self.parallel)

    def assumptions(self) -> list[str]:
        """What a projection on this machine takes for granted, in words."""
        query = {
            "qram": "one query takes log2(N)^2 gates (QRAM, data loaded for free)",
            "qrom": "one query takes a gate for each stored entry (QROM, loading is paid for)",
        }
        readout = {
            "none": "reading the solution is not charged",
            "copies": "reading the solution takes 0.65 N/eps^2 preparations",
            "inverse": "reading the solution takes N/eps preparations (inverse access)",
        }
        gates = f"gate time {self.gate_time:.3g} s, error-corrected gates in sequence"
        if self.level == "physical":
            gates = (
                f"gate time {self.gate_time:.3g} s of a physical gate with error {self.physical_error:.3g}; a logical "
                f"gate is d cycles of the surface code of {CYCLE_GATES} gates each, d for {FAILURE:g} failures a solve"
            )
        return [
            gates,
            query[self.access],
            "failures are repaired by amplitude amplification" if self.amplification else "failed runs are repeated",
            readout[self.readout],
            "preparing the right-hand side is " + ("charged in every run" if self.state_preparation else "not charged"),
            *self._more_assumptions(),
        ]

    def _more_assumptions(self) -> list[str]:
        said = []
        if self.factories is not None:
            slow = " or 15" if self.level == "physical" else ""
            said.append(
                f"{self.factories} T factories, a state each per {FACTORIES[0][0]}{slow} logical gate times; "
                f"{self.t_gates_per_gate:g} T gates a gate where they are not counted"
            )
        if self.parallel > 1:
            said.append(f"{self.parallel} processors share independent runs (right-hand sides, copies, repetitions)")
        return said

    def honest(self) -> Hardware:
        """The same machine with readout and state preparation charged."""
        return replace(self, readout="inverse" if self.readout == "none" else self.readout, state_preparation=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
