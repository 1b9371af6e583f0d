"""The systems of a step on two machines that work at the same time, one classical and one quantum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..costs import CostModel
from ..solvers import CLASSICAL, runs_as
from .makespan import minimum_makespan, paper_rule
from .plan import Plan, margin, stand_in

MACHINES = ("classical", "quantum")
SCHEDULES = ("makespan", "paper")
ASKED = "asked"
"""The rule of systems whose solver was asked for by name: nothing is left to be scheduled."""


@dataclass(frozen=True)
class Schedule:
    """Plans for the systems of a step, and the projected seconds until the last of them is solved.

    `machines` has the machine of each system; `paper_rule_seconds` belong to the paper's rule, each system to its
    faster machine, and `lower_bound` is what no schedule can go below. `method` says how it was found.
    """

    plans: list[Plan]
    rule: str
    machines: list[str]
    projected_seconds: float
    paper_rule_seconds: float
    lower_bound: float
    method: str


def make_schedule(plans: Sequence[Plan], model: CostModel, rule: str) -> Schedule:
    """Rule "makespan" lets the step end soonest, "paper" sends each system to its faster machine, "asked" moves none.

    A machine is taken to be as fast as the best candidate of the comparison on it. Systems that neither machine can
    serve keep their plans and take part in no sum.
    """
    best = [[_best(plan, names) for names in (model.classical_candidates, model.quantum_candidates)] for plan in plans]
    seconds = np.array([[plan.costs[name].seconds for name in pair] for plan, pair in zip(plans, best, strict=True)])
    weighed = np.array([[plan.weighed(name) for name in pair] for plan, pair in zip(plans, best, strict=True)])
    seconds[np.isinf(weighed)] = math.inf
    served = np.isfinite(seconds).any(axis=1)
    if not served.any():
        return Schedule(list(plans), rule, ["none"] * len(plans), math.inf, math.inf, math.inf, "no machine serves")
    paper = paper_rule(seconds[served])
    if rule == ASKED:
        machines = [MACHINES[plan.planned_by not in CLASSICAL] for plan in plans]
        ends = _ends([plan.costs[plan.planned_by].seconds for plan in plans], machines)
        return Schedule(list(plans), rule, machines, ends, paper.seconds, paper.lower_bound, ASKED)
    find = minimum_makespan if rule == "makespan" and len(plans) > 1 else paper_rule
    found = find(weighed[served])
    taken = iter(found.machines)
    places = [next(taken) if able else None for able in served]
    machines = ["none" if place is None else MACHINES[place] for place in places]
    ends = _ends([math.nan if p is None else row[p] for row, p in zip(seconds, places, strict=True)], machines)
    moved = f"so that all systems of the step are done in {ends:.2e} s instead of {paper.seconds:.2e} s, projected"
    return Schedule(
        plans=[
            plan if place is None else _on(plan, pair[place], model, moved)
            for plan, pair, place in zip(plans, best, places, strict=True)
        ],
        rule=rule,
        machines=machines,
        projected_seconds=ends,
        paper_rule_seconds=paper.seconds,
        lower_bound=find(seconds[served]).lower_bound if (seconds != weighed).any() else found.lower_bound,
        method=found.method,
    )


def _ends(seconds: Sequence[float], machines: Sequence[str]) -> float:
    """When the later of the two machines is done."""
    return max(sum(s for s, on in zip(seconds, machines, strict=True) if on == machine) for machine in MACHINES)


def _best(plan: Plan, names: tuple[str, ...]) -> str:
    return min(names, key=lambda name: (plan.weighed(name), plan.costs[name].seconds))


def _on(plan: Plan, name: str, model: CostModel, moved: str) -> Plan:
    """The plan with this candidate, and the reason where another one would be cheaper alone."""
    if name == plan.planned_by:
        return plan
    reason = "; ".join([f"{name} {plan.costs[name].seconds:.2e} s, {moved}", *stand_in(name), f"alone: {plan.reason}"])
    others = [other for other in model.candidates if other != name]
    return replace(plan, solver=runs_as(name), planned_by=name, reason=reason, margin=margin(plan.costs, name, others))
