"""The ways of putting a linear system to QSVT circuits: symmetric, general, a Gram factor, or factor by factor.

In mode="subspace" the Gram circuits run on the few left vectors that they can reach (`ReducedGram`), and on the whole
register otherwise: x, norms and success probabilities are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..backends.base import Backend
from ..conditioning import estimate_spectrum
from ..encodings.base import BlockEncoding, EncodedProducts, Side
from ..encodings.gram import GramEncoding, ReducedGram
from ..errors import ParameterError
from ..polynomials import Parity, damped_inverse_polynomial, inverse_polynomial
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

    continues: bool
    """Whether a round corrects x, or makes x anew: of some functions of a matrix no residual can be inverted."""

    def kappas(self, kappa: float) -> Sequence[float]:
        """What each circuit of a round has to cover where the whole has to cover `kappa`."""
        ...

    def polynomial(self, kappa: float, epsilon: float) -> Any:
        """What one circuit of a round applies, for a relative residual of epsilon."""
        ...

    def start(self, x: Any, residual: Any, mode: str) -> tuple[EncodedProducts, Any, Any]:
        """For the correction of x: the encoding that runs in this mode, its unit start columns, and their norms."""
        ...


def covered_kappa(encoding: EncodedProducts, system: LinearSystem) -> float:
    """alpha over the smallest |eigenvalue| (singular value) that is known; zero modes do not count."""
    return max(encoding.alpha / (system.bounds.lower or system.bounds.smallest_nonzero or encoding.alpha), 1.0)


def kappa_of_system(kappa: float, encoding: EncodedProducts, system: LinearSystem) -> float:
    """The condition number of the matrix where alpha over its smallest |eigenvalue| is `kappa`."""
    return kappa * min(1.0, system.bounds.upper / encoding.alpha) if system.bounds.upper > 0 else kappa


class OneCircuit:
    """A round is one circuit, which covers all, and corrects x."""

    continues = True
    parity: Parity

    def polynomial(self, kappa: float, epsilon: float) -> Any:
        return inverse_polynomial(kappa, epsilon, self.parity)

    def kappas(self, kappa: float) -> Sequence[float]:
        return (kappa,)


class Symmetric(OneCircuit):
    """x = P(H/alpha) b with the odd polynomial of 1/x."""

    parity: Parity = "odd"
    side: Side = "right"
    power = 1

    def __init__(self, encoding: BlockEncoding, system: LinearSystem, backend: Backend) -> None:
        self.encoding, self.system, self.backend = encoding, system, backend
        self.kappa = covered_kappa(encoding, system)

    def kappa_of_system(self, kappa: float) -> float:
        return kappa_of_system(kappa, self.encoding, self.system)

    def start(self, x: Any, residual: Any, mode: str) -> tuple[EncodedProducts, Any, Any]:
        return self.encoding, *normalised(residual, self.backend)


class PseudoInverse(Symmetric):
    """x = A^+ b for a real A that need not be symmetric, nor square: the odd polynomial, from the left to the right.

    P(0) = 0, so what b has outside of the range of A stays out of x, and x has least norm.
    """

    side: Side = "left"


class Damped(Symmetric):
    """x = P(A/alpha) b with P near x/(x^2 + (d/alpha)^2): (A^t A + d^2) x = A^t b, whatever the spectrum of A."""

    continues = False

    def __init__(self, encoding: BlockEncoding, system: LinearSystem, backend: Backend) -> None:
        super().__init__(encoding, system, backend)
        self.side = "right" if encoding.symmetric else "left"
        self.kappa = max(encoding.alpha / system.damping, 1.0)
        norms = column_norms(system.rhs, backend)
        part = system.scales / (encoding.alpha * divisors(norms, backend))  # ||A^t b||/(alpha ||b||)
        self._part = float(part[norms > 0].min()) if bool((norms > 0).any()) else 1.0

    def kappas(self, kappa: float) -> Sequence[float]:
        return (self.kappa,)

    def kappa_of_system(self, kappa: float) -> float:
        return self.system.kappa

    def polynomial(self, kappa: float, epsilon: float) -> Any:
        # |(x^2 + d^2)(P - f)| <= (1 + d^2) e/(2d), on the part of b that A^t keeps
        d = self.system.damping / self.encoding.alpha
        largest = 1 / (2 * d) if d <= 1 else 1 / (1 + d * d)
        return damped_inverse_polynomial(d, min(epsilon * self._part / ((1 + d * d) * largest), 0.5))

    def start(self, x: Any, residual: Any, mode: str) -> tuple[EncodedProducts, Any, Any]:
        return super().start(x, self.system.rhs, mode)


class FactorByFactor(Symmetric):
    """x = A_1^-1 (x) A_2^-1 (x) ... b by one circuit a factor, so that degrees add and do not multiply."""

    def __init__(self, encoding: Any, system: LinearSystem, backend: Backend) -> None:
        super().__init__(encoding, system, backend)
        operators = encoding.operator.factors
        self.factors = [encoding.factor(i) for i in range(len(operators))]
        bounds = [estimate_spectrum(operator, backend=backend) for operator in operators]
        self._kappas = [
            max(factor.alpha / (b.lower or b.smallest_nonzero or factor.alpha), 1.0)
            for factor, b in zip(self.factors, bounds, strict=True)
        ]

    def kappas(self, kappa: float) -> Sequence[float]:
        raised = max(kappa / self.kappa, 1.0) ** (1 / len(self._kappas))
        return [raised * k for k in self._kappas]


class GramAnyRhs(OneCircuit):
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
        return encoding, *normalised(residual, self.backend)


class GramPreimage(OneCircuit):
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
        start, norms = normalised(xp.where(shorter, flag, left), self.backend)
        if mode != "subspace":
            return encoding, start, norms
        length = xp.where(norms > 0, 1.0, 0.0)
        reduced = ReducedGram(encoding, residual / divisors(norms, self.backend), length)
        return reduced, xp.concatenate([length[None], xp.zeros_like(x)]), norms


def normalised(vectors: Any, backend: Backend) -> tuple[Any, Any]:
    norms = column_norms(vectors, backend)
    return vectors / divisors(norms, backend), norms
