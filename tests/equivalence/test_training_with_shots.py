"""Training whose solutions are read from finitely many shots: it converges, says what it took, and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins.run_in_memory import Discarded

from qnewton_gpu.readout import Readout
from qnewton_gpu.training import TrainConfig, Training

SMALL: dict[str, Any] = {"hidden": (), "batch_size": 256, "damping_floor": 0.03, "solver": "qsvt"}
SHOTS = Readout("shots", 100, seed=1)


def run(**options: Any) -> list[dict[str, Any]]:
    return Training(TrainConfig(**options), Discarded()).run()


def test_a_small_network_learns_from_shots_as_from_amplitudes() -> None:
    shots, exact = run(steps=6, readout=SHOTS, **SMALL), run(steps=6, **SMALL)
    assert shots[-1]["accuracy"] > 0.9
    for one, two in zip(shots, exact, strict=True):
        assert one["accepted"] and one["loss"] == pytest.approx(two["loss"], rel=0.05)
        (a,), (b,) = one["systems"], two["systems"]
        assert (a["readout"], b["readout"]) == ("shots", "exact") and "runs" not in b
        assert a["status"] == "solved" and a["relative_residual"] <= a["tolerance"]
        assert a["preparations"] == a["rounds"] * 2 * 100 * a["size"] < a["runs"]
        # every successful run is paid for, and the machine repeats or amplifies the others
        assert a["projected_seconds"] == pytest.approx(2 * 100 * a["size"] * a["exact_readout_seconds"], rel=1e-9)
    assert shots[0]["loss"] != exact[0]["loss"]


def test_more_shots_come_closer_to_exact_amplitudes() -> None:
    exact = run(steps=1, tolerance=0.3, **SMALL)[0]["loss"]
    few, many = (
        abs(run(steps=1, tolerance=0.3, readout=Readout("shots", shots), **SMALL)[0]["loss"] - exact)
        for shots in (30, 30_000)
    )
    assert many < few / 3


def test_a_scheduler_that_chooses_freely_pays_for_shots_and_goes_classical() -> None:
    lines = run(steps=2, readout=SHOTS, **{**SMALL, "solver": "auto"})
    for line in lines:
        (system,) = line["systems"]
        assert system["solver"] == "lu" and system["readout"] is None
        assert system["predicted"]["qsvt"]["factors"]["readout"] == 2 * 100 * system["size"]


def test_a_stopped_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    config = TrainConfig(steps=4, readout=SHOTS, partition="layer", **{**SMALL, "hidden": (3,)})
    whole = Training(config, None, tmp_path / "whole")
    whole.run()
    stopped = Training(config, None, tmp_path / "stopped")
    stopped.run(stop=lambda: stopped.step == 2)
    assert stopped.step == 2
    resumed = Training.resume(tmp_path / "stopped")
    assert resumed.config == config
    resumed.run()
    for one, two in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(one, two)
    taken = [[s["runs"] for line in t.folder.steps() for s in line["systems"]] for t in (whole, resumed)]
    assert taken[0] == taken[1] and len(set(taken[0])) == 8  # every step and layer draws shots of its own


@pytest.mark.slow
@pytest.mark.parametrize("partition", ["network", "layer"])
def test_the_default_run_reaches_97_percent_with_shots(partition: str) -> None:
    lines = run(solver="qsvt", readout=SHOTS, partition=partition)
    assert next(line["step"] + 1 for line in lines if line["accuracy"] >= 0.97) <= 8
    assert all(s["status"] == "solved" for line in lines for s in line["systems"])
