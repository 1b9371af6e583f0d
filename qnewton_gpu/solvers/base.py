"""Problem, solution and solver: a solver object holds options only, and failure is data with a full sentence."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..backends.base import Backend
from ..conditioning import FP64_EPSILON, SpectrumBounds
from ..costs import Cost, CostModel
from ..operators import Operator
from ..stages import stage


class Status(enum.Enum):
    """How a solve ended. SOLVED is the only success: the residual was recomputed in FP64 and is within tolerance."""

    SOLVED = "solved"
    SINGULAR = "singular"
    TOO_ILL_CONDITIONED = "too ill-conditioned"
    TOO_MANY_QUERIES = "too many queries"
    NOT_CONVERGED = "not converged"
    NO_MEMORY = "no memory"


LEDGER = ("polynomial", "phases", "arithmetic", "readout", "residual")


@dataclass
class LinearSystem:
    """H x = rhs to a relative residual of `tolerance`.

    rhs has shape (N, k). `preimage` is r with G~^t r = rhs, where H is a Gram operator and r is known: the circuit
    then inverts G~ once instead of twice. `expected_success_probability` is that of a similar system solved before.
    """

    operator: Operator
    rhs: Any
    bounds: SpectrumBounds
    tolerance: float
    preimage: Any | None = None
    expected_success_probability: float | None = None
    name: str = "system"
    encodings: dict[str, Any] = field(default_factory=dict, repr=False)
    """Encodings of the operator by name, made once: planning needs their alpha, solving the rest."""

    @property
    def size(self) -> int:
        return self.operator.shape[0]


@dataclass
class Solution:
    """x and everything that is known about how it was obtained.

    `relative_residual` is max over columns of ||b - H x||/||b||, recomputed in FP64. `queries` is the total over
    rounds; `history` has one entry a round with values per column. `success_probability` is the smallest that the
    simulated register showed. `ledger` is the error ledger, in units of the relative residual.
    """

    x: Any
    status: Status
    message: str
    relative_residual: float
    solver: str
    queries: int = 0
    success_probability: float | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    simulated_seconds: float = 0.0
    projected_seconds: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    ledger: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # every solution has every entry: a solver without polynomial, phases or readout has no error from them
        self.ledger = {**dict.fromkeys(LEDGER, 0.0), "residual": self.relative_residual, **self.ledger}

    @property
    def solved(self) -> bool:
        return self.status is Status.SOLVED


class Solver(Protocol):
    """One way to solve a LinearSystem. Adding one is one file and one line of the registry."""

    name: str

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        """Projected seconds on the stated machines, before anything is solved."""
        ...

    def solve(self, system: LinearSystem, backend: Backend) -> Solution: ...


def column_norms(vectors: Any, backend: Backend) -> Any:
    return backend.xp.sqrt((vectors * vectors).sum(axis=0))


def divisors(norms: Any, backend: Backend) -> Any:
    """Norms to divide by: a zero column is divided by one and stays zero."""
    return backend.xp.where(norms > 0, norms, 1.0)


def relative_residuals(residual: Any, rhs: Any, backend: Backend) -> Any:
    """||r||/||b|| for each column; a column with b = 0 counts as solved by x = 0."""
    return column_norms(residual, backend) / divisors(column_norms(rhs, backend), backend)


def certify(system: LinearSystem, x: Any, backend: Backend) -> tuple[float, Any]:
    """The largest relative residual of x, and the residual itself, in FP64 with the system's own operator."""
    with stage("verify", category=system.name, payload=system.bounds.kappa):
        residual = system.rhs - system.operator.matvec(x)
        worst = float(relative_residuals(residual, system.rhs, backend).max())
    return worst, residual


def growth(system: LinearSystem, x: Any, backend: Backend) -> float:
    """max over columns of ||H|| ||x||/||b||: at most kappa, and what rounding of x is multiplied by."""
    ratios = column_norms(x, backend) / divisors(column_norms(system.rhs, backend), backend)
    return system.bounds.upper * float(ratios.max())


def beyond_double_precision(kappa: float, tolerance: float) -> str | None:
    """The sentence that explains why no FP64 solve of this kappa can be trusted to this tolerance, if so."""
    if kappa * FP64_EPSILON <= tolerance:
        return None
    return (
        f"The condition number is at least {kappa:.3g}, so FP64 arithmetic cannot promise a relative error below "
        f"{kappa * FP64_EPSILON:.1e}, and {tolerance:.1e} was asked for; damp the matrix or raise the tolerance."
    )
