"""The classical solvers: Cholesky, LU and conjugate gradients, from SciPy and torch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..conditioning import FP64_EPSILON
from ..costs import Cost, CostModel
from ..operators import MatrixOperator, check_memory
from ..polynomials import round_up_to_grid
from ..stages import stage
from .base import LinearSystem, Solution, Status, beyond_double_precision, certify, growth


def _finish(
    system: LinearSystem, backend: Backend, x: Any, solver: str, seconds: float, failure: str, resources: dict[str, Any]
) -> Solution:
    """Certify x: solved only if its recomputed residual says so and the solution shows no kappa beyond FP64."""
    worst, _ = certify(system, x, backend)
    kappa = growth(system, x, backend)  # at least this much
    ill = beyond_double_precision(kappa, system.tolerance) if np.isfinite(kappa) else None
    if not np.isfinite(worst):
        x, worst = backend.xp.zeros_like(system.rhs), 1.0
        status, message = Status.NOT_CONVERGED, f"{solver} broke down and gave NaN or infinity. {failure}"
    elif ill:
        status, message = Status.TOO_ILL_CONDITIONED, ill
    elif worst <= system.tolerance:
        status, message = Status.SOLVED, f"The relative residual {worst:.2e} is within {system.tolerance:.1e}."
    else:
        status, message = (
            Status.NOT_CONVERGED,
            f"The relative residual {worst:.2e} is above {system.tolerance:.1e}. {failure}",
        )
    return Solution(x, status, message, worst, solver, simulated_seconds=seconds, resources=resources,
                    ledger={"arithmetic": FP64_EPSILON * kappa, "readout": 0.0, "residual": worst})  # fmt: skip


@dataclass(frozen=True)
class Factorisation:
    """A direct solve: "cholesky" (dense, positive definite) or "lu" (dense, or sparse with SuperLU)."""

    name: str

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        if self.name == "cholesky" and system.bounds.negative:
            return Cost(self.name, math.inf)
        H = system.operator
        # a sparse LU is charged within the band that a reordering leaves; Cholesky is made dense
        band = H.half_bandwidth if self.name == "lu" and isinstance(H, MatrixOperator) and H.sparse else None
        return model.factorisation(self.name, system.size, H.assembly_flops, band)

    def solve(self, system: LinearSystem, backend: Backend) -> Solution:
        sparse = self.name == "lu" and isinstance(system.operator, MatrixOperator) and system.operator.sparse
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
                return self._failed(system, backend, Status.NOT_CONVERGED, message, began)
            message = (
                f"LU met a pivot of exactly zero ({problem}): the matrix is singular; damp it, or use solver='qsvt'."
            )
            return self._failed(system, backend, Status.SINGULAR, message, began)
        except backend.out_of_memory as problem:
            return self._failed(
                system, backend, Status.NO_MEMORY, f"The solver {self.name} ran out of memory ({problem}).", began
            )
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

    def _failed(self, system: LinearSystem, backend: Backend, status: Status, message: str, began: float) -> Solution:
        x = backend.xp.zeros_like(system.rhs)
        return Solution(x, status, message, 1.0, self.name, simulated_seconds=time.perf_counter() - began)


@dataclass(frozen=True)
class ConjugateGradients:
    """Conjugate gradients: products only, for positive definite H."""

    name: str = "cg"

    def predict(self, system: LinearSystem, model: CostModel, backend: Backend) -> Cost:
        if system.bounds.negative:
            return Cost(self.name, math.inf)
        return model.conjugate_gradients(
            kappa=round_up_to_grid(system.bounds.kappa),
            epsilon=system.tolerance,
            product_flops=system.operator.product_flops,
            product_bytes=system.operator.product_bytes,
            columns=system.rhs.shape[1],
        )

    def solve(self, system: LinearSystem, backend: Backend) -> Solution:
        n, products = system.size, 0

        def product(v: Any) -> Any:
            nonlocal products
            products += 1
            return system.operator.matvec(v)

        began = time.perf_counter()
        rhs = system.rhs
        x = backend.xp.zeros_like(rhs)
        with stage("solve", category=system.name), np.errstate(all="ignore"):  # a breakdown shows in the certificate
            for column in range(rhs.shape[1]):
                # the recurrence's residual drifts from the true one: ask for a little more
                this = slice(column, column + 1)
                x[:, this] = backend.conjugate_gradients(product, rhs[:, this], 0.9 * system.tolerance, 10 * n)
            backend.synchronize()
        return _finish(
            system, backend, x, self.name, time.perf_counter() - began,
            "Conjugate gradients need a positive definite, not too ill-conditioned matrix.", {"products": products},
        )  # fmt: skip
