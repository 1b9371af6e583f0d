"""One quantum solver put to one system: what a round of it takes and gives. refinement.py has the loop over rounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..backends.base import Backend
from ..backends.counting import CountingEncoding
from ..simulation import Chain, Outcome, Program
from .base import LinearSystem
from .formulations import covered_kappa, kappa_of_system

if TYPE_CHECKING:
    from .quantum import QuantumSolver


@dataclass(frozen=True)
class Round:
    """What one round gave. Columns whose start was zero are not `active`: nothing was run for them."""

    x: Any
    """The new x, (n, k)."""
    outcome: Outcome
    """Of the circuit that was measured; its amplitudes are what the readout gave."""
    active: Any
    """(k,), bool."""
    queries: int
    """Made for one column in one run of the round's circuits."""
    errors: dict[str, float]
    """Contributions to the error ledger: polynomial, phases, readout; in units of the relative residual."""
    gain: float = 1.0
    """What an error of the register's amplitudes is multiplied by in x."""
    again: bool = False
    """Columns of x were kept, because the round only told what the next one needs to know."""
    details: dict[str, Any] = field(default_factory=dict)
    """For the history: degree, kappa_on_grid, ..."""


class Method(ABC):
    """One quantum solver prepared for one system; `kappa` is what it covers, and refinement may raise it."""

    def __init__(self, solver: QuantumSolver, system: LinearSystem, encoding: Any, backend: Backend) -> None:
        self.solver, self.system, self.encoding, self.backend = solver, system, encoding, backend
        self.kappa = self.first_kappa()
        epsilon, _ = self.split()
        self.mode = solver.mode_for(encoding, self.queries(epsilon), system.rhs.shape[1], backend)

    def first_kappa(self) -> float:
        """alpha over the smallest |eigenvalue| (singular value) that is known."""
        return covered_kappa(self.encoding, self.system)

    def split(self) -> tuple[float, int]:
        """(epsilon of a round, number of rounds)."""
        return self.solver.split(self.system.tolerance)

    def kappa_of_system(self, kappa: float) -> float:
        """The condition number of the matrix that this coverage belongs to."""
        return kappa_of_system(kappa, self.encoding, self.system)

    def check(self) -> None:  # noqa: B027
        """Raise a typed error where the system is not what it says; called before a solve, not before a prediction."""

    @abstractmethod
    def queries(self, epsilon: float) -> int:
        """Of one round that leaves a relative residual of at most epsilon, for one column: what `round` will make.

        Those of `search` are not among them.
        """

    def search(self) -> tuple[int, int]:
        """(queries, runs) that come once, in the first round, whatever is read of the circuit after them."""
        return 0, 0

    @abstractmethod
    def round(self, x: Any, residual: Any, epsilon: float) -> Generator[Program, Outcome, Round]:
        """Take x further, given its residual: yields circuits to be run and takes their outcomes."""

    def resources(self) -> dict[str, Any]:
        """What `Solution.resources` says beside the encoding: degree, ..., of the last round."""
        return {}


def count_round(method: Method, x: Any, residual: Any, epsilon: float) -> int:
    """Queries of one round, counted by running its circuits on an encoding that only counts, not by a formula.

    The circuits are run for real, too: a round may choose the next by what the last one gave.
    """
    circuits, total, outcome = method.round(x, residual, epsilon), 0, None
    backend = method.backend
    while True:
        try:
            program: Any = circuits.send(outcome)  # type: ignore[arg-type]
        except StopIteration:
            return total
        for part in program.runs if isinstance(program, Chain) else [program]:
            counter = CountingEncoding(part.encoding)
            one = backend.xp.ones((1, 1))
            replace(part, encoding=counter, start=one, mode="fused").execute(backend)
            total += counter.queries * getattr(part, "repeats", 1)
        outcome = program.execute(backend)
