"""How long an exactly simulated QSVT solve takes: `python benchmarks/bench_solve.py`, no arguments needed.

All seconds are on the `simulated` clock (what this machine spends); nothing here is projected.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from common import RUNS, median, run_chosen, sparse_system, table

import qnewton_gpu as qn
from qnewton_gpu.polynomials import clear_memory_cache, inverse_polynomial, phase_factors, phases_for

KAPPA = 50
TOLERANCE = 1e-2
TARGET_MILLISECONDS = 50
PHASES = ((100, 1e-4), (1000, 1e-4), (10_000, 1e-4))
EXPONENTS = range(10, 19)


def bench_one_solve(size: int = 1024) -> None:
    """The solve of the issue: encode, circuit, FP64 certificate; and the whole call with Lanczos and planning."""
    A, b = sparse_system(size, KAPPA), np.random.default_rng(1).standard_normal(size)
    exact = qn.SpectrumBounds(1 / KAPPA, 1.0, certified=True)
    rows = []
    for mode in ("subspace", "fused"):
        for label, bounds in (("given", exact), ("Lanczos", None)):
            solves: list[qn.Solution] = []

            def call(mode: str = mode, bounds: qn.SpectrumBounds | None = bounds, solves: list = solves) -> None:
                solves.append(
                    qn.solve(A, b, solver="qsvt", encoding="walk", mode=mode, tolerance=TOLERANCE, bounds=bounds)
                )

            whole = median(call)
            solution = solves[-1]
            assert solution.solved, solution.message
            itself = float(np.median([s.simulated_seconds for s in solves[1:]]))
            rows.append(
                [mode, label, str(solution.queries), f"{solution.success_probability:.4f}",
                 f"{solution.relative_residual:.1e}", f"{1e3 * itself:.1f}", f"{1e3 * whole:.1f}"]
            )  # fmt: skip
    table(
        f"simulated: qsvt, walk, N = {size}, 8 entries a row, kappa {KAPPA}, tolerance {TOLERANCE:g}; "
        f"medians of {RUNS}; target {TARGET_MILLISECONDS} ms for the solve",
        ["mode", "bounds", "queries", "success", "residual", "solve ms", "whole call ms"],
        rows,
    )


def bench_phases() -> None:
    """Building phase factors, and reading them back from the disk, where they are verified again."""
    rows = []
    for kappa, epsilon in PHASES:
        polynomial = inverse_polynomial(kappa, epsilon)
        began = time.perf_counter()
        phases = phase_factors(replace(polynomial))  # a copy has yet to compute its coefficients
        built = time.perf_counter() - began
        phases_for(polynomial)
        clear_memory_cache()
        began = time.perf_counter()
        phases_for(replace(polynomial))
        read = time.perf_counter() - began
        rows.append([str(phases.degree), f"{phases.error:.1e}", f"{built:.3f}", f"{read:.3f}"])
    table(
        "simulated: phase factors, one run each",
        ["degree", "error", "built s", "read and verified s"],
        rows,
    )


def bench_sizes() -> None:
    """Growth with N at fixed kappa: the queries stay, so the seconds are those of one product."""
    rows = []
    for exponent in EXPONENTS:
        size = 2**exponent
        A, b = sparse_system(size, KAPPA), np.random.default_rng(1).standard_normal(size)
        bounds = qn.SpectrumBounds(1 / KAPPA, 1.0, certified=True)
        seconds = []
        for _ in range(RUNS if size <= 2**14 else 2):
            solution = qn.solve(A, b, solver="qsvt", encoding="walk", tolerance=TOLERANCE, bounds=bounds)
            assert solution.solved, solution.message
            seconds.append(solution.simulated_seconds)
        best = float(np.median(seconds[1:]))
        register = solution.resources["register_size"]
        rows.append(
            [f"2^{exponent}", str(register), str(solution.queries), f"{best:.3f}",
             f"{1e9 * best / solution.queries / A.nnz:.2f}"]
        )  # fmt: skip
    table(
        f"simulated: qsvt, walk, subspace, kappa {KAPPA}, tolerance {TOLERANCE:g}, bounds given",
        ["N", "register", "queries", "solve s", "ns a query and entry"],
        rows,
    )


BENCHMARKS = {"solve": bench_one_solve, "phases": bench_phases, "sizes": bench_sizes}


if __name__ == "__main__":
    run_chosen(BENCHMARKS, __doc__)
