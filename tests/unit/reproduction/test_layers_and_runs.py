"""The systems of the reproduction: layers' curvatures, and the trainings that use them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from unit.reproduction.problems import tiny

from qnewton_gpu.curvature import make_curvature
from qnewton_gpu.curvature.base import Objective
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.data import load_data
from qnewton_gpu.errors import ParameterError, UnknownNameError, UnsupportedModelError
from qnewton_gpu.reproduction.layers import conjugate_gradients, layer_curvatures, row_mass
from qnewton_gpu.reproduction.runs import (
    LEARNING_RATE,
    OPTIMIZERS,
    Problem,
    first_order,
    load_problem,
    newton,
    train,
)

Layers = tuple[Objective, torch.Tensor, dict[str, list]]


@pytest.fixture(scope="module")
def digits() -> Layers:
    """200 digits on a 64-5-4-10 network, with its layers' curvatures."""
    data = load_data("digits")
    model = Problem(data, (5, 4)).model()
    objective = Objective(model, torch.nn.CrossEntropyLoss(), data.train_inputs[:200], data.train_targets[:200])
    theta = objective.parameters.vector()
    return objective, theta, {kind: layer_curvatures(objective, theta, kind) for kind in ("hessian", "fisher")}


def test_a_layers_hessian_is_its_gauss_newton_block_and_the_whole_hessian_is_not(digits: Layers) -> None:
    objective, theta, layers = digits
    whole = make_curvature("hessian", objective, theta).dense()
    for layer in layers["hessian"]:
        block = whole[layer.place, layer.place]
        gauss_newton = GaussNewton(objective, theta, layer.place)
        assert torch.allclose(layer.dense(), block, atol=1e-13 * float(block.abs().max()), rtol=1e-10)
        v = torch.randn(layer.size, 2, dtype=torch.float64)
        assert torch.allclose(layer.product(v), gauss_newton.product(v), rtol=1e-9, atol=1e-12)
    assert float(torch.linalg.eigvalsh(whole)[0]) < -1e-6  # across layers it is indefinite


def test_a_layers_fisher_is_its_block_of_the_empirical_fisher(digits: Layers) -> None:
    objective, theta, layers = digits
    whole = make_curvature("fisher", objective, theta).dense()
    for layer in layers["fisher"]:
        assert torch.allclose(layer.dense(), whole[layer.place, layer.place], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", ["hessian", "fisher"])
def test_what_is_known_of_a_layer_without_its_matrix(digits: Layers, kind: str) -> None:
    for layer in digits[2][kind]:
        H = layer.dense()
        assert torch.allclose(layer.product(torch.eye(layer.size, dtype=torch.float64)), H, atol=1e-14)
        assert torch.allclose(layer.diagonal, H.diagonal(), rtol=1e-12, atol=0)
        assert layer.largest_entry == pytest.approx(float(H.abs().max()), rel=1e-12)
        assert layer.largest_eigenvalue == pytest.approx(float(torch.linalg.eigvalsh(H)[-1]), rel=1e-5)
        chosen = torch.tensor([0, layer.size - 1])
        assert torch.allclose(layer.rows(chosen), H[chosen], atol=1e-14)


def test_a_layers_hessian_is_singular_so_that_kappa_is_one_plus_lambda_over_delta(digits: Layers) -> None:
    for layer in digits[2]["hessian"]:
        damping = 5e-3 * layer.largest_entry
        true = np.linalg.cond(layer.dense().numpy() + damping * np.eye(layer.size))
        assert true == pytest.approx(1 + layer.largest_eigenvalue / damping, rel=1e-5)


@pytest.mark.parametrize("kind", ["hessian", "fisher"])
def test_the_step_is_that_of_the_matrix(digits: Layers, kind: str) -> None:
    objective, theta, layers = digits
    gradient = objective.value_and_gradient(theta)[1]
    for layer in layers[kind]:
        g, damping = gradient[layer.place], 5e-3 * layer.largest_entry
        x, residual = layer.solve(g, damping)
        H = layer.dense() + damping * torch.eye(layer.size, dtype=torch.float64)
        assert residual <= 2e-8
        assert residual == pytest.approx(float((H @ x - g).norm() / g.norm()), rel=1e-3)
        assert torch.allclose(x, torch.linalg.solve(H, g), rtol=1e-4, atol=1e-5 * float(x.abs().max()))


def test_conjugate_gradients_say_how_far_they_came() -> None:
    H = torch.diag(torch.logspace(0, 6, 50, dtype=torch.float64))
    b = torch.ones(50, dtype=torch.float64)
    few = conjugate_gradients(lambda v: H @ v, b, lambda r: r, 1e-12, most=5)
    assert few[1] > 1e-3
    assert few[1] == pytest.approx(float((H @ few[0] - b).norm() / b.norm()))
    assert conjugate_gradients(lambda v: H @ v, 0 * b, lambda r: r, 1e-12)[1] == 0


def test_row_mass_by_hand() -> None:
    rows = torch.tensor([[4.0, -4.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    # of the first row one entry has 40 %, two 80 %, three 90 %; of the last every entry has a quarter
    assert row_mass(rows) == {0.5: (2 + 2) / 8, 0.75: (2 + 3) / 8, 0.9: (3 + 4) / 8, 0.95: (4 + 4) / 8}
    assert row_mass(rows[1:2]) == {}


def test_layers_of_other_kinds_are_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    x, y = torch.rand(5, 3), torch.zeros(5, dtype=torch.int64)
    objective = Objective(model, torch.nn.CrossEntropyLoss(), x, y)
    with pytest.raises(UnsupportedModelError, match="Linear"):
        layer_curvatures(objective, objective.parameters.vector(), "hessian")
    with pytest.raises(UnknownNameError, match="hessian, fisher"):
        layer_curvatures(objective, objective.parameters.vector(), "ggn")


def test_a_newton_step_moves_each_layer_by_its_own_system() -> None:
    problem = tiny()
    model = problem.model()
    objective = Objective(model, torch.nn.CrossEntropyLoss(), *next(problem.batches()))
    theta = objective.parameters.vector()
    loss, gradient = objective.value_and_gradient(theta)
    expected = theta.clone()
    for layer in layer_curvatures(objective, theta, "hessian"):
        H = layer.dense() + 5e-3 * layer.largest_entry * torch.eye(layer.size, dtype=torch.float64)
        expected[layer.place] -= LEARNING_RATE * torch.linalg.solve(H, gradient[layer.place]).clamp(-100, 100)
    run = newton(problem, 2)
    assert run.steps[0]["loss"] == pytest.approx(loss, rel=1e-14)
    assert run.steps[1]["loss"] == pytest.approx(float(objective.value(expected)), rel=1e-6)


@pytest.mark.parametrize("method", ["newton-hessian", "newton-fisher", "newton-inexact", *OPTIMIZERS])
def test_every_method_lowers_the_loss_and_a_seed_repeats_it(method: str) -> None:
    first, second, other = (train(method, tiny(seed), 15) for seed in (0, 0, 1))
    assert first.steps[-1]["loss"] < first.steps[0]["loss"]
    assert first == second
    assert [row["loss"] for row in first.steps] != [row["loss"] for row in other.steps]
    assert len(first.systems) == (2 * 15 if method.startswith("newton") else 0)


def test_errors_of_solutions_change_a_newton_run_a_little() -> None:
    exact, inexact = (newton(tiny(), 10, solution_error=error).steps[-1]["loss"] for error in (0.0, 1e-2))
    assert exact != inexact
    assert exact == pytest.approx(inexact, rel=1e-2)


def test_a_long_run_tells_how_far_it_is() -> None:
    lines: list[str] = []
    run = train("newton-hessian", tiny(), 20, lines.append)
    assert len(lines) == 1
    assert "step 10" in lines[0] and f"{run.steps[9]['loss']:.4f}" in lines[0]


def test_a_run_ends_where_its_step_is_no_number() -> None:
    run = newton(tiny(), 5, step=lambda layer, g, row: g * (math.nan if row["step"] == 3 else 1))
    assert len(run.steps) == 2


def test_first_order_ends_at_the_last_target(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tiny()
    monkeypatch.setattr(Problem, "test_accuracy", lambda self, model: 0.99)
    assert len(first_order(problem, "adam", 50).steps) == 1


def test_batches_of_many_examples_go_through_them_once_an_epoch() -> None:
    problem = tiny(examples=2 * 4096 + 5)
    batches = problem.batches()
    seen = torch.cat([next(batches)[0] for _ in range(2)])
    assert len(seen) == 2 * 4096
    assert len(torch.unique(seen, dim=0)) == 2 * 4096


def test_bad_names_and_seeds_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="newton-hessian"):
        train("newtons", tiny(), 1)
    with pytest.raises(ParameterError, match="seed"):
        load_problem("digits", -1)
