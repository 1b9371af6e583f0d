"""A gate program as tensor networks: one for each question that can be asked of its state.

The operands of a network stand in the order in time: a qubit's start before its first gate, a projection on a fixed
value right after its last one. To contract them in this order is to run a state vector that never holds more qubits
than it must. Indices of results count qubits as basis indices do, the first qubit named being the least significant.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from ..circuit import Gate, MatrixGate
from ..errors import ParameterError, ShapeError
from .gates import Wires
from .network import Operand, TensorNetwork

COLUMN = 0
"""The index of the columns of a dense start, a hyperindex of bra and ket."""


class CircuitNetwork:
    """The state of `num_qubits` qubits after the gates, all unitary, and projections applied so far.

    start: (N,), or (N, k) for k columns at once, amplitudes of the lowest ceil(log2 N) qubits, zero beyond N.
    product: a vector (2,) for some of the other qubits; the rest start in |0>. Every network below has the columns, if
    there are any, as its last axis. Raises ShapeError, ParameterError.

    A network is contracted by the backend, select_backend("tensornet").contract(network), and by numpy.einsum where it
    is as small as here. Samples are drawn by its state_vector(start, num_qubits), of which `run` takes the same gates.

    >>> from qnewton_gpu.circuit import Circuit
    >>> circuit = Circuit(3)
    >>> circuit.hadamard(0)
    >>> circuit.shift(3, range(3))
    >>> state = CircuitNetwork(3)
    >>> state.run(circuit)
    >>> np.einsum(*state.amplitudes().interleaved()).reshape(-1).round(3)  # (|3> + |4>)/sqrt 2
    array([0.   , 0.   , 0.   , 0.707, 0.707, 0.   , 0.   , 0.   ])
    >>> float(np.einsum(*state.expectation(np.diag([1.0, -1.0]), [2]).interleaved()).round(12))  # <Z> of qubit 2
    0.0
    """

    def __init__(
        self, num_qubits: int, start: np.ndarray | None = None, product: Mapping[int, np.ndarray] | None = None
    ) -> None:
        self.num_qubits, self.gates = num_qubits, list[Gate]()
        self.columns: int | None = None
        self._projected = False
        self.start_qubits = 0
        self._start: Operand | None = None
        self._product = dict(product or {})
        if start is not None:
            start = np.asarray(start)
            self.columns = start.shape[1] if start.ndim == 2 else None
            self.start_qubits = max(len(start) - 1, 0).bit_length()
            shape = (2,) * self.start_qubits + start.shape[1:]
            self._start = Operand(shape, lambda: _padded(start, shape), ("start", id(start)))
        own = range(self.start_qubits, num_qubits)
        if self.start_qubits > num_qubits or not all(q in own for q in self._product):
            problem = f"is for qubits {[*range(self.start_qubits), *self._product]} of {num_qubits}"
            raise ShapeError("start", problem, "Give each qubit one start")
        _check_vectors("product", self._product)

    def apply(self, gate: Gate) -> None:
        self._check(gate.qubits)
        self.gates.append(gate)

    def run(self, gates: Iterable[Gate]) -> None:
        for gate in gates:
            self.apply(gate)

    def project(self, qubit: int, value: int) -> None:
        """Set the amplitudes to zero in which the qubit has another value; the norm shrinks."""
        if value not in (0, 1):
            raise ParameterError("value", f"{value!r} is not 0 or 1", "Give the value that the qubit is found in")
        self.apply(MatrixGate("projector", np.diag(np.eye(2)[value]), (qubit,)))
        self._projected = True

    def amplitudes(self, open: Sequence[int] | None = None, fixed: Mapping[int, int] | None = None) -> TensorNetwork:
        """<j| psi> for all values j of the open qubits (None: of those not fixed); reshape the result to (2^open[, k]).

        Every other qubit has to be fixed to 0 or 1: all amplitudes of those values.
        """
        fixed = dict(fixed or {})
        open = [q for q in range(self.num_qubits) if q not in fixed] if open is None else list(open)
        self._check([*open, *fixed])
        if len(open) + len(fixed) != self.num_qubits:
            raise ParameterError("fixed", "leaves qubits that are neither open nor fixed", "Name every qubit once")
        wires = self._ket(self.gates, fixed)
        return self._network(wires, [wires.ends[q] for q in reversed(open)])

    def entries(self, indices: Sequence[int]) -> TensorNetwork:
        """The amplitudes of single basis indices, (number of indices[, k]): a batch in one network."""
        values = [int(j) for j in indices]
        if not values or not all(0 <= j < 1 << self.num_qubits for j in values):
            raise ParameterError("indices", f"are none or not in [0, 2^{self.num_qubits})", "Give basis indices")
        wires = self._ket(self.gates, {})
        batch = wires.new()
        for q in range(self.num_qubits):
            bits = tuple(j >> q & 1 for j in values)
            wires.lay(Operand((len(bits), 2), lambda bits=bits: np.eye(2)[list(bits)]), (batch, wires.ends[q]))  # type: ignore[misc]
        return self._network(wires, [batch])

    def norm(self) -> TensorNetwork:
        """<psi|psi>, of every gate: 1 but for rounding where the start has norm one."""
        wires = self._ket(self.gates, {})
        self._mirror(wires, len(wires.operands), wires.ends, wires.ends)
        return self._network(wires, [])

    def expectation(self, operator: np.ndarray, qubits: Sequence[int]) -> TensorNetwork:
        """<psi| M |psi> for a matrix (2^m, 2^m) on m qubits; gates that cannot reach them are left out, U^t U = 1."""
        operator, qubits = np.asarray(operator), list(qubits)
        self._check(qubits)
        if operator.shape != (1 << len(qubits),) * 2:
            raise ShapeError("operator", f"has shape {operator.shape}", f"Give a matrix on {len(qubits)} qubits")
        wires = self._ket(self._cone(qubits), {})
        operands, ket = len(wires.operands), dict(wires.ends)
        wires.apply(MatrixGate("observable", operator, tuple(qubits)))
        self._mirror(wires, operands, ket, wires.ends)
        return self._network(wires, [])

    def overlap(self, reference: np.ndarray | Mapping[int, np.ndarray]) -> TensorNetwork:
        """<reference | psi>, the reference a vector (2^n,), or a product of vectors (2,), |0> where there is none."""
        wires = self._ket(self.gates, {})
        if isinstance(reference, Mapping):
            self._check(reference)
            _check_vectors("reference", reference)
            for q in range(self.num_qubits):
                vector = np.conj(reference[q]) if q in reference else np.array([1.0, 0.0])
                wires.lay(Operand((2,), lambda vector=vector: vector), (wires.ends[q],))  # type: ignore[misc]
        else:
            shape = (2,) * self.num_qubits
            reference = np.asarray(reference)
            if reference.shape != (1 << self.num_qubits,):
                raise ShapeError("reference", f"has shape {reference.shape}", f"Give (2^{self.num_qubits},)")
            ends = [wires.ends[q] for q in reversed(range(self.num_qubits))]
            wires.lay(Operand(shape, lambda: reference.conj().reshape(shape)), ends)
        return self._network(wires, [])

    def marginal(
        self, qubits: Sequence[int], fixed: Mapping[int, int] | None = None, *, diagonal: bool = True
    ) -> TensorNetwork:
        """The state of some qubits, the others traced out, those of `fixed` found in these values.

        diagonal: probabilities p(j and fixed), reshape to (2^m[, k]); else the reduced density matrix, (2^m, 2^m[, k]).
        """
        qubits, fixed = list(qubits), dict(fixed or {})
        self._check([*qubits, *fixed])
        wires = self._ket(self._cone([*qubits, *fixed]), fixed)
        joins = dict(wires.ends)
        if not diagonal:
            joins.update({q: wires.new() for q in qubits})
        self._mirror(wires, len(wires.operands), wires.ends, joins)
        ket, bra = ([ends[q] for q in reversed(qubits)] for ends in (wires.ends, joins))
        return self._network(wires, ket if diagonal else [*ket, *bra])

    def _check(self, qubits: Iterable[int]) -> None:
        named = list(qubits)
        if len(set(named)) != len(named) or not all(0 <= q < self.num_qubits for q in named):
            raise ParameterError("qubits", f"are {named} of {self.num_qubits}", "Use each qubit at most once")

    def _cone(self, qubits: Iterable[int]) -> list[Gate]:
        """The gates that what is measured on these qubits depends on; after a projection, all."""
        if self._projected:
            return self.gates
        reached, cone = set(qubits), list[Gate]()
        for gate in reversed(self.gates):
            if reached & {*gate.qubits}:
                reached |= {*gate.qubits}
                cone.append(gate)
        return cone[::-1]

    def _ket(self, gates: Sequence[Gate], fixed: Mapping[int, int]) -> Wires:
        wires = Wires({q: q + 1 for q in range(self.num_qubits)}, self.num_qubits + 1)
        last = {q: place for place, gate in enumerate(gates) for q in gate.qubits}
        waiting = set(range(self.num_qubits))

        def begin(qubits: Iterable[int]) -> None:
            new = [q for q in qubits if q in waiting]
            if self._start is not None and any(q < self.start_qubits for q in new):
                own = range(self.start_qubits)
                wires.lay(self._start, [q + 1 for q in reversed(own)] + [COLUMN] * (self.columns is not None))
                waiting.difference_update(own)
            for q in new:
                if q >= self.start_qubits:
                    wires.lay(self._begin(q), (q + 1,))
            waiting.difference_update(new)

        if self.start_qubits == 0 and self._start is not None:
            wires.lay(self._start, [COLUMN] * (self.columns is not None))
        for place, gate in enumerate(gates):
            begin(gate.qubits)
            wires.apply(gate)
            for q in gate.qubits:
                if last[q] == place and q in fixed:
                    wires.lay(_basis_vector(fixed[q]), (wires.ends[q],))
        untouched = [q for q in range(self.num_qubits) if q not in last]
        begin(untouched)
        for q in untouched:
            if q in fixed:
                wires.lay(_basis_vector(fixed[q]), (wires.ends[q],))
        return wires

    def _begin(self, qubit: int) -> Operand:
        vector = self._product.get(qubit)
        if vector is None:
            return _basis_vector(0)
        return Operand((2,), lambda: np.asarray(vector), ("product", qubit))

    def _mirror(self, wires: Wires, operands: int, ket: Mapping[int, int], joins: Mapping[int, int]) -> None:
        """Lay the bra of the first operands, last one first; it joins the indices `joins` where the ket had `ket`."""
        renamed = {COLUMN: COLUMN} | {ket[q]: joins[q] for q in range(self.num_qubits)}
        for place in reversed(range(operands)):
            for index in wires.indices[place]:
                if index not in renamed:
                    renamed[index] = wires.new()
            wires.lay(_conjugate(wires.operands[place]), [renamed[index] for index in wires.indices[place]])

    def _network(self, wires: Wires, output: Sequence[int]) -> TensorNetwork:
        columns = (COLUMN,) if self.columns is not None else ()
        return TensorNetwork(tuple(wires.operands), tuple(wires.indices), (*output, *columns))


def _padded(start: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows = 1 << max(len(start) - 1, 0).bit_length()
    padded = np.zeros((rows, *start.shape[1:]), dtype=start.dtype)
    padded[: len(start)] = start
    return padded.reshape(shape)


def _basis_vector(value: int) -> Operand:
    return Operand((2,), lambda: np.eye(2)[value], ("basis", value))


def _conjugate(operand: Operand) -> Operand:
    key: Hashable = None if operand.key is None else ("conjugate", operand.key)
    return Operand(operand.shape, lambda: operand.make().conj(), key)


def _check_vectors(argument: str, product: Mapping[int, np.ndarray]) -> None:
    for qubit, vector in product.items():
        if np.shape(vector) != (2,):
            raise ShapeError(argument, f"has shape {np.shape(vector)} for qubit {qubit}", "Give (2,) for each qubit")
