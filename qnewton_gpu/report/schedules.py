"""How the systems of each step were shared by a classical and a quantum machine that work at the same time."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from .axes import Label, Values, integer_steps, label_ends, log_axis
from .drawing import drawing, gaps, svg
from .log import Record, RunLog, number, thin
from .style import SENTINELS, clock, framed, plural, section

MAX_ROWS, MAX_MARKED = 24, 60
LOOKS = {"classical": ("blue", 0.42), "quantum": ("vermillion", 0.84), "none": ("line", 0.2)}  # colour, height of a bar
METHODS = {
    "exact": "found as the minimum itself",
    "bounded": "at most 3/2 times the minimum",
    "fastest": "each system to its faster machine",
    "asked": "all to the solver that was asked for",
}


def schedules(log: RunLog) -> str:
    """The section; nothing where no step had more than one system."""
    if not log.shared_steps:
        return ""
    planned = [_schedule(log, place) for place in log.shared_steps]
    ours, paper, least = (
        log.total(number(schedule.get(name)) for schedule in planned)
        for name in ("projected_seconds", "paper_rule_seconds", "lower_bound")
    )
    methods = Counter(str(schedule.get("method")) for schedule in planned)
    found = ", ".join(f"{times:,} {escape(METHODS.get(name, name))}" for name, times in methods.most_common())
    longer = "as long" if abs(paper - ours) <= 1e-9 * ours else f"{paper / ours:.4g} times as long"
    said = (
        f"Over {plural(len(planned), 'step')} with more than one system the plans take {ours:.4g} s projected; the "
        f"paper's rule, each system to its faster machine, takes {paper:.4g} s, {longer}. No schedule is below "
        f"{least:.4g} s. Schedules: {found}."
    )
    names = _names(log)
    caption = (
        "Left: until the last system of a step is solved, by the predictions; charged: the same machines with the "
        "queries made and the success probabilities seen, for which the lower bound does not hold. Right: the machine "
        "that each system was planned for."
    )
    if len(names) < len(log.system_names):
        caption += f" {len(names)} of {len(log.system_names)} systems are shown."
    return section(
        f"How the systems of a step shared two machines {clock('projected')}",
        f"<p>{said}</p>",
        framed(_drawn(log, names), caption),
    )


def _schedule(log: RunLog, place: int) -> Record:
    schedule: Record = log.steps[place]["schedule"]
    return schedule


def _names(log: RunLog) -> list[str]:
    """The systems that are drawn, those that changed machines first where there are many."""
    moved = {
        name for name in log.system_names if len({machine for _, system, machine in _places(log) if system == name}) > 1
    }
    return thin(log.system_names, MAX_ROWS, lambda name: name in moved)


def _places(log: RunLog) -> list[tuple[int, str, str]]:
    """Step, system and machine, for every system of every shared step."""
    return [
        (log.numbers[place], system.label, str(machine))
        for place in log.shared_steps
        for system, machine in zip(log.by_step[place], _schedule(log, place).get("machines") or [], strict=False)
    ]


def charged(log: RunLog) -> list[float | None]:
    """Projected seconds of each shared step as charged: the longer of the sums over the two planned machines."""
    seconds: list[float | None] = []
    for place in log.shared_steps:
        loads: dict[str, float] = {}
        for system, machine in zip(log.by_step[place], _schedule(log, place).get("machines") or [], strict=False):
            loads[machine] = loads.get(machine, 0.0) + (number(system.projected_seconds) or 0.0)
        # what a fallback took belongs to both machines
        seconds.append(None if any(s.troubled for s in log.by_step[place]) else max(loads.values(), default=None))
    return seconds


def _drawn(log: RunLog, names: list[str]) -> str:
    numbers = [log.numbers[place] for place in log.shared_steps]
    planned = [_schedule(log, place) for place in log.shared_steps]
    rule = str(planned[0].get("rule"))
    with drawing("schedules") as figure_class:
        figure = figure_class((10.6, max(3.5, 1.3 + 0.19 * len(names))))
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.5})
        figure.subplots_adjust(left=0.07, right=0.985, bottom=0.23, top=0.9)
        lines: list[tuple[str, Values, str, Any, float]] = [
            ("lower bound", _series(planned, "lower_bound"), "muted", (0, (1, 1.6)), 2.0),
            ("paper's rule", _series(planned, "paper_rule_seconds"), "amber", (0, (4, 2)), 1.6),
            (rule, _series(planned, "projected_seconds"), "ink", "-", 1.6),
            ("charged", charged(log), "sky", "-", 1.2),
        ]
        every = max(1, len(numbers) // MAX_MARKED)
        for name, values, colour, style, width in lines:
            marked = len(numbers) == 1 or name in (rule, "charged")
            left.plot(
                numbers, gaps(values), color=SENTINELS[colour], linestyle=style, linewidth=width,
                marker="o" if marked else None, markersize=4, markevery=every,
            )  # fmt: skip
        log_axis(left, [value for _, values, *_ in lines for value in values])
        integer_steps(left, numbers)
        left.set(title="Until all systems of the step are solved", ylabel="projected seconds for the step (log)")
        labels: list[Label] = [(name, values, colour) for name, values, colour, *_ in lines]
        label_ends(left, labels)
        _draw_machines(right, log, names)
        return svg(figure, "schedules", "Projected seconds of each step's schedule, and the machine of each system")


def _draw_machines(axes: Any, log: RunLog, names: list[str]) -> None:
    from matplotlib.patches import Patch

    rows = {name: row for row, name in enumerate(names)}
    runs: dict[str, list[list[Any]]] = {name: [] for name in names}  # [machine, first step, last step], merged
    for step, name, machine in (place for place in _places(log) if place[1] in rows):
        mine = runs[name]
        if mine and mine[-1][0] == machine and mine[-1][2] == step - 1:
            mine[-1][2] = step
        else:
            mine.append([machine, step, step])
    for machine, (colour, height) in LOOKS.items():
        bars = [(rows[name], a, b) for name, mine in runs.items() for on, a, b in mine if on == machine]
        if bars:
            axes.barh(
                [row for row, _, _ in bars], [b - a + 0.92 for _, a, b in bars], height,
                left=[a - 0.46 for _, a, _ in bars], color=SENTINELS[colour], linewidth=0,
            )  # fmt: skip
    axes.set_yticks(range(len(names)), [name if len(name) <= 22 else f"{name[:10]}…{name[-11:]}" for name in names])
    spare = max(0, 5 - len(names)) / 2  # two bars do not fill the panel
    axes.set_ylim(len(names) - 0.4 + spare, -0.6 - spare)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=SENTINELS["ink"])
    integer_steps(axes, log.numbers)
    axes.set(title="The machine of each system")
    shown = [machine for machine in LOOKS if any(on == machine for mine in runs.values() for on, _, _ in mine)]
    handles = [Patch(color=SENTINELS[LOOKS[machine][0]], linewidth=0) for machine in shown]
    labels = [{"none": "no machine serves"}.get(machine, machine) for machine in shown]
    axes.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(-0.02, -0.17), ncols=len(shown), columnspacing=1.2,
        handlelength=1.4,
    )  # fmt: skip


def _series(planned: list[Record], name: str) -> Values:
    return [number(schedule.get(name)) for schedule in planned]


__all__ = ["charged", "schedules"]
