"""Predicted against simulated seconds of the classical solvers, on this machine as it was calibrated.

    python benchmarks/bench_predictions.py [dense] [sparse] [training]      -> benchmarks/results/predictions.md

Predicted: by the cost model on the calibrated machine, before the solve, assembly charged (honest comparison).
Simulated: what the solve then took here, the median of three. --repeat measures and predicts the whole table again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch  # first: dense factorisations run in torch once it is loaded, here as in training
from common import machine, sparse_system

import qnewton_gpu as qn
from qnewton_gpu.costs import CostModel, calibrate
from qnewton_gpu.data import load_data
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.solvers import LinearSystem, make_solver

RESULTS = Path(__file__).parent / "results" / "predictions.md"
TOLERANCES = (1e-2, 1e-6)
RUNS = 3
Case = tuple[str, str, LinearSystem]
"""Group, name and system."""


def dense() -> Iterator[Case]:
    for size in (64, 128, 256, 512, 1024, 1500):
        for kappa in (10.0, 1000.0):
            random = np.random.default_rng(size)
            basis = np.linalg.qr(random.standard_normal((size, size)))[0]
            H = (basis * kappa ** -np.linspace(0, 1, size)) @ basis.T
            yield from _system("dense", f"N {size}, kappa {kappa:g}", (H + H.T) / 2, kappa)


def sparse() -> Iterator[Case]:
    for size in (1000, 10_000, 100_000):
        for kappa in (10.0, 1000.0):
            yield from _system("sparse", f"blocks, N {size}, kappa {kappa:g}", sparse_system(size, kappa), kappa)
    for side in (32, 100, 316):
        yield from _system("grid", f"five-point grid, N {side**2}", grid(side), 1 / np.sin(np.pi / 2 / (side + 1)) ** 2)


def grid(side: int) -> Any:
    """The five-point Laplacian of a square, over 8: kappa = cot^2(pi/(2 side + 2))."""
    import scipy.sparse as sp

    line = 2 * sp.eye_array(side) - sp.eye_array(side, k=1) - sp.eye_array(side, k=-1)
    return ((sp.kron(line, sp.eye_array(side)) + sp.kron(sp.eye_array(side), line)) / 8).tocsr()


def _system(group: str, name: str, matrix: Any, kappa: float) -> Iterator[Case]:
    operator = as_operator(matrix, qn.select_backend("cpu"))
    rhs = np.random.default_rng(1).standard_normal((operator.shape[0], 1))
    bounds = qn.SpectrumBounds(1 / kappa, 1.0, certified=True, method="known")
    for tolerance in TOLERANCES:
        yield group, name, LinearSystem(operator, rhs, bounds, tolerance)


def training() -> Iterator[Case]:
    """The Gauss-Newton systems of a run on the digits, for the network and for its layers."""
    data = load_data("digits")
    for partition in ("network", "layer"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
        scheduler = qn.Scheduler(solver="lu", backend="cpu")
        seen: list[LinearSystem] = []
        solve_many = scheduler.solve_many

        def remember(systems: Any, *rest: Any, seen: Any = seen, solve_many: Any = solve_many) -> Any:
            seen.extend(systems)
            return solve_many(systems, *rest)

        scheduler.solve_many = remember  # type: ignore[method-assign]
        optimizer = qn.QNewton(model, torch.nn.CrossEntropyLoss(), scheduler=scheduler, partition=partition)
        for step in range(8):
            optimizer.step(data.train_inputs, data.train_targets)
            for system in seen:
                yield "training", f"step {step + 1}, {system.name}, N {system.size}", system
            seen.clear()


GROUPS = {"dense": dense, "sparse": sparse, "training": training}


def solvers_for(group: str, system: LinearSystem) -> tuple[str, ...]:
    if group in ("sparse", "grid"):
        return "lu", "cg"
    if system.tolerance != TOLERANCES[0]:
        return ("cg",)  # a factorisation is the same at every tolerance
    return "cholesky", "lu", "qr", "cg"


def seconds_of(solver: str, system: LinearSystem) -> float:
    """Median simulated seconds; a Gauss-Newton matrix is assembled anew each time."""
    backend, seconds = system.operator.backend, []
    for _ in range(RUNS):
        H = system.operator
        fresh = GramOperator(H.factor, H.damping, backend) if isinstance(H, GramOperator) else H
        solution = make_solver(solver).solve(replace(system, operator=fresh), backend)
        assert solution.solved, solution.message
        seconds.append(solution.simulated_seconds)
    return statistics.median(seconds)


def measured(groups: list[str]) -> list[tuple[str, str, str, float, float]]:
    """Every system of the groups; the machine is calibrated anew before each group."""
    rows = []
    for chosen in groups:
        model = CostModel(classical=calibrate(qn.select_backend("cpu"), refresh=True)).under("honest")
        for group, name, system in GROUPS[chosen]():
            for solver in solvers_for(group, system):
                predicted = make_solver(solver).predict(system, model, system.operator.backend).seconds
                name_of = f"{name}, tolerance {system.tolerance:.0e}" if solver == "cg" else name
                rows.append((group, name_of, solver, predicted, seconds_of(solver, system)))
                print(f"{group:9s} {solver:9s} {predicted:9.2e} {rows[-1][4]:9.2e}  {name_of}", flush=True)
    return rows


def error(rows: list[Any]) -> str:
    """Median of |predicted/simulated - 1|, the median of the ratio, and how many rows."""
    ratios = [predicted / seconds for *_, predicted, seconds in rows]
    off = statistics.median(abs(ratio - 1) for ratio in ratios)
    return f"{off:.0%} | {statistics.median(ratios):.2f} | {min(ratios):.2f} - {max(ratios):.2f} | {len(ratios)}"


def disturbed() -> str:
    load, cores = os.getloadavg()[2], len(os.sched_getaffinity(0))
    said = f"The load average of the last 15 minutes was {load:.1f} on {cores} cores"
    return f"{said}: other work disturbed these timings." if load > cores else f"{said}."


def report(tables: list[list[Any]], calibrated: qn.ClassicalMachine) -> str:
    lines = [
        "# Predicted against simulated seconds of the classical solvers",
        "",
        f"`python benchmarks/bench_predictions.py`, {machine()}, {time.strftime('%Y-%m-%d')}. Predicted by the cost "
        f"model on this machine, calibrated before each group ({calibrated.source}), before the solve, assembly "
        f"charged; simulated: what the solve then took here, the median of {RUNS}. {disturbed()}",
        "",
        "| | median of \\|predicted/simulated - 1\\| | median ratio | ratios | systems |",
        "| --- | --- | --- | --- | --- |",
    ]
    every = [row for rows in tables for row in rows]
    for number, rows in enumerate(tables):
        lines.append(f"| all, run {number + 1} | {error(rows)} |")
    for title, place in (("solver", 2), ("group", 0)):
        for name in dict.fromkeys(row[place] for row in every):
            lines.append(f"| {title} {name} | {error([row for row in every if row[place] == name])} |")
    lines += ["", "| group | system (run 1) | solver | predicted, s | simulated, s | ratio |", "| --- " * 6 + "|"]
    for group, name, solver, predicted, seconds in tables[0]:
        lines.append(f"| {group} | {name} | {solver} | {predicted:.2e} | {seconds:.2e} | {predicted / seconds:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("groups", nargs="*", default=list(GROUPS), help=f"some of: {', '.join(GROUPS)}")
    parser.add_argument("--repeat", type=int, default=1, help="calibrate, predict and measure so many times")
    options = parser.parse_args()
    unknown = sorted(set(options.groups) - set(GROUPS))
    if unknown:
        parser.error(f"unknown group {unknown[0]!r}; valid ones are {', '.join(GROUPS)}")
    tables = []
    for _ in range(options.repeat):
        tables.append(measured(options.groups))
    text = report(tables, calibrate(qn.select_backend("cpu")))
    print("\n" + text.split("\n\n| group")[0])
    if options.groups == list(GROUPS):
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
