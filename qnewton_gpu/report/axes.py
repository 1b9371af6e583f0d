"""What the figures share: axes of steps, logarithmic axes with plain labels, direct labels, markers of solvers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .style import SENTINELS, solver_look

CROWD = 80  # markers of one panel from which on they are small
Values = Sequence[float | None]
Label = tuple[str, Values, str]  # name, the line it names, colour
Point = tuple[float, float | None, str, bool]  # x, y, solver, rejected
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(value: float) -> str:
    """A tick label: 0.05, 20, 10⁻⁷, 5·10⁻⁷."""
    if 1e-3 <= value < 1e5:
        return f"{value:g}"
    digits, _, exponent = f"{value:.0e}".partition("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return power if digits == "1" else f"{digits}·{power}"


def log_axis(axes: Any, values: Values) -> None:
    """A logarithmic y axis around these values, with labels between the decades where there are few."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    positive = [value for value in values if value is not None and value > 0]
    if not positive:
        axes.set_yticks([])
        axes.annotate("no finite value", (0.5, 0.5), xycoords="axes fraction", ha="center", color=SENTINELS["muted"])
        return
    low, high = min(positive), max(positive)
    margin = max(1.25, (high / low) ** 0.07)
    low, high = low / margin, high * margin
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)
    if high / low < 2:  # no round number may lie between them
        axes.set_yticks(sorted({min(positive), max(positive)}), minor=False)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
        return
    _log_ticks(axes.yaxis, low, high)


def log_square(axes: Any, values: Sequence[float]) -> None:
    """Two logarithmic axes of one range around these positive values, at least a factor 4 wide."""
    from matplotlib.ticker import NullLocator

    log_axis(axes, [min(values) / 2, max(values) * 2])
    axes.set(xscale="log", xlim=axes.get_ylim())
    axes.xaxis.set_minor_locator(NullLocator())
    _log_ticks(axes.xaxis, *axes.get_ylim())


def _log_ticks(axis: Any, low: float, high: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    decades = math.log10(high / low)
    subdivisions = (1, 2, 5) if decades < 2.2 else (1,)
    axis.set_major_locator(LogLocator(subs=subdivisions, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def integer_steps(axes: Any, steps: Sequence[int]) -> None:
    """The x axis: whole steps, with room for one alone."""
    from matplotlib.ticker import MaxNLocator

    margin = max(0.5, 0.02 * (steps[-1] - steps[0]))
    axes.set_xlim(steps[0] - margin, steps[-1] + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("step")


def label_ends(axes: Any, lines: Sequence[Label], room: int = 13) -> None:
    """Each name, cut to `room` characters, right of the axes at the height where its line ends, pushed apart."""
    low, high = axes.get_ylim()
    if axes.get_yscale() != "log":
        return
    ends = [
        (name, next((value for value in reversed(values) if value), None), colour) for name, values, colour in lines
    ]
    placed = sorted((math.log(y / low) / math.log(high / low), name, colour) for name, y, colour in ends if y)
    heights = _pushed_apart([height for height, _, _ in placed])
    for height, (_, name, colour) in zip(heights, placed, strict=True):
        half = room // 2  # the end of a module's name tells as much as its beginning
        shown = name if len(name) <= room else f"{name[:half]}…{name[-half:]}"
        axes.annotate(
            shown, (1, height), (5, 0), xycoords="axes fraction", textcoords="offset points", va="center",
            color=SENTINELS[colour], annotation_clip=False,
        )  # fmt: skip


def _pushed_apart(heights: list[float], gap: float = 0.068) -> list[float]:
    """Ascending heights in [0, 1], moved so that neighbours are at least `gap` apart and none is above 1."""
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    ceiling = 1.0
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], ceiling)
        ceiling = heights[index] - gap
    return heights


def mark_solvers(axes: Any, points: Iterable[Point]) -> dict[str, Any]:
    """Mark steps or systems with their solvers, rejected ones hollow and crossed; returns the legend's entries."""
    groups: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for x, y, name, rejected in points:
        if y is not None:
            groups.setdefault((name, rejected), []).append((x, y))
    crowded = sum(map(len, groups.values())) > CROWD
    size, edge_width = (3.2, 0.2) if crowded else (6, 0.8)
    entries: dict[str, Any] = {}
    for (name, rejected), places in groups.items():
        colour, marker = ("slate", "h") if name in ("several", "none") else solver_look(name)
        look = {"color": SENTINELS[colour], "marker": marker, "linestyle": "none"}
        entries[name] = look
        across, up = [x for x, _ in places], [y for _, y in places]
        edge, face = (colour, "ground") if rejected else ("ground", colour)
        axes.plot(
            across, up, **look, zorder=3, markersize=size, markeredgewidth=1.7 * edge_width if rejected else edge_width,
            markeredgecolor=SENTINELS[edge], markerfacecolor=SENTINELS[face],
        )  # fmt: skip
        if rejected:
            cross = {"color": SENTINELS["ink"], "marker": "x", "linestyle": "none"}
            axes.plot(across, up, **cross, zorder=4, markersize=0.85 * size)
            entries["rejected, parameters kept"] = cross
    return entries


def legend(figure: Any, entries: dict[str, dict[str, Any]]) -> None:
    """One row below the panels: what each marker means."""
    from matplotlib.lines import Line2D

    if entries:
        names = sorted(entries, key=lambda name: (name.startswith("rejected"), name in ("several", "none"), name))
        handles = [Line2D([], [], **entries[name]) for name in names]
        labels = {"several": "several solvers", "none": "no system"}
        figure.legend(
            handles, [labels.get(name, name) for name in names], loc="lower left", ncols=len(names),
            bbox_to_anchor=(0.05, -0.01), columnspacing=1.6, handletextpad=0.3,
        )  # fmt: skip
