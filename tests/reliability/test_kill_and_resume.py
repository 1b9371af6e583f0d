"""A run killed with SIGKILL at any moment continues to bit-identical parameters.

A server process imports torch once and forks one training process after another; each is killed, by its parent after
a seeded random time or by itself at a chosen point inside a write, and then resumed in a fresh fork.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qnewton_gpu.runfolder import CHECKPOINT, CONFIG, STEPS, RunFolder

STEPS_OF_RUN = 6
CONTEXT = multiprocessing.get_context("forkserver")
INSIDE_A_WRITE = ("half a checkpoint", "before the rename", "after the rename", "half a log line")
MOMENTS = [("time", seed) for seed in range(12)] + [(where, seed) for where in INSIDE_A_WRITE for seed in (1, 2)]


def train(path: Path, die: str | None = None, after: int = 0) -> None:
    """Train or resume in this process, and die inside write number `after` if told so."""
    import torch

    from qnewton_gpu import runfolder
    from qnewton_gpu.training import TrainConfig, Training

    torch.set_num_threads(1)
    if die is not None:
        _die_inside_a_write(runfolder, die, after)
    if (path / CONFIG).exists():
        training = Training.resume(path)
    else:
        training = Training(TrainConfig(steps=STEPS_OF_RUN, hidden=(4,), batch_size=400), None, path)
    training.run()


def _die_inside_a_write(runfolder, where: str, after: int) -> None:  # type: ignore[no-untyped-def]
    real_replace, real_fsync, real_open = os.replace, os.fsync, Path.open
    count = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def is_due(path: object) -> bool:
        nonlocal count
        count += CHECKPOINT in str(path)
        return CHECKPOINT in str(path) and count > after

    def replace(source: str, target: Path) -> None:
        due = is_due(target)
        if due and where == "half a checkpoint":
            os.truncate(source, os.path.getsize(source) // 2)
            die()
        if due and where == "before the rename":
            die()
        real_replace(source, target)
        if due and where == "after the rename":
            die()

    def append(self: RunFolder, line: dict) -> None:
        text = runfolder.to_json(line) + "\n"
        with real_open(self.path / STEPS, "a") as file:
            whole = line["step"] < after
            file.write(text if whole else text[: len(text) // 2])
            file.flush()
            real_fsync(file.fileno())
            if not whole:
                die()

    runfolder.os.replace = replace
    if where == "half a log line":
        runfolder.RunFolder.append = append


def run_to_its_end(path: Path, **options: object) -> int | None:
    process = CONTEXT.Process(target=train, args=(path,), kwargs=options)
    process.start()
    process.join(60)
    return process.exitcode


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A whole run, and how long a second one like it took, in seconds."""
    # torch._dynamo: every torch optimizer imports it
    CONTEXT.set_forkserver_preload(["qnewton_gpu.training", "torch._dynamo", "sklearn.datasets"])
    path = tmp_path_factory.mktemp("whole") / "run"
    assert run_to_its_end(path) == 0
    began = time.perf_counter()
    assert run_to_its_end(path.with_name("again")) == 0
    return path, time.perf_counter() - began


def final_state(path: Path) -> dict:
    state = RunFolder(path).load_checkpoint()
    assert state is not None
    return state


def assert_same_run(path: Path, whole: Path) -> None:
    import torch

    ours, theirs = final_state(path), final_state(whole)
    assert ours["step"] == theirs["step"] == STEPS_OF_RUN
    assert ours["optimizer"] == theirs["optimizer"]
    for name, value in theirs["network"].items():
        assert torch.equal(ours["network"][name], value), name
    logged = RunFolder(path).steps()
    assert [line["step"] for line in logged] == list(range(STEPS_OF_RUN))
    expected = RunFolder(whole).steps()
    assert [line["loss"] for line in logged] == [line["loss"] for line in expected]
    assert sorted(p.name for p in path.iterdir()) == sorted([CHECKPOINT, CONFIG, STEPS])


def test_the_same_run_twice_is_bit_identical(uninterrupted: tuple[Path, float]) -> None:
    whole, _ = uninterrupted
    assert_same_run(whole.with_name("again"), whole)


@pytest.mark.parametrize(("where", "seed"), MOMENTS, ids=lambda value: str(value))
def test_a_killed_run_resumes_to_the_same_parameters(
    where: str, seed: int, uninterrupted: tuple[Path, float], tmp_path: Path
) -> None:
    whole, duration = uninterrupted
    path = tmp_path / "run"
    if where == "time":
        process = CONTEXT.Process(target=train, args=(path,))
        process.start()
        time.sleep(random.Random(seed).uniform(0, duration))
        process.kill()
        process.join(60)
    else:
        assert run_to_its_end(path, die=where, after=seed) == -signal.SIGKILL
        assert (path / CONFIG).exists()
    assert run_to_its_end(path) == 0  # a run killed before it had a folder starts anew
    assert_same_run(path, whole)


def test_later_and_torn_log_lines_are_dropped_on_resume(uninterrupted: tuple[Path, float], tmp_path: Path) -> None:
    whole, _ = uninterrupted
    path = tmp_path / "run"
    assert run_to_its_end(path, die="after the rename", after=2) == -signal.SIGKILL
    with (path / STEPS).open("a") as file:
        file.write(json.dumps({"step": 5, "loss": 0.0}) + '\n{"step": 6, "lo')
    assert run_to_its_end(path) == 0
    assert_same_run(path, whole)


def test_the_command_line_resumes_what_a_kill_left(tmp_path: Path) -> None:
    """Both through real processes: killed once its second step is on disk, then --resume."""
    command = [sys.executable, "-m", "qnewton_gpu", "train", "--threads", "1", "--hidden", "4"]
    command += ["--steps", "4", "--batch-size", "300"]
    whole, path = tmp_path / "whole", tmp_path / "run"
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)
    process = subprocess.Popen([*command, "--out", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step   2"):
            process.kill()
            break
    process.wait()
    process.stdout.close()
    resume = [sys.executable, "-m", "qnewton_gpu", "train", "--threads", "1", "--resume", str(path)]
    done = subprocess.run(resume, check=True, capture_output=True, text=True)
    assert "resumed" in done.stdout
    ours, theirs = final_state(path), final_state(whole)
    assert ours["step"] == 4 and all((ours["network"][k] == v).all() for k, v in theirs["network"].items())
