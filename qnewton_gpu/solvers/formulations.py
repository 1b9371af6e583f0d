"""The three ways of putting H x = b to a QSVT circuit: symmetric, or a Gram factor without or with a preimage.

In mode="subspace" the Gram circuits run on the few left vectors that they can reach (`ReducedGram`), and on the whole
register otherwise: x, norms and success probabilities are the same.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..backends.base import Backend
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
    def encoding(self) -> BlockEncoding: ...

    def kappa_of_system(self, kappa: float) -> float:
        """The condition number of H that a polynomial for `kappa` belongs to."""
        ...

    def start(self, x: Any, residual: Any, mode: str) -> tuple[EncodedProducts, Any, Any]:
        """For the correction of x: the encoding that runs in this mode, its unit start columns, and their norms."""
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

    def start(self, x: Any, residual: Any, mode: str) -> tuple[EncodedProducts, Any, Any]:
        return self.encoding, *_normalised(residual, self.backend)


class GramAnyRhs:
    """x = P(G~/alpha) g with the even polynomial of 1/x^2: (G~^t G~)^-1 for any right-hand side."""

    parity: Parity = "even"
    side: Side = "right"
    power = 2

    def __init__(self, encoding: GramEncoding, system: LinearSystem, backend: Backend) -> None:
        self.encoding, self.backend, self.kappa = encoding, backend, encoding.kappa

    def kappa_of_system(self, kappa: float) -> float:
        return kappa**2

    def start(self, x: Any, residual: Any, mode: str) -> tuple[EncodedProducts, Any, Any]:
        no_source = self.backend.xp.zeros_like(residual)
        encoding = ReducedGram(self.encoding, no_source, 0.0) if mode == "subspace" else self.encoding
        return encoding, *_normalised(residual, self.backend)


class GramPreimage:
    """x = G~^+ r with the odd polynomial, where G~^t r = g: the residual of x in the left space is r - G~ x."""

    parity: Parity = "odd"
    side: Side = "left"
    power = 1

    def __init__(self, encoding: GramEncoding, system: LinearSystem, backend: Backend) -> None:
        self.encoding, self.system, self.backend, self.kappa = encoding, system, backend, encoding.kappa

    def kappa_of_system(self, kappa: float) -> float:
        return kappa**2

    def check(self) -> None:
        """Raise ParameterError where r is no preimage: x would be right and the success probability wrong."""
        image = self.encoding.alpha * self.encoding.rmatvec(self.system.preimage)
        distance = column_norms(image - self.system.rhs, self.backend)
        norm = column_norms(self.system.preimage, self.backend)
        if not bool((distance <= PREIMAGE_TOLERANCE * self.encoding.alpha * norm).all()):
            raise ParameterError(
                "preimage",
                f"r misses G~^t r = rhs by {float(distance.max()):.3g}",
                "Pass r with G~^t r = rhs, G~ = [G; sqrt(damping) I], or None",
            )

    def start(self, x: Any, residual: Any, mode: str) -> tuple[EncodedProducts, Any, Any]:
        xp, encoding = self.backend.xp, self.encoding
        left = self.system.preimage - encoding.alpha * encoding.matvec(x)
        # the flag rows make it a preimage of the residual itself: r may miss G~^t r = g by more than the tolerance
        left[-len(x) :] += (residual - encoding.alpha * encoding.rmatvec(left)) / encoding.root_damping
        # so are the flag rows alone; the shorter of the two succeeds more often, and shrinks with the residual
        flag = xp.zeros_like(left)
        flag[-len(x) :] = residual / encoding.root_damping
        shorter = column_norms(flag, self.backend) < column_norms(left, self.backend)
        start, norms = _normalised(xp.where(shorter, flag, left), self.backend)
        if mode != "subspace":
            return encoding, start, norms
        length = xp.where(norms > 0, 1.0, 0.0)
        reduced = ReducedGram(encoding, residual / divisors(norms, self.backend), length)
        return reduced, xp.concatenate([length[None], xp.zeros_like(x)]), norms


def _normalised(vectors: Any, backend: Backend) -> tuple[Any, Any]:
    norms = column_norms(vectors, backend)
    return vectors / divisors(norms, backend), norms
