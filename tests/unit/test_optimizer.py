"""QNewton as a torch optimizer: the step it takes, the damping it chooses, and what it refuses."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import pytest
import torch

from qnewton_gpu import CostModel, Hardware, QNewton, Scheduler
from qnewton_gpu.curvature import Objective
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.errors import (
    CombinationError,
    NonFiniteLossError,
    ParameterError,
    UnknownNameError,
    UnsupportedModelError,
)

CRITERION = torch.nn.CrossEntropyLoss()


def make_problem(
    seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).to(dtype)
    inputs = torch.randn(60, 6, dtype=dtype)
    return model, inputs, (inputs[:, :3] + 0.3 * torch.randn(60, 3)).argmax(dim=1)


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).clone()


@pytest.mark.parametrize("solver", ["qsvt", "cholesky", "lu", "cg"])
def test_the_step_is_the_damped_newton_step_to_its_tolerance(solver: str) -> None:
    model, x, y = make_problem()
    before = parameters(model)
    objective = Objective(model, CRITERION, x, y, 1e-4)
    _, g = objective.value_and_gradient(before)
    H = GaussNewton(objective, before).dense() + (0.3 + 1e-4) * torch.eye(len(before), dtype=torch.float64)
    report = QNewton(model, CRITERION, damping=0.3, tolerance=1e-6, scheduler=Scheduler(solver=solver)).step(x, y)
    step = before - parameters(model)
    assert report.accepted and report.systems[0]["solver"] == solver
    assert float((H @ step - g).norm() / g.norm()) <= 1.0001e-6


@pytest.mark.parametrize("curvature", ["ggn", "hessian", "fisher"])
@pytest.mark.parametrize("partition", ["network", "layer"])
def test_training_lowers_the_loss(curvature: str, partition: str) -> None:
    model, x, y = make_problem()
    optimizer = QNewton(model, CRITERION, curvature=curvature, partition=partition)
    reports = [optimizer.step(x, y) for _ in range(6)]
    assert reports[-1].new_loss < 0.7 * reports[0].loss
    assert [s["name"] for s in reports[0].systems] == (["network"] if partition == "network" else ["0", "2"])
    for before, after in pairwise(reports):
        assert after.loss == pytest.approx(before.new_loss)
    assert all(s["relative_residual"] <= s["tolerance"] for r in reports for s in r.systems)


def test_layer_steps_are_scaled_by_the_curvature_of_the_whole_network() -> None:
    model, x, y = make_problem()
    before = parameters(model)
    objective = Objective(model, CRITERION, x, y, 1e-4)
    _, g = objective.value_and_gradient(before)
    C, n = GaussNewton(objective, before).dense(), len(before)
    d = torch.zeros(n, dtype=torch.float64)
    for block in objective.parameters.layers().values():
        size = block.stop - block.start
        d[block] = -torch.linalg.solve(C[block, block] + 0.3001 * torch.eye(size, dtype=torch.float64), g[block])
    s = -float(g @ d) / float(d @ C @ d + 0.3001 * d @ d)
    QNewton(model, CRITERION, partition="layer", damping=0.3, scheduler=Scheduler(solver="cholesky")).step(x, y)
    torch.testing.assert_close(parameters(model) - before, s * d, atol=1e-10, rtol=1e-8)


def test_damping_follows_the_reduction_ratio() -> None:
    model, _, _ = make_problem()
    optimizer = QNewton(model, CRITERION, damping_floor=0.05)
    assert [optimizer._next_damping(0.2, ratio) for ratio in (-1, 0, 0.2, 0.25, 0.5, 0.75, 0.8, 5)] == pytest.approx(
        [0.8, 0.8, 0.4, 0.2, 0.2, 0.2, 0.1, 0.1]
    )
    assert optimizer._next_damping(0.06, 1.0) == 0.05


def test_predicted_reduction_leaves_the_damping_out() -> None:
    """On a quadratic loss the prediction without damping is exact, so the ratio is 1."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2).double()
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64)
    report = QNewton(model, torch.nn.MSELoss(), damping=0.5).step(x, y)
    assert report.reduction_ratio == pytest.approx(1.0, abs=1e-9) and report.next_damping == 0.25


def test_a_step_that_raises_the_loss_is_not_applied() -> None:
    model, x, y = make_problem()
    before = parameters(model)
    report = QNewton(model, CRITERION, lr=1e4, damping=1e-3).step(x, y)
    assert not report.accepted and report.next_damping == pytest.approx(4e-3)
    assert torch.equal(parameters(model), before) and report.new_loss == report.loss


def test_an_uncertified_solution_is_not_applied() -> None:
    model, x, y = make_problem()
    before = parameters(model)
    report = QNewton(model, CRITERION, damping=1e-6, scheduler=Scheduler(solver="qsvt", max_queries=10)).step(x, y)
    assert not report.accepted and report.systems[0]["status"] == "too many queries"
    assert report.next_damping == pytest.approx(4e-6) and torch.equal(parameters(model), before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_nan_loss_is_refused_with_the_parameters_unchanged(bad: float) -> None:
    model, x, y = make_problem()
    optimizer = QNewton(model, CRITERION)
    optimizer.step(x, y)
    before, state = parameters(model), optimizer.state_dict()
    x[3, 1] = bad
    with pytest.raises(NonFiniteLossError, match=r"loss.*unchanged"):
        optimizer.step(x, y)
    assert torch.equal(parameters(model), before) and optimizer.state_dict() == state


def test_state_dict_resumes_exactly() -> None:
    model, x, y = make_problem()
    optimizer = QNewton(model, CRITERION, scheduler=Scheduler(solver="qsvt"))
    for _ in range(3):
        optimizer.step(x, y)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    other, _, _ = make_problem(seed=5)
    resumed = QNewton(other, CRITERION, damping=7.0, scheduler=Scheduler(solver="qsvt"))
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    for _ in range(3):
        one, two = optimizer.step(x, y), resumed.step(x, y)
        assert (one.loss, one.new_loss, one.damping, one.step) == (two.loss, two.new_loss, two.damping, two.step)
        assert one.systems[0]["predicted"] == two.systems[0]["predicted"]
    assert torch.equal(parameters(model), parameters(other))


def test_torch_schedulers_change_the_length_of_the_step() -> None:
    model, x, y = make_problem()
    optimizer = QNewton(model, CRITERION)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    optimizer.step(x, y)
    schedule.step()
    assert isinstance(optimizer, torch.optim.Optimizer) and optimizer.param_groups[0]["lr"] == 0.5
    before = parameters(model)
    twin, _, _ = make_problem()
    torch.nn.utils.vector_to_parameters(before.clone(), twin.parameters())
    full = QNewton(
        twin, CRITERION, damping=optimizer.param_groups[0]["damping"], scheduler=Scheduler(solver="cholesky")
    )
    optimizer.scheduler = full.scheduler
    optimizer.step(x, y)
    full.step(x, y)
    torch.testing.assert_close(2 * (parameters(model) - before), parameters(twin) - before)


def test_float32_models_train_in_their_own_dtype() -> None:
    model, x, y = make_problem(dtype=torch.float32)
    optimizer = QNewton(model, CRITERION, scheduler=Scheduler(solver="qsvt"))
    reports = [optimizer.step(x, y) for _ in range(5)]
    assert parameters(model).dtype == torch.float32 and reports[-1].new_loss < 0.7 * reports[0].loss


def test_the_success_probability_of_the_last_step_plans_the_next() -> None:
    model, x, y = make_problem()
    optimizer = QNewton(model, CRITERION, scheduler=Scheduler(solver="qsvt"))
    first, second = optimizer.step(x, y).systems[0], optimizer.step(x, y).systems[0]
    planned = second["predicted"]["qsvt"]["factors"]["success_probability"]
    assert first["predicted"]["qsvt"]["factors"]["success_probability"] <= 0.03
    assert planned <= first["success_probability"] < planned * 2 ** (1 / 8) * (1 + 1e-12)


def test_the_gate_time_decides_between_the_solvers() -> None:
    chosen = {}
    for gate_time in (1e-15, 1.0):
        model, x, y = make_problem()
        scheduler = Scheduler(CostModel(Hardware(gate_time=gate_time)))
        chosen[gate_time] = QNewton(model, CRITERION, scheduler=scheduler).step(x, y).systems[0]["solver"]
    assert chosen == {1e-15: "qsvt", 1.0: "lu"}


def test_pruned_systems_are_sparse_and_say_what_was_done() -> None:
    model, x, y = make_problem()
    system = QNewton(model, CRITERION, density=0.2, scheduler=Scheduler(solver="qsvt")).step(x, y).systems[0]
    assert system["encoding"] == "walk" and system["row_sparsity"] <= round(0.2 * 53)
    assert any("pruned" in text for text in system["conditioning"])


def test_an_indefinite_hessian_is_shifted_and_the_log_says_so() -> None:
    model, x, y = make_problem()
    system = QNewton(model, CRITERION, curvature="hessian", scheduler=Scheduler(solver="qsvt")).step(x, y).systems[0]
    assert system["status"] == "solved" and any("indefinite" in text for text in system["conditioning"])


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"curvature": "newton"}, UnknownNameError, "ggn, hessian, fisher"),
        ({"partition": "block"}, UnknownNameError, "network, layer"),
        ({"damping": 0.0}, ParameterError, "damping"),
        ({"damping": math.nan}, ParameterError, "damping"),
        ({"weight_decay": -1.0}, ParameterError, "weight_decay"),
        ({"lr": 0.0}, ParameterError, "lr"),
        ({"tolerance": 0.0}, ParameterError, "tolerance"),
        ({"density": 1.5}, ParameterError, "density"),
        ({"scaling": "diagonal"}, UnknownNameError, "none, jacobi, auto"),
        ({"compensate": "all"}, UnknownNameError, "diagonal, shift"),
        ({"curvature": "fisher", "scheduler": Scheduler(encoding="gram")}, CombinationError, "gram"),
        ({"density": 0.5, "scheduler": Scheduler(encoding="gram")}, CombinationError, "gram"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_before_training(options: dict, error: type, word: str) -> None:
    model, _, _ = make_problem()
    with pytest.raises(error, match=word):
        QNewton(model, CRITERION, **options)


def test_a_second_parameter_group_is_refused() -> None:
    model, _, _ = make_problem()
    with pytest.raises(CombinationError, match="one parameter group"):
        QNewton(model, CRITERION).add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})


def test_an_unsupported_loss_is_refused_before_training() -> None:
    model, _, _ = make_problem()
    with pytest.raises(UnsupportedModelError, match="CrossEntropyLoss"):
        QNewton(model, torch.nn.L1Loss())
