"""`qn.solve`: one linear system, from the user's arrays and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .backends import select_backend
from .backends.base import Backend
from .conditioning import LANCZOS_STEPS, SpectrumBounds, estimate_spectrum
from .costs import CostModel, Hardware
from .encodings import choose_encoding
from .errors import CombinationError, ParameterError
from .operators import GramOperator, MatrixOperator, Operator, as_columns, as_operator, check_memory
from .operators.arrays import is_torch
from .scheduler import Scheduler
from .simulation import RegisterBudget, check_mode, check_simulation_memory
from .solvers import QUANTUM, LinearSystem, Solution, Status
from .solvers.base import beyond_double_precision, certify, growth
from .stages import stage

HALF_ULP = {4: 2.0**-24, 2: 2.0**-8}
"""Relative rounding error of a float by its bytes; of two bytes, that of bfloat16."""


def solve(
    A: Any,
    b: Any,
    *,
    solver: str = "auto",
    encoding: str = "auto",
    mode: str = "auto",
    tolerance: float = 1e-6,
    bounds: SpectrumBounds | None = None,
    backend: str | Backend = "auto",
    hardware: Hardware | CostModel | None = None,
    max_queries: int = 10**6,
    register_budget: RegisterBudget | None = None,
) -> Solution:
    """Solve A x = b to ||b - A x||/||b|| <= tolerance, by a simulated quantum solver or a classical one.

    A: real symmetric, (N, N), as NumPy, SciPy sparse, torch or CuPy array, or a GramOperator. b: (N,) or (N, k); x
    comes back with b's shape, kind, device and floating dtype (integers give float64). solver "auto" takes what the
    scheduler predicts to be cheapest on the stated machines (`hardware`: a Hardware, or a CostModel for both
    machines); "qsvt", "cholesky", "lu", "cg" are taken as told. mode "auto" is "subspace" on a CPU; on a GPU it is
    "fused", the whole register, within `register_budget` (80 % of the free memory, 10 s). `bounds` are bounds of
    |eigenvalue| that the caller knows; without them Lanczos estimates them.

    Bad input raises a typed error of `qnewton_gpu.errors` before any work starts. Everything numerical is a Status:
    only Status.SOLVED is a solution.

    >>> import numpy as np, qnewton_gpu as qn
    >>> solution = qn.solve(np.diag([1.0, 2.0, 4.0]), np.ones(3), solver="qsvt", tolerance=1e-8)
    >>> solution.status.name, solution.x.round(6).tolist()
    ('SOLVED', [1.0, 0.5, 0.25])
    """
    chosen = _backend_for(A, backend)
    _check_options(tolerance, bounds, hardware, max_queries)
    model = hardware if isinstance(hardware, CostModel) else CostModel(hardware or Hardware())
    scheduler = Scheduler(model, solver, encoding, mode, max_queries, chosen, register_budget)
    operator = as_operator(A, chosen)
    rhs, restore = as_columns(b, operator.shape[0], chosen)
    name = choose_encoding(scheduler.encoding if isinstance(operator, MatrixOperator) else encoding, operator)
    check_mode(mode, name)
    _check_memory(operator, name, solver, mode, rhs.shape[1], chosen, bounds is None)

    if not bool((rhs != 0).any()):
        zero = Solution(rhs, Status.SOLVED, "b = 0 is solved by x = 0.", 0.0, "none", projected_seconds=0.0)
        zero.x = restore(zero.x)
        return zero
    with stage("condition"):
        known = bounds or estimate_spectrum(operator, backend=chosen)
    system = LinearSystem(operator, rhs, known, tolerance)
    refusal = _refusal(system)
    solution = refusal if refusal is not None else scheduler.solve(system)[0]
    solution.x = restore(solution.x)
    solution.resources["bounds"] = known
    _certify_as_returned(solution, system, chosen)
    return solution


def _backend_for(A: Any, backend: str | Backend) -> Backend:
    """The backend asked for; an operator was made on one already."""
    if not isinstance(A, (GramOperator, MatrixOperator)):
        return select_backend(backend)
    asked, made = select_backend(A.backend if backend == "auto" else backend).device, A.backend.device
    if asked != made:
        problem = f"{asked} was asked for, A was made on {made}"
        raise CombinationError("backend", problem, "Make A there, or leave it out")
    return A.backend


def _certify_as_returned(solution: Solution, system: LinearSystem, backend: Backend) -> None:
    """Make the residual that of x as the user gets it: where b came in less than FP64, x was rounded to that.

    An x that is as good as its dtype can hold is solved, and the message says what the rounding cost.
    """
    if not solution.solved or "64" in str(solution.x.dtype):
        return
    returned = solution.x.double() if is_torch(solution.x) else solution.x  # NumPy has no bfloat16
    x = backend.asarray(returned, dtype=np.float64).reshape(system.size, -1)
    with np.errstate(all="ignore"):  # a float16 may have overflowed
        worst, _ = certify(system, x, backend)
    worst = worst if math.isfinite(worst) else 1.0
    before, solution.relative_residual = solution.relative_residual, worst
    solution.ledger["residual"] = worst
    if worst <= system.tolerance:
        return
    kind = f"{solution.x.dtype}, as b came,"
    solution.message = f"Solved to {before:.2e} in FP64; rounded to {kind} x has the relative residual {worst:.2e}."
    rounding = HALF_ULP[solution.x.itemsize] * (1 + growth(system, x, backend))
    if not (bool(backend.xp.isfinite(x).all()) and worst <= rounding):
        solution.status = Status.NOT_CONVERGED


def _check_options(tolerance: float, bounds: SpectrumBounds | None, hardware: Any, max_queries: int) -> None:
    if not isinstance(tolerance, (int, float, np.floating)):
        raise ParameterError("tolerance", f"{tolerance!r} is not a number", "Give a float such as 1e-6")
    if not 0 < tolerance < 1:
        raise ParameterError(
            "tolerance", f"{tolerance!r} is not between 0 and 1", "Give a relative residual such as 1e-6"
        )
    if not (isinstance(max_queries, (int, np.integer)) and max_queries >= 1):
        raise ParameterError("max_queries", f"{max_queries!r} is not an integer >= 1", "The default is 10**6")
    if not isinstance(hardware, (Hardware, CostModel, type(None))):
        raise ParameterError("hardware", f"{hardware!r} is no stated machine", "Pass a Hardware, a CostModel, or None")
    if not isinstance(bounds, (SpectrumBounds, type(None))):
        raise ParameterError("bounds", f"{bounds!r} is no SpectrumBounds", "Pass SpectrumBounds(lower, upper), or None")
    if bounds is not None and not 0 < bounds.lower <= bounds.upper < math.inf:
        raise ParameterError(
            "bounds",
            f"lower = {bounds.lower!r}, upper = {bounds.upper!r} bound no spectrum",
            "Give 0 < lower <= upper, or None",
        )


def _check_memory(
    operator: Operator, encoding: str, solver: str, mode: str, columns: int, backend: Backend, estimated: bool
) -> None:
    n = operator.shape[0]
    if estimated:  # Lanczos keeps its basis
        needed = 8.0 * n * min(n, LANCZOS_STEPS)
        fitting = int(backend.available_bytes() // (8 * min(n, LANCZOS_STEPS)))
        check_memory("A", needed, backend, f"About N = {fitting} would fit; with bounds= none is needed")
    if solver in QUANTUM:
        register = 2 * n if encoding == "dilation" else operator.nonzeros + 2 * n
        if isinstance(operator, GramOperator):
            register = (operator.factor.shape[0] + 1) * n
        # auto keeps a register only where it fits
        check_simulation_memory("subspace" if mode == "auto" else mode, n, register, columns, backend)
    if encoding == "dilation" and (solver in ("auto", *QUANTUM)):
        check_memory("encoding", 5 * 8.0 * n * n, backend, "Use encoding='walk', which needs no eigendecomposition")
    dense = solver == "cholesky" or (solver == "lu" and not (isinstance(operator, MatrixOperator) and operator.sparse))
    if dense:
        check_memory(
            "solver",
            24.0 * n * n,
            backend,
            f"Use solver='cg' or 'qsvt', which need about {200 * n * columns / 2**20:.3g} MiB",
        )


def _refusal(system: LinearSystem) -> Solution | None:
    """What the spectrum alone already rules out."""
    bounds = system.bounds
    if bounds.upper == 0 or (bounds.lower == 0 and bounds.smallest_nonzero is None):
        message = "The matrix is zero, so no x solves the system with this b."
        return Solution(0 * system.rhs, Status.SINGULAR, message, 1.0, "none")
    smallest = bounds.lower or bounds.smallest_nonzero
    assert smallest is not None
    problem = beyond_double_precision(bounds.upper / smallest, system.tolerance)
    if problem:
        return Solution(0 * system.rhs, Status.TOO_ILL_CONDITIONED, problem, 1.0, "none")
    return None
