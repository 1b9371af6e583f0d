"""The systems of a step on two machines that work at the same time, one classical and one quantum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..costs import CostModel
from ..solvers import CLASSICAL, runs_as
from .makespan import Makespan, minimum_makespan, paper_rule
from .plan import Plan, cheapest, margin

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
    best = [
        tuple(_best(plan, names) for names in (model.classical_candidates, model.quantum_candidates)) for plan in plans
    ]
    seconds = np.array([[s for _, s in pair] for pair in best])
    served = np.isfinite(seconds).any(axis=1)
    if not served.any():
        return Schedule(list(plans), rule, ["none"] * len(plans), math.inf, math.inf, math.inf, "no machine serves")
    paper = paper_rule(seconds[served])
    if rule == ASKED:
        machines = [MACHINES[plan.planned_by not in CLASSICAL] for plan in plans]
        loads = [
            sum(p.costs[p.planned_by].seconds for p, on in zip(plans, machines, strict=True) if on == machine)
            for machine in MACHINES
        ]
        return Schedule(list(plans), rule, machines, max(loads), paper.seconds, paper.lower_bound, ASKED)
    found = minimum_makespan(seconds[served]) if rule == "makespan" and len(plans) > 1 else paper
    taken = iter(found.machines)
    places = [next(taken) if able else None for able in served]
    return Schedule(
        plans=[
            plan if place is None else _on(plan, pair[place][0], model, found, paper)
            for plan, pair, place in zip(plans, best, places, strict=True)
        ],
        rule=rule,
        machines=["none" if place is None else MACHINES[place] for place in places],
        projected_seconds=found.seconds,
        paper_rule_seconds=paper.seconds,
        lower_bound=found.lower_bound,
        method=found.method,
    )


def _best(plan: Plan, names: tuple[str, ...]) -> tuple[str, float]:
    """The cheapest of these candidates that is not barred, and its projected seconds; infinite where none is left."""
    able = [name for name in names if name not in plan.barred]
    name = cheapest(plan.costs, able or names)
    return name, plan.costs[name].seconds if able else math.inf


def _on(plan: Plan, name: str, model: CostModel, found: Makespan, paper: Makespan) -> Plan:
    """The plan with this candidate, and the reason where another one would be cheaper alone."""
    if name == plan.planned_by:
        return plan
    reason = (
        f"{name} {plan.costs[name].seconds:.2e} s, so that all systems of the step are done in {found.seconds:.2e} s "
        f"instead of {paper.seconds:.2e} s, projected; alone: {plan.reason}"
    )
    others = [other for other in model.candidates if other != name]
    return replace(plan, solver=runs_as(name), planned_by=name, reason=reason, margin=margin(plan.costs, name, others))
