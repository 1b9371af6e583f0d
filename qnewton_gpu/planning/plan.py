"""The plan of one system: what every candidate is predicted to cost, which one is the cheapest, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..backends.base import Backend
from ..costs import Cost, CostModel
from ..errors import CombinationError
from ..solvers import LinearSystem, Predictor, runs_as

Costs = Mapping[str, Cost]


class Handicap(NamedTuple):
    """A factor on the cost of a candidate that counts when candidates are compared, and nowhere else; and why."""

    factor: float
    why: str


@dataclass(frozen=True)
class Plan:
    """Which solver runs a system, what every candidate is predicted to cost (projected seconds), and why.

    `planned_by` is the candidate that decided: the solver itself, or a formula that it stands in for. `margin` is what
    the next best candidate costs over it. The break-even gate times are those at which the best quantum candidate of
    the comparison would take as long as the best classical one.
    """

    solver: str
    planned_by: str
    reason: str
    costs: dict[str, Cost]
    margin: float
    honest_solver: str
    honest_costs: dict[str, Cost]
    break_even_gate_time: float
    honest_break_even_gate_time: float
    fallbacks: list[str] = field(default_factory=list)
    handicaps: dict[str, Handicap] = field(default_factory=dict)

    def weighed(self, name: str) -> float:
        """The projected seconds of a candidate as they count when candidates are compared."""
        return weighed(self.costs, self.handicaps, name)


def predict_all(
    system: LinearSystem,
    model: CostModel,
    backend: Backend,
    predictors: Mapping[str, Predictor | None],
    asked: str | None = None,
) -> dict[str, Cost]:
    """Predicted cost of every predictor: infinite for one that cannot serve the system, or is None.

    Raises CombinationError for the one that was `asked` for.
    """
    costs = {}
    for name, predictor in predictors.items():
        try:
            costs[name] = predictor.predict(system, model, backend) if predictor else Cost(name, math.inf)
        except CombinationError:
            if name == asked:
                raise
            costs[name] = Cost(name, math.inf)
    return costs


def cheapest(costs: Costs, names: Iterable[str]) -> str:
    """The name of the lowest cost; of equal ones the first."""
    return min(names, key=lambda name: costs[name].seconds)


def weighed(costs: Costs, handicaps: Mapping[str, Handicap], name: str) -> float:
    return costs[name].seconds * (handicaps[name].factor if name in handicaps else 1.0)


def beyond_queries(costs: Costs, names: Iterable[str], max_queries: int) -> dict[str, Handicap]:
    """Leaves out the candidates whose circuits would exceed `max_queries`."""
    handicaps = {}
    for name in names:
        factors = costs[runs_as(name)].factors
        needed = factors.get("rounds", 0.0) * factors.get("queries", 0.0) + factors.get("search_queries", 0.0)
        if needed > max_queries:
            why = f"{name} is left out: {needed:.3g} queries would be simulated, max_queries is {max_queries}"
            handicaps[name] = Handicap(math.inf, why)
    return handicaps


def make_plan(
    costs: dict[str, Cost], honest: dict[str, Cost], model: CostModel, handicaps: dict[str, Handicap] | None = None
) -> Plan:
    """The argmin over the candidates of the comparison, each with its handicap, and the reason in words."""
    handicaps, honest_model = handicaps or {}, model.honest()
    ranked = sorted(model.candidates, key=lambda name: (weighed(costs, handicaps, name), costs[name].seconds))
    best, second = ranked[0], ranked[1]
    said = f"{_said(costs[best])} against {_said(costs[second])}, projected, {model.comparison} comparison"
    hopeless = math.isinf(weighed(costs, handicaps, best))
    if hopeless:
        said = f"{best} is tried, though no candidate of the {model.comparison} comparison is predicted to solve this"
    passed_over = dict.fromkeys(
        why
        for name, (_, why) in handicaps.items()
        if costs[name].seconds < costs[best].seconds or (hopeless and name == best)
    )
    return Plan(
        solver=runs_as(best),
        planned_by=best,
        reason="; ".join([said, *stand_in(best), *passed_over]),
        costs=costs,
        margin=margin(costs, best, ranked[1:]),
        honest_solver=cheapest(honest, honest_model.candidates),
        honest_costs=honest,
        break_even_gate_time=break_even(model, costs),
        honest_break_even_gate_time=break_even(honest_model, honest),
        handicaps=handicaps,
    )


def stand_in(name: str) -> list[str]:
    """The sentence that says who runs what a formula wins."""
    return [f"{name} is a formula, and {runs_as(name)} stands in for it"] if runs_as(name) != name else []


def _said(cost: Cost) -> str:
    correction = cost.factors.get("correction", 1.0)
    return f"{cost.solver} {cost.seconds:.2e} s" + (f" (corrected x{correction:.3g})" if correction != 1 else "")


def margin(costs: Costs, name: str, others: Iterable[str]) -> float:
    """What the cheapest of the others costs over this one: above 1 where it wins, infinite where only it can."""
    best, own = min(costs[other].seconds for other in others), costs[name].seconds
    return best / own if 0 < own < math.inf else 1.0


def break_even(model: CostModel, costs: Costs) -> float:
    """The gate time at which the best quantum candidate takes as long as the best classical one; 0 where none would."""
    classical = min(costs[name].seconds for name in model.classical_candidates)
    return max(model.break_even_gate_time(costs[name], classical) for name in model.quantum_candidates)
