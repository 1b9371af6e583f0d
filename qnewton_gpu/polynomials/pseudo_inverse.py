"""Odd polynomials that invert above 1/kappa and drop what lies below a cut: the pseudo-inverse of numerical rank."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev

from ..errors import ParameterError
from .base import Parity, Polynomial, checked_epsilon, checked_fraction, checked_kappa
from .inverse import InversePolynomial

_FACTOR_DEGREES = (3, 6, 12, 24, 48, 96, 192)  # tried for g; far beyond the last the exchange loses digits
_SMALLEST_EPSILON = 1e-10
_EXCHANGES = 40


@dataclass(frozen=True)
class PseudoInversePolynomial(Polynomial):
    """P(x) = g(E(x)) (1 - E(x))/x with the residual E of an inverse polynomial and a polynomial g.

    E falls from 1 at x = 0 over E(cut/kappa) to a ripple of height e0 on [1/kappa, 1], so (1 - y) g(y) has to be near 1
    on [-e0, e0] and near 0 on [E(cut/kappa), 1]; its largest error there is that of x P(x).
    """

    kappa: float
    epsilon: float
    cut: float
    inverse: InversePolynomial
    factor: tuple[float, ...]
    """Chebyshev coefficients of g on [-e0, 1]."""
    error: float
    parity: Parity = field(default="odd", init=False)

    @property
    def name(self) -> str:
        return f"pseudo-inverse-{self.kappa.hex()}-{self.epsilon.hex()}-{self.cut.hex()}"

    @property
    def degree(self) -> int:
        return self.inverse.degree + 2 * self.inverse.half_order * (len(self.factor) - 1)

    @property
    def relative_error(self) -> float:
        """A bound, tight to 0.5 %, of |x P(x) - 1| on [1/kappa, 1] and of |x P(x)| on [0, cut/kappa]."""
        return self.error

    @property
    def reach(self) -> float:
        # beyond 2a |P| <= (1 + error)/(2a) < (1 - error)/a <= |P(a)|
        return 2 / self.kappa if self.error < 1 / 4 else 1.0

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        residual = self.inverse.residual(np.atleast_1d(x)).reshape(x.shape)
        return self.inverse(x) * chebyshev.chebval(_on_unit(residual, self.inverse.relative_error), self.factor)


def _on_unit(y: np.ndarray, e0: float) -> np.ndarray:
    """[-e0, 1] to [-1, 1]."""
    return (2 * y - (1 - e0)) / (1 + e0)


def _minimax_factor(degree: int, e0: float, kept: float) -> tuple[np.ndarray, float]:
    """g of this degree with least error of (1 - y) g(y) from 1 on [-e0, e0] and 0 on [kept, 1]; coefficients, error.

    Remez's exchange on Chebyshev-Lobatto points of both intervals, from Leja points. By Ehlich and Zeller the error
    between points exceeds that on them by less than the factor that is applied.
    """
    intervals = 16 * (degree + 4)
    lobatto = np.cos(np.pi * np.arange(intervals, -1, -1) / intervals)
    # without y = 1, where 1 - y vanishes and so does the error
    y = np.concatenate([e0 * lobatto, kept + (1 - kept) / 2 * (1 + lobatto[:-1])])
    wanted = (np.arange(len(y)) <= intervals).astype(float)
    basis = chebyshev.chebvander(_on_unit(y, e0), degree) * (1 - y)[:, None]
    count = degree + 2
    reference = _leja_points(y, count)
    signs = (-1.0) ** np.arange(count)
    best, least = np.zeros(degree + 1), 1.0
    for _ in range(_EXCHANGES):
        *coefficients, level = np.linalg.solve(np.column_stack([basis[reference], signs]), wanted[reference])
        difference = wanted - basis @ coefficients
        largest = np.max(np.abs(difference))
        if largest < least:
            best, least = np.array(coefficients), float(largest)
        if largest <= 1.001 * abs(level):
            break
        # the largest point of every run of one sign, less the smallest at an end or a smallest pair inside
        runs = np.split(np.arange(len(y)), np.flatnonzero(np.diff(np.sign(difference))) + 1)
        reference = np.array([run[np.argmax(np.abs(difference[run]))] for run in runs])
        while len(reference) > count:
            height = np.abs(difference[reference])
            if len(reference) == count + 1:
                reference = reference[1:] if height[0] < height[-1] else reference[:-1]
            else:
                pair = int(np.argmin(np.maximum(height[1:], height[:-1])))
                reference = np.delete(reference, [pair, pair + 1])
        if len(reference) < count:  # rounding hides the alternation
            break
    return best, least / math.cos(math.pi * (degree + 1) / (2 * intervals))


def _leja_points(y: np.ndarray, count: int) -> np.ndarray:
    """Indices, in order, of points each of which was the farthest, as a product, from y = 1 and those before it."""
    chosen: list[int] = []
    potential = np.log(1 - y)
    with np.errstate(divide="ignore"):
        for _ in range(count):
            chosen.append(int(np.argmax(potential)))
            potential = potential + np.log(np.abs(y - y[chosen[-1]]))
    return np.sort(chosen)


def _candidate(kappa: float, epsilon: float, cut: float, half_order: int, degree: int) -> PseudoInversePolynomial:
    inverse = InversePolynomial(kappa, epsilon, "odd", half_order)
    kept = float(inverse.residual(np.array([cut / kappa]))[0])
    coefficients, error = _minimax_factor(degree, inverse.relative_error, kept)
    return PseudoInversePolynomial(kappa, epsilon, cut, inverse, tuple(coefficients.tolist()), error)


@lru_cache(maxsize=256)
def _built(kappa: float, cut: float, epsilon: float) -> PseudoInversePolynomial:
    def reached(half_order: int, degree: int) -> bool:
        return _candidate(kappa, epsilon, cut, half_order, degree).error <= epsilon

    for ripple in (0.5, 1.0, 2.0, 4.0):  # acosh(1/e0); a small one wastes least, a large one needs the smaller g
        half_order = max(1, round(ripple * kappa / 2))
        degree = next((degree for degree in _FACTOR_DEGREES if reached(half_order, degree)), None)
        if degree is not None:
            break
    else:
        raise ParameterError(
            "cut", f"{cut} is too close to 1 for epsilon {epsilon}", "Give a smaller cut or a larger epsilon"
        )
    least = bisect_left(range(degree), True, key=lambda m: reached(half_order, m))
    order = bisect_left(range(half_order), True, 1, key=lambda n: reached(n, least))
    return _candidate(kappa, epsilon, cut, order, least)


def pseudo_inverse_polynomial(kappa: float, epsilon: float, cut: float = 0.5) -> PseudoInversePolynomial:
    """An odd polynomial with |x P(x) - 1| <= epsilon on [1/kappa, 1] and |x P(x)| <= epsilon on [0, cut/kappa].

    Between them x P(x) rises from 0 to 1: singular values below cut/kappa are dropped, none is amplified. The degree is
    2 n (m + 1) - 1, n the order of E and m the degree of g: m is the smallest for 2 n = kappa/2 (or more where m would
    pass 192), then n the smallest for this m, both by bisection. About 1.5 to 2 times kappa ln(1/epsilon)/(1 - cut), up
    to 3 times for a cut near 1. kappa below 1.01 is raised to 1.01. Where nothing lies between 0 and 1/kappa,
    `inverse_polynomial` is the pseudo-inverse already, at a lower degree.
    Raises ParameterError unless kappa >= 1 is finite, 1e-10 <= epsilon < 1, 0 < cut < 1, and for a cut too close to 1.
    Source: our own construction; the exchange is Remez's, see Cheney, Introduction to Approximation Theory (1966).

    >>> p = pseudo_inverse_polynomial(10, 1e-2, 0.5)
    >>> p.degree, p.relative_error <= 1e-2
    (135, True)
    """
    kappa, epsilon = checked_kappa(kappa), checked_epsilon(epsilon)
    if epsilon < _SMALLEST_EPSILON:
        raise ParameterError("epsilon", f"{epsilon} is below {_SMALLEST_EPSILON}", "Give 1e-10 or more")
    return _built(kappa, checked_fraction("cut", cut, "a part of 1/kappa such as 0.5"), epsilon)
