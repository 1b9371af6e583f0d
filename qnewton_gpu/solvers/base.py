"""Problem, solution and solver: a solver object holds options only, and failure is data with a full sentence."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from ..backends.base import Backend
from ..conditioning import FP64_EPSILON, SpectrumBounds
from ..costs import Cost, CostModel
from ..operators import ExplicitMatrix, Operator
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
    """A x = rhs to a relative residual of `tolerance`; rhs has shape (m, k), x (n, k).

    square A:      x = A^-1 b,                         relative residual ||b - A x||/||b||
    m != n:        x = A^+ b,                          relative residual ||A^t (b - A x)||/||A^t b||
    `damping` d:   (A^t A + d^2) x = A^t b (Tikhonov), relative residual ||A^t (b - A x) - d^2 x||/||A^t b||

    The last is the second one for A~ = [A; d I] and b~ = [b; 0], and `residual` is b~ - A~ x of m + n rows then.
    `bounds` are those of A in every case. `preimage` is r with G~^t r = rhs, where A is a Gram operator and r is known:
    the circuit then inverts G~ once instead of twice. `expected_success` has the success probability of each solver on
    a similar system before, `expected_norm` its ||x||, one or one a column; `seed` is for readout by shots.
    """

    operator: Operator
    rhs: Any
    bounds: SpectrumBounds
    tolerance: float
    preimage: Any | None = None
    expected_success: dict[str, float] = field(default_factory=dict)
    name: str = "system"
    encodings: dict[str, Any] = field(default_factory=dict, repr=False)
    """Encodings of the operator by name, made once: planning needs their alpha, solving the rest."""
    damping: float = 0.0
    seed: int = 0
    expected_norm: Any | None = None
    least_squares: bool = False
    """x = A^+ b for a square A, too, with the relative residual of m != n."""

    @property
    def size(self) -> int:
        """max(m, n): what the system qubits index."""
        return max(self.operator.shape)

    @property
    def unknowns(self) -> int:
        """n, the rows of x."""
        return self.operator.shape[1]

    @property
    def normal(self) -> bool:
        """Whether x is defined by normal equations: m != n, damping > 0, or asked for."""
        return self.least_squares or self.damping > 0 or self.operator.shape[0] != self.operator.shape[1]

    @property
    def norm(self) -> float:
        """A bound of ||A||, of ||A~|| where there is damping."""
        return math.hypot(self.bounds.upper, self.damping)

    @property
    def kappa(self) -> float:
        """The condition number of A, of A~ where there is damping; zero modes count without damping only."""
        smallest = math.hypot(self.bounds.lower, self.damping)
        return self.norm / smallest if smallest > 0 else math.inf

    def zeros(self) -> Any:
        """x = 0, of shape (n, k)."""
        return self.operator.backend.xp.zeros((self.unknowns, self.rhs.shape[1]))

    def product(self, x: Any) -> Any:
        """A x, (m, k); with damping A~ x = [A x; d x], (m + n, k)."""
        image = self.operator.matvec(x)
        return self.operator.backend.xp.concatenate([image, self.damping * x]) if self.damping else image

    def residual(self, x: Any) -> Any:
        """b - A x in FP64, (m, k), in the space of b; with damping [b - A x; -d x], (m + n, k)."""
        residual = -self.product(x)
        residual[: len(self.rhs)] += self.rhs
        return residual

    def normal_residual(self, residual: Any) -> Any:
        """A^t r, (n, k), A~^t r where there is damping: zero at the least-squares solution."""
        if not self.damping:
            return self.operator.rmatvec(residual)
        m = self.operator.shape[0]
        return self.operator.rmatvec(residual[:m]) + self.damping * residual[m:]

    def relative_residuals(self, residual: Any) -> Any:
        """The relative residual of each column, (k,), in the form that belongs to the system."""
        measured = self.normal_residual(residual) if self.normal else residual
        return column_norms(measured, self.operator.backend) / self.scales

    @cached_property
    def scales(self) -> Any:
        """What a residual is relative to, (k,): ||b|| or ||A^t b||, or else what makes x = 0 the solution it is.

        One where b = 0; ||A|| ||b|| where b is orthogonal to the range of A up to rounding.
        """
        backend = self.operator.backend
        scales = column_norms(self.rhs, backend)
        if self.normal:
            b, scales = scales, column_norms(self.operator.rmatvec(self.rhs), backend)
            norm = self.operator.frobenius_norm if isinstance(self.operator, ExplicitMatrix) else self.bounds.upper
            orthogonal = scales <= self.size * FP64_EPSILON * norm * b
            scales = backend.xp.where(orthogonal, norm * b, scales)
        return divisors(scales, backend)


@dataclass
class Solution:
    """x and everything that is known about how it was obtained.

    `relative_residual` is max over columns of ||b - A x||/||b||, recomputed in FP64; of ||A^t (b - A x)||/||A^t b||
    where x is the least-squares solution (see `LinearSystem`). `queries` is the total over rounds; `history` has one
    entry a round with values per column. `success_probability` is the smallest that the simulated register showed.
    `ledger` is the error ledger, in units of the relative residual.
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


class Predictor(Protocol):
    """What has a predicted cost: a solver, or a query count of the literature."""

    @property
    def name(self) -> str: ...

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        """Projected seconds on the stated machines, before anything is solved; infinite where it cannot solve it.

        Raises CombinationError where the options of a solver exclude the system.
        """
        ...


class Solver(Predictor, Protocol):
    """One way to solve a LinearSystem. Adding one is one file and one line of the registry."""

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
        residual = system.residual(x)
        worst = float(system.relative_residuals(residual).max())
    return worst, residual


def growth(system: LinearSystem, x: Any, backend: Backend) -> float:
    """max over columns of ||A|| ||x||/||b||, of the part of b that A x reaches where m != n: at most kappa."""
    reached = system.product(x) if system.normal else system.rhs
    ratios = column_norms(x, backend) / divisors(column_norms(reached, backend), backend)
    return system.norm * float(ratios.max())


def amplification(system: LinearSystem, x: Any) -> float:
    """What a relative rounding error of x is multiplied by in the relative residual, at most: ||A|| ||x||/||b||.

    ||A||^2 ||x||/||A^t b|| for normal equations.
    """
    power = 2 if system.normal else 1
    return system.norm**power * float((column_norms(x, system.operator.backend) / system.scales).max())


def outside_range(system: LinearSystem, residual: Any, backend: Backend) -> str | None:
    """The sentence for a residual of square A x = b that no x lowers, because A^t r = 0 to rounding, if so."""
    if system.normal:
        return None
    errors = system.relative_residuals(residual)
    r = residual[:, int(errors.argmax())][:, None]
    norms = column_norms(r, backend) * system.norm
    rayleigh = float((column_norms(system.operator.rmatvec(r), backend) / divisors(norms, backend))[0])
    if rayleigh > 16 * system.size * FP64_EPSILON:
        return None
    return (
        f"The residual stays at {float(errors.max()):.2e}: what is left of b lies in the null space of the matrix "
        f"(||A^t r|| = {rayleigh:.1e} ||A|| ||r||), so no x solves the system; damp the matrix or project b."
    )


def beyond_double_precision(kappa: float, tolerance: float) -> str | None:
    """The sentence that explains why no FP64 solve of this kappa can be trusted to this tolerance, if so."""
    if kappa * FP64_EPSILON <= tolerance:
        return None
    return (
        f"The condition number is at least {kappa:.3g}, so FP64 arithmetic cannot promise a relative error below "
        f"{kappa * FP64_EPSILON:.1e}, and {tolerance:.1e} was asked for; damp the matrix or raise the tolerance."
    )
