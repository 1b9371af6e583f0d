"""Noise that a register can carry: wrong rotation angles, and depolarising errors, by trajectories.

A trajectory is one pure state. Its phases are phi_k + bias + phase_error * Gaussian, and after every query its register
meets, with probability p, an error that leaves it completely mixed on average: rho -> (1 - p) rho + p I/d, d the
dimension of all that the program runs on, with the qubit of the real part. Over trajectories |x_j|^2 and the success
probability are averaged, which is what can be measured; the sign of x_j is that of the averaged amplitude.

What to expect of the real amplitudes x_j of a circuit with Q queries, s the phase error in radians (no bias):
    depolarising   mean x_j = (1 - p)^Q x_j,            mean x_j^2 = (1 - p)^Q x_j^2 + (1 - (1 - p)^Q)/d
    phase_error    mean x_j = exp(-(Q + 1) s^2/2) x_j,  so |x_j| is wrong by O(Q s^2); one trajectory by O(sqrt(Q) s)
    phase_bias     no average: x_j is wrong by O(Q bias)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .backends.base import Backend
from .circuit import Gate, MatrixGate, qsvt_gates
from .errors import CombinationError, ParameterError
from .readout import check_integer, generator_for
from .simulation import Chain, Outcome, Run, by_column, largest_bond, run_sequences, start_of_system, truncation_of

REAL_PAULI = {
    "i": np.eye(2),
    "x": np.array([[0, 1], [1, 0]]),
    "y": np.array([[0, -1], [1, 0]]),
    "z": np.diag([1, -1]),
}
"""Up to phases that nothing observes; real, so that the real part of a circuit means the same with errors."""
REAL_PART_PAULI = {**REAL_PAULI, "y": np.array([[0, -1j], [1j, 0]]), "z": np.diag([1j, -1j])}
"""On the qubit of the real part, with psi in its |0> and the conjugate of psi in its |1>: so they stay conjugates."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation and bias of every phase, in radians, and the probability of depolarising after each query.

    trajectories: how many pure states stand for the mixed one, of those with and of those without depolarising errors;
    without random phases the latter are one. Raises ParameterError.
    """

    phase_error: float = 0.0
    phase_bias: float = 0.0
    depolarising: float = 0.0
    trajectories: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.phase_error) and self.phase_error >= 0):
            raise ParameterError("phase_error", f"{self.phase_error!r} is not a finite number >= 0", "Give radians")
        if not math.isfinite(self.phase_bias):
            raise ParameterError("phase_bias", f"{self.phase_bias!r} is not a finite number", "Give radians")
        if not 0 <= self.depolarising <= 1:
            raise ParameterError("depolarising", f"{self.depolarising!r} is not in [0, 1]", "Give a probability")
        check_integer("trajectories", self.trajectories, 1, "The default is 16")
        check_integer("seed", self.seed, 0, "The default is 0")

    @property
    def random(self) -> bool:
        return self.phase_error > 0 or self.depolarising > 0

    def __bool__(self) -> bool:
        return self.random or self.phase_bias != 0

    def check(self, mode: str) -> None:
        """Raise CombinationError for a mode that keeps no register that could be depolarised."""
        if self.depolarising > 0 and mode == "subspace":
            problem = "subspace keeps two vectors, and depolarising errors act on the register"
            raise CombinationError("mode", problem, "Use mode='fused' or 'circuit'")

    def generator(self, *path: int | str) -> np.random.Generator:
        """See `readout.generator_for`."""
        return generator_for(self.seed, *path)


@dataclass(frozen=True)
class NoisyRun:
    """A `Run`, or a `Chain` of them, under noise: a `simulation.Program`."""

    run: Any
    noise: Noise
    generator: np.random.Generator

    @property
    def measured(self) -> bool:
        return bool(self.run.measured)

    @property
    def queries(self) -> int:
        return int(self.run.queries)

    def bytes_needed(self, mode: str, backend: Backend) -> float:
        return float(self.run.bytes_needed(mode, backend))

    def execute(self, backend: Backend) -> Outcome:
        return run_with_noise(self.run, self.noise, backend, self.generator)


def run_with_noise(program: Run | Chain, noise: Noise, backend: Backend, generator: np.random.Generator) -> Outcome:
    """The outcome of a circuit under noise, averaged over trajectories; without noise that of `program.execute`.

    `register()` is that of the last trajectory. Raises CombinationError, and what `run_sequences` raises.
    """
    for run in program.runs if isinstance(program, Chain) else [program]:
        noise.check(run.mode)
    if not noise:
        return program.execute(backend)
    amplitude, square, probability, norm, truncation = 0.0, 0.0, 0.0, 0.0, 0.0
    bonds = []
    for weight, disturbed in trajectories(program, noise, generator):
        outcome = disturbed.execute(backend)
        amplitude = amplitude + weight * outcome.amplitudes
        square = square + weight * outcome.amplitudes**2
        probability = probability + weight * outcome.success_probability
        norm = norm + weight * outcome.register_norm**2
        truncation = max(truncation, outcome.truncation_error)
        bonds.append(outcome.bond_dimension)
    magnitude = backend.xp.sqrt(square)
    return replace(
        outcome,
        amplitudes=backend.xp.where(amplitude < 0, -magnitude, magnitude),
        success_probability=probability,
        register_norm=backend.xp.sqrt(norm),
        truncation_error=truncation,
        bond_dimension=largest_bond(bonds),
    )


def trajectories(
    program: Run | Chain, noise: Noise, generator: np.random.Generator
) -> Iterator[tuple[float, Run | Chain]]:
    """Programs that average, by their weights, to the program under noise.

    Those without depolarising errors have the weight (1 - p)^Q together, which is exact, and those with at least one
    have the rest, however rare they are. Without random phases one program stands for all that meet no error.
    """
    runs = program.runs if isinstance(program, Chain) else [program]
    unharmed = (1 - noise.depolarising) ** program.queries
    repeats = noise.trajectories if noise.phase_error else 1

    def disturbed(struck: np.ndarray) -> Run | Chain:
        firsts = np.cumsum([0, *(run.queries for run in runs)])
        wrong = [
            Trajectory.of(
                run, noise, frozenset((struck[(first <= struck) & (struck < last)] - first).tolist()), generator
            )
            for run, first, last in zip(runs, firsts, firsts[1:], strict=False)
        ]
        return replace(program, runs=wrong) if isinstance(program, Chain) else wrong[0]

    if unharmed > 0:
        for _ in range(repeats):
            yield unharmed / repeats, disturbed(np.empty(0, dtype=int))
    if unharmed < 1:
        for _ in range(noise.trajectories):
            yield (1 - unharmed) / noise.trajectories, disturbed(some_errors(program.queries, noise, generator))


def some_errors(queries: int, noise: Noise, generator: np.random.Generator) -> np.ndarray:
    """The numbers of the queries that meet an error, given that at least one does."""
    p, first = noise.depolarising, 0
    if p < 1:  # a geometric number, given that it is below `queries`
        below = generator.random() * -math.expm1(queries * math.log1p(-p))
        first = min(int(math.log1p(-below) / math.log1p(-p)), queries - 1)
    later = np.flatnonzero(generator.random(queries - first - 1) < p)
    return np.concatenate([[first], first + 1 + later]).astype(int)


@dataclass(frozen=True)
class Trajectory(Run):
    """A run with its wrong phases, whose queries of the numbers `struck` (0, 1, ...) are followed by an error."""

    struck: frozenset[int] = frozenset()
    generator: Any = None

    @classmethod
    def of(cls, run: Run, noise: Noise, struck: frozenset[int], generator: np.random.Generator) -> Trajectory:
        wrong = noise.phase_bias + noise.phase_error * generator.standard_normal(len(run.phases))
        kept = {f.name: getattr(run, f.name) for f in fields(Run)}
        return cls(**{**kept, "phases": run.phases + wrong}, struck=struck, generator=generator)

    def execute(self, backend: Backend) -> Outcome:
        if not self.struck:
            return run_sequences([self], backend)[0]
        if self.mode == "circuit":
            return by_column(self, backend, _gates_with_errors)
        disturbed = Depolarised(self.encoding, self.struck, self.generator, backend)
        return run_sequences([replace(self, encoding=disturbed)], backend)[0]


class Depolarised:
    """A block encoding whose queries of the numbers `struck` (0, 1, ...) are followed by a depolarising error.

    The error is a random shift of the register and a random sign of every amplitude. It is real, so that the real part
    means the same with it, and averages to the full depolarising channel: signs remove what is off the diagonal, shifts
    level the diagonal. The qubit of the real part holds psi in its |0> and the conjugate of psi in its |1>, so its Z
    multiplies psi by i; its X would conjugate psi, which changes no average after the signs.
    """

    def __init__(self, encoding: Any, struck: frozenset[int], generator: np.random.Generator, backend: Backend) -> None:
        self.encoding, self.struck, self.generator, self.noise_backend = encoding, struck, generator, backend
        self.name = f"{encoding.name} with errors"  # under its own name a backend would run its kernels, without errors
        self.query = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoding, name)

    def reflect(self, psi: Any) -> Any:
        psi = self.encoding.reflect(psi)
        if self.query in self.struck:
            psi = self._error(psi)
        self.query += 1
        return psi

    def _error(self, psi: Any) -> Any:
        backend, random, size = self.noise_backend, self.generator, len(psi)
        sign = backend.asarray((1 - 2 * random.integers(2, size=size)).astype(np.int8))
        psi = sign[:, None] * backend.xp.roll(psi, int(random.integers(size)), axis=0)
        return 1j * psi if random.integers(2) else psi


class NoisyBlock:
    """The gates of a block; each pass over them is one query, and those of `struck` end with a random Pauli string."""

    def __init__(
        self, gates: Sequence[Any], num_qubits: int, struck: frozenset[int], generator: np.random.Generator
    ) -> None:
        self.gates, self.num_qubits, self.struck, self.generator = gates, num_qubits, struck, generator
        self.query = 0

    def __iter__(self) -> Iterator[Any]:
        yield from self.gates
        if self.query in self.struck:
            yield from random_paulis(self.num_qubits, self.generator)
        self.query += 1


def _gates_with_errors(run: Trajectory, backend: Backend) -> Outcome:
    """The gate program with a random Pauli gate on every qubit after each of these queries."""
    encoding = run.encoding
    block, system = encoding.circuit(), encoding.system_qubits
    num_qubits = block.num_qubits + 1
    start, places = start_of_system(run, backend)
    state = backend.state_vector(start, num_qubits)
    noisy: Any = NoisyBlock(state.fuse(block), num_qubits, run.struck, run.generator)
    state.run(qsvt_gates(noisy, block.num_qubits, system, run.phases, encoding.excluded))
    amplitudes = state.lowest(1 << system)[places].real
    return Outcome(
        amplitudes=amplitudes,
        success_probability=(amplitudes * amplitudes).sum(axis=0),  # an error may leave a padded index: no success
        register_norm=backend.xp.sqrt(state.probability(())),
        queries=run.queries,
        register=lambda: state.amplitudes,
        **truncation_of(state),
    )


def random_paulis(num_qubits: int, generator: np.random.Generator) -> list[Gate]:
    """I, X, Y or Z on every qubit, with a random sign of all: a global phase, so that amplitudes average to zero."""
    chosen = generator.choice(list(REAL_PAULI), num_qubits)
    sign = 1 - 2 * int(generator.integers(2))
    system: list[Gate] = [MatrixGate(name, REAL_PAULI[name], (q,)) for q, name in enumerate(chosen[:-1])]
    return [*system, MatrixGate(chosen[-1], sign * REAL_PART_PAULI[chosen[-1]], (num_qubits - 1,))]
