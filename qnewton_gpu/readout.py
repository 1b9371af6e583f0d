"""Readout: how the amplitudes that a circuit leaves become numbers. Exactly, or from finitely many shots.

A simulator reads x = Re T^t psi as it is. An experiment runs the circuit until S runs have passed post-selection
(probability p = ||x||^2), measures an index in each, and estimates
    |x_j| ~ r_j = sqrt(c_j/runs),  c_j of the S outcomes being j,  runs ~ S + NegativeBinomial(S, p),
whose norm sqrt(S/runs) is an estimate, too. Signs come from S more outcomes of the interference of x with the state r,
under a flag qubit between two Hadamard gates: the flag and j are found with probability (x_j +- r_j)^2/4, and the
majority decides. The l2 error is 0.55 - 0.65 sqrt(N/S). Source: Kerenidis and Prakash, arXiv 1808.09266, section 4.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .backends.base import Backend
from .circuit import Circuit
from .errors import ParameterError, UnknownNameError

READOUTS = ("exact", "shots")
LEAST_PROBABILITY = 1e-290  # below it squares of amplitudes underflow
MOST_FAILURES = (
    2.0**61
)  # int64 counts runs, twice so many; no circuit with so small a success probability is worth waiting for


def generator_for(seed: int, *path: int | str) -> np.random.Generator:
    """The random numbers of one place: the same (seed, step, system, round, ...) always gives the same ones."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in (seed, *path)]
    return np.random.default_rng(np.random.SeedSequence(words))


@dataclass(frozen=True)
class Reading:
    """What a readout gave, for k columns."""

    amplitudes: Any
    """(N, k), an array of the backend; their norm estimates the root of the success probability."""
    runs: np.ndarray | None = None
    """Runs of the circuit, post-selected or not, (k,); None where the amplitudes were read exactly."""
    preparations: np.ndarray | None = None
    """Runs among them that passed post-selection, (k,)."""


@dataclass(frozen=True)
class Readout:
    """kind "exact", or "shots": S = shots_per_unknown * N successful runs for magnitudes and as many for signs.

    Raises UnknownNameError and ParameterError.

    >>> readout = Readout("shots", shots_per_unknown=10_000)
    >>> x = np.array([[0.6], [-0.3], [0.0]])
    >>> from qnewton_gpu.backends import select_backend
    >>> reading = readout.read(x, (x * x).sum(axis=0), readout.generator("an example"), select_backend("cpu"))
    >>> bool(abs(reading.amplitudes - x).max() < 0.01), reading.preparations.tolist()
    (True, [60000])
    """

    kind: str = "exact"
    shots_per_unknown: int = 100
    seed: int = 0
    typical_error: ClassVar[float] = 0.6
    """l2 error in units of sqrt(N/S)."""

    def __post_init__(self) -> None:
        if self.kind not in READOUTS:
            raise UnknownNameError.among("readout", self.kind, READOUTS)
        check_integer("shots_per_unknown", self.shots_per_unknown, 1, "The default is 100")
        check_integer("seed", self.seed, 0, "The default is 0")

    @property
    def exact(self) -> bool:
        return self.kind == "exact"

    @property
    def error(self) -> float:
        """The relative l2 error to be expected of one reading: 0.6/sqrt(shots_per_unknown)."""
        return 0.0 if self.exact else self.typical_error / self.shots_per_unknown**0.5

    def preparations(self, unknowns: int) -> float | None:
        """Successful runs that one reading of so many amplitudes takes; None where they are read exactly."""
        return None if self.exact else 2.0 * self.shots_per_unknown * unknowns

    def generator(self, *path: int | str) -> np.random.Generator:
        """See `generator_for`."""
        return generator_for(self.seed, *path)

    def read(
        self, amplitudes: Any, success_probability: Any, generator: np.random.Generator, backend: Backend
    ) -> Reading:
        """Read k columns of Re T^t psi, (N, k), whose squared norms are `success_probability`, (k,).

        Exact readout leaves the arrays where they are; shots take the N numbers of a column through the host, once. A
        column of zeros, which no successful run can leave, takes no runs.
        """
        if self.exact:
            return Reading(amplitudes)
        x, p = backend.to_numpy(amplitudes), np.clip(backend.to_numpy(success_probability), 0.0, 1.0)
        shots = self.shots_per_unknown * len(x)
        read, runs = np.where(np.isfinite(x), 0.0, np.nan), np.zeros(x.shape[1], dtype=np.int64)
        for column in np.flatnonzero(p > LEAST_PROBABILITY):
            read[:, column], runs[column] = read_by_shots(x[:, column], p[column], shots, generator)
        return Reading(backend.asarray(read), runs, np.where(runs > 0, 2 * shots, 0))


def as_readout(readout: Readout | str | None) -> Readout:
    """A Readout, the kind of one by name, or None for exact amplitudes. Raises UnknownNameError, ParameterError."""
    if isinstance(readout, str):
        return Readout(readout)
    if not isinstance(readout, (Readout, type(None))):
        raise ParameterError("readout", f"{readout!r} is no Readout", "Pass qn.Readout('shots'), or 'exact'")
    return readout or Readout()


def read_by_shots(x: np.ndarray, p: float, shots: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """The estimate of x, (N,), from 2 * shots successful runs, and how many runs these took."""
    runs = runs_until(shots, p, generator)
    square = x * x
    magnitude = np.sqrt(generator.multinomial(shots, square / square.sum()) / runs)
    # the reference has norm sqrt(shots/runs), so the flagged circuit succeeds about as often as x does
    plus, minus = (x + magnitude) ** 2, (x - magnitude) ** 2
    both = np.concatenate([plus, minus])
    success = min((p + shots / runs) / 2, 1.0)
    found = generator.multinomial(shots, both / both.sum())
    sign = np.where(found[: len(x)] >= found[len(x) :], 1.0, -1.0)
    return sign * magnitude, runs + runs_until(shots, success, generator)


def runs_until(successes: int, p: float, generator: np.random.Generator) -> int:
    """Runs until so many of them succeeded: a negative binomial number, drawn as a Poisson number of gamma rate."""
    failures = generator.poisson(min(generator.gamma(successes, (1 - p) / p), MOST_FAILURES))
    return successes + int(failures)


def sample_program(
    program: Circuit, start: Any, system_qubits: int, shots: int, generator: np.random.Generator, backend: Backend
) -> tuple[np.ndarray, int]:
    """Run a gate program on `start`, (N, 1), until all qubits above the system were measured in |0> `shots` times.

    Returns how often each system index was found then, (2^system_qubits,), and the runs that it took: what `Readout`
    draws without gates. Raises ParameterError where the program cannot succeed.
    """
    state = backend.state_vector(start, program.num_qubits)
    state.run(program)
    p = float(state.probability(range(system_qubits, program.num_qubits))[0])
    if p < 1e-9:
        raise ParameterError("program", f"succeeds with probability {p:.1e}", "Check its start and its phases")
    counts, runs = np.zeros(1 << system_qubits, dtype=np.int64), 0
    while missing := shots - int(counts.sum()):
        batch = min(int(missing / p) + 1, 1 << 20)
        found = np.asarray(state.sample(batch, int(generator.integers(1 << 31))))
        passed = np.flatnonzero(found >> system_qubits == 0)[:missing]
        counts += np.bincount(found[passed], minlength=len(counts))
        runs += int(passed[-1]) + 1 if len(passed) == missing else batch
    return counts, runs


def check_integer(name: str, value: Any, least: int, remedy: str) -> None:
    """Raise ParameterError where value is no integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ParameterError(name, f"{value!r} is not an integer >= {least}", remedy)
