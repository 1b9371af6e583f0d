"""What README.md shows in Python runs as it stands there."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch

from qnewton_gpu.costs import calibration

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text("utf-8"), re.DOTALL)


def test_training_with_a_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    exec(BLOCKS[0], {})
    steps = capsys.readouterr().out.splitlines()
    losses = [float(step.split()[0]) for step in steps]
    assert len(losses) == 5 and losses[-1] < losses[0] < 2.4
    assert any("qsvt" in step for step in steps)


def test_planning_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = partial(calibration.measure, orders=(8, 16, 32), sparse_orders=(50, 100), batches=(10, 20))
    monkeypatch.setattr(calibration, "measure", small)
    monkeypatch.setattr(calibration, "ENOUGH_SECONDS", 0.0)
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[1], {})
    printed = capsys.readouterr().out
    assert "gate time: " in printed and " -> from there on kernel_reflection wins" in printed
    assert "pruned to at most 15 of 60 entries a row" in printed and "damped by 0.1" in printed
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_point_source_among_two_to_the_forty_points(capsys: pytest.CaptureFixture[str]) -> None:
    exec(BLOCKS[2], {})
    printed = capsys.readouterr().out
    # the discrete Green's function at its source, 1/(2 sinh theta), 2 cosh theta = 2 + s = 22/9
    assert float(printed.split()[-2]) == pytest.approx(1 / (((22 / 9) ** 2 - 4) ** 0.5), rel=1e-2)


def test_questions_to_fifty_qubits(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cotengra")
    exec(BLOCKS[3], {})
    amplitudes, parity, marginal, samples = capsys.readouterr().out.splitlines()
    assert amplitudes.endswith("[0.70710678 0.70710678]") and "operands" in amplitudes
    assert float(parity.split()[-1]) == pytest.approx(1) and marginal.endswith("[0.5 0.5]")
    assert {int(one) for one in samples.strip("[]").split(",")} <= {0, 2**50 - 1}
