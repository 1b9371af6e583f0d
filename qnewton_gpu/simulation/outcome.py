"""What a simulated circuit leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """The register after the circuit. Columns are independent runs, each started from a unit vector."""

    amplitudes: Any
    """Re T^t psi, (N, k): what post-selection on success leaves, read exactly."""
    success_probability: Any
    """||Re T^t psi||^2 for each column, from the simulated register."""
    register_norm: Any
    """||psi|| for each column: 1 but for rounding."""
    queries: int
    register: Callable[[], Any]
    """psi itself, (register_size, k), made on request; of a gate program 2^qubits amplitudes, the real part aside."""
    runs: Any | None = None
    """Runs of the circuit that the readout took, (k,); None where amplitudes were read exactly."""
    preparations: Any | None = None
    """Those of them that passed post-selection, (k,)."""
    truncation_error: float = 0.0
    """Bound of ||simulated - exact register|| for the worst column, where registers are matrix-product states."""
    bond_dimension: int | None = None
    """The largest bond of such registers; None of registers that are kept whole."""


def outcome_of(run: Any, amplitudes: Any, norm: Any, register: Callable[[], Any], xp: Any) -> Outcome:
    probability = run.encoding.inner(amplitudes, amplitudes, run.end)
    return Outcome(amplitudes, probability, xp.sqrt(norm), run.queries, register)


def truncation_of(state: Any) -> dict[str, Any]:
    """`truncation_error` and `bond_dimension` of an Outcome, where registers are matrix-product states."""
    if not hasattr(state, "truncation_error"):
        return {}
    return {"truncation_error": float(max(state.truncation_error)), "bond_dimension": state.bond_dimension}


def largest_bond(bonds: Iterable[int | None]) -> int | None:
    """Of the registers that have bonds; None where none has."""
    return max((bond for bond in bonds if bond is not None), default=None)
