"""SIGTERM and SIGUSR1 end a run after its step, with status 75, and it continues to bit-identical parameters.

Every run is a real process. At a chosen moment it says so with a file and waits for another one, which the test makes
once the signal in between has been noted: nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from qnewton_gpu.cli import main
from qnewton_gpu.cli.interrupts import SAME_REQUEST_SECONDS, STOP_SIGNALS, StopRequest, stop_requests
from qnewton_gpu.cli.train import STOPPED
from qnewton_gpu.runfolder import CHECKPOINT, CONFIG, REPORT, STEPS, TIMELINE, RunFolder

STEPS_OF_RUN = 4
OPTIONS = ["train", "--hidden", "0", "--steps", str(STEPS_OF_RUN), "--batch-size", "300", "--threads", "1"]
MOMENTS = {  # and how many steps are on disk in the end
    "the first step": 1,
    "the third step": 3,
    "between log and checkpoint": 2,
    "before the second rename": 2,
    "the last step": STEPS_OF_RUN,
    "the report": STEPS_OF_RUN,
}
CONTEXT = multiprocessing.get_context("forkserver")
SCRIPT = Path(__file__).parents[2] / "examples" / "train_past_the_time_limit.sh"


def qnewton(moment: str, signs: Path, arguments: list[str]) -> int:
    """`qnewton` in a process of its own, which waits at that moment until it is let go."""
    real_note = StopRequest.note

    def note(self: StopRequest, number: int, frame: Any) -> None:
        real_note(self, number, frame)
        (signs / "noted").touch()

    StopRequest.note = note  # type: ignore[method-assign]
    if moment == "before the command":
        wait_there(signs)
    elif moment == "imports":
        sys.meta_path.insert(0, WaitForImport(signs))
    elif moment:
        wait_at(moment, signs)
    return main(arguments)


def wait_there(signs: Path) -> None:
    (signs / "there").touch()
    until((signs / "go on").exists)


class WaitForImport:
    """Waits in the import of torch, and finds nothing itself."""

    def __init__(self, signs: Path) -> None:
        self.signs = signs

    def find_spec(self, name: str, *_: object) -> None:
        if name == "torch":
            wait_there(self.signs)


def wait_at(moment: str, signs: Path) -> None:
    from qnewton_gpu import report, runfolder
    from qnewton_gpu.optimizer import QNewton

    owner, name, call = {
        "the first step": (QNewton, "step", 1),
        "the third step": (QNewton, "step", 3),
        "between log and checkpoint": (RunFolder, "save_checkpoint", 2),
        "before the second rename": (runfolder.os, "replace", 3),  # the first is that of config.json
        "the last step": (QNewton, "step", STEPS_OF_RUN),
        "the report": (report, "build_report", 1),
    }[moment]
    real, calls = getattr(owner, name), 0

    def waiting(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            wait_there(signs)
        return real(*arguments, **options)

    setattr(owner, name, waiting)


def until(condition: Callable[[], bool], limit: float = 60.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def in_child(moment: str, signs: Path, arguments: list[str]) -> None:
    with (signs / "output").open("a") as output, redirect_stdout(output), redirect_stderr(output):
        status = qnewton(moment, signs, arguments)
    sys.exit(status)


def start(moment: str, signs: Path, *arguments: str) -> Any:
    """A fork of a server that has imported everything already."""
    process = CONTEXT.Process(target=in_child, args=(moment, signs, list(arguments)))
    process.start()
    return process


def ended(process: Any) -> int | None:
    process.join(60)
    return process.exitcode


def signal_it(number: int, signs: Path, pid: int) -> None:
    until((signs / "there").exists)
    os.kill(pid, number)
    until((signs / "noted").exists)
    (signs / "go on").touch()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no signal reached."""
    # torch._dynamo: every torch optimizer imports it
    CONTEXT.set_forkserver_preload(["qnewton_gpu.training", "qnewton_gpu.report", "torch._dynamo", "sklearn.datasets"])
    signs = tmp_path_factory.mktemp("whole")
    assert ended(start("", signs, *OPTIONS, "--out", str(signs / "run"))) == 0
    return signs / "run"


def assert_whole_after(path: Path, steps: int) -> None:
    """Everything in the folder is there, and of that step."""
    assert {p.name for p in path.iterdir()} == {CONFIG, STEPS, CHECKPOINT, REPORT, TIMELINE}
    assert [line["step"] for line in RunFolder(path).steps()] == list(range(steps))
    assert (path / STEPS).read_text().endswith("\n")
    state = RunFolder(path).load_checkpoint()
    assert state is not None and state["step"] == steps


def assert_same_run(path: Path, whole: Path) -> None:
    import torch

    assert_whole_after(path, STEPS_OF_RUN)
    ours, theirs = RunFolder(path).load_checkpoint(), RunFolder(whole).load_checkpoint()
    assert ours is not None and theirs is not None and ours["optimizer"] == theirs["optimizer"]
    for name, value in theirs["network"].items():
        assert torch.equal(ours["network"][name], value), name
    assert [s["loss"] for s in RunFolder(path).steps()] == [s["loss"] for s in RunFolder(whole).steps()]


@pytest.mark.parametrize(("moment", "number"), [*zip(MOMENTS, 3 * STOP_SIGNALS, strict=True)])
def test_a_signal_ends_the_run_after_its_step_and_it_resumes(
    moment: str, number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    run, steps = tmp_path / "run", MOMENTS[moment]
    process = start(moment, tmp_path, *OPTIONS, "--out", str(run))
    signal_it(number, tmp_path, process.pid)
    assert ended(process) == (STOPPED if steps < STEPS_OF_RUN else 0)
    assert_whole_after(run, steps)
    last_line = (tmp_path / "output").read_text().splitlines()[-1]
    said = f"stopped by {number.name}; nothing is lost: qnewton train --resume {run}"
    assert (last_line == said) == (steps < STEPS_OF_RUN)
    assert ended(start("", tmp_path, "train", "--resume", str(run))) == 0
    assert_same_run(run, whole)


def test_a_signal_during_imports_leaves_a_run_that_starts_when_it_is_resumed(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, __file__, "imports", str(tmp_path), *OPTIONS, "--out", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        signal_it(signal.SIGUSR1, tmp_path, process.pid)
        printed, _ = process.communicate(timeout=60)
    assert (
        process.returncode == STOPPED
        and f"stopped by SIGUSR1; nothing is lost: qnewton train --resume {run}" in printed
    )
    assert "no step was finished" in printed and "Traceback" not in printed
    assert (run / CONFIG).exists() and not (run / CHECKPOINT).exists() and not (run / STEPS).exists()
    assert ended(start("", tmp_path, "train", "--resume", str(run))) == 0
    assert_same_run(run, whole)


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
def test_a_signal_before_the_command_listens_has_its_default_effect(number: signal.Signals, tmp_path: Path) -> None:
    process = start("before the command", tmp_path, *OPTIONS, "--out", str(tmp_path / "run"))
    until((tmp_path / "there").exists)
    os.kill(process.pid, number)
    assert ended(process) == -number and not (tmp_path / "run").exists()


def test_a_later_second_signal_ends_the_run_at_once_and_nothing_but_its_step_is_lost(
    whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start("the third step", tmp_path, *OPTIONS, "--out", str(run))
    until((tmp_path / "there").exists)
    while process.is_alive():  # the step never ends: it is not let go
        os.kill(process.pid, signal.SIGTERM)
        process.join(0.05)
    assert process.exitcode == -signal.SIGTERM and (tmp_path / "noted").exists()
    assert [line["step"] for line in RunFolder(run).steps()] == [0, 1]
    assert ended(start("", tmp_path, "train", "--resume", str(run))) == 0
    assert_same_run(run, whole)


def test_the_same_request_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch system signals the job script and the run, and the script forwards what it got."""
    clock, raised = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    with stop_requests() as request:
        assert not request()
        request.note(signal.SIGUSR1, None)
        clock[0] += 0.9 * SAME_REQUEST_SECONDS
        request.note(signal.SIGTERM, None)
        assert request() and request.signal_name == "SIGUSR1" and raised == []
        clock[0] += 0.2 * SAME_REQUEST_SECONDS
        request.note(signal.SIGTERM, None)
        assert raised == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_handlers_are_there_only_while_training_and_only_in_the_main_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qnewton_gpu.training import Training

    real, during = Training._one_step, []

    def one_step(self: Training) -> dict:
        during.append([signal.getsignal(number) for number in STOP_SIGNALS])
        return real(self)

    monkeypatch.setattr(Training, "_one_step", one_step)
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    assert main([*OPTIONS[:4], "1", "--out", str(tmp_path / "main")]) == 0
    thread = threading.Thread(target=main, args=([*OPTIONS[:4], "1", "--out", str(tmp_path / "thread")],))
    thread.start()
    thread.join()
    assert (tmp_path / "thread" / CHECKPOINT).exists()
    assert during[0] != before and during[1] == before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_training_in_python_is_stopped_by_a_function_that_is_asked_between_steps(tmp_path: Path) -> None:
    from qnewton_gpu.training import TrainConfig, Training

    training = Training(TrainConfig(hidden=(), steps=4, batch_size=300), None, tmp_path / "run")
    assert training.run(stop=lambda: True) == [] and training.step == 0
    lines = training.run(stop=lambda: training.step == 2)
    assert [line["step"] for line in lines] == [0, 1]
    assert len(training.run(stop=lambda: False)) == 4


class Job:
    """A SLURM job that runs the script of examples/ with stand-ins for what it calls; scontrol writes its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run, self.number = folder, folder / "runs" / "job-17", 0
        commands = folder / "commands"
        commands.mkdir()
        self.write(commands / "scontrol", f'echo "$@" >> {folder}/calls')
        self.write(commands / "qnewton", f'exec {sys.executable} {__file__} "$MOMENT" "$SIGNS" "$@"')
        self.path = f"{commands}:{os.environ['PATH']}"

    @staticmethod
    def write(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/bash\n{line}\n")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, moment: str) -> tuple[subprocess.Popen, Path]:
        self.number += 1
        signs = self.folder / f"signs {self.number}"
        signs.mkdir()
        names = {"SLURM_JOB_ID": "17", "SLURM_SUBMIT_DIR": str(self.folder), "SLURM_CPUS_PER_TASK": "1"}
        environment = {**os.environ, **names, "PATH": self.path, "MOMENT": moment, "SIGNS": str(signs)}
        with (self.folder / "output").open("a") as output:
            command = ["bash", str(SCRIPT), *OPTIONS[1:-2]]
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        return process, signs


def test_the_job_script_requeues_itself_until_the_run_is_at_its_end(whole: Path, tmp_path: Path) -> None:
    job = Job(tmp_path)
    process, signs = job.start("before the command")
    until((signs / "there").exists)
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait(60) == 0 and job.calls == ["requeue 17"] and not job.run.exists()
    process, signs = job.start("the third step")
    signal_it(signal.SIGUSR1, signs, process.pid)
    assert process.wait(60) == 0 and job.calls == 2 * ["requeue 17"]
    assert_whole_after(job.run, 3)
    process, _ = job.start("")
    assert process.wait(60) == 0 and job.calls == 2 * ["requeue 17"]
    assert f"resumed {job.run.relative_to(tmp_path)} at step 3 of 4" in (tmp_path / "output").read_text()
    assert_same_run(job.run, whole)


def test_the_job_script_forwards_a_cancellation_and_does_not_requeue(tmp_path: Path) -> None:
    job = Job(tmp_path)
    process, signs = job.start("the first step")
    signal_it(signal.SIGTERM, signs, process.pid)
    assert process.wait(60) == STOPPED and job.calls == []
    assert_whole_after(job.run, 1)


def test_the_job_script_passes_on_what_went_wrong(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.write(tmp_path / "commands" / "qnewton", "exit 2")
    process, _ = job.start("")
    assert process.wait(60) == 2 and job.calls == []


if __name__ == "__main__":
    sys.exit(qnewton(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
