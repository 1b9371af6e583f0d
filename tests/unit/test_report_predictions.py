"""What the report says of the planner: predictions against what came, schedules, conditioning, and who competed."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from qnewton_gpu import ClassicalMachine, CostModel, Hardware
from qnewton_gpu.costs import COMPARISONS
from qnewton_gpu.report.log import RunLog
from qnewton_gpu.report.page import page
from qnewton_gpu.report.predictions import classical_predictions, predictions, quantum_predictions
from qnewton_gpu.report.schedules import charged, schedules
from qnewton_gpu.report.tables import choices, conditioning_steps, quantum_factors, solver_costs

FACTORS = {
    "rounds": 1.0, "columns": 1.0, "repetitions": 9.0, "readout": 1.0, "queries": 50.0, "depth": 100.0,
    "preparation": 0.0, "gate_time": 1e-7, "success_probability": 0.03,
}  # fmt: skip
MEASURED = replace(ClassicalMachine.load(), name="this one", measured=True, measured_at=1.8e9)


def quantum(predicted: float | None, came: float | None, /, **changes: Any) -> dict[str, Any]:
    planned_by = changes.get("planned_by", "qsvt")
    return {
        "name": "0", "solver": "qsvt", "planned_by": planned_by, "status": "solved", "fallbacks": [], "kappa": 8.0,
        "predicted_seconds": predicted, "projected_seconds": came, "classical_predicted_seconds": None,
        "simulated_seconds": 0.1, "queries": 100, "success_probability": 0.1, "size": 100, "row_sparsity": 100,
        "predicted": {planned_by: {"projected_seconds": predicted, "factors": FACTORS}}, **changes,
    }  # fmt: skip


def classical(predicted: float | None, came: float | None, solver: str = "lu", **changes: Any) -> dict[str, Any]:
    own = {
        "classical_predicted_seconds": predicted, "simulated_seconds": came, "projected_seconds": 1e-5,
        "predicted_seconds": 1e-5, "queries": 0, "success_probability": None,
    }  # fmt: skip
    return quantum(None, None, **{**own, "solver": solver, "planned_by": solver, "name": "2", **changes})


def log_of(*steps: list[dict[str, Any]], model: CostModel | None = None, **schedule: Any) -> RunLog:
    lines = [{"step": n, "loss": 1.0, "accepted": True, "systems": systems} for n, systems in enumerate(steps)]
    if schedule:
        lines = [{**line, "schedule": schedule} for line in lines]
    return RunLog({"solver": "auto", "data": "digits", "steps": len(lines)}, lines, model or CostModel())


def words(source: str) -> str:
    """The text of a page outside its figures."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", source, flags=re.DOTALL)))


def cells(source: str, *begin: str) -> list[str]:
    """The row of a table that begins with these words."""
    rows = [[words(cell).strip() for cell in re.findall(r"<td.*?</td>", row)] for row in source.split("<tr")]
    return next(row for row in rows if row[: len(begin)] == list(begin))


def test_predictions_are_told_apart_by_their_clocks() -> None:
    log = log_of([quantum(1e-3, 2e-3), classical(0.5, 0.6)])
    assert [(p.solver, p.predicted, p.came) for p in quantum_predictions(log)] == [("qsvt", 1e-3, 2e-3)]
    assert [(p.solver, p.predicted, p.came) for p in classical_predictions(log)] == [("lu", 0.5, 0.6)]


def test_a_measured_machine_tests_the_prediction() -> None:
    systems = [classical(1.0, came) for came in (0.9, 1.2, 1.5)] + [classical(2.0, 2.0, "cg")]
    source = predictions(log_of(systems, model=CostModel(classical=MEASURED)))
    assert "over 4 solves is 15 %; 3 of 4 came within a factor 1.3" in words(source)  # 0, 0.1, 0.2, 0.5
    assert cells(source, "measured simulated", "lu") == [
        "measured simulated", "lu", "3", "1.2", "20 %", "2", "3", "–", "–",
    ]  # fmt: skip
    assert cells(source, "measured simulated", "cg")[2:5] == ["1", "1", "0 %"]
    assert "Bands" in source and "No system was solved by a quantum solver" in source
    assert source.count("simulated seconds (log)") == 1 and source.count("projected seconds (log)") == 1
    assert "in a step" not in source and "shared the machine" not in source


def test_a_stated_machine_that_is_another_one_tests_nothing() -> None:
    source = predictions(log_of([classical(1.0, 40.0), classical(1.0, 42.0), classical(1.0, 90.0)]))
    assert "took 42 times as long" in words(source) and "tests no prediction" in words(source)
    assert "Bands" not in source and "%" not in words(source)
    assert cells(source, "measured simulated", "lu")[3:] == ["42", "–", "–", "–", "–", "–"]


def test_what_a_quantum_solve_was_charged_is_taken_apart() -> None:
    systems = [quantum(1e-3, 1e-3), quantum(1e-3, 2e-3), quantum(1e-3, 5e-4), classical(1.0, 1.0)]
    source = predictions(log_of(systems))
    row = cells(source, "charged projected", "qsvt")
    # 100 queries instead of 50; p = 0.1 takes 2 round(pi/(4 asin sqrt 0.1) - 1/2) + 1 = 5 repetitions instead of 9
    assert row[2:] == ["3", "1", "50 %", "1", "3", "2", "0.556"]
    assert "shared the machine of the run with the simulation" in source
    alone = predictions(log_of(systems, model=CostModel(classical=MEASURED)))
    assert "shared the machine" not in alone  # there they run one after the other
    assert source.count('aria-label="Predicted seconds') == 1 and source.count("seconds (log)") == 4


def test_without_amplification_repetitions_are_one_over_p() -> None:
    log = log_of([quantum(1.0, 1.0)], model=CostModel(Hardware(amplification=False)))
    assert cells(predictions(log), "charged projected", "qsvt")[-1] == "1.11"  # 10 instead of 9


def test_a_norm_search_counts_among_the_planned_queries() -> None:
    searched = {"kernel_reflection": {"projected_seconds": 1.0, "factors": {**FACTORS, "search_queries": 150.0}}}
    system = quantum(1.0, 1.0, solver="kernel_reflection", planned_by="kernel_reflection", predicted=searched)
    assert cells(predictions(log_of([system])), "charged projected", "kernel_reflection")[-2] == "0.5"  # 100 of 200


def test_factors_that_only_some_costs_have_get_columns_where_they_are_known() -> None:
    corrected = {"qsvt": {"projected_seconds": 1.5, "factors": {**FACTORS, "correction": 1.5}}}
    log = log_of([quantum(1.5, 1.0, predicted=corrected)])
    assert "× gate time × correction" in page(log) and "correc-<br>tion" in quantum_factors(log)
    assert cells(quantum_factors(log), "1", "layer 0")[-3:] == ["1.5", "1e-07", "1.5"]
    searched = {"kernel_reflection": {"projected_seconds": 1.0, "factors": {**FACTORS, "search_queries": 1234.0}}}
    log = log_of([quantum(1.0, 1.0, solver="kernel_reflection", planned_by="kernel_reflection", predicted=searched)])
    assert "search queries × depth" in page(log) and "correction" not in page(log)
    assert cells(quantum_factors(log), "1", "layer 0")[-3:] == ["1,234", "1e-07", "1"]


def test_columns_share_the_queries_of_a_circuit() -> None:
    planned = {"qsvt": {"projected_seconds": 1e-3, "factors": {**FACTORS, "columns": 16.0}}}
    row = cells(predictions(log_of([quantum(1e-3, 1e-3, predicted=planned)])), "charged projected", "qsvt")
    assert row[-2] == "2"  # 100 queries instead of 50, whatever the columns


def test_a_formula_is_named_as_what_predicted() -> None:
    source = predictions(log_of([quantum(1.0, 0.1, planned_by="jennings")], model=CostModel(comparison="paper")))
    assert cells(source, "charged projected", "jennings")[3:5] == ["0.1", "90 %"]
    assert "What jennings predicted was then run and charged as a circuit" in source


@pytest.mark.parametrize("changes", [{"fallbacks": ["qsvt ended unsolved, so lu was tried"]}, {"status": "stalled"}])
def test_solves_that_did_not_go_as_planned_are_left_out(changes: dict[str, Any]) -> None:
    log = log_of([classical(1.0, 1.0, **changes), quantum(1.0, 1.0, **changes), quantum(None, 1.0), classical(1.0, 0)])
    assert not quantum_predictions(log) and not classical_predictions(log)
    source = predictions(log)
    assert "<svg" not in source and "<table" not in source and "Left out: 2 systems" in source


def test_a_log_of_a_former_version_has_no_such_section() -> None:
    old = {name: value for name, value in quantum(1.0, 1.0).items() if name != "planned_by"}
    assert predictions(log_of([old])) == "" and schedules(log_of([old, old])) == ""


SHARED = {
    "rule": "makespan", "machines": ["quantum", "classical"], "projected_seconds": 2e-4, "paper_rule_seconds": 3e-4,
    "lower_bound": 1.9e-4, "method": "exact",
}  # fmt: skip


def test_a_schedule_is_set_against_the_rule_of_the_paper() -> None:
    log = log_of([quantum(2e-4, 3e-5), classical(1.0, 1.0)], [quantum(2e-4, 2e-4), classical(1.0, 1.0)], **SHARED)
    source = schedules(log)
    assert "Over 2 steps" in words(source) and "take 0.0004 s projected" in words(source)
    assert "takes 0.0006 s, 1.5 times as long. No schedule is below 0.00038 s" in words(source)
    assert "2 found as the minimum itself" in source
    for label in ("lower bound", "paper's rule", "makespan", "charged", "layer 0", "layer 2", "classical", "quantum"):
        assert f">{label}</text>" in source, label
    assert charged(log) == [3e-5, 2e-4]  # the longer of the two machines


def test_systems_of_one_machine_follow_one_another() -> None:
    log = log_of([quantum(1.0, 1.0), quantum(2.0, 2.5)], **{**SHARED, "machines": ["quantum"] * 2, "rule": "asked"})
    log.steps[0]["schedule"]["paper_rule_seconds"] = 5e-5
    assert charged(log) == [3.5]
    assert "takes 5e-05 s, 0.25 times as long" in words(schedules(log))


def test_a_step_with_a_fallback_has_no_charged_makespan() -> None:
    log = log_of([quantum(1.0, 1.0), classical(1.0, 1.0, fallbacks=["it was tried"])], **SHARED)
    assert charged(log) == [None] and "<svg" in schedules(log)


def test_steps_of_one_system_have_no_schedule() -> None:
    assert schedules(log_of([quantum(1.0, 1.0)], **{**SHARED, "machines": ["quantum"]})) == ""
    assert schedules(log_of([quantum(1.0, 1.0)] * 2, **{**SHARED, "projected_seconds": None})) == ""


def test_many_systems_are_thinned_and_those_that_move_are_kept() -> None:
    names = [f"module{i}.weight" for i in range(60)]
    steps = [[quantum(1e-3, 1e-3, name=name) for name in names] for _ in range(2)]
    log = log_of(*steps, **{**SHARED, "machines": ["quantum"] * 60})
    log.steps[1]["schedule"] = {**log.steps[1]["schedule"], "machines": [*["quantum"] * 30, "none", *["quantum"] * 29]}
    source = schedules(log)
    assert "24 of 60 systems are shown" in source and "module30.weight" in source and "no machine serves" in source


def test_conditioning_that_is_logged_as_text() -> None:
    system = classical(1.0, 1.0, kappa=12.4, row_sparsity=130, conditioning=["pruned to 130 of 520", "damped by 0.1"])
    log = log_of([system])
    assert cells(conditioning_steps(log), "1", "layer 2") == ["1", "layer 2", "pruned to 130 of 520", "", ""]
    assert cells(conditioning_steps(log), "", "", "damped by 0.1")[3:] == ["12.4", "130"]
    assert "pruned to 130" not in choices(log)
    assert "What conditioning did" in page(log)


def test_conditioning_that_is_logged_with_numbers() -> None:
    steps = [
        {"name": "prune", "text": "pruned", "kappa": None, "row_nonzeros": 130, "alpha": 3.5, "angle": 12.25},
        {"name": "damping", "text": "damped", "kappa": 7.0, "row_nonzeros": 130, "alpha": 3.6, "angle": None},
    ]
    source = conditioning_steps(log_of([classical(1.0, 1.0, kappa=8.0, conditioning=steps)]))
    assert cells(source, "1", "layer 2", "pruned")[3:] == ["∞", "130", "3.5", "12.2"]
    assert cells(source, "", "", "damped")[3:] == ["7", "130", "3.6", "–"]


def test_damping_alone_is_said_beside_the_choice() -> None:
    log = log_of([classical(1.0, 1.0, conditioning=["damped by <0.1>"])])
    assert "damped by &lt;0.1&gt;" in choices(log) and "What conditioning did" not in page(log)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_every_comparison_names_its_own_candidates(comparison: str) -> None:
    model = CostModel(comparison=comparison)
    names = dict.fromkeys((*model.candidates, *model.honest().candidates))
    costs = {
        name: {"projected_seconds": 1.0 + place, "factors": FACTORS if place < 2 else {}}
        for place, name in enumerate(names)
    }
    costs["kernel_reflection"] = {"projected_seconds": None, "factors": {}}
    best = model.quantum_candidates[0]
    system = quantum(1.0, 1.0, planned_by=best, predicted=costs, honest_predicted=costs, break_even_gate_time=1e-8)
    log = log_of([system], model=model)
    source = page(log)
    text = words(source)
    assert log.solvers[0] == best and log.solvers[-1] in ("cg", "qr")
    assert log.solvers.index("kernel_reflection") < log.solvers.index("lu")
    assert model.rules.said in text and model.honest().rules.said in text
    assert "Without a column, since it can serve none of the systems: kernel_reflection" in text
    assert "kernel_reflection" not in solver_costs(log)
    formula = "jennings" in best
    assert (f"{comparison}: {best}" + " (a formula)" * formula) in text
    assert (f"{best} is a formula: what it wins is solved by qsvt" in text) == formula
    assert cells(quantum_factors(log), "1", "layer 0", comparison, best)
    assert text.count("honest comparison") > 0 and ("The right panel" in text) == (comparison != "honest")
