"""The exact simulation of a QSVT circuit, in the modes that must agree.

One query is S, and after it a phase exp(i phi (2 T T^t - 1)) on the register psi:
    psi <- S psi ;  v = T^t psi ;  psi <- exp(-i phi) [ psi + (exp(2 i phi) - 1) T v ]
`fused` does that on the whole register. `subspace` keeps u, v in psi = T u + S T v, which is exact: S swaps the two
and the phase adds (exp(2 i phi) - 1)(u + (A/alpha) v) to u. T alternates between T_R and T_L where they differ.
`circuit` runs the gate program of an encoding that has one, gate by gate.
"""

from .gates import by_column, start_of_system
from .modes import (
    MODES,
    RegisterBudget,
    check_circuit_memory,
    check_mode,
    check_simulation_memory,
    choose_mode,
    mode_on,
    predicted_bytes,
)
from .outcome import Outcome, largest_bond, truncation_of
from .runs import RUN_IN, Chain, Program, Run, run_programs, run_sequence, run_sequences

__all__ = [
    "MODES",
    "RUN_IN",
    "Chain",
    "Outcome",
    "Program",
    "RegisterBudget",
    "Run",
    "by_column",
    "check_circuit_memory",
    "check_mode",
    "check_simulation_memory",
    "choose_mode",
    "largest_bond",
    "mode_on",
    "predicted_bytes",
    "run_programs",
    "run_sequence",
    "run_sequences",
    "start_of_system",
    "truncation_of",
]
