"""Solvers: one file and one line of the registry each."""

from __future__ import annotations

import importlib
from functools import partial

from ..errors import UnknownNameError
from .base import LinearSystem, Solution, Solver, Status

SOLVERS = {
    "qsvt": ("qnewton_gpu.solvers.qsvt:QSVT", {}),
    "cholesky": ("qnewton_gpu.solvers.classical:Factorisation", {"name": "cholesky"}),
    "lu": ("qnewton_gpu.solvers.classical:Factorisation", {"name": "lu"}),
    "cg": ("qnewton_gpu.solvers.classical:ConjugateGradients", {}),
}
QUANTUM = ("qsvt",)


def make_solver(name: str, *, encoding: str = "auto", mode: str = "auto", max_queries: int = 10**6) -> Solver:
    """The solver of that name; the options are those of the quantum solvers. Raises UnknownNameError."""
    if name not in SOLVERS:
        raise UnknownNameError.among("solver", name, ("auto", *SOLVERS))
    path, options = SOLVERS[name]
    module, attribute = path.split(":")
    build = partial(getattr(importlib.import_module(module), attribute), **options)
    solver: Solver = build(encoding=encoding, mode=mode, max_queries=max_queries) if name in QUANTUM else build()
    return solver


__all__ = ["QUANTUM", "SOLVERS", "LinearSystem", "Solution", "Solver", "Status", "make_solver"]
