"""The command line as a user meets it: what it prints, writes and returns, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

from qnewton_gpu.backends import select_backend
from qnewton_gpu.cli import COMMANDS, INTERRUPTED, USAGE_ERROR, main
from qnewton_gpu.cli.solve import NOT_SOLVED
from qnewton_gpu.cli.train import NO_PROGRESS
from qnewton_gpu.costs import calibration

SMALL_RUN = ["train", "--hidden", "3", "--steps", "2", "--batch-size", "200"]


@pytest.fixture
def matrix() -> sp.csr_array:
    return sp.diags_array([-np.ones(19), np.linspace(3, 5, 20), -np.ones(19)], offsets=[-1, 0, 1]).tocsr()


def write(path: Path, matrix: sp.csr_array) -> Path:
    if path.suffix == ".mtx":
        scipy.io.mmwrite(path, matrix)
    elif path.suffix == ".npz":
        sp.save_npz(path, matrix)
    else:
        np.save(path, matrix.toarray())
    return path


@pytest.mark.parametrize("suffix", [".mtx", ".npz", ".npy"])
def test_solve_prints_everything_and_writes_x(
    suffix: str, matrix: sp.csr_array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / f"A{suffix}", matrix)
    np.save(tmp_path / "b.npy", np.arange(20.0))
    arguments = ["solve", str(path), str(tmp_path / "b.npy"), "--solver", "qsvt", "--encoding", "walk"]
    assert main([*arguments, "--tolerance", "1e-8", "--out", str(tmp_path / "x.npy")]) == 0
    x = np.load(tmp_path / "x.npy")
    assert np.linalg.norm(matrix @ x - np.arange(20.0)) <= 1e-8 * np.linalg.norm(np.arange(20.0))
    printed = capsys.readouterr().out
    for word in ("qsvt", "kappa bound", "alpha", "queries", "success probability", "relative residual"):
        assert word in printed
    assert "on this machine" in printed and "on the stated machines" in printed and str(tmp_path / "x.npy") in printed


def test_matrix_product_states_say_their_bond_dimension_and_what_they_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "A.npy", sp.csr_array(np.diag([3.0, 4.0, 5.0, 6.0]) + np.eye(4, k=1) + np.eye(4, k=-1)))
    assert main(["solve", str(path), "--solver", "qsvt", "--backend", "tensornet:16"]) == 0
    printed = capsys.readouterr().out
    assert "circuits as matrix-product states of bond dimension at most 16" in printed
    for row in (r"bond dimension +\d+, the largest", r"truncation error +\d\S* of the register's norm"):
        assert re.search(row, printed)


def test_a_right_hand_side_in_matrix_market_format_and_none_at_all(matrix: sp.csr_array, tmp_path: Path) -> None:
    path = write(tmp_path / "A.npz", matrix)
    scipy.io.mmwrite(tmp_path / "b.mtx", np.ones((20, 1)))
    assert main(["solve", str(path), str(tmp_path / "b.mtx"), "--out", str(tmp_path / "x.npy")]) == 0
    assert main(["solve", str(path)]) == 0
    assert np.allclose(np.load(tmp_path / "x.npy"), np.load(tmp_path / "A.x.npy"))
    assert np.load(tmp_path / "x.npy").shape == (20,)


def test_an_unsolved_system_writes_nothing_and_returns_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "A.npy", np.ones((2, 2)))
    np.save(tmp_path / "b.npy", np.array([1.0, 0.0]))
    assert main(["solve", str(tmp_path / "A.npy"), str(tmp_path / "b.npy"), "--solver", "qsvt"]) == NOT_SOLVED
    assert "singular" in capsys.readouterr().out and not (tmp_path / "A.x.npy").exists()


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("A.npz", b"PK\x03\x04 torn", "cannot be read"),
        ("A.npy", b"\x93NUMPY\x01\x00", "cannot be read"),
        ("A.mtx", b"%%MatrixMarket matrix coordinate real general\n3 3 2\n1 1 4.0\n", "cannot be read"),
        ("A.txt", b"1 2", "Valid names are: .mtx, .npz, .npy"),
        ("A.mtx", None, "there is no file"),
    ],
    ids=["torn npz", "torn npy", "truncated mtx", "other suffix", "missing"],
)
def test_bad_files_name_the_argument_and_the_remedy(
    name: str, content: bytes | None, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["solve", str(tmp_path / name)]) == USAGE_ERROR
    error = capsys.readouterr().err
    assert error.startswith("qnewton solve: error: MATRIX: ") and word in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["solve", "{A}", "--solver", "magic"], "hhl, cks, adiabatic, cholesky, lu, cg"),
        (["solve", "{A}", "--encoding", "magic"], "walk, gram, dilation"),
        (["solve", "{A}", "--encoding", "gram"], "GramOperator"),
        (["solve", "{A}", "--mode", "magic"], "subspace, fused"),
        (["solve", "{A}", "--backend", "tpu"], "auto, cpu"),
        (["solve", "{A}", "--tolerance", "0"], "tolerance"),
        (["solve", "{A}", "--gate-time", "-1"], "gate_time"),
        (["solve", "{A}", "--access", "ram"], "qram, qrom"),
        (["solve", "{A}", "--charge-readout", "all"], "none, copies, inverse"),
        (["solve", "{A}", "--comparison", "fair"], "ideal, paper, released-code, honest"),
        (["solve", "{A}", "--machine", "nowhere"], "reference"),
        (["solve", "{A}", "--out", "{tmp}/nowhere/x.npy"], "cannot be written"),
        (["solve", "{A}", "--out", "{tmp}"], "cannot be written"),
        (["solve", "{A}", "--gate-time", "1e300"], "gate_time"),
        (["estimate", "--kappa", "0.5"], "kappa"),
        (["estimate", "--kappa", "1e200"], "kappa"),
        (["estimate", "--size", "99999999999999999999"], "size"),
        (["estimate", "--tolerance", "1e-200", "--charge-readout", "copies"], "tolerance"),
        (["estimate", "{A}", "--size", "5"], "MATRIX"),
        (["estimate", "{A}", "--tolerance", "-1"], "tolerance"),
        (["estimate", "--tolerance", "nan"], "tolerance"),
        (["train", "--data", "cifar"], "digits, mnist"),
        (["train", "--curvature", "newton"], "ggn, hessian, fisher"),
        (["train", "--partition", "block"], "network, layer"),
        (["train", "--solver", "magic"], "qsvt"),
        (["train", "--steps", "0"], "steps"),
        (["train", "--readout", "shot"], "exact, shots"),
        (["train", "--readout", "shots", "--shots-per-unknown", "0"], "shots_per_unknown"),
        (["train", "--precision", "half"], "precision"),
        (["train", "--batch-size", "0"], "batch_size"),
        (["train", "--seed", "-1"], "seed"),
        (["train", "--hidden", "4,-1"], "hidden"),
        (["train", "--density", "2"], "density"),
        (["train", "--damping", "nan"], "damping"),
        (["train", "--threads", "0"], "threads"),
        (["train", "--threads", "100000"], "threads"),
        (["train", "--seed", "99999999999999999999"], "seed"),
        (["train", "--hidden", "100000000"], "hidden"),
        (["train", "--out", "{A}"], "is a file"),
        (["train", "--out", "{tmp}/" + 300 * "x"], "out"),
        (["train", "--mode", "circuit", "--encoding", "gram"], "subspace"),
        (["train", "--cross-check", "1.5"], "cross_check"),
        (["train", "--encoding", "gram", "--curvature", "hessian"], "walk"),
        (["train", "--data", "mnist:{tmp}"], "mnist"),
        (["train", "--resume", "{tmp}"], "config.json"),
        (["report", "{tmp}"], "config.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options_are_typed_errors_before_anything_is_written(
    arguments: list[str],
    word: str,
    matrix: sp.csr_array,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "A.npz", matrix)
    filled = [text.format(A=tmp_path / "A.npz", tmp=tmp_path) for text in arguments]
    assert main(filled) == USAGE_ERROR
    error = capsys.readouterr().err
    assert error.startswith(f"qnewton {arguments[0]}: error: ") and word in error
    assert [p.name for p in tmp_path.iterdir()] == ["A.npz"]


def test_train_writes_a_run_folder_and_report_rebuilds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    steps = [line for line in printed.splitlines() if line.startswith("step ")]
    assert len(steps) == 2 and all(
        "projected" in line and "simulated" in line and "honest: cg" in line for line in steps
    )
    assert "\r" not in printed and "\x1b" not in printed and str(out) in printed
    for word in ("test accuracy", "systems per solver", "queries", "gate time 1e-07 s", "100 GFLOP/s"):
        assert word in printed
    names = {"checkpoint.pt", "config.json", "report.html", "steps.jsonl", "timeline.json"}
    assert {p.name for p in out.iterdir()} == names
    before = {name: (out / name).read_bytes() for name in ("report.html", "timeline.json")}
    for name in before:
        (out / name).unlink()
    assert main(["report", str(out)]) == 0
    assert {name: (out / name).read_bytes() for name in before} == before


def test_log_lines_hold_what_the_run_folder_promises(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--gate-time", "1e-10", "--out", str(out)]) == 0
    lines = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    assert {"loss", "accuracy", "damping", "accepted", "systems"} <= set(lines[0])
    promised = "name size kappa alpha solver encoding reason queries success_probability tolerance relative_residual"
    promised += " simulated_seconds projected_seconds predicted"
    assert set(promised.split()) <= set(lines[0]["systems"][0])
    compared = {"qsvt", "kernel_reflection", "cholesky", "lu", "cg", "qr"}
    assert set(lines[0]["systems"][0]["predicted"]) == compared
    assert lines[0]["schedule"]["machines"] == ["quantum"] and lines[0]["schedule"]["rule"] == "makespan"
    stages = {event["name"] for line in lines for event in line["stages"]}
    assert stages == {"gradient", "curvature", "condition", "plan", "encode", "solve", "verify", "update"}
    config = json.loads((out / "config.json").read_text())
    assert config["classical"]["lu_flops"] == 1e11 and config["hardware"]["gate_time"] == 1e-10


def test_an_existing_run_is_not_overwritten_and_a_finished_one_resumes_to_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--out", str(out)]) == 0
    log = (out / "steps.jsonl").read_bytes()
    assert main([*SMALL_RUN, "--out", str(out)]) == USAGE_ERROR
    assert "--resume" in capsys.readouterr().err
    assert main(["train", "--resume", str(out)]) == 0
    assert (out / "steps.jsonl").read_bytes() == log


def test_a_finished_run_is_extended_by_more_steps_and_equals_one_long_run(tmp_path: Path) -> None:
    short, long = tmp_path / "short", tmp_path / "long"
    assert main([*SMALL_RUN, "--out", str(short)]) == 0
    assert main(["train", "--resume", str(short), "--steps", "4"]) == 0
    assert main([*SMALL_RUN[:-4], "--steps", "4", "--batch-size", "200", "--out", str(long)]) == 0
    losses = [
        [json.loads(line)["loss"] for line in (p / "steps.jsonl").read_text().splitlines()] for p in (short, long)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_resume_refuses_options_that_config_json_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--out", str(out)]) == 0
    assert main(["train", "--resume", str(out), "--seed", "3", "--lr", "2"]) == USAGE_ERROR
    assert "--seed" in (error := capsys.readouterr().err) and "--lr" in error


def test_a_run_in_which_nothing_was_solved_says_so_and_returns_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*SMALL_RUN, "--solver", "qsvt", "--max-queries", "3", "--out", str(tmp_path / "run")]
    assert main(arguments) == NO_PROGRESS
    printed = capsys.readouterr().out
    assert "REJECTED: too many queries" in printed and "not solved" in printed


@pytest.mark.parametrize("damage", ["[1]", "null", '{"hidden": [1.5]}', "{torn"])
def test_a_damaged_config_is_named(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--out", str(out)]) == 0
    (out / "config.json").write_text(damage)
    assert main(["train", "--resume", str(out)]) == USAGE_ERROR
    assert "Traceback" not in (error := capsys.readouterr().err) and "error: run" in error


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*SMALL_RUN, "--out", str(one)]) == 0
    assert main(["train", "--hidden", "4", "--steps", "1", "--batch-size", "200", "--out", str(two)]) == 0
    (one / "checkpoint.pt").write_bytes((two / "checkpoint.pt").read_bytes())
    assert main(["train", "--resume", str(one)]) == USAGE_ERROR
    assert "another network" in capsys.readouterr().err


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "data_fingerprint": "0" * 16}))
    assert main(["train", "--resume", str(out), "--steps", "3"]) == USAGE_ERROR
    assert "not the data" in capsys.readouterr().err


def test_a_run_that_another_process_took_on_is_not_written_twice(tmp_path: Path) -> None:
    from qnewton_gpu.errors import RunFolderError
    from qnewton_gpu.training import Training

    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--out", str(out)]) == 0
    first, second = Training.resume(out, 4), Training.resume(out, 4)
    first.run()
    with pytest.raises(RunFolderError, match="moved on"):
        second.run()
    assert [json.loads(line)["step"] for line in (out / "steps.jsonl").read_text().splitlines()] == [0, 1, 2, 3]


def test_x_goes_to_the_very_file_that_was_named(matrix: sp.csr_array, tmp_path: Path) -> None:
    assert main(["solve", str(write(tmp_path / "A.npz", matrix)), "--out", str(tmp_path / "x.txt")]) == 0
    assert np.load(tmp_path / "x.txt").shape == (20,) and not (tmp_path / "x.txt.npy").exists()


def test_an_estimated_kappa_is_not_called_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sp.save_npz(tmp_path / "A.npz", sp.diags_array(np.linspace(1, 1000, 300)).tocsr())
    assert main(["solve", str(tmp_path / "A.npz"), "--tolerance", "1e-2"]) == 0
    printed = capsys.readouterr().out
    assert "kappa estimate" in printed and "kappa bound" not in printed


def test_a_run_by_shots_says_what_they_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shots = ["--readout", "shots", "--shots-per-unknown", "30", "--solver", "qsvt", "--out", str(tmp_path / "run")]
    main([*SMALL_RUN, *shots])
    printed = capsys.readouterr().out
    assert "readout by shots: 30 N for magnitudes" in printed and "  runs " in printed
    steps = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    runs = sum(s["runs"] for step in steps for s in step["systems"])
    assert f"{runs:.3e} runs of circuits" in printed and "projected for the same circuits" in printed
    assert "What the shots cost" in (tmp_path / "run" / "report.html").read_text()


def test_calibration_is_frozen_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(calibration.measure, orders=(8, 16, 32), sparse_orders=(50, 100), batches=(10, 20))
    monkeypatch.setattr(calibration, "measure", small)
    monkeypatch.setattr(calibration, "ENOUGH_SECONDS", 0.0)
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path / "cache"))
    out = tmp_path / "run"
    assert main([*SMALL_RUN, "--calibrate", "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["classical"]["name"].startswith("calibrated") and config["classical"]["lu_flops"] != 1e11
    kept = calibration.cached(select_backend("cpu"))
    assert kept is not None and kept.measured and config["classical"] == kept.to_dict()


def test_stated_machines_are_taken_by_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    physical = ["--level", "physical", "--physical-error", "1e-4", "--factories", "12", "--parallel", "3"]
    assert main(["estimate", *physical, "--machine", "h100"]) == 0
    printed = capsys.readouterr().out
    assert "physical gate with error 0.0001" in printed and "12 T factories" in printed and "3 processors" in printed
    assert "h100: Cholesky 3.35e+04" in printed and "stated" in printed
    for wrong, said in (
        (["--level", "virtual"], "logical, physical"),
        (["--level", "physical", "--physical-error", "0.01"], "physical_error"),
        (["--factories", "0"], "factories"),
        (["--parallel", "0"], "parallel"),
        (["--machine", "h100", "--calibrate"], "--machine"),
        (["--machine", "nowhere.json"], "no file nowhere.json"),
        (["--physical-error", "0.005"], "--level physical"),
    ):
        assert main(["estimate", *wrong]) == USAGE_ERROR
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train --densty 0.5 --hiden=3", "--densty 0.5 --hiden=3 (did you mean --density, --hidden?)"),
        ("estimate --gatetime 1e-9", "(did you mean --gate-time?); see qnewton estimate --help"),
        ("estimate one.npy two.npy", "unrecognized arguments: two.npy; see"),
        ("train --hidden a", "'a' is not a list of widths"),
    ],
)
def test_a_mistyped_option_is_refused_with_what_was_meant(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == USAGE_ERROR and said in capsys.readouterr().err


def test_t_factories_may_state_the_error_of_their_gates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--physical-error", "0.005", "--factories", "2"]) == 0
    assert "2 T factories" in capsys.readouterr().out


def test_ctrl_c_leaves_a_run_that_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qnewton_gpu.training import Training

    real = Training._one_step

    def interrupted(self: Training) -> dict:
        if self.step == 1:
            raise KeyboardInterrupt
        return real(self)

    out = tmp_path / "run"
    monkeypatch.setattr(Training, "_one_step", interrupted)
    assert main([*SMALL_RUN, "--out", str(out)]) == INTERRUPTED
    assert f"--resume {out}" in capsys.readouterr().err and (out / "report.html").exists()
    monkeypatch.setattr(Training, "_one_step", real)
    assert main(["train", "--resume", str(out)]) == 0
    assert len((out / "steps.jsonl").read_text().splitlines()) == 2


def test_doctor_checks_every_solver(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("solver qsvt", "solver lu", "torch", "data mnist", "phase cache"))
    assert "failed" not in printed


def test_doctor_names_the_command_for_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qnewton_gpu.cli import doctor

    monkeypatch.setattr(doctor, "NEEDED", ("numpy", "no-such-package-here"))
    assert main(["doctor"]) == 1
    assert "pip install no-such-package-here" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0 and "usage: qnewton" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [("--help", ("numpy", "torch", "scipy")), ("estimate", ("torch", "matplotlib", "sklearn", "scipy.linalg"))],
)
def test_what_a_command_does_not_need_is_not_imported(arguments: str, absent: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom qnewton_gpu.cli import main\n"
        f"try: main({arguments.split()!r})\nexcept SystemExit: pass\n"
        f"print('loaded', [name for name in {absent!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
