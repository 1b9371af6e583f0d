"""Registers as matrix-product states of a bounded bond dimension, one chain a column, gates as local operators.

Memory and time go with the bonds that a circuit needs, not with 2^n. What the truncations drop is added up: gates are
unitary, so the sum bounds the distance of the simulated from the exact register.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..circuit import Gate
from ..tensor_networks import MatrixProductOperator, MatrixProductState
from ..tensor_networks.decompositions import array_module
from ..tensor_networks.gate_operators import LocalOperator, absorbed, cheaper_product, fuse_where_cheaper, gate_operator

MOST_QUBITS = 6
"""Of gates that are multiplied on the way, before they act: small ones on neighbouring qubits, as PREP and a phase."""


class ChainStateVector:
    """k registers of n qubits as chains (the StateVector protocol).

    `start` is (N, k), the lowest amplitudes, or a MatrixProductState over the lowest qubits. A bond keeps at most
    `bond_dimension` values (None: no limit) and drops the smallest up to `cutoff` times the norm of the register.
    `truncation_error`, (k,): bounds of ||simulated - exact register||.
    """

    def __init__(self, start: Any, num_qubits: int, bond_dimension: int | None = None, cutoff: float = 1e-12) -> None:
        self.num_qubits, self.limit, self.cutoff = num_qubits, bond_dimension, cutoff
        chains = [start] if isinstance(start, MatrixProductState) else _columns(start)
        self.xp = array_module(chains[0].tensors[0])
        zero = self.xp.asarray(np.array([1.0, 0.0]))
        rest = [[zero] * (num_qubits - len(chain)) for chain in chains]
        wide = [
            chain.kron(MatrixProductState.product(zeros)) if zeros else chain
            for chain, zeros in zip(chains, rest, strict=True)
        ]
        self.chains, errors = map(list, zip(*(c.compressed(bond_dimension, cutoff) for c in wide), strict=True))
        self.truncation_error = np.array(errors)
        self._brought: dict[int, tuple[Any, Any]] = {}
        self.bond_dimension = max(chain.bond_dimension for chain in self.chains)
        """The largest that was met."""
        self.bytes = self._bytes()
        """Of the chains where they were largest."""

    @property
    def amplitudes(self) -> Any:
        """(2^n, k), written out; raises NotEnoughMemoryError where that is no vector any more."""
        return self.xp.stack([chain.vector() for chain in self.chains], axis=1)

    def lowest(self, size: int) -> Any:
        """Amplitudes of the first `size` basis states, (size, k)."""
        kept = max(1, (size - 1).bit_length())
        return self.xp.stack([chain.vector()[:size] for chain in self.where_zero(range(kept, self.num_qubits))], axis=1)

    def norms(self) -> Any:
        """(k,)."""
        return self.xp.asarray([chain.norm() for chain in self.chains])

    def where_zero(self, qubits: Iterable[int]) -> list[MatrixProductState]:
        """Of each column the part with these qubits in |0>, not normalised; the highest of them leave the chain."""
        zeros = {*qubits}
        kept = self.num_qubits
        while kept > 1 and kept - 1 in zeros:
            kept -= 1
        return [_projected(chain, zeros, kept) for chain in self.chains]

    def apply(self, gate: Gate | LocalOperator) -> None:
        local = gate_operator(gate)
        operator = self._on_device(local.operator)
        for column, chain in enumerate(self.chains):
            self.chains[column], error = operator.apply(chain, self.limit, self.cutoff, first=local.first)
            self.truncation_error[column] += error
            self.bond_dimension = max(self.bond_dimension, self.chains[column].bond_dimension)
        self.bytes = max(self.bytes, self._bytes())

    def fuse(self, gates: Iterable[Any]) -> list[LocalOperator]:
        fused = fuse_where_cheaper(gates)
        if self.xp is not np:  # brought to the device once
            self._brought.update((id(w), (w, self.xp.asarray(w))) for item in fused for w in item.operator.tensors)
        return fused

    def run(self, gates: Iterable[Any]) -> None:
        """Small gates are multiplied with those before or behind them on the same qubits, before they act."""
        waiting: LocalOperator | None = None
        for gate in gates:
            operator = gate_operator(gate)
            both = None if waiting is None else _small_product(waiting, operator)
            if both is None and waiting is not None:
                self.apply(waiting)
            waiting = both or operator
        if waiting is not None:
            self.apply(waiting)

    def probability(self, qubits: Iterable[int]) -> Any:
        """That all of these qubits are |0>, (k,); of no qubits: the squared norm."""
        return self.xp.asarray([chain.norm() ** 2 for chain in _canonical(self.where_zero(qubits))])

    def postselect(self, qubits: Iterable[int]) -> Any:
        """Collapse to all of these qubits being |0>, and scale to norm one; returns the probability, (k,).

        Both distances, before and after scaling, are at most the one so far over the square root of the probability:
        the truncation error becomes twice that, and 1 where nothing is left of a truncated register.
        """
        zeros = {*qubits}
        for column, chain in enumerate(self.chains):
            self.chains[column] = _canonical([_projected(chain, zeros, self.num_qubits)])[0]
        lengths = np.array([chain.norm() for chain in self.chains])
        for column, length in enumerate(lengths):
            if length > 0:
                self.chains[column] = self.chains[column] * (1 / length)
                self.truncation_error[column] *= 2 / length
            elif self.truncation_error[column] > 0:
                self.truncation_error[column] = 1.0
        return self.xp.asarray(lengths**2)

    def sample(self, shots: int, seed: int, column: int = 0) -> Any:
        """Basis indices measured in `shots` runs of a normalised column, (shots,) on the host."""
        return self.chains[column].sample(shots, seed)

    def marginal(self, qubits: Iterable[int]) -> Any:
        """Probabilities of the outcomes of these qubits, (2^m, k), the first least significant."""
        wanted = list(qubits)
        return self.xp.stack([chain.marginal(wanted) for chain in self.chains], axis=1)

    def _bytes(self) -> int:
        return sum(chain.bytes for chain in self.chains)

    def _on_device(self, operator: MatrixProductOperator) -> MatrixProductOperator:
        if self.xp is np:
            return operator
        brought = (self._brought.get(id(w)) or (w, self.xp.asarray(w)) for w in operator.tensors)
        return MatrixProductOperator([there for _, there in brought])


def _columns(start: Any) -> list[MatrixProductState]:
    """One chain for each column of (N, k); N is padded with zeros to a power of two."""
    xp = array_module(start)
    qubits = max(1, (len(start) - 1).bit_length())
    padded = xp.zeros((1 << qubits, start.shape[1]), dtype=start.dtype)
    padded[: len(start)] = start
    return [MatrixProductState.from_vector(padded[:, column]) for column in range(start.shape[1])]


def _projected(chain: MatrixProductState, zeros: set[int], kept: int) -> MatrixProductState:
    """The amplitudes with the qubits of `zeros` in |0>, on the first `kept` qubits; all behind them are in `zeros`."""
    xp = array_module(chain.tensors[0])
    tensors = list(chain.tensors)
    behind = xp.ones((1, 1), dtype=chain.dtype)
    for tensor in reversed(tensors[kept:]):
        behind = tensor[:, 0] @ behind
    for qubit in zeros.intersection(range(kept)):
        tensors[qubit] = tensors[qubit].copy()
        tensors[qubit][:, 1] = 0
    tensors[kept - 1] = tensors[kept - 1] @ behind
    return MatrixProductState(tensors[:kept])


def _canonical(chains: list[MatrixProductState]) -> list[MatrixProductState]:
    """The same with a centre: their norms have all digits."""
    return [chain.moved(0) for chain in chains]


def _small_product(first: LocalOperator, second: LocalOperator) -> LocalOperator | None:
    if max(first.last, second.last) - min(first.first, second.first) < MOST_QUBITS:
        return cheaper_product(first, second)
    return absorbed(first, second, MOST_QUBITS)
