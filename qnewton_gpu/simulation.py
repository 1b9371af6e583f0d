"""The exact simulation of a QSVT circuit, in the modes that must agree.

One query is S, and after it a phase exp(i phi (2 T T^t - 1)) on the register psi:
    psi <- S psi ;  v = T^t psi ;  psi <- exp(-i phi) [ psi + (exp(2 i phi) - 1) T v ]
`fused` does that on the whole register. `subspace` keeps u, v in psi = T u + S T v, which is exact: S swaps the two
and the phase adds (exp(2 i phi) - 1)(u + (A/alpha) v) to u. T alternates between T_R and T_L where they differ.
`circuit` runs the gate program of an encoding that has one, gate by gate.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from .backends.base import Backend, Side
from .backends.tensornet import TensornetBackend
from .circuit import branch_gates
from .encodings import COMPOSED_WITH_GATES, WITH_GATES
from .encodings.base import BlockEncoding, EncodedProducts, other
from .errors import CombinationError, NotEnoughMemoryError, ParameterError, UnknownNameError
from .operators import check_memory

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


class Program(Protocol):
    """A simulation that a solver wants made: a `Run`, or what a solver that is no QSVT sequence executes itself."""

    @property
    def measured(self) -> bool: ...
    @property
    def queries(self) -> int: ...
    def bytes_needed(self, mode: str, backend: Backend) -> float: ...
    def execute(self, backend: Backend) -> Outcome: ...


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
        return 7 * 16.0 * size * columns
    each_column, tables = backend.register_bytes
    return float(register_size) * (each_column * columns + tables)


def check_simulation_memory(mode: str, size: int, register_size: int, columns: int, backend: Backend) -> None:
    """Raise NotEnoughMemoryError, which says what is needed and what would fit, before the simulation takes it."""
    subspace = predicted_bytes("subspace", size, register_size, columns, backend)
    if mode != "subspace":
        fits = _subspace_needs(subspace)
    else:
        fits = (
            f"About {int(backend.available_bytes() / subspace * size * columns)} unknowns (N times columns) would fit"
        )
    check_memory("mode", predicted_bytes(mode, size, register_size, columns, backend), backend, fits)


def check_circuit_memory(encoding: Any, columns: int, backend: Backend) -> None:
    """Raise NotEnoughMemoryError where the tensor network of one query already takes more than there is.

    More queries make it longer, but hardly larger. State vectors are checked by their size.
    """
    if not isinstance(backend, TensornetBackend) or backend.bond_dimension is not None:
        return
    block, system = encoding.circuit(), encoding.system_qubits
    state: Any = backend.state_vector(np.zeros((1 << system, columns)), block.num_qubits)
    state.run(branch_gates(state.fuse(block), block.num_qubits, system, np.zeros(2)))
    state.check_lowest(1 << system)


def _subspace_needs(bytes_needed: float) -> str:
    return f"mode='subspace' needs {bytes_needed / 2**20:.3g} MiB for the same answer"


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
    remedy = _subspace_needs(smaller)
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
            outcomes.update(zip(members, MODES[mode]([runs[p] for p in members], backend), strict=True))
    except NotEnoughMemoryError:  # predicted, and says more
        raise
    except backend.out_of_memory as problem:
        what = f"ran out of memory on {backend.device}, {needed / 2**30:.3g} GiB were predicted ({problem})"
        raise NotEnoughMemoryError("mode", what, remedy) from problem
    return [outcomes[place] for place in range(len(runs))]


def _programs(runs: Sequence[Run], make: Callable[[list[Any], str], Any]) -> Iterator[tuple[Sequence[Run], Any]]:
    """The runs with the backend's program for them: one for all, or else one for each; None where it has none."""
    program = make([run.encoding for run in runs], runs[0].dtype)
    if program is not None or len(runs) == 1:
        yield runs, program
        return
    for run in runs:
        yield [run], make([run.encoding], run.dtype)


def _subspace(runs: Sequence[Run], backend: Backend) -> list[Outcome]:
    outcomes = []
    for members, program in _programs(runs, backend.subspace_program):
        if program is None:
            vectors = [_two_vectors(run, backend) for run in members]
        else:
            pairs = program.run([run.phases for run in members], [run.start for run in members])
            vectors = [(x, y, run.encoding.matvec(y)) for run, (x, y) in zip(members, pairs, strict=True)]
        outcomes += [_of_two_vectors(run, *three, backend) for run, three in zip(members, vectors, strict=True)]
    return outcomes


def _two_vectors(run: Run, backend: Backend) -> tuple[Any, Any, Any]:
    """x, y and T_side^t S T_other y, psi = exp(-i sum of phases) (T_side x + S T_other y): one product a query."""
    xp, encoding, side = backend.xp, run.encoding, run.side
    product = {"right": encoding.rmatvec, "left": encoding.matvec}
    x, y, image = run.start.astype(xp.complex128), None, None
    for k, phi in enumerate(run.phases[::-1]):
        if k:
            x, y, side = y, x, other(side)
            image = product[side](y)
            if x is None:
                x = xp.zeros_like(image)
            change = x + image
            change *= cmath.exp(2j * phi) - 1
            x += change
        else:
            x *= cmath.exp(2j * phi)
    return x, y, image


def _of_two_vectors(run: Run, x: Any, y: Any, image: Any, backend: Backend) -> Outcome:
    xp, encoding = backend.xp, run.encoding
    side = run.side if run.queries % 2 == 0 else other(run.side)
    # the factors exp(-i phi) are common to x and y: one multiplication at the end
    common = cmath.exp(-1j * math.fsum(run.phases))
    x = x * common
    norm = encoding.inner(x, x, side).real
    if run.queries == 0:
        return _outcome(run, x.real, norm, lambda: encoding.lift(x, side), xp)
    y, image = y * common, image * common
    norm = norm + encoding.inner(y, y, other(side)).real + 2 * encoding.inner(x, image, side).real

    def register() -> Any:
        return encoding.lift(x, side) + encoding.reflect(encoding.lift(y, other(side)))

    return _outcome(run, (x + image).real, norm, register, xp)


def _fused(runs: Sequence[Run], backend: Backend) -> list[Outcome]:
    outcomes = []
    for members, program in _programs(runs, backend.register_program):
        if program is None:
            registers = [_whole_register(run, backend) for run in members]
        else:
            phases, starts = [run.phases for run in members], [run.start for run in members]
            registers = program.run(phases, starts, members[0].side)
        outcomes += [_of_register(run, *pair, backend) for run, pair in zip(members, registers, strict=True)]
    return outcomes


def _of_register(run: Run, psi: Any, lowered: Any, backend: Backend) -> Outcome:
    return _outcome(run, lowered.real, (psi.real**2 + psi.imag**2).sum(axis=0), lambda: psi, backend.xp)


def _whole_register(run: Run, backend: Backend) -> tuple[Any, Any]:
    """psi and T^t psi: the three lines of a query, written out; psi is kept in the precision of the run."""
    encoding: BlockEncoding = run.encoding
    side, psi = run.side, encoding.lift(run.start.astype(run.dtype), run.side)
    for k, phi in enumerate(run.phases[::-1]):
        if k:
            psi, side = encoding.reflect(psi), other(side)
        v = encoding.lower(psi, side)
        psi = (psi + encoding.lift((cmath.exp(2j * phi) - 1) * v, side)).astype(run.dtype, copy=False)
    psi *= cmath.exp(-1j * math.fsum(run.phases))  # the factors exp(-i phi) are common: one multiplication at the end
    return psi, encoding.lower(psi, side)


def _circuit(runs: Sequence[Run], backend: Backend) -> list[Outcome]:
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


def truncation_of(state: Any) -> dict[str, Any]:
    """`truncation_error` and `bond_dimension` of an Outcome, where registers are matrix-product states."""
    if not hasattr(state, "truncation_error"):
        return {}
    return {"truncation_error": float(max(state.truncation_error)), "bond_dimension": state.bond_dimension}


def largest_bond(bonds: Iterable[int | None]) -> int | None:
    """Of the registers that have bonds; None where none has."""
    return max((bond for bond in bonds if bond is not None), default=None)


def _outcome(run: Run, amplitudes: Any, norm: Any, register: Callable[[], Any], xp: Any) -> Outcome:
    probability = run.encoding.inner(amplitudes, amplitudes, run.end)
    return Outcome(amplitudes, probability, xp.sqrt(norm), run.queries, register)


MODES = {"subspace": _subspace, "fused": _fused, "circuit": _circuit}
