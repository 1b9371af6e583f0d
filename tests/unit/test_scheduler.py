"""The scheduler: the plan is the cheapest, stays put, says why, and mends a failed certificate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu import CostModel, Hardware, LinearSystem, Scheduler, Solution, SpectrumBounds, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import COMPARISONS
from qnewton_gpu.errors import CombinationError, UnknownNameError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.solvers import CLASSICAL, SOLVERS, make_solver
from qnewton_gpu.stages import record_stages

CPU = select_backend("cpu")
GATE_TIMES = [10.0**k for k in range(-16, -2)]


def system(n: int = 200, kappa: float = 30.0, tolerance: float = 1e-2, columns: int = 1) -> LinearSystem:
    operator = as_operator(np.diag(np.linspace(1 / kappa, 1, n)), CPU)
    return LinearSystem(operator, np.ones((n, columns)), SpectrumBounds(1 / kappa, 1.0, True), tolerance)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("gate_time", GATE_TIMES)
def test_the_plan_is_the_cheapest_candidate(comparison: str, gate_time: float) -> None:
    model = CostModel(Hardware(gate_time), comparison=comparison)
    plan = Scheduler(model).plan(system())
    expected = {*model.candidates, *model.honest().candidates, *CLASSICAL}
    assert set(plan.costs) == set(plan.honest_costs) == expected
    seconds = sorted(plan.costs[name].seconds for name in model.candidates)
    assert plan.costs[plan.planned_by].seconds == seconds[0] and plan.margin == seconds[1] / seconds[0]
    assert plan.honest_costs[plan.honest_solver].seconds == min(
        plan.honest_costs[name].seconds for name in ("qsvt", "kernel_reflection", "cholesky", "lu", "cg", "qr")
    )
    assert plan.reason.startswith(plan.planned_by) and comparison in plan.reason and "projected" in plan.reason


@pytest.mark.parametrize("comparison", ["paper", "released-code"])
def test_what_a_formula_wins_is_solved_by_qsvt_and_the_reason_says_so(comparison: str) -> None:
    solution, plan = Scheduler(CostModel(Hardware(1e-15), comparison=comparison)).solve(system(n=20))
    assert plan.planned_by.startswith("jennings") and plan.solver == solution.solver == "qsvt" and solution.solved
    assert "formula" in plan.reason and "qsvt stands in" in plan.reason


def test_the_released_code_counts_alpha_once_more() -> None:
    s = system()
    H = s.operator.dense() + 0.01 * (np.eye(200, k=1) + np.eye(200, k=-1))
    s.operator = as_operator(H, CPU)
    costs = [
        Scheduler(CostModel(comparison=name)).plan(s).costs[candidate]
        for name, candidate in (("paper", "jennings"), ("released-code", "jennings_released_code"))
    ]
    alpha = costs[0].factors["alpha"]
    assert alpha == pytest.approx(np.abs(H).sum(axis=1).max(), rel=1e-12) and alpha > 1
    assert costs[1].seconds == pytest.approx(alpha * costs[0].seconds, rel=1e-12)


def test_both_kinds_are_chosen_and_the_break_even_lies_between() -> None:
    chosen = {gate: Scheduler(CostModel(Hardware(gate))).plan(system()) for gate in GATE_TIMES}
    kinds = [plan.solver for plan in chosen.values()]
    assert set(kinds) == {"qsvt", "lu"}
    for gate, plan in chosen.items():
        assert (plan.solver == "qsvt") == (gate < plan.break_even_gate_time)
    assert len({f"{plan.break_even_gate_time:.9e}" for plan in chosen.values()}) == 1


def test_at_the_break_even_gate_time_both_cost_the_same() -> None:
    gate = Scheduler().plan(system()).break_even_gate_time
    costs = Scheduler(CostModel(Hardware(gate))).plan(system()).costs
    assert costs["qsvt"].seconds == pytest.approx(costs["lu"].seconds, rel=1e-12)


def test_the_honest_comparison_is_harder_on_the_quantum_side() -> None:
    plan = Scheduler().plan(system())
    assert plan.honest_break_even_gate_time < plan.break_even_gate_time
    assert plan.honest_costs["qsvt"].seconds > plan.costs["qsvt"].seconds
    assert plan.honest_solver != "qsvt"


@pytest.mark.parametrize("kappa", [2.0, 16.0, 2 ** (33 / 8), 30.0, 64.0, 100.0, 128.0])
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_one_ulp_of_kappa_changes_nothing(kappa: float, comparison: str) -> None:
    base = system()
    operator = base.operator
    plans = []
    for changed in (kappa, math.nextafter(kappa, 0), math.nextafter(kappa, math.inf)):
        bounds = SpectrumBounds(1 / changed, 1.0, True)
        plan = Scheduler(CostModel(comparison=comparison)).plan(LinearSystem(operator, base.rhs, bounds, 1e-2))
        plans.append((plan.solver, plan.reason, plan.costs, plan.honest_costs))
    assert plans[0] == plans[1] == plans[2]


@pytest.mark.parametrize("p", [0.03, 0.25, 2.0**-5, 1e-4])
def test_one_ulp_of_the_success_probability_changes_nothing(p: float) -> None:
    plans = [
        Scheduler().plan(replace(system(), expected_success={"qsvt": changed}))
        for changed in (p, math.nextafter(p, 0), math.nextafter(p, 1))
    ]
    assert plans[0] == plans[1] == plans[2]
    assert plans[0].costs["qsvt"].factors["success_probability"] <= p * (1 + 1e-8)


def test_the_success_that_one_solver_saw_is_not_planned_for_another() -> None:
    model = CostModel().honest()
    known = replace(system(), expected_success={"qsvt": 0.25}, expected_norm=1.0)
    costs = Scheduler(model).plan(known).costs
    assert costs["qsvt"].factors["success_probability"] == 0.25
    assert costs["kernel_reflection"].factors["success_probability"] > 0.8


def test_a_plan_does_not_depend_on_the_right_hand_side() -> None:
    one, other = system(), system()
    other.rhs = 1e6 * np.random.default_rng(0).standard_normal(one.rhs.shape)
    assert Scheduler().plan(one) == Scheduler().plan(other)


def test_a_solver_that_was_asked_for_is_taken_and_the_reason_says_so() -> None:
    for name in SOLVERS:
        solution, plan = Scheduler(solver=name).solve(system(n=20))
        assert solution.solver == plan.solver == name and solution.solved
        assert plan.reason.startswith(f"{name} was asked for")
        assert plan.fallbacks == []


def test_circuits_take_the_encoding_that_has_a_gate_program() -> None:
    assert Scheduler(mode="circuit").encoding == "matching" and Scheduler().encoding == "auto"
    with pytest.raises(CombinationError, match="gram has no gate program"):
        Scheduler(mode="circuit", encoding="gram")


def test_an_unknown_solver_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"auto, qsvt, .*hhl, cks, adiabatic, cholesky, lu, cg"):
        Scheduler(solver="magic")


def scripted(
    monkeypatch: pytest.MonkeyPatch, endings: dict[str, Status], **options: Any
) -> tuple[Scheduler, list[str]]:
    """A scheduler whose solvers end as they are told, and the list of those that were called."""
    called: list[str] = []

    def make(name: str, **solver_options: Any) -> Any:
        real = make_solver(name, **solver_options)

        class Told:
            predict = staticmethod(real.predict)
            pose = staticmethod(getattr(real, "pose", None))

            @staticmethod
            def solve(system: LinearSystem, backend: Any) -> Solution:
                called.append(name)
                if name not in endings:
                    return real.solve(system, backend)
                history = [{"queries": 7, "epsilon": 1e-2, "success_probability": [0.25]}] if name == "qsvt" else []
                return Solution(0 * system.rhs, endings[name], f"{name} as told.", 0.9, name,
                                queries=7 * len(history), simulated_seconds=1.0, history=history)  # fmt: skip

            def solve_many(self, systems: list[LinearSystem], backend: Any) -> list[Solution]:
                return [self.solve(system, backend) for system in systems]

        return Told()

    monkeypatch.setattr("qnewton_gpu.scheduler.make_solver", make)
    return Scheduler(**options), called


QUANTUM_WINS = CostModel(Hardware(1e-15))
BAD = Status.NOT_CONVERGED


def test_a_failed_quantum_solve_falls_back_to_cholesky_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, called = scripted(monkeypatch, {"qsvt": BAD}, model=QUANTUM_WINS)
    solution, plan = scheduler.solve(system(n=20))
    assert called == ["qsvt", "cholesky"] and solution.solver == "cholesky" and solution.solved
    assert len(plan.fallbacks) == 1
    assert all(word in plan.fallbacks[0] for word in ("qsvt", "not converged", "qsvt as told", "cholesky was tried"))
    # what was spent in vain is charged
    assert solution.queries == 7 and solution.history[0]["queries"] == 7
    assert solution.simulated_seconds > 1.0
    assert solution.projected_seconds > plan.costs["cholesky"].seconds


def test_then_comes_lu(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, called = scripted(monkeypatch, {"qsvt": BAD, "cholesky": BAD}, model=QUANTUM_WINS)
    solution, plan = scheduler.solve(system(n=20))
    assert called == ["qsvt", "cholesky", "lu"] and solution.solver == "lu" and solution.solved
    assert [note.split()[0] for note in plan.fallbacks] == ["qsvt", "cholesky"]


def test_where_eigenvalues_are_known_to_be_negative_cholesky_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, called = scripted(monkeypatch, {"qsvt": BAD}, model=QUANTUM_WINS)
    indefinite = system(n=20)
    indefinite.bounds = replace(indefinite.bounds, negative=True)
    solution, _ = scheduler.solve(indefinite)
    assert called == ["qsvt", "lu"] and solution.solved and math.isfinite(solution.projected_seconds)


@pytest.mark.parametrize(("planned", "then"), [("cholesky", "lu"), ("lu", "cholesky"), ("cg", "cholesky")])
def test_whichever_was_planned_the_others_are_tried_once(
    planned: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, called = scripted(monkeypatch, {planned: BAD})
    plan = replace(scheduler.plan(system(n=20)), solver=planned)
    solution, _ = scheduler.solve(system(n=20), plan)
    assert called == [planned, then] and solution.solved


def test_where_nothing_helps_the_first_of_the_nearest_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, called = scripted(
        monkeypatch, {"qsvt": Status.SINGULAR, "cholesky": BAD, "lu": BAD, "qr": BAD}, model=QUANTUM_WINS
    )
    solution, plan = scheduler.solve(system(n=20))
    assert called == ["qsvt", "cholesky", "lu", "qr"]
    assert solution.status is Status.SINGULAR and solution.message == "qsvt as told."
    assert len(plan.fallbacks) == 3 and solution.simulated_seconds == 4.0


def test_a_forced_solver_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, called = scripted(monkeypatch, {"qsvt": BAD}, model=QUANTUM_WINS, solver="qsvt")
    solution, plan = scheduler.solve(system(n=20))
    assert called == ["qsvt"] and solution.status is BAD and plan.fallbacks == []


def test_an_indefinite_matrix_planned_for_cholesky_is_solved_by_lu() -> None:
    honest = CostModel(comparison="honest")
    H = np.diag(np.r_[-1.0, np.linspace(0.5, 1, 19)])
    plan = Scheduler(honest).plan(LinearSystem(as_operator(H, CPU), np.ones((20, 1)), SpectrumBounds(0.5, 1.0), 1e-8))
    forced = replace(plan, solver="cholesky")
    scheduler = Scheduler(honest)
    bounds = SpectrumBounds(0.5, 1.0)
    solution, used = scheduler.solve(LinearSystem(as_operator(H, CPU), np.ones((20, 1)), bounds, 1e-8), forced)
    assert solution.solved and solution.solver == "lu"
    assert "positive definite" in used.fallbacks[0]


def test_projected_seconds_are_those_of_the_queries_made_and_the_probabilities_seen() -> None:
    model = CostModel(Hardware(1e-9))
    s = system(n=64, kappa=10, tolerance=1e-9, columns=2)
    solution, _ = Scheduler(model, solver="qsvt").solve(s)
    assert len(solution.history) == 2
    expected = sum(
        model.quantum("qsvt", queries=entry["queries"], rounds=1, success_probability=p, size=64,
                      nonzeros=s.operator.nonzeros, epsilon=entry["epsilon"]).seconds
        for entry in solution.history for p in entry["success_probability"]
    )  # fmt: skip
    assert solution.projected_seconds == pytest.approx(expected, rel=1e-12)
    classical, plan = Scheduler(model, solver="lu").solve(s)
    assert classical.projected_seconds == plan.costs["lu"].seconds


def test_predicted_queries_are_the_ones_that_are_made() -> None:
    s = system(n=64, kappa=10, tolerance=1e-2)
    solution, plan = Scheduler(solver="qsvt", encoding="walk").solve(s)
    factors = plan.costs["qsvt"].factors
    assert factors["queries"] * factors["rounds"] == solution.queries


def test_the_scheduler_is_reached_through_solve() -> None:
    H = np.diag(np.linspace(0.5, 1, 30))
    assert qn.solve(H, np.ones(30), hardware=QUANTUM_WINS).solver == "qsvt"
    assert qn.solve(H, np.ones(30), hardware=Hardware(1.0)).solver == "lu"


def test_solvers_that_need_a_definite_matrix_are_not_planned_for_an_indefinite_one() -> None:
    matrix = np.diag(np.linspace(-1.0, 2.0, 12) + 0.01)
    solution = qn.solve(matrix, np.ones(12), hardware=CostModel(comparison="honest"))
    assert solution.solved and solution.solver == "lu" and not solution.history


MEASURED = replace(CostModel().classical, name="measured here", measured=True)


def adapting(gate_time: float = 1e-12, **options: Any) -> Scheduler:
    return Scheduler(CostModel(Hardware(gate_time), MEASURED), adapt=True, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "a stated one"), ({"model": CostModel(classical=MEASURED), "solver": "lu"}, "lu was asked for")],
)
def test_only_choices_on_a_measured_machine_can_adapt(options: dict[str, Any], said: str) -> None:
    with pytest.raises(CombinationError, match=said):
        Scheduler(adapt=True, **options)


def test_what_a_solve_took_corrects_the_next_plan_and_the_costs_say_so() -> None:
    scheduler = adapting()
    assert scheduler.adaptation is not None
    known = replace(system(), expected_success={"qsvt": 0.03})
    first = scheduler.plan_many([known]).plans[0]
    assert first.costs["qsvt"].factors["correction"] == 1.0
    solution, _ = scheduler.solve_many([known], [first])[0]
    ratio = solution.projected_seconds / first.costs["qsvt"].seconds
    weight = scheduler.adaptation.weight
    assert first.solver == "qsvt" and abs(math.log(ratio)) > 0.01
    second = scheduler.plan(system())
    assert second.costs["qsvt"].factors["correction"] == pytest.approx(ratio**weight, rel=1e-9)
    assert second.costs["qsvt"].seconds == pytest.approx(first.costs["qsvt"].seconds * ratio**weight, rel=1e-9)
    assert f"(corrected x{ratio**weight:.3g})" in second.reason


def test_a_first_guess_of_the_success_probability_is_not_learnt_from() -> None:
    """The next plan has the probability that was seen: a correction would count it twice."""
    scheduler = adapting()
    solution, plan = scheduler.solve(system())
    assert solution.solver == "qsvt" and scheduler.adaptation is not None
    assert abs(math.log(solution.projected_seconds / plan.costs["qsvt"].seconds)) > 0.01
    assert scheduler.adaptation.correction("qsvt") == 1.0


@pytest.mark.parametrize("measured", [False, True])
def test_on_a_measured_machine_the_seconds_of_a_solve_are_its_own(measured: bool) -> None:
    machine = MEASURED if measured else CostModel().classical
    scheduler = Scheduler(CostModel(Hardware(1e-12), machine))
    systems = [replace(system(), name=name, encodings={}) for name in ("a", "b")]
    plans = [replace(scheduler.plan(s), solver=solver) for s, solver in zip(systems, ("qsvt", "lu"), strict=True)]
    with record_stages() as events:
        assert all(solution.solved for solution, _ in scheduler.solve_many(systems, plans))
    assert {event.track for event in events} == ({0} if measured else {0, 1})


def test_a_classical_solver_is_compared_with_the_seconds_of_this_machine() -> None:
    scheduler = adapting(1.0)
    solution, plan = scheduler.solve(system())
    assert solution.solver == "lu" and scheduler.adaptation is not None
    seen = math.log(solution.simulated_seconds / plan.honest_costs["lu"].seconds)
    limited = min(max(seen, -math.log(100)), math.log(100))
    expected = math.exp(scheduler.adaptation.weight * limited)
    assert scheduler.adaptation.correction("lu") == pytest.approx(expected, rel=1e-9)


def test_a_choice_is_kept_until_another_is_clearly_better() -> None:
    equal = Scheduler().plan(system()).break_even_gate_time
    scheduler = adapting(0.9 * equal)
    assert scheduler.plan_many([system()]).plans[0].solver == "qsvt"
    for gate_time, kept in ((1.1 * equal, "qsvt"), (1.3 * equal, "lu"), (0.9 * equal, "lu"), (0.7 * equal, "qsvt")):
        scheduler.model = CostModel(Hardware(gate_time), MEASURED)
        plan = scheduler.plan_many([system()]).plans[0]
        assert plan.solver == kept
        assert ("is kept, for nothing is better by 20%" in plan.reason) == (gate_time in (1.1 * equal, 0.9 * equal))


def test_without_adapt_nothing_is_learnt() -> None:
    scheduler = Scheduler(CostModel(Hardware(1e-8), MEASURED))
    plans = [scheduler.solve(system())[1] for _ in range(2)]
    assert plans[0] == plans[1] and "correction" not in plans[0].costs["qsvt"].factors
