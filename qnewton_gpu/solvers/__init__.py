"""Solvers: one file and one line of the registry each."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from ..errors import UnknownNameError
from .base import LinearSystem, Solution, Solver, Status

SOLVERS = {
    "qsvt": ("qnewton_gpu.solvers.qsvt:QSVT", {}),
    "cholesky": ("qnewton_gpu.solvers.classical:Factorisation", {"name": "cholesky"}),
    "lu": ("qnewton_gpu.solvers.classical:Factorisation", {"name": "lu"}),
    "cg": ("qnewton_gpu.solvers.classical:ConjugateGradients", {}),
}
QUANTUM = ("qsvt",)


def make_solver(name: str, **quantum_options: Any) -> Solver:
    """The solver of that name; `quantum_options` (encoding, mode, max_queries, budget) go to the quantum ones only.

    Raises UnknownNameError.
    """
    if name not in SOLVERS:
        raise UnknownNameError.among("solver", name, ("auto", *SOLVERS))
    path, options = SOLVERS[name]
    module, attribute = path.split(":")
    build = partial(getattr(importlib.import_module(module), attribute), **options)
    solver: Solver = build(**quantum_options) if name in QUANTUM else build()
    return solver


__all__ = ["QUANTUM", "SOLVERS", "LinearSystem", "Solution", "Solver", "Status", "make_solver"]
