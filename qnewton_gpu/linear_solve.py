"""`qn.solve`: one linear system, from the user's arrays and back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .backends import select_backend
from .backends.base import Backend
from .backends.tensornet import TensornetBackend
from .conditioning import FP64_EPSILON, LANCZOS_STEPS, SpectrumBounds, estimate_spectrum
from .costs import CostModel, Hardware
from .encodings import choose_encoding
from .errors import CombinationError, DataTypeError, ParameterError, ShapeError
from .noise import Noise
from .operators import (
    ExplicitMatrix,
    GeneralMatrix,
    GramOperator,
    KroneckerOperator,
    Operator,
    RealForm,
    ToeplitzOperator,
    check_magnitude,
    check_memory,
    real_form,
)
from .operators.door import check_symmetric
from .readout import Readout
from .scheduler import Scheduler
from .simulation import RegisterBudget, check_mode, check_simulation_memory, mode_on
from .solvers import QUANTUM, LinearSystem, Solution, Status
from .solvers.base import amplification, beyond_double_precision, certify
from .solvers.chain_solve import solve_chain
from .solvers.quantum import GENERAL
from .stages import stage
from .tensor_networks import MatrixProductState

DEFAULT_BOND_DIMENSION = 128
"""Of registers that are matrix-product states, where the backend states none."""
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
    damping: float = 0.0,
    bounds: SpectrumBounds | None = None,
    backend: str | Backend = "auto",
    hardware: Hardware | CostModel | None = None,
    max_queries: int = 10**6,
    register_budget: RegisterBudget | None = None,
    precision: str = "double",
    readout: Readout | str | None = None,
    noise: Noise | None = None,
) -> Solution:
    """Solve A x = b to the relative residual `tolerance`, by a simulated quantum solver or a classical one.

    square A:            x = A^-1 b,                      relative residual ||b - A x||/||b||
    A of shape (m, n):   x = A^+ b (least squares, of     relative residual ||A^t (b - A x)||/||A^t b||
                         minimum norm)
    damping d > 0:       (A^t A + d^2) x = A^t b          relative residual ||A^t (b - A x) - d^2 x||/||A^t b||

    A: (m, n), as NumPy, SciPy sparse, torch or CuPy array, an operator of this package, or a block encoding
    (compositions too, encodings/composition.py). b: (m,) or (m, k); x comes
    back as (n,) or (n, k), of b's kind, device and floating dtype (integers give float64), complex where A or b is.
    A real symmetric A is the fast path; an asymmetry of rounding size is averaged away. A complex A is solved as the
    real [[Re A, -Im A], [Im A, Re A]]: one qubit more, alpha at most sqrt(2) larger, symmetric where A is Hermitian. A
    complex b with a real A is two right-hand sides, and the residual is the larger of its two parts'.

    solver "auto" takes what the scheduler predicts to be cheapest on the stated machines (`hardware`: a Hardware, or a
    CostModel for both machines); one that is named is taken as told: "cholesky" needs a symmetric A, "lu" a square one
    without damping, "cg" (of the normal equations unless A is symmetric), "qr" and "qsvt" take all. mode "auto" is
    "subspace" on a CPU; on a GPU it is "fused", the whole register, within `register_budget` (80 % of the free memory,
    10 s). precision "auto" keeps that register in FP32 where rounding allows; `readout` by shots and `noise` disturb
    what a circuit gives, and rounds of refinement work around them.
    "saddle_free" solves |A| x = b and "qsvt_pseudo_inverse" least squares at a numerical rank; their residual is that.
    `bounds` are bounds of |eigenvalue|, or of the singular values, that the caller knows; without them Lanczos
    estimates them.

    Where no vector fits: A a ToeplitzOperator, b a MatrixProductState over its qubits, backend="tensornet:64" (bonds of
    at most 64). x is a MatrixProductState then, solved by qsvt gate by gate (solvers/chain_solve.py).

    Bad input raises a typed error of `qnewton_gpu.errors` before any work starts. Everything numerical is a Status:
    only Status.SOLVED is a solution.

    >>> import numpy as np, qnewton_gpu as qn
    >>> solution = qn.solve(np.diag([1.0, 2.0, 4.0]), np.ones(3), solver="qsvt", tolerance=1e-8)
    >>> solution.status.name, solution.x.round(6).tolist()
    ('SOLVED', [1.0, 0.5, 0.25])
    """
    if isinstance(b, MatrixProductState):
        asked = {"solver": solver, "encoding": encoding, "mode": mode, "damping": damping, "precision": precision,
                 "readout": getattr(readout, "kind", readout), "noise": noise or None}  # fmt: skip
        return _solve_chain(A, b, asked, tolerance, bounds, backend, hardware, max_queries)
    encoded_as: Any = A if hasattr(A, "reflect") else None
    if encoded_as is not None:
        A = encoded_as.operator
    chosen = _backend_for(A, backend)
    mode = mode_on(chosen, mode)
    if encoded_as is not None:
        if encoding != "auto":
            raise CombinationError("encoding", "A is a block encoding already", "Leave encoding='auto'")
        if mode == "circuit" and not hasattr(encoded_as, "circuit"):
            problem = f"{encoded_as.name} has no gate program"
            raise CombinationError("mode", problem, "Use mode='subspace' or 'fused'")
    _check_options(tolerance, damping, bounds, hardware, max_queries)
    model = hardware if isinstance(hardware, CostModel) else CostModel(hardware or Hardware())
    form = real_form(A, b, chosen)
    operator, rhs = form.operator, form.columns
    if mode == "circuit" and encoding == "auto" and isinstance(operator, (KroneckerOperator, ToeplitzOperator)):
        encoding = choose_encoding("auto", operator)  # the one encoding of it, which has gates
    scheduler = Scheduler(
        model, solver, encoding, mode, max_queries, chosen, register_budget,
        precision=precision, readout=readout, noise=noise,
    )  # fmt: skip
    _check_solver(solver, operator, damping)
    encoding = scheduler.encoding if isinstance(operator, ExplicitMatrix) else encoding
    name = _encoding_for(operator, encoding, damping)
    check_mode(mode, encoded_as.name if encoded_as is not None else name)
    _check_memory(operator, name, solver, mode, rhs.shape[1], chosen, bounds is None)

    if not bool((rhs != 0).any()):
        x = chosen.xp.zeros((operator.shape[1], rhs.shape[1]))
        return Solution(form.restore(x), Status.SOLVED, "b = 0 is solved by x = 0.", 0.0, "none", projected_seconds=0.0)
    system = _system(operator, rhs, bounds, tolerance, damping, chosen)
    if encoded_as is not None:
        system.encodings[scheduler.encoding] = encoded_as
    solution = _solve(system, scheduler)
    given = getattr(operator, "given", None)
    if given is not None and solution.solved and scheduler.equation(solution.solver, system) is system:
        solution.relative_residual, _ = certify(replace(system, operator=given), solution.x, chosen)
        if not solution.relative_residual <= tolerance:
            # averaging the asymmetry of A away changed the system by more than the tolerance allows
            system = _system(given, rhs, bounds, tolerance, damping, chosen)
            solution = _solve_as_given(system, scheduler, solution)
    solution.x = form.restore(solution.x)
    solution.resources["bounds"] = system.bounds
    _certify_as_returned(solution, scheduler.equation(solution.solver, system), form)
    return solution


ONLY_FOR_CHAINS: dict[str, tuple[Any, ...]] = {
    "solver": ("auto", "qsvt"),
    "encoding": ("auto", "toeplitz"),
    "mode": ("auto", "circuit"),
    "damping": (0.0,),
    "precision": ("double",),
    "readout": (None, "exact"),
    "noise": (None,),
}
"""Options of `solve` where b is a matrix-product state."""


def _solve_chain(
    A: Any,
    b: MatrixProductState,
    asked: dict[str, Any],
    tolerance: float,
    bounds: SpectrumBounds | None,
    backend: str | Backend,
    hardware: Any,
    max_queries: int,
) -> Solution:
    """The same for b as a matrix-product state; backends without a bond dimension get the default one."""
    if not isinstance(A, ToeplitzOperator):
        problem = f"is a {type(A).__name__}, and b is a MatrixProductState"
        raise DataTypeError("A", problem, "Pass a ToeplitzOperator, or b as an array: b.vector()")
    for name, value in asked.items():
        if value not in ONLY_FOR_CHAINS[name]:
            problem, allowed = f"{value!r} is not for a b that is a MatrixProductState", ONLY_FOR_CHAINS[name]
            raise CombinationError(name, problem, "Use " + " or ".join(map(repr, allowed)))
    _check_options(tolerance, 0.0, bounds, hardware, max_queries)
    chosen: Any = select_backend(backend)
    if getattr(chosen, "bond_dimension", None) is None:
        chosen = TensornetBackend(getattr(chosen, "base", chosen), DEFAULT_BOND_DIMENSION)
    model = hardware if isinstance(hardware, CostModel) else CostModel(hardware or Hardware())
    return solve_chain(
        A, b, tolerance=tolerance, bounds=bounds, backend=chosen, model=model, max_queries=max_queries
    )  # fmt: skip


def _system(
    operator: Operator, rhs: Any, bounds: SpectrumBounds | None, tolerance: float, damping: float, backend: Backend
) -> LinearSystem:
    with stage("condition"):
        known = bounds or estimate_spectrum(operator, backend=backend)
    return LinearSystem(operator, rhs, known, tolerance, damping=float(damping))


def _solve(system: LinearSystem, scheduler: Scheduler) -> Solution:
    refusal = _refusal(system)
    return refusal if refusal is not None else scheduler.solve(system)[0]


def _solve_as_given(system: LinearSystem, scheduler: Scheduler, averaged: Solution) -> Solution:
    try:
        return _solve(system, scheduler)
    except CombinationError as problem:  # what was asked for by name needs a symmetric matrix
        averaged.status = Status.NOT_CONVERGED
        averaged.message = (
            f"The system of (A + A^t)/2 is solved, which leaves {averaged.relative_residual:.2e} for A itself, and A "
            f"is not symmetric enough for what was asked ({problem.problem}): pass (A + A^t)/2 if that is noise."
        )
        return averaged


def _backend_for(A: Any, backend: str | Backend) -> Backend:
    """The backend asked for; an operator was made on one already."""
    if not isinstance(A, Operator):
        return select_backend(backend)
    asked, made = select_backend(A.backend if backend == "auto" else backend), A.backend.device
    if asked.device != made:
        problem = f"{asked.device} was asked for, A was made on {made}"
        raise CombinationError("backend", problem, "Make A there, or leave it out")
    return asked


def _certify_as_returned(solution: Solution, system: LinearSystem, form: RealForm) -> None:
    """Make the residual that of x as the user gets it: where b came in less than FP64, x was rounded to that.

    An x that is as good as its dtype can hold is solved, and the message says what the rounding cost.
    """
    held = solution.x.itemsize // (2 if form.complex_dtype else 1)
    if not solution.solved or held >= 8:
        return
    x = form.columns_of(solution.x)
    with np.errstate(all="ignore"):  # a float16 may have overflowed
        worst, _ = certify(system, x, form.backend)
    worst = worst if math.isfinite(worst) else 1.0
    before, solution.relative_residual = solution.relative_residual, worst
    solution.ledger["residual"] = worst
    if worst <= system.tolerance:
        return
    kind = f"{solution.x.dtype}, as b came,"
    solution.message = f"Solved to {before:.2e} in FP64; rounded to {kind} x has the relative residual {worst:.2e}."
    rounding = HALF_ULP[held] * (1 + amplification(system, x))
    if not (bool(form.backend.xp.isfinite(x).all()) and worst <= rounding):
        solution.status = Status.NOT_CONVERGED


def _check_options(
    tolerance: float, damping: float, bounds: SpectrumBounds | None, hardware: Any, max_queries: int
) -> None:
    if not isinstance(tolerance, (int, float, np.floating)):
        raise ParameterError("tolerance", f"{tolerance!r} is not a number", "Give a float such as 1e-6")
    if not 0 < tolerance < 1:
        raise ParameterError(
            "tolerance", f"{tolerance!r} is not between 0 and 1", "Give a relative residual such as 1e-6"
        )
    if not (isinstance(damping, (int, float, np.floating)) and 0 <= damping < math.inf):
        raise ParameterError("damping", f"{damping!r} is not a finite number >= 0", "Use 0 for none")
    check_magnitude(float(damping), "damping")
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


def _check_solver(solver: str, operator: Operator, damping: float) -> None:
    """Raise CombinationError, ShapeError or NotSymmetricError where the solver named is not for such a system."""
    if damping and isinstance(operator, GramOperator):
        raise CombinationError(
            "damping", "is part of a GramOperator already", "Make the operator with the damping meant"
        )
    remedy = "Use solver='qr', 'cg' or 'qsvt'"
    if solver in ("lu", "cholesky") and damping:
        raise CombinationError("damping", f"is for normal equations, which {solver} does not solve", remedy)
    if solver == "cholesky":
        check_symmetric(operator, "A", f"{remedy}, or pass (A + A^t)/2 if the difference is noise")
    if solver == "lu" and operator.shape[0] != operator.shape[1]:
        raise ShapeError("A", f"is not square, of shape {operator.shape}", remedy)


def _encoding_for(operator: Operator, encoding: str, damping: float) -> str:
    """The encoding meant, checked: one of symmetric matrices serves a square A by its Hermitian dilation."""
    encoded: Operator = operator
    if isinstance(operator, GeneralMatrix) and operator.shape[0] == operator.shape[1] and not damping:
        encoded = operator if encoding in ("auto", *GENERAL) else operator.hermitian_dilation()
    return choose_encoding(encoding, encoded)


def _check_memory(
    operator: Operator, encoding: str, solver: str, mode: str, columns: int, backend: Backend, estimated: bool
) -> None:
    n, sparse = max(operator.shape), isinstance(operator, ExplicitMatrix) and operator.sparse
    # Lanczos keeps its basis, one on each side where A is not symmetric; Toeplitz bounds are a closed form
    if estimated and not isinstance(operator, ToeplitzOperator):
        kept = 8.0 * min(*operator.shape, LANCZOS_STEPS) * (1 if operator.symmetric else 1 + min(operator.shape) / n)
        check_memory(
            "A",
            kept * n,
            backend,
            f"About N = {int(backend.available_bytes() // kept)} would fit; with bounds= none is needed",
        )
    if solver in QUANTUM:
        register = 2 * n if encoding == "dilation" else operator.nonzeros + 2 * n
        if isinstance(operator, GramOperator):
            register = (operator.factor.shape[0] + 1) * n
        # auto keeps a register only where it fits
        check_simulation_memory("subspace" if mode == "auto" else mode, n, register, columns, backend)
    if encoding == "dilation" and (solver in ("auto", *QUANTUM)):
        check_memory("encoding", 5 * 8.0 * n * n, backend, "Use encoding='walk', which needs no eigendecomposition")
    if solver in ("cholesky", "qr") or (solver == "lu" and not sparse):
        remedy = f"Use solver='cg' or 'qsvt', which need about {200 * n * columns / 2**20:.3g} MiB"
        check_memory("solver", 24.0 * operator.shape[0] * operator.shape[1], backend, remedy)


def _refusal(system: LinearSystem) -> Solution | None:
    """What the spectrum alone already rules out, or decides."""
    bounds, x = system.bounds, system.zeros()
    if system.normal and bool((system.relative_residuals(system.residual(x)) <= system.size * FP64_EPSILON).all()):
        message = "A^t b is zero up to rounding, so x = 0 is the least-squares solution."
        return Solution(x, Status.SOLVED, message, certify(system, x, system.operator.backend)[0], "none")
    smallest = math.hypot(bounds.lower or bounds.smallest_nonzero or 0.0, system.damping)
    if bounds.upper == 0 or smallest == 0:
        message = "The matrix is zero, so no x solves the system with this b."
        return Solution(x, Status.SINGULAR, message, 1.0, "none")
    problem = beyond_double_precision(system.norm / smallest, system.tolerance)
    if problem:
        return Solution(x, Status.TOO_ILL_CONDITIONED, problem, 1.0, "none")
    return None
