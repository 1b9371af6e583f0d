"""Gate programs in standard gates: as OpenQASM 3 text, and as a Qiskit circuit of named boxes.

    reflection 1 - 2|w><w| (prepare)   V z V^dagger: V|0> = |w> by multiplexed Ry, z where every qubit is |0>
    diagonal                           multiplexed Rz from the highest qubit down, and a global phase
    multiplexed rotation               cx and rotations in the order of a Gray code (arXiv quant-ph/0404089)
    permutation                        swaps of two basis states: cx until they differ in one bit, then x under controls
    matrix on one qubit                Rz Ry Rz and a phase, or the gate's own name
Every step is exact, global phase included. Sizes grow like 2^k for gates on k qubits: for small cases, and for drawing.
"""

from __future__ import annotations

import cmath
import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .circuit import HADAMARD, S_GATE, Circuit, Gate, MatrixGate, PermutationGate, ShiftGate
from .errors import BackendUnavailableError, ParameterError

NAMED = {
    "h": HADAMARD,
    "s": S_GATE,
    "sdg": S_GATE.conj(),
    "x": np.array([[0, 1], [1, 0]]),
    "z": np.diag([1, -1]),
}
EXACT = 1e-14
"""Angles and differences below this are rounding."""


@dataclass(frozen=True)
class StandardGate:
    """h, s, sdg, x, z, ry, rz, p or gphase on one qubit (gphase: on none), where each control has its value."""

    name: str
    qubit: int | None = None
    angle: float | None = None
    controls: tuple[tuple[int, int], ...] = ()

    @property
    def qubits(self) -> tuple[int, ...]:
        own = () if self.qubit is None else (self.qubit,)
        return (*(q for q, _ in self.controls), *own)


def to_qasm3(circuit: Circuit) -> str:
    """The program as OpenQASM 3 text on `qubit[n] q`, q[0] the least significant bit of a basis index.

    Uses stdgates.inc, gphase, and the modifiers ctrl and negctrl; a comment names each gate of the program. Raises
    ParameterError for a dense unitary on several qubits that is no reflection: it has no short form in standard gates.

    >>> program = Circuit(2)
    >>> program.hadamard(0)
    >>> program.rz(0.5, 1, zeros=(0,))
    >>> print(to_qasm3(program))
    OPENQASM 3.0;
    include "stdgates.inc";
    qubit[2] q;
    // h
    h q[0];
    // controlled_rz
    negctrl @ rz(0.5) q[0], q[1];
    """
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', f"qubit[{circuit.num_qubits}] q;"]
    for gate in circuit:
        lines.append(f"// {gate.label}")
        lines += [_line(standard) for standard in standard_gates(gate)]
    return "\n".join(lines)


def to_qiskit(circuit: Circuit) -> Any:
    """The program as a qiskit.QuantumCircuit: a box with the gate's label for each gate that is not a standard one.

    `decompose()` of it opens the boxes. A dense unitary becomes a UnitaryGate. Raises BackendUnavailableError where
    Qiskit is not installed.
    """
    qiskit = _qiskit()
    program = qiskit.QuantumCircuit(circuit.num_qubits)
    for gate in circuit:
        _append(program, gate)
    return program


def standard_gates(gate: Gate) -> list[StandardGate]:
    """The same gate in standard gates. Raises ParameterError for a dense unitary that is no reflection."""
    if isinstance(gate, PermutationGate):
        made = [] if gate.permutation is None else list(_permutation(gate.permutation, gate.targets))
        return made if gate.diagonal is None else [*made, *_diagonal(gate.diagonal, gate.targets)]
    if isinstance(gate, ShiftGate):
        return [standard for flip in gate.elementary() for standard in standard_gates(flip)]
    controls = tuple(zip(gate.controls, gate.control_values, strict=True))
    if len(gate.targets) == 1:
        return list(_one_qubit(gate.matrix, gate.targets[0], controls))
    axis = _reflection_axis(gate.matrix)
    if axis is None:
        raise ParameterError(
            "circuit",
            f"{gate.label!r} is a dense unitary on {len(gate.targets)} qubits, about 4^{len(gate.targets)} rotations",
            "Export an encoding made of standard gates, such as matching, or use to_qiskit, which keeps it as a matrix",
        )
    # what is not controlled undoes itself
    prepare = list(_state_preparation(axis, gate.targets))
    return [*_inverted(prepare), *_where_all_zero(gate.targets, controls), *prepare]


def _line(gate: StandardGate) -> str:
    modifiers = "".join("ctrl @ " if value else "negctrl @ " for _, value in gate.controls)
    if gate.name == "x" and modifiers == "ctrl @ ":
        return f"cx q[{gate.controls[0][0]}], q[{gate.qubit}];"
    angle = "" if gate.angle is None else f"({gate.angle!r})"
    qubits = ", ".join(f"q[{q}]" for q in gate.qubits)
    return f"{modifiers}{gate.name}{angle} {qubits}".rstrip() + ";"


# --- decompositions


def _one_qubit(matrix: np.ndarray, qubit: int, controls: tuple[tuple[int, int], ...]) -> Iterator[StandardGate]:
    for name, named in NAMED.items():
        if abs(matrix - named).max() <= EXACT:
            yield StandardGate(name, qubit, controls=controls)
            return
    # U = exp(i phase) Rz(a) Ry(b) Rz(c)
    phase = cmath.phase(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]) / 2
    special = np.asarray(matrix) * cmath.exp(-1j * phase)
    b = 2 * math.atan2(abs(special[1, 0]), abs(special[0, 0]))
    total, difference = 2 * cmath.phase(special[1, 1]), 2 * cmath.phase(special[1, 0])
    if abs(special[0, 0]) <= EXACT:
        total = 0.0
    if abs(special[1, 0]) <= EXACT:
        difference = 0.0
    turns = [("rz", (total - difference) / 2), ("ry", b), ("rz", (total + difference) / 2)]
    if abs(b) <= EXACT:
        turns = [("rz", total)]
    for name, angle in turns:
        if abs(angle) > EXACT:
            yield StandardGate(name, qubit, angle, controls)
    yield from _phase(phase, controls)


def _phase(angle: float, controls: tuple[tuple[int, int], ...]) -> Iterator[StandardGate]:
    """exp(i angle) where every control has its value."""
    if abs(angle) <= EXACT:
        return
    if not controls:
        yield StandardGate("gphase", angle=angle)
        return
    *others, (qubit, value) = controls
    flips = [] if value else [StandardGate("x", qubit)]
    yield from flips
    yield StandardGate("p", qubit, angle, tuple(others))
    yield from flips


def _where_all_zero(qubits: Sequence[int], controls: tuple[tuple[int, int], ...]) -> list[StandardGate]:
    """-1 where all of these qubits are |0>."""
    target, *others = qubits
    flip = StandardGate("x", target)
    return [flip, StandardGate("z", target, controls=(*controls, *((q, 0) for q in others))), flip]


def _reflection_axis(matrix: np.ndarray) -> np.ndarray | None:
    """w with matrix = 1 - 2|w><w|, real; None where it is no such reflection."""
    projector = (np.eye(len(matrix)) - matrix) / 2
    place = int(abs(projector.diagonal()).argmax())
    if np.iscomplexobj(matrix) or abs(projector.trace() - 1) > 1e-12 or not projector[place, place] > 0:
        return None
    axis: np.ndarray = projector[:, place] / math.sqrt(projector[place, place])
    return axis if abs(np.outer(axis, axis) - projector).max() <= 1e-12 else None


def _state_preparation(vector: np.ndarray, qubits: Sequence[int]) -> Iterator[StandardGate]:
    """V with V|0> = sum_l vector[l]|l>, real: Ry on the highest qubit, then on the next for each of its values, ..."""
    for level in range(len(qubits) - 1, -1, -1):
        pairs = np.asarray(vector).reshape(-1, 2, 1 << level)
        # signs are those of the last level, where a pair is two amplitudes
        low, high = (pairs[:, 0, 0], pairs[:, 1, 0]) if level == 0 else np.linalg.norm(pairs, axis=2).T
        yield from _multiplexed("ry", 2 * np.arctan2(high, low), qubits[level], qubits[level + 1 :])


def _diagonal(values: np.ndarray, qubits: Sequence[int]) -> Iterator[StandardGate]:
    angles = np.angle(values)
    for level in range(len(qubits) - 1, -1, -1):
        low, high = np.split(angles, 2)
        yield from _multiplexed("rz", high - low, qubits[level], qubits[:level])
        angles = (low + high) / 2
    yield from _phase(float(angles[0]), ())


def _multiplexed(axis: str, angles: np.ndarray, target: int, controls: Sequence[int]) -> Iterator[StandardGate]:
    """A rotation by angles[index of the controls]: 2^c rotations with a cx behind each, in Gray code order."""
    count = len(angles)
    if abs(angles).max() <= EXACT:
        return
    gray = np.arange(count) ^ (np.arange(count) >> 1)
    # a rotation with an odd number of cx to come turns backwards: a Walsh-Hadamard transform of the angles
    for c in range(len(controls)):
        low, high = np.moveaxis(angles.reshape(-1, 2, 1 << c), 1, 0)
        angles = np.stack([low + high, low - high], axis=1).reshape(-1)
    for step, angle in enumerate(angles[gray] / count):
        if abs(angle) > EXACT:
            yield StandardGate(axis, target, float(angle))
        if controls:
            bit = min(((step + 1) & -(step + 1)).bit_length() - 1, len(controls) - 1)
            yield StandardGate("x", target, controls=((controls[bit], 1),))


def _permutation(permutation: np.ndarray, qubits: Sequence[int]) -> Iterator[StandardGate]:
    """|permutation[i]> becomes |i>: every cycle as swaps of two basis states."""
    goes_to = np.argsort(permutation).tolist()
    for start in range(len(goes_to)):
        # (start, a, b, ...) is: swap start with the last, ..., with a, each of which is then in its place
        cycle = [start]
        while goes_to[cycle[-1]] != start:
            cycle.append(goes_to[cycle[-1]])
        for index in cycle:
            goes_to[index] = index
        for other in cycle[1:]:
            yield from _swap(start, other, qubits)


def _swap(one: int, other: int, qubits: Sequence[int]) -> Iterator[StandardGate]:
    """Exchanges two basis states."""
    differing = [bit for bit in range(len(qubits)) if (one ^ other) >> bit & 1]
    pivot, rest = differing[0], differing[1:]
    zero = other if one >> pivot & 1 else one  # the one that cx from the pivot leaves alone
    aligned = [StandardGate("x", qubits[bit], controls=((qubits[pivot], 1),)) for bit in rest]
    controls = tuple((q, zero >> bit & 1) for bit, q in enumerate(qubits) if bit != pivot)
    yield from aligned
    yield StandardGate("x", qubits[pivot], controls=controls)
    yield from aligned


def _inverted(gates: Sequence[StandardGate]) -> list[StandardGate]:
    """The inverse of a state preparation: rotations backwards; x is its own inverse."""
    return [gate if gate.angle is None else replace(gate, angle=-gate.angle) for gate in reversed(gates)]


# --- Qiskit


def _qiskit() -> Any:
    try:
        return importlib.import_module("qiskit")
    except ImportError as problem:
        raise BackendUnavailableError(
            "to_qiskit", f"Qiskit cannot be imported ({problem})", "Run pip install 'qnewton-gpu[interop]'"
        ) from None


def _append(program: Any, gate: Gate) -> None:
    qiskit = _qiskit()
    if isinstance(gate, MatrixGate) and len(gate.targets) > 1 and _reflection_axis(gate.matrix) is None:
        box = qiskit.circuit.library.UnitaryGate(gate.matrix, label=gate.label)
        if gate.controls:
            box = box.control(len(gate.controls), ctrl_state=_bits(gate.control_values), annotated=False)
        program.append(box, [*gate.controls, *gate.targets])
        return
    standard = standard_gates(gate)
    if len(standard) == 1 and isinstance(gate, MatrixGate):
        _append_standard(program, standard[0], {q: q for q in range(program.num_qubits)})
        return
    box = qiskit.QuantumCircuit(len(gate.qubits), name=gate.label)
    place = {qubit: index for index, qubit in enumerate(gate.qubits)}
    for each in standard:
        _append_standard(box, each, place)
    program.append(box.to_gate(label=gate.label), list(gate.qubits))


def _append_standard(program: Any, gate: StandardGate, place: dict[int, int]) -> None:
    if gate.qubit is None:
        program.global_phase += gate.angle
        return
    library = importlib.import_module("qiskit.circuit.library")
    kinds = {"h": "HGate", "s": "SGate", "sdg": "SdgGate", "x": "XGate", "z": "ZGate",
             "ry": "RYGate", "rz": "RZGate", "p": "PhaseGate"}  # fmt: skip
    kind = getattr(library, kinds[gate.name])
    made = kind() if gate.angle is None else kind(gate.angle)
    if gate.controls:
        made = made.control(
            len(gate.controls), ctrl_state=_bits([value for _, value in gate.controls]), annotated=False
        )
    program.append(made, [place[q] for q in gate.qubits])


def _bits(values: Sequence[int]) -> int:
    return sum(value << bit for bit, value in enumerate(values))
