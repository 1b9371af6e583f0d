"""The odd polynomial that is nearest to 1/x on [1/kappa, 1] in absolute error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .base import Parity, Polynomial, checked_epsilon, checked_kappa


@dataclass(frozen=True)
class UniformInversePolynomial(Polynomial):
    """P(x) = (1 - E(x))/x with E = (T_n + b T_{n-1})(y) / (T_n + b T_{n-1})(y0), b = (1 - a)/(1 + a), a = 1/kappa.

    y = (2 x^2 - 1 - a^2)/(1 - a^2), y0 = y(0): on a <= x <= 1, |P(x) - 1/x| <= b^n (1 + a)/a, and |x P(x) - 1| is at
    most x times that. Between -a and a, 0 < E <= 1.
    """

    kappa: float
    epsilon: float
    order: int
    parity: Parity = field(default="odd", init=False)

    @property
    def name(self) -> str:
        return f"uniform-{self.kappa.hex()}-{self.epsilon.hex()}"

    @property
    def degree(self) -> int:
        return 2 * self.order - 1

    @property
    def absolute_error(self) -> float:
        """max |P(x) - 1/x| on [a, 1] = b^n (1 + a)/a."""
        a = 1 / self.kappa
        return math.exp(-2 * self.order * math.atanh(a)) * (1 + a) / a

    @property
    def relative_error(self) -> float:
        """max |x P(x) - 1| on [a, 1]: the absolute error, at x = 1; at x = a it is kappa times smaller."""
        return self.absolute_error

    @property
    def reach(self) -> float:
        # beyond 2a |P| <= 1/(2a) + error < 1/a - error <= |P(a)|
        return 2 / self.kappa if self.absolute_error < self.kappa / 4 else 1.0

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        flat = np.abs(np.atleast_1d(x))
        a, n = 1 / self.kappa, self.order
        b, s0 = (1 - a) / (1 + a), 2 * math.atanh(a)
        ratio = (flat**2 - a * a) / (1 - a * a)
        result = np.empty_like(flat)
        far = ratio >= 0
        angle = 2 * np.arcsin(np.sqrt(np.minimum(ratio[far], 1.0)))
        # |T_n(y0) + b T_{n-1}(y0)| = e^{(n-1) s0} sinh s0, b = e^{-s0}
        decay = math.exp(-(n - 1) * s0) / math.sinh(s0)
        result[far] = 1 - (np.cos(n * angle) - b * np.cos((n - 1) * angle)) * decay
        # 1 - E is a sum of positive terms in s = acosh(-y), gap = s0 - s and middle = (s0 + s)/2: nothing cancels
        u, v = a / math.sqrt(1 - a * a), np.sqrt(-ratio[~far])
        gap = 2 * np.arcsinh(flat[~far] ** 2 / (1 - a * a) / (u * np.sqrt(1 + v * v) + v * math.sqrt(1 + u * u)))
        s = 2 * np.arcsinh(v)
        middle = (s0 + s) / 2
        spread = 2 * np.sinh(middle) - np.expm1(-2 * (n - 1) * s) * np.exp(-middle)
        last = np.exp(-(n - 1) * gap) * np.sinh(gap / 2) * spread / math.sinh(s0)
        result[~far] = last - np.expm1(-(n - 1) * gap)
        zero = flat < 1e-150  # below this x^2 underflows
        values = np.where(zero, 0.0, result / np.where(zero, 1.0, flat)).reshape(x.shape)
        return np.copysign(values, x)


@lru_cache(maxsize=256)
def _built(kappa: float, epsilon: float) -> UniformInversePolynomial:
    a = 1 / kappa
    order = max(1, math.ceil(math.log((1 + a) / (a * epsilon)) / (2 * math.atanh(a))))
    return UniformInversePolynomial(kappa, epsilon, order)


def uniform_inverse_polynomial(kappa: float, epsilon: float) -> UniformInversePolynomial:
    """The odd polynomial of least degree with |P(x) - 1/x| <= epsilon on [1/kappa, 1]; epsilon is an absolute error.

    Degree 2n - 1, n = ceil(ln((1 + a)/(a epsilon))/ln((1 + a)/(1 - a))), about kappa ln(kappa/epsilon). kappa below
    1.01 is raised to 1.01. Raises ParameterError unless kappa >= 1 is finite and 0 < epsilon < 1.
    Source: arXiv 2507.15537; T_n + b T_{n-1} over x is Bernstein's extremal function for the weight 1/x.

    >>> p = uniform_inverse_polynomial(10, 1e-2)
    >>> p.degree, round(p.sup_norm, 2)
    (69, 12.9)
    """
    return _built(checked_kappa(kappa), checked_epsilon(epsilon))
