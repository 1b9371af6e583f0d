"""A solver put to a system with the encoding that one simulator runs: what memory it takes, and how long a query is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..backends.tensornet_state import small_operands
from ..circuit import Gate
from ..encodings import WITH_GATES, choose_encoding
from ..encodings.base import qubits
from ..encodings.matching import PROGRAM_BYTES
from ..errors import NotEnoughMemoryError
from ..operators import ExplicitMatrix, GramOperator, KroneckerOperator
from ..simulation import Run
from ..solvers import LinearSystem, make_solver
from ..solvers.formulations import FactorByFactor
from ..solvers.kernel_reflection import REFLECTION_BYTES, VOTES
from ..tensor_networks.gate_operators import MOST_BOND
from .gate_shapes import (
    DerivedProgram,
    ExactCost,
    GateShape,
    chain_bytes,
    chain_cost,
    chain_shapes,
    dense,
    exact_cost,
    network_of,
)
from .simulator_rates import SimulatorRates
from .stated import StatedOperator

EXACT, CHAIN = "tensornet", "tensornet:"
"""Simulators by networks; the name of a chain goes on with its bond dimension."""
MOST_TABLE_QUBITS = 16
"""Of a program whose tables are made operators, to know their bonds."""
OPERAND_BYTES = 4500.0
"""Of the description of an operand and its contraction, beside its array."""
COLOURED = ("matching", "banded", "toeplitz", "pauli")
"""Encodings whose whole register is simulated colour by colour."""


@dataclass(frozen=True)
class Sizes:
    """What a block encoding takes that is not made: of a stated system, or of one with an unknown more."""

    operator: Any
    name: str
    alpha: float
    register_size: int
    system_qubits: int
    ancilla_qubits: int
    symmetric: bool = True
    epsilon: float = 0.0
    gate_bytes: float = 0.0


@dataclass(frozen=True)
class Circuit:
    """One circuit of a round; `sizes` are those of `encoding`, but for kernel reflection, which adds an unknown."""

    encoding: Any
    sizes: Any
    queries: int
    columns: int
    program: Sequence[Gate] | None = None
    """The gates of one query, where they are known and not only their number of qubits."""

    @property
    def reflected(self) -> bool:
        """Kernel reflection: in every other query (b, 1) is left out of the projector."""
        return self.sizes is not self.encoding

    @property
    def qubits(self) -> int:
        return int(self.sizes.system_qubits + self.sizes.ancilla_qubits)

    @cached_property
    def derived(self) -> DerivedProgram:
        """What stands for gates that are not known."""
        return DerivedProgram(self.sizes.system_qubits, self.sizes.ancilla_qubits, self.reflected)

    @cached_property
    def exact(self) -> ExactCost:
        """As one network, in the order in time."""
        program, system = self.program, self.sizes.system_qubits
        if program is None:
            return exact_cost(lambda queries: self.derived.network(queries, self.columns))
        start = np.broadcast_to(0.0, (1 << system, self.columns))  # a shape: no array is made
        fused = small_operands(program)
        return exact_cost(lambda queries: network_of(fused, system, self.qubits, start, queries))

    @cached_property
    def operators(self) -> list[GateShape]:
        """What one query and its phase apply to a chain.

        Raises NotEnoughMemoryError where an operator has larger bonds than are made.
        """
        phase = replace(dense([self.sizes.system_qubits], []), last=self.qubits - 1, bond=2.0)
        few = self.encoding.name == "toeplitz" or self.qubits <= MOST_TABLE_QUBITS
        if self.program is not None and few:
            return [*chain_shapes(self.program), phase]
        shapes = self.derived.shapes
        widest = max(shape.width for shape in shapes)
        if widest > MOST_BOND:
            problem = f"a table of this size can need operators of bond {widest:.3g}, and {MOST_BOND} is the largest"
            raise NotEnoughMemoryError("bond_dimension", problem, "Use an encoding made of shifts")
        return [*shapes, phase]

    def bytes(self, name: str, bond: int, backend: Backend) -> float:
        """What the door of a solve checks before it starts; of tensor networks what their arrays take."""
        if name == EXACT:
            return self.exact.bytes + OPERAND_BYTES * self.exact.operands * self.queries
        if name.startswith(CHAIN):
            return chain_bytes(self.operators, self.qubits, bond) * self.columns
        start = np.broadcast_to(0.0, (self.sizes.operator.shape[0], self.columns))
        return max(Run(one, None, start).bytes_needed(name, backend) for one in (self.encoding, self.sizes))

    def setup(self, name: str, rates: SimulatorRates) -> float:
        """Simulated seconds before the first query: a gate program is made and fused in every round."""
        if name != "circuit":
            return 0.0
        prepared = rates.preparation_seconds * 4.0**self.sizes.system_qubits if self.reflected else 0.0
        return rates.program_latency + rates.program_seconds * 2.0**self.qubits + prepared

    def query(self, name: str, bond: int, rates: SimulatorRates) -> float:
        """Simulated seconds of one query on all columns."""
        k, n = self.columns, float(self.encoding.operator.shape[0])
        if name == EXACT:
            return rates.path_latency * self.exact.operands + rates.flop_seconds * self.exact.flops
        if name.startswith(CHAIN):
            sites, cubes = chain_cost(self.operators, self.qubits, bond)
            return k * (rates.site_latency * sites + rates.cube_seconds * cubes)
        if name == "circuit":
            return rates.gate_latency + k * rates.gate_seconds * 2.0**self.qubits
        projection = rates.projection_latency + k * rates.projection_seconds * n if self.reflected else 0.0
        if name == "subspace":
            product = _product(self.encoding.operator, rates)
            return projection + rates.query_latency + k * (product + rates.unknown_seconds * n)
        each = rates.coloured_seconds if self.encoding.name in COLOURED else rates.amplitude_seconds
        # of the dilation S is two products with matrices of order N, each with twice the columns
        products = 4 * rates.dense_entry_seconds * n * n if self.encoding.name == "dilation" else 0.0
        return projection + rates.register_latency + k * (each * float(self.sizes.register_size) + products)


def _product(operator: Any, rates: SimulatorRates) -> float:
    """Simulated seconds of a product with one complex column."""
    if isinstance(operator, KroneckerOperator):
        dense = not any(getattr(factor, "sparse", False) for factor in operator.factors)
    else:
        explicit = isinstance(operator, (ExplicitMatrix, StatedOperator))
        dense = isinstance(operator, GramOperator) or (explicit and not operator.sparse)
    each = rates.dense_entry_seconds if dense else rates.entry_seconds
    return float(each * operator.product_flops / 2)


@dataclass(frozen=True)
class Case:
    """All circuits of a solve: those of a round, one after the other, and the probes of a norm search."""

    encoding: str
    circuits: Sequence[Circuit]
    rounds: int
    search: int
    """Queries that are simulated before the first round."""

    @property
    def queries(self) -> int:
        return self.rounds * sum(circuit.queries for circuit in self.circuits) + self.search

    @property
    def qubits(self) -> int:
        return max(circuit.qubits for circuit in self.circuits)

    def bytes(self, name: str, bond: int, backend: Backend) -> float:
        return max(circuit.bytes(name, bond, backend) for circuit in self.circuits)

    def seconds(self, name: str, bond: int, rates: SimulatorRates) -> float:
        """Simulated seconds of the whole solve, phase factors and encoding made before."""
        queries = [circuit.query(name, bond, rates) for circuit in self.circuits]
        circuits = sum(c.setup(name, rates) + c.queries * q for c, q in zip(self.circuits, queries, strict=True))
        return self.rounds * (rates.round_seconds + circuits) + self.search * queries[0]


def case_of(name: str, system: LinearSystem, solver: str, encoding: str, backend: Backend) -> Case:
    """The case of the simulator of that name; raises CombinationError where there is none."""
    mode = name if name in ("subspace", "fused") else "circuit"
    stated = isinstance(system.operator, StatedOperator)
    chosen = "auto" if stated else _encoding_for(mode, encoding, system.operator)
    made: Any = make_solver(solver, encoding=chosen, mode="auto" if stated else mode)
    if stated:
        system = replace(system, encodings={"auto": _stated(mode, system)})
    posed = made.pose(system)
    method = made.method(posed, backend)
    epsilon, rounds = method.split()
    reflected, columns = solver == "kernel_reflection", posed.rhs.shape[1]
    formulation = getattr(method, "formulation", None)
    parts = [(method.encoding, method.queries(epsilon))]
    if isinstance(formulation, FactorByFactor):
        degrees = [polynomial.degree for polynomial in method.polynomials(epsilon)]
        parts = list(zip(formulation.factors, degrees, strict=True))
    circuits = [
        Circuit(
            one,
            grown(one) if reflected else one,
            queries,
            columns,
            _program(one, backend) if name.startswith(EXACT) and not reflected else None,
        )
        for one, queries in parts
    ]
    search = method.search()[0] // VOTES if reflected else 0  # one simulation tells what all votes of a probe do
    return Case(method.encoding.name, circuits, rounds, search)


def _program(encoding: Any, backend: Backend) -> Sequence[Gate] | None:
    """The gates of an encoding, if it has any and their tables can be made here; adders have none."""
    if not hasattr(encoding, "circuit"):
        return None
    if encoding.gate_bytes > backend.available_bytes():
        return None
    gates: Sequence[Gate] = encoding.circuit().gates
    return gates


def _encoding_for(mode: str, encoding: str, operator: Any) -> str:
    """What is asked for; gates need an encoding that has them, and that of a small dense matrix is one dense gate."""
    if mode != "circuit" or encoding != "auto":
        return encoding
    automatic = choose_encoding("auto", operator)
    return automatic if automatic in WITH_GATES and automatic != "dilation" else WITH_GATES[0]


def _stated(mode: str, system: LinearSystem) -> Sizes:
    """Walk where the register is kept entry by entry; where it is qubits matching, of at most 2d - 1 colours."""
    operator: Any = system.operator
    alpha, n, system_qubits = system.encodings["auto"].alpha, operator.size, qubits(operator.size)
    if mode != "circuit":
        return Sizes(operator, "walk", alpha, operator.nonzeros + 2 * n, system_qubits, qubits(n + 2))
    colours = max(2 * -(-operator.nonzeros // n) - 1, 1)
    ancillas = qubits(colours) + 1
    gate_bytes = PROGRAM_BYTES * 2.0 ** (system_qubits + ancillas)
    return Sizes(operator, "matching", alpha, 2 * colours * n, system_qubits, ancillas, gate_bytes=gate_bytes)


def grown(encoding: Any) -> Sizes:
    """The sizes of diag(A, 1/t), on which kernel reflection acts, and of the gate that prepares (b, 1)."""
    system, operator = encoding.system_qubits + 1, encoding.operator
    larger = StatedOperator(operator.shape[0] + 1, operator.nonzeros + 1, None, operator.backend)
    return Sizes(
        larger, encoding.name, encoding.alpha, encoding.register_size + 2, system, encoding.ancilla_qubits,
        gate_bytes=2 * encoding.gate_bytes + REFLECTION_BYTES * 4.0**system,
    )  # fmt: skip
