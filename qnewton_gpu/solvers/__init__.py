"""Solvers: one file and one line of the registry each."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from ..errors import UnknownNameError
from .base import LinearSystem, Solution, Solver, Status

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
CLASSICAL = tuple(name for name, (path, _) in SOLVERS.items() if ".classical:" in path)
QUANTUM = tuple(name for name in SOLVERS if name not in CLASSICAL)
GUESSES_NORM = ("kernel_reflection",)
"""Solvers that need fewer queries where ||x|| of a similar system is known."""
ABSOLUTE = ("saddle_free",)
"""Solvers of |A| x = b, to which an indefinite A is given as it is."""


def make_solver(name: str, **quantum_options: Any) -> Solver:
    """The solver of that name; `quantum_options` (the fields of `QuantumSolver`) go to the quantum ones only.

    Raises UnknownNameError, CombinationError.
    """
    if name not in SOLVERS:
        raise UnknownNameError.among("solver", name, ("auto", *SOLVERS))
    path, options = SOLVERS[name]
    module, attribute = path.split(":")
    build = partial(getattr(importlib.import_module(module), attribute), **options)
    solver: Solver = build(**quantum_options) if name in QUANTUM else build()
    return solver


__all__ = [
    "ABSOLUTE",
    "CLASSICAL",
    "GUESSES_NORM",
    "QUANTUM",
    "SOLVERS",
    "LinearSystem",
    "Solution",
    "Solver",
    "Status",
    "make_solver",
]
