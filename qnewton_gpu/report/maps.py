"""The break-even maps: over N and kappa, the gate time from which on a quantum computer would pay, as colour.

One figure for the page and for a file: matplotlib is imported only when it is drawn.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..planning.break_even import BreakEvenMap, break_even_map
from .axes import plain
from .drawing import LOOKS, drawing, svg
from .log import RunLog, number, thin
from .style import PALETTE, SENTINELS, clock, framed, section

SHOWN = ("paper", "honest")
POINTS = 21
"""Of each axis: all contours are nearly straight where both axes are logarithmic."""
SIZES, KAPPAS = (10.0, 1e7), (1.0, 1e6)
LARGEST_KAPPA = 1e15
NAMED = {-6: "1 µs", -9: "1 ns", -12: "1 ps", -15: "1 fs", -18: "1 as"}
LEVELS = np.arange(-21.0, 1.0)
"""log10 of the gate times where the colour changes: every decade from 1e-21 to 1 s."""
BRIGHT = -11
"""Level from which on the fill is bright, and what is written on it dark."""
MAX_SYSTEMS = 60
Place = tuple[float, float]  # N, kappa


def maps(log: RunLog) -> str:
    """The section."""
    found, places = maps_of_run(log)
    of, hardware = found[0], log.model.hardware
    rows = "dense matrices" if of.row_nonzeros is None else f"{of.row_nonzeros} entries a row"
    caption = (
        "Colour: the gate time at which the best quantum candidate takes as long as the best classical one, for a "
        f"stated system: {rows}, α/||H|| = {of.alpha:.3g}, tolerance {of.tolerance:.1e}, the first guess of the "
        f"success probability, ||x|| known. Heavy line: the stated {hardware.gate_time:.3g} s; on its brighter "
        "side a quantum computer would pay. A map without that line has no such system, or no other. Points: systems "
        "of this run" + (f", {MAX_SYSTEMS} of {len(places)}." if len(places) > MAX_SYSTEMS else ".")
    )
    return section(f"Which systems would pay {clock('projected')}", framed(maps_svg(found, places), caption))


def maps_of_run(log: RunLog) -> tuple[list[BreakEvenMap], list[Place]]:
    """Maps on the machines of the run for systems like its own, and where its own lie."""
    places = [
        (float(size), kappa)
        for system in log.systems
        if (size := number(system.size)) and (kappa := number(system.kappa)) and kappa <= LARGEST_KAPPA
    ]
    filled = [row / size for s in log.systems if (row := number(s.row_sparsity)) and (size := number(s.size))]
    share = statistics.median(filled) if filled else 1.0
    rows = [row for s in log.systems if (row := number(s.row_sparsity))]
    norms = [
        max(1.0, covered / kappa)
        for s in log.systems
        if (covered := number(s.polynomial_kappa)) and (kappa := number(s.kappa))
    ]
    return stated_maps(
        [log.model.under(name) for name in SHOWN],
        row_nonzeros=round(statistics.median(rows)) if rows and share < 0.5 else None,
        alpha=statistics.median(norms) if norms else 1.0,
        tolerance=number(log.config.get("tolerance")) or 1e-2,
        places=places,
    ), places


def stated_maps(
    models: Sequence[Any],
    *,
    row_nonzeros: int | None,
    alpha: float,
    tolerance: float,
    places: Sequence[Place] = (),
    points: int = POINTS,
) -> list[BreakEvenMap]:
    """A map for each model over N = 10 ... 1e7 and kappa = 1 ... 1e6, and further where `places` lie beyond."""
    sizes, kappas = (
        np.geomspace(min([low, *found]), max([high, *found]), points)
        for (low, high), found in ((SIZES, [n for n, _ in places]), (KAPPAS, [kappa for _, kappa in places]))
    )
    whole = np.unique(np.rint(sizes).astype(np.int64))
    return [
        break_even_map(whole, kappas, model, row_nonzeros=row_nonzeros, alpha=alpha, tolerance=tolerance)
        for model in models
    ]


def maps_svg(maps: Sequence[BreakEvenMap], places: Sequence[Place] = ()) -> str:
    """The maps side by side as an element of the page."""
    with drawing("maps") as figure_class:
        figure = _draw(figure_class, maps, places, SENTINELS)
        drawn = svg(figure, "maps", "Break-even gate time over the order and the condition number of a system")
    # a tenth of a point is enough for paths, which are most of it
    return re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), drawn)


def save_maps(maps: Sequence[BreakEvenMap], path: str | Path, places: Sequence[Place] = ()) -> None:
    """The same figure as a file on a white ground, in the format of its suffix."""
    import matplotlib
    from matplotlib.figure import Figure

    colours = {name: light for name, (light, _) in PALETTE.items()}
    of_page = {SENTINELS[name]: colour for name, colour in colours.items()}
    looks = {key: of_page.get(value, value) for key, value in LOOKS.items()}
    with matplotlib.rc_context({**looks, "figure.facecolor": "white", "savefig.facecolor": "white"}):
        _draw(Figure, maps, places, colours).savefig(path, dpi=150)


def _draw(figure_class: type, maps: Sequence[BreakEvenMap], places: Sequence[Place], colours: Mapping[str, str]) -> Any:
    figure: Any = figure_class((10.6, 4.3))
    panels = figure.subplots(1, len(maps), squeeze=False, sharey=True, gridspec_kw={"wspace": 0.08})[0]
    figure.subplots_adjust(left=0.075, right=0.825, bottom=0.13, top=0.92)
    fills = _fills()
    for axes, found in zip(panels, maps, strict=True):
        _panel(axes, found, fills, colours)
        shown = thin(places, MAX_SYSTEMS)
        axes.plot(
            [n for n, _ in shown], [kappa for _, kappa in shown], "o", color="white", markeredgecolor="black",
            markersize=5, markeredgewidth=0.9, linestyle="none", zorder=5, clip_on=False,
        )  # fmt: skip
        axes.set_title(_title(found), fontsize=9.5)
    panels[0].set_ylabel("condition number κ (log)")
    _colour_bar(figure, fills, maps[0].model.hardware.gate_time, colours)
    return figure


def _fills() -> list[Any]:
    """A colour for each decade and for what lies beyond the ends; the same on either ground."""
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.0, 1.0, len(LEVELS) + 1)))


def _panel(axes: Any, found: BreakEvenMap, fills: list[Any], colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    x, y = np.meshgrid(found.sizes.astype(float), found.kappas)
    never = LEVELS[0] - 3
    exponents = np.log10(np.maximum(found.gate_times, 10.0**never))
    axes.set(xscale="log", yscale="log", xlabel="order N (log)")
    filled = axes.contourf(x, y, exponents, LEVELS, colors=fills, extend="both", zorder=1)
    filled.set(edgecolor="face", linewidth=0.4)  # else the ground shines through between two bands
    stated = math.log10(found.model.hardware.gate_time)
    lines = [
        level for level in sorted(NAMED) if exponents.min() < level < exponents.max() and abs(level - stated) > 0.3
    ]
    if lines:
        shades = ["black" if level >= BRIGHT else "white" for level in lines]
        drawn = axes.contour(x, y, exponents, lines, colors=shades, linewidths=0.8, linestyles="solid", zorder=2)
        axes.clabel(drawn, fmt=NAMED, fontsize=8.5, inline_spacing=3)
    if exponents.min() < stated < exponents.max():
        for colour, width in (("white", 3.6), (colours["vermillion"], 2.0)):
            axes.contour(x, y, exponents, [stated], colors=[colour], linewidths=width, linestyles="solid", zorder=3)
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def _title(found: BreakEvenMap) -> str:
    rules = found.model.rules
    return f"{rules.name}: {_best(rules.quantum, 'circuits')} against {_best(rules.classical, 'solvers')}"


def _best(candidates: Sequence[str], kind: str) -> str:
    return candidates[0] if len(candidates) == 1 else f"best of {len(candidates)} {kind}"


def _colour_bar(figure: Any, fills: list[Any], stated: float, colours: Mapping[str, str]) -> None:
    """The common scale, with the stated gate time: a strip of rectangles, which is short in SVG."""
    bar = figure.add_axes((0.838, 0.13, 0.016, 0.79))
    edges = [LEVELS[0] - 1, *LEVELS, LEVELS[-1] + 1]
    for low, high, colour in zip(edges, edges[1:], fills, strict=False):
        bar.axhspan(low, high, color=colour, linewidth=0)
    bar.set(xticks=[], ylim=(edges[0], edges[-1]), yticks=[*NAMED, -3], yticklabels=[*NAMED.values(), "1 ms"])
    bar.yaxis.tick_right()
    bar.tick_params(length=2)
    bar.grid(False)
    height = min(max(math.log10(stated), edges[0]), edges[-1])
    bar.axhline(height, color=colours["vermillion"], linewidth=2.4, clip_on=False)
    bar.annotate(
        f"stated {stated:.3g} s", (1, height), (31, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", color=colours["vermillion"], annotation_clip=False,
    )  # fmt: skip
    bar.set_title("gate time, projected", loc="left", fontsize=9, fontweight="normal")
