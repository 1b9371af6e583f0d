"""What every quantum linear solver shares: its options, its prediction, and rounds that refine in FP64.

A solver is a `QuantumSolver`, which holds options only. Put to one system it becomes a `Method` (method.py), whose
`round` takes x one step further by running circuits. The loop over rounds, with everything that can go wrong, is in
refinement.py.
"""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..backends.base import Backend
from ..costs import FIRST_SUCCESS_PROBABILITY, Cost, CostModel
from ..encodings import encode
from ..encodings.base import BlockEncoding
from ..errors import CombinationError, UnknownNameError
from ..noise import Noise
from ..operators import GeneralMatrix, GramOperator
from ..polynomials import PhaseFactors, round_down_to_grid
from ..readout import Readout
from ..simulation import RegisterBudget, check_circuit_memory, check_mode, check_simulation_memory, choose_mode
from ..stages import stage
from .base import LinearSystem, Solution
from .method import Method
from .refinement import Refinement, run_side_by_side, split_tolerance

SINGLE_PRECISION = 2.0**-24
COARSE_ROUND = 1e-2
"""Accuracy of a round whose register or readout has errors of about that size."""
LARGEST_ROUNDING = 2e-3
"""Of a register in FP32, relative to x: where rounding times max|P| exceeds this, the register is kept in FP64."""
PRECISIONS = ("double", "auto")
GENERAL = ("two_sided", "gram", "kronecker")
"""Encodings of operators that are no explicit symmetric matrix."""
DILATED = "hermitian dilation"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantumSolver(ABC):
    """Options of a quantum solver. encoding and mode as in `qn.solve`; max_queries for each system, over all rounds.

    precision "auto" keeps the whole register of mode "fused" in FP32 where rounding, 6e-8 max|P|, stays below 2e-3 of
    x, in rounds of 1e-2; the residual is FP64 always. `readout` by shots and `noise` disturb what a round gives, and
    refinement works around both as far as it can.
    """

    encoding: str = "auto"
    mode: str = "auto"
    max_queries: int = 10**6
    budget: RegisterBudget = field(default_factory=RegisterBudget)
    precision: str = "double"
    readout: Readout = field(default_factory=Readout)
    noise: Noise = field(default_factory=Noise)
    name: str = ""
    modes: ClassVar[tuple[str, ...]] = ("subspace", "fused", "circuit")
    noisy: ClassVar[bool] = False
    """Whether its circuits are QSVT sequences, which can be run with noise."""
    any_operator: ClassVar[bool] = False
    """Whether operators without a symmetric encoding, and Tikhonov damping, are served."""
    tightest_round: ClassVar[float] = 1e-6
    """Accuracy below which several rounds are cheaper, or better conditioned, than a single one."""

    def __post_init__(self) -> None:
        if self.mode not in ("auto", *self.modes):
            check_mode(self.mode, "auto")
            problem, modes = f"{self.name} cannot be run in mode {self.mode!r}", " or ".join(map(repr, self.modes))
            raise CombinationError("mode", problem, f"Use {modes} on backend 'cpu' or 'gpu', or solver='qsvt'")
        if self.precision not in PRECISIONS:
            raise UnknownNameError.among("precision", self.precision, PRECISIONS)
        if self.noise and not self.noisy:
            raise CombinationError("noise", f"{self.name} is simulated without noise", "Use solver='qsvt'")
        if self.mode != "auto":
            self.noise.check(self.mode)

    @abstractmethod
    def method(self, system: LinearSystem, backend: Backend) -> Method:
        """The solver on this system: encodes it, but runs no circuit. Raises CombinationError, ParameterError."""

    def encode(self, system: LinearSystem, backend: Backend) -> BlockEncoding:
        """The encoding of the system's operator, made once."""
        if self.encoding not in system.encodings:
            system.encodings[self.encoding] = encode(system.operator, backend, self.encoding)
        encoding: BlockEncoding = system.encodings[self.encoding]
        check_mode(self.mode, encoding.name)
        return encoding

    def equation(self, system: LinearSystem) -> LinearSystem:
        """The system whose residual certifies x, where this solver is for another one than A x = b."""
        return system

    def pose(self, system: LinearSystem) -> LinearSystem:
        """The system that is put to the circuits: of a square A often [[0, A], [A^t, 0]].

        Raises CombinationError where this solver or encoding cannot serve the operator.
        """
        system = self.equation(system)
        operator = system.operator
        if operator.symmetric or (self.any_operator and self.encoding in ("auto", *GENERAL)):
            if isinstance(operator, GramOperator) and not self.any_operator:
                problem = f"{self.name} needs a symmetric block encoding, and a Gram operator has none"
                raise CombinationError(
                    "solver", problem, "Use solver='qsvt', or pass the matrix itself (in training encoding='walk')"
                )
            if system.damping and not self.any_operator:
                raise CombinationError("damping", f"{self.name} has no damping", "Use solver='qsvt'")
            return system
        if system.damping:
            raise CombinationError("damping", f"{self.name} has no damping", "Use solver='qsvt'")
        if not isinstance(operator, GeneralMatrix):
            problem = f"{self.name} needs a symmetric block encoding, and this one is not"
            raise CombinationError("solver", problem, "Use solver='qsvt'")
        if system.normal:
            asked = self.name if self.encoding in ("auto", *GENERAL) else f"encoding {self.encoding!r}"
            problem = f"{asked} cannot serve least squares, because [[0, A], [A^t, 0]] is singular"
            raise CombinationError("A", problem, "Use solver='qsvt' with encoding='two_sided'")
        return _dilated(system)

    def mode_for(self, encoding: Any, queries: int, columns: int, backend: Backend) -> str:
        """The mode meant by "auto"."""
        if self.mode == "auto" and self.noise.depolarising:
            return "fused"  # an error acts on the register
        mode = choose_mode(self.mode, encoding, queries, columns, backend, self.budget)
        return mode if mode in self.modes else "subspace"

    def split(self, tolerance: float) -> tuple[float, int]:
        """(epsilon of a round, number of rounds)."""
        coarse = self.disturbed or self.precision != "double"
        tightest = max(self.tightest_round, COARSE_ROUND) if coarse else self.tightest_round
        epsilon, rounds = split_tolerance(tolerance, tightest)
        if not self.readout.exact:
            rounds = max(rounds, math.ceil(math.log(tolerance) / math.log(min(max(self.readout.error, epsilon), 0.5))))
        return epsilon, rounds

    @property
    def disturbed(self) -> bool:
        """Whether a round gives more or less than its polynomial promises."""
        return bool(self.noise) or not self.readout.exact

    def precision_of(self, phases: PhaseFactors, mode: str) -> str:
        """Of the register in this mode: single where it was allowed, and rounding of it stays small against x."""
        if self.precision == "double" or mode != "fused":
            return "double"
        rounding = SINGLE_PRECISION * phases.sup_norm
        chosen = "single" if rounding <= LARGEST_ROUNDING else "double"
        _log.info("a register in FP32 would round x by %.1e: %s precision", rounding, chosen)
        return chosen

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        """Projected seconds, before anything is run: the queries of `Method.queries`, and p from a solve before."""
        system = self.pose(system)
        method = self.method(system, backend)
        epsilon, rounds = method.split()
        p = system.expected_success.get(self.name) or self.expected_success(system) or FIRST_SUCCESS_PROBABILITY
        search_queries, search_runs = method.search()
        return model.quantum(
            self.name,
            queries=method.queries(epsilon),
            rounds=rounds,
            success_probability=round_down_to_grid(p),
            size=system.size,
            nonzeros=system.operator.nonzeros,
            epsilon=epsilon,
            columns=system.rhs.shape[1],
            preparations=self.readout.preparations(system.unknowns),
            search_queries=search_queries,
            search_runs=search_runs,
        )

    def expected_success(self, system: LinearSystem) -> float | None:
        """The success probability that theory promises, if it does."""
        return None

    def solve(self, system: LinearSystem, backend: Backend) -> Solution:
        return self.solve_many([system], backend)[0]

    def solve_many(self, systems: Sequence[LinearSystem], backend: Backend) -> list[Solution]:
        """Solve systems side by side: circuits of one kind share their launches where the backend can.

        The simulated seconds are shared out among them by queries times amplitudes.
        """
        began = time.perf_counter()
        refinements = [self._prepare(self.pose(system), backend) for system in systems]
        names = "+".join(system.name for system in systems)
        with stage("solve", category=names, payload=sum(r.first_queries for r in refinements)):
            ends = run_side_by_side(refinements, backend)
        seconds = time.perf_counter() - began
        work = [r.queries * r.method.encoding.register_size + 1 for r in refinements]
        solutions = [
            refinement.solution(*end, seconds * share / sum(work))
            for refinement, end, share in zip(refinements, ends, work, strict=True)
        ]
        for system, solution in zip(systems, solutions, strict=True):
            solution.x = solution.x[-system.unknowns :]  # of [[0, A], [A^t, 0]] the lower half
        return solutions

    def _prepare(self, system: LinearSystem, backend: Backend) -> Refinement:
        with stage("encode", category=system.name, payload=system.bounds.kappa):
            method = self.method(system, backend)
            method.check()
            refinement = Refinement(self, system, method, backend)
            size, columns = method.encoding.register_size, system.rhs.shape[1]
            check_simulation_memory(method.mode, system.size, size, columns, backend)
            if method.mode == "circuit":
                check_circuit_memory(method.encoding, columns, backend)
        return refinement


def _dilated(system: LinearSystem) -> LinearSystem:
    """[[0, A], [A^t, 0]] [0; x] = [b; 0] for a square A: made once, and kept with the system's encodings."""
    made = system.encodings.get(DILATED)
    if made is None:
        general: Any = system.operator
        operator = general.hermitian_dilation()
        rhs = system.operator.backend.xp.concatenate([system.rhs, 0 * system.rhs])
        made = replace(system, operator=operator, rhs=rhs, bounds=replace(system.bounds, negative=True), encodings={})
        system.encodings[DILATED] = made
    made.expected_success = system.expected_success
    return made
