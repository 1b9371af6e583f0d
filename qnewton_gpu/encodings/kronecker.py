"""The Kronecker encoding: T = T_1 (x) T_2 (x) ..., S = S_1 (x) S_2 (x) ..., alpha = alpha_1 alpha_2 ...

Each factor is encoded as a matrix of its own. The inverse acts on each factor separately, A^-1 (x) B^-1, and the
factors I (x) A_i (x) I commute: one circuit for each (`factor`) adds their degrees, where one for the product would
multiply the condition numbers. Ancillas add up, epsilon = sum_i epsilon_i alpha/alpha_i. Source: Dalzell et al., arXiv
2310.03011, section 10.2 (manipulating block encodings).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..backends.base import Backend
from ..circuit import Circuit
from ..errors import CombinationError
from ..operators import KroneckerOperator, Operator
from ..operators.kronecker import along
from . import encode
from .base import BlockEncoding, OfOperator, Side


class TensorEncoding(OfOperator):
    """The tensor product of the encodings of some factors, and of the identity on the others."""

    name = "kronecker"
    symmetric = True
    encodes = KroneckerOperator

    def __init__(self, operator: Any, parts: Sequence[BlockEncoding], active: Sequence[int], backend: Backend) -> None:
        self.operator, self.backend = operator, backend
        self.parts, self.active = tuple(parts), tuple(active)
        encoded = [self.parts[place] for place in self.active]
        self.alpha = math.prod(part.alpha for part in encoded)
        self.epsilon = sum(part.epsilon * self.alpha / part.alpha for part in encoded)
        self.system_qubits = sum(part.system_qubits for part in self.parts)
        self.ancilla_qubits = sum(part.ancilla_qubits for part in encoded)
        self.register_size = math.prod(self._registers(len(self.active)))

    def _registers(self, lifted: int) -> list[int]:
        """The length of each index once that many of the active ones are lifted."""
        sizes = [part.shape[0] for part in self.parts]
        for place in self.active[:lifted]:
            sizes[place] = self.parts[place].register_size
        return sizes

    def lift(self, v: Any, side: Side = "right") -> Any:
        for done, place in enumerate(self.active):
            v = along(partial(self.parts[place].lift, side=side), v, self._registers(done), place, self.backend.xp)
        return v

    def lower(self, psi: Any, side: Side = "right") -> Any:
        for left in range(len(self.active), 0, -1):
            place = self.active[left - 1]
            psi = along(partial(self.parts[place].lower, side=side), psi, self._registers(left), place, self.backend.xp)
        return psi

    def reflect(self, psi: Any) -> Any:
        sizes = self._registers(len(self.active))
        for place in self.active:
            psi = along(self.parts[place].reflect, psi, sizes, place, self.backend.xp)
        return psi

    def matvec(self, v: Any) -> Any:
        return self.operator.matvec(v) / self.alpha

    rmatvec = matvec

    def circuit(self) -> Circuit:
        """The gate programs of the factors, each on its own system qubits, the last factor's the least significant.

        The ancillas stand above all of them. Raises CombinationError where a factor has no gate program, or where one
        but the first has a size that is no power of two, so that padding would leave holes among the N amplitudes.
        """
        if any(part.shape[0] != 1 << part.system_qubits for part in self.parts[1:]):
            raise CombinationError(
                "mode",
                "a gate program needs Kronecker factors, but for the first, whose sizes are powers of two",
                "Use mode='fused' or 'subspace'",
            )
        program = Circuit(self.system_qubits + self.ancilla_qubits)
        ancilla, system = self.system_qubits, self.system_qubits
        for place, part in enumerate(self.parts):
            system -= part.system_qubits
            if place not in self.active:
                continue
            if not hasattr(part, "circuit"):
                raise CombinationError(
                    "mode",
                    f"the {part.name} encoding of factor {place} has no gate program",
                    "Use mode='fused' or 'subspace', or dense factors of at most 64 rows",
                )
            own = (*range(system, system + part.system_qubits), *range(ancilla, ancilla + part.ancilla_qubits))
            ancilla += part.ancilla_qubits
            program.extend(part.circuit().placed(own, program.num_qubits))
        return program


class KroneckerEncoding(TensorEncoding):
    """A_1 (x) A_2 (x) .../alpha, each factor by the encoding that it would have alone, or by the one named."""

    def __init__(self, operator: Operator, backend: Backend, encoding: str = "auto") -> None:
        self.check(operator)
        assert isinstance(operator, KroneckerOperator)
        parts = [encode(factor, backend, encoding) for factor in operator.factors]
        super().__init__(operator, parts, range(len(parts)), backend)

    def factor(self, place: int) -> TensorEncoding:
        """The encoding of I (x) A_i (x) I, alpha = alpha_i; H^-1 is the product of the inverses of these."""
        return TensorEncoding(self.operator.parts[place], self.parts, (place,), self.backend)
