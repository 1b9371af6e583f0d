"""Counts instead of running: the queries of any solver's program, and what a gate program is made of.

What each gate is taken to cost (k targets, c controls, rotations to accuracy e at 3 log2(1/e) T gates, arXiv 1403.2975,
logical ANDs at 4 T gates, arXiv 1709.06648, uncomputed by measurement for none):
    h, s, x, y, z        Clifford; under controls c ANDs (h, s, y), or c - 1 ANDs and a CNOT (x, z)
    reflection           z under controls
    rz                   one rotation; under controls two, two CNOTs and c - 1 ANDs
    controlled_rz        the AND of its controls, one rotation between two CNOTs (its other half joins the last rz)
    excluded_rz          the same, for the state that a projector leaves out
    multiplexed_rz       2^(k-1) rotations and CNOTs
    prepare              2^k - 1 rotations and 2^k - 2 CNOTs; under c controls twice that, around a z on c + k qubits
    select               look the partner up, swap, and undo the look-up: 2 (2^k - 2) ANDs (arXiv 1805.03662)
    shift                for each of 2^i colours, the index above n qubits: j mod 2k by long division, twice, an adder
                         and a comparison (n ANDs each, arXiv 1709.06648): 2 n^2 + 2 n ANDs; or as select, if less
    add                  a constant adder on k qubits (arXiv 1709.06648): k - 1 ANDs, and c - 1 for its controls
    pauli                unary iteration over 2^i strings, the index above n qubits, with up to n CNOTs or CZs each
    unitary              any matrix: 4^k - 1 rotations and 23/48 4^k CNOTs (arXiv quant-ph/0406176): for validation only
A gate with the label of its inverse (..._dagger) costs the same.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..circuit import DAGGER, Circuit, Gate, PermutationGate, ShiftGate
from ..errors import ParameterError
from .base import Side

CLIFFORD = ("h", "s", "x", "y", "z", "i", "reflection")


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
    shape = (1, 1)

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
    """Blocks between the phases of QSVT sequences: controlled_rz gates, less one for each sequence (its rz)."""
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
    targets, label = len(gate.targets), gate.label.removesuffix(DAGGER)
    if isinstance(gate, PermutationGate):
        return _parts_of_table(gate, label)
    controls = len(gate.controls)
    if isinstance(gate, ShiftGate):
        ands = max(targets - 1, 0) + max(controls - 1, 0)
        return _Parts(ands=ands, cnots=5 * targets, depth=2 * ands + 1)
    if label in CLIFFORD:
        if not controls:
            return _Parts()
        ands = controls - 1 if label in ("x", "z", "reflection") else controls
        return _Parts(ands=ands, cnots=1, depth=2 * ands + 1)
    if label == "prepare":
        turns = (1 << targets) - 1
        if not controls:
            return _Parts(rotations=turns, cnots=turns - 1, depth=2 * turns)
        ands = controls + targets - 2
        return _Parts(2 * turns, ands, 2 * turns - 1, 4 * turns + 2 * ands + 1)
    if label in ("rz", "controlled_rz", "excluded_rz"):
        ands, turns = max(controls - 1, 0), 2 if label == "rz" and controls else 1
        return _Parts(turns, ands, 2, 2 * ands + turns + 2) if controls else _Parts(rotations=1)
    if label == "unitary":
        size = 4 ** (targets + controls)
        return _Parts(rotations=size - 1, cnots=23 * size // 48, depth=2 * size)
    raise _unknown(gate)


def _parts_of_table(gate: PermutationGate, label: str) -> _Parts:
    targets = len(gate.targets)
    if label == "multiplexed_rz":
        turns = 1 << (targets - 1)
        return _Parts(rotations=turns, cnots=turns if targets > 1 else 0, depth=2 * turns)
    look_up = 2 * max((1 << targets) - 2, 0)
    moved = _moved_qubits(gate)
    index = 1 << (targets - moved)
    if label == "shift":
        look_up = min(look_up, index * (2 * moved**2 + 2 * moved) + max(index - 2, 0)) if moved else 0
    if label in ("select", "shift"):
        return _Parts(ands=look_up, depth=max(look_up, 1))
    if label == "pauli":
        ands, cnots = max(index - 2, 0), index * moved
        return _Parts(ands=ands, cnots=cnots, depth=max(ands + cnots, 1))
    raise _unknown(gate)


def _moved_qubits(gate: PermutationGate) -> int:
    """Targets below the index: above them the permutation changes no bit."""
    if gate.permutation is None:
        return 0
    changed = int((gate.permutation ^ np.arange(len(gate.permutation))).max())
    return changed.bit_length()


def _unknown(gate: Gate) -> ParameterError:
    return ParameterError("gate", f"{gate.label!r} has no known cost", "See the table of backends/counting.py")


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
    known: dict[int, _Parts] = {}  # a block is the same gates again and again
    for gate in circuit.gates:
        parts = known.get(id(gate)) or known.setdefault(id(gate), _parts(gate))
        touched = gate.qubits
        end = max((busy_until[q] for q in touched), default=0) + parts.depth
        for q in touched:
            busy_until[q] = end
        gates[gate.label] += 1
        rotations += parts.rotations
        ands += parts.ands
        cnots += parts.cnots
    return Resources(
        qubits=circuit.num_qubits,
        queries=gates["controlled_rz"] - gates["rz"] if gates["controlled_rz"] else 0,
        gates=dict(gates),
        rotations=rotations,
        ands=ands,
        cnots=cnots,
        t_count=4 * ands + rotations * math.ceil(3 * math.log2(1 / rotation_error)),
        depth=max(busy_until, default=0),
    )
