"""A run as the report reads it: the logged lines, the two stated machines, and the few numbers derived from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from ..costs import ClassicalMachine, CostModel, Hardware
from ..errors import QNewtonError, RunFolderError
from ..runfolder import RunFolder
from ..solvers import CLASSICAL

Record = dict[str, Any]
T = TypeVar("T")

TARGET_ACCURACY = 0.97


@dataclass(frozen=True)
class LoggedSystem:
    """One linear system of a step; `record` is its entry in steps.jsonl. An absent or null number is None."""

    step: int
    record: Record

    def __getattr__(self, name: str) -> Any:
        return self.record.get(name)

    @property
    def label(self) -> str:
        name = str(self.record.get("name") or "system")
        # torch numbers the modules of a Sequential: the number alone says nothing
        return f"layer {name}" if name.isdigit() else name

    @property
    def chosen(self) -> str:
        return str(self.record.get("solver") or "unknown")

    @property
    def solved(self) -> bool:
        return self.record.get("status") == "solved"

    @property
    def troubled(self) -> bool:
        """A fallback was needed, or nothing solved it."""
        return bool(self.record.get("fallbacks")) or not self.solved

    @property
    def planned_by(self) -> str:
        """The solver or formula whose prediction decided; logs of former versions do not say it."""
        return str(self.record.get("planned_by") or self.chosen)

    @property
    def conditioning_steps(self) -> list[Record]:
        """What was done to the matrix, a record with `text` for each step; the last one knows kappa and d."""
        steps = [dict(s) if isinstance(s, dict) else {"text": str(s)} for s in self.record.get("conditioning") or []]
        if steps:
            steps[-1] = {"kappa": self.kappa, "row_nonzeros": self.row_sparsity, **steps[-1]}
        return steps

    def costs(self, honest: bool) -> dict[str, Record]:
        """Predicted cost of every solver in one of the two comparisons."""
        return self.record.get("honest_predicted" if honest else "predicted") or {}

    @property
    def all_costs(self) -> list[Record]:
        return [cost for honest in (False, True) for cost in self.costs(honest).values()]

    def projected(self, solver: str, honest: bool) -> float | None:
        """Predicted projected seconds of a solver; None where it cannot solve this system."""
        return number(self.costs(honest).get(solver, {}).get("projected_seconds"))


@dataclass(frozen=True)
class RunLog:
    """config.json and steps.jsonl of one run."""

    config: Record
    steps: list[Record]
    model: CostModel

    @classmethod
    def read(cls, folder: RunFolder) -> RunLog:
        config = folder.config
        try:
            model = CostModel(
                Hardware(**config["hardware"]), ClassicalMachine(**config["classical"]), config["comparison"]
            )
        except (KeyError, TypeError, QNewtonError) as problem:
            raise RunFolderError(
                "run", f"its config.json is not one of this version ({problem})", "Start the run again"
            ) from None
        lines = [line for line in folder.steps() if isinstance(line, dict) and isinstance(line.get("step"), int)]
        return cls(config, lines, model)

    @cached_property
    def numbers(self) -> list[int]:
        """The steps, counted from 1."""
        return [line["step"] + 1 for line in self.steps]

    @cached_property
    def by_step(self) -> list[list[LoggedSystem]]:
        return [
            [LoggedSystem(step, record) for record in line.get("systems") or []]
            for step, line in zip(self.numbers, self.steps, strict=True)
        ]

    @cached_property
    def systems(self) -> list[LoggedSystem]:
        return [system for systems in self.by_step for system in systems]

    @cached_property
    def system_names(self) -> list[str]:
        return list(dict.fromkeys(system.label for system in self.systems))

    @cached_property
    def solvers(self) -> list[str]:
        """Every solver and formula predicted or used: quantum before classical, candidates of the run first."""
        names = dict.fromkeys(name for s in self.systems for name in (*s.costs(False), *s.costs(True), s.chosen))
        return sorted(names, key=lambda name: (name in CLASSICAL, name not in self.model.candidates))

    def predicted_solvers(self, honest: bool) -> list[str]:
        """Those of `solvers` that have a finite prediction in that comparison for any system."""
        return [name for name in self.solvers if any(s.projected(name, honest) is not None for s in self.systems)]

    @cached_property
    def factors(self) -> set[str]:
        """The names of all factors that predicted costs have."""
        return {name for system in self.systems for cost in system.all_costs for name in cost.get("factors") or {}}

    @property
    def chosen_freely(self) -> bool:
        """Whether the scheduler chose, and not the user."""
        return self.config.get("solver") == "auto"

    @property
    def comparison(self) -> str:
        """The comparison that decided this run."""
        return self.model.comparison

    @property
    def comparisons(self) -> list[tuple[str, bool, CostModel]]:
        """Name, whether it is the honest one, and its machines: the one that decided, then the honest one."""
        decided = (self.comparison, False, self.model)
        return [decided] if self.comparison == "honest" else [decided, ("honest", True, self.model.honest())]

    @property
    def reconditioned(self) -> list[LoggedSystem]:
        """Systems that more was done to than one step, damping."""
        return [system for system in self.systems if len(system.conditioning_steps) > 1]

    @cached_property
    def shared_steps(self) -> list[int]:
        """Places of the steps whose several systems shared the two machines, by a schedule of finite length."""
        return [
            place
            for place, line in enumerate(self.steps)
            if len(self.by_step[place]) > 1 and number((line.get("schedule") or {}).get("projected_seconds"))
        ]

    @property
    def rejected(self) -> int:
        return sum(not line.get("accepted") for line in self.steps)

    @property
    def steps_to_target(self) -> int | None:
        """Steps taken until the test accuracy was first at least 97 %."""
        accuracies = zip(self.numbers, self.series("accuracy"), strict=True)
        return next((step for step, value in accuracies if value is not None and value >= TARGET_ACCURACY), None)

    @property
    def parameters(self) -> int:
        """Of the network: the unknowns of its systems, of a layer solved by its factors its own."""
        sizes = {}
        for system in self.by_step[0] if self.steps else []:
            block = system.record.get("block")  # both factors of a layer carry it
            name = str(system.name).rpartition(".")[0] if block else system.name
            sizes[name] = block["size"] if block else system.size or 0
        return sum(sizes.values())

    def solver_counts(self, field: str = "solver") -> Counter[str]:
        return Counter(str(system.record[field]) for system in self.systems if system.record.get(field))

    def series(self, name: str) -> list[float | None]:
        return [number(line.get(name)) for line in self.steps]

    def first_loss(self) -> float | None:
        return number(self.steps[0].get("loss_before")) if self.steps else None

    def total(self, values: Iterable[float | None]) -> float:
        return sum(value or 0.0 for value in values)

    @property
    def simulated_seconds(self) -> float:
        return self.total(self.series("simulated_seconds"))

    @property
    def read_by_shots(self) -> list[LoggedSystem]:
        return [system for system in self.systems if system.readout == "shots"]

    @property
    def projected_seconds(self) -> float:
        return self.total(number(system.projected_seconds) for system in self.systems)

    def stage_seconds(self) -> list[dict[str, float]]:
        """Simulated seconds of each stage in each step, without those of the stages inside it."""
        return [_own_seconds(line.get("stages") or []) for line in self.steps]


def _own_seconds(stages: Sequence[Record]) -> dict[str, float]:
    """On each track by itself: what runs beside a stage is no part of it."""
    own: dict[str, float] = {}
    tracks: dict[int, list[Record]] = {}
    for entry in sorted(stages, key=lambda stage: (stage["start"], stage["depth"])):
        enclosing = tracks.setdefault(entry.get("track") or 0, [])
        while enclosing and enclosing[-1]["depth"] >= entry["depth"]:
            enclosing.pop()
        if enclosing:
            own[enclosing[-1]["name"]] -= entry["seconds"]
        own[entry["name"]] = own.get(entry["name"], 0.0) + entry["seconds"]
        enclosing.append(entry)
    return {name: max(0.0, seconds) for name, seconds in own.items()}


def number(value: Any) -> float | None:
    """A finite number of the log, or None: JSON has no infinities, they are null there."""
    return float(value) if isinstance(value, (int, float)) and value - value == 0 else None


def thin(rows: Sequence[T], limit: int, importance: Callable[[T], int] = lambda row: 0) -> list[T]:
    """At most `limit` rows in their order: the first and last, the more important ones, the rest evenly spaced."""
    if len(rows) <= limit:
        return list(rows)
    edge = max(1, limit // 8)
    kept = {*range(edge), *range(len(rows) - edge, len(rows))}
    ranks: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if index not in kept:
            ranks.setdefault(int(importance(row)), []).append(index)
    for rank in sorted(ranks, reverse=True):
        # half of what is left for each rank, so that a run of failures does not hide everything else
        room = limit - len(kept)
        kept |= {ranks[rank][place] for place in _spread(len(ranks[rank]), room if rank <= 0 else room // 2)}
    return [rows[index] for index in sorted(kept)]


def _spread(length: int, count: int) -> list[int]:
    if length <= count:
        return list(range(length))
    return [index * length // count for index in range(count)]


__all__ = ["LoggedSystem", "Record", "RunLog", "number", "thin"]
