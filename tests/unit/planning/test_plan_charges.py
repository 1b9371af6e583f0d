"""What plans charge, leave out and learn: each factor seen where it decides."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qnewton_gpu as qn
from qnewton_gpu import CostModel, GramOperator, Hardware, LinearSystem, Scheduler, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.cli.train import add_arguments, config_from
from qnewton_gpu.costs import jennings_queries
from qnewton_gpu.operators import as_operator
from qnewton_gpu.planning.plan import Handicap, break_even, make_plan
from qnewton_gpu.planning.schedule import ASKED, make_schedule
from qnewton_gpu.polynomials import round_up_to_grid
from qnewton_gpu.training import TrainConfig, Training

CPU = select_backend("cpu")
MEASURED = replace(CostModel().classical, name="measured here", measured=True)


def system(kappa: float = 16.0, norm: float = 1.0, tolerance: float = 1e-2, columns: int = 1) -> LinearSystem:
    operator = as_operator(np.diag(np.linspace(norm / kappa, norm, 64)), CPU)
    bounds = SpectrumBounds(norm / kappa, norm, True)
    return LinearSystem(operator, np.ones((64, columns)), bounds, tolerance)


def gram_system(kappa: float = 16.0) -> LinearSystem:
    values = np.geomspace(1 / kappa, 1.0, 64)
    operator = GramOperator(np.diag(np.sqrt(values - 0.9 / kappa)), 0.9 / kappa, CPU)
    return LinearSystem(operator, np.ones((64, 1)), SpectrumBounds(1 / kappa, 1.0, True), 1e-2)


@pytest.mark.parametrize("columns", [1, 3])
def test_the_norm_search_of_a_solve_is_charged_as_it_was_predicted(columns: int) -> None:
    """Once, whatever is read: where no probe is saved and no run fails the two are the same."""
    scheduler = Scheduler(CostModel(Hardware(1e-9)).honest(), solver="kernel_reflection")
    asked = system(columns=columns)
    predicted = scheduler.plan(asked).costs["kernel_reflection"]
    solution, _ = scheduler.solve(asked)
    assert solution.solved and predicted.factors["search_queries"] == solution.history[0]["norm_search_queries"] > 0
    assert solution.projected_seconds == pytest.approx(predicted.seconds, rel=1e-9)


@pytest.mark.parametrize("comparison", ["ideal", "paper", "honest"])
def test_circuits_beyond_max_queries_are_not_planned(comparison: str) -> None:
    model, many = CostModel(Hardware(1e-24), comparison=comparison), system(tolerance=1e-9)
    plan = Scheduler(model).plan(many)
    factors = plan.costs[plan.solver].factors
    assert plan.solver in ("qsvt", "kernel_reflection") and factors["rounds"] > 1
    enough = int(factors["rounds"] * factors["queries"] + factors.get("search_queries", 0))
    assert Scheduler(model, max_queries=enough).plan(many).solver == plan.solver
    fewer = Scheduler(model, max_queries=enough - 1).plan(many)
    assert fewer.solver != plan.solver and f"{plan.planned_by} is left out" in fewer.reason


def test_the_queries_of_a_norm_search_count_against_max_queries() -> None:
    model = CostModel(Hardware(1e-24)).honest()
    factors = Scheduler(model).plan(system()).costs["kernel_reflection"].factors
    limit = int(factors["rounds"] * factors["queries"] + factors["search_queries"]) - 1
    assert "kernel_reflection" in Scheduler(model, max_queries=limit).plan(system()).handicaps
    assert "kernel_reflection" not in Scheduler(model, max_queries=limit + 1).plan(system()).handicaps


def test_what_is_learnt_is_against_the_model_alone_with_the_assembly_that_was_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, seen = CostModel(Hardware(1.0), MEASURED), []
    scheduler = Scheduler(model, adapt=True)
    learn = scheduler.adaptation.observe  # type: ignore[union-attr]

    def observe(solver: str, predicted: float, actual: float) -> None:
        seen.append((solver, predicted))
        learn(solver, predicted, 3 * predicted)

    monkeypatch.setattr(scheduler.adaptation, "observe", observe)
    expected = model.honest().factorisation(
        "lu", 64, gram_system().operator.assembly_flops,
        assembly_bytes=getattr(gram_system().operator, "assembly_bytes", 0.0),
    ).seconds  # fmt: skip
    for _ in range(3):
        scheduler.solve(gram_system())
    assert seen == [("lu", pytest.approx(expected, rel=1e-9))] * 3
    assert expected > model.factorisation("lu", 64).seconds
    plan = scheduler.plan(gram_system())
    assert plan.costs["lu"].factors["correction"] == plan.honest_costs["lu"].factors["correction"] > 1


def test_a_formula_is_not_learnt_from_and_teaches_its_stand_in_nothing() -> None:
    scheduler = Scheduler(CostModel(Hardware(1e-15), MEASURED, "paper"), adapt=True)
    solution, plan = scheduler.solve(replace(system(), expected_success={"qsvt": 0.5}))
    assert plan.planned_by == "jennings" and solution.solver == "qsvt" and solution.solved
    assert scheduler.adaptation is not None and scheduler.adaptation.observations == {}


def test_systems_whose_solver_was_asked_for_are_not_scheduled() -> None:
    schedule = Scheduler(CostModel(Hardware(1e-15)), solver="lu").plan_many([system(), system()])
    assert schedule.rule == ASKED and schedule.machines == ["classical"] * 2
    assert schedule.projected_seconds > schedule.paper_rule_seconds


def test_the_honest_break_even_is_against_the_best_classical_solver() -> None:
    plan = Scheduler().plan(system())
    assert plan.honest_break_even_gate_time == break_even(CostModel().honest(), plan.honest_costs)
    assert plan.break_even_gate_time == break_even(CostModel(), plan.costs)


def test_handicaps_are_in_no_bound_and_what_is_left_out_is_in_no_rule() -> None:
    plan = Scheduler(CostModel(Hardware(1e-24)), max_queries=1).plan(system())
    seconds = plan.costs["lu"].seconds
    schedule = make_schedule([plan, plan], CostModel(), "makespan")
    assert schedule.paper_rule_seconds == schedule.lower_bound == schedule.projected_seconds == 2 * seconds
    kept = make_plan(plan.costs, plan.honest_costs, CostModel(), {"lu": Handicap(2.0, "kept"),
                                                                 "qsvt": Handicap(math.inf, "left out")})  # fmt: skip
    assert make_schedule([kept, kept], CostModel(), "makespan").lower_bound == 2 * seconds


@pytest.mark.parametrize(("norm", "tolerance", "columns"), [(1.0, 1e-2, 1), (5.0, 0.2, 1), (0.25, 0.9, 3)])
def test_the_formula_is_charged_for_its_kappa_alpha_epsilon_and_columns(
    norm: float, tolerance: float, columns: int
) -> None:
    model = CostModel(Hardware(1e-9), comparison="paper")
    found = Scheduler(model).plan(system(16.0, norm, tolerance, columns)).costs["jennings"]
    queries = jennings_queries(round_up_to_grid(16.0), 1.0, min(tolerance, 0.24))
    assert found.seconds == pytest.approx(columns * queries * math.log2(64) ** 2 * 1e-9, rel=1e-9)


def test_the_formula_takes_the_alpha_of_g_squared() -> None:
    """The block encoding of H = G~^t G~ is that of G~ twice."""
    asked = gram_system()
    frobenius = asked.operator.dense().trace()  # ||G~||_F^2 = ||G||_F^2 + 64 damping, at least the encoding's alpha^2
    found = Scheduler(CostModel(comparison="paper")).plan(asked)
    encoding: Any = asked.encodings["auto"]
    assert found.costs["jennings"].factors["alpha"] == pytest.approx(encoding.alpha**2) != pytest.approx(encoding.alpha)
    assert 1 < encoding.alpha**2 <= frobenius * (1 + 1e-12)


def test_an_optimizer_that_is_resumed_knows_what_was_learnt() -> None:
    def optimizer() -> Any:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3).double()
        scheduler = Scheduler(CostModel(Hardware(1.0), MEASURED), adapt=True, backend="cpu")
        return qn.QNewton(model, torch.nn.CrossEntropyLoss(), scheduler=scheduler)

    first, second = optimizer(), optimizer()
    first.step(torch.randn(20, 4).double(), torch.arange(20) % 3)
    learnt = first.scheduler.adaptation.state_dict()
    assert learnt["observations"] == {"lu": 1} and second.scheduler.adaptation.state_dict() != learnt
    second.load_state_dict(first.state_dict())
    assert second.scheduler.adaptation.state_dict() == learnt


def test_the_command_line_reaches_the_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnewton_gpu.costs.calibrate", lambda backend, refresh: MEASURED)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = ["--schedule", "paper", "--comparison", "paper", "--adapt", "--calibrate", "--gate-time", "1e-12"]
    config = config_from(parser.parse_args(given))
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    scheduler = Training(config, None, tmp_path / "run").optimizer.scheduler
    assert scheduler.schedule == "paper" and scheduler.adaptation is not None
    assert scheduler.model == CostModel(Hardware(1e-12), MEASURED, "paper")
    plain = Training(config_from(parser.parse_args([])), None, tmp_path / "plain").optimizer.scheduler
    assert plain.schedule == "makespan" and plain.adaptation is None and plain.model == CostModel()
