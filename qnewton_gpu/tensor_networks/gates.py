"""One gate as operands of a tensor network.

A qubit that a gate leaves as it is, a control or one of a diagonal, keeps its index: a hyperindex, which stands in all
operands that read it. Every other qubit gets a new index. Three rules keep operands small:
    gate of few qubits      one operand with an axis for each qubit that is kept, and two (out, in) for each other
    gate with many controls AND operands pass one bit, "all controls so far hold", along the controls to the gate
    ShiftGate               one full adder for each bit, between them the carry
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..circuit import Gate, MatrixGate, PermutationGate, ShiftGate
from .network import Operand

MOST_AXES = 10
"""Of an operand that has its controls among its axes; gates with more axes get theirs as one bit."""


@dataclass
class Wires:
    """The index at the end of every qubit's wire, and what has been laid so far."""

    ends: dict[int, int]
    next_index: int
    operands: list[Operand] = field(default_factory=list)
    indices: list[tuple[int, ...]] = field(default_factory=list)
    _changed: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def new(self) -> int:
        self.next_index += 1
        return self.next_index - 1

    def lay(self, operand: Operand, indices: Sequence[int]) -> None:
        self.operands.append(operand)
        self.indices.append(tuple(indices))

    def apply(self, gate: Gate) -> None:
        """Lay the operands of a gate, and move the ends of the wires that it changes."""
        if isinstance(gate, ShiftGate):
            self._shift(gate)
            return
        controls = list(zip(gate.controls, gate.control_values, strict=True)) if isinstance(gate, MatrixGate) else []
        changed = self._changed.get(id(gate))  # a block is repeated
        if changed is None:
            changed = self._changed[id(gate)] = changed_targets(gate)
        axes = len(gate.targets) + len(changed)
        condition, values = [self.ends[q] for q, _ in controls], [value for _, value in controls]
        if axes + len(controls) > MOST_AXES and len(controls) > 1:
            condition, values = [self._all_hold(controls)], [1]
        before = [self.ends[q] for q in gate.targets]
        for place in changed:
            self.ends[gate.targets[place]] = self.new()
        after = [self.ends[gate.targets[place]] for place in changed]
        key = ("gate", id(gate), tuple(values))
        make = _maker(gate, changed, values)
        self.lay(Operand((2,) * (len(condition) + axes), make, key), (*condition, *after, *before))

    def _all_hold(self, controls: Sequence[tuple[int, int]]) -> int:
        """The index of a bit that is 1 where every control has its value: an AND from each control to the next."""
        (first, value), *others = controls
        bit = self.ends[first]
        for qubit, other in others:
            result = self.new()
            wanted = (value, other)
            operand = Operand((2, 2, 2), lambda wanted=wanted: _and(wanted), ("and", wanted))  # type: ignore[misc]
            self.lay(operand, (result, bit, self.ends[qubit]))
            bit, value = result, 1
        return bit

    def _shift(self, gate: ShiftGate) -> None:
        """Bit i of the sum is in_i + amount_i + carry; the amount is there only where all controls hold."""
        size = 1 << len(gate.targets)
        amount = gate.amount % size
        if not amount:
            return
        controls = list(zip(gate.controls, gate.control_values, strict=True))
        condition, value = None, 1
        if controls:
            condition = self._all_hold(controls)
            value = controls[0][1] if len(controls) == 1 else 1
        carry = None
        first = (amount & -amount).bit_length() - 1  # below the lowest bit of the amount nothing changes
        for place in range(first, len(gate.targets)):
            qubit, bit, last = gate.targets[place], amount >> place & 1, place == len(gate.targets) - 1
            adds = (condition, value) if bit and condition is not None else None
            before, after = self.ends[qubit], self.new()
            indices = [after, before]
            indices += [] if carry is None else [carry]
            indices += [] if adds is None else [adds[0]]
            kind = (bit, carry is not None, None if adds is None else adds[1], last)
            carry = None if last else self.new()
            indices += [] if carry is None else [carry]
            operand = Operand((2,) * len(indices), lambda kind=kind: _full_adder(*kind), ("adder", kind))  # type: ignore[misc]
            self.lay(operand, indices)
            self.ends[qubit] = after


def changed_targets(gate: MatrixGate | PermutationGate) -> tuple[int, ...]:
    """Places among the targets whose bit the gate may change; the others are controls of it, or read by a diagonal."""
    rows, columns, _ = _entries(gate)
    flipped = int(np.bitwise_or.reduce(rows ^ columns, initial=0))
    return tuple(place for place in range(len(gate.targets)) if flipped >> place & 1)


def _entries(gate: MatrixGate | PermutationGate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of what is not zero in the matrix on the targets, dense or sparse."""
    matrix: Any = getattr(gate, "matrix", None)
    if hasattr(matrix, "tocoo"):
        entries = matrix.tocoo()
        return entries.row, entries.col, entries.data
    if isinstance(gate, MatrixGate):
        rows, columns = np.nonzero(gate.matrix)
        return rows, columns, gate.matrix[rows, columns]
    rows = np.arange(1 << len(gate.targets))
    columns = rows if gate.permutation is None else np.asarray(gate.permutation)
    return rows, columns, np.ones(len(rows)) if gate.diagonal is None else np.asarray(gate.diagonal)


def _maker(
    gate: MatrixGate | PermutationGate, changed: tuple[int, ...], values: Sequence[int]
) -> Callable[[], np.ndarray]:
    """Axes: conditions, then the changed targets after the gate, then all targets before it."""

    def make() -> np.ndarray:
        rows, columns, entries = _entries(gate)
        axes = [rows >> place & 1 for place in changed] + [columns >> place & 1 for place in range(len(gate.targets))]
        tensor = np.zeros((2,) * len(axes), dtype=np.result_type(entries, float))
        tensor[tuple(axes)] = entries
        if not values:
            return tensor
        nothing = np.zeros_like(tensor)
        same = np.arange(1 << len(gate.targets))
        nothing[tuple(same >> place & 1 for place in (*changed, *range(len(gate.targets))))] = 1
        whole = np.empty((2,) * len(values) + tensor.shape, dtype=tensor.dtype)
        for held in itertools.product((0, 1), repeat=len(values)):
            whole[held] = tensor if held == tuple(values) else nothing
        return whole

    return make


def _and(wanted: tuple[int, int]) -> np.ndarray:
    """1 where the first axis says whether the two others have the values wanted."""
    tensor = np.zeros((2, 2, 2))
    tensor[0] = 1
    tensor[0][wanted], tensor[1][wanted] = 0, 1
    return tensor


def _full_adder(bit: int, carried: bool, condition: int | None, last: bool) -> np.ndarray:
    """Axes (out, in), then those there are of: carry from below, condition, carry upwards."""
    tensor = np.zeros((2, 2, 2, 2, 2))
    for before, carry, held in itertools.product((0, 1), repeat=3):
        total = before + carry + (bit if condition is None or held == condition else 0)
        tensor[total & 1, before, carry, held, total >> 1] = 1
    tensor = tensor if carried else tensor[:, :, :1]
    tensor = tensor if condition is not None else tensor[:, :, :, :1]
    if last:
        tensor = tensor.sum(axis=4, keepdims=True)
    kept = [True, True, carried, condition is not None, not last]
    return tensor.reshape([2] * sum(kept))
