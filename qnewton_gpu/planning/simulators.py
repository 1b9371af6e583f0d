"""Which simulators can hold a case on this machine, and how many simulated seconds each would take of it.

Bytes are those that the door of a solve checks (simulation/); seconds are predicted from rates that were measured
once (simulator_rates.py), never from timings of a run. Five ways to simulate a circuit are compared:
    subspace        two vectors of length N
    fused           the whole register
    circuit         2^qubits amplitudes, gate by gate (encodings with a gate program)
    tensornet       the same program as one tensor network, contracted exactly
    tensornet:chi   the same on matrix-product states of bond dimension at most chi
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..conditioning import estimate_spectrum
from ..errors import CombinationError, NotEnoughMemoryError, ParameterError, UnknownNameError
from ..operators import as_operator
from ..solvers import LinearSystem
from .simulation_cases import CHAIN, EXACT, case_of
from .simulator_rates import SimulatorRates, computing, known_rates
from .stated import StatedOperator, check_tolerance

SIMULATED_SOLVERS = ("qsvt", "kernel_reflection")
LARGEST_BOND = 1 << 20


@dataclass(frozen=True)
class Simulator:
    """One way to simulate a solve, what it takes here, and why it is recommended or not.

    `simulated_seconds` are predicted for one solve on this machine, phase factors and encoding made before; `qubits`
    are those of the gate program, None where there is none; `queries` are those that are simulated, over all rounds.
    Of tensor networks they are bounds: the path in time order, the largest bond from the first query to the last.
    A chain is exact only if its bond dimension suffices, which no prediction knows and every run reports.
    """

    name: str
    encoding: str
    qubits: int | None
    queries: int
    bytes: float
    available_bytes: float
    simulated_seconds: float
    why: str = ""
    recommended: bool = False

    @property
    def holds(self) -> bool:
        """Whether it fits into the memory that is free."""
        return self.bytes <= self.available_bytes

    @property
    def exact(self) -> bool:
        return not self.name.startswith(CHAIN)


def simulators(
    system: Any,
    solver: str = "qsvt",
    *,
    encoding: str = "auto",
    bond_dimension: int | None = None,
    tolerance: float = 1e-2,
    backend: Backend | str | None = None,
    rates: SimulatorRates | None = None,
) -> list[Simulator]:
    """Every simulator for this case: bytes, predicted simulated seconds, whether it fits, which one is recommended.

    `system`: a matrix as `qn.solve` takes it or an operator, for one right-hand side to `tolerance`; a `LinearSystem`
    with its own; or `stated_system`, which is charged for its matrix, too, and whose gate program is derived from its
    entries a row (matching: at most 2d - 1 colours). `solver`: "qsvt" or "kernel_reflection". `bond_dimension`: of
    matrix-product states; None: the largest that a register of so many qubits can need. `backend`: where it would be
    simulated, None: where the system is. `rates`: None: those of this machine if they were measured before, else the
    reference. Recommended is the fastest exact simulator that fits, and a chain
    only where none does. Raises UnknownNameError, ParameterError, CombinationError.

    >>> from qnewton_gpu.planning.stated import stated_system
    >>> found = simulators(stated_system(1024, kappa=100, row_nonzeros=8), bond_dimension=16)
    >>> [one.name for one in found]
    ['subspace', 'fused', 'circuit', 'tensornet', 'tensornet:16']
    >>> [one.name for one in found if one.recommended]
    ['subspace']
    """
    if solver not in SIMULATED_SOLVERS:
        raise UnknownNameError.among("solver", solver, SIMULATED_SOLVERS)
    _check_bond(bond_dimension)
    if not isinstance(system, LinearSystem):
        system = _system_of(system, tolerance, backend)
    chosen = computing(system.operator.backend if backend is None else select_backend(backend))
    known = known_rates(chosen) if rates is None else rates
    free = chosen.available_bytes()
    found = [
        _simulator(name, system, solver, encoding, bond_dimension, chosen, known, free)
        for name in ("subspace", "fused", "circuit", EXACT, CHAIN)
    ]
    return _judged(found)


def _system_of(matrix: Any, tolerance: float, backend: Backend | str | None) -> LinearSystem:
    check_tolerance(tolerance)
    where: Any = backend or getattr(matrix, "backend", "auto")
    operator = as_operator(matrix, select_backend(where))
    bounds = estimate_spectrum(operator, backend=operator.backend)
    # of b the number of columns is all that a prediction reads
    return LinearSystem(operator, operator.backend.xp.ones((1, 1)), bounds, tolerance)


def _check_bond(bond_dimension: Any) -> None:
    whole = isinstance(bond_dimension, (int, np.integer)) and not isinstance(bond_dimension, bool)
    if bond_dimension is not None and not (whole and 1 <= bond_dimension <= LARGEST_BOND):
        problem = f"{bond_dimension!r} is not a whole number from 1 to 2^20"
        raise ParameterError("bond_dimension", problem, "None is the largest that can be needed")


def _simulator(
    name: str, system: LinearSystem, solver: str, encoding: str, bond_dimension: int | None, backend: Backend,
    rates: SimulatorRates, free: float,
) -> Simulator:  # fmt: skip
    shown, bond = name + str(bond_dimension or "") if name == CHAIN else name, 1
    none = Simulator(shown, "-", None, 0, math.inf, free, math.inf)
    try:
        case = case_of(name, system, solver, encoding, backend)
        gates = case.qubits if name in ("circuit", EXACT, CHAIN) else None
        if name == CHAIN:
            most = 1 << min(case.qubits // 2, LARGEST_BOND.bit_length() - 1)
            bond = min(bond_dimension or most, most)
            shown = CHAIN + str(bond)
        none = replace(none, name=shown, encoding=case.encoding, qubits=gates, queries=case.queries)
        needed, seconds = case.bytes(shown, bond, backend), case.seconds(shown, bond, rates)
    except CombinationError as problem:
        return replace(none, why=f"{problem.argument}: {problem.problem}")
    except NotEnoughMemoryError as problem:
        return replace(none, why=problem.problem)
    if isinstance(system.operator, StatedOperator):
        needed += system.operator.product_bytes  # the matrix, which is not there yet
    if name == CHAIN and bond_dimension is None and needed > free:
        why = "too large at the largest bond dimension that its register can need; a stated one, such as 64, may do"
        return replace(none, bytes=needed, simulated_seconds=seconds, why=why)
    return replace(none, bytes=needed, simulated_seconds=seconds)


def _judged(found: Sequence[Simulator]) -> list[Simulator]:
    """The same with reasons; the fastest exact one that fits is recommended, else the fastest that fits."""
    fitting = [one for one in found if one.holds]
    best = min(fitting, key=lambda one: (not one.exact, one.simulated_seconds), default=None)
    return [replace(one, why=_why(one, best), recommended=one is best) for one in found]


def _why(one: Simulator, best: Simulator | None) -> str:
    if one.why:
        return one.why
    if not one.holds:
        return f"too large for the {in_units(one.available_bytes)} that are free"
    if one is best:
        only = "the only one that fits; whether its bond dimension suffices only a run tells, by its truncation error"
        return "the fastest exact one that fits" if one.exact else only
    assert best is not None
    ratio = one.simulated_seconds / best.simulated_seconds
    said = f"{ratio:.3g} times the seconds of {best.name}" if ratio >= 1.05 else f"no faster than {best.name}"
    return said if one.exact else f"{said}, if its bond dimension suffices"


def in_units(number: float) -> str:
    """Bytes in their largest unit.

    >>> in_units(1536), in_units(2**60), in_units(math.inf)
    ('1.5 KiB', '1.07e+09 GiB', '-')
    """
    if math.isinf(number):
        return "-"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 2**10:.3g} KiB"
