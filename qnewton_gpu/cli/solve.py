"""`qnewton solve`: one linear system from files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .machines import (
    ENCODING_HELP,
    SOLVER_HELP,
    add_machine_arguments,
    add_noise_arguments,
    add_readout_arguments,
    add_simulation_arguments,
    budget_from,
    computes_on,
    cost_model_from,
    describe,
    noise_from,
    readout_from,
)

if TYPE_CHECKING:
    from ..solvers import Solution

NOT_SOLVED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("matrix", type=Path, metavar="MATRIX", help="matrix: .mtx, .npz (SciPy sparse) or .npy")
    add("rhs", type=Path, nargs="?", default=None, metavar="RHS", help="right-hand side; ones if not given")
    add("--solver", default="auto", help=SOLVER_HELP)
    add("--encoding", default="auto", help=ENCODING_HELP)
    add("--tolerance", type=float, default=1e-6, help="relative residual")
    add("--max-queries", type=int, default=10**6)
    add("--out", type=Path, default=None, metavar="X", help="where x goes, in .npy format; <MATRIX>.x.npy if not given")
    add("--damping", type=float, default=0.0, metavar="D", help="solve (A^t A + D^2) x = A^t b instead (Tikhonov)")
    add("--seed", type=int, default=0, help="of shots and noise")
    add_simulation_arguments(parser)
    add_readout_arguments(parser)
    add_noise_arguments(parser)
    add_machine_arguments(parser)


def run(options: argparse.Namespace) -> int:
    import numpy as np

    from ..backends import select_backend
    from ..linear_solve import solve
    from .files import check_writable, load_array, load_vector

    out = options.out or options.matrix.with_suffix(".x.npy")
    check_writable(out)
    matrix = load_array(options.matrix, "MATRIX")
    rhs = load_vector(options.rhs) if options.rhs is not None else np.ones(matrix.shape[:1] or 1)
    model = cost_model_from(options)
    budget, backend = budget_from(options), select_backend(options.backend)
    print(computes_on(backend, options.backend))
    print(describe(model))
    readout = readout_from(options, options.seed)
    if not readout.exact:
        print(
            f"readout by shots: {readout.shots_per_unknown} N for magnitudes and as many for signs, charged as they are"
        )
    sys.stdout.flush()
    solution = solve(
        matrix,
        rhs,
        solver=options.solver,
        encoding=options.encoding,
        mode=options.mode,
        tolerance=options.tolerance,
        backend=backend,
        hardware=model,
        max_queries=options.max_queries,
        register_budget=budget,
        damping=options.damping,
        precision=options.precision,
        readout=readout,
        noise=noise_from(options, options.seed),
    )
    print(solution_text(solution))
    if not solution.solved:
        return NOT_SOLVED
    with out.open("wb") as file:  # np.save adds a suffix to a name that lacks it
        np.save(file, solution.x)
    print(f"x written to {out}")
    return 0


def solution_text(solution: Solution) -> str:
    """What is known of a solution, a line each."""
    from .tables import seconds, table

    resources = solution.resources
    bounds = resources.get("bounds")
    rows = [("status", solution.status.value), ("", solution.message), ("solver", solution.solver)]
    if bounds is not None:
        label, how = ("kappa bound", "certified") if bounds.certified else ("kappa estimate", "no bound")
        rows.append((label, f"{bounds.kappa:.6g}, {how}: {bounds.method}, {bounds.matvecs} products"))
    if "encoding" in resources:
        rows += [
            ("encoding, mode", f"{resources['encoding']}, {resources['mode']}"),
            ("alpha", f"{resources['alpha']:.6g}"),
            ("queries", f"{solution.queries} in {len(solution.history)} rounds"),
            ("covered kappa", f"{resources['kappa']:.6g}"),
            ("qubits", f"{resources['system_qubits']} system, {resources['ancilla_qubits']} ancilla"),
        ]
    if any("runs" in entry for entry in solution.history):
        runs = sum(sum(entry["runs"]) for entry in solution.history)
        rows.append(
            (
                "runs of the circuit",
                f"{runs:.6g}, failed ones included (the projection amplifies instead, if the machine does)",
            )
        )
    if "gates" in resources:
        g = resources["gates"]
        rows.append(("gates of a run", f"{sum(g.gates.values())} in the program, depth {g.depth}, {g.cnots} CNOTs"))
        rows.append(("", f"{g.rotations} rotations, {g.ands} ANDs, about {g.t_count:.3g} T gates, {g.queries} queries"))
        rows.append(
            ("", "depth in the gates that each is made of; the projection charges the stated access model instead")
        )
    if "truncation_error" in resources:
        rows.append(("bond dimension", f"{resources['bond_dimension']}, the largest of the register"))
        rows.append(("truncation error", f"{resources['truncation_error']:.3g} of the register's norm, at most"))
    if solution.success_probability is not None:
        rows.append(("success probability", f"{solution.success_probability:.6g}"))
    rows += [
        ("relative residual", f"{solution.relative_residual:.3e}, recomputed in FP64"),
        ("simulated", f"{seconds(solution.simulated_seconds)}, on this machine"),
        ("projected", f"{seconds(solution.projected_seconds)}, on the stated machines"),
    ]
    return table(("solution", ""), rows)
