"""QNewton: Newton's method with Levenberg-Marquardt damping, every linear system through the scheduler."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from .blocks import Block
from .costs import CostModel
from .curvature import CURVATURES, Curvature, Objective, ParameterVector, make_curvature
from .curvature.base import check_model
from .curvature.losses import as_loss
from .errors import CombinationError, ParameterError, UnknownNameError, UnsupportedModelError
from .scheduler import Schedule, Scheduler
from .solvers import ABSOLUTE, QUANTUM, LinearSystem, Solution
from .solvers.base import column_norms
from .stages import stage
from .step_records import schedule_record, system_record
from .systems import SystemOptions, build_blocks

Tensor = torch.Tensor
LARGEST_DAMPING = 1e12  # a step of the gradient over this moves nothing


@dataclass
class StepReport:
    """What one step did. `loss` includes weight decay and belongs to the parameters before the step."""

    step: int
    loss: float
    new_loss: float
    accepted: bool
    damping: float
    next_damping: float
    reduction_ratio: float
    gradient_norm: float
    seconds: float
    systems: list[dict[str, Any]] = field(default_factory=list)
    schedule: dict[str, Any] = field(default_factory=dict)
    """How the systems share the two machines: rule, machines, projected seconds of it and of the paper's rule."""


class QNewton(torch.optim.Optimizer):
    """Newton steps d = -(C + (damping + weight_decay) I)^-1 g, certified before they are applied.

    model, loss: loss is torch.nn.CrossEntropyLoss or MSELoss (mean). curvature: "ggn", "hessian", "fisher", or "kfac":
    (G' (x) A') vec(X) = vec(W) for each layer, W its gradient, as two small systems, one for each factor.
    partition: one system for the "network", or one for each "layer", whose joint step is then scaled by
    s = -g.d/(d.(C + wd + damping)d) with the curvature of the whole network; kfac is by "layer", C of "kfac" the
    Gauss-Newton matrix. sharing: "expand" or "reduce", how kfac counts places that share a weight. damping follows
    rho = actual/predicted reduction on the same batch, predicted = -(g.d + d.(C + wd)d/2) without the damping:
    rho < 1/4 doubles it (x 4 if rho <= 0), rho > 3/4 halves it, never below damping_floor. A step that does not lower
    the loss is not applied. damping_rule="paper" adds 5e-3 max|C_ij| to each block instead (arXiv 2405.00252); then
    `damping` only shows the largest that was added, and a step is applied whatever finite loss it leads to.

    It is a torch optimizer: `param_groups[0]` holds lr, damping and weight_decay, LR schedulers change lr, and
    state_dict resumes exactly. `step` takes the batch, because Newton's method evaluates it more than once.

    Raises UnsupportedModelError for models and losses without the asked curvature, UnknownNameError, ParameterError,
    CombinationError; `step` raises NonFiniteLossError and leaves the parameters unchanged. Source: Martens and Grosse,
    arXiv 1503.05671 (damping); arXiv 2405.00252 (scheduling).

    >>> import torch
    >>> torch.manual_seed(0) and None
    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = QNewton(model, torch.nn.MSELoss())
    >>> x, y = torch.randn(20, 3), torch.randn(20, 2)
    >>> report = optimizer.step(x, y)
    >>> report.accepted and report.new_loss < report.loss
    True
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Any,
        *,
        curvature: str = "ggn",
        partition: str | None = None,
        damping: float = 0.1,
        damping_floor: float = 1e-8,
        weight_decay: float = 1e-4,
        lr: float = 1.0,
        tolerance: float = 1e-2,
        density: float = 1.0,
        compensate: str | None = "diagonal",
        scaling: str = "none",
        damping_rule: str = "lm",
        sharing: str = "expand",
        scheduler: Scheduler | CostModel | None = None,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            kind = type(model).__name__
            raise UnsupportedModelError(
                "model", f"is a {kind}, no torch.nn.Module", "Pass the model, not its parameters"
            )
        if isinstance(scheduler, CostModel):
            scheduler = Scheduler(scheduler)
        if not isinstance(scheduler, (Scheduler, type(None))):
            raise ParameterError(
                "scheduler", f"{scheduler!r} is no Scheduler", 'Pass Scheduler(solver="qsvt"), say, or None'
            )
        self.scheduler = scheduler or Scheduler()
        _check_number("damping", damping, 0.1)
        _check_number("damping_floor", damping_floor, 1e-8)
        _check_number("weight_decay", weight_decay, 1e-4, zero=True)
        _check_number("lr", lr, 1.0)
        self.options = SystemOptions(
            curvature, partition, self.scheduler.encoding, density, compensate, scaling, tolerance,
            definite=self.scheduler.solver not in ABSOLUTE, damping_rule=damping_rule, sharing=sharing,
        )  # fmt: skip
        self.model, self.loss, self.damping_floor = model, loss, damping_floor
        self.steps_taken = 0
        self._success_probability: dict[str, dict[str, float]] = {}  # of each system, by solver
        self._solution_norm: dict[str, float | list[float]] = {}  # of each column
        # checks the model, the loss and the curvature's name before training starts
        check_model(model)
        as_loss(loss)
        if curvature not in CURVATURES:
            raise UnknownNameError.among("curvature", curvature, CURVATURES)
        super().__init__(ParameterVector(model).tensors, {"lr": lr, "damping": damping, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if self.param_groups:
            raise CombinationError("param_groups", "Newton steps couple all parameters", "Use one parameter group")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, inputs: Tensor, targets: Tensor) -> StepReport:  # type: ignore[override]
        """One damped Newton step on this batch; returns what it did."""
        began = time.perf_counter()
        group = self.param_groups[0]
        damping = group["damping"]
        objective = Objective(self.model, self.loss, inputs, targets, group["weight_decay"])
        theta = objective.parameters.vector()
        if self.steps_taken == 0:
            objective.check_deterministic(theta)
        with stage("gradient"):
            loss, gradient = objective.value_and_gradient(theta)
        with stage("curvature"):
            shared = {"sharing": self.options.sharing} if self.options.curvature == "kfac" else {}
            curvature = make_curvature(self.options.curvature, objective, theta, **shared)
        blocks = build_blocks(objective, theta, gradient, curvature, damping, self.options, self.scheduler.backend)
        if self.options.damping_rule == "paper":
            group["damping"] = max(block.damping for block in blocks)
        direction, logged, certified, schedule = self._solve(blocks, theta)
        penalty = sum(block.penalty(direction) for block in blocks)
        with stage("update"):
            report = self._update(objective, theta, loss, gradient, curvature, direction, penalty, certified)
        self.steps_taken += 1
        report.systems, report.schedule = logged, schedule_record(schedule)
        report.seconds = time.perf_counter() - began
        return report

    def _solve(self, blocks: list[Block], theta: Tensor) -> tuple[Tensor, list[dict[str, Any]], bool, Schedule]:
        """The direction, the log's records, and whether every block is certified; all systems go side by side."""
        direction, logged, certified = torch.zeros_like(theta), [], True
        systems = [part.system for block in blocks for part in block.parts]
        for system in systems:
            system.expected_success = dict(self._success_probability.get(system.name, {}))
            system.expected_norm = self._expected_norm(system)
            system.seed = self.steps_taken  # a resumed run draws the same shots
        schedule = self.scheduler.plan_many(systems)
        solved = iter(self.scheduler.solve_many(systems, schedule.plans))
        for block in blocks:
            of_block = [next(solved) for _ in block.parts]
            solutions = [solution for solution, _ in of_block]
            block.write_step(solutions, direction)
            certificate = block.certificate(solutions)
            met = certificate["relative_residual"] <= certificate["tolerance"]
            certified = certified and met and all(solution.solved for solution in solutions)
            for part, (solution, plan) in zip(block.parts, of_block, strict=True):
                self._remember(part.system, solution)
                record = system_record(part, plan, solution)
                if len(block.parts) > 1:  # else it is the system's own
                    record["block"] = certificate
                if self.scheduler.is_cross_checked(self.steps_taken, part.system.name, solution):
                    record["cross_check"] = self.scheduler.compare_modes(part.system, solution)
                logged.append(record)
        return direction, logged, certified, schedule

    def _expected_norm(self, system: LinearSystem) -> Any | None:
        """||x|| of each column in the step before, where there were as many."""
        norms = self._solution_norm.get(system.name)
        columns = len(norms) if isinstance(norms, list) else 1
        return norms if columns == system.rhs.shape[1] else None

    def _remember(self, system: LinearSystem, solution: Solution) -> None:
        """What the next step's system of this name is planned with."""
        if solution.solver in QUANTUM and solution.success_probability:
            self._success_probability.setdefault(system.name, {})[solution.solver] = solution.success_probability
        if solution.solved:  # whoever found it: kernel reflection is planned with it
            norms = column_norms(solution.x, self.scheduler.backend).tolist()
            self._solution_norm[system.name] = norms if len(norms) > 1 else norms[0]

    def _update(
        self,
        objective: Objective,
        theta: Tensor,
        loss: float,
        gradient: Tensor,
        curvature: Curvature,
        direction: Tensor,
        penalty: float,
        certified: bool,
    ) -> StepReport:
        """Apply the direction d or not, and learn from it; `penalty` is d.(damping d)."""
        adapts = self.options.damping_rule == "lm"
        group = self.param_groups[0]
        damping, decay = group["damping"], group["weight_decay"]
        product = curvature.product(direction[:, None])[:, 0] + decay * direction
        slope, bend = float(gradient @ direction), float(direction @ product)
        length = 1.0
        if self.options.partition == "layer":
            # blocks know nothing of each other: the best length along their joint direction, where there is one
            length = -slope / (bend + penalty) if bend + penalty > 0 else 1.0
        length *= group["lr"]
        predicted = -(length * slope + 0.5 * length**2 * bend)
        candidate = theta + length * direction
        new_loss = float(objective.value(candidate)) if certified else math.nan
        ratio = (loss - new_loss) / predicted if predicted > 0 else -math.inf
        # False where new_loss is NaN; where no damping would change, a refused step would come again for ever
        accepted = certified and (new_loss < loss if adapts else math.isfinite(new_loss))
        if length == 0:  # the zero end of a learning rate schedule: no step, and nothing learnt of the damping
            accepted, new_loss, ratio = certified, loss, math.nan
        if accepted:
            objective.parameters.assign(candidate)
        if length and adapts:
            group["damping"] = self._next_damping(damping, ratio if math.isfinite(ratio) else -math.inf)
        return StepReport(
            self.steps_taken, loss, new_loss if accepted else loss, accepted, damping, group["damping"],
            ratio, float(gradient.norm()), 0.0,
        )  # fmt: skip

    def _next_damping(self, damping: float, ratio: float) -> float:
        if ratio <= 0:
            damping *= 4
        elif ratio < 0.25:
            damping *= 2
        elif ratio > 0.75:
            damping /= 2
        return min(max(damping, self.damping_floor), LARGEST_DAMPING)

    def __getstate__(self) -> dict[str, Any]:
        own = (
            "model",
            "loss",
            "damping_floor",
            "steps_taken",
            "_success_probability",
            "_solution_norm",
            "options",
            "scheduler",
        )
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["newton"] = {
            "steps_taken": self.steps_taken,
            "success_probability": {name: dict(seen) for name, seen in self._success_probability.items()},
            "solution_norm": dict(self._solution_norm),
            "shapes": [list(p.shape) for p in self.param_groups[0]["params"]],
        }
        if self.scheduler.adaptation is not None:
            state["newton"]["adaptation"] = self.scheduler.adaptation.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue exactly; raises ParameterError where it is no state of QNewton for parameters of these shapes."""
        newton = state_dict.get("newton")
        shapes = [list(p.shape) for p in self.param_groups[0]["params"]]
        if newton is None or newton["shapes"] != shapes:
            problem = (
                "is no state of QNewton" if newton is None else f"belongs to parameters of shapes {newton['shapes']}"
            )
            raise ParameterError("state_dict", problem, f"Load one that was saved for parameters of shapes {shapes}")
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "newton"})
        self.steps_taken = newton["steps_taken"]
        # before there were several quantum candidates it was that of one solver, not said which: qsvt but for a few
        self._success_probability = {
            name: dict(seen) if isinstance(seen, dict) else {"qsvt": seen}
            for name, seen in newton["success_probability"].items()
        }
        self._solution_norm = dict(newton.get("solution_norm", {}))  # absent before kernel reflection
        if self.scheduler.adaptation is not None and "adaptation" in newton:
            self.scheduler.adaptation.load_state_dict(newton["adaptation"])


def _check_number(name: str, value: Any, default: float, zero: bool = False) -> None:
    number = isinstance(value, (int, float)) and math.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        least = ">= 0" if zero else "> 0"
        raise ParameterError(name, f"{value!r} is not a finite number {least}", f"The default is {default:g}")
