"""The Gram encoding: H = G^t G + delta I through its factor, so that queries grow like sqrt(kappa(H)).

With G~ = [G; sqrt(delta) I], an (m+1) x n register and S = I,
    T_R|j> = sum_i (||G_i||/alpha) |i>|j> + (sqrt(delta)/alpha) |*>|j>
    T_L|i> = |i>|G_i>/||G_i||  (i < m),   T_L|m+j> = |*>|j>
    T_L^t T_R = G~/alpha,   alpha = sqrt(||G||_F^2 + delta)
The flag row |*> carries all of delta. Singular values are sqrt(sigma^2 + delta)/alpha >= sqrt(delta)/alpha.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

from ..backends.base import Backend
from ..errors import CombinationError
from ..operators import GramOperator, MatrixFactor, Operator
from .base import Coordinates, Side, qubits


class GramEncoding(Coordinates):
    """G~/alpha between R^n (right) and R^(m+n) (left)."""

    name = "gram"
    symmetric = False

    @staticmethod
    def check(operator: Operator) -> None:
        if not isinstance(operator, GramOperator):
            raise CombinationError(
                "encoding",
                "gram needs a factor G with A = G^t G + damping I",
                "Pass GramOperator(G, damping) as A, or use encoding='walk'",
            )

    def __init__(self, operator: Operator, backend: Backend) -> None:
        self.check(operator)
        assert isinstance(operator, GramOperator)
        self.operator, self.backend = operator, backend
        m, n = operator.factor.shape
        self.root_damping = math.sqrt(operator.damping)
        self.alpha = math.sqrt(operator.factor.frobenius_squared + operator.damping)
        self.system_qubits, self.ancilla_qubits = qubits(n), qubits(m + 1)
        self.register_size = (m + 1) * n

    @property
    def kappa(self) -> float:
        """alpha/sqrt(delta), a bound of the condition number that the polynomial has to cover."""
        return self.alpha / self.root_damping

    def matvec(self, v: Any) -> Any:
        return self.backend.xp.concatenate([self.operator.factor.matvec(v), self.root_damping * v]) / self.alpha

    def rmatvec(self, u: Any) -> Any:
        m = self.operator.factor.shape[0]
        return (self.operator.factor.rmatvec(u[:m]) + self.root_damping * u[m:]) / self.alpha

    @cached_property
    def _tables(self) -> tuple[Any, Any]:
        """Amplitudes of T_R, (m+1, 1, 1), and unit rows (m, n) of an explicit G; a zero row may be any unit vector."""
        factor = self.operator.factor
        if not isinstance(factor, MatrixFactor):
            raise CombinationError(
                "mode", "the gram register needs an explicit G", "Use mode='subspace', which is exact"
            )
        xp = self.backend.xp
        G = factor.matrix if isinstance(factor.matrix, xp.ndarray) else factor.matrix.toarray()
        norms = xp.sqrt((G * G).sum(axis=1, keepdims=True))
        rows = G / xp.where(norms > 0, norms, 1.0)
        rows[norms[:, 0] == 0, 0] = 1.0
        weights = xp.concatenate([norms, xp.full((1, 1), self.root_damping)]) / self.alpha
        return weights[:, :, None], rows

    def lift(self, v: Any, side: Side) -> Any:
        xp, (weights, rows) = self.backend.xp, self._tables
        m, n = rows.shape
        if side == "right":
            psi = weights * v[None, :, :]
        else:
            psi = xp.concatenate([rows[:, :, None] * v[:m, None, :], v[None, m:, :]])
        return psi.reshape((m + 1) * n, -1)

    def lower(self, psi: Any, side: Side) -> Any:
        xp, (weights, rows) = self.backend.xp, self._tables
        m, n = rows.shape
        psi = psi.reshape(m + 1, n, -1)
        if side == "right":
            return (weights * psi).sum(axis=0)
        return xp.concatenate([(rows[:, :, None] * psi[:m]).sum(axis=1), psi[m]])

    def reflect(self, psi: Any) -> Any:
        return psi


class ReducedGram(Coordinates):
    """The same encoding in the left vectors that the circuit can reach: w = c r + (G~/alpha) z, kept as (c; z).

    Exact. One product with H serves two queries and no vector of length m is stored. `source` is G~^t r = g, (n, k),
    for the left start r (zero for circuits that start on the right), and `source_norm` its norm ||r||.
    """

    name = "gram"
    symmetric = False

    def __init__(self, encoding: GramEncoding, source: Any, source_norm: Any) -> None:
        self.encoding, self.alpha, self.xp = encoding, encoding.alpha, encoding.backend.xp
        self.operator: Operator = encoding.operator
        self.system_qubits, self.ancilla_qubits = encoding.system_qubits, encoding.ancilla_qubits
        self.register_size = encoding.register_size
        self.source, self.source_norm = source, source_norm

    def matvec(self, u: Any) -> Any:
        return self.xp.concatenate([self.xp.zeros((1, u.shape[1]), dtype=u.dtype), u])

    def rmatvec(self, w: Any) -> Any:
        product = self.operator.matvec(w[1:])
        product /= self.alpha**2
        product += self.source * (w[:1] / self.alpha)
        return product

    def inner(self, x: Any, y: Any, side: Side) -> Any:
        if side == "right":
            return super().inner(x, y, side)
        c, d = x[0].conj(), y[0]
        z, t = x[1:].conj(), y[1:]
        cross = (c * (self.source * t).sum(axis=0) + d * (z * self.source).sum(axis=0)) / self.alpha
        return c * d * self.source_norm**2 + cross + (z * self.operator.matvec(t)).sum(axis=0) / self.alpha**2
