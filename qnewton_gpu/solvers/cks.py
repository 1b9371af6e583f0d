"""CKS: 1/x as a linear combination of Chebyshev polynomials, each of them a power of the walk.

    g(x) = 4 sum_(j=0)^(j0) (-1)^j [ 2^(-2b) sum_(i=j+1)^b C(2b, b+i) ] T_(2j+1)(x)
    b = ceil(kappa^2 ln(kappa/eps)),  j0 = ceil(sqrt(b ln(4b/eps)))
is (1 - (1 - x^2)^b)/x without its small terms, and |x g(x) - 1| <= eps on [1/kappa, 1]. 2 j0 + 1 queries; the success
probability is ||g(A/alpha) b||^2/(sum |c_j|)^2 for a unit b, with sum |c_j| <= 4 j0.
Source: Childs, Kothari, Somma, arXiv 1511.02306, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..polynomials import round_up_to_grid
from .base import LinearSystem
from .walks import WalkMethod, WalkProgram, WalkSolver, chebyshev_series, inversion_error, linear_combination

VANISHED = 740  # exp(-740) is the end of FP64


def cks_orders(kappa: float, epsilon: float) -> tuple[int, int]:
    """(b, j0) of the expansion.

    >>> cks_orders(10, 1e-2)
    (691, 94)
    """
    b = math.ceil(kappa**2 * math.log(kappa / epsilon))
    return b, math.ceil(math.sqrt(b * math.log(4 * b / epsilon)))


def cks_coefficients(kappa: float, epsilon: float) -> np.ndarray:
    """c_j of T_(2j+1), j = 0..j0: 4 (-1)^j P(X > b + j) for the heads X of 2b fair coins.

    C(2b, b+i) follows from C(2b, b) by ratios and that from the sum of all being one: nothing overflows or cancels.
    """
    b, j0 = cks_orders(kappa, epsilon)
    i = np.arange(1, min(b, math.isqrt(VANISHED * b) + 1) + 1)
    relative = np.exp(np.cumsum(np.log1p(-(2 * i - 1) / (b + i))))  # C(2b, b+i)/C(2b, b), about exp(-i^2/b)
    tail = np.zeros(j0 + 1)
    sums = np.cumsum(relative[::-1])[::-1][: j0 + 1]
    tail[: len(sums)] = sums / (1 + 2 * sums[0])
    return 4.0 * (-1.0) ** np.arange(j0 + 1) * tail


@dataclass(frozen=True)
class ChebyshevSum(WalkProgram):
    """g(A/alpha) start / sum |c_j|: with the index register |j> in mode "fused", as a series in "subspace"."""

    kappa: float
    epsilon: float

    @property
    def queries(self) -> int:
        return 2 * cks_orders(self.kappa, self.epsilon)[1] + 1

    degree = queries

    @property
    def copies(self) -> int:
        return 1 if self.mode == "subspace" else self.queries // 2 + 1

    @cached_property
    def coefficients(self) -> np.ndarray:
        """c_s of T_s, s = 0..degree."""
        coefficients = np.zeros(self.degree + 1)
        coefficients[1::2] = cks_coefficients(self.kappa, self.epsilon)
        return coefficients

    @property
    def gain(self) -> float:
        return float(np.abs(self.coefficients).sum())

    @property
    def relative_error(self) -> float:
        return inversion_error(self.coefficients, self.kappa)

    def run(self, backend: Backend) -> tuple[Any, Any, Any]:
        space = self.space(backend)
        if self.mode == "subspace":
            total, psi = chebyshev_series(space, self.coefficients, self.start)
            return total / self.gain, space.norms_squared(psi), psi
        amplitudes, psi = linear_combination(space, self.coefficients, self.start, backend)
        return amplitudes, space.norms_squared(psi).reshape(-1, self.start.shape[1]).sum(axis=0), psi


class CKSMethod(WalkMethod):
    def program(self, epsilon: float, start: Any) -> ChebyshevSum:
        return ChebyshevSum(self.encoding, start, self.mode, round_up_to_grid(self.kappa), epsilon)


@dataclass(frozen=True)
class CKS(WalkSolver):
    """The linear combination of Chebyshev polynomials on any symmetric encoding.

    About 2 kappa ln(kappa/eps) queries with success probability about 1/(kappa ln(kappa/eps))^2 or better.
    """

    name: str = "cks"

    def method(self, system: LinearSystem, backend: Backend) -> CKSMethod:
        return CKSMethod(self, system, self.encode(system, backend), backend)
