"""The claims of the Q-Newton paper (arXiv 2405.00252) beside what the tables of a folder say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..costs import ClassicalMachine
from .clock import ALPHAS, GATE_TIMES, Clock, kappa_at_break_even
from .runs import FIRST_ORDER, SOLUTION_ERROR
from .tables import Folder, Row

YES, PARTLY, NO = "reproduced", "in part", "not reproduced"
SAVING, HARD_KAPPA, KAPPA_FALL = 0.9, 1e4, 1e-3
"""What the paper's abstract names: 90 % of the time saved, kappa > 1e4 goes classical, kappa falls to 1/1000."""
SAME_ACCURACY = 0.01
"""Two accuracies no further apart than this count as the same."""


@dataclass(frozen=True)
class Claim:
    claim: str
    measured: str
    verdict: str
    why: str


def write_claims(folder: Folder, unfinished: str | None = None) -> list[Claim]:
    """claims.csv and claims.md of what the folder's tables decide, made anew; returns the claims.

    `unfinished` is a part that was stopped: claims.md says so.
    """
    claims = [claim for decide in CLAIMS if (claim := decide(folder))]
    (folder.path / "claims.csv").unlink(missing_ok=True)
    folder.write("claims", [asdict(claim) for claim in claims])
    lines = [
        "# The claims of arXiv 2405.00252, and what was measured",
        "",
        *_preamble(folder.read_json("settings")),
        *([f"**Stopped in the part {unfinished}**: of it only what was finished counts."] if unfinished else []),
        "",
        "| claim | measured | verdict | why |",
        "| --- | --- | --- | --- |",
        *("| " + " | ".join(text.replace("|", "\\|") for text in asdict(claim).values()) + " |" for claim in claims),
        "",
    ]
    (folder.path / "claims.md").write_text("\n".join(lines), encoding="utf-8")
    return claims


def _preamble(settings: dict[str, Any]) -> list[str]:
    machine = settings["machine"]
    widths = "-".join(str(width) for width in settings["hidden"])
    return [
        f"Made by `qnewton reproduce` on {settings['data']} ({settings['examples']} examples, hidden layer {widths},",
        f"seed {settings['seed']}; learning rate 0.01, delta = 5e-3 max\\|H\\| of each layer,",
        "batches of at most 4096).",
        "kappa, accuracy, steps and row mass were measured. All seconds are *projected*: those of a stated quantum",
        "machine of the gate time named, one query taking log2(N)^2 gates, and of the classical machine",
        f"{machine['name']!r} (LU {machine['lu_flops'] / 1e9:g} GFLOP/s, memory {machine['bandwidth'] / 1e9:g} GB/s).",
        "alpha is the norm of the block encoding over \\|\\|H\\|\\|: *least alpha* is 1, below which no encoding can",
        "be; *gram* is tr(H)/\\|\\|H\\|\\|; *sparse access* is N max\\|H\\|/\\|\\|H\\|\\|. The claims are worded here,",
        "not quoted; the tables and figures of each part are beside this file.",
    ]


def _clock(folder: Folder, gate_time: float) -> Clock:
    return Clock(gate_time, ClassicalMachine(**folder.read_json("settings")["machine"]), SOLUTION_ERROR)


def _largest(rows: Sequence[Row]) -> list[Row]:
    """The rows of the largest layer."""
    size = max(row["size"] for row in rows)
    return [row for row in rows if row["size"] == size]


def _seconds(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:.3g} s"


def _totals(folder: Folder, run: str, rule: str, goal: str, assembly: bool = False) -> dict[float, float]:
    """Projected seconds by gate time."""
    return {
        row["gate_time"]: row["projected_total_s"] + (row["projected_assembly_s"] if assembly else 0.0)
        for row in folder.read("time")
        if (row["run"], row["rule"], row["goal"]) == (run, rule, goal)
    }


def _steps_goal(folder: Folder) -> str:
    return next(row["goal"] for row in folder.read("time") if row["goal"].endswith("steps"))


def less_time_than_newton(folder: Folder) -> Claim | None:
    if not folder.read("time"):
        return None
    goal, said, best = _steps_goal(folder), [], {}
    for assembly in (False, True):
        for alpha in ALPHAS:
            classical = _totals(folder, "newton-hessian", "classical Newton", goal, assembly)
            quantum = _totals(folder, "newton-hessian", f"Q-Newton, {alpha}", goal, assembly)
            saved = {gate: 1 - quantum[gate] / classical[gate] for gate in classical}
            enough = [gate for gate, share in saved.items() if share >= SAVING]
            best[alpha, assembly] = max(saved.values())
            if not assembly:
                since = f"90 % from {max(enough):g} s a gate on" if enough else "90 % at no gate time"
                said.append(f"{alpha}: up to {max(saved.values()):.2%}, {since}")
    charged = best["least alpha", True]
    said.append(f"with the assembly of the matrices charged to both: up to {charged:.2%}")
    reached = [best[alpha, False] >= SAVING for alpha in ALPHAS]
    return Claim(
        "Up to 90 % less training time than classical second-order training (abstract)",
        "; ".join(said),
        YES if all(reached) and charged >= SAVING else PARTLY if any(reached) else NO,
        "What is saved is LU alone, and as much of it as the gate time is assumed to allow. "
        "Gradients stay, and so does "
        "the assembly of the matrices that are pruned and loaded, which the paper's comparison leaves out.",
    )


def less_time_than_first_order(folder: Folder) -> Claim | None:
    if not folder.read("time"):
        return None
    gate, said, wins, compared = min(GATE_TIMES), [], 0, 0
    goals = dict.fromkeys(row["goal"] for row in folder.read("time") if row["goal"].startswith("accuracy"))
    for goal in goals:
        own = _totals(folder, "newton-hessian", "Q-Newton, least alpha", goal)[gate]
        others = {name: _totals(folder, name, "first order", goal)[gate] for name in FIRST_ORDER}
        if all(math.isinf(seconds) for seconds in (own, *others.values())):
            continue
        text = ", ".join(f"{name} {_seconds(seconds)}" for name, seconds in others.items())
        said.append(f"{goal}: Q-Newton {_seconds(own)}, {text}")
        if math.isfinite(own):  # else its steps may have been too few to tell
            tuned = min(others["sgd"], others["adam"])
            wins, compared = wins + (own < tuned), compared + 1
    return Claim(
        "Less total training time than optimizers like SGD, once gates take attoseconds (README of the code)",
        f"gates of {gate:g} s, least alpha, projected; " + "; ".join(said),
        YES if wins and wins == compared else PARTLY if wins else NO,
        "At this gate time the inversions cost nothing, and steps alone count: of the "
        f"{compared} goals that Newton's steps reached, it wins {wins} against the better of tuned SGD and Adam. "
        "The released code gives SGD the small learning rate of Newton's method (sgd-released), which is far from "
        "its best.",
    )


def honest_break_even(folder: Folder) -> Claim | None:
    if not folder.read("time"):
        return None
    goal = _steps_goal(folder)
    classical = _totals(folder, "newton-hessian", "honest classical", goal)
    quantum = _totals(folder, "newton-hessian", "honest Q-Newton", goal)
    winning = [gate for gate in classical if quantum[gate] < classical[gate]]
    paper = _totals(folder, "newton-hessian", "Q-Newton, least alpha", goal)
    lu = _totals(folder, "newton-hessian", "classical Newton", goal)
    optimistic = [gate for gate in lu if paper[gate] < lu[gate]]
    return Claim(
        "(ours) The same against the best classical solver, with readout, repetitions and state preparation charged",
        f"a quantum computer takes part from {max(winning, default=0.0):g} s a gate on, in the paper's comparison "
        f"(least alpha) from {max(optimistic, default=0.0):g} s",
        f"gates {max(optimistic) / max(winning):.0f} times as fast needed" if winning and optimistic else NO,
        "Conjugate gradients need no matrix and few products, and reading all N amplitudes takes N/eps preparations. "
        "Gate times were swept in decades; loading data is still free here (QRAM).",
    )


def hard_systems_go_classical(folder: Folder) -> Claim | None:
    rows = folder.read("systems")
    if not rows:
        return None
    size = int(max(row["size"] for row in rows))
    thresholds = {gate: kappa_at_break_even(_clock(folder, gate), size) for gate in (1e-9, 1e-12, 1e-15, 1e-18)}
    unit = _clock(folder, 1.0)
    system = {"size": size, "kappa": HARD_KAPPA}
    exact = unit.lu(system) / unit.jennings(system, lambda _: 1.0).seconds
    said = ", ".join(
        f"{gate:g} s: {'LU always' if not kappa else f'{kappa:.2g}'}" for gate, kappa in thresholds.items()
    )
    return Claim(
        "Ill-conditioned systems (kappa > 1e4) are solved classically (abstract)",
        f"N = {size}, least alpha: LU wins above kappa = ({said}); the threshold is 1e4 at {exact:.2g} s a gate",
        PARTLY,
        "That LU wins above some kappa is so; which kappa it is falls as one over the gate time and grows with N^3, so "
        "1e4 belongs to one gate time and one size, and is no property of a matrix.",
    )


def kappa_falls_along_training(folder: Folder) -> Claim | None:
    rows = folder.read("conditioning")
    if not rows:
        return None
    said, falls = [], []
    for run in ("newton-hessian", "newton-fisher"):
        systems = _largest([row for row in rows if row["run"] == run])
        for key, name in (("kappa", "delta = 5e-3 max|H|"), ("kappa_of_fixed_damping", "delta of step 1")):
            values = [row[key] for row in systems]
            falls.append(min(values) / values[0])
            said.append(
                f"{run}, {name}: {values[0]:.3g} at step 1, {min(values):.3g} ... {max(values):.3g} on the way, "
                f"{values[-1]:.3g} at step {systems[-1]['step']:.0f}"
            )
    return Claim(
        "kappa falls to 1/1000 while the network is trained (abstract)",
        "largest layer; " + "; ".join(said),
        YES if max(falls) <= KAPPA_FALL else PARTLY if min(falls) <= KAPPA_FALL else NO,
        "A layer's Hessian is its Gauss-Newton block, which is singular: without delta kappa is "
        "infinite at every step, "
        "with it kappa = 1 + lambda_max/delta. So it changes only as lambda_max/max|H| does (which "
        "lies between 1 and N) "
        f"or, with a fixed delta, as lambda_max does: to {min(falls):.2g} of its first value at the least here.",
    )


def regularisation_lowers_kappa(folder: Folder) -> Claim | None:
    rows = [row for row in folder.read("regularisation") if row["rule"] == "epsilon max|H|"]
    if len(rows) < 2:
        return None
    least = rows[0]
    best = max(row["test_accuracy"] or 0 for row in rows)
    harmless = [row for row in rows if (row["test_accuracy"] or 0) >= best - SAME_ACCURACY][-1]
    far = min(rows, key=lambda row: abs(math.log(row["kappa_first"] / (KAPPA_FALL * least["kappa_first"]))))
    costs_nothing = (far["test_accuracy"] or 0) >= best - SAME_ACCURACY
    return Claim(
        "Regularisation lowers kappa and keeps the network as good",
        f"epsilon {least['value']:g}: kappa {least['kappa_first']:.3g}, accuracy {least['test_accuracy']:.3f}; "
        f"largest epsilon within a point of the best accuracy: {harmless['value']:g}, kappa "
        f"{harmless['kappa_first']:.3g}; "
        f"kappa 1/1000 at epsilon {far['value']:g}: {far['kappa_first']:.3g}, accuracy {far['test_accuracy']:.3f} "
        f"(after {least['steps']:.0f} steps)",
        YES if costs_nothing else PARTLY,
        "kappa - 1 = lambda_max/(epsilon max|H|) is one over epsilon, an identity. The step shrinks towards "
        "gradient/delta meanwhile, which at the same learning rate hardly moves the network.",
    )


def pruning_builds_sparsity(folder: Folder) -> Claim | None:
    rows = folder.read("pruning")
    if not rows:
        return None
    said, densities = [], []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        own = [row for row in rows if row["rule"] == rule]
        full = own[0]
        harmless = [row for row in own if (row["test_accuracy"] or 0) >= full["test_accuracy"] - SAME_ACCURACY][-1]
        half = min(own, key=lambda row: abs(row["density"] - 0.5))
        densities.append(harmless["density"])
        said.append(
            f"{rule}: within a point of the unpruned accuracy ({full['test_accuracy']:.3f}) down to density "
            f"{harmless['density']:g}; at {half['density']:g} accuracy {half['test_accuracy'] or math.nan:.3f}, kappa "
            f"{half['kappa_first']:.3g} (unpruned {full['kappa_first']:.3g}), "
            f"{half['row_nonzeros']:.0f} entries in a row "
            f"and {half['column_nonzeros']:.0f} in a column"
        )
    return Claim(
        "Pruning builds the sparsity that a quantum solver needs, at little loss",
        f"after {rows[0]['steps']:.0f} steps; " + "; ".join(said),
        PARTLY if min(densities) < 1 else NO,
        "Dropped entries make the matrix indefinite, so the released rule raises kappa, and it leaves columns fuller "
        "than rows: no Hermitian encoding of d entries. The repair lowers kappa, because it adds "
        "the dropped sums to the "
        "diagonal, and with them shortens the step.",
    )


def rows_are_sparse(folder: Folder) -> Claim | None:
    rows = [row for row in folder.read("conditioning") if row["run"] == "newton-hessian"]
    if not rows:
        return None
    systems = _largest(rows)
    said = [
        f"step {row['step']:.0f}: "
        + ", ".join(f"{float(key[9:]):.0%} in {row[key]:.1%}" for key in row if key.startswith("row_mass"))
        for row in (systems[0], systems[-1])
    ]
    concentrated = systems[0]["row_mass_0.95"] <= 0.1
    return Claim(
        "Few entries carry most of a row of the Hessian",
        "share of a row's absolute sum, in that share of its entries, largest layer, mean of rows that are not zero; "
        + "; ".join(said),
        YES if concentrated else PARTLY if systems[0]["row_mass_0.5"] <= 0.1 else NO,
        "Reproduced would be 95 % in a tenth of the entries; in part, 50 %.",
    )


def accuracy_is_kept(folder: Folder) -> Claim | None:
    rows = folder.read("steps")
    last = {row["method"]: row for row in rows}
    if not {"newton-hessian", "newton-inexact"} <= set(last):
        return None
    exact, inexact = (last[name]["test_accuracy"] for name in ("newton-hessian", "newton-inexact"))
    return Claim(
        "Model accuracy does not suffer from the quantum solver (abstract)",
        f"{exact:.4f} with exact solutions, {inexact:.4f} with random errors of {SOLUTION_ERROR:g} in every solution, "
        f"after {last['newton-hessian']['step']:.0f} steps",
        YES if abs(exact - inexact) <= SAME_ACCURACY else NO,
        "Which machine solves a system changes its solution by the solver's error only, and the optimizer bears that.",
    )


def kappa_is_estimated(folder: Folder) -> Claim | None:
    rows = folder.read("estimator")
    if not rows:
        return None
    said = [f"N = {row['size']:.0f}: kappa {row['kappa']:.3g}, bound 10^{row['log10_bound']:.1f}" for row in rows]
    excess = max(row["log10_bound"] - math.log10(row["kappa"]) for row in rows)
    return Claim(
        "kappa is estimated robustly from norm and determinant",
        "layers at the first step, in its correct form and in logarithms; " + "; ".join(said),
        YES if excess <= 1 else NO,
        "The determinant multiplies all eigenvalues, so the bound is off exponentially in N, of no use to a plan. "
        "Products "
        "for lambda_max and the known delta give kappa within rounding.",
    )


def width_favours_quantum(folder: Folder) -> Claim | None:
    rows = folder.read("width")
    if len(rows) < 2:
        return None
    first, last = rows[0], rows[-1]
    key = "break_even_gate_time_s, least alpha"
    sparse = "break_even_gate_time_s, sparse access"
    power = math.log(last[key] / first[key]) / math.log(last["size"] / first["size"])
    sparse_power = math.log(last[sparse] / first[sparse]) / math.log(last["size"] / first["size"])
    return Claim(
        "The wider the network, the more a quantum solver gains",
        f"widths {first['width']:.0f} to {last['width']:.0f}: N {first['size']:.0f} to {last['size']:.0f}, kappa "
        f"{first['kappa_last']:.3g} to {last['kappa_last']:.3g}, break-even gate time "
        f"{first[key]:.2g} to {last[key]:.2g} s "
        f"(N^{power:.1f}) at least alpha, {first[sparse]:.2g} to {last[sparse]:.2g} s "
        f"(N^{sparse_power:.1f}) at sparse access",
        YES if power > 1 and sparse_power > 1 else PARTLY if power > 0 else NO,
        "LU grows as N^3; what the quantum solver takes grows with kappa, alpha and log2(N)^2. The fitted powers vary "
        "with kappa, which fluctuates from width to width.",
    )


CLAIMS: tuple[Callable[[Folder], Claim | None], ...] = (
    less_time_than_newton,
    less_time_than_first_order,
    honest_break_even,
    hard_systems_go_classical,
    kappa_falls_along_training,
    regularisation_lowers_kappa,
    pruning_builds_sparsity,
    rows_are_sparse,
    kappa_is_estimated,
    accuracy_is_kept,
    width_favours_quantum,
)
