"""From curvature to linear systems: the damping rules, and what conditioning tells the log."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.blocks import Block
from qnewton_gpu.cli import USAGE_ERROR, main
from qnewton_gpu.curvature import Objective, make_curvature
from qnewton_gpu.errors import CombinationError, UnknownNameError
from qnewton_gpu.systems import SystemOptions, build_blocks

CPU = select_backend("cpu")
DECAY = 1e-3


def batch(seed: int = 0) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    return model, torch.randn(40, 5, dtype=torch.float64), torch.randint(3, (40,))


def blocks_of(options: SystemOptions, damping: float = 0.1) -> tuple[np.ndarray, list[Block]]:
    """The dense curvature, and the blocks of a small network with their systems."""
    objective = Objective(*batch()[:1], torch.nn.CrossEntropyLoss(), *batch()[1:], DECAY)
    theta = objective.parameters.vector()
    with torch.no_grad():
        gradient = objective.value_and_gradient(theta)[1]
        curvature = make_curvature(options.curvature, objective, theta)
        blocks = build_blocks(objective, theta, gradient, curvature, damping, options, CPU)
        return curvature.dense().numpy(), blocks


@pytest.mark.parametrize("partition", ["network", "layer"])
@pytest.mark.parametrize("curvature", ["ggn", "fisher"])
def test_the_rule_of_the_paper_gives_every_block_its_own_damping(partition: str, curvature: str) -> None:
    options = SystemOptions(curvature, partition, encoding="walk", damping_rule="paper")
    dense, blocks = blocks_of(options, damping=7.0)  # which is not used
    for block in blocks:
        (part,), (place,) = block.parts, block.places
        C = dense[place, place]
        assert block.damping == pytest.approx(5e-3 * np.abs(C).max(), rel=1e-15)
        difference = part.system.operator.dense() - C
        assert np.allclose(difference, (block.damping + DECAY) * np.eye(len(C)), rtol=0, atol=1e-14)
    assert len(blocks) == (1 if partition == "network" else 2)
    assert len({block.damping for block in blocks}) == len(blocks)


@pytest.mark.parametrize("encoding", ["auto", "gram", "walk"])
def test_the_damping_of_the_optimizer_is_that_of_every_block(encoding: str) -> None:
    dense, blocks = blocks_of(SystemOptions(partition="layer", encoding=encoding), damping=0.3)
    for block in blocks:
        (part,), (place,) = block.parts, block.places
        C = dense[place, place]
        assert block.damping == 0.3
        assert np.allclose(part.system.operator.dense(), C + (0.3 + DECAY) * np.eye(len(C)), rtol=0, atol=1e-13)


def test_the_rule_of_the_paper_needs_an_explicit_matrix() -> None:
    for encoding in ("auto", "gram"):
        with pytest.raises(CombinationError, match=r"max\|C_ij\|.*encoding='walk'"):
            SystemOptions(encoding=encoding, damping_rule="paper")
    for options in ({"curvature": "hessian"}, {"density": 0.5}, {"scaling": "auto"}, {"encoding": "walk"}):
        assert SystemOptions(**options, damping_rule="paper").damping_rule == "paper"
    with pytest.raises(UnknownNameError, match="lm, paper"):
        SystemOptions(damping_rule="papre")


def test_a_block_says_in_words_what_was_done_to_it() -> None:
    _, (block,) = blocks_of(SystemOptions(density=0.3, compensate="shift", scaling="jacobi"))
    (part,) = block.parts
    pruned, repaired, damped, scaled = part.record
    assert "pruned to at most 12 of 39" in pruned and "shift repair" in repaired
    assert damped == f"damped by {0.1 + DECAY:.6g}" and "Jacobi" in scaled
    assert part.row_sparsity <= 12


def test_training_with_the_rule_of_the_paper_takes_every_step_and_shows_the_largest_damping() -> None:
    """Nothing would change where a step is refused, so a step that raises the loss is taken, too."""
    model, x, y = batch()
    optimizer = qn.QNewton(
        model, torch.nn.CrossEntropyLoss(), curvature="hessian", partition="layer", damping_rule="paper", lr=0.3,
        scheduler=qn.Scheduler(solver="lu", backend="cpu"),
    )  # fmt: skip
    reports = [optimizer.step(x, y) for _ in range(12)]
    assert all(report.accepted for report in reports)
    assert reports[-1].loss < 0.95 * reports[0].loss and any(r.new_loss > r.loss for r in reports)
    for report in reports:
        assert report.damping == report.next_damping
        shown = [float(s["conditioning"][-1].removeprefix("damped by ")) - 1e-4 for s in report.systems]
        assert report.damping == pytest.approx(max(shown), rel=1e-3)
    assert len({report.damping for report in reports}) == len(reports)


def test_a_loss_that_rises_is_accepted_by_the_rule_of_the_paper_alone() -> None:
    accepted = {}
    for rule in ("lm", "paper"):
        model, x, y = batch()
        optimizer = qn.QNewton(
            model, torch.nn.CrossEntropyLoss(), damping_rule=rule, damping=1e-3, lr=60.0,
            scheduler=qn.Scheduler(solver="lu", encoding="walk", backend="cpu"),
        )  # fmt: skip
        before = [p.clone() for p in model.parameters()]
        report = optimizer.step(x, y)
        moved = any(not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
        assert moved == report.accepted and (report.new_loss > report.loss) == report.accepted
        accepted[rule] = report.accepted
    assert accepted == {"lm": False, "paper": True}


def test_the_joint_step_of_damped_blocks_has_the_length_that_minimises_the_damped_model() -> None:
    """s = -g.d/(d.(C + wd)d + sum over blocks of delta |d|^2), each block with its own delta."""
    model, x, y = batch()
    optimizer = qn.QNewton(
        model, torch.nn.CrossEntropyLoss(), partition="layer", damping_rule="paper", weight_decay=DECAY,
        scheduler=qn.Scheduler(solver="lu", encoding="walk", backend="cpu"),
    )  # fmt: skip
    dense, blocks = blocks_of(SystemOptions(partition="layer", encoding="walk", damping_rule="paper"))
    systems = [block.parts[0].system for block in blocks]
    d = np.concatenate([-np.linalg.solve(system.operator.dense(), system.rhs)[:, 0] for system in systems])
    g = np.concatenate([system.rhs[:, 0] for system in systems])
    added = sum(b.damping * (d[place] @ d[place]) for b in blocks for place in b.places)
    bend = d @ (dense + DECAY * np.eye(len(d))) @ d + added
    before = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()
    optimizer.step(x, y)
    after = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()
    assert np.allclose(after - before, -(g @ d) / bend * d, rtol=1e-9, atol=1e-12)


def test_the_command_trains_by_the_rule_of_the_paper_and_resumes(tmp_path, capsys) -> None:
    """config.json keeps the rule; damping that the rule would not use is refused."""
    run = ["train", "--hidden", "0", "--encoding", "walk", "--damping-rule", "paper", "--out", str(tmp_path / "run")]
    assert main([*run, "--damping", "0.5"]) == USAGE_ERROR
    assert "would do nothing" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert main([*run[:3], "--damping-rule", "paper", *run[-2:]]) == USAGE_ERROR
    assert "known only by its products" in capsys.readouterr().err
    assert main([*run, "--steps", "1"]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--steps", "2"]) == 0
    folder = tmp_path / "run"
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert json.loads((folder / "config.json").read_text())["damping_rule"] == "paper"
    for step in steps:
        assert step["accepted"] and step["damping"] == step["next_damping"]
        assert step["systems"][0]["conditioning"] == [f"damped by {step['damping'] + 1e-4:.6g}"]
