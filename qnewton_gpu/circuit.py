"""A gate program: what a circuit is, once, for every backend that runs it, counts it or exports it.

Qubit 0 is the least significant bit of a basis index, and targets[0] the least significant bit of a gate's own index,
as in cuStateVec.
"""

from __future__ import annotations

import cmath
import math
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
    """Gates in the order in which they act."""

    num_qubits: int
    gates: list[Gate] = field(default_factory=list)

    def append(self, gate: Gate) -> None:
        qubits = (*gate.targets, *(gate.controls if isinstance(gate, MatrixGate) else ()))
        if len(set(qubits)) != len(qubits) or not all(0 <= q < self.num_qubits for q in qubits):
            raise ParameterError("gate", f"acts on qubits {qubits} of {self.num_qubits}", "Use each qubit once")
        self.gates.append(gate)

    def extend(self, other: Circuit) -> None:
        """Append another circuit on the same qubits."""
        for gate in other.gates:
            self.append(gate)

    def hadamard(self, target: int) -> None:
        self.append(MatrixGate("h", HADAMARD, (target,)))

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
        self.hadamard(target)
        # R_z multiplexed over the controls; the target is the most significant bit of the diagonal
        diagonal = np.concatenate([np.exp(1j * angle), np.exp(-1j * angle)])
        self.append(PermutationGate("multiplexed_rz", (*controls, target), diagonal=diagonal))
        self.hadamard(target)
        self.append(MatrixGate("s", S_GATE, (target,)))
        self.append(MatrixGate("z", np.diag([1, -1]), (target,)))

    def permute(self, permutation: np.ndarray, targets: Sequence[int], label: str) -> None:
        """new[i] = old[permutation[i]] on the amplitudes of the targets."""
        self.append(PermutationGate(label, tuple(targets), permutation=np.asarray(permutation, dtype=np.int64)))

    def rz(self, angle: float, target: int, zeros: Sequence[int] = ()) -> None:
        """exp(-i angle Z/2) on the target where every qubit of `zeros` is |0>."""
        half = cmath.exp(-0.5j * angle)
        label = "controlled_rz" if zeros else "rz"
        gate = MatrixGate(label, np.diag([half, half.conjugate()]), (target,), tuple(zeros), (0,) * len(zeros))
        self.append(gate)


def qsvt_circuit(block: Circuit, system_qubits: int, phases: np.ndarray) -> Circuit:
    """The real part of the QSVT sequence of a symmetric block encoding: |0> x v -> |0> x Re(P(A/alpha)) v + failure.

    phi_d comes first, then block, phi_(d-1), ..., block, phi_0; `phases` are reflection phases. `block` is real, with
    (<0| x I) U (|0> x I) = A/alpha and the ancillas above the system. One more qubit, the most significant, runs phi in
    its |0> and -phi in its |1>: between two Hadamard gates that leaves the real part (arXiv 1806.01838, corollary 18).
    A phase exp(i phi Z x (2 Pi - 1)) is a rotation where Pi holds; the other half of all of them commutes to the end.
    """
    ancillas, real_part = range(system_qubits, block.num_qubits), block.num_qubits
    program = Circuit(block.num_qubits + 1)
    program.hadamard(real_part)
    for k, phi in enumerate(phases[::-1]):
        if k:
            program.extend(block)
        program.rz(-4 * float(phi), real_part, zeros=ancillas)
    program.rz(2 * math.fsum(phases), real_part)
    program.hadamard(real_part)
    return program
