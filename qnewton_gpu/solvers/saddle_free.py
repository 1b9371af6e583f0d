"""Saddle-free Newton steps: |H| x = b by QSVT with the even polynomial of 1/|x| (Dauphin et al., arXiv 1406.2572).

At a saddle point H^-1 g leads uphill along negative curvature, and |H|^-1 g leads down. The certificate is the
residual of |H| x = b in FP64, |H| v = H^2 (|H|^-1 v) by products, or by an eigendecomposition where N is small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..backends.base import Backend
from ..encodings.base import BlockEncoding
from ..errors import CombinationError
from ..operators import GramOperator, KroneckerOperator
from ..polynomials import Parity, absolute_inverse_polynomial, round_up_to_grid
from .base import LinearSystem
from .formulations import Symmetric
from .qsvt import QSVT, QSVTMethod

LARGEST_EIGENDECOMPOSITION = 1024
CERTIFICATE_ERROR = 0.05
"""Of |H| in its certificate, in units of the tolerance."""


class AbsoluteValue:
    """|H| for a symmetric H, by products: exact to `error` where 1/kappa <= |lambda|/alpha."""

    symmetric = True

    def __init__(self, H: Any, alpha: float, kappa: float, error: float) -> None:
        self.H, self.alpha, self.kappa, self.error = H, alpha, kappa, error
        self.backend, self.shape, self.nonzeros = H.backend, H.shape, H.nonzeros
        self.product_flops, self.product_bytes = H.product_flops, H.product_bytes
        self.assembly_flops = 10.0 * H.shape[0] ** 3  # an eigendecomposition

    @cached_property
    def _matrix(self) -> Any:
        values, vectors = self.backend.xp.linalg.eigh(self.H.dense())
        return (vectors * abs(values)) @ vectors.T

    def dense(self) -> Any:
        return self._matrix

    def matvec(self, v: Any) -> Any:
        """|H| v for v of shape (N, k)."""
        if self.shape[0] <= LARGEST_EIGENDECOMPOSITION:
            return self.backend.real_product(self._matrix, v)
        coefficients = absolute_inverse_polynomial(self.kappa, self.error).chebyshev
        # sum_j c_j T_2j(H/alpha) v = sum_j c_j T_j(M) v, M = 2 (H/alpha)^2 - 1
        before, now = v, self._squared(v)
        total = coefficients[0] * before
        for c in coefficients[1:]:
            total = total + c * now
            before, now = now, 2 * self._squared(now) - before
        return self.H.matvec(self.H.matvec(total)) / self.alpha

    rmatvec = matvec

    def _squared(self, v: Any) -> Any:
        return 2 * self.H.matvec(self.H.matvec(v)) / self.alpha**2 - v


class Absolute(Symmetric):
    """x = P(H/alpha) b with the even polynomial of 1/|x|."""

    parity: Parity = "even"

    def polynomial(self, kappa: float, epsilon: float) -> Any:
        return absolute_inverse_polynomial(kappa, epsilon)


@dataclass(frozen=True)
class SaddleFree(QSVT):
    """|H|^-1 b for a symmetric matrix; the solution's residual is that of |H| x = b."""

    name: str = "saddle_free"

    def equation(self, system: LinearSystem) -> LinearSystem:
        H = system.operator
        if isinstance(H, AbsoluteValue):
            return system
        # not by type alone: `qnewton estimate` states systems that have no matrix
        if not H.symmetric or isinstance(H, (GramOperator, KroneckerOperator)) or system.damping:
            problem = "saddle_free needs an explicit symmetric matrix, and no damping"
            raise CombinationError("solver", problem, "Pass a symmetric A, or use solver='qsvt'")
        encoding = super().encode(system, H.backend)
        method = Symmetric(encoding, system, H.backend)
        # bounds that are estimates may miss what lies below them
        kappa = round_up_to_grid((1 if system.bounds.certified else 4) * method.kappa)
        operator = AbsoluteValue(H, encoding.alpha, kappa, CERTIFICATE_ERROR * system.tolerance)
        return replace(system, operator=operator, bounds=replace(system.bounds, negative=False))

    def encode(self, system: LinearSystem, backend: Backend) -> BlockEncoding:
        assert isinstance(system.operator, AbsoluteValue)
        return super().encode(replace(system, operator=system.operator.H), backend)

    def method(self, system: LinearSystem, backend: Backend) -> QSVTMethod:
        return QSVTMethod(self, system, Absolute(self.encode(system, backend), system, backend), backend)
