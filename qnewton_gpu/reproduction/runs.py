"""The trainings that are compared: layer-wise Newton steps with a small learning rate, SGD and Adam, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from ..curvature.base import Objective
from ..data import DataSet, load_data
from ..errors import NonFiniteLossError, ParameterError, UnknownNameError
from .layers import LayerCurvature, layer_curvatures, row_mass

Tensor = torch.Tensor
Row = dict[str, Any]
LEARNING_RATE, EPSILON = 0.01, 5e-3
LARGEST_CHANGE = 100.0
"""Of an entry of a Newton step, before the learning rate: the released code clips there."""
BATCH = 4096
SOLUTION_ERROR = 1e-2
"""Relative error of a quantum solution, in the query counts and in the run newton-inexact."""
SAMPLED_ROWS = 32
TARGETS = (0.85, 0.9, 0.93, 0.95, 0.97)
STEPS = {"digits": 60, "mnist": 28}
FIRST_ORDER_STEPS = 600
NEWTON = {
    "newton-hessian": "Newton, each layer's Hessian",
    "newton-fisher": "Newton, each layer's empirical Fisher",
    "newton-inexact": f"Newton, each layer's Hessian, solutions disturbed to relative error {SOLUTION_ERROR:g}",
}
FIRST_ORDER = {
    "sgd-released": f"SGD, learning rate {LEARNING_RATE:g} as the released code gives it",
    "sgd": "SGD, learning rate 0.3, momentum 0.9",
    "adam": "Adam, learning rate 0.03",
}
OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "sgd-released": lambda parameters: torch.optim.SGD(parameters, lr=LEARNING_RATE),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.3, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.03),
}
UPDATE_FLOPS = {"sgd-released": 2, "sgd": 4, "adam": 12}


def regularised(largest_entry: float, epsilon: float) -> float:
    """delta = epsilon max|H|, the paper's rule, with epsilon = 5e-3."""
    return epsilon * largest_entry


@dataclass(frozen=True)
class Problem:
    """A data set, the widths of the hidden layers of a ReLU network for it, and the seed of weights and batches."""

    data: DataSet
    hidden: tuple[int, ...] = (16,)
    seed: int = 0

    def model(self) -> torch.nn.Sequential:
        widths = (self.data.train_inputs.shape[1], *self.hidden, self.data.classes)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            linear = [torch.nn.Linear(*pair, dtype=torch.float64) for pair in pairwise(widths)]
        parts = [part for layer in linear for part in (layer, torch.nn.ReLU())]
        return torch.nn.Sequential(*parts[:-1])

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All the examples where they are at most 4096; else random batches of 4096, epoch after epoch."""
        x, y = self.data.train_inputs, self.data.train_targets
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            if len(x) <= BATCH:
                yield x, y
                continue
            order = torch.randperm(len(x), generator=generator)
            for part in order[: len(x) // BATCH * BATCH].split(BATCH):
                yield x[part], y[part]

    @torch.no_grad()
    def test_accuracy(self, model: torch.nn.Module) -> float:
        predicted = model(self.data.test_inputs).argmax(dim=1)
        return float((predicted == self.data.test_targets).double().mean())


def load_problem(data: str, seed: int, hidden: tuple[int, ...] = (16,)) -> Problem:
    """The network and data of the paper; raises what `load_data` raises, and ParameterError for a bad seed."""
    if not 0 <= seed < 2**63:
        raise ParameterError("seed", f"{seed!r} is not between 0 and 2^63 - 1", "Use for example 0")
    return Problem(load_data(data), hidden, seed)


@dataclass
class Run:
    """What a training did: a row for each step, and a row for each linear system of a Newton step."""

    method: str
    steps: list[Row] = field(default_factory=list)
    systems: list[Row] = field(default_factory=list)

    def steps_to(self, accuracy: float) -> int | None:
        """The first step after which the test accuracy was reached."""
        return next((row["step"] for row in self.steps if row["test_accuracy"] >= accuracy), None)


Tell = Callable[[str], None]
STEPS_A_LINE = 10


def silent(line: str) -> None:
    """Tells nobody."""


def train(method: str, problem: Problem, steps: int, tell: Tell = silent) -> Run:
    """`steps` Newton steps, or as many first-order steps as reach the last target, at most 600.

    `tell` gets a line every ten Newton steps. Raises UnknownNameError.
    """
    if method in NEWTON:
        kind = "fisher" if method == "newton-fisher" else "hessian"
        error = SOLUTION_ERROR if method == "newton-inexact" else 0.0
        return newton(problem, steps, method, kind=kind, solution_error=error, tell=tell)
    if method in FIRST_ORDER:
        return first_order(problem, method, max(steps, FIRST_ORDER_STEPS))
    raise UnknownNameError.among("method", method, (*NEWTON, *FIRST_ORDER))


Step = Callable[[LayerCurvature, Tensor, Row], Tensor]


def newton(
    problem: Problem,
    steps: int,
    method: str = "newton-hessian",
    *,
    kind: str = "hessian",
    damping: Callable[[LayerCurvature], float] | None = None,
    solution_error: float = 0.0,
    step: Step | None = None,
    measure_rows: bool = True,
    tell: Tell = silent,
) -> Run:
    """Layer-wise Newton: theta_l <- theta_l - 0.01 (H_l + delta_l I)^-1 g_l for every layer l (arXiv 2405.00252).

    delta_l = 5e-3 max|H_l| unless `damping` says otherwise; entries of the step are clipped at 100, as the released
    code does. `step(layer, gradient, row)` replaces the exact solve. `solution_error` adds a random vector of that
    relative length to each solution. It ends early where the loss is no number any more.
    """
    model, run = problem.model(), Run(method)
    random = torch.Generator().manual_seed(problem.seed)
    damping = damping or (lambda layer: regularised(layer.largest_entry, EPSILON))
    for number, (inputs, targets) in zip(range(1, steps + 1), problem.batches(), strict=False):
        objective = Objective(model, torch.nn.CrossEntropyLoss(), inputs, targets)
        theta = objective.parameters.vector()
        try:
            loss, gradient = objective.value_and_gradient(theta)
        except NonFiniteLossError:
            break
        change = torch.zeros_like(theta)
        for layer in layer_curvatures(objective, theta, kind):
            row = system_row(method, number, layer, damping(layer), measure_rows)
            g = gradient[layer.place]
            if step is None:
                x, row["residual"] = layer.solve(g, row["damping"])
            else:
                x = step(layer, g, row)
            if solution_error:
                noise = torch.randn(len(x), generator=random, dtype=torch.float64)
                x = x + solution_error * x.norm() * noise / noise.norm()
            change[layer.place] = x.clamp(-LARGEST_CHANGE, LARGEST_CHANGE)
            run.systems.append(row)
        if not torch.isfinite(change).all():
            break
        objective.parameters.assign(theta - LEARNING_RATE * change)
        run.steps.append(step_row(method, number, loss, problem, model, inputs))
        if number % STEPS_A_LINE == 0 and number < steps:
            tell(f"{method}: step {number}, loss {loss:.4f}, test accuracy {run.steps[-1]['test_accuracy']:.4f}")
    return run


def first_order(problem: Problem, method: str, steps: int) -> Run:
    """SGD or Adam until the last target is reached, at most `steps` steps, on the same batches."""
    model, run = problem.model(), Run(method)
    optimizer, loss_of = OPTIMIZERS[method](list(model.parameters())), torch.nn.CrossEntropyLoss()
    for number, (inputs, targets) in zip(range(1, steps + 1), problem.batches(), strict=False):
        optimizer.zero_grad()
        loss = loss_of(model(inputs), targets)
        loss.backward()
        optimizer.step()
        run.steps.append(step_row(method, number, float(loss.detach()), problem, model, inputs))
        if run.steps[-1]["test_accuracy"] >= TARGETS[-1]:
            break
    return run


def step_row(method: str, number: int, loss: float, problem: Problem, model: torch.nn.Module, inputs: Tensor) -> Row:
    """A row of steps.csv; a gradient takes 6 B n flops, and reads inputs and parameters twice."""
    n = sum(p.numel() for p in model.parameters())
    return {
        "method": method,
        "step": number,
        "loss": loss,
        "test_accuracy": problem.test_accuracy(model),
        "gradient_flops": 6.0 * len(inputs) * n + UPDATE_FLOPS.get(method, 2) * n,
        "gradient_bytes": 8.0 * (2 * inputs.numel() + 3 * n),
    }


def system_row(method: str, number: int, layer: LayerCurvature, damping: float, measure_rows: bool) -> Row:
    """What the cost of a layer's system depends on; H is singular, so kappa = 1 + lambda_max/delta."""
    row = {
        "method": method,
        "step": number,
        "layer": layer.name,
        "size": layer.size,
        "kappa": 1 + layer.largest_eigenvalue / damping if damping else math.inf,
        "damping": damping,
        "largest_eigenvalue": layer.largest_eigenvalue,
        "largest_entry": layer.largest_entry,
        "trace": float(layer.diagonal.sum()),
        "examples": len(layer.factor.inputs),
        "dense_flops": layer.dense_flops,
        "product_flops": layer.product_flops,
        "product_bytes": 8.0 * 2 * (layer.factor.inputs.numel() + layer.size),
    }
    if measure_rows:
        chosen = torch.randperm(layer.size, generator=torch.Generator().manual_seed(number))[:SAMPLED_ROWS]
        row |= {f"row_mass_{share:g}": part for share, part in row_mass(layer.rows(chosen)).items()}
    return row
