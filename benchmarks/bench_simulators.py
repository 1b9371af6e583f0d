"""Predicted against simulated seconds, and predicted memory against its peak, of every way to simulate a solve here.

    python benchmarks/bench_simulators.py [--repeat 2]      -> benchmarks/results/simulators.md

Predicted by `qn.simulators` from rates that are measured once, before all cases. Simulated: the fastest of three solves
after one that made the encoding and the phase factors. Peak: of the NumPy arrays that one more solve allocates.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, sparse_system

import qnewton_gpu as qn
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.conditioning import estimate_spectrum
from qnewton_gpu.operators import as_operator, screened_poisson
from qnewton_gpu.planning.simulator_rates import SimulatorRates, calibrate_simulators
from qnewton_gpu.planning.simulators import Simulator, in_units
from qnewton_gpu.solvers import LinearSystem, make_solver
from qnewton_gpu.tensor_networks import MatrixProductState

RESULTS = Path(__file__).parent / "results" / "simulators.md"
RUNS = 3
CPU = qn.select_backend("cpu")


@dataclass(frozen=True)
class Case:
    """`run` solves the system by one simulator and tells its simulated seconds, and of a chain the bond it had."""

    name: str
    system: LinearSystem
    solver: str
    simulator: str
    encoding: str
    run: Callable[[], tuple[float, int | None]]


@dataclass(frozen=True)
class Row:
    case: Case
    predicted: Simulator
    seconds: float
    peak: float

    @property
    def ratio(self) -> float:
        return self.predicted.simulated_seconds / self.seconds

    @property
    def memory_ratio(self) -> float:
        return self.predicted.bytes / self.peak


def cases() -> Iterator[Case]:
    for size in (256, 4096, 65_536):
        yield explicit("sparse", size, "qsvt", "subspace", "walk")
    yield explicit("dense", 512, "qsvt", "subspace", "walk")
    yield explicit("sparse", 4096, "kernel_reflection", "subspace", "walk")
    for size in (256, 4096, 16_384):
        yield explicit("sparse", size, "qsvt", "fused", "walk")
    yield explicit("sparse", 1024, "qsvt", "fused", "matching")
    yield explicit("sparse", 4096, "kernel_reflection", "fused", "walk")
    for size in (64, 512, 2048):
        yield explicit("sparse", size, "qsvt", "circuit", "matching")
    yield explicit("sparse", 256, "kernel_reflection", "circuit", "matching")
    for size in (8, 32, 64):
        yield explicit("sparse", size, "qsvt", "tensornet", "matching")
    for qubits in (12, 20, 32):
        yield chain(qubits, 10.0)


def explicit(kind: str, size: int, solver: str, simulator: str, encoding: str, kappa: float = 10.0) -> Case:
    """A matrix of known kappa."""
    matrix: Any = sparse_system(size, kappa)
    operator = as_operator(matrix.toarray() if kind == "dense" else matrix, CPU)
    bounds = qn.SpectrumBounds(1 / kappa, 1.0, certified=True, method="known")
    norm = 3.0 if solver == "kernel_reflection" else None
    rhs = np.random.default_rng(1).standard_normal((size, 1))
    system = LinearSystem(operator, rhs / np.linalg.norm(rhs), bounds, 1e-3, expected_norm=norm)
    mode = "circuit" if simulator == "tensornet" else simulator
    made = make_solver(solver, encoding=encoding, mode=mode)

    def run() -> tuple[float, None]:
        backend: Any = TensornetBackend(CPU) if simulator == "tensornet" else CPU  # which knows no path yet
        solution = made.solve(system, backend)
        assert solution.solved and len(solution.history) == 1, solution.message
        return solution.simulated_seconds, None

    return Case(f"{kind}, N {size}", system, solver, simulator, encoding, run)


def chain(qubits: int, kappa: float) -> Case:
    """Screened Poisson on a line, its right-hand side a product state."""
    operator = screened_poisson([qubits], kappa, CPU)
    rhs = MatrixProductState.product([np.array([1.0, 0.5])] * qubits)

    def run() -> tuple[float, int]:
        solution = qn.solve(operator, rhs, solver="qsvt", tolerance=1e-3, backend="tensornet:64")
        assert solution.solved and len(solution.history) == 1, solution.message
        return solution.simulated_seconds, solution.resources["bond_dimension"]

    system = LinearSystem(operator, np.ones((1, 1)), estimate_spectrum(operator), 1e-3)
    return Case(f"screened Poisson, 2^{qubits}", system, "qsvt", "tensornet:", "toeplitz", run)


def row_of(case: Case, rates: SimulatorRates) -> Row:
    _, bond = case.run()
    options: dict[str, Any] = {"encoding": case.encoding, "bond_dimension": bond, "rates": rates}
    system = replace(case.system, encodings={})
    (predicted,) = (
        one for one in qn.simulators(system, case.solver, **options)
        if one.name == case.simulator or (bond and one.name.startswith(case.simulator))
    )  # fmt: skip
    seconds = min(case.run()[0] for _ in range(RUNS))
    tracemalloc.start()
    case.run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Row(case, predicted, seconds, float(peak))


def summary(ratios: list[float]) -> str:
    """Median, smallest, largest, and how many."""
    return f"{statistics.median(ratios):.2f} | {min(ratios):.2f} - {max(ratios):.2f} | {len(ratios)}"


def report(tables: list[list[Row]], rates: SimulatorRates) -> str:
    load, cores = os.getloadavg()[2], len(os.sched_getaffinity(0))
    disturbed = ": other work disturbed these timings, and ratios are distorted" if load > cores else ""
    lines = [
        "# Predicted against simulated seconds, and predicted memory, of every simulator",
        "",
        f"`python benchmarks/bench_simulators.py`, {machine()}, {time.strftime('%Y-%m-%d')}. Predicted for this "
        f"machine, whose rates were measured before each table ({rates.source}); simulated: the fastest of {RUNS} "
        "solves, the encoding and the phase factors made before. Chains are predicted for the bond dimension that the "
        "run showed. Memory is that of the door that a solve passes. "
        f"The load average of the last 15 minutes was {load:.1f} on {cores} cores{disturbed}.",
        "",
        "| predicted/simulated seconds | median | smallest - largest | cases |",
        "| --- | --- | --- | --- |",
    ]
    every = [row for rows in tables for row in rows]
    lines += [
        f"| all, run {number + 1} | {summary([row.ratio for row in rows])} |" for number, rows in enumerate(tables)
    ]
    for simulator in dict.fromkeys(row.case.simulator for row in every):
        shown = simulator + "chi" * simulator.endswith(":")
        lines.append(f"| {shown} | {summary([r.ratio for r in every if r.case.simulator == simulator])} |")
    lines += [f"| memory: predicted/peak, all | {summary([row.memory_ratio for row in every])} |", ""]
    heads = ("simulator", "case (run 1)", "solver", "encoding", "queries", "predicted, s", "simulated, s", "ratio",
             "predicted memory", "peak", "ratio")  # fmt: skip
    lines += [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for row in tables[0]:
        one, case = row.predicted, row.case
        cells = (one.name, case.name, case.solver, one.encoding, str(one.queries), f"{one.simulated_seconds:.2e}",
                 f"{row.seconds:.2e}", f"{row.ratio:.2f}", in_units(one.bytes), in_units(row.peak),
                 f"{row.memory_ratio:.2f}")  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=1, help="measure the rates and all cases so many times")
    tables = []
    for _ in range(parser.parse_args().repeat):
        rates = calibrate_simulators(CPU, refresh=True)
        rows = []
        for case in cases():
            rows.append(row_of(case, rates))
            row = rows[-1]
            print(f"{row.predicted.name:13s} {case.name:28s} {case.solver:18s} {row.predicted.simulated_seconds:9.2e} "
                  f"{row.seconds:9.2e} {row.ratio:6.2f}   {in_units(row.predicted.bytes):9s} {in_units(row.peak):9s} "
                  f"{row.memory_ratio:6.2f}", flush=True)  # fmt: skip
        tables.append(rows)
    text = report(tables, rates)
    print("\n" + text.split("\n\n| simulator")[0])
    RESULTS.write_text(text)


if __name__ == "__main__":
    main()
