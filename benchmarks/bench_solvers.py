"""Every solver and encoding against its prediction: `python benchmarks/bench_solvers.py`, or `make bench-solvers`.

Seconds are on the `simulated` clock (what this machine spends). Queries are those of one run of the circuit; `counted`
are the queries of the first round, counted by running its circuits on an encoding that only counts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from common import run_chosen, sparse_system, table

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import CostModel
from qnewton_gpu.costs.model import repetitions
from qnewton_gpu.operators import as_operator
from qnewton_gpu.solvers import LinearSystem, make_solver
from qnewton_gpu.solvers.method import count_round

CPU = select_backend("cpu")
SIZE, TOLERANCE = 256, 1e-2
KAPPAS = (10, 100, 1000)
ENCODINGS = ("walk", "matching", "dilation", "sparse_access", "pauli")
SOLVERS = ("qsvt_uniform", "saddle_free", "kernel_reflection", "cks", "hhl", "adiabatic")


def system_of(kappa: float, indefinite: bool) -> tuple[LinearSystem, np.ndarray]:
    H = sparse_system(SIZE, kappa, indefinite=indefinite)
    b = np.random.default_rng(1).standard_normal((SIZE, 1))
    bounds = qn.SpectrumBounds(1 / kappa, 1.0, certified=True, negative=indefinite, method="exact")
    return LinearSystem(as_operator(H, CPU), b, bounds, TOLERANCE), np.linalg.solve(H.toarray(), b)


def row(system: LinearSystem, exact: np.ndarray, name: str, encoding: str, label: str = "") -> list[str]:
    """One solve: what was predicted, made and counted, and what came out."""
    solver: Any = make_solver(name, encoding=encoding, max_queries=10**7)
    predicted = solver.predict(system, CostModel(), CPU).factors
    solution = solver.solve(system, CPU)
    epsilon, _ = solver.split(system.tolerance)
    posed = solver.pose(system)
    # with the same seed the same probes of a norm search are made
    counted = count_round(solver.method(posed, CPU), posed.zeros(), posed.rhs, epsilon)
    assert counted == solution.history[0]["queries"], f"{name} made {solution.history[0]['queries']} queries"
    error = float(np.linalg.norm(solution.x - exact) / np.linalg.norm(exact))
    return [
        label or name, encoding, f"{solution.resources['alpha']:.3f}", f"{predicted['queries']:.0f}", str(counted),
        f"{solution.queries} in {len(solution.history)}", solution.status.value, f"{error:.1e}",
        f"{solution.relative_residual:.1e}", f"{solution.success_probability:.1e}",
        f"{solution.queries * repetitions(solution.success_probability, True):.3g}",
        f"{solution.simulated_seconds:.3f}",
    ]  # fmt: skip


def bench_portfolio() -> None:
    """The table of the portfolio: solvers, encodings, kappa, definite and indefinite."""
    header = ["solver", "encoding", "alpha", "predicted", "counted", "made, rounds", "status", "error", "residual",
              "success", "with repetitions", "simulated s"]  # fmt: skip
    for kappa in KAPPAS:
        for indefinite in (False, True):
            system, exact = system_of(kappa, indefinite)
            rows = [row(system, exact, "qsvt", encoding) for encoding in ENCODINGS]
            absolute = np.linalg.eigh(system.operator.dense())
            target = (absolute[1] / abs(absolute[0])) @ absolute[1].T @ system.rhs
            for name in SOLVERS:
                rows.append(row(system, target if name == "saddle_free" else exact, name, "walk"))
            warm = replace(system, expected_norm=float(np.linalg.norm(exact)), encodings={})
            rows.append(row(warm, exact, "kernel_reflection", "walk", "kernel_reflection, norm known"))
            kind = "indefinite" if indefinite else "positive definite"
            table(f"N = {SIZE}, kappa {kappa}, {kind}, tolerance {TOLERANCE:g}", header, rows)


def digits(width: int = 16, examples: int = 1437) -> tuple[Any, Any, Any]:
    """Network, inputs and targets of the default run."""
    import torch

    from qnewton_gpu.data import load_data

    data = load_data("digits")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)).double()
    inputs, targets = (torch.as_tensor(a)[:examples] for a in (data.train_inputs, data.train_targets))
    return model, inputs.double(), targets


def bench_gram() -> None:
    """Gram against walk on Gauss-Newton matrices of the digits network, damped to kappa 1e2, 1e3, 1e4."""
    import torch

    from qnewton_gpu.curvature import Objective, make_curvature
    from qnewton_gpu.systems import SystemOptions, build_blocks

    model, inputs, targets = digits()
    optimizer = qn.QNewton(model, torch.nn.CrossEntropyLoss(), scheduler=qn.Scheduler(solver="cholesky"))
    for _ in range(3):  # away from the initial network
        optimizer.step(inputs, targets)
    objective = Objective(model, torch.nn.CrossEntropyLoss(), inputs, targets, 1e-4)
    theta = objective.parameters.vector()
    _, gradient = objective.value_and_gradient(theta)
    rows = []
    for kappa in (1e2, 1e3, 1e4):
        with torch.no_grad():
            curvature = make_curvature("ggn", objective, theta)
            largest = float(torch.linalg.eigvalsh(curvature.dense())[-1])
            damping = largest / (kappa - 1) - objective.weight_decay
            made = {
                encoding: build_blocks(
                    objective, theta, gradient, curvature, damping, SystemOptions(encoding=encoding), CPU
                )[0]
                .parts[0]
                .system
                for encoding in ("gram", "walk")
            }
        cases = {
            "gram, preimage (odd)": made["gram"],
            "gram, any g (even)": replace(made["gram"], preimage=None, encodings={}),
            "walk": replace(made["walk"], bounds=made["gram"].bounds),
        }
        for label, system in cases.items():
            solver: Any = make_solver("qsvt", encoding=label.split(",")[0], max_queries=10**7)
            solution = solver.solve(system, CPU)
            p = solution.success_probability
            rows.append(
                [f"{kappa:.0e}", label, f"{solution.resources['alpha']:.3f}",
                 f"{solution.resources['kappa']:.0f}", f"{solution.queries}", solution.status.value,
                 f"{solution.relative_residual:.1e}", f"{p:.1e}", f"{solution.queries * repetitions(p, True):.3g}",
                 f"{solution.simulated_seconds:.2f}"]
            )  # fmt: skip
    table(
        "Gauss-Newton matrices of the digits network after 3 steps, N = 1210; alpha is that of the factor for gram",
        ["kappa", "encoding", "alpha", "kappa covered", "queries", "status", "residual", "success", "with repetitions",
         "simulated s"],
        rows,
    )  # fmt: skip


def bench_norms(steps: int = 8) -> None:
    """Kernel reflection along a training run: norms from the step before, QSVT, and its own cold search."""
    import torch

    model, inputs, targets = digits(width=8)
    scheduler = qn.Scheduler(solver="kernel_reflection", encoding="walk", max_queries=10**7)
    optimizer = qn.QNewton(model, torch.nn.CrossEntropyLoss(), scheduler=scheduler)
    solved: list[LinearSystem] = []
    original = scheduler.solve_many

    def watched(systems: Any, plans: Any = None) -> Any:
        solved.extend(systems)
        return original(systems, plans)

    scheduler.solve_many = watched  # type: ignore[method-assign]
    rows = []
    for step in range(steps):
        report = optimizer.step(inputs, targets)
        record, system = report.systems[0], solved[-1]
        exact = np.linalg.solve(system.operator.dense(), system.rhs)
        guess = system.expected_norm
        ratio = "-" if guess is None else f"{guess / np.linalg.norm(exact):.2f}"
        cells = [str(step + 1), f"{record['kappa']:.0f}", f"{record['alpha']:.1f}", ratio]
        p = record["success_probability"]
        cells += [str(record["queries"]), f"{p:.3f}", f"{record['queries'] * repetitions(p, True):.3g}"]
        for name in ("qsvt", "kernel_reflection"):
            other = make_solver(name, encoding="walk", max_queries=10**7).solve(
                replace(system, expected_norm=None), CPU
            )
            q = other.success_probability or math.nan
            cells += [str(other.queries), f"{q:.3f}", f"{other.queries * repetitions(q, True):.3g}"]
        rows.append(cells)
    table(
        "digits network 64-8-10 (N = 610), Newton steps by kernel reflection on the walk of the explicit matrix; "
        "guess/norm is the norm of the last step over the true one",
        ["step", "kappa", "alpha", "guess/norm", "warm", "success", "with rep.", "qsvt", "success", "with rep.",
         "cold search", "success", "with rep."],
        rows,
    )  # fmt: skip


BENCHMARKS = {"portfolio": bench_portfolio, "gram": bench_gram, "norms": bench_norms}


if __name__ == "__main__":
    run_chosen(BENCHMARKS, __doc__)
