"""Solvers: one file and one line of the registry each."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from ..errors import UnknownNameError
from .base import LinearSystem, Predictor, Solution, Solver, Status

SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "qsvt": ("qnewton_gpu.solvers.qsvt:QSVT", {}),
    "qsvt_uniform": ("qnewton_gpu.solvers.qsvt:QSVT", {"name": "qsvt_uniform", "polynomial": "uniform"}),
    "qsvt_pseudo_inverse": (
        "qnewton_gpu.solvers.qsvt:QSVT",
        {"name": "qsvt_pseudo_inverse", "polynomial": "pseudo_inverse"},
    ),
    "saddle_free": ("qnewton_gpu.solvers.saddle_free:SaddleFree", {}),
    "kernel_reflection": ("qnewton_gpu.solvers.kernel_reflection:KernelReflection", {}),
    "hhl": ("qnewton_gpu.solvers.hhl:HHL", {}),
    "cks": ("qnewton_gpu.solvers.cks:CKS", {}),
    "adiabatic": ("qnewton_gpu.solvers.adiabatic:Adiabatic", {}),
    "cholesky": ("qnewton_gpu.solvers.classical:Factorisation", {"name": "cholesky"}),
    "lu": ("qnewton_gpu.solvers.classical:Factorisation", {"name": "lu"}),
    "cg": ("qnewton_gpu.solvers.classical:ConjugateGradients", {}),
    "qr": ("qnewton_gpu.solvers.classical:LeastSquares", {}),
}
"""name: (module:class, its options). A quantum solver takes the fields of `QuantumSolver`, too; a classical one takes
no others, and is known by its module, `classical` or one whose name begins so."""
CLASSICAL = tuple(name for name, (path, _) in SOLVERS.items() if ".classical" in path)
QUANTUM = tuple(name for name in SOLVERS if name not in CLASSICAL)
FORMULAS: dict[str, tuple[str, str]] = {
    "jennings": ("qnewton_gpu.costs.jennings:jennings_queries", "qsvt"),
    "jennings_released_code": ("qnewton_gpu.costs.jennings:released_code_queries", "qsvt"),
}
"""Query counts of the literature that take part in predictions, and the solver that runs what they win."""
ABSOLUTE = ("saddle_free",)
"""Solvers of |A| x = b, to which an indefinite A is given as it is."""


def make_solver(name: str, **quantum_options: Any) -> Solver:
    """The solver of that name; `quantum_options` (the fields of `QuantumSolver`) go to the quantum ones only.

    Raises UnknownNameError, CombinationError.
    """
    if name not in SOLVERS:
        raise UnknownNameError.among("solver", name, ("auto", *SOLVERS))
    path, options = SOLVERS[name]
    build = partial(_import(path), **options)
    solver: Solver = build(**quantum_options) if name in QUANTUM else build()
    return solver


def make_predictor(name: str, **quantum_options: Any) -> Predictor:
    """What predicts the cost of that solver, or of that formula of the literature; see `make_solver`."""
    if name not in FORMULAS:
        return make_solver(name, **quantum_options)
    from .formula import QueryFormula

    formula, stands_in = FORMULAS[name]
    encoded: Any = make_solver(stands_in, **quantum_options)
    return QueryFormula(name, _import(formula), encoded)


def runs_as(name: str) -> str:
    """The solver that runs a system which this candidate wins: itself, unless it is a formula."""
    return FORMULAS[name][1] if name in FORMULAS else name


def _import(path: str) -> Any:
    module, attribute = path.split(":")
    return getattr(importlib.import_module(module), attribute)


__all__ = [
    "ABSOLUTE",
    "CLASSICAL",
    "FORMULAS",
    "QUANTUM",
    "SOLVERS",
    "LinearSystem",
    "Predictor",
    "Solution",
    "Solver",
    "Status",
    "make_predictor",
    "make_solver",
    "runs_as",
]
