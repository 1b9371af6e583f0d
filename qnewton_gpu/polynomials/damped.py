"""The odd polynomial that is nearest to x/(x^2 + d^2) on the whole of [-1, 1]: the damped inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from numbers import Real

import numpy as np

from ..errors import ParameterError
from .base import Parity, Polynomial, checked_epsilon


def _largest(damping: float) -> float:
    """max over [0, 1] of x/(x^2 + d^2), at x = d or at 1."""
    return 1 / (2 * damping) if damping <= 1 else 1 / (1 + damping**2)


@dataclass(frozen=True)
class DampedInversePolynomial(Polynomial):
    """P = f - lambda Re(z^N (z^2 + r^2)/(1 + r^2 z^2)), f = x/(x^2 + d^2), x = cos(theta), z = e^{i theta}, N = degree.

    r = sqrt(1 + d^2) - d, and |lambda| = r^N/(2 d (1 + d^2)) is the least error of any polynomial of degree N. P is the
    series f = 2/sqrt(1 + d^2) sum_k (-1)^k r^(2k+1) T_{2k+1} up to T_N, with |lambda| r^2 more on the last coefficient.
    """

    kappa: float
    """1/d"""
    epsilon: float
    damping: float
    terms: int
    parity: Parity = field(default="odd", init=False)

    @property
    def name(self) -> str:
        return f"damped-{self.damping.hex()}-{self.epsilon.hex()}"

    @property
    def degree(self) -> int:
        return 2 * self.terms - 1

    @property
    def absolute_error(self) -> float:
        """max |P - f| on [-1, 1] = |lambda|."""
        d = self.damping
        return math.exp(-self.degree * math.asinh(d)) / (2 * d * (1 + d * d))

    @property
    def relative_error(self) -> float:
        """max |P - f| / max |f| on [-1, 1]."""
        return self.absolute_error / _largest(self.damping)

    @property
    def reach(self) -> float:
        # beyond 4d f is less than half of its maximum
        return 4 * self.damping if self.relative_error < 1 / 4 else 1.0

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        d, square = self.damping, math.exp(-2 * math.asinh(self.damping))
        # in x = sin(phi), where small x keep their digits: (-1)^(terms - 1) Re z^N = sin(N phi)
        z = np.sqrt(1 - x * x) + 1j * x
        turned = np.exp(1j * self.degree * np.arcsin(x)) * (square - z**2) / (1 - square * z**2)
        return x / (x * x + d * d) + self.absolute_error * turned.imag

    @cached_property
    def chebyshev(self) -> np.ndarray:
        d = self.damping
        k = np.arange(self.terms)
        series = (-1.0) ** k * np.exp(-(2 * k + 1) * math.asinh(d)) * 2 / math.sqrt(1 + d * d)
        series[-1] += (-1.0) ** k[-1] * self.absolute_error * math.exp(-2 * math.asinh(d))
        return series


@lru_cache(maxsize=256)
def _built(damping: float, epsilon: float) -> DampedInversePolynomial:
    allowed = epsilon * _largest(damping) * 2 * damping * (1 + damping**2)
    degree = max(1.0, -math.log(allowed) / math.asinh(damping))
    return DampedInversePolynomial(1 / damping, epsilon, damping, math.ceil((degree + 1) / 2))


def damped_inverse_polynomial(damping: float, epsilon: float) -> DampedInversePolynomial:
    """The odd polynomial of least degree with |P(x) - f(x)| <= epsilon max|f| on [-1, 1], f(x) = x/(x^2 + damping^2).

    Damping d is in units of alpha; max|f| = 1/(2 d) for d <= 1, and the degree is then the smallest odd
    N >= -ln(epsilon (1 + d^2))/asinh(d), about ln(1/epsilon)/d.
    Raises ParameterError unless damping is finite and > 0 and 0 < epsilon < 1.
    Source: the best approximation of a rational function, Achieser, Theory of Approximation (1956), chapter II.

    >>> p = damped_inverse_polynomial(0.1, 1e-2)
    >>> p.degree, round(p.sup_norm, 2)
    (47, 5.01)
    """
    if not (isinstance(damping, Real) and math.isfinite(damping) and damping > 0):
        raise ParameterError("damping", f"{damping!r} is not a finite number > 0", "Give a damping such as 1e-2")
    return _built(float(damping), checked_epsilon(epsilon))
