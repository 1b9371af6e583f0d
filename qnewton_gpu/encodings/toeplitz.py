"""The Toeplitz encoding: every offset of every axis is one adder of a constant, so O(n) gates serve 2^n points.

Colours l are the diagonal, of weight |c_0|, and each offset k of each axis, of weight 2|c_k|; alpha is their sum,
    T|j> = sum_l sqrt(w_l/alpha) |l> (|0> + |1>)/sqrt(2) |0>|j>         index order: colour, direction, carry, j
    S|l>|0>|J> = sgn(c_l) |l>|1>|J + k>,   S|l>|1>|J> = sgn(c_l) |l>|0>|J - k>
with J the index along the colour's axis and the carry above it: a cyclic shift on n_i + 1 qubits, which leaves in the
carry what left the grid. The two directions of an offset are each other's inverse, so S is an involution, and
T^t S T = H/alpha. One carry serves all axes, because in each colour one axis moves. The diagonal moves nothing; its
directions are exchanged, too, which the state of T does not notice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.base import Backend
from ..circuit import PAULI_X, Circuit, MatrixGate
from ..operators import Operator, ToeplitzOperator
from ..operators.toeplitz import Offset
from .base import OfOperator, Side, qubits


class ToeplitzEncoding(OfOperator):
    """H/alpha for a ToeplitzOperator, alpha = |c_0| + 2 sum |c_k|."""

    name = "toeplitz"
    symmetric = True
    encodes = ToeplitzOperator

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        coloured: list[Offset | None] = [None] if self.operator.diagonal else []
        self.colours = (*coloured, *self.operator.offsets)
        coefficients = np.array([self.operator.diagonal if c is None else c.coefficient for c in self.colours])
        weights = np.where([c is None for c in self.colours], 1.0, 2.0) * abs(coefficients)
        self.sign = np.sign(coefficients)
        self.alpha = float(weights.sum())
        self.amplitude = np.sqrt(weights / self.alpha)
        self.system_qubits = sum(self.operator.qubits)
        # the sign of a single colour needs a qubit, too
        self.ancilla_qubits = 2 + max(qubits(len(self.colours)), 1)
        self.register_size = 4 * len(self.colours) << self.system_qubits

    def matvec(self, v: Any) -> Any:
        return self.operator.matvec(v) / self.alpha

    rmatvec = matvec

    def lift(self, v: Any, side: Side = "right") -> Any:
        xp = self.backend.xp
        one = xp.stack([v, xp.zeros_like(v)]) * np.sqrt(0.5)  # the carry
        weights = self.backend.asarray(self.amplitude)[:, None, None, None, None]
        return (weights * xp.stack([one, one])).reshape(self.register_size, -1)

    def lower(self, psi: Any, side: Side = "right") -> Any:
        without_carry = psi.reshape(len(self.colours), 2, 2, self.shape[0], -1)[:, :, 0].sum(axis=1)
        weights = self.backend.asarray(self.amplitude * np.sqrt(0.5))
        return (weights[:, None, None] * without_carry).sum(axis=0)

    def reflect(self, psi: Any) -> Any:
        xp = self.backend.xp
        blocks = psi.reshape(len(self.colours), 2, 2, *self.operator.grid, -1)
        image = xp.empty_like(blocks)
        for block, new, colour, sign in zip(blocks, image, self.colours, self.sign.tolist(), strict=True):
            for direction, (old, moved) in enumerate(zip(block, new[::-1], strict=True)):
                moved[:] = sign * self._shifted(old, colour, 1 - 2 * direction)
        return image.reshape(psi.shape)

    def _shifted(self, field: Any, colour: Offset | None, direction: int) -> Any:
        """A field of shape (carry, grid, columns) shifted along the colour's axis, the carry above it."""
        if colour is None:
            return field
        xp, place = self.backend.xp, len(self.operator.qubits) - 1 - colour.axis
        beside = xp.moveaxis(field, 0, place)
        shape = beside.shape
        joined = beside.reshape(*shape[:place], 2 * shape[place + 1], *shape[place + 2 :])
        return xp.moveaxis(xp.roll(joined, direction * colour.amount, axis=place).reshape(shape), place, 0)

    def circuit(self) -> Circuit:
        """PREP^t SELECT PREP: two adders an offset, controlled by its colour and the direction; PREP on few qubits.

        Qubits, from the least significant: the axes, carry, direction, colour.
        """
        system = self.system_qubits
        carry, direction, total = system, system + 1, system + self.ancilla_qubits
        index = tuple(range(system + 2, total))
        amplitude = np.pad(self.amplitude, (0, (1 << len(index)) - len(self.colours)))
        program = Circuit(total)
        program.prepare(amplitude, index)
        program.hadamard(direction)
        for colour, offset in enumerate(self.colours):
            value = tuple((colour >> place) & 1 for place in range(len(index)))
            if self.sign[colour] < 0:
                minus = np.diag([1.0, -1.0] if value[0] else [-1.0, 1.0])
                program.append(MatrixGate("reflection", minus, index[:1], index[1:], value[1:]))
            if offset is not None:
                first = sum(self.operator.qubits[: offset.axis])
                axis = (*range(first, first + self.operator.qubits[offset.axis]), carry)
                program.shift(offset.amount, axis, (direction, *index), (0, *value))
                program.shift(-offset.amount, axis, (direction, *index), (1, *value))
        program.append(MatrixGate("x", PAULI_X, (direction,)))
        program.hadamard(direction)
        program.prepare(amplitude, index)  # PREP is its own inverse
        return program
