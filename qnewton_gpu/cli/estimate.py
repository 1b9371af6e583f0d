"""`qnewton estimate`: predicted costs of every solver and break-even gate times, without solving."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from .machines import add_machine_arguments, cost_model_from, describe

if TYPE_CHECKING:
    from ..costs import Cost, CostModel

STATED = {"size": 1024, "kappa": 100.0, "row_nonzeros": 8, "alpha": 1.0}
"""Defaults of a stated system."""
LARGEST_STATED = 1e15  # a kappa beyond it is beyond FP64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("matrix", type=Path, nargs="?", default=None, metavar="MATRIX", help=".mtx, .npz or .npy; or state the system:")
    add("--size", type=int, default=None, metavar="N", help="order of a stated system (1024)")
    add("--kappa", type=float, default=None, help="condition number of a stated system (100)")
    add("--row-nonzeros", type=int, default=None, metavar="D", help="entries a row of a stated system (8)")
    add("--alpha", type=float, default=None, help="norm of the block encoding over ||H|| of a stated system (1)")
    add("--tolerance", type=float, default=1e-2, help="relative residual")
    add("--encoding", default="auto", help="auto, walk, dilation or matching")
    add_machine_arguments(parser)


def run(options: argparse.Namespace) -> int:
    model = cost_model_from(options)
    _check_stated(options)
    lines = [describe(model)]
    for comparison in (model,) if model.comparison == "honest" else (model, model.honest()):
        known, costs = _of_matrix(options, comparison) if options.matrix else _of_stated(options, comparison)
        lines += ["", f"{comparison.comparison} comparison, readout {comparison.hardware.readout}: {known}"]
        lines.append(cost_table(costs, comparison))
    print("\n".join(lines))
    return 0


def _check_stated(options: argparse.Namespace) -> None:
    from ..errors import CombinationError, ParameterError

    given = ["--" + name.replace("_", "-") for name in STATED if getattr(options, name) is not None]
    if options.matrix and given:
        raise CombinationError(", ".join(given), "state a system, but MATRIX is given", "Leave one of the two out")
    for name, default in STATED.items():
        value = getattr(options, name)
        if value is None:
            setattr(options, name, default)
        elif not 1 <= value <= LARGEST_STATED:
            problem = f"{value!r} is not between 1 and {LARGEST_STATED:.0e}"
            raise ParameterError("--" + name.replace("_", "-"), problem, "State a real system")
    if not 1e-15 <= options.tolerance < 1:
        problem = f"{options.tolerance!r} is not between 1e-15 and 1"
        raise ParameterError("--tolerance", problem, "Give a relative residual such as 1e-2")


def _of_matrix(options: argparse.Namespace, model: CostModel) -> tuple[str, dict[str, Cost]]:
    import numpy as np

    from ..backends import select_backend
    from ..conditioning import estimate_spectrum
    from ..operators import as_operator
    from ..scheduler import Scheduler
    from ..solvers import LinearSystem
    from .files import load_array

    backend = select_backend("auto")
    operator = as_operator(load_array(options.matrix, "MATRIX"), backend)
    bounds = estimate_spectrum(operator, backend=backend)
    system = LinearSystem(operator, backend.asarray(np.zeros((operator.shape[0], 1))), bounds, options.tolerance)
    costs = Scheduler(model, encoding=options.encoding, backend=backend).costs(system, model)
    size = f"N = {operator.shape[0]}, {operator.nonzeros} entries"
    return f"{options.matrix}, {size}, kappa {bounds.kappa:.4g} ({bounds.method})", costs


def _of_stated(options: argparse.Namespace, model: CostModel) -> tuple[str, dict[str, Cost]]:
    from ..costs import FIRST_SUCCESS_PROBABILITY, jennings_queries
    from ..polynomials import inverse_degree, round_down_to_grid, round_up_to_grid
    from ..solvers.refinement import split_tolerance

    n, kappa, d, eps = options.size, options.kappa, options.row_nonzeros, options.tolerance
    entries = n * min(d, n)
    epsilon, rounds = split_tolerance(eps)

    def quantum(name: str, queries: float, p: float) -> Cost:
        return model.quantum(
            name, queries=queries, rounds=rounds, success_probability=p, size=n, nonzeros=entries, epsilon=epsilon
        )

    degree = inverse_degree(round_up_to_grid(kappa * options.alpha), epsilon)
    costs = {
        "qsvt": quantum("qsvt", degree, round_down_to_grid(FIRST_SUCCESS_PROBABILITY)),
        "cholesky": model.factorisation("cholesky", n),
        "lu": model.factorisation("lu", n),
        "cg": model.conjugate_gradients(
            kappa=kappa, epsilon=eps, product_flops=2.0 * entries, product_bytes=12.0 * entries
        ),
    }
    if epsilon <= 0.24:
        # the count holds from kappa = sqrt(12) on and includes its repetitions
        queries = jennings_queries(max(kappa, math.sqrt(12) + 1e-12), options.alpha, epsilon)
        costs["jennings (formula)"] = quantum("jennings", queries, 1.0)
    return (
        f"stated: N = {n}, {d} entries a row, kappa {kappa:.4g}, alpha/||H|| {options.alpha:.4g}, tolerance {eps:.1e}",
        costs,
    )


def cost_table(costs: dict[str, Cost], model: CostModel) -> str:
    """Projected seconds of each solver, its factors, and the gate time at which the circuits would break even."""
    from .tables import seconds, table

    classical = min(costs[name].seconds for name in model.candidates if name != "qsvt")
    rows = []
    for name, cost in sorted(costs.items(), key=lambda item: item[1].seconds):
        quantum = "gate_time" in cost.factors
        break_even = seconds(model.break_even_gate_time(cost, classical)) if quantum else "-"
        factors = ", ".join(f"{key} {value:.3g}" for key, value in cost.factors.items() if value)
        rows.append((name, seconds(cost.seconds), "yes" if name in model.candidates else "no", break_even, factors))
    return table(("solver", "projected", "candidate", "break-even gate time", "factors"), rows)
