"""report.html: one page without any request to elsewhere, in the order in which a reader asks.

What was run and what came of it, how it learned, which solver and why, what it costs on the two clocks and what was
predicted, when a quantum computer would pay, what is assumed, and how large the errors are.
"""

from __future__ import annotations

from html import escape

from ..costs import CostModel
from ..solvers import FORMULAS, runs_as
from . import figures
from .header import header
from .log import RunLog, number
from .maps import maps
from .predictions import predictions
from .schedules import schedules
from .style import CSS, clock, framed, plural, section
from .tables import (
    PROJECTED,
    SIMULATED,
    choices,
    conditioning_steps,
    figure_of,
    ledger,
    quantum_factors,
    shots,
    solver_costs,
)

FORMULA = (
    "projected seconds = columns × (rounds × repetitions × readout × (queries × depth + preparation){}) × gate time{}"
)
SEARCH = " + search queries × depth + search runs × preparation"


def page(log: RunLog) -> str:
    """The whole document."""
    title = f"qnewton run: {log.config.get('data')}, seed {log.config.get('seed')}"
    sections = [header(log, title)]
    if log.systems:
        sections += [_learning(log), _conditioning(log), _choices(log), schedules(log)]
        sections += [_projected(log), predictions(log), _simulated(log)]
        sections += [*([_shots(log)] if log.read_by_shots else []), _break_even(log), maps(log)]
    elif log.steps:
        sections += [_learning(log)]
    sections += [_assumptions(log)]
    if log.systems:
        sections += [_ledger(log)]
    body = "\n".join(part for part in sections if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _learning(log: RunLog) -> str:
    thinned = "" if len(log.steps) <= figures.MAX_MARKERS else (
        f" The lines hold all {len(log.steps):,} steps; markers are thinned to {figures.MAX_MARKERS}."
    )  # fmt: skip
    caption = "A marker is a step; its shape and colour say which solver computed it. The loss begins before step 1."
    return section("How it learned", framed(figures.learning(log), caption + thinned))


def _conditioning(log: RunLog) -> str:
    several = len(log.system_names) > figures.MAX_LABELS
    caption = (
        "κ is the bound that the scheduler planned with, after damping; ∞ where there is none. "
        "d is what the cost of a sparse encoding grows with; d = N is a dense system."
        + (f" Of {len(log.system_names)} systems, those that end highest and lowest are named." if several else "")
        + (" Markers are thinned." if len(log.systems) > 2 * figures.MAX_MARKERS else "")
    )
    parts = [framed(figures.conditioning(log), caption)]
    if log.reconditioned:
        parts += [
            "<h3>What conditioning did</h3>",
            '<p class="note">Before the solve, in this order; the last line has the bound that the scheduler planned '
            "with.</p>",
            conditioning_steps(log),
        ]
    return section("How hard the systems were", *parts)


def _choices(log: RunLog) -> str:
    return section(
        "Which solver each system got, and why",
        "<p>The residual is ||b − Hx||/||b||, computed again in FP64 with the system's own operator. Rows on a "
        "coloured ground needed a fallback or stayed unsolved. κ is a certified bound unless it says estimate.</p>",
        choices(log),
    )


def _projected(log: RunLog) -> str:
    formulas = [name for name in log.solvers if name in FORMULAS]
    caption = "Lines: each solver, if it solved all systems of the step. "
    if any(set(log.solvers) - set(model.candidates) for _, _, model in log.comparisons):
        caption += "Dotted and in brackets: not a candidate of that comparison. "
    caption += "".join(f"{n} is a formula: what it wins is solved by {runs_as(n)}. " for n in formulas)
    caption += "Broad band: what was run, with the queries made and success probabilities seen"
    parts = []
    if log.comparison != "honest":
        caption += " (left), or what the honest comparison would have run (right)"
        said = log.model.honest().rules.said
        parts = [f"<p>The right panel is the honest comparison: {escape(said)}.</p>"]
    formula = FORMULA.format(
        SEARCH if "search_queries" in log.factors else "", " × correction" if "correction" in log.factors else ""
    )
    return section(
        f"What it would cost on the stated machines {clock('projected')}",
        framed(figures.projected(log), caption + "."),
        *parts,
        "<h3>Every solver for every system</h3>"
        '<p class="note">Bold: the solver that was run, and the one that the honest comparison would have run. '
        "These are predictions made before the solve; the projected seconds further up are those of the queries made "
        f"and the success probabilities seen.{_unable(log)}</p>",
        solver_costs(log),
        "<h3>The factors of the quantum cost</h3>",
        f'<p class="formula">{formula}</p>',
        quantum_factors(log),
    )


def _unable(log: RunLog) -> str:
    """Which solvers could serve no system at all."""
    able = {name for _, honest, _ in log.comparisons for name in log.predicted_solvers(honest)}
    unable = [escape(name) for name in log.solvers if name not in able]
    return f" Without a column, since it can serve none of the systems: {', '.join(unable)}." if unable else ""


def _simulated(log: RunLog) -> str:
    return section(
        f"What this run took on its own machine {clock('simulated')}",
        framed(
            figures.simulated(log),
            "Wall-clock seconds of the named stages, without those of the stages inside them. They say how fast the "
            f"simulation is, and nothing about a quantum computer.{_at_the_same_time(log)}",
        ),
    )


def _at_the_same_time(log: RunLog) -> str:
    tracks = {stage.get("track") for line in log.steps for stage in line.get("stages") or []}
    return " Stages that ran at the same time count each." if len(tracks) > 1 else ""


def _shots(log: RunLog) -> str:
    read = log.read_by_shots
    runs, preparations = (log.total(number(getattr(s, name)) for s in read) for name in ("runs", "preparations"))
    seconds, exact = (
        log.total(number(getattr(s, name)) for s in read) for name in ("projected_seconds", "exact_readout_seconds")
    )
    ratio = f", {figure_of(seconds / exact)} times as much" if exact else ""
    return section(
        f"What the shots cost {clock('projected')}",
        f"<p>{plural(len(read), 'solution')} took {figure_of(runs)} runs of circuits, {figure_of(preparations)} of "
        f"them successful: {figure_of(seconds)} s projected, against {figure_of(exact)} s if the amplitudes of the "
        f"same circuits could be read exactly{ratio}.</p>",
        '<p class="note">Runs are counted as they were drawn: a failed one is repeated. The projected seconds are '
        "those of the stated machine, with its amplitude amplification if it has any. A readout error is that of one "
        "round, in units of the relative residual; the next round measures what it left, and mends it.</p>",
        shots(log),
    )


def _break_even(log: RunLog) -> str:
    stated = log.model.hardware.gate_time
    sides = "; ".join(f"{name}: {_quantum_side(model)}" for name, _, model in log.comparisons)
    return section(
        f"When a quantum computer would pay {clock('projected')}",
        framed(
            figures.break_even(log),
            "Gate time at which the best quantum candidate of the comparison would take as long as its cheapest "
            f"classical one. Quantum candidates: {sides}. A point above the line of the stated gate time "
            f"({stated:.3g} s), filled, is a system that the quantum machine would solve sooner; a hollow one below it "
            "is the classical machine's. Missing points: no gate time would do."
            + (" Markers are thinned." if len(log.steps) > figures.MAX_BARS else ""),
        ),
    )


def _quantum_side(model: CostModel) -> str:
    names = (f"{name} (a formula)" if name in FORMULAS else name for name in model.quantum_candidates)
    return " or ".join(names)


def _assumptions(log: RunLog) -> str:
    classical = log.model.classical
    said = []
    for name, _, model in log.comparisons:
        items = "".join(f"<li>{escape(text)}</li>" for text in model.hardware.assumptions())
        said.append(
            f"<div><h3>Quantum machine, {escape(name)} comparison {PROJECTED}</h3><ul>{items}"
            f"<li>{escape(model.rules.said)}</li></ul></div>"
        )
    rates = (
        ("Cholesky", classical.cholesky_flops, "Gflop/s"),
        ("LU", classical.lu_flops, "Gflop/s"),
        ("memory", classical.bandwidth, "GB/s"),
    )
    machine = "".join(f"<li>{name}: {value / 1e9:.4g} {unit}</li>" for name, value, unit in rates)
    return section(
        "What is assumed, what is measured",
        f'<div class="two">{"".join(said)}<div><h3>Classical machine, {escape(classical.name)} {PROJECTED}</h3>'
        f"<ul>{machine}<li>{escape(classical.source)}</li></ul></div>"
        "<div><h3>Measured or computed in the run</h3><ul><li>loss, accuracy, κ, row sparsity</li><li>queries and "
        "success probability, on the simulated register</li><li>relative residuals, in FP64</li>"
        f"<li>seconds marked {SIMULATED}</li></ul></div>"
        f"<div><h3>Projected from the assumptions, not measured</h3><ul><li>seconds marked {PROJECTED}</li>"
        "<li>gates: queries × depth of a query in the stated access model</li><li>break-even gate times</li>"
        "<li>noise is not in it: gates are taken as error-corrected</li></ul></div></div>",
    )


def _ledger(log: RunLog) -> str:
    return section(
        "Error ledger",
        "<p>Where the error of each solution comes from, in units of the relative residual: the polynomial that stands "
        "for 1/x, its phase factors, FP64 arithmetic, readout; and the residual that was really measured. "
        "A classical solver has no polynomial, phases or readout.</p>",
        ledger(log),
    )


__all__ = ["page"]
