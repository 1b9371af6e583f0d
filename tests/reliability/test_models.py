"""QNewton on models, losses, batches and states that it must either handle exactly or refuse with a typed error."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch

import qnewton_gpu as qn
from qnewton_gpu.curvature import Objective, make_curvature
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.errors import DataTypeError, ParameterError, QNewtonError, ShapeError, UnsupportedModelError

Linear, Sequential, Tanh = torch.nn.Linear, torch.nn.Sequential, torch.nn.Tanh
CRITERION = torch.nn.CrossEntropyLoss()


class LastStep(torch.nn.Module):
    """The last output of a recurrent layer on sequences of length 3."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = torch.nn.GRU(2, 3, batch_first=True), Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x.view(len(x), 3, 2))[0][:, -1])


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.TransformerEncoderLayer(2, 1, 4, dropout=0.0, batch_first=True)
        self.head = Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x.view(len(x), 3, 2)).flatten(1))


class Centred(torch.nn.Module):
    """Subtracts the mean of the batch: no example stands on its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(dim=0)


class TwoOutputs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(6, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(x), x


ODD_MODELS = {
    "recurrent": LastStep,
    "attention": Attention,
    "PReLU": lambda: Sequential(Linear(6, 4), torch.nn.PReLU(), Linear(4, 3)),
    "group norm": lambda: Sequential(Linear(6, 4), torch.nn.GroupNorm(2, 4), Linear(4, 3)),
    "embedding": lambda: Sequential(torch.nn.Embedding(5, 2), torch.nn.Flatten(), Linear(12, 3)),
}


def problem(model: torch.nn.Module, examples: int = 8) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    inputs = torch.randn(examples, 6, dtype=torch.float64)
    if any(isinstance(m, torch.nn.Embedding) for m in model.modules()):
        inputs = torch.randint(5, (examples, 6))
    return model.double(), inputs, torch.randint(3, (examples,))


@pytest.mark.parametrize("name", ODD_MODELS)
@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_layers_without_batching_rules_train_exactly(name: str, curvature: str) -> None:
    torch.manual_seed(0)
    model, x, y = problem(ODD_MODELS[name]())
    objective = Objective(model, CRITERION, x, y)
    theta = objective.parameters.vector()
    C = make_curvature(curvature, objective, theta)
    V = torch.randn(theta.numel(), 2, dtype=torch.float64)
    torch.testing.assert_close(C.dense() @ V, C.product(V), atol=1e-11, rtol=1e-9)
    if isinstance(C, GaussNewton):
        assert C.frobenius_squared == pytest.approx(float(C.dense().trace()), rel=1e-10)
    report = qn.QNewton(model, CRITERION, curvature=curvature, damping=1.0, scheduler=qn.Scheduler(solver="qsvt")).step(
        x, y
    )
    assert report.systems[0]["status"] == "solved" and 0 < report.systems[0]["success_probability"] <= 1


@pytest.mark.parametrize("name", ODD_MODELS)
def test_kronecker_factors_are_refused_by_the_parameter_that_has_none(name: str) -> None:
    model, x, y = problem(ODD_MODELS[name]())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UnsupportedModelError, match="curvature='ggn'") as caught:
        qn.QNewton(model, CRITERION, curvature="kfac").step(x, y)
    culprits = [name for name, _ in model.named_parameters() if repr(name) in str(caught.value)]
    assert culprits and not isinstance(model.get_submodule(culprits[0].rpartition(".")[0]), Linear)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "layers", [(Linear(6, 4), Centred(), Tanh(), Linear(4, 3)), (Linear(6, 3), Centred())], ids=str
)
@pytest.mark.parametrize("curvature", ["ggn", "kfac"])
def test_models_that_mix_the_batch_are_refused_before_alpha_is_wrong(
    layers: tuple[torch.nn.Module, ...], curvature: str
) -> None:
    model, x, y = problem(Sequential(*layers))
    with pytest.raises(UnsupportedModelError, match="mixes the examples"):
        qn.QNewton(model, CRITERION, curvature=curvature).step(x, y)


@pytest.mark.parametrize("layer", [torch.nn.RReLU(), torch.nn.functional.dropout], ids=["RReLU", "functional dropout"])
def test_random_models_are_refused(layer: Any) -> None:
    class Random(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return layer(self.first(x))

    model, x, y = problem(Random())
    with pytest.raises(UnsupportedModelError, match="each time"):
        qn.QNewton(model, CRITERION).step(x, y)


def test_mean_squared_error_has_a_hessian() -> None:
    torch.manual_seed(0)
    model = Linear(6, 4).double()
    x, y = torch.randn(12, 6, dtype=torch.float64), torch.randn(12, 4, dtype=torch.float64)
    report = qn.QNewton(model, torch.nn.MSELoss(), curvature="hessian").step(x, y)
    assert report.accepted and report.new_loss < report.loss


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (lambda x, y: (x[:0], y[:0]), ShapeError, "inputs"),
        (lambda x, y: (x, y[:-1]), ShapeError, "targets"),
        (lambda x, y: (x, y + 3), ParameterError, "classes 3 to"),
        (lambda x, y: (x, y - 100), ParameterError, "classes -100 to"),
        (lambda x, y: (x, y.int()), ShapeError, "int64"),
        (lambda x, y: (x, y.double()), ShapeError, "int64"),
        (lambda x, y: (x, torch.stack([y, y], dim=1)), ShapeError, "targets"),
        (lambda x, y: (x.numpy(), y), DataTypeError, "inputs"),
        (lambda x, y: (x, y.tolist()), DataTypeError, "targets"),
    ],
    ids=["empty", "lengths", "class too large", "class negative", "int32", "float", "matrix", "numpy", "list"],
)  # fmt: skip
def test_bad_batches_are_refused_with_the_parameters_unchanged(change: Any, error: type, word: str) -> None:
    model, x, y = problem(Sequential(Linear(6, 4), Tanh(), Linear(4, 3)))
    y[0], y[1] = 0, 2
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=word):
        qn.QNewton(model, CRITERION).step(*change(x, y))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_regression_targets_of_another_shape_are_refused() -> None:
    model = Linear(6, 4).double()
    with pytest.raises(ShapeError, match="targets"):
        qn.QNewton(model, torch.nn.MSELoss()).step(torch.randn(12, 6), torch.randn(4, 12))


@pytest.mark.parametrize("examples", [1, 2])
def test_tiny_batches_train(examples: int) -> None:
    model, x, y = problem(Sequential(Linear(6, 4), Tanh(), Linear(4, 3)), examples)
    report = qn.QNewton(model, CRITERION, scheduler=qn.Scheduler(solver="qsvt")).step(x, y)
    assert report.accepted and report.systems[0]["status"] == "solved"


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda m: qn.QNewton(m.parameters(), CRITERION), "not its parameters"),
        (lambda m: qn.QNewton(m, CRITERION, scheduler="qsvt"), "scheduler"),
        (lambda m: qn.QNewton(m, CRITERION, scheduler=qn.Scheduler), "scheduler"),
        (lambda m: qn.QNewton(m, CRITERION, lr="0.1"), "default is 1"),
        (lambda m: qn.QNewton(m, torch.nn.CrossEntropyLoss(ignore_index=0)), "options"),
        (lambda m: qn.QNewton(m, torch.nn.MSELoss(reduction="sum")), "options"),
        (lambda m: qn.Scheduler(qn.Hardware()), "CostModel"),
        (lambda m: qn.CostModel(1e-8), "Hardware"),
    ],
)
def test_common_mistakes_are_typed_errors(make: Any, word: str) -> None:
    with pytest.raises(QNewtonError, match=word):
        make(Linear(6, 3))


def test_models_with_two_outputs_are_refused() -> None:
    model, x, y = problem(TwoOutputs())
    with pytest.raises(UnsupportedModelError, match="tuple"):
        qn.QNewton(model, CRITERION).step(x, y)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_copies_of_the_optimizer_go_on_alike(how: Any) -> None:
    model, x, y = problem(Sequential(Linear(6, 4), Tanh(), Linear(4, 3)))
    optimizer = qn.QNewton(model, CRITERION)
    optimizer.step(x, y)
    other = how(optimizer)
    one, two = optimizer.step(x, y), other.step(x, y)
    assert (one.loss, one.new_loss, one.step) == (two.loss, two.new_loss, two.step)
    assert torch.equal(model[0].weight, other.model[0].weight) and other.model[0].weight is not model[0].weight


@pytest.mark.parametrize("foreign", ["empty", "sgd", "other shapes"])
def test_foreign_states_are_refused(foreign: str) -> None:
    model = Linear(6, 3)
    state = {
        "empty": lambda: {},
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.1).state_dict(),
        "other shapes": lambda: qn.QNewton(Linear(5, 3), CRITERION).state_dict(),
    }[foreign]()
    with pytest.raises(ParameterError, match="state_dict"):
        qn.QNewton(model, CRITERION).load_state_dict(state)


def test_a_zero_learning_rate_teaches_the_damping_nothing() -> None:
    model, x, y = problem(Sequential(Linear(6, 4), Tanh(), Linear(4, 3)))
    optimizer = qn.QNewton(model, CRITERION)
    before = copy.deepcopy(model.state_dict())
    optimizer.param_groups[0]["lr"] = 0.0
    report = optimizer.step(x, y)
    assert report.damping == report.next_damping == 0.1 and report.new_loss == report.loss
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_damping_stays_finite_however_often_a_step_is_rejected() -> None:
    optimizer = qn.QNewton(Linear(6, 3), CRITERION)
    damping = 0.1
    for _ in range(2000):
        damping = optimizer._next_damping(damping, -math.inf)
    assert damping == 1e12
