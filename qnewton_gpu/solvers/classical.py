"""The classical solvers: Cholesky, LU and QR, from SciPy, torch and NumPy, and conjugate gradients."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..conditioning import FP64_EPSILON
from ..costs import Cost, CostModel
from ..operators import ExplicitMatrix, GramOperator, Operator, check_memory
from ..operators.gram import MatrixFactor
from ..polynomials import round_up_to_grid
from ..stages import stage
from .base import (
    LinearSystem,
    Solution,
    Status,
    beyond_double_precision,
    certify,
    column_norms,
    divisors,
    growth,
    outside_range,
)

STEPS_EACH = 10
"""Products of conjugate gradients for each unknown, at most."""


def _finish(
    system: LinearSystem, backend: Backend, x: Any, solver: str, seconds: float, failure: str, resources: dict[str, Any]
) -> Solution:
    """Certify x: solved only if its recomputed residual says so and the solution shows no kappa beyond FP64."""
    worst, residual = certify(system, x, backend)
    kappa = growth(system, x, backend)  # at least this much
    ill = beyond_double_precision(kappa, system.tolerance) if np.isfinite(kappa) else None
    if not np.isfinite(worst):
        x, worst = system.zeros(), 1.0
        status, message = Status.NOT_CONVERGED, f"{solver} broke down and gave NaN or infinity. {failure}"
    elif ill:
        status, message = Status.TOO_ILL_CONDITIONED, ill
    elif worst <= system.tolerance:
        status, message = Status.SOLVED, f"The relative residual {worst:.2e} is within {system.tolerance:.1e}."
    elif outside := outside_range(system, residual, backend):
        status, message = Status.SINGULAR, outside
    else:
        status, message = (
            Status.NOT_CONVERGED,
            f"The relative residual {worst:.2e} is above {system.tolerance:.1e}. {failure}",
        )
    return Solution(x, status, message, worst, solver, simulated_seconds=seconds, resources=resources,
                    ledger={"arithmetic": FP64_EPSILON * kappa, "readout": 0.0, "residual": worst})  # fmt: skip


@dataclass(frozen=True)
class Factorisation:
    """A direct solve of square A x = b: "cholesky" (dense, positive definite) or "lu" (dense, or SuperLU)."""

    name: str

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        H = system.operator
        if self._not_for(system) or (self.name == "cholesky" and system.bounds.negative):
            return Cost(self.name, math.inf)
        if self.name == "lu" and isinstance(H, ExplicitMatrix) and H.sparse:
            return model.factorisation("lu", system.size, fill_flops=H.fill_flops, entries=H.nonzeros)
        written = getattr(H, "assembly_bytes", 0.0)
        return model.factorisation(self.name, system.size, H.assembly_flops, assembly_bytes=written)

    def _not_for(self, system: LinearSystem) -> str | None:
        """The sentence that says why this system is not one for this factorisation, if so."""
        if system.normal:
            return f"The solver {self.name} solves A x = b with a square A, not normal equations: use 'qr' or 'cg'."
        if self.name == "cholesky" and not system.operator.symmetric:
            return "The solver cholesky needs a symmetric matrix, which this is not: use 'lu' or 'qr'."
        return None

    def solve(self, system: LinearSystem, backend: Backend) -> Solution:
        problem = self._not_for(system)
        if problem:
            return _failed(system, self.name, Status.NOT_CONVERGED, problem, 0.0)
        sparse = self.name == "lu" and isinstance(system.operator, ExplicitMatrix) and system.operator.sparse
        began = time.perf_counter()
        try:
            if not sparse:
                check_memory(
                    "solver", 24.0 * system.size**2, backend, "Use solver='cg' or 'qsvt', which need products only"
                )
            with stage("solve", category=system.name):
                x = self._sparse_lu(system, backend) if sparse else self._dense(system, backend)
                backend.synchronize()
        except np.linalg.LinAlgError as problem:
            if self.name == "cholesky":  # says nothing about singular: an indefinite matrix ends here too
                message = (
                    f"Cholesky needs a positive definite matrix, which this is not ({problem}): use 'lu' or 'qsvt'."
                )
                return _failed(system, self.name, Status.NOT_CONVERGED, message, time.perf_counter() - began)
            message = (
                f"LU met a pivot of exactly zero ({problem}): the matrix is singular; damp it, or use solver='qsvt'."
            )
            return _failed(system, self.name, Status.SINGULAR, message, time.perf_counter() - began)
        except backend.out_of_memory as problem:
            return _out_of_memory(system, self.name, problem, time.perf_counter() - began)
        return _finish(system, backend, x, self.name, time.perf_counter() - began, "The matrix is nearly singular.", {})

    def _dense(self, system: LinearSystem, backend: Backend) -> Any:
        solve = backend.cholesky_solve if self.name == "cholesky" else backend.lu_solve
        return solve(system.operator.dense(), system.rhs)

    def _sparse_lu(self, system: LinearSystem, backend: Backend) -> Any:
        import scipy.sparse.linalg as spla

        try:
            factors = spla.splu(system.operator.matrix.tocsc())  # type: ignore[attr-defined]
            return backend.asarray(factors.solve(backend.to_numpy(system.rhs)))
        except RuntimeError as problem:  # SuperLU's word for a zero pivot
            raise np.linalg.LinAlgError(str(problem)) from None


def _failed(system: LinearSystem, solver: str, status: Status, message: str, seconds: float) -> Solution:
    return Solution(system.zeros(), status, message, 1.0, solver, simulated_seconds=seconds)


def _out_of_memory(system: LinearSystem, solver: str, problem: Exception, seconds: float) -> Solution:
    message = f"The solver {solver} ran out of memory ({problem})."
    return _failed(system, solver, Status.NO_MEMORY, message, seconds)


@dataclass(frozen=True)
class LeastSquares:
    """A direct solve of any system, x = A^+ b or damped, by QR of the dense A (of [A; d I] where there is damping).

    2 p^2 (q - p/3) operations, p = min(m, n), q = max(m, n). Where R shows a zero mode the singular value decomposition
    finds x instead, of minimum norm. Source: Golub and Van Loan, Matrix Computations, section 5.3.
    """

    name: str = "qr"

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        A = system.operator
        rows = A.shape[0] + (A.shape[1] if system.damping else 0)
        return model.least_squares(rows, A.shape[1], A.assembly_flops, getattr(A, "assembly_bytes", 0.0))

    def solve(self, system: LinearSystem, backend: Backend) -> Solution:
        m, n = system.operator.shape
        began = time.perf_counter()
        try:
            check_memory("solver", 24.0 * m * n, backend, "Use solver='cg' or 'qsvt', which need products only")
            with stage("solve", category=system.name):
                x, rank = self._solve(system, backend.xp)
                backend.synchronize()
        except np.linalg.LinAlgError as problem:
            message = f"The singular value decomposition did not converge ({problem}): use 'cg' or 'qsvt'."
            return _failed(system, self.name, Status.NOT_CONVERGED, message, time.perf_counter() - began)
        except backend.out_of_memory as problem:
            return _out_of_memory(system, self.name, problem, time.perf_counter() - began)
        failure = "The matrix is nearly of lower rank."
        solution = _finish(system, backend, x, self.name, time.perf_counter() - began, failure, {"rank": rank})
        if solution.status is Status.NOT_CONVERGED and rank < min(m, n) and not system.normal:
            solution.status, solution.message = (
                Status.SINGULAR,
                (
                    f"The matrix has the numerical rank {rank} of {n}, and b misses its range by "
                    f"{solution.relative_residual:.2e}, so no x solves the system; damp the matrix or project b."
                ),
            )
        return solution

    def _solve(self, system: LinearSystem, xp: Any) -> tuple[Any, int]:
        """x, and the numerical rank."""
        A, rhs = system.operator.dense(), system.residual(system.zeros())
        if system.damping:
            unit = xp.eye(A.shape[1])
            if (
                system.damping >= system.bounds.upper
            ):  # kappa(A^t A + d^2) <= 2, and rows of very different size hurt QR
                return xp.linalg.solve(A.T @ A + system.damping**2 * unit, A.T @ system.rhs), len(unit)
            A = xp.concatenate([A, system.damping * unit])
        tall = A.shape[0] >= A.shape[1]
        q, r = xp.linalg.qr(A if tall else A.T)
        pivots = abs(r.diagonal())
        threshold = max(A.shape) * FP64_EPSILON
        if float(pivots.min()) <= threshold * float(pivots.max()):
            x, _, rank, _ = xp.linalg.lstsq(A, rhs, rcond=threshold)
            return x, int(rank)
        # LU of a triangular matrix exchanges no rows: this is substitution
        return (xp.linalg.solve(r, q.T @ rhs) if tall else q @ xp.linalg.solve(r.T, rhs)), len(pivots)


@dataclass(frozen=True)
class ConjugateGradients:
    """Conjugate gradients: products only. H is positive definite, or the normal equations are solved (CGLS).

    They are where A is not symmetric, not square, or damped. Source: Hestenes and Stiefel, J. Res. Natl. Bur. Stand. 49
    (1952) 409.
    """

    name: str = "cg"

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        H, of_normal = system.operator, _of_normal_equations(system)
        if system.bounds.negative and not of_normal:
            return Cost(self.name, math.inf)
        smallest = math.hypot(system.bounds.smallest_nonzero or system.bounds.lower, system.damping)
        kappa = system.norm / smallest if of_normal and smallest else system.kappa
        return model.conjugate_gradients(
            kappa=round_up_to_grid(kappa**2 if of_normal else kappa),
            epsilon=system.tolerance,
            product_flops=H.product_flops * (2 if of_normal else 1),
            product_bytes=H.product_bytes * (2 if of_normal else 1),
            columns=system.rhs.shape[1],
            kind=_kind(H),
            size=H.shape[1],
            decaying=isinstance(H, GramOperator),
        )

    def solve(self, system: LinearSystem, backend: Backend) -> Solution:
        began = time.perf_counter()
        of_normal = _of_normal_equations(system)
        with stage("solve", category=system.name), np.errstate(all="ignore"):  # a breakdown shows in the certificate
            x, products = (_cgls if of_normal else _cg)(system, backend)
            backend.synchronize()
        failure = "Conjugate gradients need a positive definite, not too ill-conditioned matrix."
        if of_normal:
            failure = f"Conjugate gradients on the normal equations stopped after {products} products."
        return _finish(system, backend, x, self.name, time.perf_counter() - began, failure, {"products": products})


def _kind(operator: Operator) -> str:
    """How its products are made: by a "dense" or "sparse" matrix, or through the "graph" of a network."""
    if isinstance(operator, GramOperator) and not isinstance(operator.factor, MatrixFactor):
        return "graph"
    return "sparse" if getattr(operator, "sparse", False) else "dense"


def _of_normal_equations(system: LinearSystem) -> bool:
    return system.normal or not system.operator.symmetric


def _cg(system: LinearSystem, backend: Backend) -> tuple[Any, int]:
    products = 0

    def product(v: Any) -> Any:
        nonlocal products
        products += 1
        return system.operator.matvec(v)

    x = system.zeros()
    for column in range(x.shape[1]):
        this = slice(column, column + 1)
        # the recurrence's residual drifts from the true one: ask for a little more
        x[:, this] = backend.conjugate_gradients(
            product, system.rhs[:, this], 0.9 * system.tolerance, STEPS_EACH * system.size
        )
    return x, products


def _cgls(system: LinearSystem, backend: Backend) -> tuple[Any, int]:
    """x with A~^t (b~ - A~ x) = 0 from x = 0, so of minimum norm; all columns together.

    In the units ||b|| = ||A~|| = 1, where no square leaves the range of FP64.
    """
    norm, unit = system.norm or 1.0, divisors(column_norms(system.rhs, backend), backend)
    relative = unit / system.scales * (norm if system.normal else 1.0)
    x = system.zeros()
    residual = system.residual(x) / unit
    direction = gradient = system.normal_residual(residual) / norm
    squared = (gradient * gradient).sum(axis=0)
    products = 1
    for _ in range(STEPS_EACH * min(system.operator.shape)):
        measured = relative * column_norms(gradient if system.normal else residual, backend)
        if float(measured.max()) <= 0.9 * system.tolerance:
            break
        image = system.product(direction) / norm
        step = squared / divisors((image * image).sum(axis=0), backend)
        x, residual = x + step * direction, residual - step * image
        gradient = system.normal_residual(residual) / norm
        before, squared = squared, (gradient * gradient).sum(axis=0)
        direction = gradient + squared / divisors(before, backend) * direction
        products += 2
    return x * (unit / norm), products
