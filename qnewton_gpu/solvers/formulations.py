"""The three ways of putting H x = b to a QSVT circuit: symmetric, or a Gram factor without or with a preimage."""

from __future__ import annotations

from typing import Any, Protocol

from ..backends.base import Backend
from ..conditioning import FP64_EPSILON
from ..encodings.base import BlockEncoding, EncodedProducts, Side
from ..encodings.gram import GramEncoding, ReducedGram
from ..errors import ParameterError
from ..polynomials import Parity
from .base import LinearSystem, column_norms, divisors

PREIMAGE_TOLERANCE = 1e-8


class Formulation(Protocol):
    """How a residual becomes a start vector: which encoding runs, from which side, with which parity."""

    parity: Parity
    side: Side
    power: int
    """Power of 1/alpha in x: 1 where A is inverted once, 2 for (G~^t G~)^-1."""
    kappa: float
    """What the polynomial has to cover: alpha over the smallest singular value of the encoded operator."""

    @property
    def encoding(self) -> EncodedProducts: ...

    def kappa_of_system(self, kappa: float) -> float:
        """The condition number of H that a polynomial for `kappa` belongs to."""
        ...

    def start(self, x: Any, residual: Any) -> tuple[Any, Any]:
        """Unit start columns for the correction of x, and the norms that they were divided by."""
        ...


class Symmetric:
    """x = P(H/alpha) b with the odd polynomial of 1/x."""

    parity: Parity = "odd"
    side: Side = "right"
    power = 1

    def __init__(self, encoding: BlockEncoding, system: LinearSystem, backend: Backend) -> None:
        self.encoding, self.system, self.backend = encoding, system, backend
        lower = system.bounds.lower or system.bounds.smallest_nonzero or encoding.alpha
        self.kappa = max(encoding.alpha / lower, 1.0)

    def kappa_of_system(self, kappa: float) -> float:
        upper = self.system.bounds.upper
        return kappa * min(1.0, upper / self.encoding.alpha) if upper > 0 else kappa

    def start(self, x: Any, residual: Any) -> tuple[Any, Any]:
        return _normalised(residual, self.backend)


class GramAnyRhs:
    """x = P(G~/alpha) g with the even polynomial of 1/x^2: (G~^t G~)^-1 for any right-hand side."""

    parity: Parity = "even"
    side: Side = "right"
    power = 2

    def __init__(self, encoding: GramEncoding, system: LinearSystem, backend: Backend) -> None:
        self.backend, self.kappa = backend, encoding.kappa
        no_source = backend.xp.zeros_like(system.rhs)
        self.encoding = ReducedGram(encoding, no_source, 0.0)

    def kappa_of_system(self, kappa: float) -> float:
        return kappa**2

    def start(self, x: Any, residual: Any) -> tuple[Any, Any]:
        return _normalised(residual, self.backend)


class GramPreimage:
    """x = G~^+ r with the odd polynomial, where G~^t r = g: the residual of x in the left space is r - G~ x."""

    parity: Parity = "odd"
    side: Side = "left"
    power = 1

    def __init__(self, encoding: GramEncoding, system: LinearSystem, backend: Backend) -> None:
        self.system, self.backend, self.kappa = system, backend, encoding.kappa
        self.norm = column_norms(system.preimage, backend)
        self.full = encoding
        self.encoding = ReducedGram(encoding, system.rhs, self.norm)

    def kappa_of_system(self, kappa: float) -> float:
        return kappa**2

    def check(self) -> None:
        """Raise ParameterError where r is no preimage: x would be right and the success probability wrong."""
        image = self.encoding.alpha * self.full.rmatvec(self.system.preimage)
        distance = column_norms(image - self.system.rhs, self.backend)
        if not bool((distance <= PREIMAGE_TOLERANCE * self.encoding.alpha * self.norm).all()):
            raise ParameterError(
                "preimage",
                f"r misses G~^t r = rhs by {float(distance.max()):.3g}",
                "Pass r with G~^t r = rhs, G~ = [G; sqrt(damping) I], or None",
            )

    def start(self, x: Any, residual: Any) -> tuple[Any, Any]:
        xp, g = self.backend.xp, self.system.rhs
        # ||r - G~ x||^2 = ||r||^2 - 2 x.g + x.Hx with Hx = g - residual
        squared = self.norm**2 - (x * (g + residual)).sum(axis=0)
        norm = xp.sqrt(xp.maximum(squared, (FP64_EPSILON * self.norm) ** 2))
        start = xp.concatenate([xp.ones((1, g.shape[1])), -self.encoding.alpha * x])
        return start / divisors(norm, self.backend), norm


def _normalised(vectors: Any, backend: Backend) -> tuple[Any, Any]:
    norms = column_norms(vectors, backend)
    return vectors / divisors(norms, backend), norms
