"""What `qnewton train` prints of a run: a line for each step, and the closing table."""

from __future__ import annotations

from collections import Counter
from typing import Any

MOST_NAMED = 2
"""Systems of a step whose kappa and solver are each named; of more the range and the counts."""
LARGEST_CROSS_CHECK = 1e-6  # two modes differ by rounding, about 1e-12; more is a mistake in one of them


def step_text(line: dict[str, Any], brief: bool = False) -> str:
    """One plain line for a step; every number of seconds says its clock. `brief` fits a terminal of 100 columns."""
    systems = line["systems"]
    kappas = [s["kappa"] or float("inf") for s in systems]
    kappa = "+".join(f"{bound:.1f}" for bound in kappas)
    if len(systems) > MOST_NAMED:
        kappa = f"{min(kappas):.1f}-{max(kappas):.1f}"
    chosen, honest = (_joined([s[who] for s in systems]) for who in ("solver", "honest_solver"))
    queries = sum(s["queries"] for s in systems)
    runs = sum(s.get("runs", 0) for s in systems)
    projected = sum(s["projected_seconds"] or 0.0 for s in systems)
    failures = sorted({s["status"] for s in systems} - {"solved"})
    rejected = "" if line["accepted"] else "  REJECTED" + (f": {', '.join(failures)}" if failures else "")
    parts = [
        f"step {line['step'] + 1:3d}  loss {line['loss']:.4f}  accuracy {line['accuracy']:.4f}",
        f"damping {line['damping']:.2e}",
        f"kappa {kappa:>8s}  {chosen:8s}  queries {queries:5d}" + (f"  runs {runs:.1e}" if runs else ""),
        f"projected {projected:.2e} s  simulated {line['simulated_seconds']:.2f} s",
        f"honest: {honest}",
    ]
    schedule = line.get("schedule") or {}
    if len(systems) > 1 and schedule.get("projected_seconds") is not None:
        parts.append(
            f"{schedule['rule']} schedule {schedule['projected_seconds']:.2e} s, paper's rule "
            f"{schedule['paper_rule_seconds']:.2e} s, projected"
        )
    return "  ".join([parts[0], parts[2], parts[4]] if brief else parts) + rejected


def _joined(names: list[str]) -> str:
    """lu+qsvt for two systems, "lu x3+qsvt" for four."""
    if len(names) <= MOST_NAMED:
        return "+".join(names)
    return "+".join(f"{name} x{n}" if n > 1 else name for name, n in Counter(names).items())


def summary(lines: list[dict[str, Any]], cross_check: float = 0.0) -> str:
    """The closing table: steps, accuracy, systems per solver, queries, and seconds on the two clocks."""
    from .tables import table

    if not lines:
        return "no step was finished"
    systems = [s for line in lines for s in line["systems"]]
    counts = Counter(s["solver"] for s in systems)
    honest = Counter(s["honest_solver"] for s in systems)
    reached = next((line["step"] + 1 for line in lines if line["accuracy"] >= 0.97), None)
    failures = Counter(s["status"] for s in systems if s["status"] != "solved")
    rows = [
        ("steps", f"{len(lines)}, of which {sum(not line['accepted'] for line in lines)} rejected"),
        ("test accuracy", f"{lines[-1]['accuracy']:.4f}; 97 % " + (f"at step {reached}" if reached else "not reached")),
        ("training loss", f"{lines[-1]['loss']:.4f}"),
        ("systems per solver", ", ".join(f"{name} {n}" for name, n in counts.items())),
        ("honest comparison would take", ", ".join(f"{name} {n}" for name, n in honest.items())),
        ("queries", str(sum(s["queries"] for s in systems))),
        ("simulated", f"{sum(line['simulated_seconds'] for line in lines):.2f} s, on this machine, whole steps"),
        (
            "projected",
            f"{sum(s['projected_seconds'] or 0.0 for s in systems):.3e} s, on the stated machines, solves only",
        ),
    ]
    rows += _schedule_rows(lines)
    if failures:
        rows.insert(4, ("not solved", ", ".join(f"{status} {n}" for status, n in failures.items())))
    if any("block" in s for s in systems):
        rows.append(("factor by factor", _blocks_text([s["block"] for s in systems if "block" in s])))
    if any("runs" in s for s in systems):
        rows += _shots_rows(systems)
    if cross_check:
        rows.append(("cross-check", _cross_check_text(systems)))
    return table(("run", ""), rows)


def _schedule_rows(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The planned seconds of steps with several systems, which share a classical and a quantum machine."""
    planned = [line["schedule"] for line in lines if len(line["systems"]) > 1 and line.get("schedule")]
    planned = [schedule for schedule in planned if schedule["projected_seconds"] is not None]
    if not planned:
        return []
    ours, paper, least = (
        sum(schedule[name] for schedule in planned)
        for name in ("projected_seconds", "paper_rule_seconds", "lower_bound")
    )
    rule = planned[0]["rule"]
    text = f"{rule} {ours:.3e} s, each system to its faster machine {paper:.3e} s, no schedule below {least:.3e} s"
    return [("schedule of the two machines", f"{text}; projected by the plans")]


def _blocks_text(blocks: list[dict[str, Any]]) -> str:
    """The steps of layers whose factors were solved each on its own: the residual of what they give together."""
    worst = max(blocks, key=lambda block: block["relative_residual"])
    ranks = [block["rank"] for block in blocks]
    rank = f"{min(ranks)}" if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"
    residual = f"{worst['relative_residual']:.1e} (tolerance {worst['tolerance']:.0e})"
    return f"largest relative residual of a layer's step {residual}; gradients of rank {rank}"


def _shots_rows(systems: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What reading the solutions took, and what the same circuits would take if amplitudes could just be read."""
    read = [s for s in systems if "runs" in s]
    runs, preparations = (sum(s[name] for s in read) for name in ("runs", "preparations"))
    exact = sum(s["exact_readout_seconds"] or 0.0 for s in read)
    return [
        ("readout by shots", f"{runs:.3e} runs of circuits, {preparations:.3e} of them successful"),
        ("with exact readout", f"{exact:.3e} s projected for the same circuits"),
    ]


def _cross_check_text(systems: list[dict[str, Any]]) -> str:
    """How many systems were compared in two modes, and the largest difference; a null of the log is no number."""
    checks = [s["cross_check"] for s in systems if "cross_check" in s]
    quantum = sum(s.get("mode") is not None for s in systems)
    compared = [check["relative_difference"] for check in checks if "skipped" not in check]
    skipped = [check["skipped"] for check in checks if "skipped" in check]
    text = f"compared in two modes: {len(compared)} of {quantum} quantum solves"
    if compared:
        worst = max(float("inf") if difference is None else difference for difference in compared)
        text += f", largest relative difference {worst:.1e}"
        if worst > LARGEST_CROSS_CHECK:
            text += f": THE MODES DISAGREE (more than {LARGEST_CROSS_CHECK:.0e})"
    return text + (f"; {len(skipped)} skipped: {skipped[0]}" if skipped else "")
