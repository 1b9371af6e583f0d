"""K-FAC blocks: two small systems for each layer, and the step and the certificate that their solutions give."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from standins.run_in_memory import Discarded

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.blocks import Block, KroneckerBlock, factor_tolerance
from qnewton_gpu.cli import USAGE_ERROR, main
from qnewton_gpu.curvature import Objective, make_curvature
from qnewton_gpu.errors import CombinationError, UnknownNameError, UnsupportedModelError
from qnewton_gpu.solvers import Solution, Status
from qnewton_gpu.systems import SystemOptions, build_blocks
from qnewton_gpu.tensor_networks import MatrixProductOperator, MatrixProductState
from qnewton_gpu.training import TrainConfig, Training

CPU = select_backend("cpu")
DECAY = 1e-3
CRITERION = torch.nn.CrossEntropyLoss()


def batch(seed: int = 0, zeroed: bool = False) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    if zeroed:
        torch.nn.init.zeros_(model[2].weight)  # then nothing of the loss reaches the first layer
    return model, torch.randn(40, 5, dtype=torch.float64), torch.randint(3, (40,))


def kfac_of(
    damping: float = 0.1, zeroed: bool = False, **options: Any
) -> tuple[list[Any], np.ndarray, list[KroneckerBlock]]:
    """The layers of K-FAC, the gradient, and the blocks of a small network."""
    model, x, y = batch(zeroed=zeroed)
    objective = Objective(model, CRITERION, x, y, 0.0 if zeroed else DECAY)
    theta = objective.parameters.vector()
    with torch.no_grad():
        gradient = objective.value_and_gradient(theta)[1]
        curvature: Any = make_curvature("kfac", objective, theta)
        blocks: Any = build_blocks(
            objective, theta, gradient, curvature, damping, SystemOptions("kfac", **options), CPU
        )
    return curvature.layers, gradient.numpy(), blocks


def solved(block: Block, error: Any = None) -> list[Solution]:
    """The solutions of a block's systems, so that `error(rhs)` is left of each right-hand side."""
    solutions = []
    for part in block.parts:
        system = part.system
        rhs = system.rhs + (0 if error is None else error(system.rhs))
        x = np.linalg.solve(system.operator.dense(), rhs)
        worst = float(np.asarray(system.relative_residuals(system.residual(x))).max())
        solutions.append(Solution(x, Status.SOLVED, "", worst, "lu"))
    return solutions


def step_of(block: Block, solutions: list[Solution], size: int) -> np.ndarray:
    direction = torch.zeros(size, dtype=torch.float64)
    block.write_step(solutions, direction)
    return direction.numpy()


def test_two_small_solves_give_the_step_of_the_kronecker_system() -> None:
    layers, g, blocks = kfac_of()
    total = np.zeros_like(g)
    for layer, block in zip(layers, blocks, strict=True):
        A, G = (factor.numpy() for factor in layer.damped(0.1 + DECAY))
        W = layer.gradient(torch.as_tensor(g)).numpy()
        expected = np.linalg.solve(np.kron(G, A), W.reshape(-1)).reshape(W.shape)
        step = step_of(block, solved(block), len(g))
        assert np.allclose(layer.gradient(torch.as_tensor(step)).numpy(), -expected, rtol=1e-9, atol=1e-12)
        assert [part.system.name for part in block.parts] == [f"{layer.name}.outputs", f"{layer.name}.inputs"]
        assert [part.system.size for part in block.parts] == list(layer.shape)
        total += step
    assert (total != 0).all()  # every parameter belongs to one layer


def test_both_factors_are_certified_by_the_damping_that_each_of_them_got() -> None:
    """kappa is a certified bound, and the log says how the damping was split."""
    layers, _, blocks = kfac_of(damping=0.3)
    for layer, block in zip(layers, blocks, strict=True):
        for part, shift in zip(block.parts, reversed(layer.shifts(0.3 + DECAY)), strict=True):
            values = np.linalg.eigvalsh(part.system.operator.dense())
            assert part.system.bounds.certified and part.system.bounds.lower == pytest.approx(shift, rel=1e-9)
            assert part.system.bounds.lower <= values[0] and values[-1] <= part.system.bounds.upper
            (said,) = part.record
            assert said.startswith(f"damped by {shift:.6g} = ") and "d = 0.301, pi = " in said


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), tolerance=st.sampled_from([1e-2, 1e-1, 0.9, 1e-6]))
def test_factors_within_their_tolerance_keep_the_layer_within_its_own(seed: int, tolerance: float) -> None:
    random = np.random.default_rng(seed)

    def error(rhs: np.ndarray) -> np.ndarray:
        noise = random.normal(size=rhs.shape)
        noise = rhs if seed % 3 == 0 else noise  # along the right-hand sides: what adds up most
        return part_tolerance * noise / np.linalg.norm(noise, axis=0) * np.linalg.norm(rhs, axis=0)

    _, _, blocks = kfac_of(tolerance=tolerance)
    for block in blocks:
        part_tolerance = block.parts[0].system.tolerance
        assert part_tolerance == block.parts[1].system.tolerance == factor_tolerance(tolerance, block.layer.shape)
        solutions = solved(block, error)
        assert all(s.relative_residual == pytest.approx(part_tolerance, rel=1e-6) for s in solutions)
        certificate = block.certificate(solutions)
        assert certificate["relative_residual"] <= tolerance == certificate["tolerance"]
        if seed % 3 == 0:  # then (1 + epsilon)^2 - 1
            assert certificate["relative_residual"] == pytest.approx(2 * part_tolerance + part_tolerance**2, rel=1e-6)


def test_the_certificate_is_the_residual_of_the_kronecker_system() -> None:
    layers, g, blocks = kfac_of()
    random = np.random.default_rng(0)
    for layer, block in zip(layers, blocks, strict=True):
        solutions = solved(block, lambda rhs: 0.1 * random.normal(size=rhs.shape))
        A, G = (factor.numpy() for factor in layer.damped(0.1 + DECAY))
        W = layer.gradient(torch.as_tensor(g)).numpy()
        X = -layer.gradient(torch.as_tensor(step_of(block, solutions, len(g)))).numpy()
        residual = np.linalg.norm(G @ X @ A - W) / np.linalg.norm(W)
        certificate = block.certificate(solutions)
        assert certificate["relative_residual"] == pytest.approx(residual, rel=1e-9) and residual > 0.01
        assert certificate["rank"] == np.linalg.matrix_rank(W) and certificate["size"] == W.size


def test_a_layer_that_nothing_reaches_takes_no_step() -> None:
    _, g, (first, last) = kfac_of(zeroed=True)
    assert len(first.singular_values) == 1 and first.singular_values[0] == 0
    assert not step_of(first, solved(first), len(g)).any() and step_of(last, solved(last), len(g)).any()
    assert first.certificate(solved(first))["relative_residual"] == 0


@pytest.mark.parametrize("rule", ["lm", "paper"])
@pytest.mark.parametrize("solver", ["auto", "qsvt", "kernel_reflection"])
def test_layers_without_any_gradient_take_no_step_and_keep_no_other_from_it(rule: str, solver: str) -> None:
    """The paper's damping of a layer without curvature is zero, and its systems are 0 x = 0."""
    torch.manual_seed(0)
    parts = torch.nn.Linear(4, 5, bias=False), torch.nn.ReLU(), torch.nn.Linear(5, 3, bias=False)
    model, x, y = torch.nn.Sequential(*parts).double(), torch.randn(9, 4).double(), torch.randint(3, (9,))
    optimizer = optimizer_on(model, solver, damping_rule=rule, weight_decay=0.0)
    before = [p.clone() for p in model.parameters()]
    still = optimizer.step(0 * x, y)
    assert all(s["status"] == "solved" and s["block"]["relative_residual"] == 0 for s in still.systems)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    moving = optimizer.step(x, y)
    assert moving.accepted and all(s["block"]["relative_residual"] <= 1e-2 for s in moving.systems)


def test_scaled_factors_give_the_same_step_and_pruned_ones_that_of_what_is_left() -> None:
    _, g, plain = kfac_of()
    for block, scaled, pruned in zip(plain, kfac_of(scaling="jacobi")[2], kfac_of(density=0.5)[2], strict=True):
        step = step_of(block, solved(block), len(g))
        assert all(part.scale is not None for part in scaled.parts)
        assert np.allclose(step_of(scaled, solved(scaled), len(g)), step, rtol=1e-9, atol=1e-12)
        assert scaled.certificate(solved(scaled))["relative_residual"] < 1e-12
        assert pruned.certificate(solved(pruned))["relative_residual"] < 1e-12
        assert any("pruned" in text for part in pruned.parts for text in part.record)
        assert not np.allclose(step_of(pruned, solved(pruned), len(g)), step, rtol=1e-2)


def test_factors_that_pruning_made_indefinite_are_shifted_whatever_the_solver() -> None:
    """|A| = A then, so that one certificate serves every solver."""
    torch.manual_seed(1)
    model = torch.nn.Linear(30, 10).double()
    x, y = torch.randn(12, 30, dtype=torch.float64) @ torch.randn(30, 30, dtype=torch.float64), torch.randint(10, (12,))
    optimizer = optimizer_on(model, "saddle_free", density=0.1, compensate=None, damping=0.01)
    report = optimizer.step(x, y)
    assert any("indefinite" in text for s in report.systems for text in s["conditioning"])
    assert all(s["status"] == "solved" for s in report.systems)
    assert report.systems[0]["block"]["relative_residual"] <= 1e-2


def test_the_rule_of_the_paper_takes_the_largest_entry_of_the_product() -> None:
    layers, _, blocks = kfac_of(damping=7.0, damping_rule="paper")
    for layer, block in zip(layers, blocks, strict=True):
        product = np.kron(layer.outputs.numpy(), layer.inputs.numpy())
        assert block.damping == pytest.approx(5e-3 * np.abs(product).max(), rel=1e-12)


def test_one_circuit_for_the_product_gives_the_same_step() -> None:
    """A layer as a KroneckerOperator, solved factor by factor on its whole space."""
    layers, g, blocks = kfac_of()
    for layer, block in zip(layers, blocks, strict=True):
        W = layer.gradient(torch.as_tensor(g)).numpy()
        A, G = (factor.numpy() for factor in layer.damped(0.1 + DECAY))
        whole = qn.solve(
            qn.KroneckerOperator([G, A], "cpu"), W.reshape(-1), solver="qsvt", encoding="kronecker", tolerance=1e-10
        )
        assert whole.solved and whole.resources["encoding"] == "kronecker"
        step = layer.gradient(torch.as_tensor(step_of(block, solved(block), len(g)))).numpy()
        assert np.allclose(whole.x.reshape(W.shape), -step, rtol=1e-8, atol=1e-10)


def test_the_gradient_is_a_state_of_two_sites_and_each_inverse_acts_on_one() -> None:
    """Its bond is the number of right-hand sides, and the inverses leave it as it is."""
    layers, g, blocks = kfac_of()
    for layer, block in zip(layers, blocks, strict=True):
        A, G = (factor.numpy() for factor in layer.damped(0.1 + DECAY))
        W = layer.gradient(torch.as_tensor(g)).numpy()
        state = MatrixProductState.from_vector(W.reshape(-1), (len(A), len(G)), cutoff=1e-12)
        inverse = MatrixProductOperator([np.linalg.inv(factor)[None, :, :, None] for factor in (A, G)])
        found, dropped = inverse.apply(state)
        assert state.bond_dimension == found.bond_dimension == len(block.singular_values) and dropped < 1e-12
        step = layer.gradient(torch.as_tensor(step_of(block, solved(block), len(g)))).numpy()
        assert np.allclose(found.vector().reshape(W.shape), -step, rtol=1e-9, atol=1e-12)


def optimizer_on(model: torch.nn.Module, solver: str = "qsvt", **options: Any) -> qn.QNewton:
    keys = {name: options.pop(name) for name in ("encoding", "mode", "backend") if name in options}
    return qn.QNewton(
        model,
        CRITERION,
        curvature="kfac",
        scheduler=qn.Scheduler(solver=solver, **{"backend": "cpu", **keys}),
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "fused"},
        {"mode": "circuit", "encoding": "matching"},
        {"mode": "circuit", "encoding": "dilation"},
        {"backend": "tensornet"},
        pytest.param({"backend": "tensornet:64"}, marks=pytest.mark.slow),
        {"encoding": "walk", "solver": "kernel_reflection"},
        {"encoding": "walk", "scaling": "jacobi"},
        {"solver": "saddle_free"},
        {"solver": "cg"},
    ],
    ids=str,
)
def test_every_way_to_solve_the_factors_takes_the_step_of_cholesky(options: dict[str, Any]) -> None:
    steps = []
    for chosen in ({"solver": "cholesky"}, options):
        model, x, y = batch()
        report = optimizer_on(model, tolerance=1e-8, **chosen).step(x, y)
        assert report.accepted and [s["name"] for s in report.systems] == [
            "0.outputs", "0.inputs", "2.outputs", "2.inputs"
        ]  # fmt: skip
        for s in report.systems:
            assert s["status"] == "solved" and s["tolerance"] < 5e-9 and s["kappa_certified"]
            assert s["block"]["relative_residual"] <= s["block"]["tolerance"] == 1e-8
            assert s["columns"] == s["block"]["rank"] <= min(s["size"], 40)
        steps.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(steps[1], steps[0], rtol=1e-6, atol=1e-7)


def test_each_factor_is_planned_on_its_own() -> None:
    """At a gate time where only some circuits pay."""
    chosen = set()
    for gate_time in np.logspace(-14, -10, 9):
        model, x, y = batch()
        scheduler = qn.Scheduler(qn.CostModel(qn.Hardware(gate_time=gate_time)), backend="cpu")
        report = qn.QNewton(model, CRITERION, curvature="kfac", scheduler=scheduler).step(x, y)
        chosen.add(frozenset(s["solver"] for s in report.systems))
    assert frozenset({"lu", "qsvt"}) in chosen


def test_kernel_reflection_knows_the_norm_of_every_column_from_the_step_before() -> None:
    model, x, y = batch()
    optimizer = optimizer_on(model, "kernel_reflection", encoding="walk")
    seen: list[Any] = []
    original = optimizer.scheduler.solve_many

    def watched(systems: Any, plans: Any = None) -> Any:
        seen.append([(system.expected_norm, system.rhs.shape[1]) for system in systems])
        return original(systems, plans)

    optimizer.scheduler.solve_many = watched  # type: ignore[method-assign]
    first, second = (optimizer.step(x, y) for _ in range(2))
    assert all(norm is None for norm, _ in seen[0])
    assert all(len(norm) == columns for norm, columns in seen[1])
    for cold, warm in zip(first.systems, second.systems, strict=True):
        assert warm["status"] == "solved" and warm["queries"] < cold["queries"]


def test_an_image_network_trains_with_either_sharing_and_a_norm_layer_is_refused() -> None:
    losses = {}
    for sharing in ("expand", "reduce"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 3, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(48, 3)
        ).double()
        x = torch.randn(30, 1, 6, 6, dtype=torch.float64)
        y = (x.mean(dim=(1, 2, 3)) > 0).long()
        optimizer = optimizer_on(model, sharing=sharing)
        reports = [optimizer.step(x, y) for _ in range(5)]
        assert reports[-1].new_loss < 0.7 * reports[0].loss
        losses[sharing] = reports[-1].new_loss
    assert losses["expand"] != losses["reduce"]
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.LayerNorm(4)).double()
    with pytest.raises(UnsupportedModelError, match=r"1\.weight"):
        optimizer_on(model).step(*batch()[1:])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"partition": "network"}, CombinationError, "none for the network"),
        ({"encoding": "kronecker"}, CombinationError, "systems of their own"),
        ({"encoding": "gram"}, CombinationError, "encoding='walk'"),
        ({"sharing": "reduced"}, UnknownNameError, "expand, reduce"),
    ],
)
def test_what_kfac_cannot_do_is_refused_before_training(options: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        optimizer_on(batch()[0], **options)


def test_sharing_is_for_kfac_alone() -> None:
    with pytest.raises(CombinationError, match="does nothing for ggn"):
        qn.QNewton(batch()[0], CRITERION, sharing="reduce")


def test_the_partition_is_the_natural_one_and_configurations_of_former_versions_keep_theirs() -> None:
    assert SystemOptions("kfac").partition == TrainConfig(curvature="kfac").partition == "layer"
    assert SystemOptions().partition == TrainConfig().partition == "network"
    former = {**TrainConfig().to_dict(), "partition": "layer"}
    assert TrainConfig.from_dict(former).partition == "layer"


def test_a_training_in_two_parts_equals_one_that_was_not_interrupted() -> None:
    """Bit by bit, with all that a plan and kernel reflection know from the step before."""
    for solver in ("qsvt", "kernel_reflection"):
        model, x, y = batch()
        optimizer = optimizer_on(model, solver, encoding="walk")
        for _ in range(2):
            optimizer.step(x, y)
        other = batch(seed=5)[0]
        other.load_state_dict(model.state_dict())
        resumed = optimizer_on(other, solver, encoding="walk")
        resumed.load_state_dict(json.loads(json.dumps(optimizer.state_dict())))  # lists and numbers only
        for _ in range(2):
            one, two = optimizer.step(x, y), resumed.step(x, y)
            assert (one.new_loss, one.damping) == (two.new_loss, two.damping)
            assert [s["predicted"] for s in one.systems] == [s["predicted"] for s in two.systems]
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_the_command_trains_with_kfac_says_what_it_did_and_resumes_bit_by_bit(tmp_path, capsys) -> None:
    run = ["train", "--curvature", "kfac", "--hidden", "6", "--solver", "qsvt", "--threads", "1"]
    folder = tmp_path / "run"
    assert main([*run, "--partition", "network", "--out", str(folder)]) == USAGE_ERROR
    assert "none for the network" in capsys.readouterr().err and not folder.exists()
    assert main([*run, "--steps", "1", "--out", str(folder)]) == 0
    assert main(["train", "--resume", str(folder), "--steps", "3"]) == 0
    printed = capsys.readouterr().out
    assert "qsvt x4" in printed and "systems per solver            qsvt 12" in printed
    assert "factor by factor" in printed and "(tolerance 1e-02); gradients of rank" in printed
    config = json.loads((folder / "config.json").read_text())
    assert (config["curvature"], config["partition"]) == ("kfac", "layer")
    whole = Training(TrainConfig(curvature="kfac", hidden=(6,), solver="qsvt", steps=3), Discarded())
    for one, two in zip(whole.run(), map(json.loads, (folder / "steps.jsonl").read_text().splitlines()), strict=True):
        assert one["loss"] == two["loss"]
        assert [s["queries"] for s in one["systems"]] == [s["queries"] for s in two["systems"]]
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["network"]
    assert all(torch.equal(value, state[name]) for name, value in whole.network.state_dict().items())
    assert (folder / "report.html").exists()
