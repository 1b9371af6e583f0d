"""The Gram encoding: H = G^t G + delta I through its factor, so that queries grow like sqrt(kappa(H)).

With G~ = [G; sqrt(delta) I], an (m+1) x n register and S = I,
    T_R|j> = sum_i (||G_i||/alpha) |i>|j> + (sqrt(delta)/alpha) |*>|j>
    T_L|i> = |i>|G_i>/||G_i||  (i < m),   T_L|m+j> = |*>|j>
    T_L^t T_R = G~/alpha,   alpha = sqrt(||G||_F^2 + delta)
The flag row |*> carries all of delta. Singular values are sqrt(sigma^2 + delta)/alpha >= sqrt(delta)/alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..backends.base import Backend
from ..operators import GramOperator, Operator
from .base import Coordinates, OfOperator, Side, qubits


@dataclass(frozen=True)
class GramRegister:
    """T_R and T_L row by row: what the queries on the whole register read. Amplitude (i, j) stands at i n + j."""

    weight: Any
    """||G_i||/alpha, and sqrt(delta)/alpha for the flag row: (m + 1,)."""
    unit: Any
    """G_i/||G_i||, (m, n)."""


class GramEncoding(OfOperator):
    """G~/alpha between R^n (right) and R^(m+n) (left)."""

    name = "gram"
    symmetric = False
    encodes = GramOperator

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        self.factor = self.operator.factor
        m, n = self.factor.shape
        self.root_damping = math.sqrt(self.operator.damping)
        self.alpha = math.sqrt(self.factor.frobenius_squared + self.operator.damping)
        self.system_qubits, self.ancilla_qubits = qubits(n), qubits(m + 1)
        self.register_size = (m + 1) * n

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.factor.shape
        return m + n, n

    @property
    def kappa(self) -> float:
        """alpha/sqrt(delta), a bound of the condition number that the polynomial has to cover."""
        return self.alpha / self.root_damping

    def matvec(self, v: Any) -> Any:
        return self.backend.xp.concatenate([self.factor.matvec(v), self.root_damping * v]) / self.alpha

    def rmatvec(self, u: Any) -> Any:
        m = self.factor.shape[0]
        return (self.factor.rmatvec(u[:m]) + self.root_damping * u[m:]) / self.alpha

    @cached_property
    def register(self) -> GramRegister:
        """The tables of T_R and T_L, which need the rows of G themselves."""
        xp, G = self.backend.xp, self.factor.rows()
        # a softmax underflows to rows so small that their squares would be lost, and with them the unit length
        largest = abs(G).max(axis=1)
        unit = G / xp.where(largest > 0, largest, 1.0)[:, None]
        unit[:, 0][largest == 0] = 1.0  # a row of zeros may be any unit vector
        norms = xp.sqrt((unit * unit).sum(axis=1))
        unit /= norms[:, None]
        weight = xp.concatenate([largest * norms, xp.full(1, self.root_damping)]) / self.alpha
        return GramRegister(weight, unit)

    def lift(self, v: Any, side: Side) -> Any:
        xp, table = self.backend.xp, self.register
        m, n = table.unit.shape
        psi = xp.empty((m + 1, n, v.shape[1]), dtype=v.dtype)
        if side == "right":
            xp.multiply(table.weight[:, None, None], v, out=psi)
        else:
            xp.multiply(table.unit[:, :, None], v[:m, None, :], out=psi[:m])
            psi[m] = v[m:]
        return psi.reshape(self.register_size, -1)

    def lower(self, psi: Any, side: Side) -> Any:
        table, columns = self.register, psi.shape[1]
        m, n = table.unit.shape
        if side == "right":
            return self.backend.real_product(table.weight[None], psi.reshape(m + 1, -1)).reshape(n, columns)
        psi = psi.reshape(m + 1, n, columns)
        return self.backend.xp.concatenate([(table.unit[:, None] @ psi[:m])[:, 0], psi[m]])

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
        self.operator = encoding.operator
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
