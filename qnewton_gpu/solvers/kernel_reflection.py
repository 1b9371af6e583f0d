"""Kernel reflection (Dalzell, arXiv 2406.12086): x as the kernel of one matrix, in about kappa ln(2 sqrt2/eps) queries.

With ||b|| = 1 and a guess t of ||x||,  H' = diag(H, 1/t),  b' = (b, 1)/sqrt2,  Q = I - b' b'^t,  the kernel of Q H' is
(x, t). The circuit applies F = 2E - 1, nearly the reflection about that kernel, to e_(N+1):
    out = Re T^t psi,  x = t out[:N]/(2q),  ||x|| = t sqrt((1 - q)/q),  q = (1 + out[N])/2,  out scaled to max|F|
and succeeds with probability 0.96 * 4 r^2/(1 + r^2)^2, r = t/||x||. In Newton's method t comes from the step before.
Without a guess it is searched for: the projection E finds e_(N+1) in the kernel with probability 1/(1 + (||x||/t)^2),
and bisecting log t takes log2 log kappa probes of a few runs each.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..backends.base import Backend
from ..backends.counting import count
from ..circuit import Circuit, qsvt_circuit
from ..encodings.base import BlockEncoding, Coordinates, Side
from ..encodings.composition import extended
from ..polynomials import eigenstate_filter_polynomial, kernel_reflection_polynomial, phases_for, round_up_to_grid
from ..readout import generator_for
from ..simulation import Outcome, Program, Run
from .base import LinearSystem, column_norms, divisors
from .method import Method, Round
from .quantum import QuantumSolver
from .refinement import STAGNATION

REFLECTION_BYTES = 32.0
"""Taken by a dense reflection that prepares (b, 1)/sqrt2, while it is made, for each of its entries."""
VOTES = 9
CLEAR = (2, VOTES - 3)
"""Votes that tell ||x||/t. A t far too large wins with probability 0.96 only, and 7 votes of 9 happen then, too."""
PROBE_ERROR = 0.1
CLOSE = 4.0
"""Factor between the ends of a norm search at which it stops."""


@dataclass(frozen=True)
class KernelReflection(QuantumSolver):
    """Kernel reflection on any symmetric block encoding; the guess of ||x|| is `LinearSystem.expected_norm`."""

    name: str = "kernel_reflection"
    noisy: ClassVar[bool] = True

    def method(self, system: LinearSystem, backend: Backend) -> Method:
        return KernelReflectionMethod(self, system, self.encode(system, backend), backend)

    def expected_success(self, system: LinearSystem) -> float | None:
        return 0.9 if system.expected_norm is not None else 0.5


class KernelReflectionMethod(Method):
    """The circuit of one system; ratio is the guess of ||x||/||b||, (k,), once there is one."""

    def __init__(self, solver: QuantumSolver, system: LinearSystem, encoding: BlockEncoding, backend: Backend) -> None:
        self.ratio: Any = None
        if system.expected_norm is not None:
            norms = backend.to_numpy(column_norms(system.rhs, backend))
            self.ratio = np.where(norms > 0, system.expected_norm / np.where(norms > 0, norms, 1.0), 1.0)
        self._rounds = 0
        self._last: Run | None = None
        super().__init__(solver, system, encoding, backend)

    def _limits(self) -> tuple[float, float]:
        """||x||/||b|| lies between 1/||H|| and 1/|lambda|_min."""
        return 1 / self.encoding.alpha, self.kappa / self.encoding.alpha

    def _clipped(self, ratio: Any) -> Any:
        return np.clip(ratio, *self._limits())

    def polynomial(self, epsilon: float) -> Any:
        """F for a relative residual of epsilon, whatever kappa: ||Q H' e_(N+1)|| = 1/(sqrt2 t), so a filter error of e
        leaves ||b - H x|| <= e/q. Half of it is allowed for a guess of ||x|| that is off by a third (q = 0.35).
        """
        return kernel_reflection_polynomial(round_up_to_grid(self.kappa), epsilon / (2 * math.sqrt(2)))

    def probe(self) -> Any:
        return eigenstate_filter_polynomial(round_up_to_grid(self.kappa), PROBE_ERROR)

    def most_probes(self) -> int:
        """Bisections of log t until its ends are close; by kappa on the grid, so that one ulp cannot add one."""
        return max(1, math.ceil(math.log2(max(2.0, math.log(round_up_to_grid(self.kappa)) / math.log(CLOSE)))))

    def queries(self, epsilon: float) -> int:
        return self.polynomial(epsilon).degree

    def search(self) -> tuple[int, int]:
        """At most: a search ends as soon as ||x|| is known to a factor."""
        runs = 0 if self.ratio is not None else self.most_probes() * VOTES
        return runs * self.probe().degree, runs

    def resources(self) -> dict[str, Any]:
        """Degree and kappa, and what the gate program of the last round is made of (of its first column)."""
        epsilon, _ = self.split()
        polynomial = self.polynomial(epsilon)
        resources: dict[str, Any] = {"degree": polynomial.degree, "kappa_on_grid": polynomial.kappa}
        if self.mode == "circuit" and self._last is not None:
            one = self._last.encoding.column(0)
            program = qsvt_circuit(one.circuit(), one.system_qubits, self._last.phases, one.excluded)
            resources["gates"] = count(program)
        return resources

    def round(self, x: Any, residual: Any, epsilon: float) -> Generator[Program, Outcome, Round]:
        xp, backend = self.backend.xp, self.backend
        norms = column_norms(residual, backend)
        direction = residual / divisors(norms, backend)
        probes = 0
        if self.ratio is None:
            probes = yield from self._search(direction)
        ratio = backend.asarray(self._clipped(self.ratio))
        polynomial = self.polynomial(epsilon)
        phases = phases_for(polynomial)
        self._last = self._run(direction, ratio, phases)
        outcome = yield self._last
        gain = phases.sup_norm / phases.scale
        out = outcome.amplitudes
        # rounding may take q out of (0, 1) where the guess is far off
        q = xp.clip((1 + gain * out[-1]) / 2, 1e-12, 1 - 1e-12)
        self.ratio = backend.to_numpy(ratio * xp.sqrt((1 - q) / q))
        # with a guess far too small e/q promises little: such a round tells the norm, while that still grows
        missed = (norms > 0) & (polynomial.relative_error > STAGNATION * q)
        again = bool((missed & (backend.asarray(self._clipped(self.ratio)) > 1.1 * ratio)).any())
        self._rounds += 1
        searched = probes * VOTES * self.probe().degree
        return Round(
            # x/||b|| = t (E e)[:N]/(E e)[N] with F = 2E - 1: scaled so that the last row of H' holds exactly
            x=xp.where(missed & again, x, x + norms * (ratio * gain / (2 * q)) * out[:-1]),
            outcome=replace(outcome, success_probability=(out[:-1] ** 2).sum(axis=0)),
            active=norms > 0,
            queries=outcome.queries + searched,
            again=again,
            errors={"polynomial": epsilon, "phases": phases.error * gain},
            gain=gain * float((ratio / (2 * q)).max()) * self.system.norm,
            details={
                "degree": polynomial.degree,
                "kappa_on_grid": polynomial.kappa,
                "norm_search_queries": searched,
                "norm_search_runs": probes * VOTES,
            },
        )

    def _run(self, direction: Any, ratio: Any, phases: Any, **options: Any) -> Run:
        xp = self.backend.xp
        encoding = KernelOf(
            extended(self.encoding, xp.minimum(1 / ratio, self.encoding.alpha)), direction, self.backend
        )
        start = xp.zeros((len(direction) + 1, direction.shape[1]))
        start[-1] = 1.0
        precision = self.solver.precision_of(phases, self.mode)
        return Run(encoding, phases.reflection, start, "right", self.mode, precision, **options)

    def _search(self, direction: Any) -> Generator[Program, Outcome, int]:
        """Bisect log t, each column for itself, by the majority of VOTES runs; returns the number of probes."""
        columns = direction.shape[1]
        low, high = (np.full(columns, end) for end in self._limits())
        phases = phases_for(self.probe())
        generator = generator_for(self.system.seed, self.system.name, "norm search", self._rounds)
        found, probes = np.zeros(columns, dtype=bool), 0
        ratio = np.sqrt(low * high)
        while not found.all() and probes < self.most_probes():
            outcome = yield self._run(direction, self.backend.asarray(ratio), phases, measured=False, repeats=VOTES)
            probes += 1
            p = np.clip(self.backend.to_numpy(outcome.success_probability), 0.0, 1.0)
            votes = generator.binomial(VOTES, p)
            q = np.clip(votes / VOTES, 0.5 / VOTES, 1 - 0.5 / VOTES) * (phases.sup_norm / phases.scale) ** 2
            clear = (votes >= CLEAR[0]) & (votes <= CLEAR[1])
            estimate = ratio * np.sqrt(np.maximum(1 - q, 0.02) / q)
            low = np.where(~found & (votes < CLEAR[0]), ratio, low)  # e_(N+1) is hardly in the kernel: t is too small
            high = np.where(~found & (votes > CLEAR[1]), ratio, high)
            ratio = np.where(found, ratio, np.where(clear, estimate, np.sqrt(low * high)))
            found |= clear | (high / low < CLOSE)
        self.ratio = ratio
        return probes


class KernelOf(Coordinates):
    """Q H'/alpha for an encoding of H': the right projector is T T^t and the left one T Q T^t, without an ancilla.

    As gates: the phase of the left projector is that of the right one, and its opposite on the state b', between a
    preparation of b' and its inverse. Columns have each their own t and b', and so their own circuits.
    """

    name = "kernel reflection"
    symmetric = False

    def __init__(self, inner: Any, direction: Any, backend: Backend) -> None:
        xp = backend.xp
        self.encoded, self.operator, self.alpha = inner, inner.operator, inner.alpha
        self.system_qubits, self.ancilla_qubits, self.epsilon = inner.system_qubits, inner.ancilla_qubits, inner.epsilon
        self.register_size, self.shape, self.backend = inner.register_size, inner.shape, backend
        self.same_for_all = direction.shape[1] == 1
        self.gate_bytes = inner.gate_bytes + REFLECTION_BYTES * 4**self.system_qubits
        # a column without b gets a projector, too: b' is the last unit vector
        self._direction = direction
        b = xp.concatenate([direction, xp.ones((1, direction.shape[1]))])
        self._b = b / xp.sqrt((b * b).sum(axis=0))

    @property
    def places(self) -> Any:
        return self.encoded.places

    def column(self, k: int) -> KernelOf:
        return self if self.same_for_all else KernelOf(self.encoded.column(k), self._direction[:, [k]], self.backend)

    def circuit(self) -> Circuit:
        """That of H'."""
        program: Circuit = self.encoded.circuit()
        return program

    @property
    def excluded(self) -> Circuit:
        """One reflection that takes |0> to |b'>."""
        amplitude = np.zeros(1 << self.system_qubits)
        amplitude[self.places] = self.backend.to_numpy(self._b)[:, 0]
        program = Circuit(self.system_qubits)
        program.prepare(amplitude, range(self.system_qubits))
        return program

    def _project(self, v: Any) -> Any:
        return v - self._b * (self._b * v).sum(axis=0)

    def matvec(self, v: Any) -> Any:
        return self._project(self.encoded.matvec(v))

    def rmatvec(self, u: Any) -> Any:
        return self.encoded.rmatvec(self._project(u))

    def lift(self, v: Any, side: Side) -> Any:
        return self.encoded.lift(v if side == "right" else self._project(v), side)

    def lower(self, psi: Any, side: Side) -> Any:
        v = self.encoded.lower(psi, side)
        return v if side == "right" else self._project(v)

    def reflect(self, psi: Any) -> Any:
        return self.encoded.reflect(psi)
