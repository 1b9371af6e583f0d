"""What was predicted, and what came: quantum solves on the projected clock, classical ones against the measured one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Any

from ..costs.model import FIRST_SUCCESS_PROBABILITY, repetitions
from ..solvers import CLASSICAL, FORMULAS
from .axes import legend, log_square, mark_solvers
from .drawing import drawing, svg
from .log import LoggedSystem, RunLog, number, thin
from .style import SENTINELS, framed, plural, section, solver_badge
from .tables import PROJECTED, SIMULATED, Row, count, figure_of, table

BANDS = (1.3, 2.0)
MAX_POINTS = 400


@dataclass(frozen=True)
class Prediction:
    """Seconds that were predicted for a solve and those that came; `solver` is the solver or formula that predicted."""

    solver: str
    predicted: float
    came: float
    system: LoggedSystem

    @property
    def ratio(self) -> float:
        return self.came / self.predicted

    def within(self, factor: float) -> bool:
        return 1 / factor <= self.ratio <= factor


def predictions(log: RunLog) -> str:
    """The section; nothing for a log of a former version, which kept no predictions."""
    if not any("planned_by" in system.record for system in log.systems):
        return ""
    quantum, classical = quantum_predictions(log), classical_predictions(log)
    drawn = [panel for panel in (_quantum_panel(quantum), _classical_panel(classical, log)) if panel.found]
    parts = [f"<p>{_quantum_said(quantum)}</p>", f"<p>{_classical_said(classical, log)}</p>"]
    if drawn:
        caption = "Diagonal: what came is what was predicted."
        if any(panel.bands for panel in drawn):
            caption += f" Bands: within a factor {BANDS[0]:g} and a factor {BANDS[1]:g} of it."
        caption += _overlapped(classical, log)
        parts += [framed(_drawn(drawn), caption, "half" if len(drawn) == 1 else ""), _table(quantum, classical, log)]
    left_out = sum(system.troubled for system in log.systems)
    if left_out:
        parts.append(
            f'<p class="note">Left out: {plural(left_out, "system")} that needed a fallback or stayed unsolved.</p>'
        )
    return section("What was predicted, and what came", *parts)


def quantum_predictions(log: RunLog) -> list[Prediction]:
    """Projected seconds by the plan, and as charged for the queries made and the success probabilities seen."""
    return _predictions(log, False, "predicted_seconds", "projected_seconds", lambda system: system.planned_by)


def classical_predictions(log: RunLog) -> list[Prediction]:
    """Projected seconds on the classical machine of the run, assembly included, and simulated seconds measured."""
    return _predictions(log, True, "classical_predicted_seconds", "simulated_seconds", lambda system: system.chosen)


def _predictions(
    log: RunLog, classical: bool, before: str, after: str, name: Callable[[LoggedSystem], str]
) -> list[Prediction]:
    found = []
    for system in log.systems:
        predicted, came = number(system.record.get(before)), number(system.record.get(after))
        # the seconds of a solve that did not go as planned are the sum of all that was tried
        if not system.troubled and (system.chosen in CLASSICAL) == classical and predicted and came:
            found.append(Prediction(name(system), predicted, came, system))
    return found


def _quantum_said(found: Sequence[Prediction]) -> str:
    if not found:
        return "No system was solved by a quantum solver as planned."
    said = (
        f"<b>Quantum</b> {PROJECTED}: {_spread(found, 'charged')} Before its first solve a system is planned with the "
        f"success probability that theory promises, or {FIRST_SUCCESS_PROBABILITY:g}, and then with that of the step "
        "before."
    )
    formulas = sorted({escape(p.solver) for p in found if p.solver in FORMULAS})
    return said + (f" What {', '.join(formulas)} predicted was then run and charged as a circuit." if formulas else "")


def _classical_said(found: Sequence[Prediction], log: RunLog) -> str:
    if not found:
        return "No system was solved by a classical solver as planned."
    name, clocks = escape(log.model.classical.name), f"<b>Classical</b> {PROJECTED} {SIMULATED}"
    if log.model.classical.measured:
        return f"{clocks}: {_spread(found, 'measured')} The classical machine, {name}, is the one that ran, measured."
    return (
        f"{clocks}: the stated machine, {name}, is another one than that of the run, which took "
        f"{figure_of(median(p.ratio for p in found))} times as long as predicted for it (median of "
        f"{plural(len(found), 'solve')}). That compares two machines and tests no prediction; a run with --calibrate "
        "does."
    )


def _spread(found: Sequence[Prediction], came: str) -> str:
    off = median(abs(p.ratio - 1) for p in found)
    close = sum(p.within(BANDS[0]) for p in found)
    return (
        f"the median of |{came}/predicted − 1| over {plural(len(found), 'solve')} is {100 * off:.0f} %; {close} of "
        f"{len(found)} came within a factor {BANDS[0]:g}."
    )


def _overlapped(found: Sequence[Prediction], log: RunLog) -> str:
    quantum = {system.step for system in log.systems if system.chosen not in CLASSICAL}
    # on a machine that was measured they run one after the other
    if log.model.classical.measured or not any(p.system.step in quantum for p in found):
        return ""
    return " In steps with both, the classical solves shared the machine of the run with the simulation of the others."


@dataclass(frozen=True)
class _Panel:
    found: list[Prediction]
    bands: bool
    title: str
    across: str
    up: str


def _quantum_panel(found: list[Prediction]) -> _Panel:
    across, up = "predicted, projected seconds (log)", "charged, projected seconds (log)"
    return _Panel(found, True, "Quantum solves", across, up)


def _classical_panel(found: list[Prediction], log: RunLog) -> _Panel:
    measured = log.model.classical.measured
    title = "Classical solves" + ("" if measured else ", on two different machines")
    across = "predicted" if measured else "predicted for the stated machine"
    return _Panel(found, measured, title, f"{across}, projected seconds (log)", "measured, simulated seconds (log)")


def _drawn(panels: Sequence[_Panel]) -> str:
    with drawing("predictions") as figure_class:
        both = len(panels) == 2
        figure = figure_class((10.6 if both else 5.2, 4.3))
        figure.subplots_adjust(
            left=0.075 if both else 0.15, right=0.985 if both else 0.95, bottom=0.19, top=0.92, wspace=0.25
        )
        entries: dict[str, Any] = {}
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            shown = thin(panel.found, MAX_POINTS, lambda p: not p.within(BANDS[1]))
            seconds = [value for p in shown for value in (p.predicted, p.came)]
            log_square(axes, seconds)
            low, high = axes.get_ylim()
            for factor in BANDS if panel.bands else ():
                edges = [[low / factor, high / factor], [low * factor, high * factor]]
                axes.fill_between([low, high], *edges, color=SENTINELS["muted"], alpha=0.16, linewidth=0, zorder=1)
            axes.plot([low, high], [low, high], color=SENTINELS["muted"], linewidth=1, zorder=2)
            entries |= mark_solvers(axes, [(p.predicted, p.came, p.solver, False) for p in shown])
            axes.set(title=panel.title, xlabel=panel.across, ylabel=panel.up)
        legend(figure, entries)
        return svg(figure, "predictions", "Predicted seconds of each solve against those that came")


def _table(quantum: Sequence[Prediction], classical: Sequence[Prediction], log: RunLog) -> str:
    headers = [
        "what came", "predicted by", "#systems", "#median of<br>came/predicted", "#median of<br>|came/predicted − 1|",
        *(f"#within a<br>factor {factor:g}" for factor in BANDS), "#queries<br>made/planned",
        "#repetitions<br>needed/planned",
    ]  # fmt: skip
    kinds = (
        (f"charged {PROJECTED}", quantum, True),
        (f"measured {SIMULATED}", classical, log.model.classical.measured),
    )
    rows: list[Row] = []
    for came, found, tests in kinds:
        for solver in dict.fromkeys(p.solver for p in found):
            own = [p for p in found if p.solver == solver]
            spread = f"{100 * median(abs(p.ratio - 1) for p in own):.0f} %" if tests else "–"
            within = [count(sum(p.within(factor) for p in own)) if tests else "–" for factor in BANDS]
            factors = [figure_of(value) for value in _factor_ratios(own, log)] if found is quantum else ["–", "–"]
            ratio = figure_of(median(p.ratio for p in own))
            rows.append(("", [came, solver_badge(solver), count(len(own)), ratio, spread, *within, *factors]))
    return table(headers, rows)


def _factor_ratios(found: Sequence[Prediction], log: RunLog) -> tuple[float | None, float | None]:
    """Medians of queries made over those planned, and of repetitions that the seen success probability asks for.

    Both are of one column: a circuit serves the columns of a system alike.
    """
    queries, repeated = [], []
    for p in found:
        factors = p.system.costs(False).get(p.solver, {}).get("factors") or {}
        each, rounds, times, search = (
            number(factors.get(name)) or 0.0 for name in ("queries", "rounds", "repetitions", "search_queries")
        )
        made, seen = number(p.system.queries), number(p.system.success_probability)
        if made and each:
            queries.append(made / (each * rounds + search))
        if seen and times:
            repeated.append(repetitions(seen, log.model.hardware.amplification) / times)
    return median(queries) if queries else None, median(repeated) if repeated else None


__all__ = ["classical_predictions", "predictions", "quantum_predictions"]
