"""Iterative refinement around any quantum solver: rounds until the FP64 residual is within tolerance, or cannot be.

A round at accuracy epsilon multiplies the FP64 residual by at most epsilon, because the solution keeps its norm. One
long circuit takes the fewest queries while its parameters are cheap; below the tightest accuracy of a round, rounds of
equal accuracy share one shorter circuit.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.base import Backend
from ..conditioning import FP64_EPSILON
from ..errors import NotEnoughMemoryError
from ..noise import NoisyRun
from ..readout import generator_for
from ..simulation import Outcome, Program, largest_bond, run_programs
from .base import LinearSystem, Solution, Status, beyond_double_precision, certify, column_norms, divisors, growth
from .method import Method, Round

if TYPE_CHECKING:
    from .quantum import QuantumSolver

TIGHTEST_ROUND = 1e-6
STAGNATION = 0.5
TRUNCATED = 0.1
"""Share of a stagnation that truncation has to explain to be named as its cause: its bound is a cautious one."""
LARGEST_DRIFT = {"double": 1e-6, "auto": 1e-3}
"""Of the register's norm from 1, by the solver's precision: FP32 rounds by 6e-8 a query."""
End = tuple[Status, str]


def split_tolerance(tolerance: float, tightest: float = TIGHTEST_ROUND) -> tuple[float, int]:
    """(epsilon of a round, number of rounds) with epsilon^rounds = tolerance and epsilon >= tightest.

    >>> split_tolerance(1e-2)
    (0.01, 1)
    """
    if tolerance >= tightest:
        return min(tolerance, 0.5), 1
    rounds = math.ceil(math.log(tolerance) / math.log(tightest) - 1e-9)
    return tolerance ** (1 / rounds), rounds


def run_side_by_side(refinements: Sequence[Refinement], backend: Backend) -> list[End]:
    """Take each refinement to the circuit that it wants run next, run these circuits together, and so on to the end."""
    rounds = [refinement.rounds() for refinement in refinements]
    results: dict[int, Outcome | Exception | None] = dict.fromkeys(range(len(rounds)))
    ends: dict[int, End] = {}
    while results:
        wanted: dict[int, Program] = {}
        for place, result in results.items():
            advance: Any = rounds[place].throw if isinstance(result, Exception) else rounds[place].send
            try:
                wanted[place] = refinements[place].disturbed(advance(result))
            except StopIteration as stopped:
                ends[place] = stopped.value
            except _memory_errors(backend) as problem:
                ends[place] = Status.NO_MEMORY, f"The simulation ran out of memory ({problem})."
        results = {
            place: result if isinstance(result, Exception) else refinements[place].read(result, wanted[place])
            for place, result in (_results(wanted, backend) if wanted else {}).items()
        }
    return [ends[place] for place in range(len(rounds))]


def _memory_errors(backend: Backend) -> tuple[type[Exception], ...]:
    return (NotEnoughMemoryError, *backend.out_of_memory)


def _results(wanted: dict[int, Program], backend: Backend) -> dict[int, Outcome | Exception]:
    """The outcome of each circuit, all at once if they fit into memory together, or why there is none."""
    try:
        return dict(zip(wanted, run_programs(list(wanted.values()), backend), strict=True))
    except _memory_errors(backend) as problem:
        if len(wanted) == 1:
            return dict.fromkeys(wanted, problem)
    return {place: result for one in wanted.items() for place, result in _results(dict([one]), backend).items()}


class Refinement:
    """The rounds of one solve: x, its residual, and what each round showed."""

    def __init__(self, solver: QuantumSolver, system: LinearSystem, method: Method, backend: Backend) -> None:
        self.solver, self.system, self.method, self.backend = solver, system, method, backend
        self.epsilon, _ = method.split()
        self.first_queries = method.queries(self.epsilon) + method.search()[0]
        self.x = system.zeros()
        self.residual = system.rhs
        self.error = 1.0
        self.drift = 0.0
        self.truncation = 0.0
        """Bound of what the last round's truncations changed in its register."""
        self.correction = math.inf
        """||x_new - x_old||/||x_new|| of the last round, of the worst column."""
        self.history: list[dict[str, Any]] = []
        self._generator = generator_for(solver.readout.seed, solver.noise.seed, system.seed, system.name)
        self.ledger = {"polynomial": 0.0, "phases": 0.0, "arithmetic": 0.0, "readout": 0.0}

    @property
    def queries(self) -> int:
        return sum(entry["queries"] for entry in self.history)

    @property
    def bond_dimension(self) -> int | None:
        """The largest of all rounds; None where registers are kept whole."""
        return largest_bond(entry.get("bond_dimension") for entry in self.history)

    def disturbed(self, program: Program) -> Program:
        """The program under the solver's noise."""
        return NoisyRun(program, self.solver.noise, self._generator) if self.solver.noise else program

    def read(self, outcome: Outcome, program: Program) -> Outcome:
        """The outcome as the solver's readout finds it."""
        if self.solver.readout.exact or not program.measured:
            return outcome
        reading = self.solver.readout.read(
            outcome.amplitudes, outcome.success_probability, self._generator, self.backend
        )
        return replace(outcome, amplitudes=reading.amplitudes, runs=reading.runs, preparations=reading.preparations)

    def rounds(self) -> Generator[Program, Outcome, End]:
        """Rounds until the residual is within tolerance, or until it is clear why it will not be.

        Yields the circuits to be run, takes their outcomes.
        """
        system, method, epsilon = self.system, self.method, self.epsilon
        previous_rayleigh = float("inf")
        while True:
            refusal = self._refusal(epsilon)
            if refusal is not None:
                return refusal
            before, step_before = self.error, self.correction
            best = (self.x, self.residual, self.error)
            taken = yield from method.round(self.x, self.residual, epsilon)
            self._take(epsilon, taken)
            if not self.drift <= LARGEST_DRIFT[self.solver.precision] + self.truncation:
                return Status.NOT_CONVERGED, (
                    f"The norm of the simulated register is off by {self.drift:.1e}: the encoding is no isometry, "
                    f"because its alpha = {method.encoding.alpha:.6g} is below the norm of the operator."
                )
            if self.error <= system.tolerance:
                return Status.SOLVED, f"The relative residual {self.error:.2e} is within {system.tolerance:.1e}."
            if taken.again:
                self.correction = step_before
                continue
            # an error of x may grow by kappa on its way into the residual: disturbed rounds are judged by x itself
            converging = self.solver.disturbed and self.correction < STAGNATION * step_before
            lost = self.truncation * taken.gain
            if self.error < STAGNATION * before:
                promised = (math.sqrt(epsilon) + lost) * before
                if not (system.bounds.certified or converging or self.error <= promised):
                    method.kappa *= 2  # far from the promised epsilon: some |lambda| lies below alpha/kappa
                continue
            if converging:
                continue
            reached = self.error
            if not reached <= before * (1 + 1e-8):  # also where it is NaN
                self.x, self.residual, self.error = best
            if self.solver.disturbed:
                return Status.NOT_CONVERGED, (
                    f"The relative residual stays at {self.error:.2e} above {system.tolerance:.1e}, and x no longer "
                    "converges under this readout and noise: take more shots a round, or less noise."
                )
            if lost > TRUNCATED * STAGNATION:
                return Status.NOT_CONVERGED, (
                    f"The relative residual stays at {self.error:.2e} above {system.tolerance:.1e}: the truncations to "
                    f"bond dimension {self.bond_dimension} add up to {self.truncation:.1e} of the register's norm, "
                    f"which x shows {taken.gain:.3g} times; raise the bond dimension, "
                    f"backend='tensornet:{2 * (self.bond_dimension or 1)}', or damp the matrix."
                )
            if not reached <= 1.01 * before:  # |E| <= 1: no kappa is to blame, and a larger one cannot help
                return Status.NOT_CONVERGED, (
                    f"A round took the relative residual from {before:.2e} to {reached:.2e}, which an undisturbed "
                    f"circuit cannot do (its register norm is off by {self.drift:.1e}), so the round was dropped."
                )
            rayleigh = self._rayleigh()
            if rayleigh <= 16 * system.size * FP64_EPSILON:
                return Status.SINGULAR, (
                    f"The residual stays at {self.error:.2e}: what is left of b lies in the null space of the matrix "
                    f"(||H r|| = {rayleigh:.1e} ||H|| ||r||), so no x solves the system; damp the matrix or project b."
                )
            floor = self._rounding_floor()
            if system.bounds.certified or self.error <= floor or not np.isfinite(self.error):
                return Status.NOT_CONVERGED, (
                    f"The relative residual stagnates at {self.error:.2e} above {system.tolerance:.1e}; rounding "
                    f"alone leaves about {floor:.1e}: raise the tolerance or damp the matrix."
                )
            if rayleigh < STAGNATION * previous_rayleigh and rayleigh < 1e-3 / method.kappa:
                previous_rayleigh = rayleigh  # the residual is still turning into a null vector: look again
                continue
            previous_rayleigh = rayleigh
            method.kappa = max(2 * method.kappa, min(1 / rayleigh, 16 * method.kappa))

    def _refusal(self, epsilon: float) -> End | None:
        method = self.method
        problem = beyond_double_precision(method.kappa_of_system(method.kappa), self.system.tolerance)
        if problem:
            return Status.TOO_ILL_CONDITIONED, problem
        needed = method.queries(epsilon) + method.search()[0]
        if self.queries + needed > self.solver.max_queries:
            return Status.TOO_MANY_QUERIES, (
                f"{needed} queries are needed for alpha/|lambda|_min = {method.kappa:.3g} after {self.queries} queries "
                f"already made, and max_queries is {self.solver.max_queries}: raise it, damp the matrix or raise the "
                "tolerance."
            )
        return None

    def _take(self, epsilon: float, result: Round) -> None:
        """Enter a round into x, the residual, the ledger and the history."""
        backend, outcome = self.backend, result.outcome
        step, length = column_norms(result.x - self.x, backend), column_norms(result.x, backend)
        self.correction = float((step / divisors(length, backend)).max())
        self.x = result.x
        self.residual = self.system.residual(self.x)
        errors = self.system.relative_residuals(self.residual)
        self.error = float(errors.max())
        active = backend.to_numpy(result.active)
        probability = backend.to_numpy(outcome.success_probability)
        self.drift = float(np.abs(1 - backend.to_numpy(outcome.register_norm))[active].max(initial=0.0))
        self.truncation = outcome.truncation_error
        self.ledger.update(result.errors)
        if not self.solver.readout.exact:
            rounding = self.solver.readout.error * self.system.norm * step / self.system.scales
            self.ledger["readout"] = float(rounding.max())
        self.ledger["arithmetic"] = max(self.ledger["arithmetic"], max(self.drift, self.truncation) * result.gain)
        self.history.append(
            {
                "queries": result.queries,
                "kappa": self.method.kappa,
                "epsilon": epsilon,
                "success_probability": [float(p) for p, on in zip(probability, active, strict=True) if on],
                "relative_residual": [float(e) for e in backend.to_numpy(errors)],
                **_shots(outcome),
                **_truncation(outcome),
                **result.details,
            }
        )

    def _rayleigh(self) -> float:
        """||A^t r||/(||A|| ||r||) for the worst column: an upper bound of the smallest singular value over ||A||.

        Where x is defined by normal equations ||A g||/(||A|| ||g||), g = A^t r: all of r may be orthogonal to A.
        """
        system = self.system
        worst = int(system.relative_residuals(self.residual).argmax())
        r = self.residual[:, worst : worst + 1]
        if system.normal:
            r = system.normal_residual(r)
        product = system.operator.matvec(r) if system.normal else system.operator.rmatvec(r)
        scale = (system.norm or self.method.encoding.alpha) * column_norms(r, self.backend)[0]
        return float(column_norms(product, self.backend)[0] / divisors(scale, self.backend))

    def _rounding_floor(self) -> float:
        """The relative residual that rounding leaves: a few eps (||H|| ||x|| + ||b||)/||b||."""
        return 32 * FP64_EPSILON * (1 + growth(self.system, self.x, self.backend))

    def _truncations(self) -> dict[str, Any]:
        """The worst round's truncation error and the largest bond; nothing where registers are kept whole."""
        if self.bond_dimension is None:
            return {}
        worst = max(entry["truncation_error"] for entry in self.history)
        return {"truncation_error": worst, "bond_dimension": self.bond_dimension}

    def solution(self, status: Status, message: str, seconds: float) -> Solution:
        worst, _ = certify(self.system, self.x, self.backend)
        if status is Status.SOLVED and not worst <= self.system.tolerance:
            status, message = (
                Status.NOT_CONVERGED,
                f"The recomputed relative residual is {worst:.2e}, above the tolerance.",
            )
        probabilities = [p for entry in self.history for p in entry["success_probability"]]
        method, encoding = self.method, self.method.encoding
        return Solution(
            x=self.x,
            status=status,
            message=message,
            relative_residual=worst,
            solver=self.solver.name,
            queries=self.queries,
            success_probability=min(probabilities) if probabilities else None,
            resources={
                **method.resources(),
                "encoding": encoding.name,
                "mode": method.mode,
                "alpha": encoding.alpha,
                "system_qubits": encoding.system_qubits,
                "ancilla_qubits": encoding.ancilla_qubits,
                "register_size": encoding.register_size,
                "kappa": method.kappa,
                **self._truncations(),
            },
            simulated_seconds=seconds,
            history=self.history,
            ledger={**self.ledger, "residual": worst},
        )


def _truncation(outcome: Outcome) -> dict[str, Any]:
    """What the bonds of a register were, and what they lost; nothing of registers that are kept whole."""
    if outcome.bond_dimension is None:
        return {}
    return {"truncation_error": outcome.truncation_error, "bond_dimension": outcome.bond_dimension}


def _shots(outcome: Outcome) -> dict[str, Any]:
    """What a readout by shots took of each column; nothing of amplitudes that were read exactly."""
    if outcome.runs is None or outcome.preparations is None:
        return {}
    return {"runs": [int(n) for n in outcome.runs], "preparations": [int(n) for n in outcome.preparations]}
