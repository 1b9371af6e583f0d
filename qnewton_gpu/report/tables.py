"""The tables of the report: systems and choices, projected costs and their factors, assumptions, error ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from .log import LoggedSystem, Record, RunLog, number, thin
from .style import clock, solver_badge

MAX_ROWS = 100
Row = tuple[str, list[str]]  # class of the row, its cells
PROJECTED, SIMULATED = clock("projected"), clock("simulated")
OPTIONAL_FACTORS = {
    "search_queries": "#search<br>queries", "search_runs": "#search<br>runs", "correction": "#correc-<br>tion",
}  # fmt: skip
LEDGER = ("polynomial", "phases", "arithmetic", "readout", "residual")


def figure_of(value: Any, spec: str = ".3g", missing: str = "–") -> str:
    """A number as text; `missing` is what a null means there."""
    known = number(value)
    if known is None:
        return missing
    return f"{known:,.0f}" if spec == ".3g" and 1e3 <= abs(known) < 1e6 else f"{known:{spec}}"


def count(value: Any) -> str:
    return figure_of(value, ",.0f")


def said(value: Any) -> str:
    """A word of the log, safe in HTML; a dash where there is none."""
    return "–" if value is None or value == "" else escape(str(value))


def table(headers: Sequence[str], rows: Iterable[Row], caption: str = "") -> str:
    """A table in a frame that scrolls; headers begin with `#` over numbers, `~` over text, `=` over names."""
    kinds = [{"#": ' class="n"', "~": ' class="wide"', "=": ' class="name"'}.get(header[:1], "") for header in headers]
    head = "".join(f"<th{kind}>{header.lstrip('#~=')}</th>" for kind, header in zip(kinds, headers, strict=True))
    body = "".join(_row(name, kinds, cells) for name, cells in rows)
    note = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="scroll"><table>{note}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _row(name: str, kinds: Sequence[str], cells: Sequence[str]) -> str:
    opening = f'<tr class="{name}">' if name else "<tr>"
    filled = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, cells, strict=True))
    return f"{opening}{filled}</tr>\n"


def _shown(log: RunLog, importance: Callable[[LoggedSystem], int]) -> tuple[list[LoggedSystem], str]:
    shown = thin(log.systems, MAX_ROWS, importance)
    if len(shown) == len(log.systems):
        return shown, ""
    return shown, (
        f"Thinned: {len(shown)} of {len(log.systems):,} systems are shown, the first and last, those that stand out, "
        "and an even choice of the rest. All are in steps.jsonl."
    )


def _place(system: LoggedSystem) -> list[str]:
    return [str(system.step), said(system.label)]


def choices(log: RunLog) -> str:
    """Which solver each system got, and why."""
    changes: set[int] = set()
    last: dict[str, str] = {}
    for system in log.systems:
        if last.get(system.label, system.chosen) != system.chosen:
            changes.add(id(system.record))
        last[system.label] = system.chosen
    shown, caption = _shown(log, lambda s: 2 * s.troubled + (id(s.record) in changes))
    headers = [
        "#step", "=system", "#κ", "solver", "encoding", "#degree<br>queries", "#success<br>probability",
        "#residual<br>(tolerance)", f"#{SIMULATED}<br>s", f"#{PROJECTED}<br>s", "~why", "honest<br>choice",
    ]  # fmt: skip
    return table(headers, [_choice(system) for system in shown], caption)


def _choice(system: LoggedSystem) -> Row:
    encoding = " ".join(escape(str(text)) for text in (system.encoding, system.mode) if text) or "–"
    if system.bond_dimension is not None:  # the register was a matrix-product state
        lost = f"at most {figure_of(system.truncation_error, '.1e')} truncated"
        encoding += f'<span class="small">bond {count(system.bond_dimension)}, {lost}</span>'
    encoding += _cross_check(system.cross_check)
    certified = "" if system.kappa_certified else '<span class="small">estimate</span>'
    why = said(system.reason)
    why += "".join(f'<span class="small"><b>Fallback:</b> {said(text)}</span>' for text in system.fallbacks or [])
    if not system.solved:
        why += f'<span class="small"><b>Not solved, {said(system.status)}:</b> {said(system.message)}</span>'
    if len(system.conditioning_steps) == 1:  # more of them have a table of their own
        why += f'<span class="small">{said(system.conditioning_steps[0].get("text"))}</span>'
    honest = solver_badge(str(system.honest_solver)) if system.honest_solver else "–"
    cells = [
        *_place(system)[:1],
        f'{said(system.label)}<span class="small">N&nbsp;=&nbsp;{count(system.size)}</span>',
        f"{figure_of(system.kappa, missing='∞')}{certified}",
        solver_badge(system.chosen),
        encoding,
        f"{count(system.degree)}<br>{count(system.queries or None)}",
        figure_of(system.success_probability),
        f"{figure_of(system.relative_residual, '.1e')}<br>({figure_of(system.tolerance)})",
        figure_of(system.simulated_seconds),
        figure_of(system.projected_seconds, missing="∞"),
        why,
        honest,
    ]
    return "trouble" if system.troubled else "", cells


def _cross_check(check: Record | None) -> str:
    """What a second solve in another mode showed."""
    if not check:
        return ""
    found = f"skipped: {said(check['skipped'])}" if "skipped" in check else (
        f"x differs by {figure_of(check.get('relative_difference'), '.1e', 'more than a number')}"
    )  # fmt: skip
    return f'<span class="small">checked in {escape(str(check.get("mode")))}: {found}</span>'


def conditioning_steps(log: RunLog) -> str:
    """What each step of conditioning did to kappa, d, alpha and the Newton step, as far as the log tells."""
    systems = log.reconditioned
    shown = thin(systems, MAX_ROWS // 4)
    known = {key for system in shown for step in system.conditioning_steps for key in step}
    headers = {"alpha": "#α", "angle": "#angle to the<br>exact step, °"}
    optional = {key: header for key, header in headers.items() if key in known}
    rows: list[Row] = []
    for system in shown:
        place = _place(system)
        for step in system.conditioning_steps:
            kappa = figure_of(step["kappa"], missing="∞") if "kappa" in step else ""
            cells = [kappa, count(step["row_nonzeros"]) if "row_nonzeros" in step else ""]
            cells += [figure_of(step.get(key)) for key in optional]
            rows.append(("", [*place, said(step.get("text") or step.get("name")), *cells]))
            place = ["", ""]
    thinned = f"Thinned: {len(shown)} of {len(systems):,} systems are shown." if len(shown) < len(systems) else ""
    return table(["#step", "=system", "~what was done", "#κ", "#d", *optional.values()], rows, thinned)


def solver_costs(log: RunLog) -> str:
    """Projected seconds of every solver for every system, the choice of each comparison in bold."""
    shown, caption = _shown(log, lambda s: s.troubled)
    headers = ["#step", "=system"]
    for name, honest, model in log.comparisons:
        for solver in log.predicted_solvers(honest):
            candidate = solver if solver in model.candidates else f"({solver})"
            headers.append(f"#{escape(name)}<br>{escape(candidate)}, s<br>{PROJECTED}")
    rows = []
    for system in shown:
        cells = _place(system)
        for _, honest, _ in log.comparisons:
            taken = system.honest_solver if honest else system.chosen
            for solver in log.predicted_solvers(honest):
                seconds = figure_of(system.projected(solver, honest), missing="∞")
                cells.append(f"<b>{seconds}</b>" if solver == taken else seconds)
        rows.append(("", cells))
    return table(headers, rows, caption)


def quantum_factors(log: RunLog) -> str:
    """What the projected seconds of the quantum solver are the product of."""
    shown, caption = _shown(log, lambda s: s.troubled)
    headers = [
        "#step", "=system", "comparison", "solver", "#rounds", "#columns",
        "#success<br>prob. of<br>the plan", "#repe-<br>titions",
        "#readout", "#queries",
        "#depth of<br>a query,<br>gates", "#prepa-<br>ration,<br>gates", "#gate<br>time, s,<br>stated",
        f"#{PROJECTED}<br>s",
    ]  # fmt: skip
    optional = {name: header for name, header in OPTIONAL_FACTORS.items() if name in log.factors}
    headers[-2:-2] = optional.values()
    rows: list[Row] = []
    for system in shown:
        place = _place(system)
        for name, honest, model in log.comparisons:
            # who competes in it, and who was run
            for solver in (s for s in log.solvers if s in (*model.quantum_candidates, system.chosen)):
                cost = system.costs(honest).get(solver, {})
                if "gate_time" in (cost.get("factors") or {}):
                    rows.append(("", [*place, escape(name), solver_badge(solver), *_factors(cost, optional)]))
                    place = ["", ""]
    return table(headers, rows, caption)


def _factors(cost: Record, optional: Iterable[str]) -> list[str]:
    factors = cost["factors"]
    return [
        count(factors.get("rounds")),
        count(factors.get("columns")),
        figure_of(factors.get("success_probability")),
        figure_of(factors.get("repetitions"), ".4g", "∞"),
        count(factors.get("readout")),
        count(factors.get("queries")),
        figure_of(factors.get("depth"), ".4g"),
        figure_of(factors.get("preparation"), ".4g"),
        *(figure_of(factors.get(name)) for name in optional),
        figure_of(factors.get("gate_time")),
        figure_of(cost.get("projected_seconds"), missing="∞"),
    ]


def shots(log: RunLog) -> str:
    """What reading the solutions by shots took, system by system."""
    systems = log.read_by_shots
    shown = thin(systems, MAX_ROWS, lambda s: s.troubled)
    headers = [
        "#step", "=system", "#rounds", "#circuits that<br>succeeded", "#circuits<br>run", "#readout<br>error",
        f"#{PROJECTED}<br>s", f"#{PROJECTED}, exact<br>readout, s", "#ratio",
    ]  # fmt: skip
    rows = []
    for system in shown:
        seconds, exact = number(system.projected_seconds), number(system.exact_readout_seconds)
        cells = [
            *_place(system),
            count(system.rounds),
            figure_of(system.preparations),
            figure_of(system.runs),
            figure_of((system.ledger or {}).get("readout"), ".1e"),
            figure_of(seconds, missing="∞"),
            figure_of(exact, missing="∞"),
            figure_of(seconds / exact if seconds and exact else None),
        ]
        rows.append(("" if system.solved else "trouble", cells))
    thinned = f"Thinned: {len(shown)} of {len(systems):,} systems are shown." if len(shown) < len(systems) else ""
    return table(headers, rows, thinned)


def ledger(log: RunLog) -> str:
    """The error ledger of every solution, in units of the relative residual."""
    shown, caption = _shown(log, lambda s: s.troubled)
    headers = ["#step", "=system", "solver", *(f"#{name}" for name in LEDGER), "#tolerance", "status"]
    rows = []
    for system in shown:
        entries = system.ledger or {}
        errors = ["0" if entries.get(name) == 0 else figure_of(entries.get(name), ".2e") for name in LEDGER]
        end = [figure_of(system.tolerance), said(system.status)]
        rows.append(("" if system.solved else "trouble", [*_place(system), solver_badge(system.chosen), *errors, *end]))
    return table(headers, rows, caption)


__all__ = [
    "PROJECTED",
    "SIMULATED",
    "choices",
    "conditioning_steps",
    "count",
    "figure_of",
    "ledger",
    "quantum_factors",
    "shots",
    "solver_costs",
]
