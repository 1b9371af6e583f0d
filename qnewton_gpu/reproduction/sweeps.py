"""What is swept: gate time, steps, pruning, regularisation and width. Every function yields rows of a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ..backends import select_backend
from ..conditioning import prune_symmetric
from ..conditioning.explicit import norm_determinant_bound
from ..costs import ClassicalMachine
from ..curvature.base import Objective
from ..errors import CombinationError
from .clock import GATE_TIMES, RULES, Clock, least_alpha, sparse_access_alpha, step_seconds, training_seconds
from .layers import LayerCurvature, layer_curvatures
from .runs import EPSILON, SOLUTION_ERROR, TARGETS, Problem, Row, Run, Step, newton, regularised

Tensor = torch.Tensor
DENSITIES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.025)
EPSILONS = (1e-3, 5e-3, 1e-2, 5e-2, 1e-1, 5e-1, 1.0, 5.0, 1e1, 5e1, 1e2, 5e2, 1e3, 5e3, 1e4)
FIXED_DAMPINGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
WIDTHS = tuple(range(34, 56, 2))
SWEEP_STEPS = {
    "digits": {"pruning": 20, "regularisation": 20, "width": 5},
    "mnist": {"pruning": 0, "regularisation": 3, "width": 1},
}
LARGEST_DENSE = 4000
"""Order of the largest layer whose matrix pruning forms and factorises."""


def time_table(runs: Mapping[str, Run], machine: ClassicalMachine) -> Iterator[Row]:
    """Projected seconds of every run to each accuracy, and of the Newton runs' number of steps, at every gate time.

    A run that does not reach an accuracy has infinite seconds there.
    """
    newton_steps = max((len(run.steps) for run in runs.values() if run.systems), default=0)
    goals = [*((f"accuracy {target:g}", target) for target in TARGETS), (f"{newton_steps} steps", None)]
    for gate_time in GATE_TIMES:
        clock = Clock(gate_time, machine, SOLUTION_ERROR)
        for name, run in runs.items():
            for rule in RULES if run.systems else (None,):
                seconds_of_steps = step_seconds(clock, rule, run.steps, run.systems)
                for goal, target in goals:
                    count = run.steps_to(target) if target else min(newton_steps, len(run.steps))
                    seconds = training_seconds(seconds_of_steps[: count or 0])
                    if count is None:
                        seconds = dict.fromkeys(seconds, math.inf)
                    yield {
                        "gate_time": gate_time,
                        "run": name,
                        "rule": rule or "first order",
                        "goal": goal,
                        "steps": count,
                        **{f"projected_{key}_s": seconds[key] for key in ("total", "gradients", "solves", "assembly")},
                        "quantum_share": seconds["quantum_share"] if count else None,
                    }


def conditioning_table(runs: Mapping[str, Run]) -> Iterator[Row]:
    """kappa of every system, with delta = 5e-3 max|H| of its own step and with that of the first step, and row mass."""
    for run in runs.values():
        first: dict[str, float] = {}
        for system in run.systems:
            fixed = first.setdefault(system["layer"], system["damping"])
            yield {
                "run": run.method,
                **{key: system[key] for key in ("step", "layer", "size", "largest_eigenvalue", "largest_entry")},
                "kappa": system["kappa"],
                "kappa_of_fixed_damping": 1 + system["largest_eigenvalue"] / fixed,
                **{key: system[key] for key in system if key.startswith("row_mass")},
            }


def estimator_table(problem: Problem) -> Iterator[Row]:
    """True kappa and the paper's bound from norm and determinant, of the first step's layers that can be formed."""
    backend = select_backend("cpu")
    model = problem.model()
    inputs, targets = next(problem.batches())
    objective = Objective(model, torch.nn.CrossEntropyLoss(), inputs, targets)
    for layer in layer_curvatures(objective, objective.parameters.vector(), "hessian"):
        if layer.size > LARGEST_DENSE:
            continue
        damping = regularised(layer.largest_entry, EPSILON)
        matrix = layer.dense()
        matrix.diagonal().add_(damping)
        kappa, logarithm = norm_determinant_bound(matrix.numpy(), backend)
        yield {
            "layer": layer.name,
            "size": layer.size,
            "kappa": 1 + layer.largest_eigenvalue / damping,
            "bound": kappa,
            "log10_bound": logarithm,
        }


def check_pruning(problem: Problem) -> None:
    """Raise CombinationError where a layer is too large for its matrix to be formed and factorised at every step."""
    largest = max(parameter.numel() for parameter in problem.model().parameters())
    if largest > LARGEST_DENSE:
        problem_said = f"has a layer of {largest} weights, too many to form its matrix and prune it"
        raise CombinationError("data", problem_said, "Use digits")


def pruning_table(problem: Problem, steps: int, machine: ClassicalMachine) -> Iterator[Row]:
    """Trainings with pruned layers: as the released code does it, and symmetrically with a repair of the diagonal."""
    check_pruning(problem)
    for rule, make in PRUNINGS.items():
        for density in DENSITIES:
            run = newton(problem, steps, step=make(density, steps), measure_rows=False)
            yield _result(run, {"rule": rule, "density": density}, machine)


def regularisation_table(problem: Problem, steps: int, machine: ClassicalMachine) -> Iterator[Row]:
    """Trainings with delta = epsilon max|H|, epsilon as in the released sweeps, and with delta fixed."""
    rules: dict[str, tuple[Sequence[float], Callable[..., float]]] = {
        "epsilon max|H|": (EPSILONS, _relative),
        "fixed": (FIXED_DAMPINGS, _fixed),
    }
    for rule, (values, damping) in rules.items():
        for value in values:
            run = newton(problem, steps, damping=partial(damping, value=value), measure_rows=False)
            yield _result(run, {"rule": rule, "value": value}, machine)


def _relative(layer: LayerCurvature, value: float) -> float:
    return regularised(layer.largest_entry, value)


def _fixed(layer: LayerCurvature, value: float) -> float:
    return value


def width_table(problem: Problem, steps: int, machine: ClassicalMachine) -> Iterator[Row]:
    """Trainings of networks with two hidden layers of 34 ... 54 units, as in the released sweep."""
    for width in WIDTHS:
        wider = Problem(problem.data, (width, width), problem.seed)
        run = newton(wider, steps, measure_rows=False)
        parameters = sum(p.numel() for p in wider.model().parameters())
        row = _result(run, {"width": width, "parameters": parameters}, machine)
        clock = Clock(1e-15, machine, SOLUTION_ERROR)
        seconds = {
            rule: training_seconds(step_seconds(clock, rule, run.steps, run.systems))["total"]
            for rule in ("classical Newton", "Q-Newton, least alpha", "Q-Newton, sparse access")
        }
        yield row | {f"projected_s_at_1_fs: {rule}": value for rule, value in seconds.items()}


def _result(run: Run, what: Row, machine: ClassicalMachine) -> Row:
    """What a training came to, and its largest layer's system at the first and the last step."""
    largest = max((system["size"] for system in run.systems), default=0)
    systems = [system for system in run.systems if system["size"] == largest]
    first, last = systems[0], systems[-1]
    clock = Clock(1.0, machine, SOLUTION_ERROR)  # gates are seconds
    return {
        **what,
        "steps": len(run.steps),
        "size": largest,
        "test_accuracy": run.steps[-1]["test_accuracy"] if run.steps else None,
        "loss": run.steps[-1]["loss"] if run.steps else None,
        "kappa_first": first["kappa"],
        "kappa_last": last["kappa"],
        "row_nonzeros": last.get("row_nonzeros", largest),
        "column_nonzeros": last.get("column_nonzeros", largest),
        **{
            f"break_even_gate_time_s, {name}": clock.lu(last) / clock.jennings(last, alpha).seconds
            for name, alpha in (("least alpha", least_alpha), ("sparse access", sparse_access_alpha))
        },
    }


def _solved(H: Tensor, gradient: Tensor, row: Row, measured: bool) -> Tensor:
    """H^-1 g by LU; where measured, the row gets the true kappa and norm of H, and always its entries a row."""
    entries = H != 0
    row["row_nonzeros"], row["column_nonzeros"] = int(entries.sum(1).max()), int(entries.sum(0).max())
    if measured:
        singular = torch.linalg.svdvals(H)
        singular_to_fp64 = singular[-1] <= torch.finfo(H.dtype).eps * singular[0]
        row["kappa"] = math.inf if singular_to_fp64 else float(singular[0] / singular[-1])
        row["largest_eigenvalue"] = float(singular[0]) - row["damping"]
    x: Tensor = torch.linalg.solve_ex(H, gradient[:, None]).result[:, 0]
    row["residual"] = float((H @ x - gradient).norm() / gradient.norm())
    return x


def _pruned_as_released(density: float, steps: int) -> Step:
    """delta is added first, then each row keeps its largest entries: the result is not symmetric."""

    def step(layer: LayerCurvature, gradient: Tensor, row: Row) -> Tensor:
        H = layer.dense()
        H.diagonal().add_(row["damping"])
        kept = H.abs().topk(max(1, int(layer.size * density)), dim=1).indices
        H = torch.zeros_like(H).scatter_(1, kept, H.gather(1, kept))
        return _solved(H, gradient, row, row["step"] in (1, steps))

    return step


def _pruned_symmetrically(density: float, steps: int) -> Step:
    """Pruned first, each row's dropped sum added to its diagonal, then delta: symmetric and definite."""

    def step(layer: LayerCurvature, gradient: Tensor, row: Row) -> Tensor:
        pruned = prune_symmetric(layer.dense().numpy(), max(1, int(layer.size * density)), backend="cpu")
        H = torch.from_numpy(pruned.toarray())
        row["damping"] = regularised(float(H.abs().max()), EPSILON)
        H.diagonal().add_(row["damping"])
        return _solved(H, gradient, row, row["step"] in (1, steps))

    return step


PRUNINGS = {"row by row, as released": _pruned_as_released, "symmetric, repaired": _pruned_symmetrically}


def settings(problem: Problem, steps: int, machine: ClassicalMachine) -> dict[str, Any]:
    """What the tables depend on, for settings.json."""
    return {
        "data": problem.data.name,
        "examples": len(problem.data.train_inputs),
        "hidden": list(problem.hidden),
        "seed": problem.seed,
        "steps": steps,
        "solution_error": SOLUTION_ERROR,
        "machine": machine.to_dict(),
    }
