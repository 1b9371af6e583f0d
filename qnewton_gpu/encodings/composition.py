"""Block encodings made of block encodings: block-diagonal sum, product, linear combination, scaling, one more unknown.

Each result keeps the contract, so any solver runs on it, and states (alpha, ancillas, epsilon) by these rules, for
encodings i of (alpha_i, a_i, epsilon_i); a block-diagonal sum of gate programs is one, too:
| A | alpha | ancillas | epsilon | register |
|---|---|---|---|---|
| diag(A_1, A_2, ...) | max alpha_i | max a_i, one more where alpha_i < alpha | max epsilon_i | sum R_i, slack pairs |
| A_1 A_2 | alpha_1 alpha_2 | max a_i + 1 | alpha_1 epsilon_2 + alpha_2 epsilon_1 | R_1 + R_2 |
| sum_i c_i A_i | sum abs(c_i) alpha_i | max a_i + log2(terms) | sum abs(c_i) epsilon_i | sum R_i |
Sources: Gilyen et al., arXiv 1806.01838, lemma 52 (linear combination) and 53 (product: there a_1 + a_2 ancillas; one
qubit that keeps the failure of A_2 lets A_1 use its ancillas again, arXiv 2507.07900).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..circuit import Circuit
from ..errors import CombinationError, ParameterError, ShapeError
from .base import BlockEncoding, Coordinates, Side, qubits

INDEX = {"left": 0, "right": 1}
"""Where the dimension of a side stands in `shape`."""


class EncodedOperator:
    """A = alpha T_L^t S T_R, known by the encodings that it is composed of."""

    def __init__(self, encoding: Composition) -> None:
        self.encoding, self.backend = encoding, encoding.backend
        self.shape, self.symmetric = encoding.shape, encoding.symmetric
        operators = [part.operator for part in encoding.parts]
        self.nonzeros = math.prod(self.shape)
        self.product_flops = sum(operator.product_flops for operator in operators)
        self.product_bytes = sum(operator.product_bytes for operator in operators)
        self.assembly_flops = self.product_flops * self.shape[1]

    def matvec(self, v: Any) -> Any:
        return self.encoding.alpha * self.encoding.matvec(v)

    def rmatvec(self, u: Any) -> Any:
        return self.encoding.alpha * self.encoding.rmatvec(u)

    def largest_row_sum(self) -> float:
        """alpha, which bounds the norm as a row sum does."""
        return float(self.encoding.alpha)

    largest_column_sum = largest_row_sum

    def dense(self) -> Any:
        return self.matvec(self.encoding.backend.xp.eye(self.shape[1]))


def _gate_program(part: Any) -> Circuit:
    """Raises CombinationError where the part has none, or its two isometries differ."""
    if part.symmetric and hasattr(part, "circuit"):
        program: Circuit = part.circuit()
        return program
    problem = f"{part.name} has no gate program of one isometry"
    raise CombinationError("mode", problem, "Use mode='fused' or 'subspace'")


class Composition(Coordinates, ABC):
    """What all compositions state of themselves."""

    def __init__(
        self,
        name: str,
        parts: Sequence[Any],
        shape: tuple[int, int],
        *,
        alpha: float,
        ancilla_qubits: int,
        epsilon: float,
        symmetric: bool,
    ) -> None:
        self.name, self.parts, self.shape, self.alpha = name, tuple(parts), shape, alpha
        self.backend = parts[0].backend
        self.system_qubits, self.ancilla_qubits = qubits(max(shape)), ancilla_qubits
        self.register_size: int = sum(part.register_size for part in parts)
        self.epsilon, self.symmetric = epsilon, symmetric

    @cached_property
    def operator(self) -> Any:
        return EncodedOperator(self)

    def _registers(self, psi: Any) -> list[Any]:
        """The register part by part."""
        return self.backend.xp.split(psi, np.cumsum([part.register_size for part in self.parts])[:-1].tolist())

    @abstractmethod
    def matvec(self, v: Any) -> Any: ...

    @abstractmethod
    def rmatvec(self, u: Any) -> Any: ...


class Inflated(Coordinates):
    """The same A over a larger alpha: T' = sqrt(alpha/alpha') T and a slack pair, which S swaps.

    Where T_L is another isometry the two slacks are of different length: T_L' takes its own, and S leaves both.
    """

    def __init__(self, part: Any, alpha: float) -> None:
        self.name, self.part, self.backend, self.operator = part.name, part, part.backend, part.operator
        self.alpha, self.shape, self.symmetric = alpha, part.shape, part.symmetric
        self.system_qubits, self.same_for_all = part.system_qubits, part.same_for_all
        self.gate_bytes = part.gate_bytes
        self.weight, self.slack = math.sqrt(part.alpha / alpha), math.sqrt(1 - part.alpha / alpha)
        self.epsilon, self.register_size = part.epsilon, part.register_size + sum(part.shape)
        self.ancilla_qubits = max(part.ancilla_qubits, 1) + 1

    def lift(self, v: Any, side: Side) -> Any:
        xp, other_slack = self.backend.xp, self.shape[1 - INDEX[side]]
        none = xp.zeros((other_slack, v.shape[1]), dtype=v.dtype)
        own = self.slack * v
        pair = [own, none] if self.symmetric or side == "right" else [none, own]
        return xp.concatenate([self.weight * self.part.lift(v, side), *pair])

    def lower(self, psi: Any, side: Side) -> Any:
        inner = self.part.register_size
        first = inner if self.symmetric or side == "right" else inner + self.shape[1]
        own = psi[first : first + self.shape[INDEX[side]]]
        return self.weight * self.part.lower(psi[:inner], side) + self.slack * own

    def reflect(self, psi: Any) -> Any:
        xp, inner, n = self.backend.xp, self.part.register_size, self.shape[1]
        first, second = psi[inner : inner + n], psi[inner + n :]
        pair = [second, first] if self.symmetric else [first, second]
        return xp.concatenate([self.part.reflect(psi[:inner]), *pair])

    @property
    def places(self) -> Any:
        return self.part.places

    def column(self, k: int) -> Inflated:
        return Inflated(self.part.column(k), self.alpha)

    def circuit(self) -> Circuit:
        """U of the part beside a reflection of one more ancilla, whose corner is alpha/alpha'."""
        program = Circuit(self.system_qubits + self.ancilla_qubits)
        program.extend(_gate_program(self.part))
        program.multiplexed_reflection(np.arccos([self.part.alpha / self.alpha]), program.num_qubits - 1, controls=())
        return program

    def matvec(self, v: Any) -> Any:
        return self.weight**2 * self.part.matvec(v)

    def rmatvec(self, u: Any) -> Any:
        return self.weight**2 * self.part.rmatvec(u)


class OneEntry(Coordinates):
    """entry/alpha as the corner of a reflection of two amplitudes; entry is (k,), or (1,) for every column."""

    shape, system_qubits, ancilla_qubits, register_size, symmetric = (1, 1), 0, 1, 2, True
    product_flops, product_bytes = 1.0, 8.0
    name, places = "one_entry", np.arange(1)

    def __init__(self, entry: Any, alpha: float, backend: Any) -> None:
        self.alpha, self.backend, self.entry = alpha, backend, entry
        self.cosine = entry[None] / alpha
        self.same_for_all = len(entry) == 1
        self.sine = backend.xp.sqrt(backend.xp.maximum(1 - self.cosine**2, 0.0))

    @property
    def operator(self) -> OneEntry:
        return self

    def lift(self, v: Any, side: Side) -> Any:
        return self.backend.xp.concatenate([v, self.backend.xp.zeros_like(v)])

    def lower(self, psi: Any, side: Side) -> Any:
        return psi[:1]

    def reflect(self, psi: Any) -> Any:
        a, b = psi[:1], psi[1:]
        return self.backend.xp.concatenate([self.cosine * a + self.sine * b, self.sine * a - self.cosine * b])

    def column(self, k: int) -> OneEntry:
        return self if self.same_for_all else OneEntry(self.entry[k : k + 1], self.alpha, self.backend)

    def circuit(self) -> Circuit:
        """The reflection on its one ancilla."""
        program = Circuit(1)
        cosine = self.backend.to_numpy(self.cosine)[0]
        program.multiplexed_reflection(np.arccos(np.clip(cosine, -1, 1)), 0, controls=())
        return program

    def matvec(self, v: Any) -> Any:
        return self.cosine * v

    rmatvec = matvec


class BlockDiagonal(Composition):
    """diag(A_1, A_2, ...); where gates are concerned, the number of the block stands above the largest system."""

    def __init__(self, parts: Sequence[Any], name: str = "block_diagonal") -> None:
        alpha = max(part.alpha for part in parts)
        parts = [part if part.alpha == alpha else Inflated(part, alpha) for part in parts]
        left, right = (sum(part.shape[i] for part in parts) for i in (0, 1))
        super().__init__(
            name,
            parts,
            (left, right),
            alpha=alpha,
            ancilla_qubits=max(part.ancilla_qubits for part in parts),
            epsilon=max(part.epsilon for part in parts),
            symmetric=all(part.symmetric for part in parts),
        )
        self._block_qubits = max(part.system_qubits for part in parts)
        self.system_qubits = self._block_qubits + qubits(len(parts))
        # a table under a control is one of twice the length
        self.gate_bytes = sum(part.gate_bytes for part in parts) * 2.0 ** qubits(len(parts))
        self.same_for_all = all(part.same_for_all for part in parts)

    @property
    def places(self) -> Any:
        return np.concatenate([(i << self._block_qubits) + part.places for i, part in enumerate(self.parts)])

    def column(self, k: int) -> BlockDiagonal:
        return self if self.same_for_all else BlockDiagonal([part.column(k) for part in self.parts], self.name)

    def circuit(self) -> Circuit:
        """The program of each part, on as many qubits as it has, where the number of the block is its own.

        Raises CombinationError where a part has no gate program.
        """
        block, system = self._block_qubits, self.system_qubits
        program = Circuit(system + self.ancilla_qubits)
        for i, part in enumerate(self.parts):
            own = (*range(part.system_qubits), *range(system, system + part.ancilla_qubits))
            gates = _gate_program(part).placed(own, program.num_qubits)
            for place, qubit in enumerate(range(block, system)):
                gates = gates.controlled(qubit, i >> place & 1)
            program.extend(gates)
        return program

    def _each(self, method: str, v: Any, side: Side) -> Any:
        xp = self.backend.xp
        blocks = xp.split(v, np.cumsum([part.shape[INDEX[side]] for part in self.parts])[:-1].tolist())
        arguments = () if method.endswith("matvec") else (side,)
        images = [getattr(part, method)(block, *arguments) for part, block in zip(self.parts, blocks, strict=True)]
        return xp.concatenate(images)

    def lift(self, v: Any, side: Side = "right") -> Any:
        return self._each("lift", v, side)

    def lower(self, psi: Any, side: Side = "right") -> Any:
        pairs = zip(self.parts, self._registers(psi), strict=True)
        return self.backend.xp.concatenate([part.lower(block, side) for part, block in pairs])

    def reflect(self, psi: Any) -> Any:
        pairs = zip(self.parts, self._registers(psi), strict=True)
        return self.backend.xp.concatenate([part.reflect(block) for part, block in pairs])

    def matvec(self, v: Any) -> Any:
        return self._each("matvec", v, "right")

    def rmatvec(self, u: Any) -> Any:
        return self._each("rmatvec", u, "left")


class Product(Composition):
    """A_1 A_2 on the direct sum of the two registers, S = 1."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__(
            "product",
            (first, second),
            (first.shape[0], second.shape[1]),
            alpha=first.alpha * second.alpha,
            ancilla_qubits=max(first.ancilla_qubits, second.ancilla_qubits) + 1,
            epsilon=first.alpha * second.epsilon + second.alpha * first.epsilon,
            symmetric=False,
        )

    def lift(self, v: Any, side: Side) -> Any:
        xp, (first, second) = self.backend.xp, self.parts
        if side == "left":
            return xp.concatenate([first.lift(v, "left"), xp.zeros((second.register_size, v.shape[1]), dtype=v.dtype)])
        psi = second.reflect(second.lift(v, "right"))
        w = second.lower(psi, "left")
        return xp.concatenate([first.reflect(first.lift(w, "right")), psi - second.lift(w, "left")])

    def lower(self, psi: Any, side: Side) -> Any:
        first, second = self.parts
        success, failure = self._registers(psi)
        if side == "left":
            return first.lower(success, "left")
        w = first.lower(first.reflect(success), "right") - second.lower(failure, "left")
        return second.lower(second.reflect(second.lift(w, "left") + failure), "right")

    def reflect(self, psi: Any) -> Any:
        return psi

    def matvec(self, v: Any) -> Any:
        return self.parts[0].matvec(self.parts[1].matvec(v))

    def rmatvec(self, u: Any) -> Any:
        return self.parts[1].rmatvec(self.parts[0].rmatvec(u))


class LinearCombination(Composition):
    """sum_i c_i A_i, c_i not zero: T is sqrt(|c_i| alpha_i/alpha) T_i behind each other, S the sgn(c_i) S_i."""

    def __init__(self, coefficients: Sequence[float], parts: Sequence[Any], name: str = "linear_combination") -> None:
        weights = [abs(c) * part.alpha for c, part in zip(coefficients, parts, strict=True)]
        alpha = math.fsum(weights)
        super().__init__(
            name,
            parts,
            parts[0].shape,
            alpha=alpha,
            ancilla_qubits=max(part.ancilla_qubits for part in parts) + qubits(len(parts)),
            epsilon=sum(abs(c) * part.epsilon for c, part in zip(coefficients, parts, strict=True)),
            symmetric=all(part.symmetric for part in parts),
        )
        self.weights = [weight / alpha for weight in weights]
        self.signs = [math.copysign(1.0, c) for c in coefficients]

    def lift(self, v: Any, side: Side = "right") -> Any:
        pairs = zip(self.weights, self.parts, strict=True)
        return self.backend.xp.concatenate([math.sqrt(weight) * part.lift(v, side) for weight, part in pairs])

    def lower(self, psi: Any, side: Side = "right") -> Any:
        three = zip(self.weights, self.parts, self._registers(psi), strict=True)
        return sum(math.sqrt(weight) * part.lower(block, side) for weight, part, block in three)

    def reflect(self, psi: Any) -> Any:
        three = zip(self.signs, self.parts, self._registers(psi), strict=True)
        return self.backend.xp.concatenate([sign * part.reflect(block) for sign, part, block in three])

    def matvec(self, v: Any) -> Any:
        three = zip(self.signs, self.weights, self.parts, strict=True)
        return sum(sign * weight * part.matvec(v) for sign, weight, part in three)

    def rmatvec(self, u: Any) -> Any:
        three = zip(self.signs, self.weights, self.parts, strict=True)
        return sum(sign * weight * part.rmatvec(u) for sign, weight, part in three)


def block_diagonal(encodings: Sequence[BlockEncoding]) -> BlockDiagonal:
    """diag(A_1, A_2, ...), alpha = max alpha_i; symmetric where all are. Raises ParameterError for no encoding."""
    if not encodings:
        raise ParameterError("encodings", "are none", "Pass at least one block encoding")
    return BlockDiagonal(encodings)


def product(first: BlockEncoding, second: BlockEncoding) -> Product:
    """A_1 A_2, alpha = alpha_1 alpha_2; never symmetric, because T_L is not T_R. Raises ShapeError.

    T_R = Q S_2 T2_R with the isometry Q psi = (S_1 T1_R T2_L^t psi, (1 - T2_L T2_L^t) psi), T_L = (T1_L, 0), S = 1.
    """
    if first.shape[1] != second.shape[0]:
        problem = f"{first.shape[1]} columns do not meet {second.shape[0]} rows"
        raise ShapeError("encodings", problem, "Pass encodings of matrices that can be multiplied")
    return Product(first, second)


def linear_combination(coefficients: Sequence[float], encodings: Sequence[BlockEncoding]) -> LinearCombination:
    """sum_i c_i A_i, alpha = sum |c_i| alpha_i; symmetric where all are. Terms with c_i = 0 are left out.

    Raises ShapeError for unequal numbers or shapes, ParameterError where no finite coefficient but zero is given.
    """
    if len(coefficients) != len(encodings) or len({encoding.shape for encoding in encodings}) > 1:
        problem = f"{len(coefficients)} coefficients meet matrices of shapes {[e.shape for e in encodings]}"
        raise ShapeError("encodings", problem, "Pass one coefficient for each, and matrices of one shape")
    terms = {i: float(c) for i, c in enumerate(coefficients) if c}
    if not terms or not all(math.isfinite(c) for c in terms.values()):
        problem = f"{list(coefficients)!r} leave nothing to encode"
        raise ParameterError("coefficients", problem, "Pass finite numbers, not all zero")
    return LinearCombination(list(terms.values()), [encodings[i] for i in terms])


def scaled(encoding: BlockEncoding, c: float) -> LinearCombination:
    """c A, alpha' = |c| alpha, the sign of c in S. Raises ParameterError for c = 0, NaN or infinity."""
    if not (c and math.isfinite(c)):
        raise ParameterError("c", f"{c!r} is zero or not finite", "Pass a finite number other than zero")
    return LinearCombination([float(c)], [encoding], name="scaled")


def extended(encoding: BlockEncoding, entry: Any) -> BlockDiagonal:
    """diag(A, entry) with the same alpha, for |entry| <= alpha: a number, or (k,), one for each column.

    Raises ParameterError where |entry| exceeds alpha.
    """
    backend: Any = encoding.backend  # type: ignore[attr-defined]
    entry = backend.xp.atleast_1d(backend.asarray(entry, dtype=np.float64))
    if not bool((abs(entry) <= encoding.alpha).all()):
        problem = f"{float(abs(entry).max()):.6g} exceeds alpha = {encoding.alpha:.6g} in magnitude"
        raise ParameterError("entry", problem, "Clip it to [-alpha, alpha], or inflate alpha")
    return BlockDiagonal([encoding, OneEntry(entry, encoding.alpha, backend)], name="extended")
