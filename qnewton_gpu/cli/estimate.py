"""`qnewton estimate`: predicted costs of every solver and break-even gate times, without solving."""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .machines import ENCODING_HELP, add_machine_arguments, cost_model_from, describe

if TYPE_CHECKING:
    from ..costs import Cost, CostModel
    from ..solvers import LinearSystem

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
    add("--encoding", default="auto", help=ENCODING_HELP)
    add_machine_arguments(parser)


def run(options: argparse.Namespace) -> int:
    model = cost_model_from(options)
    _check_stated(options)
    lines = [describe(model)]
    for comparison in (model,) if model.comparison == "honest" else (model, model.honest()):
        known, costs = _of_matrix(options, comparison) if options.matrix else _of_stated(options, comparison)
        lines += ["", f"{comparison.comparison} comparison, readout {comparison.hardware.readout}: {known}"]
        lines.append(cost_table(costs, comparison))
    if options.matrix:
        system = _system(options)
        lines += ["", "what every encoding of the matrix costs (T gates of one run, estimated)"]
        lines.append(encoding_table(system, options.tolerance))
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
    from ..encodings import choose_encoding

    system = _system(options)
    bounds, shape = system.bounds, " x ".join(map(str, system.operator.shape))
    size = f"{shape}, {system.operator.nonzeros} entries"
    known = f"{options.matrix}, {size}, kappa {bounds.kappa:.4g} ({bounds.method}), tolerance {options.tolerance:.1e}"
    encoding = choose_encoding("auto", system.operator) if options.encoding == "auto" else options.encoding
    return f"{known}, encoding {encoding}, ||x|| not known", solver_costs(system, model, options.encoding)


def _system(options: argparse.Namespace) -> LinearSystem:
    """The system of MATRIX, made once: encodings are kept with it."""
    import numpy as np

    from ..backends import select_backend
    from ..conditioning import estimate_spectrum
    from ..operators import real_form
    from ..solvers import LinearSystem
    from .files import load_array

    made: LinearSystem | None = getattr(options, "system", None)
    if made is None:
        backend = select_backend("auto")
        matrix = load_array(options.matrix, "MATRIX")
        form = real_form(matrix, np.ones(matrix.shape[:1] or 1), backend)
        bounds = estimate_spectrum(form.operator, backend=backend)
        made = options.system = LinearSystem(form.operator, form.columns, bounds, options.tolerance)
    return made


def solver_costs(system: LinearSystem, model: CostModel, encoding: str) -> dict[str, Cost]:
    """What every solver that can serve this system is predicted to cost."""
    from ..errors import CombinationError
    from ..solvers import SOLVERS, make_solver

    costs = {}
    for name in SOLVERS:
        with contextlib.suppress(CombinationError):
            cost = make_solver(name, encoding=encoding).predict(system, model, system.operator.backend)
            if cost.finite:
                costs[name] = cost
    return costs


def _of_stated(options: argparse.Namespace, model: CostModel) -> tuple[str, dict[str, Cost]]:
    from ..costs import jennings_queries
    from ..solvers.refinement import split_tolerance

    n, kappa, d, eps = options.size, options.kappa, options.row_nonzeros, options.tolerance
    entries = n * min(d, n)
    costs = solver_costs(stated_system(n, entries, kappa, options.alpha, eps), model, "stated")
    epsilon, rounds = split_tolerance(eps)
    if epsilon <= 0.24:
        # the count holds from kappa = sqrt(12) on and includes its repetitions
        queries = jennings_queries(max(kappa, math.sqrt(12) + 1e-12), options.alpha, epsilon)
        costs["jennings (formula)"] = model.quantum(
            "jennings", queries=queries, rounds=rounds, success_probability=1.0, size=n, nonzeros=entries,
            epsilon=epsilon,
        )  # fmt: skip
    return (
        f"stated: N = {n}, {d} entries a row, kappa {kappa:.4g}, alpha/||H|| {options.alpha:.4g}, "
        f"tolerance {eps:.1e}, ||x|| known",
        costs,
    )


def stated_system(size: float, entries: float, kappa: float, alpha: float, tolerance: float) -> LinearSystem:
    """A definite system that is known by these numbers alone, with ||H|| = 1, encoded with `alpha`, ||x|| known."""
    from ..backends import select_backend
    from ..conditioning import SpectrumBounds
    from ..solvers import LinearSystem

    backend = select_backend("cpu")
    operator: Any = SimpleNamespace(
        shape=(size, size), symmetric=True, backend=backend, nonzeros=entries, assembly_flops=0.0,
        product_flops=2.0 * entries, product_bytes=12.0 * entries,
    )  # fmt: skip
    encoding = SimpleNamespace(
        name="stated", operator=operator, alpha=alpha, epsilon=0.0, symmetric=True, register_size=entries,
        system_qubits=math.ceil(math.log2(max(size, 2))), ancilla_qubits=1,
    )  # fmt: skip
    bounds = SpectrumBounds(1 / kappa, 1.0, certified=True, method="stated")
    return LinearSystem(
        operator, backend.xp.ones((1, 1)), bounds, tolerance, encodings={"stated": encoding}, expected_norm=1.0
    )


def encoding_table(system: LinearSystem, epsilon: float) -> str:
    """Every encoding that can serve the matrix: what it costs, and what a QSVT inversion by it takes."""
    from dataclasses import replace

    from ..costs.resources import solve_resources
    from ..encodings import ENCODINGS
    from ..errors import QNewtonError
    from ..solvers import make_solver
    from .tables import table

    rows, norm = [], system.bounds.upper or 1.0
    for name in ENCODINGS:
        try:
            solver: Any = make_solver("qsvt", encoding=name)
            method = solver.method(solver.pose(replace(system, encodings={})), system.operator.backend)
            queries = method.queries(epsilon)
            t_counts = [f"{solve_resources(method.encoding, queries, access=a).t_count:.3g}" for a in ("qram", "qrom")]
        except QNewtonError:
            continue
        e = method.encoding
        rows.append(
            (name, f"{e.alpha:.4g}", f"{e.alpha / norm:.3g}", f"{e.system_qubits} + {e.ancilla_qubits}",
             str(e.register_size), "yes" if hasattr(e, "circuit") else "no", str(queries), *t_counts)
        )  # fmt: skip
    header = ("encoding", "alpha", "alpha/norm", "qubits + ancillas", "register", "gates", "qsvt queries",
              "T, qram", "T, qrom")  # fmt: skip
    return table(header, rows)


def cost_table(costs: dict[str, Cost], model: CostModel) -> str:
    """Projected seconds of each solver, its factors, and the gate time at which the circuits would break even."""
    from .tables import seconds, table

    classical = min(
        (costs[name].seconds for name in model.candidates if name != "qsvt" and name in costs), default=math.inf
    )
    rows = []
    for name, cost in sorted(costs.items(), key=lambda item: item[1].seconds):
        quantum = "gate_time" in cost.factors
        break_even = seconds(model.break_even_gate_time(cost, classical)) if quantum else "-"
        factors = ", ".join(f"{key} {value:.3g}" for key, value in cost.factors.items() if value)
        rows.append((name, seconds(cost.seconds), "yes" if name in model.candidates else "no", break_even, factors))
    return table(("solver", "projected", "candidate", "break-even gate time", "factors"), rows)
