"""Every gate as a matrix-product operator over a contiguous range of qubits, and products of such operators.

A gate under controls is 1 + P x (U - 1), P the projector on the control values: bond 2 over controls, where U acts on
one qubit. A constant adder is a chain of carries, bond 2. Qubits between those of a gate pass the bond on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..circuit import Gate, PermutationGate, ShiftGate, merged
from ..errors import NotEnoughMemoryError
from .operators import MatrixProductOperator, site_product
from .states import MatrixProductState

GROWTH = 1.25
MOST_BOND = 1024
"""Of the operator of a permutation: where more are needed, its structure is none that a chain can use."""
MOST_MULTIPLIED = 256
"""Bond of a product, as written out, up to which it is made to see whether it is cheaper: none above was, and the time
grows with its cube."""


@dataclass(frozen=True)
class LocalOperator:
    """A matrix-product operator on the qubits first, first + 1, ..., in the place of a gate."""

    operator: MatrixProductOperator
    first: int

    @property
    def last(self) -> int:
        return self.first + len(self.operator) - 1

    @property
    def qubits(self) -> tuple[int, ...]:
        return tuple(range(self.first, self.last + 1))

    @property
    def work(self) -> int:
        """What an application costs, up to a factor that is the state's: the square of the bond, summed over sites."""
        return sum(w.shape[0] * w.shape[3] for w in self.operator.tensors)

    def spread_over(self, first: int, last: int) -> MatrixProductOperator:
        """The operator on a wider range, identities on the other qubits."""
        unity = [np.eye(2).reshape(1, 2, 2, 1)]
        return MatrixProductOperator(
            unity * (self.first - first) + [*self.operator.tensors] + unity * (last - self.last)
        )

    def then(self, following: LocalOperator) -> LocalOperator:
        """First this, then `following`, as one operator on the range of both, on its smallest bonds."""
        first, last = min(self.first, following.first), max(self.last, following.last)
        product = following.spread_over(first, last) @ self.spread_over(first, last)
        return LocalOperator(product.reduced(), first)


def gate_operator(gate: Gate | LocalOperator) -> LocalOperator:
    """The gate as an operator on qubits between its lowest and its highest, exact up to rounding.

    Raises NotEnoughMemoryError for a permutation whose bonds exceed 1024.
    """
    if isinstance(gate, LocalOperator):
        return gate
    if isinstance(gate, ShiftGate):
        if list(gate.targets) != sorted(gate.targets):  # carries go along the chain only where its qubits are in order
            return fused([gate_operator(part) for part in gate.elementary()] or [identity_on(gate.qubits)])
        operator = MatrixProductOperator.shift(len(gate.targets), gate.amount)
        return _controlled(dict(zip(gate.targets, operator.tensors, strict=True)), gate.controls, gate.control_values)
    if isinstance(gate, PermutationGate):
        return _passing(_of_permutation(gate))
    order = [gate.targets.index(q) for q in sorted(gate.targets)]
    operator = MatrixProductOperator.from_matrix(_reordered(gate.matrix, order), [2] * len(order))
    return _controlled(
        dict(zip(sorted(gate.targets), operator.tensors, strict=True)), gate.controls, gate.control_values
    )


def check_bonds(gates: Iterable[Gate]) -> None:
    """Raise NotEnoughMemoryError where a gate's operator has larger bonds than are made; smaller tables have none."""
    for gate in gates:
        if isinstance(gate, PermutationGate) and 1 << len(gate.targets) - 1 > MOST_BOND:
            _automaton(gate)


def identity_on(qubits: Sequence[int]) -> LocalOperator:
    first, last = min(qubits), max(qubits)
    return LocalOperator(MatrixProductOperator.identity([2] * (last - first + 1)), first)


def fused(operators: Iterable[LocalOperator]) -> LocalOperator:
    """The product of all, the first acting first."""
    first, *others = operators
    for operator in others:
        first = first.then(operator)
    return first


def fuse_where_cheaper(gates: Iterable[Any]) -> list[LocalOperator]:
    """Fewer operators that do the same: two become one where that takes no more work than both."""
    return merged(map(gate_operator, gates), cheaper_product)


def cheaper_product(first: LocalOperator, second: LocalOperator) -> LocalOperator | None:
    """Both as one operator where that takes no more work than both, else None."""
    if first.first > second.last + 1 or second.first > first.last + 1:
        return None  # a gap between them
    left, right = min(first.first, second.first), max(first.last, second.last)
    bonds = (item.spread_over(left, right).bonds for item in (first, second))
    if max((a * b for a, b in zip(*bonds, strict=True)), default=1) > MOST_MULTIPLIED:
        return None
    both = first.then(second)
    return both if both.work <= first.work + second.work else None


def absorbed(first: LocalOperator, second: LocalOperator, most_qubits: int) -> LocalOperator | None:
    """Both as one operator where the shorter, on at most `most_qubits`, lies within the longer; else None.

    Only the tensors that it meets are multiplied, and nothing is compressed: for a gate that is new at every query.
    None, too, where that would add more than GROWTH to the work of the longer.
    """
    inner, outer = sorted((first, second), key=lambda item: len(item.operator))
    if len(inner.operator) > most_qubits or inner.first < outer.first or inner.last > outer.last:
        return None
    start, end = inner.first - outer.first, inner.last - outer.first + 1
    chain = list(outer.operator.tensors)
    met = list(zip(inner.operator.tensors, chain[start:end], strict=True))
    chain[start:end] = [site_product(w, v) if inner is second else site_product(v, w) for w, v in met]
    both = LocalOperator(MatrixProductOperator(chain), outer.first)
    return both if both.work <= GROWTH * outer.work + inner.work else None


def _passing(tensors: Mapping[int, np.ndarray]) -> LocalOperator:
    """Site tensors by qubit as one operator: a qubit between them passes the bond on."""
    first, last = min(tensors), max(tensors)
    chain: list[np.ndarray] = []
    for qubit in range(first, last + 1):
        if qubit in tensors:
            chain.append(tensors[qubit])
        else:
            bond = chain[-1].shape[3]
            chain.append(np.einsum("lr,oi->loir", np.eye(bond), np.eye(2)))
    return LocalOperator(MatrixProductOperator(chain), first)


def _controlled(tensors: Mapping[int, np.ndarray], controls: Sequence[int], values: Sequence[int]) -> LocalOperator:
    """U by its site tensors, where every control has its value: 1 + P x (U - 1)."""
    if not controls:
        return _passing(tensors)
    projectors = {q: np.diag([1.0 - v, float(v)]).reshape(1, 2, 2, 1) for q, v in zip(controls, values, strict=True)}
    unity = {q: np.eye(2).reshape(1, 2, 2, 1) for q in tensors}
    under, without = _between(tensors, projectors), _between(unity, projectors)
    qubits = [*tensors, *controls]
    whole = identity_on(qubits).operator + under.operator - without.operator
    return LocalOperator(whole.reduced(), min(qubits))


def _between(tensors: Mapping[int, np.ndarray], projectors: Mapping[int, np.ndarray]) -> LocalOperator:
    """The product of U and P on different qubits; a projector between sites of U passes the bond of U on."""
    low, high = min(tensors), max(tensors)
    ordered = sorted(tensors)
    placed = dict(tensors)
    for qubit, projector in projectors.items():
        bond = 1 if not low < qubit < high else tensors[max(q for q in ordered if q < qubit)].shape[3]
        placed[qubit] = np.einsum("lr,oi->loir", np.eye(bond), projector[0, :, :, 0])
    return _passing(placed)


def _reordered(matrix: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The matrix with its index bits in another order: new bit k is old bit order[k]."""
    n = len(order)
    axes = [n - 1 - order[n - 1 - a] for a in range(n)]
    legs = matrix.reshape((2,) * (2 * n)).transpose([*axes, *(n + a for a in axes)])
    return legs.reshape(matrix.shape)


def _of_permutation(gate: PermutationGate) -> dict[int, np.ndarray]:
    """Site tensors by qubit, on their smallest bonds."""
    whole = MatrixProductOperator(_automaton(gate))
    if gate.permutation is None and gate.diagonal is not None and whole.bond_dimension > 1 << (len(whole) + 1) // 2:
        # more than a diagonal can need: it has no structure that the automaton sees, and is small enough for an SVD
        small = _of_diagonal(gate.diagonal, [sorted(gate.targets).index(q) for q in gate.targets])
    else:
        small, _ = whole.compressed()
    return dict(zip(sorted(gate.targets), small.tensors, strict=True))


def _of_diagonal(diagonal: np.ndarray, places: Sequence[int]) -> MatrixProductOperator:
    """A diagonal, bit k of whose index belongs to site places[k], by singular values: bond at most 2^(n/2)."""
    ordered = np.empty_like(diagonal)
    ordered[_moved_bits(np.arange(len(diagonal)), places)] = diagonal
    tensors = MatrixProductState.from_vector(ordered).tensors
    return MatrixProductOperator([np.einsum("lir,oi->loir", tensor, np.eye(2)) for tensor in tensors])


def _automaton(gate: PermutationGate) -> list[np.ndarray]:
    """Site tensors of new[i] = diagonal[i] old[permutation[i]], from its nonzeros alone.

    Site after site, nonzeros with the same (bond, out, in) are a group; groups that are multiples of each other are
    one value of the next bond: a minimal automaton, whose bonds singular values may reduce.
    """
    ordered = sorted(gate.targets)
    places = [ordered.index(q) for q in gate.targets]
    index = np.arange(1 << len(ordered))
    old = index if gate.permutation is None else gate.permutation
    value = np.ones(len(index)) if gate.diagonal is None else gate.diagonal
    if np.iscomplexobj(value) and not value.imag.any():
        value = value.real
    out, into, bond = _moved_bits(index, places), _moved_bits(old, places), np.zeros_like(index)
    tensors = []
    width = 1
    for _ in ordered:
        group = (bond * 2 + (out & 1)) * 2 + (into & 1)
        out, into = out >> 1, into >> 1
        sequence = np.lexsort((into, out, group))
        group, out, into, value = group[sequence], out[sequence], into[sequence], value[sequence]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        ends = np.append(starts[1:], len(group))
        known: dict[bytes, int] = {}
        entries, kept = [], []
        for a, b in zip(starts, ends, strict=True):
            content = value[a:b] / value[a]
            key = out[a:b].tobytes() + into[a:b].tobytes() + (np.round(content, 14) + 0.0).tobytes()
            if key not in known:
                known[key] = len(known)
                kept.append((a, b, content))
            entries.append((group[a], known[key], value[a]))
        if len(known) > MOST_BOND:
            raise NotEnoughMemoryError(
                "backend",
                f"gate {gate.label!r} on {len(ordered)} qubits has too little structure for a chain: {len(known)} "
                "different parts at one bond",
                f"At most {MOST_BOND} are multiplied out; use backend='cpu', or an encoding made of shifts",
            )
        tensor = np.zeros((width * 4, len(known)), dtype=value.dtype)
        for row, column, factor in entries:
            tensor[row, column] = factor
        tensors.append(tensor.reshape(width, 2, 2, len(known)))
        bond = np.repeat(np.arange(len(kept)), [b - a for a, b, _ in kept])
        out = np.concatenate([out[a:b] for a, b, _ in kept])
        into = np.concatenate([into[a:b] for a, b, _ in kept])
        value = np.concatenate([content for *_, content in kept])
        width = len(known)
    return tensors


def _moved_bits(index: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """Bit k of every index at bit places[k]."""
    return sum(((index >> k & 1) << place for k, place in enumerate(places)), np.zeros_like(index))
