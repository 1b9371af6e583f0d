"""The head of the report: what was run, and what came of it."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from .log import TARGET_ACCURACY, RunLog, number
from .style import plural, solver_badge
from .tables import PROJECTED, SIMULATED, count, figure_of

CURVATURES = {"ggn": "Gauss-Newton", "hessian": "Hessian", "fisher": "empirical Fisher", "kfac": "K-FAC"}

SYSTEMS = {
    "network": "one for the network",
    "layer": "one for each layer",
    "kfac": "two for each layer, outputs and inputs",
}


def header(log: RunLog, title: str) -> str:
    """Title, summary in words, the numbers that a reader asks for first, and every option of the run."""
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
        "systems": SYSTEMS.get("kfac" if config.get("curvature") == "kfac" else str(config.get("partition"))),
        "solver": "chosen by the scheduler" if log.chosen_freely else f"{config.get('solver')}, asked for",
        "comparison": log.comparison + (", decides the choice" if log.chosen_freely else ""),
        "predictions": "corrected by what solves took" if config.get("adapt") else None,
        "schedule": config.get("schedule") if log.chosen_freely and log.shared_steps else None,
        "gate time": f"{hardware.gate_time:.3g} s, stated; access {hardware.access}",
        "readout": _readout(log),
        "tolerance": f"{figure_of(config.get('tolerance'))} relative residual",
        "damping": f"{figure_of(config.get('damping'))} at the start",
        "weight decay": figure_of(config.get("weight_decay")),
        "density": f"{figure_of(config.get('density'))}" + (" (not pruned)" if config.get("density") == 1 else ""),
        "batch": "the whole training set" if batch is None else f"{batch} examples",
        "seed": config.get("seed"),
        "encoding": f"{config.get('encoding')}, mode {config.get('mode')}",
        "backend": f"{config.get('backend')}: {config.get('device', '?')}; CPU threads: {config.get('threads', '?')}",
        "versions": ", ".join(f"{name} {version}" for name, version in (config.get("versions") or {}).items()),
    }
    listed = "".join(
        f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in options.items()
        if value is not None
    )
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
    said = f"Of {plural(len(log.systems), 'linear system')}, {_counted(counts, ' went')}, {decided}{fallbacks}."
    if log.comparison != "honest":
        said += f" The honest comparison would have sent {_counted(honest)}."
    troubled = sum(system.troubled for system in log.systems)
    if troubled:
        said += f" <b>{plural(troubled, 'system')} needed a fallback or stayed unsolved.</b>"
    if log.rejected == len(log.steps):
        said += " <b>Every step was rejected: the parameters are those of the start.</b>"
    return said


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


__all__ = ["header"]
