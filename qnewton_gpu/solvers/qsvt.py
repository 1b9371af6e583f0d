"""Quantum singular value transformation with the residual-minimax inverse, simulated exactly, refined in FP64.

One round runs the circuit on the residual r and adds  ||start|| max|P| / (s alpha^q) Re(T^t psi)  to x, q = 1 for an
odd polynomial and 2 for an even one; s is the scale of the phase factors.
Source: Gilyen, Su, Low, Wiebe, arXiv 1806.01838.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..backends.counting import count
from ..circuit import qsvt_circuit
from ..conditioning import FP64_EPSILON
from ..costs import FIRST_SUCCESS_PROBABILITY, Cost, CostModel
from ..encodings import encode
from ..encodings.gram import GramEncoding
from ..errors import NotEnoughMemoryError
from ..polynomials import cached_phase_factors, inverse_degree, round_down_to_grid, round_up_to_grid
from ..simulation import (
    Outcome,
    RegisterBudget,
    Run,
    check_mode,
    check_simulation_memory,
    choose_mode,
    run_sequences,
)
from ..stages import stage
from .base import (
    LinearSystem,
    Solution,
    Status,
    beyond_double_precision,
    certify,
    column_norms,
    growth,
    relative_residuals,
)
from .formulations import Formulation, GramAnyRhs, GramPreimage, Symmetric
from .refinement import STAGNATION, split_tolerance

LARGEST_DRIFT = 1e-6


@dataclass(frozen=True)
class QSVT:
    """QSVT on any encoding in any mode that the simulation has.

    With certified bounds kappa is what they say; otherwise it grows while the residual does not fall, which is safe:
    the residual polynomial damps what lies below 1/kappa and amplifies nothing.
    """

    encoding: str = "auto"
    mode: str = "auto"
    max_queries: int = 10**6
    budget: RegisterBudget = field(default_factory=RegisterBudget)
    name: str = "qsvt"

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        formulation = self._formulate(system, backend)
        epsilon, rounds = split_tolerance(system.tolerance)
        kappa = round_up_to_grid(formulation.kappa)
        p = system.expected_success_probability or FIRST_SUCCESS_PROBABILITY
        return model.quantum(
            self.name,
            queries=inverse_degree(kappa, epsilon, formulation.parity),
            rounds=rounds,
            success_probability=round_down_to_grid(p),
            size=system.size,
            nonzeros=system.operator.nonzeros,
            epsilon=epsilon,
            columns=system.rhs.shape[1],
        )

    def _formulate(self, system: LinearSystem, backend: Backend) -> Formulation:
        if self.encoding not in system.encodings:
            system.encodings[self.encoding] = encode(system.operator, backend, self.encoding)
        encoding = system.encodings[self.encoding]
        check_mode(self.mode, encoding.name)
        if isinstance(encoding, GramEncoding):
            return (GramAnyRhs if system.preimage is None else GramPreimage)(encoding, system, backend)
        return Symmetric(encoding, system, backend)

    def solve(self, system: LinearSystem, backend: Backend) -> Solution:
        return self.solve_many([system], backend)[0]

    def solve_many(self, systems: Sequence[LinearSystem], backend: Backend) -> list[Solution]:
        """Solve systems side by side: circuits of one kind share their launches where the backend can.

        The simulated seconds are shared out among them by queries times amplitudes.
        """
        began = time.perf_counter()
        refinements = [self._prepare(system, backend) for system in systems]
        names = "+".join(system.name for system in systems)
        with stage("solve", category=names, payload=sum(r.first_degree for r in refinements)):
            ends = _side_by_side(refinements, backend)
        seconds = time.perf_counter() - began
        work = [r.queries * r.encoding.register_size + 1 for r in refinements]
        return [
            refinement.solution(*end, seconds * share / sum(work))
            for refinement, end, share in zip(refinements, ends, work, strict=True)
        ]

    def _prepare(self, system: LinearSystem, backend: Backend) -> _Refinement:
        with stage("encode", category=system.name, payload=system.bounds.kappa):
            formulation = self._formulate(system, backend)
            if isinstance(formulation, GramPreimage):
                formulation.check()
            refinement = _Refinement(self, system, formulation, backend)
            register_size = formulation.encoding.register_size
            check_simulation_memory(refinement.mode, system.size, register_size, system.rhs.shape[1], backend)
        return refinement


End = tuple[Status, str]


def _side_by_side(refinements: Sequence[_Refinement], backend: Backend) -> list[End]:
    """Take each refinement to the circuit that it wants run next, run these circuits together, and so on to the end."""
    rounds = [refinement.rounds() for refinement in refinements]
    results: dict[int, Outcome | Exception | None] = dict.fromkeys(range(len(rounds)))
    ends: dict[int, End] = {}
    while results:
        wanted: dict[int, Run] = {}
        for place, result in results.items():
            advance: Any = rounds[place].throw if isinstance(result, Exception) else rounds[place].send
            try:
                wanted[place] = advance(result)
            except StopIteration as stopped:
                ends[place] = stopped.value
            except _memory_errors(backend) as problem:
                ends[place] = Status.NO_MEMORY, f"The simulation ran out of memory ({problem})."
        results = _results(wanted, backend) if wanted else {}
    return [ends[place] for place in range(len(rounds))]


def _memory_errors(backend: Backend) -> tuple[type[Exception], ...]:
    return (NotEnoughMemoryError, *backend.out_of_memory)


def _results(wanted: dict[int, Run], backend: Backend) -> dict[int, Outcome | Exception | None]:
    """The outcome of each circuit, all at once if they fit into memory together, or why there is none."""
    try:
        return dict(zip(wanted, run_sequences(list(wanted.values()), backend), strict=True))
    except _memory_errors(backend) as problem:
        if len(wanted) == 1:
            return dict.fromkeys(wanted, problem)
    return {place: result for one in wanted.items() for place, result in _results(dict([one]), backend).items()}


class _Refinement:
    """The rounds of one solve: x, its residual, and what each round showed."""

    def __init__(self, solver: QSVT, system: LinearSystem, formulation: Formulation, backend: Backend) -> None:
        self.solver, self.system, self.formulation, self.backend = solver, system, formulation, backend
        self.encoding = formulation.encoding
        epsilon, _ = split_tolerance(system.tolerance)
        self.first_degree = inverse_degree(round_up_to_grid(formulation.kappa), epsilon, formulation.parity)
        columns = system.rhs.shape[1]
        self.mode = choose_mode(solver.mode, self.encoding, self.first_degree, columns, backend, solver.budget)
        self.x = backend.xp.zeros_like(system.rhs)
        self.residual = system.rhs
        self.error = 1.0
        self.drift = 0.0
        self.kappa = formulation.kappa
        self.history: list[dict[str, Any]] = []
        self.ledger = {"polynomial": 0.0, "phases": 0.0, "arithmetic": 0.0, "readout": 0.0}

    @property
    def queries(self) -> int:
        return sum(entry["queries"] for entry in self.history)

    def rounds(self) -> Generator[Run, Outcome, End]:
        """Rounds until the residual is within tolerance, or until it is clear why it will not be.

        Yields the circuits to be run, takes their outcomes.
        """
        epsilon, _ = split_tolerance(self.system.tolerance)
        previous_rayleigh = float("inf")
        while True:
            refusal = self._refusal(epsilon)
            if refusal is not None:
                return refusal
            before = self.error
            best = (self.x, self.residual, self.error)
            yield from self._round(epsilon)
            if not self.drift <= LARGEST_DRIFT:
                return Status.NOT_CONVERGED, (
                    f"The norm of the simulated register is off by {self.drift:.1e}: the encoding is no isometry, "
                    f"because its alpha = {self.encoding.alpha:.6g} is below the norm of the operator."
                )
            if self.error <= self.system.tolerance:
                return Status.SOLVED, f"The relative residual {self.error:.2e} is within {self.system.tolerance:.1e}."
            if self.error < STAGNATION * before:
                if not self.system.bounds.certified and self.error > math.sqrt(epsilon) * before:
                    self.kappa *= 2  # far from the promised epsilon: some |lambda| lies below alpha/kappa
                continue
            reached = self.error
            if not reached <= before * (1 + 1e-8):  # also where it is NaN
                self.x, self.residual, self.error = best
            if not reached <= 1.01 * before:  # |E| <= 1: no kappa is to blame, and a larger one cannot help
                return Status.NOT_CONVERGED, (
                    f"A round took the relative residual from {before:.2e} to {reached:.2e}, which an undisturbed "
                    f"circuit cannot do (its register norm is off by {self.drift:.1e}), so the round was dropped."
                )
            rayleigh = self._rayleigh()
            if rayleigh <= 16 * self.system.size * FP64_EPSILON:
                return Status.SINGULAR, (
                    f"The residual stays at {self.error:.2e}: what is left of b lies in the null space of the matrix "
                    f"(||H r|| = {rayleigh:.1e} ||H|| ||r||), so no x solves the system; damp the matrix or project b."
                )
            floor = self._rounding_floor()
            if self.system.bounds.certified or self.error <= floor or not np.isfinite(self.error):
                return Status.NOT_CONVERGED, (
                    f"The relative residual stagnates at {self.error:.2e} above {self.system.tolerance:.1e}; rounding "
                    f"alone leaves about {floor:.1e}: raise the tolerance or damp the matrix."
                )
            if rayleigh < STAGNATION * previous_rayleigh and rayleigh < 1e-3 / self.kappa:
                previous_rayleigh = rayleigh  # the residual is still turning into a null vector: look again
                continue
            previous_rayleigh = rayleigh
            self.kappa = max(2 * self.kappa, min(1 / rayleigh, 16 * self.kappa))

    def _refusal(self, epsilon: float) -> tuple[Status, str] | None:
        problem = beyond_double_precision(self.formulation.kappa_of_system(self.kappa), self.system.tolerance)
        if problem:
            return Status.TOO_ILL_CONDITIONED, problem
        degree = inverse_degree(round_up_to_grid(self.kappa), epsilon, self.formulation.parity)
        if self.queries + degree > self.solver.max_queries:
            return Status.TOO_MANY_QUERIES, (
                f"A polynomial of degree {degree} is needed for alpha/|lambda|_min = {self.kappa:.3g} after "
                f"{self.queries} queries already made, and max_queries is {self.solver.max_queries}: raise it, "
                "damp the matrix or raise the tolerance."
            )
        return None

    def _round(self, epsilon: float) -> Generator[Run, Outcome, None]:
        formulation, backend = self.formulation, self.backend
        kappa = round_up_to_grid(self.kappa)
        polynomial, phases = cached_phase_factors(kappa, epsilon, formulation.parity)
        encoding, start, norms = formulation.start(self.x, self.residual, self.mode)
        outcome = yield Run(encoding, phases.reflection, start, formulation.side, self.mode)
        gain = phases.sup_norm / phases.scale
        self.x = self.x + norms * gain / encoding.alpha**formulation.power * outcome.amplitudes
        self.residual = self.system.rhs - self.system.operator.matvec(self.x)
        errors = relative_residuals(self.residual, self.system.rhs, backend)
        self.error = float(errors.max())

        active = backend.to_numpy(norms) > 0
        probability = backend.to_numpy(outcome.success_probability)
        self.drift = float(np.abs(1 - backend.to_numpy(outcome.register_norm))[active].max(initial=0.0))
        self.ledger["polynomial"] = polynomial.relative_error
        self.ledger["phases"] = phases.error * gain
        self.ledger["arithmetic"] = max(self.ledger["arithmetic"], self.drift * gain)
        self.history.append(
            {
                "queries": outcome.queries,
                "degree": polynomial.degree,
                "kappa": self.kappa,
                "kappa_on_grid": kappa,
                "epsilon": epsilon,
                "success_probability": [float(p) for p, on in zip(probability, active, strict=True) if on],
                "relative_residual": [float(e) for e in backend.to_numpy(errors)],
            }
        )

    def _gate_counts(self) -> dict[str, Any]:
        """What the gate program of the last round is made of, where the circuit was run as gates."""
        if self.mode != "circuit" or not self.history:
            return {}
        last = self.history[-1]
        _, phases = cached_phase_factors(last["kappa_on_grid"], last["epsilon"], self.formulation.parity)
        block = self.encoding.circuit()  # type: ignore[attr-defined]
        return {"gates": count(qsvt_circuit(block, self.encoding.system_qubits, phases.reflection))}

    def _rayleigh(self) -> float:
        """||H r||/(||H|| ||r||) for the worst column: an upper bound of |lambda|_min/||H||."""
        worst = int(relative_residuals(self.residual, self.system.rhs, self.backend).argmax())
        r = self.residual[:, worst : worst + 1]
        scale = self.system.bounds.upper or self.encoding.alpha
        return float(
            column_norms(self.system.operator.matvec(r), self.backend)[0] / (scale * column_norms(r, self.backend)[0])
        )

    def _rounding_floor(self) -> float:
        """The relative residual that rounding leaves: a few eps (||H|| ||x|| + ||b||)/||b||."""
        return 32 * FP64_EPSILON * (1 + growth(self.system, self.x, self.backend))

    def solution(self, status: Status, message: str, seconds: float) -> Solution:
        worst, _ = certify(self.system, self.x, self.backend)
        if status is Status.SOLVED and not worst <= self.system.tolerance:
            status, message = (
                Status.NOT_CONVERGED,
                f"The recomputed relative residual is {worst:.2e}, above the tolerance.",
            )
        probabilities = [p for entry in self.history for p in entry["success_probability"]]
        encoding = self.encoding
        return Solution(
            x=self.x,
            status=status,
            message=message,
            relative_residual=worst,
            solver=self.solver.name,
            queries=self.queries,
            success_probability=min(probabilities) if probabilities else None,
            resources={
                **self._gate_counts(),
                "encoding": encoding.name,
                "mode": self.mode,
                "alpha": encoding.alpha,
                "system_qubits": encoding.system_qubits,
                "ancilla_qubits": encoding.ancilla_qubits,
                "register_size": encoding.register_size,
                "degree": self.history[-1]["degree"] if self.history else 0,
                "parity": self.formulation.parity,
                "kappa": self.kappa,
                "kappa_on_grid": round_up_to_grid(self.kappa),
            },
            simulated_seconds=seconds,
            history=self.history,
            ledger={**self.ledger, "residual": worst},
        )
