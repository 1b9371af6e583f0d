"""The Gauss-Newton factor against torch's own Hessian of the loss in the outputs, and its exact Frobenius norm."""

from __future__ import annotations

import pytest
import torch
from torch.func import hessian, jacrev

from qnewton_gpu.curvature import CURVATURES, Objective, make_curvature
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.errors import UnknownNameError, UnsupportedModelError

Linear, Sequential, Tanh = torch.nn.Linear, torch.nn.Sequential, torch.nn.Tanh


class Tied(torch.nn.Module):
    """Uses one weight twice: no row of G is a single outer product."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(4, 4)
        self.last = Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class UsesWeightElsewhere(torch.nn.Module):
    """A layer called once, whose weight also enters outside the call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + torch.nn.functional.linear(x**2, self.layer.weight)


class Frozen(torch.nn.Module):
    """Only a bias and the last layer are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = Linear(4, 5), Linear(5, 3, bias=False)
        self.first.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


NETWORKS = {
    "linear": lambda: Linear(4, 3),
    "mlp": lambda: Sequential(Linear(4, 5), Tanh(), Linear(5, 3)),
    "relu, three layers, no bias": lambda: Sequential(
        Linear(4, 5, bias=False), torch.nn.ReLU(), Linear(5, 4), Tanh(), Linear(4, 3)
    ),
    "convolution": lambda: Sequential(
        torch.nn.Unflatten(1, (1, 2, 2)), torch.nn.Conv2d(1, 2, 2), torch.nn.Flatten(), Tanh(), Linear(2, 3)
    ),
    "layer norm": lambda: Sequential(Linear(4, 5), torch.nn.LayerNorm(5), Linear(5, 3)),
    "tied": Tied,
    "weight used elsewhere": UsesWeightElsewhere,
    "partly frozen": Frozen,
}
LOSSES = {"cross-entropy": torch.nn.CrossEntropyLoss(), "mean squared error": torch.nn.MSELoss()}


def make_objective(network: str, loss: str, decay: float = 0.0) -> Objective:
    torch.manual_seed(0)
    model = NETWORKS[network]().double()
    inputs = torch.randn(9, 4, dtype=torch.float64)
    targets = torch.randint(3, (9,)) if loss == "cross-entropy" else torch.randn(9, 3, dtype=torch.float64)
    return Objective(model, LOSSES[loss], inputs, targets, decay)


def reference_ggn(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    """J^t (d^2 loss/d outputs^2) J, by automatic differentiation of the torch loss itself."""
    J = jacrev(objective.outputs)(theta).reshape(-1, theta.numel())
    outputs = objective.outputs(theta)
    criterion = LOSSES["cross-entropy" if objective.targets.dim() == 1 else "mean squared error"]
    H = hessian(lambda z: criterion(z, objective.targets))(outputs).reshape(outputs.numel(), -1)
    return J.T @ H @ J


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("network", NETWORKS)
def test_products_and_matrix_equal_the_reference(network: str, loss: str) -> None:
    objective = make_objective(network, loss)
    theta = objective.parameters.vector()
    C, expected = GaussNewton(objective, theta), reference_ggn(objective, theta)
    V = torch.randn(theta.numel(), 3, dtype=torch.float64)
    torch.testing.assert_close(C.dense(), expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(C.product(V), expected @ V, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(C.pull(C.push(V)), expected @ V, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_rows_are_the_matrix_of_both_products(network: str, loss: str) -> None:
    objective = make_objective(network, loss)
    theta = objective.parameters.vector()
    for block in (None, *objective.parameters.layers().values()):
        C = GaussNewton(objective, theta, block)
        rows = C.rows()
        assert rows.shape == C.shape
        V, U = torch.randn(C.shape[1], 3, dtype=torch.float64), torch.randn(C.shape[0], 2, dtype=torch.float64)
        torch.testing.assert_close(rows @ V, C.push(V), atol=1e-13, rtol=1e-11)
        torch.testing.assert_close(rows.T @ U, C.pull(U), atol=1e-13, rtol=1e-11)


@pytest.mark.parametrize("network", NETWORKS)
def test_frobenius_norm_of_the_factor_is_the_exact_trace(network: str, loss: str) -> None:
    objective = make_objective(network, loss)
    theta = objective.parameters.vector()
    trace = float(reference_ggn(objective, theta).trace())
    assert GaussNewton(objective, theta).frobenius_squared == pytest.approx(trace, rel=1e-11)


@pytest.mark.parametrize("network", ["mlp", "relu, three layers, no bias", "partly frozen"])
def test_plain_linear_networks_take_the_closed_form_and_others_do_not(network: str) -> None:
    closed = make_objective(network, "cross-entropy")
    assert GaussNewton(closed, closed.parameters.vector())._closed_form is not None
    for other in ("convolution", "layer norm", "tied", "weight used elsewhere"):
        objective = make_objective(other, "cross-entropy")
        assert GaussNewton(objective, objective.parameters.vector())._closed_form is None, other


@pytest.mark.parametrize("network", ["mlp", "convolution", "relu, three layers, no bias"])
def test_a_block_is_the_block_of_the_whole(network: str, loss: str) -> None:
    objective = make_objective(network, loss)
    theta = objective.parameters.vector()
    whole = GaussNewton(objective, theta).dense()
    assert [part.stop for part in objective.parameters.layers().values()][-1] == theta.numel()
    for block in objective.parameters.layers().values():
        C = GaussNewton(objective, theta, block)
        torch.testing.assert_close(C.dense(), whole[block, block], atol=1e-13, rtol=1e-11)
        assert C.frobenius_squared == pytest.approx(float(whole[block, block].trace()), rel=1e-11)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_residual_maps_to_the_gradient(network: str, loss: str) -> None:
    objective = make_objective(network, loss)
    theta = objective.parameters.vector()
    C = GaussNewton(objective, theta)
    value, gradient = objective.value_and_gradient(theta)
    torch.testing.assert_close(C.pull(C.residual()[:, None])[:, 0], gradient, atol=1e-13, rtol=1e-11)
    assert value == pytest.approx(float(objective.value(theta)))


def test_a_confidently_wrong_example_keeps_its_residual() -> None:
    model = Linear(1, 2).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [600.0]]))
        model.bias.zero_()
    objective = Objective(model, LOSSES["cross-entropy"], torch.ones(1, 1), torch.tensor([0]))
    theta = objective.parameters.vector()
    C = GaussNewton(objective, theta)
    _, gradient = objective.value_and_gradient(theta)
    assert float(C.residual().norm()) == pytest.approx(torch.tensor(300.0, dtype=torch.float64).exp().item(), rel=1e-12)
    torch.testing.assert_close(C.pull(C.residual()[:, None])[:, 0], gradient, atol=1e-9, rtol=1e-9)


def test_weight_decay_enters_value_and_gradient_only() -> None:
    plain, decayed = make_objective("mlp", "cross-entropy"), make_objective("mlp", "cross-entropy", 0.5)
    theta = plain.parameters.vector()
    (v0, g0), (v1, g1) = plain.value_and_gradient(theta), decayed.value_and_gradient(theta)
    assert v1 - v0 == pytest.approx(0.25 * float(theta @ theta))
    torch.testing.assert_close(g1 - g0, 0.5 * theta)
    torch.testing.assert_close(GaussNewton(plain, theta).dense(), GaussNewton(decayed, theta).dense())


@pytest.mark.parametrize("name", CURVATURES)
def test_every_curvature_is_symmetric_and_its_product_is_its_matrix(name: str) -> None:
    objective = make_objective("mlp", "cross-entropy")
    theta = objective.parameters.vector()
    C = make_curvature(name, objective, theta)
    V = torch.randn(theta.numel(), 2, dtype=torch.float64)
    torch.testing.assert_close(C.dense(), C.dense().T)
    torch.testing.assert_close(C.product(V), C.dense() @ V, atol=1e-12, rtol=1e-10)
    smallest = float(torch.linalg.eigvalsh(C.dense())[0])
    assert (smallest > -1e-12) == C.semidefinite


def test_hessian_equals_torchs_hessian_and_relu_blocks_equal_gauss_newton() -> None:
    objective = make_objective("relu, three layers, no bias", "cross-entropy")
    theta = objective.parameters.vector()
    H = make_curvature("hessian", objective, theta).dense()
    torch.testing.assert_close(H, hessian(objective.value)(theta), atol=1e-12, rtol=1e-10)
    last = list(objective.parameters.layers().values())[-1]
    torch.testing.assert_close(H[last, last], GaussNewton(objective, theta, last).dense(), atol=1e-12, rtol=1e-10)


def test_empirical_fisher_is_the_mean_outer_product_of_example_gradients() -> None:
    objective = make_objective("mlp", "cross-entropy")
    theta = objective.parameters.vector()
    expected = torch.zeros(theta.numel(), theta.numel(), dtype=torch.float64)
    for i in range(9):
        one = Objective(
            objective.model, LOSSES["cross-entropy"], objective.inputs[i : i + 1], objective.targets[i : i + 1]
        )
        _, g = one.value_and_gradient(theta)
        expected += torch.outer(g, g) / 9
    torch.testing.assert_close(make_curvature("fisher", objective, theta).dense(), expected)


def test_float32_models_are_differentiated_in_double_precision() -> None:
    torch.manual_seed(0)
    model = Sequential(Linear(4, 5), Tanh(), Linear(5, 3))
    objective = Objective(model, LOSSES["cross-entropy"], torch.randn(9, 4), torch.randint(3, (9,)))
    theta = objective.parameters.vector()
    assert theta.dtype == objective.value(theta).dtype == torch.float64
    assert GaussNewton(objective, theta).dense().dtype == torch.float64


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (Sequential(Linear(4, 3), torch.nn.BatchNorm1d(3)), "BatchNorm1d"),
        (Sequential(Linear(4, 3), torch.nn.Dropout(0.5)), "Dropout"),
        (torch.nn.ReLU(), "no trainable parameters"),
    ],
    ids=["batch norm", "dropout", "no parameters"],
)
def test_models_without_a_fixed_loss_for_each_example_are_refused(model: torch.nn.Module, word: str) -> None:
    with pytest.raises(UnsupportedModelError, match=word):
        Objective(model, LOSSES["cross-entropy"], torch.randn(9, 4), torch.randint(3, (9,)))


@pytest.mark.parametrize(
    "loss",
    [
        torch.nn.CrossEntropyLoss(label_smoothing=0.1),
        torch.nn.CrossEntropyLoss(reduction="sum"),
        torch.nn.L1Loss(),
        "hinge",
    ],
    ids=str,
)
def test_losses_without_a_known_root_are_refused(loss: object) -> None:
    with pytest.raises(UnsupportedModelError, match="loss"):
        Objective(Linear(4, 3), loss, torch.randn(9, 4), torch.randint(3, (9,)))


def test_an_unknown_curvature_lists_the_valid_ones() -> None:
    objective = make_objective("linear", "cross-entropy")
    with pytest.raises(UnknownNameError, match="ggn, hessian, fisher"):
        make_curvature("newton", objective, objective.parameters.vector())


def test_parameters_survive_a_round_trip_in_their_own_dtype() -> None:
    model = Sequential(Linear(2, 2), Linear(2, 1).double())
    objective = Objective(model, LOSSES["mean squared error"], torch.randn(3, 2), torch.randn(3, 1))
    theta = objective.parameters.vector()
    objective.parameters.assign(theta + 0.25)
    assert model[0].weight.dtype == torch.float32 and model[1].weight.dtype == torch.float64
    torch.testing.assert_close(objective.parameters.vector(), theta + 0.25, atol=1e-6, rtol=1e-6)
    assert {name: tuple(part.shape) for name, part in objective.parameters.unflatten(theta).items()} == {
        name: tuple(p.shape) for name, p in model.named_parameters()
    }
