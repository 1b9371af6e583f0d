"""A gate program: what a circuit is, once, for every backend that runs it, counts it or exports it.

Qubit 0 is the least significant bit of a basis index, and targets[0] the least significant bit of a gate's own index,
as in cuStateVec.
"""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .errors import ParameterError

HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
S_GATE = np.diag([1, 1j])


@dataclass(frozen=True)
class MatrixGate:
    """A 2^k x 2^k unitary on k targets, applied where every control qubit has its value."""

    label: str
    matrix: np.ndarray
    targets: tuple[int, ...]
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()


@dataclass(frozen=True)
class PermutationGate:
    """new[i] = diagonal[i] old[permutation[i]] on the 2^k amplitudes of k targets; either may be left out."""

    label: str
    targets: tuple[int, ...]
    permutation: np.ndarray | None = None
    diagonal: np.ndarray | None = None


Gate = MatrixGate | PermutationGate


@dataclass
class Circuit:
    """Gates in the order in which they act, and a global phase."""

    num_qubits: int
    gates: list[Gate] = field(default_factory=list)
    global_phase: float = 0.0

    def append(self, gate: Gate) -> None:
        qubits = (*gate.targets, *(gate.controls if isinstance(gate, MatrixGate) else ()))
        if len(set(qubits)) != len(qubits) or not all(0 <= q < self.num_qubits for q in qubits):
            raise ParameterError("gate", f"acts on qubits {qubits} of {self.num_qubits}", "Use each qubit once")
        self.gates.append(gate)

    def extend(self, other: Circuit) -> None:
        """Append another circuit on the same qubits."""
        for gate in other.gates:
            self.append(gate)
        self.global_phase += other.global_phase

    def prepare(self, amplitude: np.ndarray, targets: Sequence[int]) -> None:
        """The Householder reflection that takes |0> to sum_l amplitude[l] |l> (real, unit norm); its own inverse."""
        if not targets:
            return
        w = -np.asarray(amplitude, dtype=float)
        w[0] += 1
        norm = float(w @ w)
        matrix = np.eye(len(w)) - (2 / norm * np.outer(w, w) if norm > 1e-30 else 0.0)
        self.append(MatrixGate("prepare", matrix, tuple(targets)))

    def multiplexed_reflection(self, theta: np.ndarray, target: int, controls: Sequence[int]) -> None:
        """[[cos t, sin t], [sin t, -cos t]] on the target, t = theta[index of the controls]: Z R_y(-2t)."""
        angle = np.asarray(theta, dtype=float).reshape(-1)
        self.append(MatrixGate("s_dagger", S_GATE.conj(), (target,)))
        self.append(MatrixGate("h", HADAMARD, (target,)))
        # R_z multiplexed over the controls; the target is the most significant bit of the diagonal
        diagonal = np.concatenate([np.exp(1j * angle), np.exp(-1j * angle)])
        self.append(PermutationGate("multiplexed_rz", (*controls, target), diagonal=diagonal))
        self.append(MatrixGate("h", HADAMARD, (target,)))
        self.append(MatrixGate("s", S_GATE, (target,)))
        self.append(MatrixGate("z", np.diag([1, -1]), (target,)))

    def permute(self, permutation: np.ndarray, targets: Sequence[int], label: str) -> None:
        """new[i] = old[permutation[i]] on the amplitudes of the targets."""
        self.append(PermutationGate(label, tuple(targets), permutation=np.asarray(permutation, dtype=np.int64)))

    def phase_on_zero(self, phi: float, qubits: Sequence[int]) -> None:
        """exp(i phi (2 Pi - 1)) with Pi the projector on |0...0> of these qubits: one controlled phase."""
        self.global_phase -= phi
        if not qubits:
            self.global_phase += 2 * phi
            return
        matrix = np.diag([cmath.exp(2j * phi), 1])
        controls = tuple(qubits[1:])
        self.append(MatrixGate("controlled_phase", matrix, (qubits[0],), controls, (0,) * len(controls)))


def qsvt_circuit(block: Circuit, system_qubits: int, phases: np.ndarray) -> Circuit:
    """The QSVT sequence of a symmetric block encoding: phi_d first, then block, phi_(d-1), ..., block, phi_0.

    `block` has (<0| x I) U (|0> x I) = A/alpha with the ancillas above the system; `phases` are reflection phases.
    """
    ancillas = tuple(range(system_qubits, block.num_qubits))
    program = Circuit(block.num_qubits)
    for k, phi in enumerate(phases[::-1]):
        if k:
            program.extend(block)
        program.phase_on_zero(float(phi), ancillas)
    return program
