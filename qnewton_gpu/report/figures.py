"""The figures of the report as inline SVG, in the colours of the page; matplotlib is imported only when one is drawn.

Every axis of seconds names its clock. Lines hold every step; markers are thinned where they would hide each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..stages import STAGES
from .axes import Label, Values, integer_steps, label_ends, legend, log_axis, mark_solvers
from .drawing import drawing, gaps, svg
from .log import TARGET_ACCURACY, LoggedSystem, RunLog, number, thin
from .style import SENTINELS, STAGE_COLOURS, solver_look

MAX_MARKERS, MAX_BARS, MAX_LABELS = 150, 60, 6
OUTSIDE = "outside stages"


def learning(log: RunLog) -> str:
    """Loss and test accuracy over the steps, every step marked with its solver."""
    with drawing("learning") as figure_class:
        figure = figure_class((10.6, 3.5))
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.2})
        figure.subplots_adjust(left=0.07, right=0.985, bottom=0.23, top=0.9)
        steps, first = log.numbers, log.first_loss()
        losses = log.series("loss")
        start = ([log.numbers[0] - 1], [first]) if first is not None else ([], [])
        accuracies = [None if value is None else 100 * value for value in log.series("accuracy")]
        for axes, x, y in ((left, start[0] + steps, [*start[1], *losses]), (right, steps, accuracies)):
            axes.plot(x, gaps(y), color=SENTINELS["muted"], linewidth=1.2, zorder=2)
            integer_steps(axes, x)
        log_axis(left, [*start[1], *losses])
        left.set(title="Training loss after the step", ylabel="loss, weight decay included (log)")
        target = 100 * TARGET_ACCURACY
        right.axhline(target, color=SENTINELS["muted"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        lowest = min((value for value in accuracies if value is not None), default=0.0)
        right.set(title="Test accuracy after the step", ylabel="accuracy (%)", ylim=(max(0, lowest - 5), 101.5))
        right.annotate(
            f"{target:g} %", (0, target), (3, -3), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="top", color=SENTINELS["muted"],
        )  # fmt: skip
        entries: dict[str, Any] = {}
        shown = thin(range(len(steps)), MAX_MARKERS, lambda i: not log.steps[i].get("accepted"))
        for axes, y in ((left, losses), (right, accuracies)):
            entries |= mark_solvers(
                axes,
                [(steps[i], y[i], _step_solver(log.by_step[i]), not log.steps[i].get("accepted")) for i in shown],
            )
        legend(figure, entries)
        return svg(figure, "learning", "Training loss and test accuracy over the steps")


def conditioning(log: RunLog) -> str:
    """Condition number and row sparsity of every system over the steps."""
    with drawing("conditioning") as figure_class:
        figure = figure_class((10.6, 3.5))
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.5})
        figure.subplots_adjust(left=0.07, right=0.89, bottom=0.23, top=0.9)
        entries: dict[str, Any] = {}
        for axes, field, title, label in (
            (left, "kappa", "Condition number of the damped system", "κ (log)"),
            (right, "row_sparsity", "Row sparsity of the system", "d, nonzeros in a row (log)"),
        ):
            lines = _by_name(log, field)
            for _, x, y in lines:
                axes.plot(x, gaps(y), color=SENTINELS["muted"], linewidth=1, zorder=2, alpha=0.8)
            log_axis(axes, [value for _, _, y in lines for value in y])
            integer_steps(axes, log.numbers)
            axes.set(title=title, ylabel=label)
            shown = thin(log.systems, 2 * MAX_MARKERS, lambda s: s.troubled)
            points = [(s.step, number(s.record.get(field)), s.chosen, False) for s in shown]
            entries |= mark_solvers(axes, points)
            for step in {x for x, y, _, _ in points if y is None} if field == "kappa" else ():
                axes.annotate("∞", (step, 0.97), xycoords=("data", "axes fraction"), ha="center", va="top")
            label_ends(axes, _few([(name, y, "ink") for name, _, y in lines]))
        legend(figure, entries)
        return svg(figure, "conditioning", "Condition number and row sparsity of each system over the steps")


def projected(log: RunLog) -> str:
    """Projected seconds that each solver would take for all systems of a step, in both comparisons."""
    with drawing("projected") as figure_class:
        figure = figure_class((10.6, 3.7))
        panels = figure.subplots(1, len(log.comparisons), squeeze=False, gridspec_kw={"wspace": 0.7})[0]
        figure.subplots_adjust(left=0.065, right=0.86, bottom=0.15, top=0.9)
        for axes, (name, honest, model) in zip(panels, log.comparisons, strict=True):
            labels: list[Label] = []
            everything: list[float | None] = []
            for solver in log.solvers:
                y = [_sum([s.projected(solver, honest) for s in systems]) for systems in log.by_step]
                colour, marker = solver_look(solver)
                candidate = solver in model.candidates
                axes.plot(
                    log.numbers, gaps(y), color=SENTINELS[colour], linestyle="-" if candidate else (0, (1.5, 2)),
                    marker=marker, markevery=_every(len(y)), zorder=3,
                    markersize=4.5 if candidate or len(y) == 1 else 0,
                )  # fmt: skip
                labels.append((solver if candidate else f"({solver})", y, colour))
                everything += y
            taken = [
                _sum([s.projected(s.honest_solver, True) if honest else number(s.projected_seconds) for s in systems])
                for systems in log.by_step
            ]
            axes.plot(log.numbers, gaps(taken), color=SENTINELS["muted"], linewidth=9, alpha=0.28, zorder=1,
                      solid_capstyle="round", marker="o", markersize=9 if len(taken) == 1 else 0)  # fmt: skip
            log_axis(axes, [*everything, *taken])
            integer_steps(axes, log.numbers)
            axes.set(title=f"{name.capitalize()} comparison", ylabel="projected seconds for the step (log)")
            label_ends(axes, labels, room=19)
        return svg(figure, "projected", "Projected seconds of each solver for each step")


def simulated(log: RunLog) -> str:
    """Simulated seconds of the stages: of each step, and in all."""
    spent = log.stage_seconds()
    for stages, total in zip(spent, log.series("simulated_seconds"), strict=True):
        stages[OUTSIDE] = max(0.0, (total or 0.0) - sum(stages.values()))
    names = [*STAGES, *sorted({name for stages in spent for name in stages} - {*STAGES, OUTSIDE}), OUTSIDE]
    colours = [SENTINELS[(*STAGE_COLOURS, "line")[min(index, len(STAGE_COLOURS))]] for index in range(len(names))]
    width = math.ceil(len(spent) / MAX_BARS)
    groups = [spent[first : first + width] for first in range(0, len(spent), width)]
    with drawing("simulated") as figure_class:
        figure = figure_class((10.6, 3.6))
        left, right = figure.subplots(1, 2, gridspec_kw={"wspace": 0.33, "width_ratios": [1.25, 1]})
        figure.subplots_adjust(left=0.06, right=0.975, bottom=0.15, top=0.9)
        centres = [log.numbers[width * i] + (len(group) - 1) / 2 for i, group in enumerate(groups)]
        floor, thickness = [0.0] * len(groups), width * min(0.72, 0.2 + 0.1 * len(groups)) if width == 1 else width
        for name, colour in zip(names, colours, strict=True):
            heights = [sum(stages.get(name, 0.0) for stages in group) / len(group) for group in groups]
            left.bar(centres, heights, thickness, bottom=floor, color=colour, linewidth=0)
            floor = [low + height for low, height in zip(floor, heights, strict=True)]
        left.grid(axis="x", visible=False)
        integer_steps(left, log.numbers)
        each = "each step" if width == 1 else f"a step, mean of {width} steps"
        left.set(title=f"In {each}", ylabel="simulated seconds")
        totals = [sum(stages.get(name, 0.0) for stages in spent) for name in names]
        right.barh(names, totals, 0.68, color=colours, linewidth=0)
        for row, value in enumerate(totals):
            right.annotate(f"{value:.3g}", (value, row), (4, 0), textcoords="offset points", va="center")
        right.grid(axis="y", visible=False)
        right.tick_params(axis="y", length=0, labelcolor=SENTINELS["ink"])
        right.invert_yaxis()
        right.margins(x=0.14)
        right.set(title="In all steps", xlabel="simulated seconds")
        return svg(figure, "simulated", "Simulated seconds of each stage, for each step and in all")


def break_even(log: RunLog) -> str:
    """Gate time below which the quantum solver would be the cheaper one, for each system."""
    with drawing("break-even") as figure_class:
        figure = figure_class((10.6, 3.7))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.075, right=0.83, bottom=0.15, top=0.97)
        stated = log.model.hardware.gate_time
        labels: list[Label] = []
        everything: list[float | None] = [stated]
        for (name, honest, _), colour in zip(log.comparisons, ("blue", "purple"), strict=False):
            lines = _by_name(log, "honest_break_even_gate_time" if honest else "break_even_gate_time")
            many = len(lines) > MAX_LABELS
            named: list[Label] = []
            for system, x, found in lines:
                y = [value or None for value in found]  # 0: no gate time would do
                axes.plot(
                    x, gaps(y), color=SENTINELS[colour], linestyle="--" if honest else "-", zorder=2,
                    linewidth=0.7 if many else 1.6,
                )  # fmt: skip
                shown = thin([(a, b) for a, b in zip(x, y, strict=True) if b], MAX_BARS)
                for wins in (True, False):
                    points = [(a, b) for a, b in shown if (b > stated) == wins]
                    axes.scatter(
                        [a for a, _ in points], [b for _, b in points], 10 if many or len(shown) == MAX_BARS else 34,
                        facecolor=SENTINELS[colour if wins else "ground"], edgecolor=SENTINELS[colour],
                        linewidths=0.9 if many else 1.3, zorder=3,
                    )  # fmt: skip
                everything += y
                named.append((name if len(lines) == 1 else f"{name}: {system}", y, colour))
            # of many, one label for all, in the middle of them
            labels += [(f"{name}: {len(lines)} systems", _ranked(named)[len(named) // 2][1], colour)] if many else named
        axes.axhline(stated, color=SENTINELS["vermillion"], linewidth=1.3)
        log_axis(axes, everything)
        integer_steps(axes, log.numbers)
        axes.set(ylabel="break-even gate time, projected (s, log)")
        # the stated gate time is a label like the others, so that none covers it
        label_ends(axes, [(f"stated {stated:.3g} s", [stated], "vermillion"), *labels], room=26)
        return svg(figure, "break-even", "Break-even gate time of each system against the stated gate time")


def _sum(values: Values) -> float | None:
    """A step needs all of its systems: one that a solver cannot do leaves no finite sum."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _every(count: int) -> int:
    return 1 if count <= MAX_BARS else math.ceil(count / 20)


def _step_solver(systems: Sequence[LoggedSystem]) -> str:
    chosen = {system.chosen for system in systems}
    return chosen.pop() if len(chosen) == 1 else "several" if chosen else "none"


def _by_name(log: RunLog, field: str) -> list[tuple[str, list[int], Values]]:
    found: dict[str, list[LoggedSystem]] = {name: [] for name in log.system_names}
    for system in log.systems:
        found[system.label].append(system)
    return [
        (name, [s.step for s in systems], [number(s.record.get(field)) for s in systems])
        for name, systems in found.items()
    ]


def _few(labels: list[Label]) -> list[Label]:
    """The lines that get a label: all, or those that end highest and lowest where there are many."""
    if len(labels) <= MAX_LABELS:
        return labels
    ranked = _ranked(labels)
    return [ranked[0], ranked[-1]]


def _ranked(labels: list[Label]) -> list[Label]:
    return sorted(labels, key=lambda label: next((value for value in reversed(label[1]) if value), 0.0))


__all__ = ["break_even", "conditioning", "learning", "projected", "simulated"]
