"""The main job: train a network with Newton steps into a run folder, from scratch or on from a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .costs import ClassicalMachine, CostModel, Hardware
from .data import DataSet, load_data
from .errors import ParameterError, RunFolderError
from .optimizer import QNewton, StepReport
from .readout import Readout
from .runfolder import RunFolder, default_path
from .scheduler import Scheduler
from .simulation import RegisterBudget
from .stages import StageEvent, record_stages
from .systems import partition_for

LARGEST_WIDTH = 100_000


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run; config.json holds it, with the classical machine frozen in."""

    data: str = "digits"
    hidden: tuple[int, ...] = (16,)
    curvature: str = "ggn"
    partition: str | None = None
    """None is what goes with the curvature: config.json has it by its name."""
    solver: str = "auto"
    encoding: str = "auto"
    mode: str = "auto"
    backend: str = "auto"
    density: float = 1.0
    compensate: str = "diagonal"
    scaling: str = "none"
    damping: float = 0.1
    damping_rule: str = "lm"
    damping_floor: float = 1e-8
    weight_decay: float = 1e-4
    lr: float = 1.0
    tolerance: float = 1e-2
    max_queries: int = 10**6
    register_budget: RegisterBudget = field(default_factory=RegisterBudget)
    precision: str = "double"
    readout: Readout = field(default_factory=Readout)
    steps: int = 10
    batch_size: int | None = None
    seed: int = 0
    cross_check: float = 0.0
    comparison: str = "ideal"
    schedule: str = "makespan"
    adapt: bool = False
    hardware: Hardware = field(default_factory=Hardware)
    classical: ClassicalMachine = field(default_factory=ClassicalMachine.load)

    def __post_init__(self) -> None:
        object.__setattr__(self, "partition", partition_for(self.curvature, self.partition))
        for name, least in (("steps", 1), ("seed", 0), ("max_queries", 1)):
            if getattr(self, name) < least:
                raise ParameterError(name, f"{getattr(self, name)} is below {least}", f"Use {least} or more")
        if self.batch_size is not None and self.batch_size < 1:
            raise ParameterError(
                "batch_size", f"{self.batch_size} is below 1", "Use 1 or more, or none for the full batch"
            )
        if not all(isinstance(width, int) and 1 <= width <= LARGEST_WIDTH for width in self.hidden):
            problem = f"{self.hidden} has a width that is no integer from 1 to {LARGEST_WIDTH}"
            raise ParameterError("hidden", problem, "Give widths such as 16,16")
        if self.seed >= 2**63:
            raise ParameterError("seed", f"{self.seed} does not fit 63 bits", "Use a smaller one")

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        known = {f.name for f in fields(cls)}
        try:
            if not isinstance(values, dict):
                raise TypeError(f"it is a {type(values).__name__}")
            chosen = {name: value for name, value in values.items() if name in known}
            chosen["hidden"] = tuple(chosen["hidden"])
            chosen["hardware"] = Hardware(**chosen["hardware"])
            chosen["register_budget"] = RegisterBudget(**chosen["register_budget"])
            chosen["classical"] = ClassicalMachine(**chosen["classical"])
            chosen["readout"] = Readout(**chosen["readout"])
            return cls(**chosen)
        except (KeyError, TypeError) as problem:
            raise RunFolderError(
                "run", f"its config.json is not one of this version ({problem})", "Start the run again"
            ) from None

    @property
    def model(self) -> CostModel:
        return CostModel(self.hardware, self.classical, self.comparison)


def build_network(inputs: int, hidden: tuple[int, ...], classes: int, seed: int) -> torch.nn.Module:
    """A ReLU network of Linear layers in FP64, with torch's own initialisation of that seed."""
    widths = [inputs, *hidden, classes]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[torch.nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1]).to(torch.float64)


class Training:
    """A run: its data, network and optimizer at some step, and the folder that they are written to.

    `on_step` is called with each log line after it and its checkpoint are on disk.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder | None, out: Path | None = None) -> None:
        self.config = config
        data: DataSet = load_data(config.data)
        network = build_network(data.train_inputs.shape[1], config.hidden, data.classes, config.seed)
        scheduler = Scheduler(
            config.model,
            config.solver,
            config.encoding,
            config.mode,
            config.max_queries,
            config.backend,
            config.register_budget,
            cross_check=config.cross_check,
            precision=config.precision,
            readout=config.readout,
            schedule=config.schedule,
            adapt=config.adapt,
        )
        # made on the host, so that a seed means the same weights everywhere; from here on they stay on the device
        device = scheduler.backend.torch_device
        self.network, self.data = network.to(device), data.to(device)
        self.optimizer = QNewton(
            self.network,
            torch.nn.CrossEntropyLoss(),
            curvature=config.curvature,
            partition=config.partition,
            damping=config.damping,
            damping_floor=config.damping_floor,
            weight_decay=config.weight_decay,
            lr=config.lr,
            tolerance=config.tolerance,
            density=config.density,
            compensate=None if config.compensate == "none" else config.compensate,
            scaling=config.scaling,
            damping_rule=config.damping_rule,
            scheduler=scheduler,
        )
        self.step, self.fingerprint = 0, data.fingerprint
        # the folder appears only once everything that can be wrong with the options has been checked
        name = f"{config.data.partition(':')[0]}-seed{config.seed}"
        surroundings = {
            "versions": {name: version(name) for name in ("qnewton-gpu", "torch", "numpy")},
            "threads": torch.get_num_threads(),
            "device": scheduler.backend.device,
            "data_fingerprint": self.fingerprint,
        }
        self.folder = folder or RunFolder.create(out or default_path(name), {**surroundings, **config.to_dict()})

    @classmethod
    def resume(cls, path: Path, steps: int | None = None) -> Training:
        """The run in `path` at its newest checkpoint, or at its start if it has none yet; `steps` is a new total."""
        folder = RunFolder.open(path)
        config = TrainConfig.from_dict(folder.config)
        if steps is not None:
            config = replace(config, steps=steps)
        training = cls(config, folder)
        if folder.config.get("data_fingerprint") != training.fingerprint:
            problem = f"{config.data} is not the data that {path} was trained on"
            raise RunFolderError("run", problem, "Resume where the same files are found")
        with folder.locked():
            folder.clear_leftovers()
            state = folder.load_checkpoint()
            if state is not None:
                training._restore(state)
            if steps is not None:
                if steps < training.step:
                    problem = f"{steps} is below the {training.step} that the run has made"
                    raise ParameterError("steps", problem, "Give the new total, or leave it out")
                folder.save_config({**folder.config, "steps": steps})
            folder.keep_steps_before(training.step)
        return training

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        except (KeyError, TypeError, ValueError, RuntimeError) as problem:
            what = f"the checkpoint in {self.folder.path} is another network's ({problem})"
            raise RunFolderError("run", what, "Start the run again") from None

    def run(
        self, on_step: Callable[[dict[str, Any]], None] | None = None, stop: Callable[[], bool] = lambda: False
    ) -> list[dict[str, Any]]:
        """Train to the configured number of steps; returns all logged steps of the run.

        `stop` is asked before each step; where it says True the run ends there, and its checkpoint continues it.
        """
        with self.folder.locked():
            state = self.folder.load_checkpoint()
            if (state["step"] if state else 0) != self.step:
                raise RunFolderError("run", f"{self.folder.path} has moved on since it was opened", "Resume it again")
            while self.step < self.config.steps and not stop():
                line = self._one_step()
                if on_step is not None:
                    on_step(line)
        return self.folder.steps()

    def _one_step(self) -> dict[str, Any]:
        inputs, targets = self._batch()
        epoch_clock = time.time() - time.perf_counter()
        with record_stages() as events:
            report = self.optimizer.step(inputs, targets)
        line = self._log_line(report, events, epoch_clock)
        self.step += 1
        # the log first: a line without its checkpoint is dropped on resume, a checkpoint without its line would be lost
        self.folder.append(line)
        self.folder.save_checkpoint(
            {"step": self.step, "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        )
        return line

    def _batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The examples of this step: a function of (seed, step) alone, so that a resumed run sees the same."""
        inputs, targets, size = self.data.train_inputs, self.data.train_targets, self.config.batch_size
        if size is None or size >= len(inputs):
            return inputs, targets
        epoch, place = divmod(self.step, len(inputs) // size)
        order = np.random.default_rng([self.config.seed, epoch]).permutation(len(inputs))
        chosen = torch.from_numpy(order[place * size : (place + 1) * size]).to(inputs.device)
        return inputs[chosen], targets[chosen]

    @torch.no_grad()
    def accuracy(self) -> float:
        """Fraction of the test examples that the network gets right."""
        predicted = self.network(self.data.test_inputs).argmax(dim=1)
        return float((predicted == self.data.test_targets).double().mean())

    def _log_line(self, report: StepReport, events: list[StageEvent], epoch_clock: float) -> dict[str, Any]:
        return {
            "step": self.step,
            "loss": report.new_loss,
            "loss_before": report.loss,
            "accuracy": self.accuracy(),
            "damping": report.damping,
            "next_damping": report.next_damping,
            "accepted": report.accepted,
            "reduction_ratio": report.reduction_ratio,
            "gradient_norm": report.gradient_norm,
            "simulated_seconds": report.seconds,
            "systems": report.systems,
            "schedule": report.schedule,
            "stages": [{**asdict(event), "start": event.start + epoch_clock} for event in events],
        }
