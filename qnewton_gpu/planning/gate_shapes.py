"""What the gates of one query cost as tensors: for predictions, before an array is made.

Contracted exactly, they are laid down as a network of index numbers, and the order in time, an upper bound of what a
path finder finds, is costed as backends/contraction_paths.py costs every path. On chains a gate is a matrix-product
operator, of a bond that follows from its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.contraction_paths import path_cost, time_order
from ..circuit import Gate, ShiftGate, branch_gates
from ..tensor_networks.gate_operators import LocalOperator, fuse_where_cheaper, gate_operator
from ..tensor_networks.network import Operand, TensorNetwork
from ..tensor_networks.programs import CircuitNetwork

ENTRY_BYTES = 16.0
LONG = 3
"""Queries of a network that is costed against one of a single query: both begin and end on the same projector."""


@dataclass(frozen=True)
class GateShape:
    """A gate on qubits first..last: `changed` of its `targets` have an axis before and one after it, the others keep
    theirs. `bond`: of its matrix-product operator; `width`: the largest bond while that is made.
    """

    targets: tuple[int, ...]
    changed: tuple[int, ...]
    first: int
    last: int
    bond: float
    width: float

    @property
    def sites(self) -> int:
        return self.last - self.first + 1

    @classmethod
    def of(cls, made: LocalOperator) -> GateShape:
        """Of an operator that is there; its bond is the one whose cube is the mean of the cubes on all sites."""
        bonds = np.array([*made.operator.bonds, 1], dtype=float)
        bond = float((bonds**3).mean() ** (1 / 3))
        return cls(made.qubits, made.qubits, made.first, made.last, bond, float(bonds.max()))


def dense(targets: Sequence[int], changed: Sequence[int]) -> GateShape:
    """A table without structure: the bond of its operator is at most 2^(targets + changed) on half of the qubits, and
    site after site it is found from as many prefixes as there are."""
    bond = 2.0 ** ((len(targets) + len(changed)) // 2)
    width = 2.0 ** max(len(targets) - 1, 0)
    return GateShape(tuple(targets), tuple(changed), min(targets), max(targets), bond, width)


def chain_shapes(gates: Sequence[Gate]) -> list[GateShape]:
    """Of a real program, as a chain runs it: operators of adders are multiplied where that takes less work.

    Raises NotEnoughMemoryError where the operator of a table has bonds that are not made.
    """
    if any(isinstance(gate, ShiftGate) for gate in gates):
        return [GateShape.of(made) for made in fuse_where_cheaper(gates)]
    return [GateShape.of(gate_operator(gate)) for gate in gates]


@dataclass(frozen=True)
class DerivedProgram:
    """The gates of a matching encoding, whose shapes do not depend on the matrix: PREP, rotation, permutation, PREP."""

    system_qubits: int
    ancilla_qubits: int
    reflected: bool = False
    """Whether a state of the system is prepared or taken back in every query, as in kernel reflection."""

    @property
    def shapes(self) -> list[GateShape]:
        system, total = range(self.system_qubits), self.system_qubits + self.ancilla_qubits
        rotated, colour = self.system_qubits, range(self.system_qubits + 1, total)
        one = dense([rotated], [rotated])
        rotation = [one, dense([*system, *colour, rotated], []), one, dense([rotated], [])]
        prepare = [dense(colour, colour)] if colour else []
        reflection = [dense(system, system)] if self.reflected else []
        indices = [*system, *colour]  # none where one unknown has one colour
        select = [dense(indices, system)] if indices else []
        return [*prepare, *rotation, *select, *prepare, *reflection]

    def network(self, queries: int, columns: int) -> TensorNetwork:
        """The amplitudes of the system after so many queries, of operands that nobody can make."""
        total = self.system_qubits + self.ancilla_qubits
        ends, new = {q: q + 1 for q in range(total)}, total + 1
        start = [ends[q] for q in reversed(range(self.system_qubits))]
        operands = [Operand((*(2,) * self.system_qubits, columns), _nothing, "start")]
        indices = [(*start, 0)]
        for q in range(self.system_qubits, total):
            operands.append(Operand((2,), _nothing, "zero"))
            indices.append((ends[q],))
        phase = dense(range(self.system_qubits, total), [])
        for shape in [phase, *[*self.shapes, phase] * queries]:
            before = [ends[q] for q in shape.targets]
            for q in shape.changed:
                ends[q], new = new, new + 1
            after = [ends[q] for q in shape.changed]
            operands.append(Operand((2,) * (len(after) + len(before)), _nothing, shape))
            indices.append((*after, *before))
        for q in range(self.system_qubits, total):
            operands.append(Operand((2,), _nothing, "zero"))
            indices.append((ends[q],))
        return TensorNetwork(tuple(operands), tuple(indices), (*(ends[q] for q in range(self.system_qubits)), 0))


def _nothing() -> Any:
    raise AssertionError("an operand that only stands for a size")


@dataclass(frozen=True)
class ExactCost:
    """Of the amplitudes of a circuit as one network in the order in time: of each query more, and at its peak."""

    flops: float
    operands: float
    bytes: float


def exact_cost(network: Callable[[int], TensorNetwork]) -> ExactCost:
    """`network(queries)` is laid down with one query and with three; both begin and end alike."""
    costs, counts = [], []
    for queries in (1, LONG):
        one = network(queries)
        costs.append(path_cost(one, time_order(one), "time order"))
        counts.append(len(one.operands))
    (short, long), more = costs, LONG - 1
    return ExactCost((long.flops - short.flops) / more, (counts[1] - counts[0]) / more, long.bytes)


def network_of(block: Sequence[Gate], system: int, total: int, start: Any, queries: int) -> TensorNetwork:
    """The amplitudes of the system after so many queries of a real gate program on `start`, ancillas found in |0>."""
    state = CircuitNetwork(total, start)
    state.run(branch_gates(block, total, system, np.zeros(queries + 1)))
    return state.amplitudes(range(system), dict.fromkeys(range(system, total), 0))


def chain_bonds(qubits: int, bond_dimension: int) -> list[float]:
    """The bond on the left of every site: min(bond_dimension, 2^i, 2^(qubits - i))."""
    return [min(float(bond_dimension), 2.0 ** min(i, qubits - i)) for i in range(qubits)]


def chain_cost(shapes: Iterable[GateShape], qubits: int, bond_dimension: int) -> tuple[float, float]:
    """(sites, sum of (w chi)^3 over them): what one query sweeps, where gates of bond w act on the full bonds chi."""
    bonds = chain_bonds(qubits, bond_dimension)
    sites = cubes = 0.0
    for shape in shapes:
        sites += shape.sites
        cubes += sum((shape.bond * chi) ** 3 for chi in bonds[shape.first : shape.last + 1])
    return sites, cubes


def chain_bytes(shapes: Iterable[GateShape], qubits: int, bond_dimension: int) -> float:
    """The chain before and after the gate of the largest bond, and the triangles of its sweep."""
    widest = max(shape.bond for shape in shapes)
    squares = [chi**2 for chi in chain_bonds(qubits, bond_dimension)]
    return ENTRY_BYTES * (sum(squares) * (4 + widest**2) + 4 * max(squares) * widest**2)
