"""The StateVector of a tensor network: gates are collected, and only what is asked for is contracted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import Gate, ShiftGate
from ..errors import ShapeError
from ..tensor_networks.network import TensorNetwork
from ..tensor_networks.programs import CircuitNetwork
from .gate_fusion import fuse, tensor_product

if TYPE_CHECKING:
    from .tensornet import TensornetBackend

REMEDY = 'backend="tensornet:64" keeps matrix-product states of bond dimension at most 64 instead'

SMALL_SHIFT = 6
"""Qubits of an adder up to which a block multiplies its table with other gates."""
MOST_SAMPLED = 62
"""Qubits whose basis indices are drawn: they are 64-bit integers with a sign."""
SAMPLED_AT_ONCE = 12
"""Qubits whose joint distribution is contracted at once."""
WHOLE = 3.0
"""All amplitudes are contracted where that costs less than this many times the amplitudes asked for: the norm, which
is wanted next, costs at least twice as much."""


def small_operands(gates: Iterable[Any]) -> list[Any]:
    """Gates multiplied while their operands stay small; long adders stay what they are."""
    fused: list[Any] = []
    segment: list[Any] = []
    for gate in gates:
        if isinstance(gate, ShiftGate) and len(gate.qubits) > SMALL_SHIFT:
            fused += [*fuse(segment, tensor_product), gate]
            segment = []
        else:
            segment.append(gate)
    return fused + fuse(segment, tensor_product)


class TensorNetworkState:
    """k registers as the tensor network of what was done to them; nothing of size 2^num_qubits unless it is asked for.

    Raises NotEnoughMemoryError from whatever contracts, before an array is made, with what would fit.
    """

    def __init__(self, backend: TensornetBackend, start: Any, num_qubits: int) -> None:
        self.backend, self.num_qubits, self.columns = backend, num_qubits, start.shape[1]
        self.network = CircuitNetwork(num_qubits, start if isinstance(start, np.ndarray) else backend.to_numpy(start))
        self._scale = backend.xp.ones(self.columns)
        self._all: Any = None

    def apply(self, gate: Gate) -> None:
        self.network.apply(gate)
        self._all = None

    def run(self, gates: Iterable[Any]) -> None:
        for gate in gates:
            self.apply(gate)

    def fuse(self, gates: Iterable[Any]) -> list[Any]:
        return small_operands(gates)

    @property
    def amplitudes(self) -> Any:
        if self._all is None:
            self._all = self._contract(self.network.amplitudes(), 1 << self.num_qubits)
        return self._scale * self._all

    def lowest(self, size: int) -> Any:
        if self._all is not None:
            return self.amplitudes[:size]
        wanted, whole = self._lowest(size), self.network.amplitudes()
        if self._is_cheap(whole, wanted):
            self._all = self._contract(whole, 1 << self.num_qubits)
            return self.amplitudes[:size]
        return self._scale * self._contract(wanted, 1 << (len(wanted.output) - 1))[:size]

    def _lowest(self, size: int) -> TensorNetwork:
        qubits = range(max(size - 1, 0).bit_length())
        return self.network.amplitudes(qubits, dict.fromkeys(range(len(qubits), self.num_qubits), 0))

    def check_lowest(self, size: int) -> None:
        """Raise NotEnoughMemoryError where `lowest` would."""
        network = self._lowest(size)
        self.backend.check(network, self._remedy(network))

    def norms(self) -> Any:
        return self.backend.xp.sqrt(self.probability(()))

    def _is_cheap(self, whole: TensorNetwork, wanted: TensorNetwork) -> bool:
        all_amplitudes, part = self.backend.path(whole), self.backend.path(wanted)
        return all_amplitudes.bytes <= self.backend.available_bytes() and all_amplitudes.flops <= WHOLE * part.flops

    def probability(self, qubits: Iterable[int]) -> Any:
        zeros = list(qubits)
        if self._all is not None:
            xp, mask = self.backend.xp, sum(1 << q for q in zeros)
            kept = self._all[(xp.arange(1 << self.num_qubits) & mask) == 0] if mask else self._all
            squares = (kept.real**2 + kept.imag**2).sum(axis=0)
        else:
            network = self.network.marginal([], dict.fromkeys(zeros, 0)) if zeros else self.network.norm()
            squares = self._contract(network, 1)[0].real
        return self._scale**2 * squares

    def postselect(self, qubits: Iterable[int]) -> Any:
        zeros = list(qubits)
        probability = self.probability(zeros)
        for qubit in zeros:
            self.network.project(qubit, 0)
        self._scale = self._scale / self.backend.xp.sqrt(self.backend.xp.where(probability > 0, probability, 1.0))
        self._all = None
        return probability

    def sample(self, shots: int, seed: int, column: int = 0) -> np.ndarray:
        """By conditional distributions from the most significant qubits down: what a state vector draws for a seed."""
        if self.num_qubits > MOST_SAMPLED:
            remedy = f"Indices of at most {MOST_SAMPLED} qubits are drawn: ask for marginals"
            raise ShapeError("state", f"has {self.num_qubits} qubits", remedy)
        drawn = np.random.default_rng(seed).random(shots)
        groups: list[range] = []
        top = self.num_qubits
        while top:
            groups.append(range(max(top - SAMPLED_AT_ONCE, 0), top))
            top = groups[-1].start
        found = np.zeros(shots, dtype=np.int64)
        self._descend(groups, {}, np.arange(shots), drawn, found, column)
        return found

    def _descend(
        self,
        groups: list[range],
        fixed: dict[int, int],
        runs: np.ndarray,
        drawn: np.ndarray,
        found: np.ndarray,
        column: int,
    ) -> None:
        """Draw the first group for these runs, then the other groups for the runs that found the same."""
        if not groups:
            return
        group, *others = groups
        joint = self.backend.to_numpy(self._contract(self.network.marginal(group, fixed), 1 << len(group)))
        cumulative = np.cumsum(np.maximum(joint[:, column].real, 0.0))
        cumulative /= cumulative[-1]
        value = np.minimum(np.searchsorted(cumulative, drawn[runs], side="right"), len(cumulative) - 1)
        found[runs] += value << group.start
        below = np.where(value > 0, cumulative[value - 1], 0.0)
        drawn[runs] = (drawn[runs] - below) / (cumulative[value] - below)
        for v in np.unique(value):
            bits = {q: int(v) >> place & 1 for place, q in enumerate(group)}
            self._descend(others, {**fixed, **bits}, runs[value == v], drawn, found, column)

    def _contract(self, network: TensorNetwork, rows: int) -> Any:
        """The result as (rows, k)."""
        return self.backend.contract(network, self._remedy(network)).reshape(rows, self.columns)

    def _remedy(self, network: TensorNetwork) -> str:
        cost, free = self.backend.path(network), self.backend.available_bytes()
        fitting = max(self.num_qubits - math.ceil(math.log2(max(cost.bytes / max(free, 1), 1))), 0)
        return f"About {fitting} of its {self.num_qubits} qubits would fit; fewer columns need less, and {REMEDY}"
