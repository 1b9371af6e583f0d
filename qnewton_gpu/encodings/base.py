"""The contract of a block encoding: two isometries T_L, T_R and an involution S with T_L^t S T_R = A/alpha.

(alpha, ancilla_qubits, epsilon) is all that a user of an encoding needs to know; `matvec` and `rmatvec` are all that
the subspace simulation needs; `lift`, `lower` and `reflect` act on the whole register.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from ..backends.base import Backend, Side
from ..circuit import Circuit
from ..errors import CombinationError
from ..operators import GeneralMatrix, GramOperator, KroneckerOperator, MatrixOperator, Operator, ToeplitzOperator


def other(side: Side) -> Side:
    return "left" if side == "right" else "right"


def qubits(size: int) -> int:
    """Qubits that hold an index below `size`."""
    return max(size - 1, 0).bit_length()


class EncodedProducts(Protocol):
    """What the subspace simulation needs of an encoding: its products, and the geometry of their two spaces."""

    name: str
    operator: Operator
    alpha: float
    epsilon: float
    """A bound of ||A - alpha T_L^t S T_R||."""
    system_qubits: int
    ancilla_qubits: int
    register_size: int
    symmetric: bool

    def matvec(self, v: Any) -> Any:
        """A v/alpha, from the right space to the left one."""
        ...

    def rmatvec(self, v: Any) -> Any:
        """A^t v/alpha, from the left space to the right one."""
        ...

    def inner(self, x: Any, y: Any, side: Side) -> Any:
        """<x, y> in the space of that side, one value a column."""
        ...


class BlockEncoding(EncodedProducts, Protocol):
    """T_L^t S T_R = A/alpha with ||A|| <= alpha guaranteed, not estimated."""

    @property
    def shape(self) -> tuple[int, int]:
        """(dimension of the left space, of the right space)."""
        ...

    def lift(self, v: Any, side: Side) -> Any:
        """T_side v for v of shape (N, k): the register, of shape (register_size, k)."""
        ...

    def lower(self, psi: Any, side: Side) -> Any:
        """T_side^t psi."""
        ...

    def reflect(self, psi: Any) -> Any:
        """S psi."""
        ...


class GateEncoding(BlockEncoding, Protocol):
    """A block encoding that is also a circuit."""

    same_for_all: bool
    """Whether every column meets the same circuit."""

    @property
    def places(self) -> Any:
        """Index of each of the N unknowns among the 2^system_qubits basis states, (N,)."""
        ...

    gate_bytes: float
    """Memory that the matrices of its gates take, where it is more than a register's."""

    @property
    def excluded(self) -> Circuit | None:
        """A program that prepares the state of the system that the left projector leaves out, if it does.

        Sequences start and end on the right one then.
        """
        ...

    def column(self, k: int) -> GateEncoding:
        """The encoding that column k meets."""
        ...

    def circuit(self) -> Circuit:
        """U with (<0| x I) U (|0> x I) = A/alpha, the ancillas above the system, N padded to a power of two.

        U is real and Hermitian; what pads N is met by no state that starts in the `places`.
        """
        ...


class Coordinates:
    """Plain coordinates: the inner product of both spaces is that of C^N; and a block without error."""

    epsilon = 0.0
    same_for_all = True
    gate_bytes = 0.0

    @property
    def excluded(self) -> Circuit | None:
        """A program that prepares the state of the system that the left projector leaves out, if it does."""
        return None

    def column(self, k: int) -> Any:
        """The encoding that column k meets."""
        return self

    def inner(self, x: Any, y: Any, side: Side) -> Any:
        return (x.conj() * y).sum(axis=0)


KINDS: dict[type, tuple[str, str]] = {
    MatrixOperator: ("an explicit symmetric matrix", "walk"),
    GramOperator: ("a GramOperator(G, damping)", "gram"),
    GeneralMatrix: ("a GeneralMatrix, whose hermitian_dilation() is symmetric", "two_sided"),
    KroneckerOperator: ("a KroneckerOperator(factors)", "kronecker"),
    ToeplitzOperator: ("a ToeplitzOperator(qubits, diagonal, offsets)", "toeplitz"),
}
"""What can be encoded: in words, and by which encoding if none is named."""


class OfOperator(Coordinates):
    """What the encodings of one kind of operator share."""

    name: str
    encodes: type
    """The kind of operator, one of KINDS."""

    def __init__(self, operator: Operator, backend: Backend) -> None:
        self.check(operator)
        self.operator: Any = operator
        self.backend = backend

    @classmethod
    def check(cls, operator: Operator) -> None:
        """Raise CombinationError where this encoding cannot encode the operator."""
        if isinstance(operator, cls.encodes):
            return
        words, encoding = KINDS.get(type(operator), (f"a {type(operator).__name__}", "auto"))
        raise CombinationError(
            "encoding",
            f"{cls.name} needs {KINDS[cls.encodes][0]}, and A is {words}",
            f"Use encoding='{encoding}' for it",
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(dimension of the left space, of the right space)."""
        shape: tuple[int, int] = self.operator.shape
        return shape

    @property
    def places(self) -> Any:
        """Index of each of the N unknowns among the basis states of the system, (N,)."""
        return np.arange(self.shape[1])


class ExplicitSymmetric(OfOperator):
    """What the encodings of an explicit symmetric matrix share: T_L = T_R = T, and H v/alpha."""

    alpha: float
    symmetric = True
    encodes = MatrixOperator

    def matvec(self, v: Any) -> Any:
        product = self.operator.matvec(v)
        product /= self.alpha
        return product

    rmatvec = matvec


def positive_or_one(value: float) -> float:
    """A zero matrix is encoded as 0/1."""
    return value if value > 0 and math.isfinite(value) else 1.0
