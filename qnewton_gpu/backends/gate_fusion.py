"""Gate programs of fewer gates that do the same: what a backend makes of a block before it runs it many times.

cuStateVec gets dense matrices on few qubits and composed permutations. NumPy gets sparse matrices, and a gate between
V and V^dagger on its controls as what it is, the same gate under the control of a state:
    V^dagger (1 + (M - 1) x |c><c|) V = 1 + (M - 1) x |p><p|,   |p> = V^dagger |c>
so that PREP around a phase of QSVT costs two passes instead of a dense matrix, whatever the number of colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..circuit import MatrixGate, PermutationGate, ShiftGate, merged

MOST_TARGETS = 5
"""Of a dense matrix: cuStateVec applies those up to here at the speed of its memory."""
MOST_QUBITS = 16
MOST_CHANGED = 5
MOST_SIZE = 1 << 16
"""Of an operand of a tensor network: qubits, those of them that it changes, and entries."""
MOST_ENTRIES = 2
"""In a row of a sparse product: as many as a reflection on one qubit has."""
ROUNDING = 4 * np.finfo(float).eps


@dataclass(frozen=True)
class SparseGate:
    """A sparse 2^k x 2^k unitary (CSR, real or complex) on k targets in ascending order."""

    label: str
    matrix: Any
    targets: tuple[int, ...]

    @property
    def qubits(self) -> tuple[int, ...]:
        return self.targets


@dataclass(frozen=True)
class StateControlledGate:
    """1 + (matrix - 1) x |p><p|: a matrix on its targets where `gate`'s controls hold and `where` is in the state p."""

    gate: MatrixGate
    where: tuple[int, ...]
    state: np.ndarray

    @property
    def qubits(self) -> tuple[int, ...]:
        return self.gate.qubits + self.where


Product = Callable[[Any, Any], Any]


def fuse(gates: Iterable[Any], product: Product) -> list[Any]:
    """Fewer gates that do the same, adders as their tables: see `circuit.merged`."""
    return merged((gate.table if isinstance(gate, ShiftGate) else gate for gate in gates), product)


def dense_product(first: Any, second: Any) -> Any:
    """Matrices on at most MOST_TARGETS qubits are multiplied, permutations composed: for cuStateVec."""
    union = _union(first, second)
    permuted = [isinstance(gate, PermutationGate) for gate in (first, second)]
    if all(permuted):
        return _permutation(_sparse(second, union) @ _sparse(first, union), union)
    if any(permuted) or len(union) > MOST_TARGETS:
        return None
    return MatrixGate("fused", (_sparse(second, union) @ _sparse(first, union)).toarray(), union)


def sparse_product(first: Any, second: Any) -> Any:
    """Gates whose product has at most MOST_ENTRIES entries in a row: for NumPy."""
    if max(_entries(first), _entries(second)) > MOST_ENTRIES:
        return None
    union = _union(first, second)
    matrix = _sparse(second, union) @ _sparse(first, union)
    matrix.data[abs(matrix.data) <= ROUNDING] = 0  # what cancels in exact arithmetic: H H = 1
    matrix.eliminate_zeros()
    if abs(matrix.data.imag).max() <= ROUNDING:
        matrix.data = matrix.data.real.copy()  # applied to complex states as to real ones of twice the columns
    most = int(np.diff(matrix.indptr).max())
    if most > MOST_ENTRIES:
        return None
    return _permutation(matrix, union) if most == 1 else SparseGate("fused", matrix, union)


def tensor_product(first: Any, second: Any) -> Any:
    """Gates whose product is one small operand of a tensor network, in which a qubit that is only read has one axis."""
    union = _union(first, second)
    if len(union) > MOST_QUBITS:
        return None
    matrix = _sparse(second, union) @ _sparse(first, union)
    matrix.data[abs(matrix.data) <= ROUNDING] = 0
    matrix.eliminate_zeros()
    coordinates = matrix.tocoo()
    changed = int(np.bitwise_or.reduce(coordinates.row ^ coordinates.col, initial=0)).bit_count()
    if changed > MOST_CHANGED or 1 << (len(union) + changed) > MOST_SIZE:
        return None
    if abs(matrix.data.imag).max() <= ROUNDING:
        matrix.data = matrix.data.real.copy()
    return SparseGate("fused", matrix, union)


def merge_conjugations(gates: Iterable[Any]) -> Iterator[Any]:
    """Each V, G, V^dagger, where V acts on controls of G, as one gate under the control of a state."""
    window: list[Any] = []
    known: dict[tuple[int, int], Any] = {}  # pairs that were found to be inverse, and are held so that ids stay theirs
    for gate in gates:
        window.append(gate)
        if len(window) < 3:
            continue
        before, _, after = window
        pair = id(before), id(after)
        if _on_controls(*window) and (pair in known or _are_inverse(before.matrix, after.matrix)):
            known[pair] = before, after
            yield _under_state(*window)
            window = []
        else:
            yield window.pop(0)
    yield from window


def _on_controls(before: Any, gate: Any, after: Any) -> bool:
    """Whether the outer two are matrices on the same controls of the inner one."""
    return (
        all(isinstance(g, MatrixGate) for g in (before, gate, after))
        and before.targets == after.targets
        and not before.controls
        and not after.controls
        and {*before.targets} <= {*gate.controls}
    )


def _are_inverse(before: np.ndarray, after: np.ndarray) -> bool:
    if np.array_equal(after, before.conj().T):  # both are unitary
        return True
    return bool(abs(after @ before - np.eye(len(after))).max() <= len(after) * ROUNDING)


def _under_state(before: MatrixGate, gate: MatrixGate, after: MatrixGate) -> StateControlledGate:
    value = dict(zip(gate.controls, gate.control_values, strict=True))
    column = sum(value.pop(q) << place for place, q in enumerate(before.targets))
    rest = MatrixGate(gate.label, gate.matrix, gate.targets, tuple(value), tuple(value.values()))
    return StateControlledGate(rest, before.targets, after.matrix[:, column])


def _union(first: Any, second: Any) -> tuple[int, ...]:
    return tuple(sorted({*first.qubits, *second.qubits}))


def _entries(gate: Any) -> int:
    """The most entries in a row."""
    if isinstance(gate, PermutationGate):
        return 1
    if isinstance(gate, SparseGate):
        return int(np.diff(gate.matrix.indptr).max())
    return int(np.count_nonzero(gate.matrix, axis=1).max())


def spread(index: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Bit k of every index moved to bit places[k]."""
    result = np.zeros_like(index)
    for bit, place in enumerate(places):
        result |= (index >> bit & 1) << place
    return result


def _sparse(gate: Any, qubits: tuple[int, ...]) -> Any:
    """The gate as a complex CSR matrix on these qubits, the first of them least significant."""
    import scipy.sparse as sp

    if isinstance(gate, SparseGate) and gate.targets == qubits:
        return gate.matrix
    size, own = 1 << len(qubits), 1 << len(gate.qubits)
    if isinstance(gate, PermutationGate):
        row = np.arange(own)
        column = row if gate.permutation is None else gate.permutation
        value = np.ones(own) if gate.diagonal is None else gate.diagonal
    elif isinstance(gate, SparseGate):
        local = gate.matrix.tocoo()
        (row, column), value = local.coords, local.data
    else:
        inside = sum(v << place for place, v in enumerate(gate.control_values, start=len(gate.targets)))
        row, column = np.nonzero(gate.matrix)
        value, outside = gate.matrix[row, column], np.arange(own)
        outside = outside[outside >> len(gate.targets) != inside >> len(gate.targets)]
        row, column = np.append(row + inside, outside), np.append(column + inside, outside)
        value = np.append(value, np.ones(len(outside)))
    place = {qubit: p for p, qubit in enumerate(qubits)}
    mine = [place[q] for q in gate.qubits]
    others = [p for p in range(len(qubits)) if p not in mine]
    small = np.int32 if len(qubits) < 31 else np.int64
    rest = spread(np.arange(size // own, dtype=small), others)[:, None]
    coords = [(spread(np.asarray(index, dtype=small), mine) + rest).ravel() for index in (row, column)]
    values = np.tile(np.asarray(value, dtype=np.complex128), size // own)
    return sp.csr_array((values, tuple(coords)), shape=(size, size))


def _permutation(matrix: Any, targets: tuple[int, ...]) -> PermutationGate:
    """A CSR matrix with one entry in each row."""
    diagonal = None if (matrix.data == 1).all() else matrix.data
    return PermutationGate("fused", targets, matrix.indices.astype(np.int64), diagonal)
