"""What every solver would cost for one system in one comparison, who wins, and what decides."""

from __future__ import annotations

from dataclasses import dataclass

from ..costs import COMPARISONS, Cost, CostModel
from ..solvers import FORMULAS, SOLVERS, LinearSystem, make_predictor
from .plan import predict_all
from .sensitivity import Sensitivity, sensitivity

ALWAYS = ("paper", "released-code", "honest")
"""Comparisons that are shown beside the one that was asked for."""


@dataclass(frozen=True)
class Estimate:
    """One comparison: its machines, what every solver costs on them, and what decides."""

    model: CostModel
    costs: dict[str, Cost]
    sensitivity: Sensitivity | None

    @property
    def winner(self) -> str | None:
        return self.sensitivity.verdict.winner if self.sensitivity else None

    def break_even_gate_time(self, name: str) -> float | None:
        """Of this quantum solver against the best classical candidate; None for a classical one."""
        if "gate_time" not in self.costs[name].factors:
            return None
        classical = min(self.costs[candidate].seconds for candidate in self.model.classical_candidates)
        return self.model.break_even_gate_time(self.costs[name], classical)


def estimate(system: LinearSystem, model: CostModel, encoding: str = "auto") -> Estimate:
    """Predicted costs in the comparison of `model`, and which assumption would flip the choice."""
    costs = solver_costs(system, model, encoding)
    return Estimate(model, costs, sensitivity(system, model, costs, encoding))


def estimate_all(system: LinearSystem, model: CostModel, encoding: str = "auto") -> dict[str, Estimate]:
    """The same in every comparison that is shown, that of `model` as it is."""
    names = [name for name in COMPARISONS if name in (model.comparison, *ALWAYS)]
    return {name: estimate(system, model.under(name), encoding) for name in names}


def solver_costs(system: LinearSystem, model: CostModel, encoding: str = "auto") -> dict[str, Cost]:
    """What every solver and every formula is predicted to cost; infinite where it cannot serve the system."""
    predictors = {name: make_predictor(name, encoding=encoding) for name in (*SOLVERS, *FORMULAS)}
    return predict_all(system, model, system.operator.backend, predictors)
