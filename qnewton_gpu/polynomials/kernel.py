"""Even polynomials that single out the kernel of an operator: the eigenstate filter and the kernel reflection."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .base import Parity, Polynomial, checked_epsilon, checked_kappa
from .inverse import InversePolynomial, inverse_polynomial


@dataclass(frozen=True)
class EigenstateFilterPolynomial(Polynomial):
    """E(x) = T_l(y)/T_l(y0), y = (2 x^2 - 1 - a^2)/(1 - a^2), y0 = y(0), a = 1/kappa.

    E(0) = 1 and |E| <= epsilon on [a, 1].

    It is the residual 1 - x P(x) of the inverse polynomial of the same (kappa, epsilon).
    """

    inverse: InversePolynomial
    kappa: float
    epsilon: float
    parity: Parity = field(default="even", init=False)

    @property
    def name(self) -> str:
        return f"filter-{self.kappa.hex()}-{self.epsilon.hex()}"

    @property
    def degree(self) -> int:
        return 2 * self.inverse.half_order

    @property
    def relative_error(self) -> float:
        """max |E| on [a, 1] = 1/T_l(|y0|)."""
        return self.inverse.relative_error

    @property
    def sup_norm(self) -> float:
        """E(0) = 1."""
        return 1.0

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        return self.inverse.residual(np.atleast_1d(x)).reshape(x.shape)


@dataclass(frozen=True)
class KernelReflectionPolynomial(EigenstateFilterPolynomial):
    """F = 2 E - 1 with the filter E: F(0) = 1, and |F + 1| <= 2 epsilon on [1/kappa, 1]."""

    @property
    def name(self) -> str:
        return f"reflection-{self.kappa.hex()}-{self.epsilon.hex()}"

    @property
    def sup_norm(self) -> float:
        """m = 1 + 2/T_l(|y0|): E reaches -1/T_l(|y0|)."""
        return 1 + 2 * self.relative_error

    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        return 2 * super().__call__(x) - 1


@lru_cache(maxsize=256)
def _filter(kappa: float, epsilon: float) -> EigenstateFilterPolynomial:
    return EigenstateFilterPolynomial(inverse_polynomial(kappa, epsilon), kappa, epsilon)


@lru_cache(maxsize=256)
def _reflection(kappa: float, epsilon: float) -> KernelReflectionPolynomial:
    return KernelReflectionPolynomial(inverse_polynomial(kappa, epsilon), kappa, epsilon)


def eigenstate_filter_polynomial(kappa: float, epsilon: float) -> EigenstateFilterPolynomial:
    """The even E of least degree with E(0) = 1 and |E| <= epsilon on [1/kappa, 1].

    Degree 2l, l = ceil(acosh(1/epsilon)/acosh((1+a^2)/(1-a^2))), about kappa ln(2/epsilon). kappa below 1.01 is raised
    to 1.01. Raises ParameterError unless kappa >= 1 is finite and 0 < epsilon < 1.
    Source: the filter of Lin and Tong, arXiv 1910.14596, theorem 3.

    >>> eigenstate_filter_polynomial(10, 1e-2).degree
    54
    """
    return _filter(checked_kappa(kappa), checked_epsilon(epsilon))


def kernel_reflection_polynomial(kappa: float, epsilon: float) -> KernelReflectionPolynomial:
    """F = 2 E - 1 with the eigenstate filter E of (kappa, epsilon): the same degree and errors.

    epsilon is the filter's: a solution to relative error e needs epsilon = e/sqrt 2.
    Source: Dalzell, arXiv 2406.12086.

    >>> p = kernel_reflection_polynomial(10, 1e-2)
    >>> p.degree, round(p.sup_norm, 4)
    (54, 1.0177)
    """
    return _reflection(checked_kappa(kappa), checked_epsilon(epsilon))
