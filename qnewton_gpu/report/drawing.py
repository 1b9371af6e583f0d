"""How a figure is drawn: matplotlib with the looks of the page, written as inline SVG in the page's colours.

matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .axes import Values
from .style import SENTINELS

LOOKS: dict[Any, Any] = {
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "text.color": SENTINELS["ink"], "axes.labelcolor": SENTINELS["ink"], "axes.titlecolor": SENTINELS["ink"],
    "axes.edgecolor": SENTINELS["muted"], "xtick.color": SENTINELS["muted"], "ytick.color": SENTINELS["muted"],
    "axes.grid": True, "axes.axisbelow": True, "grid.color": SENTINELS["line"], "grid.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlepad": 9, "axes.titley": 1.0,
    "font.size": 9.5, "axes.labelsize": 9.5, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "lines.linewidth": 1.6, "lines.markersize": 6, "legend.frameon": False, "legend.fontsize": 9,
    # names of systems are shown as they are, never as formulas
    "text.parse_math": False, "svg.fonttype": "none", "axes.unicode_minus": True,
}  # fmt: skip


@contextmanager
def drawing(name: str) -> Iterator[type]:
    """matplotlib's Figure, to be used with the looks of the report; `name` makes the ids of what is drawn."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**LOOKS, "svg.hashsalt": name}):
        yield Figure


def svg(figure: Any, name: str, description: str) -> str:
    """The figure as an element for this page: no prolog, ids of its own, and the page's variables for colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', drawn)
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    body = re.sub(r"<style.*?</style>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"font-family: [^;\"]*(; )?", "", body)
    body = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for colour, sentinel in SENTINELS.items():
        body = body.replace(sentinel, f"var(--{colour})")
    return f'<svg role="img" aria-label="{description}" viewBox="{box[1] if box else ""}">{body}'


def gaps(values: Values) -> list[float]:
    """The same with NaN for what is missing, where a line then ends."""
    return [math.nan if value is None else value for value in values]


__all__ = ["drawing", "gaps", "svg"]
