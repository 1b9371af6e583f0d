"""report.html: one page without any request to elsewhere, in the order in which a reader asks.

What was run and what came of it, how it learned, which solver and why, what it costs on the two clocks, when a
quantum computer would pay, what is assumed, and how large the errors are.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from . import figures
from .log import TARGET_ACCURACY, RunLog, number
from .style import CSS, clock, solver_badge
from .tables import PROJECTED, SIMULATED, choices, count, figure_of, ledger, quantum_factors, shots, solver_costs

CURVATURES = {"ggn": "Gauss-Newton", "hessian": "Hessian", "fisher": "empirical Fisher"}
FORMULA = "projected seconds = rounds × columns × repetitions × readout × (queries × depth + preparation) × gate time"


def page(log: RunLog) -> str:
    """The whole document."""
    title = f"qnewton run: {log.config.get('data')}, seed {log.config.get('seed')}"
    sections = [_header(log, title)]
    if log.systems:
        sections += [_learning(log), _conditioning(log), _choices(log), _projected(log), _simulated(log)]
        sections += [*([_shots(log)] if log.read_by_shots else []), _break_even(log)]
    elif log.steps:
        sections += [_learning(log)]
    sections += [_assumptions(log)]
    if log.systems:
        sections += [_ledger(log)]
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n" + "\n".join(parts) + "\n</section>"


def _figure(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def _header(log: RunLog, title: str) -> str:
    config = log.config
    network = f"{' and '.join(map(str, config.get('hidden', [])))} hidden ReLU units"
    if log.parameters:
        network += f", {log.parameters:,} parameters"
    batch = config.get("batch_size")
    hardware = log.model.hardware
    options: dict[str, Any] = {
        "data": config.get("data"),
        "network": network,
        "curvature": CURVATURES.get(str(config.get("curvature")), config.get("curvature")),
        "systems": {"network": "one for the network", "layer": "one for each layer"}.get(
            str(config.get("partition")), config.get("partition")
        ),
        "solver": "chosen by the scheduler" if log.chosen_freely else f"{config.get('solver')}, asked for",
        "comparison": log.comparison + (", decides the choice" if log.chosen_freely else ""),
        "gate time": f"{hardware.gate_time:.3g} s, stated; access {hardware.access}",
        "readout": _readout(log),
        "tolerance": f"{figure_of(config.get('tolerance'))} relative residual",
        "damping": f"{figure_of(config.get('damping'))} at the start",
        "weight decay": figure_of(config.get("weight_decay")),
        "density": f"{figure_of(config.get('density'))}" + (" (not pruned)" if config.get("density") == 1 else ""),
        "batch": "the whole training set" if batch is None else f"{batch} examples",
        "seed": config.get("seed"),
        "encoding": f"{config.get('encoding')}, mode {config.get('mode')}",
        "backend": f"{config.get('backend')}: {config.get('device', '?')}; {config.get('threads', '?')} threads",
        "versions": ", ".join(f"{name} {version}" for name, version in (config.get("versions") or {}).items()),
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in options.items())
    return (
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="lead">{_summary(log)}</p>\n{_tiles(log)}\n'
        f'<dl class="options">{listed}</dl>\n<p class="note">Two clocks, never mixed: {SIMULATED} seconds were '
        f"measured on the machine of the run, which simulated the quantum solver; {PROJECTED} seconds are what the "
        "stated machines would need. Steps are counted from 1 (steps.jsonl counts from 0).</p>\n</header>"
    )


def _readout(log: RunLog) -> str:
    """How amplitudes were read in the simulation, and what the projection charges for it."""
    readout = log.config.get("readout") or {}
    if readout.get("kind") != "shots":
        return f"exact amplitudes of the simulation; charged as {log.model.hardware.readout}"
    return f"{readout.get('shots_per_unknown')} shots an unknown for magnitudes, as many for signs; charged as run"


def _summary(log: RunLog) -> str:
    if not log.steps:
        return "No step was finished: the run was stopped before its first line was logged. What it was to do is below."
    if not log.systems:
        return "The steps of this run logged no linear system."
    counts, honest = log.solver_counts(), log.solver_counts("honest_solver")
    decided = f"as the {escape(log.comparison)} comparison planned" if log.chosen_freely else "as the user asked"
    fallbacks = ", fallbacks included" if any(system.fallbacks for system in log.systems) else ""
    said = f"Of {_plural(len(log.systems), 'linear system')}, {_counted(counts, ' went')}, {decided}{fallbacks}."
    if log.comparison != "honest":
        said += f" The honest comparison would have sent {_counted(honest)}."
    troubled = sum(system.troubled for system in log.systems)
    if troubled:
        said += f" <b>{_plural(troubled, 'system')} needed a fallback or stayed unsolved.</b>"
    if log.rejected == len(log.steps):
        said += " <b>Every step was rejected: the parameters are those of the start.</b>"
    return said


def _plural(number_of: int, noun: str) -> str:
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def _counted(counts: Counter[str], verb: str = "") -> str:
    parts = [f"{times:,} to {solver_badge(name)}" for name, times in counts.most_common()]
    return ", ".join(parts).replace(" to", f"{verb} to", 1) or "none"


def _tiles(log: RunLog) -> str:
    last = log.steps[-1] if log.steps else {}
    accuracy, target = number(last.get("accuracy")), log.steps_to_target
    planned = log.config.get("steps")
    projected = figure_of(log.projected_seconds) + " s"
    if any(number(system.projected_seconds) is None for system in log.systems):
        projected, missing = f"&gt; {projected}", " (some without a finite projection)"
    else:
        missing = ""
    tiles = [
        ("test accuracy", "–" if accuracy is None else f"{100 * accuracy:.1f} %", "after the last step"),
        ("steps", f"{len(log.steps):,} of {count(planned)}", f"{log.rejected:,} rejected"),
        (f"steps to {100 * TARGET_ACCURACY:g} %", "–" if target is None else f"{target:,}",
         "not reached" if target is None else "test accuracy"),
        ("systems", f"{len(log.systems):,}", _counted(log.solver_counts())),
        (SIMULATED, figure_of(log.simulated_seconds) + " s", "whole steps, on the machine of the run"),
        (PROJECTED, projected, "solving the systems on the stated machines" + missing),
    ]  # fmt: skip
    return '<div class="tiles">' + "".join(
        f'<div class="tile"><span class="name">{name}</span><b>{value}</b><span class="more">{more}</span></div>'
        for name, value, more in tiles
    ) + "</div>"  # fmt: skip


def _learning(log: RunLog) -> str:
    thinned = "" if len(log.steps) <= figures.MAX_MARKERS else (
        f" The lines hold all {len(log.steps):,} steps; markers are thinned to {figures.MAX_MARKERS}."
    )  # fmt: skip
    caption = "A marker is a step; its shape and colour say which solver computed it. The loss begins before step 1."
    return _section("How it learned", _figure(figures.learning(log), caption + thinned))


def _conditioning(log: RunLog) -> str:
    several = len(log.system_names) > figures.MAX_LABELS
    caption = (
        "κ is the bound that the scheduler planned with, after damping; ∞ where there is none. "
        "d is what the cost of a sparse encoding grows with; d = N is a dense system."
        + (f" Of {len(log.system_names)} systems, those that end highest and lowest are named." if several else "")
        + (" Markers are thinned." if len(log.systems) > 2 * figures.MAX_MARKERS else "")
    )
    return _section("How hard the systems were", _figure(figures.conditioning(log), caption))


def _choices(log: RunLog) -> str:
    return _section(
        "Which solver each system got, and why",
        "<p>The residual is ||b − Hx||/||b||, computed again in FP64 with the system's own operator. Rows on a "
        "coloured ground needed a fallback or stayed unsolved. κ is a certified bound unless it says estimate.</p>",
        choices(log),
    )


def _projected(log: RunLog) -> str:
    honest = "" if log.comparison == "honest" else (
        " The right panel charges what the paper's comparison leaves out: readout, state preparation, assembling the "
        "matrix, and the best classical solver as the opponent."
    )  # fmt: skip
    return _section(
        f"What it would cost on the stated machines {clock('projected')}",
        _figure(
            figures.projected(log),
            "Lines: each solver, if it solved all systems of the step. Dotted and in brackets: not a candidate of that "
            "comparison. Broad band: what was run, with the queries made and success probabilities seen "
            "(left), or what the honest comparison would have run (right)."
            if log.comparison != "honest"
            else "Lines: each solver, if it solved all systems of the step. Broad band: what was run.",
        ),
        f"<p>{honest}</p>" if honest else "",
        "<h3>Every solver for every system</h3>"
        '<p class="note">Bold: the solver that was run, and the one that the honest comparison would have run. '
        "These are predictions made before the solve; the projected seconds further up are those of the queries made "
        "and the success probabilities seen.</p>",
        solver_costs(log),
        "<h3>The factors of the quantum cost</h3>",
        f'<p class="formula">{FORMULA}</p>',
        quantum_factors(log),
    )


def _simulated(log: RunLog) -> str:
    return _section(
        f"What this run took on its own machine {clock('simulated')}",
        _figure(
            figures.simulated(log),
            "Wall-clock seconds of the named stages, without those of the stages inside them. They say how fast the "
            "simulation is, and nothing about a quantum computer.",
        ),
    )


def _shots(log: RunLog) -> str:
    read = log.read_by_shots
    runs, preparations = (log.total(number(getattr(s, name)) for s in read) for name in ("runs", "preparations"))
    seconds, exact = (
        log.total(number(getattr(s, name)) for s in read) for name in ("projected_seconds", "exact_readout_seconds")
    )
    ratio = f", {figure_of(seconds / exact)} times as much" if exact else ""
    return _section(
        f"What the shots cost {clock('projected')}",
        f"<p>{_plural(len(read), 'solution')} took {figure_of(runs)} runs of circuits, {figure_of(preparations)} of "
        f"them successful: {figure_of(seconds)} s projected, against {figure_of(exact)} s if the amplitudes of the "
        f"same circuits could be read exactly{ratio}.</p>",
        '<p class="note">Runs are counted as they were drawn: a failed one is repeated. The projected seconds are '
        "those of the stated machine, with its amplitude amplification if it has any. A readout error is that of one "
        "round, in units of the relative residual; the next round measures what it left, and mends it.</p>",
        shots(log),
    )


def _break_even(log: RunLog) -> str:
    stated = log.model.hardware.gate_time
    return _section(
        f"When a quantum computer would pay {clock('projected')}",
        _figure(
            figures.break_even(log),
            "Gate time at which qsvt would take as long as the cheapest classical candidate of the comparison. A point "
            f"above the line of the stated gate time ({stated:.3g} s), filled, is a system that qsvt would solve "
            "sooner; a hollow one below it is the classical solver's. Missing points: no gate time would do."
            + (" Markers are thinned." if len(log.steps) > figures.MAX_BARS else ""),
        ),
    )


def _assumptions(log: RunLog) -> str:
    classical = log.model.classical
    said = []
    for name, _, model in log.comparisons:
        items = "".join(f"<li>{escape(text)}</li>" for text in model.hardware.assumptions())
        assembly = "charged" if name == "honest" else "not charged"
        said.append(
            f"<div><h3>Quantum machine, {escape(name)} comparison {PROJECTED}</h3><ul>{items}"
            f"<li>against {escape(', '.join(c for c in model.candidates if c != 'qsvt'))}; assembling the matrix is "
            f"{assembly}</li></ul></div>"
        )
    rates = (
        ("Cholesky", classical.cholesky_flops, "Gflop/s"),
        ("LU", classical.lu_flops, "Gflop/s"),
        ("memory", classical.bandwidth, "GB/s"),
    )
    machine = "".join(f"<li>{name}: {value / 1e9:.4g} {unit}</li>" for name, value, unit in rates)
    return _section(
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
    return _section(
        "Error ledger",
        "<p>Where the error of each solution comes from, in units of the relative residual: the polynomial that stands "
        "for 1/x, its phase factors, FP64 arithmetic, readout; and the residual that was really measured. "
        "A classical solver has no polynomial, phases or readout.</p>",
        ledger(log),
    )


__all__ = ["page"]
