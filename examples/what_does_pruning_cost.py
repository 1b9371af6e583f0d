"""What does pruning cost, and does it pay?

A quantum linear solver wants sparse matrices: alpha, and with it the number of queries, falls with the row sums, and
without QRAM the depth of a query falls with the number of entries. Newton's method wants the exact matrix. This trains
one network again and again, the Gauss-Newton matrix of every layer pruned to fewer entries a row and then repaired, and
shows both sides: accuracy and loss over the steps, the angle between the pruned and the exact damped step, d, kappa and
alpha, and the projected seconds of QSVT (walk encoding) and LU on the stated machines.

    python examples/what_does_pruning_cost.py
    python examples/what_does_pruning_cost.py --plot pruning.png --csv pruning.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import Any

import torch

import qnewton_gpu as qn
from qnewton_gpu.conditioning.record import angle_between, row_nonzeros
from qnewton_gpu.costs.model import FIRST_SUCCESS_PROBABILITY, query_depth
from qnewton_gpu.curvature import Objective, make_curvature
from qnewton_gpu.data import DataSet, load_data
from qnewton_gpu.errors import QNewtonError
from qnewton_gpu.training import build_network

DENSITIES = (1.0, 0.5, 0.25, 0.1, 0.05)
REPAIRS = ("diagonal", "shift")
LEVELS = (0.90, 0.95, 0.97)
WEIGHT_DECAY = 1e-4
SECONDS = {
    "qsvt_qram_projected_seconds": "QSVT with QRAM (log2(N)^2 gates a query)",
    "qsvt_qrom_projected_seconds": "QSVT with QROM (a gate for each entry)",
    "lu_projected_seconds": "LU",
}


@dataclass(frozen=True)
class Step:
    """One training step: what it reached, and the largest of each quantity over its systems; seconds are their sum."""

    density: float
    repair: str
    step: int
    loss: float
    accuracy: float
    damping: float
    angle: float
    row_nonzeros: int
    kappa: float
    alpha: float
    queries: float
    qsvt_qram_projected_seconds: float
    qsvt_qrom_projected_seconds: float
    lu_projected_seconds: float


def curvature_blocks(optimizer: qn.QNewton, data: DataSet) -> Iterator[tuple[Any, Any]]:
    """The matrix and the gradient of every system that the next step will pose, before damping and pruning."""
    objective = Objective(optimizer.model, optimizer.loss, data.train_inputs, data.train_targets, WEIGHT_DECAY)
    theta = objective.parameters.vector()
    gradient = objective.value_and_gradient(theta)[1].numpy()
    dense = make_curvature("ggn", objective, theta).dense().numpy()
    network = optimizer.options.partition == "network"
    for block in [slice(None)] if network else objective.parameters.layers().values():
        yield dense[block, block], gradient[block, None]


def conditioned_step(optimizer: qn.QNewton, data: DataSet) -> tuple[float, list[qn.LinearSystem]]:
    """The angle between the pruned and the exact damped step in degrees, and the pruned systems."""
    backend = optimizer.scheduler.backend
    options, damping = optimizer.options, optimizer.param_groups[0]["damping"] + WEIGHT_DECAY
    exact, pruned, systems = [], [], []
    for C, g in curvature_blocks(optimizer, data):
        for density, steps in ((1.0, exact), (options.density, pruned)):
            changed = qn.condition(
                C, density=density, compensate=options.compensate, damping=damping, semidefinite=True, backend=backend
            )
            steps.append(backend.cholesky_solve(changed.operator.dense(), g))
        systems.append(qn.LinearSystem(changed.operator, g, changed.bounds, options.tolerance))
    return angle_between(*(torch.cat([torch.from_numpy(x) for x in steps]) for steps in (exact, pruned))), systems


def machines(gate_time: float) -> qn.CostModel:
    return qn.CostModel(qn.Hardware(gate_time=gate_time))


def train(data: DataSet, density: float, repair: str, options: argparse.Namespace) -> list[Step]:
    """Train with LU, which makes the exact solution of each pruned system, and price every system for QSVT as well."""
    network = build_network(data.train_inputs.shape[1], (options.hidden,), data.classes, options.seed)
    model = machines(options.gate_time)
    optimizer = qn.QNewton(
        network,
        torch.nn.CrossEntropyLoss(),
        partition=options.partition,
        density=density,
        compensate=repair,
        weight_decay=WEIGHT_DECAY,
        scheduler=qn.Scheduler(model, solver="lu", encoding="walk", backend="cpu"),
    )
    taken = []
    for step in range(1, options.steps + 1):
        with torch.no_grad():
            angle, systems = conditioned_step(optimizer, data)
        report = optimizer.step(data.train_inputs, data.train_targets)
        costs = [logged["predicted"] for logged in report.systems]
        factors = [cost["qsvt"]["factors"] for cost in costs]
        with_qrom = [
            {**f, "depth": query_depth("qrom", s.size, s.operator.nonzeros)}
            for f, s in zip(factors, systems, strict=True)
        ]
        with torch.no_grad():
            right = network(data.test_inputs).argmax(dim=1) == data.test_targets
        taken.append(
            Step(
                density,
                repair,
                step,
                report.new_loss,
                float(right.double().mean()),
                report.damping,
                angle,
                max(row_nonzeros(s.operator) for s in systems),
                max(s.kappa for s in systems),
                max(s.operator.largest_row_sum() for s in systems),
                max(f["queries"] * f["rounds"] for f in factors),
                sum(cost["qsvt"]["projected_seconds"] for cost in costs),
                sum(model.gates(f) * options.gate_time for f in with_qrom),
                sum(cost["lu"]["projected_seconds"] for cost in costs),
            )
        )
    return taken


def steps_to(run: list[Step], level: float) -> int | None:
    return next((s.step for s in run if s.accuracy >= level), None)


def label(run: list[Step]) -> str:
    return "exact" if run[0].density == 1 else f"{run[0].density:g} {run[0].repair}"


def table(runs: list[list[Step]]) -> str:
    """A line for each density and repair: how it trained, its matrices in the median step, and projected seconds."""
    head = (
        f"{'density, repair':>15}  {'steps to 90/95/97 %':>19}  {'loss':>7}  {'accuracy':>8}  {'angle':>5}  {'d':>5}  "
        f"{'kappa':>7}  {'alpha':>6}  {'queries':>7}  | {'qsvt qram':>9}  {'qsvt qrom':>9}  {'lu':>9}  "
        f"| {'qsvt qram':>9}  {'qsvt qrom':>9}  {'lu':>9}"
    )
    above = f"{'projected seconds a step':>{head.index('|') + 28}}  {'projected seconds to 95 %':>33}"
    lines = [above, head]
    for run in runs:
        middle = {f.name: sorted(getattr(s, f.name) for s in run)[len(run) // 2] for f in fields(Step)}
        reached = "/".join("-" if (n := steps_to(run, level)) is None else str(n) for level in LEVELS)
        until = steps_to(run, 0.95)
        each = "  ".join(f"{middle[name]:9.2e}" for name in SECONDS)
        total = "  ".join(
            f"{'-':>9}" if until is None else f"{sum(getattr(s, name) for s in run[:until]):9.2e}" for name in SECONDS
        )
        lines.append(
            f"{label(run):>15}  {reached:>19}  {run[-1].loss:7.4f}  {run[-1].accuracy:8.4f}  {middle['angle']:5.1f}  "
            f"{middle['row_nonzeros']:5d}  {middle['kappa']:7.0f}  {middle['alpha']:6.2f}  {middle['queries']:7.0f}  "
            f"| {each}  | {total}"
        )
    return "\n".join([*lines, "", *verdict(runs)])


def assumptions(model: qn.CostModel) -> str:
    said = [*model.hardware.assumptions(), f"success probability {FIRST_SUCCESS_PROBABILITY:g}, residual 1e-2"]
    said = [line for line in said if "QRAM" not in line]  # the columns say which access
    classical = model.classical
    dense, sparse = classical.lu_flops / 1e9, (classical.sparse_lu_flops or classical.lu_flops) / 1e9
    machine = f"LU {dense:g} GFLOP/s, {sparse:g} on the fill of a sparse matrix ({classical.name})"
    return f"Projected, nothing of it measured: {'; '.join(said)}; {machine}."


def verdict(runs: list[list[Step]]) -> list[str]:
    """Which matrix each solver would have trained fastest with, in words."""
    reached = {label(run): run[:until] for run in runs if (until := steps_to(run, 0.95))}
    lines = []
    for name, said in SECONDS.items():
        spent = {who: sum(getattr(s, name) for s in steps) for who, steps in reached.items()}
        if "exact" in spent:
            best = min(spent, key=lambda who: spent[who])
            gain = spent["exact"] / spent[best]
            what = (
                "no pruned matrix is faster than the exact one"
                if best == "exact"
                else f"{best} is {gain:.2f} times as fast"
            )
            lines.append(f"{said}, to 95 %: exact {spent['exact']:.2e} s projected; {what}.")
    return lines


def over_time(panel: Any, run: list[Step], look: dict[str, Any]) -> None:
    """Loss over the projected seconds spent with QROM; where nothing is pruned, with QRAM and by LU, too."""
    losses = [s.loss for s in run]

    def spent(name: str) -> list[float]:
        return list(accumulate(getattr(s, name) for s in run))

    panel.loglog(spent("qsvt_qrom_projected_seconds"), losses, marker="o", markersize=3, **look)
    if run[0].density == 1:
        for name, style, said in (("lu", ":", "LU"), ("qsvt_qram", "-.", "QSVT, QRAM")):
            seconds = spent(f"{name}_projected_seconds")
            panel.loglog(seconds, losses, style, color="black")
            end, below = (seconds[-1], losses[-1]), {"xytext": (0, -6), "textcoords": "offset points"}
            panel.annotate(said, end, ha="right", va="top", **below)


def plot(runs: list[list[Step]], file: str) -> None:
    """Six panels; colour is the density, a dashed line is the repair by a shift."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(14, 8), layout="constrained")
    densities = sorted({run[0].density for run in runs}, reverse=True)
    colours = dict(
        zip(densities, plt.get_cmap("viridis")([i / len(densities) for i in range(len(densities))]), strict=True)
    )
    shown = (
        ("accuracy", "test accuracy", "linear"),
        ("loss", "training loss", "log"),
        ("angle", "angle to the exact damped step, degrees", "linear"),
        ("kappa", "kappa of the hardest system", "log"),
        ("alpha", "alpha (largest row sum)", "log"),
    )
    for run in runs:
        look = {"color": colours[run[0].density], "linestyle": "-" if run[0].repair == "diagonal" else "--"}
        look |= {"linewidth": 3 if run[0].density == 1 else 1.8, "label": label(run)}
        for panel, (name, _, _) in zip(panels.flat, shown, strict=False):
            panel.plot([s.step for s in run], [getattr(s, name) for s in run], marker="o", markersize=3, **look)
        over_time(panels[1, 2], run, look)
    for panel, (_, name, scale) in zip(panels.flat, shown, strict=False):
        panel.set(xlabel="step", title=name, yscale=scale)
    panels[1, 2].set(
        xlabel="projected seconds so far, QSVT with QROM", title="training loss (black: exact, otherwise solved)"
    )
    panels[1, 2].margins(y=0.12)
    for panel in panels.flat:
        panel.grid(True, which="major", alpha=0.3)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=9, frameon=False)
    figure.suptitle("What pruning the Gauss-Newton matrix costs, and what it gives a quantum solver")
    figure.savefig(file, dpi=130)
    plt.close(figure)


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="FILE", help="draw into this file, pruning.png for example")
    parser.add_argument("--csv", metavar="FILE", help="write every step of every run into this file")
    parser.add_argument("--data", default="digits", help="digits (default), mnist or mnist:PATH")
    parser.add_argument("--hidden", type=int, default=16, help="width of the hidden layer (default 16)")
    parser.add_argument(
        "--partition", choices=("layer", "network"), default="layer", help="a matrix for each layer, or one"
    )
    parser.add_argument(
        "--densities", type=numbers, default=list(DENSITIES), help="shares of the entries, 1,.5,.25 say"
    )
    parser.add_argument("--steps", type=int, default=15, help="Newton steps of every run (default 15)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    parser.add_argument(
        "--gate-time", type=float, default=1e-7, help="seconds of a logical gate, projected (default 1e-7)"
    )
    options = parser.parse_args(arguments)
    if min(options.steps, options.hidden) < 1:
        parser.error("--steps and --hidden are numbers from 1 on")
    runs = []
    try:
        data = load_data(options.data)
        for density in options.densities:
            for repair in REPAIRS if density < 1 else REPAIRS[:1]:
                runs.append(train(data, density, repair, options))
                print(
                    f"{label(runs[-1])}: accuracy {runs[-1][-1].accuracy:.4f} after {options.steps} steps", flush=True
                )
    except QNewtonError as problem:
        parser.error(str(problem))
    print(f"\n{table(runs)}\n\n{assumptions(machines(options.gate_time))}")
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [f.name for f in fields(Step)])
            writer.writeheader()
            writer.writerows(asdict(step) for run in runs for step in run)
        print(f"\n{options.csv} written")
    if options.plot:
        plot(runs, options.plot)
        print(f"\n{options.plot} written")


if __name__ == "__main__":
    main()
