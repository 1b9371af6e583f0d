"""The whole reproduction on a tiny problem: what it writes, claims, keeps and refuses."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.reproduction.problems import tiny

from qnewton_gpu.cli import INTERRUPTED, USAGE_ERROR, main
from qnewton_gpu.errors import CombinationError, FileFormatError, RunFolderError
from qnewton_gpu.reproduction import PARTS, parts, reproduce, runs, sweeps
from qnewton_gpu.reproduction.claims import CLAIMS, NO, YES, write_claims
from qnewton_gpu.reproduction.clock import GATE_TIMES, RULES
from qnewton_gpu.reproduction.runs import Run
from qnewton_gpu.reproduction.tables import Folder

TABLES = ("steps", "systems", "time", "conditioning", "estimator", "pruning", "regularisation", "width", "claims")


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "load_problem", lambda data, seed: tiny(seed))
        patch.setattr(runs, "FIRST_ORDER_STEPS", 30)
        patch.setattr(sweeps, "WIDTHS", (3, 5))
        patch.setattr(sweeps, "DENSITIES", (1.0, 0.5, 0.1))
        patch.setattr(sweeps, "EPSILONS", (1e-3, 5e-3, 1.0, 1e4))
        patch.setattr(sweeps, "FIXED_DAMPINGS", (1e-2, 1.0))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return reproduce("all", tmp_path_factory.mktemp("out") / "all", steps=8)


def test_every_table_is_a_csv_file_with_a_header_and_every_part_has_a_figure(folder: Folder) -> None:
    for name in TABLES:
        with (folder.path / f"{name}.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(rows[0])}
    for part in PARTS:
        assert (folder.path / f"{part}.png").read_bytes().startswith(b"\x89PNG")


def test_the_time_table_has_every_gate_time_run_rule_and_goal_once(folder: Folder) -> None:
    rows = folder.read("time")
    keys = {(row["gate_time"], row["run"], row["rule"], row["goal"]) for row in rows}
    goals = len(runs.TARGETS) + 1
    assert len(rows) == len(keys) == len(GATE_TIMES) * goals * (len(runs.NEWTON) * len(RULES) + len(runs.FIRST_ORDER))
    for row in rows:
        parts_of_it = row["projected_gradients_s"] + row["projected_solves_s"]
        assert row["projected_total_s"] == pytest.approx(parts_of_it, rel=1e-8)
        assert (row["steps"] is None) == math.isinf(row["projected_total_s"])


def test_claims_are_recomputed_from_the_tables_alone(folder: Folder) -> None:
    before = (folder.path / "claims.md").read_text()
    claims = write_claims(folder)
    assert (folder.path / "claims.md").read_text() == before
    assert len(claims) == len(CLAIMS) == before.count("\n| ") - 2
    assert [row["claim"] for row in folder.read("claims")] == [claim.claim for claim in claims]


def test_claims_say_what_the_tables_say(folder: Folder) -> None:
    said = {claim.claim: claim for claim in write_claims(folder)}
    time = {(r["gate_time"], r["run"], r["rule"], r["goal"]): r["projected_total_s"] for r in folder.read("time")}
    saved = max(
        1 - time[gate, "newton-hessian", "Q-Newton, gram", "8 steps"]
        / time[gate, "newton-hessian", "classical Newton", "8 steps"]
        for gate in GATE_TIMES
    )  # fmt: skip
    assert f"gram: up to {saved:.2%}" in next(c.measured for name, c in said.items() if name.startswith("Up to 90 %"))
    kappas = [
        row["kappa"] for row in folder.read("conditioning") if row["run"] == "newton-hessian" and row["layer"] == "0"
    ] or [row["kappa"] for row in folder.read("conditioning") if row["run"] == "newton-hessian"][::2]
    falls = next(claim for name, claim in said.items() if name.startswith("kappa falls"))
    assert f"{kappas[0]:.3g} at step 1" in falls.measured
    assert falls.verdict == NO  # kappa - 1 = lambda_max/(5e-3 max|H|) lies between 200 and 200 N


def test_a_claim_turns_when_its_table_does(folder: Folder, tmp_path: Path) -> None:
    other = Folder.create(tmp_path / "other")
    other.write_json("settings", folder.read_json("settings"))
    rows = folder.read("conditioning")
    other.write(
        "conditioning", [row | {key: row[key] / row["step"] ** 4 for key in row if "kappa" in key} for row in rows]
    )
    verdicts = {claim.claim[:11]: claim.verdict for claim in write_claims(other)}
    assert verdicts["kappa falls"] == YES  # 8^4 > 1000


def test_regularisation_is_the_identity_it_is_said_to_be(folder: Folder) -> None:
    rows = [row for row in folder.read("regularisation") if row["rule"] == "epsilon max|H|"]
    products = [(row["kappa_first"] - 1) * row["value"] for row in rows]
    assert products == pytest.approx([products[0]] * len(products), rel=1e-4)


def test_pruning_keeps_rows_within_their_number_and_symmetry_where_it_says_so(folder: Folder) -> None:
    rows = folder.read("pruning")
    for row in rows:
        allowed = max(1, int(row["size"] * row["density"]))
        assert row["row_nonzeros"] <= allowed
        if row["rule"].startswith("symmetric"):
            assert row["column_nonzeros"] == row["row_nonzeros"]
    full = [row for row in rows if row["density"] == 1]
    assert full[0]["loss"] == pytest.approx(full[1]["loss"], rel=1e-6)
    newton = [row for row in folder.read("steps") if row["method"] == "newton-hessian"]
    assert full[0]["loss"] == pytest.approx(newton[7]["loss"], rel=1e-6)


def test_accuracies_that_are_not_reached_have_infinite_seconds() -> None:
    run = Run("sgd", [{"step": 1, "test_accuracy": 0.5, "gradient_flops": 1e6, "gradient_bytes": 1e6}])
    rows = [row for row in sweeps.time_table({"sgd": run}, _machine()) if row["goal"].startswith("accuracy")]
    assert rows and all(math.isinf(row["projected_total_s"]) and row["steps"] is None for row in rows)


def _machine() -> object:
    from qnewton_gpu.costs import ClassicalMachine

    return ClassicalMachine.load()


def test_an_interrupt_keeps_what_was_finished_and_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PARTS", ("pruning", "regularisation"))

    def tell(line: str) -> None:
        if line.startswith("regularisation") and "0.005" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce("all", tmp_path / "out", steps=3, tell=tell)
    kept = Folder(tmp_path / "out")
    assert len(kept.read("pruning")) == 6
    assert len(kept.read("regularisation")) == 2
    assert (tmp_path / "out" / "pruning.png").is_file()
    claims = (tmp_path / "out" / "claims.md").read_text()
    assert "Pruning" in claims and "Stopped in the part regularisation" in claims


def test_large_layers_are_not_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "LARGEST_DENSE", 20)
    monkeypatch.setattr(parts, "PARTS", ("pruning", "width"))
    with pytest.raises(CombinationError, match="digits"):
        reproduce("pruning", tmp_path / "out", steps=2)
    assert not (tmp_path / "out").exists()
    lines: list[str] = []
    folder = reproduce("all", tmp_path / "out", steps=2, tell=lines.append)
    assert not folder.read("pruning") and folder.read("width")
    assert any("left out" in line for line in lines)


def test_a_folder_reads_back_what_it_wrote(tmp_path: Path) -> None:
    folder = Folder.create(tmp_path / "new" / "deep")
    folder.write("t", iter([{"a": 1, "b": None, "c": "x, y"}, {"a": math.inf, "c": "z"}]))
    folder.write("t", [{"a": 0.1 + 0.2}])
    assert folder.read("t") == [
        {"a": 1.0, "b": None, "c": "x, y"},
        {"a": math.inf, "b": None, "c": "z"},
        {"a": 0.3, "b": None, "c": None},
    ]
    assert folder.read("other") == []
    (folder.path / "t.csv").write_text("a\n1,2\n")
    with pytest.raises(FileFormatError):
        Folder(folder.path).read("t")


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    assert Folder.create(tmp_path).path == tmp_path  # empty
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match="--out"):
            Folder.create(path)
    assert (tmp_path / "file").read_text() == "kept"


def test_the_command_prints_progress_and_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "width", "--steps", "2", "--out", str(tmp_path / "w")]) == 0
    printed = capsys.readouterr().out
    assert "width 3" in printed and "width.png" in printed and "The wider the network" in printed
    assert str(tmp_path / "w") in printed


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["everything"], "conditioning"),
        (["width", "--steps", "0"], "steps"),
        (["width", "--machine", "nowhere"], "reference"),
        (["width", "--out", "."], "--out"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *arguments]) == USAGE_ERROR
    assert word in capsys.readouterr().err


def test_bad_data_and_seed_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(parts, "load_problem", runs.load_problem)
    for arguments, word in ((["--data", "letters"], "digits"), (["--seed", "-1"], "seed")):
        assert main(["reproduce", "width", *arguments]) == USAGE_ERROR
        assert word in capsys.readouterr().err


def test_an_interrupted_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> Iterator[object]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setitem(parts.SWEEPS, "width", interrupted)
    assert main(["reproduce", "width", "--out", str(tmp_path / "w")]) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert (tmp_path / "w" / "claims.md").is_file()
