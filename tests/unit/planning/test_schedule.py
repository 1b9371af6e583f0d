"""Plans and schedules from costs that are made up: who wins, by how much, and what the two machines make of it."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.costs import Cost, CostModel, Hardware
from qnewton_gpu.planning.plan import Plan, beyond_queries, make_plan, margin
from qnewton_gpu.planning.schedule import ASKED, make_schedule

IDEAL = CostModel()
HONEST = ("qsvt", "kernel_reflection", "cholesky", "lu", "cg", "qr")
SECONDS = st.one_of(st.just(math.inf), st.floats(-18, 3).map(lambda exponent: 10.0**exponent))


def cost(name: str, seconds: float, queries: float = 100.0) -> Cost:
    factors = {} if name in ("lu", "cg", "cholesky", "qr") or math.isinf(seconds) else {
        "rounds": 1.0, "columns": 1.0, "repetitions": 1.0, "readout": 1.0, "queries": queries, "depth": 1.0,
        "preparation": 0.0, "gate_time": 1e-9,
    }  # fmt: skip
    return Cost(name, seconds, factors)


def plan_of(quantum: float, classical: float, queries: float = 100.0, model: CostModel = IDEAL) -> Plan:
    costs = {name: cost(name, classical) for name in ("cholesky", "lu", "cg", "qr")}
    costs |= {name: cost(name, quantum, queries) for name in ("qsvt", "kernel_reflection")}
    handicaps = beyond_queries(costs, model.quantum_candidates, 1000)
    return make_plan(costs, {name: costs[name] for name in HONEST}, model, handicaps)


def test_the_cheapest_wins_by_its_margin() -> None:
    plan = plan_of(2.0, 3.0)
    assert plan.solver == plan.planned_by == "qsvt" and plan.margin == 1.5
    assert plan_of(3.0, 1.5).solver == "lu"
    assert plan_of(1.0, math.inf).margin == math.inf


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [(2.0, 4.0, 2.0), (math.inf, 4.0, 1.0), (1.0, math.inf, math.inf), (math.inf, math.inf, 1.0)],
)
def test_margin(own: float, other: float, expected: float) -> None:
    assert margin({"a": Cost("a", own), "b": Cost("b", other)}, "a", ["b"]) == expected


def test_what_nobody_is_predicted_to_solve_is_tried_and_the_reason_says_so() -> None:
    plan = plan_of(math.inf, math.inf)
    assert plan.solver == "qsvt" and plan.reason.startswith("qsvt is tried") and "inf s" not in plan.reason
    assert plan.margin == 1.0 and plan.break_even_gate_time == plan.honest_break_even_gate_time == 0
    beyond = plan_of(1.0, math.inf, queries=1001.0)
    assert beyond.reason.startswith("qsvt is tried") and "max_queries is 1000" in beyond.reason


def test_a_machine_that_never_ends_has_no_break_even() -> None:
    """Its T states are never good enough: infinite seconds, with all the factors of a quantum cost."""
    hopeless = Hardware(1e-9, level="physical", physical_error=9.9e-3, factories=1, t_gates_per_gate=1e6)
    model = CostModel(hopeless)
    found = model.quantum("qsvt", queries=1e6, rounds=1, success_probability=1.0, size=64, nonzeros=64, epsilon=1e-2)
    assert found.seconds == math.inf and model.break_even_gate_time(found, math.inf) == 0


def test_what_could_not_be_simulated_is_left_out_and_the_reason_says_so() -> None:
    plan = plan_of(1.0, 3.0, queries=1001.0)
    assert plan.solver == "lu" and "qsvt is left out" in plan.reason and "1e+03 queries" in plan.reason
    assert plan.break_even_gate_time > 0  # the projection is not a matter of what this computer can simulate
    schedule = make_schedule([plan, plan], IDEAL, "makespan")
    assert schedule.machines == ["classical", "classical"] and schedule.projected_seconds == 6.0


@settings(max_examples=100)
@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=6))
def test_the_schedule_is_the_best_of_all_and_never_above_the_papers_rule(pairs: list[tuple[float, float]]) -> None:
    schedule = make_schedule([plan_of(*pair) for pair in pairs], IDEAL, "makespan")
    served = [pair for pair in pairs if min(pair) < math.inf]
    if not served:
        assert schedule.machines == ["none"] * len(pairs) and math.isinf(schedule.projected_seconds)
        return
    best = min(
        max(sum(p[m] for p, m in zip(served, where, strict=True) if m == machine) for machine in (0, 1))
        for where in product((0, 1), repeat=len(served))
    )
    assert schedule.projected_seconds == pytest.approx(best, rel=1e-6)
    assert schedule.lower_bound <= schedule.projected_seconds * (1 + 1e-9)
    assert schedule.projected_seconds <= schedule.paper_rule_seconds
    loads = {"classical": 0.0, "quantum": 0.0}
    for (quantum, classical), machine, plan in zip(pairs, schedule.machines, schedule.plans, strict=True):
        if machine == "none":
            continue
        assert plan.planned_by == {"classical": "lu", "quantum": "qsvt"}[machine]
        loads[machine] += quantum if machine == "quantum" else classical
        if (quantum < classical) != (machine == "quantum") and quantum != classical:
            assert "all systems of the step are done" in plan.reason and plan.margin <= 1
    assert max(loads.values()) == pytest.approx(schedule.projected_seconds, rel=1e-12)


def test_the_papers_rule_moves_nothing() -> None:
    plans = [plan_of(1.0, 1.5), plan_of(1.0, 1.5), plan_of(1.0, 1.5)]
    paper, best = (make_schedule(plans, IDEAL, rule) for rule in ("paper", "makespan"))
    assert paper.plans == plans and paper.projected_seconds == best.paper_rule_seconds == 3.0
    assert best.projected_seconds == 2.0 and sorted(best.machines) == ["classical", "quantum", "quantum"]


def test_systems_whose_solver_was_asked_for_are_not_moved() -> None:
    plans = [plan_of(1.0, 9.0), plan_of(5.0, 2.0)]
    schedule = make_schedule(plans, IDEAL, ASKED)
    assert schedule.plans == plans and schedule.machines == ["quantum", "classical"]
    assert schedule.projected_seconds == 2.0
