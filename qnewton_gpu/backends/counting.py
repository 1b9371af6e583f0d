"""Counts a gate program instead of running it: qubits, queries, gates by kind, depth, and an estimate of T gates.

What each gate is taken to cost (k targets or controls, rotations to accuracy e at 3 log2(1/e) T gates, arXiv 1403.2975,
logical ANDs at 4 T gates, arXiv 1709.06648, uncomputed by measurement for none):
    h, s, s_dagger, z    Clifford
    rz                   one rotation
    controlled_rz        the AND of its controls, one rotation between two CNOTs (its other half joins the last rz)
    multiplexed_rz       2^k rotations and 2^k CNOTs over k controls
    prepare              2^k - 1 rotations and 2^k - 2 CNOTs on k qubits
    select               look the partner up, swap, and undo the look-up: 2 (2^k - 2) ANDs (arXiv 1805.03662)
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ..circuit import Circuit, Gate, MatrixGate
from ..errors import ParameterError
from .base import Side

CLIFFORD = ("h", "s", "s_dagger", "z")


@dataclass(frozen=True)
class OneByOne:
    """What an encoding of one amplitude encodes."""

    shape: tuple[int, int] = (1, 1)
    nonzeros: int = 1
    symmetric: bool = True


class CountingEncoding:
    """Stands for a block encoding with one amplitude: a solver's program runs on it in no time, its queries counted.

    T = S = 1, so that T_L^t S T_R = 1; alpha and the qubits are those of `encoding`. `queries` counts S (reflect) and
    products with A/alpha or its transpose, which stand for a query each; `lifts` and `lowers` count T and T^t.
    """

    register_size = 1

    def __init__(self, encoding: Any) -> None:
        self.name: str = encoding.name
        self.alpha: float = encoding.alpha
        self.epsilon: float = getattr(encoding, "epsilon", 0.0)
        self.system_qubits: int = encoding.system_qubits
        self.ancilla_qubits: int = encoding.ancilla_qubits
        self.symmetric: bool = encoding.symmetric
        self.operator = OneByOne(symmetric=encoding.symmetric)
        self.queries = self.lifts = self.lowers = 0

    def lift(self, v: Any, side: Side = "right") -> Any:
        self.lifts += 1
        return v

    def lower(self, psi: Any, side: Side = "right") -> Any:
        self.lowers += 1
        return psi

    def reflect(self, psi: Any) -> Any:
        self.queries += 1
        return psi

    def matvec(self, v: Any) -> Any:
        self.queries += 1
        return v.copy()  # as of every encoding: the caller may overwrite it

    rmatvec = matvec

    def inner(self, x: Any, y: Any, side: Side) -> Any:
        return (x.conj() * y).sum(axis=0)


@dataclass(frozen=True)
class Resources:
    """What a program needs. `gates` counts the program's own gates; the rest counts what they are made of."""

    qubits: int
    queries: int
    gates: dict[str, int]
    rotations: int
    ands: int
    cnots: int
    t_count: int
    depth: int


@dataclass(frozen=True)
class _Parts:
    rotations: int = 0
    ands: int = 0
    cnots: int = 0
    depth: int = 1


def _parts(gate: Gate) -> _Parts:
    targets = len(gate.targets)
    if gate.label in CLIFFORD:
        return _Parts()
    if gate.label == "multiplexed_rz":
        turns = 1 << (targets - 1)
        return _Parts(rotations=turns, cnots=turns if targets > 1 else 0, depth=2 * turns)
    if gate.label == "prepare":
        turns = (1 << targets) - 1
        return _Parts(rotations=turns, cnots=turns - 1, depth=2 * turns)
    if gate.label == "rz":
        return _Parts(rotations=1)
    if gate.label == "controlled_rz":
        ands = len(gate.controls) - 1 if isinstance(gate, MatrixGate) else 0
        return _Parts(rotations=1, ands=ands, cnots=2, depth=2 * ands + 3)
    if gate.label == "select":
        ands = 2 * max((1 << targets) - 2, 0)
        return _Parts(ands=ands, depth=max(ands, 1))
    raise ParameterError("gate", f"{gate.label!r} has no known cost", "See the table of backends/counting.py")


def count(circuit: Circuit, rotation_error: float = 1e-10) -> Resources:
    """Resources of a program; each rotation is synthesised to `rotation_error`. Raises ParameterError.

    >>> from qnewton_gpu.circuit import Circuit
    >>> program = Circuit(3)
    >>> program.rz(0.3, 2, zeros=(0, 1))
    >>> resources = count(program)
    >>> resources.ands, resources.rotations, resources.t_count
    (1, 1, 104)
    """
    if not 0 < rotation_error < 1:
        raise ParameterError("rotation_error", f"{rotation_error!r} is not between 0 and 1", "Use for example 1e-10")
    busy_until = [0] * circuit.num_qubits
    gates: Counter[str] = Counter()
    rotations = ands = cnots = 0
    for gate in circuit.gates:
        parts = _parts(gate)
        touched = (*gate.targets, *(gate.controls if isinstance(gate, MatrixGate) else ()))
        end = max((busy_until[q] for q in touched), default=0) + parts.depth
        for q in touched:
            busy_until[q] = end
        gates[gate.label] += 1
        rotations += parts.rotations
        ands += parts.ands
        cnots += parts.cnots
    return Resources(
        qubits=circuit.num_qubits,
        queries=gates["select"],
        gates=dict(gates),
        rotations=rotations,
        ands=ands,
        cnots=cnots,
        t_count=4 * ands + rotations * math.ceil(3 * math.log2(1 / rotation_error)),
        depth=max(busy_until, default=0),
    )
