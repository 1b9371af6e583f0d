"""Predictors that are query counts of the literature: no circuit stands behind them, so they solve nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..backends.base import Backend
from ..costs import Cost, CostModel
from ..costs.jennings import LARGEST_EPSILON, LEAST_KAPPA
from ..encodings.gram import GramEncoding
from ..errors import CombinationError
from ..polynomials import round_up_to_grid
from .base import LinearSystem
from .qsvt import QSVT


@dataclass(frozen=True)
class QueryFormula:
    """`queries(kappa, alpha/||H||, epsilon)` of A x = b, charged like a circuit; the count includes repetitions.

    The encoding is that which `qsvt` would run: a system that a formula wins is solved by it.
    """

    name: str
    queries: Callable[[float, float, float], float]
    encoded: QSVT = field(default_factory=QSVT)

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        """Projected seconds; raises CombinationError where the formula is for another kind of system."""
        if system.normal:
            raise CombinationError("solver", f"{self.name} is a formula for A x = b", "Use solver='qsvt'")
        posed = self.encoded.pose(system)
        encoding: Any = self.encoded.encode(posed, backend)
        norm = posed.bounds.upper or 1.0
        # of G~ twice where H = G~^t G~ is known by its factor
        alpha = encoding.alpha**2 if isinstance(encoding, GramEncoding) else encoding.alpha
        epsilon = min(system.tolerance, LARGEST_EPSILON)
        kappa = max(round_up_to_grid(posed.kappa), LEAST_KAPPA)
        relative = max(alpha / norm, 1.0)
        cost = model.quantum(
            self.name,
            queries=self.queries(kappa, relative, epsilon),
            rounds=1,
            success_probability=1.0,
            size=posed.size,
            nonzeros=posed.operator.nonzeros,
            epsilon=epsilon,
            columns=system.rhs.shape[1],
        )
        return Cost(self.name, cost.seconds, {**cost.factors, "kappa": kappa, "alpha": relative})
