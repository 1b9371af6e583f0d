"""A fraction of the systems solved in two modes: which ones, what the log keeps, and that training does not notice."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qnewton_gpu import CostModel, Hardware, LinearSystem, QNewton, Scheduler, SpectrumBounds, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.cli import USAGE_ERROR, main
from qnewton_gpu.cli.run_text import LARGEST_CROSS_CHECK, summary
from qnewton_gpu.encodings.walk import WalkEncoding
from qnewton_gpu.errors import CombinationError, ParameterError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.solvers.qsvt import QSVT
from qnewton_gpu.training import TrainConfig, Training

CPU = select_backend("cpu")
FIELDS = {"mode", "relative_difference", "success_probability_difference", "simulated_seconds"}
WALK: dict[str, Any] = {
    "hidden": (),
    "encoding": "walk",
    "density": 0.05,
    "solver": "qsvt",
    "batch_size": 300,
    "damping": 1.0,
}
SMALL_RUN = ["train", "--hidden", "0", "--encoding", "walk", "--density", "0.05", "--batch-size", "300"]


def steps(number: int, **options: Any) -> tuple[list[dict[str, Any]], torch.Tensor]:
    """The records of the systems of some steps in two layers, and the parameters after them."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    x = torch.randn(60, 6, dtype=torch.float64)
    scheduler = Scheduler(**{"solver": "qsvt", "encoding": "walk", **options})
    optimizer = QNewton(
        model, torch.nn.CrossEntropyLoss(), partition="layer", density=0.5, tolerance=1e-4, scheduler=scheduler
    )
    records = [s for _ in range(number) for s in optimizer.step(x, x[:, :3].argmax(dim=1)).systems]
    return records, torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def system(encoding: str, columns: int = 1) -> LinearSystem:
    """Twelve unknowns; the last of several right-hand sides is zero."""
    matrix = np.diag(np.linspace(1, 5, 12)) + np.diag(np.full(11, 0.3), 1) + np.diag(np.full(11, 0.3), -1)
    rhs = np.random.default_rng(0).standard_normal((12, columns))
    rhs[:, 1:][:, -1:] = 0
    low, *_, high = np.linalg.eigvalsh(matrix)
    return LinearSystem(as_operator(matrix, CPU), rhs, SpectrumBounds(low, high, True), 1e-8, name=encoding)


@pytest.mark.parametrize(
    ("encoding", "mode", "second"),
    [
        ("walk", "auto", "fused"),
        ("walk", "fused", "subspace"),
        ("dilation", "subspace", "fused"),
        ("matching", "circuit", "subspace"),
    ],
)
@pytest.mark.parametrize("columns", [1, 3])
def test_the_second_mode_is_another_one_and_agrees(encoding: str, mode: str, second: str, columns: int) -> None:
    scheduler = Scheduler(solver="qsvt", encoding=encoding, mode=mode)
    s = system(encoding, columns)
    solution, _ = scheduler.solve(s)
    seconds = solution.simulated_seconds
    found = scheduler.compare_modes(s, solution)
    assert set(found) == FIELDS and found["mode"] == second != solution.resources["mode"]
    assert found["relative_difference"] < 1e-10 and found["success_probability_difference"] < 1e-10
    assert found["simulated_seconds"] > 0 and solution.simulated_seconds == seconds


def test_the_difference_is_that_of_the_worst_column(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, s = Scheduler(solver="qsvt", encoding="walk"), system("walk", 3)
    solution, _ = scheduler.solve(s)
    real = QSVT.solve

    def changed(self: QSVT, *arguments: Any) -> Any:
        second = real(self, *arguments)
        second.x = second.x * np.array([1.25, 0.5, 1.0])
        second.success_probability -= 0.125
        return second

    monkeypatch.setattr(QSVT, "solve", changed)
    found = scheduler.compare_modes(s, solution)
    assert found["relative_difference"] == pytest.approx(0.5, rel=1e-9)
    assert found["success_probability_difference"] == pytest.approx(0.125, rel=1e-9)


def test_nothing_is_compared_unless_it_is_asked_for() -> None:
    records, _ = steps(2)
    assert len(records) == 4 and not any("cross_check" in record for record in records)


def test_a_fraction_of_one_is_every_quantum_system_and_changes_no_step() -> None:
    records, parameters = steps(2, cross_check=1.0)
    assert all(set(record["cross_check"]) == FIELDS for record in records)
    assert max(record["cross_check"]["relative_difference"] for record in records) < 1e-10
    assert torch.equal(parameters, steps(2)[1])


def test_classical_and_unsolved_systems_are_not_compared() -> None:
    fast = CostModel(Hardware(gate_time=1e-15))
    records = [r for solver in ("cholesky", "lu", "cg") for r in steps(1, solver=solver, cross_check=1.0)[0]]
    records += steps(1, max_queries=3, cross_check=1.0)[0]
    assert len(records) == 8 and not any("cross_check" in record for record in records)
    assert [r["status"] for r in records[-2:]] == 2 * ["too many queries"]
    assert all("cross_check" in r for r in steps(1, solver="auto", model=fast, cross_check=1.0)[0])


def test_step_and_name_choose_the_stated_fraction_and_a_larger_one_contains_it() -> None:
    solution, _ = Scheduler(solver="qsvt", encoding="walk").solve(system("walk"))
    pairs = [(step, name) for step in range(1000) for name in ("network", "0", "2", "4")]
    schedulers = {fraction: Scheduler(cross_check=fraction) for fraction in (0.0, 0.05, 0.5, 1)}
    chosen = {
        fraction: {pair for pair in pairs if scheduler.is_cross_checked(*pair, solution)}
        for fraction, scheduler in schedulers.items()
    }
    assert chosen[0.0] == set() and chosen[1] == set(pairs) and chosen[0.05] < chosen[0.5]
    for fraction in (0.05, 0.5):
        deviation = math.sqrt(len(pairs) * fraction * (1 - fraction))
        assert abs(len(chosen[fraction]) - fraction * len(pairs)) < 3 * deviation
    assert {name for _, name in chosen[0.05]} == {name for _, name in pairs}


def compared(lines: list[dict[str, Any]]) -> list[bool]:
    return ["cross_check" in s for line in lines for s in line["systems"]]


def test_a_rerun_and_a_resumed_run_compare_the_same_systems(tmp_path: Path) -> None:
    config = TrainConfig(steps=6, cross_check=0.5, **WALK)
    first = Training(config, None, tmp_path / "first").run()
    second = Training(config, None, tmp_path / "second").run()
    part = Training(config, None, tmp_path / "resumed")
    part.run(stop=lambda: part.step == 3)
    resumed = Training.resume(tmp_path / "resumed")
    assert resumed.config.cross_check == 0.5
    third = resumed.run()
    assert compared(first) == compared(second) == compared(third)
    assert True in compared(first)[3:] and False in compared(first)[3:]
    assert json.loads((tmp_path / "first" / "config.json").read_text())["cross_check"] == 0.5


def test_a_run_folder_from_before_the_option_resumes(tmp_path: Path) -> None:
    folder = Training(TrainConfig(steps=1, **WALK), None, tmp_path / "run").folder
    folder.save_config({name: value for name, value in folder.config.items() if name != "cross_check"})
    assert Training.resume(tmp_path / "run").config.cross_check == 0.0


@pytest.mark.parametrize("wrong", [-0.1, 1.5, math.nan, math.inf, "0.5", None])
def test_a_wrong_fraction_is_refused_at_the_door(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="cross_check"):
        Scheduler(cross_check=wrong)
    with pytest.raises(ParameterError, match="cross_check"):
        Training(TrainConfig(cross_check=wrong), None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resume_keeps_the_fraction_and_refuses_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*SMALL_RUN, "--steps", "1", "--cross-check", "0.25", "--out", str(run)]) == 0
    assert main(["train", "--resume", str(run), "--cross-check", "0.5"]) == USAGE_ERROR
    assert "--cross-check" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--steps", "2"]) == 0
    assert json.loads((run / "config.json").read_text())["cross_check"] == 0.25


def test_a_disturbed_second_mode_shows_as_a_large_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*SMALL_RUN, "--solver", "qsvt", "--steps", "2", "--cross-check", "1"]
    assert main([*arguments, "--out", str(tmp_path / "sound")]) == 0
    assert "compared in two modes: 2" in (printed := capsys.readouterr().out) and "DISAGREE" not in printed
    real = WalkEncoding.lower
    monkeypatch.setattr(WalkEncoding, "lower", lambda *arguments: (1 + 1e-4) * real(*arguments))  # fused alone calls it
    assert main([*arguments, "--out", str(tmp_path / "disturbed")]) == 0
    assert "DISAGREE" in capsys.readouterr().out
    sound, disturbed = (
        [json.loads(line) for line in (tmp_path / name / "steps.jsonl").read_text().splitlines()]
        for name in ("sound", "disturbed")
    )
    assert [line["loss"] for line in sound] == [line["loss"] for line in disturbed]
    for line in sound:
        assert line["systems"][0]["cross_check"]["relative_difference"] < 1e-10
    for line in disturbed:
        assert line["systems"][0]["cross_check"]["relative_difference"] > 1e-5


def test_a_second_mode_that_does_not_fit_the_memory_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, s = Scheduler(solver="qsvt", encoding="walk"), system("walk")
    solution, _ = scheduler.solve(s)
    monkeypatch.setattr(type(scheduler.backend), "available_bytes", lambda self: 1000)
    found = scheduler.compare_modes(s, solution)
    assert set(found) == {"mode", "skipped"} and "free on" in found["skipped"]


def test_a_second_mode_that_runs_out_of_memory_on_the_way_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, s = Scheduler(solver="qsvt", encoding="walk"), system("walk")
    solution, _ = scheduler.solve(s)
    ended = replace(solution, x=0 * solution.x, status=Status.NO_MEMORY, message="It ran out.")
    monkeypatch.setattr(QSVT, "solve", lambda *_: ended)
    assert scheduler.compare_modes(s, solution) == {"mode": "fused", "skipped": "It ran out."}


@pytest.mark.parametrize("problem", [CombinationError("mode", "no register", "Use another"), MemoryError()])
def test_a_second_mode_that_is_impossible_is_skipped_and_training_goes_on(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = QSVT.solve

    def solve(self: QSVT, *arguments: Any) -> Any:
        if self.mode == "fused":
            raise problem
        return real(self, *arguments)

    monkeypatch.setattr(QSVT, "solve", solve)
    records, parameters = steps(2, cross_check=1.0)
    assert {r["cross_check"]["skipped"] for r in records} == {str(problem) or "Not enough memory."}
    assert all(r["status"] == Status.SOLVED.value for r in records) and torch.equal(parameters, steps(2)[1])


def line(*checks: dict[str, Any]) -> dict[str, Any]:
    costs = {
        "mode": "subspace",
        "queries": 1,
        "projected_seconds": 1.0,
        "solver": "qsvt",
        "honest_solver": "cg",
        "status": "solved",
    }
    systems = [costs, *({**costs, "cross_check": check} for check in checks)]
    return {"step": 0, "accepted": True, "accuracy": 0.5, "loss": 1.0, "simulated_seconds": 1.0, "systems": systems}


@pytest.mark.parametrize(
    ("checks", "text"),
    [
        ([], "0 of 1 quantum solves"),
        (
            [{"relative_difference": 2e-13}],
            "1 of 2 quantum solves, largest relative difference 2.0e-13",
        ),
        (
            [{"relative_difference": 2e-13}, {"skipped": "mode: no. Use."}],
            "1 of 3 quantum solves, largest relative difference 2.0e-13; 1 skipped: mode: no. Use.",
        ),
        (
            [{"relative_difference": 2 * LARGEST_CROSS_CHECK}, {"relative_difference": 0.0}],
            "2 of 3 quantum solves, largest relative difference 2.0e-06: THE MODES DISAGREE (more than 1e-06)",
        ),
        (
            [{"relative_difference": None}, {"relative_difference": 0.0}],
            "2 of 3 quantum solves, largest relative difference inf: THE MODES DISAGREE (more than 1e-06)",
        ),
    ],
)
def test_the_closing_table_says_how_many_and_how_far(checks: list[dict[str, Any]], text: str) -> None:
    row = summary([line(*checks)], cross_check=0.5).splitlines()[-1]
    assert row.split(maxsplit=1) == ["cross-check", f"compared in two modes: {text}"]
    assert "cross-check" not in summary([line()])
