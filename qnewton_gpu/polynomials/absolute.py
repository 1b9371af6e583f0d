"""Even polynomials for 1/|x| on [1/kappa, 1]: the saddle-free inverse |H|^-1."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .base import Parity, Polynomial, checked_epsilon, checked_kappa

_STEP = 0.25  # the trapezoidal rule misses 1/|x| by e^{-pi^2/step} = 7e-18 of it
_NODES = 160  # to u = a sinh 40
_NEGLIGIBLE = 45.0  # e^-45 of the first term


@dataclass(frozen=True)
class AbsoluteInversePolynomial(Polynomial):
    """P(x) = (2/pi) int_0^inf (1 - V(x^2)/V(-u^2)) / (u^2 + x^2) du, which interpolates 1/|x| where V(x^2) = 0.

    V(t) = (T_m + c T_{m-1})(y), m = order, y = (2 t - 1 - a^2)/(1 - a^2), a = 1/kappa, on [a, 1]:
    |x P(x) - 1| = x |V(x^2)| (2/pi) int du/((u^2 + x^2) |V(-u^2)|), a nearly constant envelope times a cosine.
    Between -a and a, 0 < P(x) < 1/|x|.
    """

    kappa: float
    epsilon: float
    order: int
    parity: Parity = field(default="even", init=False)

    @property
    def name(self) -> str:
        return f"absolute-{self.kappa.hex()}-{self.epsilon.hex()}"

    @property
    def degree(self) -> int:
        return 2 * (self.order - 1)

    @property
    def relative_error(self) -> float:
        """The largest value of the envelope of | |x| P(x) - 1 | on [a, 1]."""
        a = 1 / self.kappa
        x = np.geomspace(a, 1, 257)
        nodes, weights = self._nodes_and_weights
        kernel = sum(w / (u * u + x * x) for u, w in zip(nodes, weights * np.exp(-self._log_v(nodes**2)), strict=True))
        # on [a, 1] |V| is sqrt(4 c/(1 - a^2) (x^2 + shift)) times a cosine
        return float(np.max(x * np.sqrt(4 * self._c / (1 - a * a) * (x * x + self._shift)) * kernel))

    @property
    def reach(self) -> float:
        # beyond 2a |P| <= (1 + e)/(2a) < (1 - e)/a <= |P(a)|
        return 2 / self.kappa if self.relative_error < 1 / 4 else 1.0

    @property
    def _shift(self) -> float:
        """Makes the envelope flat: 1/|V(-u^2)| falls like e^{-m u^2/a}, and the shift is twice the mean of u^2."""
        return 1 / (self.kappa * self.order)

    @property
    def _c(self) -> float:
        """|1 + c e^{i theta}|^2 is proportional to x^2 + shift, y = cos theta."""
        a = 1 / self.kappa
        excess = 2 * (a * a + self._shift) / (1 - a * a)  # (1 + c^2)/(2c) - 1
        return 1 / (1 + excess + math.sqrt(excess * (2 + excess)))

    @property
    def _nodes_and_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Of (2/pi) int_0^inf du by the midpoint rule in asinh(u/a)."""
        v = _STEP * (np.arange(_NODES) + 0.5)
        return np.sinh(v) / self.kappa, 2 / math.pi * _STEP * np.cosh(v) / self.kappa

    def _log_v(self, s: np.ndarray) -> np.ndarray:
        """log |V(-s)| for s > -a^2."""
        a, m = 1 / self.kappa, self.order
        z = 2 * np.arcsinh(np.sqrt((a * a + s) / (1 - a * a)))
        # cosh(m z) - c cosh((m-1) z), the growth taken out
        return m * z + np.log((1 + np.exp(-2 * m * z) - self._c * (np.exp(-z) + np.exp((1 - 2 * m) * z))) / 2)

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        t = np.atleast_1d(x).ravel() ** 2
        a, m = 1 / self.kappa, self.order
        nodes, weights = self._nodes_and_weights
        log_v = self._log_v(nodes**2)
        result = np.empty_like(t)
        far = t >= a * a
        # here the first term is 1/|x|, and the second needs few nodes
        angle = 2 * np.arcsin(np.sqrt(np.minimum((t[far] - a * a) / (1 - a * a), 1.0)))
        kernel = np.zeros_like(angle)
        for u, w, log in zip(nodes, weights, log_v, strict=True):
            if log - log_v[0] < _NEGLIGIBLE:
                kernel += w * math.exp(-log) / (u * u + t[far])
        result[far] = 1 / np.sqrt(t[far]) - (np.cos(m * angle) - self._c * np.cos((m - 1) * angle)) * kernel
        near = t[~far]
        ratios = -np.expm1(self._log_v(-near)[:, None] - log_v)
        result[~far] = (ratios * weights / (near[:, None] + nodes**2)).sum(axis=1)
        return result.reshape(x.shape)


@lru_cache(maxsize=256)
def _built(kappa: float, epsilon: float) -> AbsoluteInversePolynomial:
    def reached(order: int) -> bool:
        return AbsoluteInversePolynomial(kappa, epsilon, order).relative_error <= epsilon

    enough = 1
    while not reached(enough):
        enough *= 2
    order = bisect_left(range(enough), True, max(1, enough // 2), key=reached)
    return AbsoluteInversePolynomial(kappa, epsilon, order)


def absolute_inverse_polynomial(kappa: float, epsilon: float) -> AbsoluteInversePolynomial:
    """An even polynomial with | |x| P(x) - 1 | <= epsilon on 1/kappa <= |x| <= 1, within a few of the least degree.

    The degree is the smallest of this family, by bisection of its closed-form error: about kappa ln(1/epsilon) at small
    epsilon. kappa below 1.01 is raised to 1.01. Raises ParameterError unless kappa >= 1 is finite and 0 < epsilon < 1.
    Source: Hermite's formula for the error of interpolation, with 1/sqrt(t) = (2/pi) int du/(u^2 + t) and nodes of the
    Bernstein-Szego kind (Achieser, Theory of Approximation, 1956).

    >>> p = absolute_inverse_polynomial(100, 1e-2)
    >>> p.degree, p.relative_error <= 1e-2
    (366, True)
    """
    return _built(checked_kappa(kappa), checked_epsilon(epsilon))
