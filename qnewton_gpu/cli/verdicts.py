"""What `qnewton estimate` prints: costs side by side, verdicts, factors, encodings."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from ..planning.sensitivity import ratio
from ..planning.simulators import in_units
from .machines import describe, origin
from .tables import seconds, table

if TYPE_CHECKING:
    from ..costs import CostModel
    from ..planning.estimate import Estimate
    from ..planning.simulator_rates import SimulatorRates
    from ..planning.simulators import Simulator

AN_ERROR = "released-code"
WIDTH = 120
INDENT = " " * 14
SHORT = {"success_probability": "p", "search_queries": "search", "search_runs": "its runs", "preparation": "prepare"}
"""Heads of the table of factors that would be too wide."""
APART = ("gate_time", "kappa", "alpha")
"""Factors that say what a count is of."""


def page(
    known: dict[str, Any],
    estimates: dict[str, Estimate],
    encodings: list[dict[str, Any]],
    simulated: tuple[SimulatorRates, dict[str, list[Simulator]]],
    asked: CostModel,
    factors: bool,
) -> str:
    """Everything that is printed, to be read on 120 columns."""
    parts = [describe(asked), "\n".join(_wrapped(_known(known), "", "  ")), cost_table(estimates)]
    parts += [verdict(name, one) for name, one in estimates.items()]
    parts.append(simulator_tables(*simulated))
    if factors:
        parts += factor_tables(estimates)
    if encodings:
        parts.append(
            "what every encoding costs (dilation: to N = 2048); T gates of one run, estimated, * the fewest, - not "
            "counted\n" + encoding_table(encodings, known["automatic_encoding"])
        )
    return "\n\n".join(parts)


def _known(known: dict[str, Any]) -> str:
    norm = f"||x|| {'known' if known['norm_of_x_known'] else 'not known'}"
    if "poisson" in known:
        grid = " x ".join(f"2^{n}" for n in known["poisson"])
        return (
            f"screened Poisson on {grid} points, {known['nonzeros']} entries, kappa {known['kappa']:.4g}, tolerance "
            f"{known['tolerance']:.1e}, encoding {known['encoding']}, {norm}"
        )
    if "matrix" in known:
        return (
            f"{known['matrix']}, {' x '.join(map(str, known['shape']))}, {known['nonzeros']} entries, kappa "
            f"{known['kappa']:.4g} ({known['kappa_by']}), tolerance {known['tolerance']:.1e}, encoding "
            f"{known['encoding']}, {norm}"
        )
    return (
        f"stated: N = {known['size']}, {known['row_nonzeros']} entries a row, kappa {known['kappa']:.4g}, alpha/||H|| "
        f"{known['alpha']:.4g}, tolerance {known['tolerance']:.1e}, {norm}"
    )


def cost_table(estimates: dict[str, Estimate]) -> str:
    """Projected seconds of every solver in every comparison, the cheapest of the first one on top."""
    from ..solvers import CLASSICAL, FORMULAS

    first = next(iter(estimates.values()))
    rows = []
    for name in sorted(first.costs, key=lambda name: first.costs[name].seconds):
        cells = []
        for one in estimates.values():
            said = seconds(one.costs[name].seconds)
            if said != "-" and name not in one.model.candidates:
                said = f"({said})"
            cells.append(f"{said} *" if name == one.winner else said)
        rows.append((name, "classical" if name in CLASSICAL else "formula" if name in FORMULAS else "circuit", *cells))
    heads = (f"{name} (an error)" if name == AN_ERROR else name for name in estimates)
    return (
        table(("projected seconds", "", *heads), rows)
        + "\n* the cheapest candidate; in brackets: no candidate of that comparison; -: cannot serve this system"
    )


def verdict(name: str, one: Estimate) -> str:
    """Winner, margin, and which assumptions would flip that, in a few lines."""
    hardware = one.model.hardware
    title = f"{name} (access {hardware.access}, readout {hardware.readout}): {one.model.rules.said}"
    lines = _wrapped(title, "", "  ")
    if one.sensitivity is None:
        return "\n".join([*lines, "  winner      none: no candidate can serve this system"])
    found = one.sensitivity
    v = found.verdict
    said = f"{v.winner}, {seconds(v.seconds)} projected"
    if math.isinf(v.margin):
        said += "; no other candidate can serve this system"
    else:
        said += f"; {v.second} takes {ratio(v.margin)} times as long"
        if v.second != v.rival and math.isfinite(v.lead):
            kind = "classical" if v.winner in one.model.quantum_candidates else "quantum"
            said += f", {v.rival}, the best {kind} candidate, {ratio(v.lead)} times"
    lines += _wrapped(said, "  winner      ")
    for place, finding in enumerate(found.flips):
        lines += _wrapped(finding.said, INDENT if place else "  flipped by  ")
    flipping = {finding.assumption for finding in found.flips}
    rest = dict.fromkeys(
        f"{finding.assumption} ({finding.changed})" if finding.assumption in flipping else finding.assumption
        for finding in found.findings
        if not finding.flips
    )
    return "\n".join([*lines, *(_wrapped(", ".join(rest), "  not by      ") if rest else [])])


def _wrapped(text: str, first: str, then: str = INDENT) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=then, break_on_hyphens=False, break_long_words=False
    )


def simulator_tables(rates: SimulatorRates, found: dict[str, list[Simulator]]) -> str:
    """Every simulator of every solver: memory, predicted simulated seconds, and why it is recommended or not."""
    free = next(iter(found.values()))[0].available_bytes
    whose = f"rates {origin(rates)}" if rates.measured else "rates of another machine (--calibrate measures this one)"
    title = (
        f"Simulating it here: simulated seconds, predicted from {whose}; {in_units(free)} are free; phases and "
        "encoding made before"
    )
    blocks = ["\n".join(_wrapped(title, "", "  "))]
    for solver, each in found.items():
        rows = [
            (one.name, one.encoding, str(one.qubits or "-"), in_units(one.bytes), "yes" if one.holds else "no",
             _at_most(one))
            for one in each
        ]  # fmt: skip
        blocks.append(table((solver, "encoding", "qubits", "memory", "fits", "simulated, predicted"), rows))
        blocks.append("\n".join(_wrapped(recommendation(each), "", "  ")))
    return "\n".join(blocks)


def _at_most(one: Simulator) -> str:
    """Predicted simulated seconds, of a tensor network as the bound that they are."""
    shown = seconds(one.simulated_seconds)
    return f"<= {shown}" if one.name.startswith("tensornet") and shown != "-" else shown


def recommendation(found: list[Simulator]) -> str:
    """Which simulator is recommended and why, and what speaks against the others."""
    chosen, against = "none", dict[str, list[str]]()
    for one in found:
        if one.recommended:
            chosen = f"{one.name}, {one.why}"
        else:
            against.setdefault(one.why, []).append(one.name)
    return "; ".join([f"recommended: {chosen}", *(f"{', '.join(names)}: {why}" for why, names in against.items())])


def factor_tables(estimates: dict[str, Estimate]) -> list[str]:
    """The factors of every cost, once for comparisons that share machines and opponents."""
    groups: dict[Any, list[str]] = {}
    for name, one in estimates.items():
        rules = one.model.rules
        groups.setdefault((one.model.hardware, rules.classical, rules.charges_assembly), []).append(name)
    return [f"factors: {', '.join(names)}\n{factor_table(estimates[names[0]])}" for names in groups.values()]


def factor_table(one: Estimate) -> str:
    """A row for every circuit and formula, without the factors that are 0 or 1 for all, and a line for the others."""
    costs = sorted((cost for cost in one.costs.values() if cost.finite), key=lambda cost: cost.seconds)
    quantum = [cost for cost in costs if "gate_time" in cost.factors]
    names = dict.fromkeys(name for cost in quantum for name in cost.factors if name not in APART)
    shown = [name for name in names if any(cost.factors.get(name, 0.0) not in (0.0, 1.0) for cost in quantum)]
    rows = [
        (cost.solver, *(f"{cost.factors.get(name, 0.0):.3g}" for name in shown),
         seconds(one.break_even_gate_time(cost.solver)))
        for cost in quantum
    ]  # fmt: skip
    heads = ("", *(SHORT.get(name, name) for name in shown), "break-even gate time")
    return "\n".join(
        [
            *([table(heads, rows)] if rows else []),
            *(
                f"{cost.solver}: " + ", ".join(f"{key} {value:.3g}" for key, value in cost.factors.items() if value)
                for cost in costs
                if cost not in quantum
            ),
        ]
    )


def encoding_table(encodings: list[dict[str, Any]], automatic: str) -> str:
    """What was found of every encoding, with a mark for the one that auto takes and those of fewest T gates."""
    fewest = {
        access: min((e["t_count"][access] for e in encodings if e["t_count"][access] is not None), default=None)
        for access in ("qram", "qrom")
    }

    def count(number: int | None, access: str) -> str:
        return "-" if number is None else f"{number:.3g}" + " *" * (number == fewest[access])

    rows = [
        (e["encoding"] + " (auto)" * (e["encoding"] == automatic), f"{e['alpha']:.4g}", f"{e['alpha_over_norm']:.3g}",
         f"{e['qubits']} + {e['ancillas']}", str(e["register_size"]), "yes" if e["gates"] else "no",
         str(e["qsvt_queries"]), *(count(number, access) for access, number in e["t_count"].items()))
        for e in encodings
    ]  # fmt: skip
    header = ("encoding", "alpha", "alpha/norm", "qubits + ancillas", "register", "gates", "qsvt queries",
              "T, qram", "T, qrom")  # fmt: skip
    return table(header, rows)
