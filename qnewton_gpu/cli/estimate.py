"""`qnewton estimate`: what every solver would cost in every comparison, who wins, and what would flip that."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .machines import ENCODING_HELP, add_machine_arguments, cost_model_from

if TYPE_CHECKING:
    from ..planning.estimate import Estimate
    from ..planning.simulator_rates import SimulatorRates
    from ..planning.simulators import Simulator
    from ..solvers import LinearSystem

STATED = {"size": 1024, "kappa": 100.0, "row_nonzeros": 8, "alpha": 1.0}
"""Defaults of a stated system."""
MOST_QUBITS = 49
"""Of a grid: the number of its points is exact in FP64, and so is what is predicted from it."""
LARGEST_DILATED = 2048
"""Order up to which the dilation is listed: it takes all eigenvectors, 2 s there and eight times that at twice N."""
LARGEST_PROGRAM = 12
"""Ancilla qubits of a gate program that is still made to count its T gates: preparing them takes 8 4^n bytes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("matrix", type=Path, nargs="?", default=None, metavar="MATRIX", help=".mtx, .npz or .npy; or state the system:")
    add("--size", type=int, default=None, metavar="N", help="order of a stated system (1024)")
    add("--kappa", type=float, default=None, help="condition number of a stated system (100)")
    add("--row-nonzeros", type=int, default=None, metavar="D", help="entries a row of a stated system (8); N: dense")
    add("--alpha", type=float, default=None, help="norm of the block encoding over ||H|| of a stated system (1)")
    add("--poisson", default=None, metavar="N1,N2", help="screened Poisson on 2^N1 x 2^N2 points, of --kappa (100)")
    add("--tolerance", type=float, default=1e-2, help="relative residual")
    add("--encoding", default="auto", help=f"of MATRIX: {ENCODING_HELP}")
    add("--bond-dimension", type=int, default=None, metavar="CHI", help="of simulation by matrix-product states")
    add("--factors", action="store_true", help="show the factors of every cost, too")
    add("--json", type=Path, default=None, metavar="FILE", help="write all numbers there; - for standard output")
    add_machine_arguments(parser)


def run(options: argparse.Namespace) -> int:
    from ..planning.estimate import estimate_all
    from ..runfolder import to_json
    from .files import check_writable
    from .verdicts import page

    to_standard_output = str(options.json) == "-"
    if options.json and not to_standard_output:
        check_writable(options.json, "--json")
    model = cost_model_from(options)
    known, system = _system(options)
    found = simulations(system, options)
    estimates = estimate_all(system, model, options.encoding)
    encodings = encoding_costs(system, options.tolerance) if options.matrix else []
    if options.json:
        text = to_json(as_data(known, estimates, encodings, found), indent=1)
        if to_standard_output:
            print(text)
            return 0
        options.json.write_text(text + "\n", encoding="utf-8")
    print(page(known, estimates, encodings, found, model, options.factors))
    return 0


def _system(options: argparse.Namespace) -> tuple[dict[str, Any], LinearSystem]:
    """What is known, and the system: of MATRIX, of a grid, or stated."""
    from ..errors import CombinationError

    if options.poisson is None:
        return _of_matrix(options) if options.matrix else _of_stated(options)
    others = [flag for flag in ("--size", "--row-nonzeros", "--alpha") if getattr(options, flag[2:].replace("-", "_"))]
    if options.matrix or others:
        problem = "states a system of its own"
        raise CombinationError("--poisson", problem, f"Leave it or {', '.join(others) or 'MATRIX'} out")
    return _of_poisson(options)


def _of_matrix(options: argparse.Namespace) -> tuple[dict[str, Any], LinearSystem]:
    """What is known of MATRIX, and its system."""
    import numpy as np

    from ..backends import select_backend
    from ..conditioning import estimate_spectrum
    from ..encodings import ENCODINGS, choose_encoding
    from ..errors import CombinationError, UnknownNameError
    from ..operators import real_form
    from ..planning.stated import check_tolerance
    from ..solvers import LinearSystem
    from .files import load_array

    given = ["--" + name.replace("_", "-") for name in STATED if getattr(options, name) is not None]
    if given:
        raise CombinationError(", ".join(given), "state a system, but MATRIX is given", "Leave one of the two out")
    check_tolerance(options.tolerance)
    if options.encoding not in ("auto", *ENCODINGS):
        raise UnknownNameError.among("encoding", options.encoding, ("auto", *ENCODINGS))
    backend = select_backend("auto")
    matrix = load_array(options.matrix, "MATRIX")
    form = real_form(matrix, np.ones(matrix.shape[:1] or 1), backend)
    bounds = estimate_spectrum(form.operator, backend=backend)
    operator = form.operator
    automatic = choose_encoding("auto", operator)
    known = {
        "matrix": str(options.matrix), "shape": list(operator.shape), "nonzeros": operator.nonzeros,
        "kappa": bounds.kappa, "kappa_by": bounds.method, "tolerance": options.tolerance,
        "encoding": automatic if options.encoding == "auto" else options.encoding, "automatic_encoding": automatic,
        "norm_of_x_known": False,
    }  # fmt: skip
    return known, LinearSystem(operator, form.columns, bounds, options.tolerance)


def _of_stated(options: argparse.Namespace) -> tuple[dict[str, Any], LinearSystem]:
    from ..errors import CombinationError
    from ..planning.stated import stated_system

    if options.encoding != "auto":
        raise CombinationError(
            "--encoding", "a stated system has no matrix that could be encoded", "State --alpha, or give MATRIX"
        )
    given = ((name, getattr(options, name)) for name in STATED)
    stated: dict[str, Any] = {name: STATED[name] if value is None else value for name, value in given}
    known = {**stated, "tolerance": options.tolerance, "norm_of_x_known": True}
    return known, stated_system(**stated, tolerance=options.tolerance)


def _of_poisson(options: argparse.Namespace) -> tuple[dict[str, Any], LinearSystem]:
    import numpy as np

    from ..conditioning import estimate_spectrum
    from ..errors import ParameterError
    from ..operators import screened_poisson
    from ..planning.stated import check_tolerance
    from ..solvers import LinearSystem

    try:
        axes = [int(part) for part in options.poisson.split(",")]
    except ValueError:
        problem, remedy = f"{options.poisson!r} are no qubits of axes", "Give integers between commas, such as 20,20"
        raise ParameterError("--poisson", problem, remedy) from None
    if not 0 < sum(axes) <= MOST_QUBITS:
        raise ParameterError("--poisson", f"{sum(axes)} qubits are not 1 to {MOST_QUBITS}", "Use fewer points")
    check_tolerance(options.tolerance)
    kappa = STATED["kappa"] if options.kappa is None else options.kappa
    operator = screened_poisson(axes, kappa)
    known = {
        "poisson": axes, "shape": list(operator.shape), "nonzeros": operator.nonzeros, "kappa": kappa,
        "tolerance": options.tolerance, "encoding": "toeplitz", "norm_of_x_known": False,
    }  # fmt: skip
    # of b the number of columns is all that a prediction reads
    return known, LinearSystem(operator, np.ones((1, 1)), estimate_spectrum(operator), options.tolerance)


def simulations(system: LinearSystem, options: argparse.Namespace) -> tuple[SimulatorRates, dict[str, list[Simulator]]]:
    """The rates of this machine, measured where that is asked for, and what each simulator would take of it."""
    from ..backends import select_backend
    from ..planning.simulator_rates import calibrate_simulators, known_rates
    from ..planning.simulators import SIMULATED_SOLVERS, simulators

    backend = select_backend("auto")
    measure = options.calibrate or options.recalibrate
    rates = calibrate_simulators(backend, refresh=options.recalibrate) if measure else known_rates(backend)
    chosen: dict[str, Any] = {"encoding": options.encoding, "bond_dimension": options.bond_dimension}
    return rates, {name: simulators(system, name, backend=backend, rates=rates, **chosen) for name in SIMULATED_SOLVERS}


def encoding_costs(system: LinearSystem, epsilon: float) -> list[dict[str, Any]]:
    """Every encoding that can serve the matrix: what it is, and what a QSVT inversion by it takes.

    The dilation is left out beyond N = 2048.
    """
    from ..costs.resources import solve_resources
    from ..encodings import ENCODINGS
    from ..errors import QNewtonError
    from ..solvers import make_solver

    found, norm = [], system.bounds.upper or 1.0
    for name in ENCODINGS:
        if name == "dilation" and system.size > LARGEST_DILATED:
            continue
        try:
            solver: Any = make_solver("qsvt", encoding=name)
            method = solver.method(solver.pose(replace(system, encodings={})), system.operator.backend)
            queries = method.queries(epsilon)
            e = method.encoding
            too_large = hasattr(e, "circuit") and e.ancilla_qubits > LARGEST_PROGRAM
            t_counts = {
                access: None if access == "qrom" and too_large else solve_resources(e, queries, access=access).t_count
                for access in ("qram", "qrom")
            }
        except QNewtonError:
            continue
        found.append(
            {
                "encoding": name, "alpha": e.alpha, "alpha_over_norm": e.alpha / norm, "qubits": e.system_qubits,
                "ancillas": e.ancilla_qubits, "register_size": e.register_size, "gates": hasattr(e, "circuit"),
                "qsvt_queries": queries, "t_count": t_counts,
            }
        )  # fmt: skip
    return found


def as_data(
    known: dict[str, Any],
    estimates: dict[str, Estimate],
    encodings: list[dict[str, Any]],
    simulated: tuple[SimulatorRates, dict[str, list[Simulator]]],
) -> dict[str, Any]:
    """Everything that was computed, as plain data; seconds say their clock, infinite where one cannot serve."""
    comparisons = {}
    for name, one in estimates.items():
        decided = one.sensitivity
        comparisons[name] = {
            "said": one.model.rules.said,
            "quantum_machine": asdict(one.model.hardware),
            "quantum_candidates": list(one.model.quantum_candidates),
            "classical_candidates": list(one.model.classical_candidates),
            "solvers": {
                solver: {
                    "projected_seconds": cost.seconds,
                    "break_even_gate_time": one.break_even_gate_time(solver),
                    "factors": cost.factors,
                }
                for solver, cost in one.costs.items()
            },
            "verdict": asdict(decided.verdict) if decided else None,
            "findings": [{**asdict(f), "said": f.said} for f in decided.findings] if decided else [],
        }
    classical = next(iter(estimates.values())).model.classical.to_dict()
    rates, found = simulated
    return {
        "system": known, "classical_machine": classical, "comparisons": comparisons, "encodings": encodings,
        "simulators": {
            "clock": "simulated, predicted for this machine",
            "rates": asdict(rates),
            **{name: [{**asdict(one), "holds": one.holds, "exact": one.exact} for one in each]
               for name, each in found.items()},
        },
    }  # fmt: skip
