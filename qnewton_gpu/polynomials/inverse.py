"""Residual-minimax polynomials for 1/x (odd) and 1/x^2 (even) on [1/kappa, 1]: asked for by (kappa, epsilon)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import UnknownNameError
from .base import Parity, Polynomial, checked_epsilon, checked_kappa


def _half_order(kappa: float, epsilon: float) -> int:
    """n of T_n: the smallest with 1/T_n(|y0|) <= epsilon, where acosh|y0| = ln((1+a)/(1-a))."""
    return max(1, math.ceil(math.acosh(1 / epsilon) / (2 * math.atanh(1 / kappa))))


def _checked(kappa: float, epsilon: float, parity: str) -> tuple[float, float]:
    """kappa and epsilon as floats; errors as `inverse_polynomial` says."""
    checked = checked_kappa(kappa), checked_epsilon(epsilon)
    if parity not in ("odd", "even"):
        raise UnknownNameError.among("parity", parity, ("odd", "even"))
    return checked


def inverse_degree(kappa: float, epsilon: float, parity: Parity = "odd") -> int:
    """Degree of `inverse_polynomial(kappa, epsilon, parity)`, without building it; the same errors."""
    n = _half_order(*_checked(kappa, epsilon, parity))
    return 2 * n - 1 if parity == "odd" else 2 * n - 2


@dataclass(frozen=True)
class InversePolynomial(Polynomial):
    """P(x) = (1 - E(x)) / x^k, k = 1 (odd) or 2 (even), with the residual E = T_n(y)/T_n(y0) of least maximum.

    y = (2 x^2 - 1 - a^2)/(1 - a^2), y0 = -(1 + a^2)/(1 - a^2), a = 1/kappa; |E| <= relative_error on a <= |x| <= 1.
    Between -a and a, 0 < E <= 1: a spectrum that reaches below a is damped, never amplified.
    """

    kappa: float
    epsilon: float
    parity: Parity
    half_order: int

    @property
    def name(self) -> str:
        return f"residual-{self.parity}-{self.kappa.hex()}-{self.epsilon.hex()}"

    @property
    def degree(self) -> int:
        return 2 * self.half_order - (1 if self.parity == "odd" else 2)

    @property
    def relative_error(self) -> float:
        """max |x P(x) - 1| (odd) or |x^2 P(x) - 1| (even) on [a, 1] = 1/|T_n(y0)|."""
        return 1 / math.cosh(2 * self.half_order * math.atanh(1 / self.kappa))

    def residual(self, x: np.ndarray) -> np.ndarray:
        """E(x) for |x| <= 1, by the trigonometric and hyperbolic forms of T_n, which lose no digits."""
        return 1 - self._one_minus_residual(np.abs(np.asarray(x, dtype=float)))

    def _one_minus_residual(self, x: np.ndarray) -> np.ndarray:
        a, n = 1 / self.kappa, self.half_order
        outer = 2 * n * math.atanh(a)  # |T_n(y0)| = cosh(outer)
        ratio = (x * x - a * a) / (1 - a * a)
        result = np.empty_like(x)
        far = ratio >= 0
        angle = 2 * n * np.arcsin(np.sqrt(np.minimum(ratio[far], 1.0)))
        result[far] = 1 - np.cos(angle) / math.cosh(outer)
        # 1 - cosh(inner)/cosh(outer) as a product, with outer - inner in closed form: no cancellation as x -> 0
        u, v = a / math.sqrt(1 - a * a), np.sqrt(-ratio[~far])
        gap = np.arcsinh(x[~far] ** 2 / (1 - a * a) / (u * np.sqrt(1 + v * v) + v * math.sqrt(1 + u * u)))
        inner = 2 * n * np.arcsinh(v)
        result[~far] = 2 * np.sinh((outer + inner) / 2) * np.sinh(n * gap) / math.cosh(outer)
        return result

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        """P(x) for real |x| <= 1."""
        x = np.asarray(x, dtype=float)
        flat = np.atleast_1d(x)
        zero = np.abs(flat) < 1e-150  # below this x^2 underflows
        safe = np.where(zero, 1.0, flat)
        power = 1 if self.parity == "odd" else 2
        values = self._one_minus_residual(np.abs(flat)) / safe**power
        # E = 1 - P(0) x^2 + ... in the even case; an odd polynomial vanishes at zero
        at_zero = 0.0 if self.parity == "odd" else self._value_at_zero
        return np.where(zero, at_zero, values).reshape(x.shape)

    @property
    def _value_at_zero(self) -> float:
        a, n = 1 / self.kappa, self.half_order
        return n * math.tanh(2 * n * math.atanh(a)) / a

    @property
    def reach(self) -> float:
        # beyond 2a |P| <= (1 + e)/(2a) < (1 - e)/a <= |P(a)|: the maximum is not there
        return 2 / self.kappa if self.relative_error < 1 / 4 else 1.0


def inverse_polynomial(kappa: float, epsilon: float, parity: Parity = "odd") -> InversePolynomial:
    """The polynomial of least degree with |x P(x) - 1| <= epsilon (odd) or |x^2 P(x) - 1| <= epsilon (even).

    Valid on 1/kappa <= |x| <= 1. Degree 2n - 1 (odd) or 2n - 2 (even), n = ceil(acosh(1/eps)/acosh((1+a^2)/(1-a^2))),
    about kappa ln(2/epsilon). kappa below 1.01 is raised to 1.01 and otherwise never rounded.
    Raises ParameterError unless kappa >= 1 is finite and 0 < epsilon < 1, and UnknownNameError for a parity.
    Source: the Chebyshev residual polynomial of Saad, Iterative Methods for Sparse Linear Systems (2003), and the
    polynomials for inversion by QSVT in arXiv 2507.15537.

    >>> p = inverse_polynomial(10, 1e-2)
    >>> p.degree, round(p.sup_norm, 6)
    (53, 11.23903)
    """
    return _built(*_checked(kappa, epsilon, parity), parity)


@lru_cache(maxsize=256)
def _built(kappa: float, epsilon: float, parity: Parity) -> InversePolynomial:
    """One object for equal arguments, so that its coefficients and largest value are computed once."""
    return InversePolynomial(kappa, epsilon, parity, _half_order(kappa, epsilon))
