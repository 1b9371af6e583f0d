"""The figures of a folder, one a part, drawn from its tables; every figure names its clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from ..report.style import PALETTE
from .claims import HARD_KAPPA, _steps_goal
from .clock import ALPHAS
from .runs import FIRST_ORDER, TARGETS
from .tables import Folder, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR = {name: colours[0] for name, colours in PALETTE.items()}
PROJECTED = "projected seconds"
LINES = ("-", "--", ":", "-.")


def draw(part: str, folder: Folder) -> list[str]:
    """Draw the figure of one part as PART.png where its table has rows; returns the names of the files."""
    if not folder.read(part):
        return []
    from matplotlib import rc_context

    look: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
            "grid.color": COLOUR["line"], "grid.linewidth": 0.5, "axes.titlesize": 10, "legend.frameon": False,
            "legend.fontsize": 8, "lines.linewidth": 1.6}  # fmt: skip
    with rc_context(look):
        figure = FIGURES[part](folder)
        figure.savefig(folder.path / f"{part}.png", dpi=110)
    return [f"{part}.png"]


def _figure(panels: int, title: str) -> tuple[Figure, Sequence[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * panels, 4.8), layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _legend(axes: Any) -> None:
    """Below the panel, where no line runs."""
    axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.13), ncols=2, columnspacing=1.2)


def _time(folder: Folder) -> Figure:
    """Two panels: to the highest accuracy that Newton reached, by the paper's comparison and by the honest one."""
    table = folder.read("time")
    reached = {row["goal"] for row in table if row["run"] == "newton-hessian" and row["steps"]}
    goals = [f"accuracy {target:g}" for target in TARGETS if f"accuracy {target:g}" in reached]
    goal = goals[-1] if goals else _steps_goal(folder)
    figure, panels = _figure(2, f"Training to {goal}: {PROJECTED} on stated machines, {_of(folder)}")
    looks: dict[str, tuple[str, str]] = {"classical Newton": ("blue", "-")}
    looks |= {f"Q-Newton, {alpha}": ("vermillion", line) for alpha, line in zip(ALPHAS, LINES, strict=False)}
    honest = {"honest classical": ("blue", "-"), "honest Q-Newton": ("vermillion", "-")}
    titles = (
        "paper's comparison (LU; loading, reading, assembly free)",
        "honest comparison (best classical; readout, assembly charged)",
    )
    for axes, rules, title in zip(panels, (looks, honest), titles, strict=True):
        for rule, (colour, line) in rules.items():
            _against_gate_time(axes, table, "newton-hessian", rule, goal, rule, COLOUR[colour], line)
        for (name, said), colour in zip(FIRST_ORDER.items(), ("slate", "green", "purple"), strict=True):
            label = said.split(" as ")[0].replace("learning rate", "lr")
            _against_gate_time(axes, table, name, "first order", goal, label, COLOUR[colour], "-.")
        axes.set(xscale="log", yscale="log", xlabel="gate time in seconds", title=title)
        axes.invert_xaxis()
    panels[0].set_ylabel(f"{PROJECTED} of the whole training")
    low, high = (f(axes.get_ylim()[k] for axes in panels) for k, f in ((0, min), (1, max)))
    for axes in panels:
        axes.set_ylim(low, high)
        _legend(axes)
    return figure


def _against_gate_time(
    axes: Any, table: list[Row], run: str, rule: str, goal: str, label: str, colour: str, line: str
) -> None:
    rows = [row for row in table if (row["run"], row["rule"], row["goal"]) == (run, rule, goal)]
    points = [(row["gate_time"], row["projected_total_s"]) for row in rows if math.isfinite(row["projected_total_s"])]
    label += "" if points else ": not reached"
    axes.plot([x for x, _ in points], [y for _, y in points], label=label, color=colour, linestyle=line)


def _conditioning(folder: Folder) -> Figure:
    table = [row for row in folder.read("conditioning") if row["run"] in ("newton-hessian", "newton-fisher")]
    figure, panels = _figure(3, f"Layers' systems along training: measured, {_of(folder)}")
    colours = dict(
        zip(dict.fromkeys(row["layer"] for row in table), cycle(("vermillion", "blue", "green")), strict=False)
    )
    for axes, run, title in zip(
        panels, ("newton-hessian", "newton-fisher"), ("Hessian", "empirical Fisher"), strict=False
    ):
        for layer, colour in colours.items():
            rows = [row for row in table if (row["run"], row["layer"]) == (run, layer)]
            steps = [row["step"] for row in rows]
            size = f"N = {rows[0]['size']:.0f}"
            for key, line, said in (("kappa", "-", "5e-3 max|H|"), ("kappa_of_fixed_damping", "--", "that of step 1")):
                axes.plot(steps, [row[key] for row in rows], line, color=COLOUR[colour], label=f"{size}, delta {said}")
        axes.axhline(HARD_KAPPA, color=COLOUR["muted"], linewidth=0.9, linestyle=":")
        axes.set(yscale="log", xlabel="step", ylabel="kappa", title=f"{title}: kappa (dotted: 1e4)")
        _legend(axes)
    first = next(iter(colours))
    rows = [row for row in table if (row["run"], row["layer"]) == ("newton-hessian", first)]
    for key, line in zip([key for key in rows[0] if key.startswith("row_mass")], LINES, strict=True):
        label = f"{float(key[9:]):.0%} of the row's sum"
        panels[2].plot(
            [row["step"] for row in rows], [row[key] for row in rows], line, color=COLOUR["ink"], label=label
        )
    panels[2].set(xlabel="step", ylabel="share of the row's entries", ylim=(0, None),
                  title=f"Hessian, N = {rows[0]['size']:.0f}: row mass")  # fmt: skip
    _legend(panels[2])
    return figure


def _sweep(
    folder: Folder, part: str, key: str, group: str | None, x: str, title: str, log: bool
) -> tuple[Figure, Sequence[Any]]:
    """Three panels against one quantity: accuracy, kappa, break-even gate time; a line for each value of `group`."""
    table = folder.read(part)
    figure, panels = _figure(3, f"{title}, {table[0]['steps']:.0f} steps, {_of(folder)}")
    groups = dict.fromkeys(row[group] for row in table) if group else {"": None}
    for name, colour in zip(groups, ("vermillion", "blue"), strict=False):
        rows = [row for row in table if not group or row[group] == name]
        across = [row[key] for row in rows]
        plots = (
            (0, "test_accuracy", "-", name),
            (1, "kappa_first", "-", f"{name}, first step".strip(", ")),
            (1, "kappa_last", "--", f"{name}, last step".strip(", ")),
            (2, "break_even_gate_time_s, least alpha", "-", f"{name}, least alpha".strip(", ")),
            (2, "break_even_gate_time_s, sparse access", "--", f"{name}, sparse access".strip(", ")),
        )
        for panel, column, line, label in plots:
            values = [row[column] or math.nan for row in rows]  # no value, or a gate time of 0: never
            panels[panel].plot(across, values, line, marker="o", markersize=3, color=COLOUR[colour], label=label)
    panels[0].set(ylabel="test accuracy", title="accuracy: measured")
    panels[1].set(ylabel="kappa", yscale="log", title="largest layer's kappa: measured")
    panels[2].set(ylabel="seconds a gate", yscale="log", title="gate time at which LU is as fast: projected clock")
    for axes in panels:
        axes.set_xlabel(x)
        if log:
            axes.set_xscale("log")
        else:
            axes.xaxis.get_major_locator().set_params(integer=True)
        if any(label for label in axes.get_legend_handles_labels()[1]):
            _legend(axes)
    return figure, panels


def _pruning(folder: Folder) -> Figure:
    figure, _ = _sweep(folder, "pruning", "density", "rule", "share of a row's entries kept", "Pruning", log=True)
    return figure


def _regularisation(folder: Folder) -> Figure:
    x = "epsilon, or fixed delta"
    return _sweep(folder, "regularisation", "value", "rule", x, "Regularisation", log=True)[0]


def _width(folder: Folder) -> Figure:
    return _sweep(folder, "width", "width", None, "units of each of two hidden layers", "Width", log=False)[0]


def _of(folder: Folder) -> str:
    settings = folder.read_json("settings")
    return f"{settings['data']}, seed {settings['seed']}"


FIGURES: dict[str, Callable[[Folder], Figure]] = {
    "time": _time,
    "conditioning": _conditioning,
    "pruning": _pruning,
    "regularisation": _regularisation,
    "width": _width,
}
