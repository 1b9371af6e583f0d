"""A gate program: what a circuit is, once, for every backend that runs it, counts it or exports it.

Qubit 0 is the least significant bit of a basis index, and targets[0] the least significant bit of a gate's own index,
as in cuStateVec.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .errors import ParameterError

HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
PAULI_X = np.array([[0.0, 1.0], [1.0, 0.0]])
S_GATE = np.diag([1, 1j])
DAGGER = "_dagger"
PARAMETRIC = ("rz", "controlled_rz", "multiplexed_rz")
"""Labels of rotations, whose inverse is a rotation by the opposite angle."""


@dataclass(frozen=True)
class MatrixGate:
    """A 2^k x 2^k unitary on k targets, applied where every control qubit has its value."""

    label: str
    matrix: np.ndarray
    targets: tuple[int, ...]
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()

    @property
    def qubits(self) -> tuple[int, ...]:
        return self.targets + self.controls

    def inverse(self) -> MatrixGate:
        adjoint = self.matrix.conj().T
        return replace(self, label=_inverse_label(self.label, np.array_equal(adjoint, self.matrix)), matrix=adjoint)

    def controlled(self, qubit: int) -> MatrixGate:
        """The gate where `qubit` is |1>, nothing where it is |0>."""
        return replace(self, controls=(*self.controls, qubit), control_values=(*self.control_values, 1))


@dataclass(frozen=True)
class PermutationGate:
    """new[i] = diagonal[i] old[permutation[i]] on the 2^k amplitudes of k targets; either may be left out."""

    label: str
    targets: tuple[int, ...]
    permutation: np.ndarray | None = None
    diagonal: np.ndarray | None = None

    @property
    def qubits(self) -> tuple[int, ...]:
        return self.targets

    def inverse(self) -> PermutationGate:
        size = 1 << len(self.targets)
        old = np.arange(size) if self.permutation is None else self.permutation
        phase = np.ones(size) if self.diagonal is None else self.diagonal
        new, opposite = np.argsort(old), phase.conj()[np.argsort(old)]
        label = _inverse_label(self.label, np.array_equal(new, old) and np.array_equal(opposite, phase))
        permutation = None if self.permutation is None else new
        return PermutationGate(label, self.targets, permutation, None if self.diagonal is None else opposite)

    def controlled(self, qubit: int) -> PermutationGate:
        """The gate where `qubit`, one more target, is |1>, and nothing where it is |0>."""
        size = 1 << len(self.targets)
        permutation, diagonal = self.permutation, self.diagonal
        if permutation is not None:
            permutation = np.concatenate([np.arange(size), size + permutation])
        if diagonal is not None:
            diagonal = np.concatenate([np.ones(size), diagonal])
        return PermutationGate(self.label, (*self.targets, qubit), permutation, diagonal)


@dataclass(frozen=True)
class ShiftGate:
    """|j> -> |j + amount mod 2^k> on k targets, where every control qubit has its value: an adder of a constant.

    It needs no table: k multi-controlled X for each bit of the amount, or a matrix-product operator of bond 2.
    """

    label: str
    targets: tuple[int, ...]
    amount: int
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()

    @property
    def qubits(self) -> tuple[int, ...]:
        return self.targets + self.controls

    def inverse(self) -> ShiftGate:
        return replace(self, label=_inverse_label(self.label, False), amount=-self.amount)

    def controlled(self, qubit: int) -> ShiftGate:
        """The gate where `qubit` is |1>, nothing where it is |0>."""
        return replace(self, controls=(*self.controls, qubit), control_values=(*self.control_values, 1))

    @cached_property
    def table(self) -> PermutationGate:
        """The same as a permutation of the 2^k amplitudes of targets and controls, for registers that hold them all."""
        size = 1 << len(self.targets)
        index = np.arange(size << len(self.controls))
        value = sum(v << place for place, v in enumerate(self.control_values))
        old = np.where(index // size == value, index - index % size + (index - self.amount) % size, index)
        return PermutationGate(self.label, self.qubits, permutation=old)

    def elementary(self) -> list[MatrixGate]:
        """The same as X gates under controls: adding 2^s flips bit i where the bits s..i-1 are all one."""
        size = 1 << len(self.targets)
        amount = self.amount % size
        backwards = amount > size // 2  # x - y is (x + y)^-1: fewer bits of the amount are set
        gates = []
        for s in range(len(self.targets)):
            if not ((size - amount if backwards else amount) >> s) & 1:
                continue
            for i in range(len(self.targets) - 1, s - 1, -1):
                below = self.targets[s:i]
                values = self.control_values + (1,) * len(below)
                gates.append(MatrixGate("x", PAULI_X, (self.targets[i],), self.controls + below, values))
        return gates[::-1] if backwards else gates


def _inverse_label(label: str, its_own_inverse: bool) -> str:
    if its_own_inverse or label in PARAMETRIC:
        return label
    return label.removesuffix(DAGGER) if label.endswith(DAGGER) else label + DAGGER


Gate = MatrixGate | PermutationGate | ShiftGate


@dataclass
class Circuit:
    """Gates in the order in which they act."""

    num_qubits: int
    gates: list[Gate] = field(default_factory=list)

    def __iter__(self) -> Iterator[Gate]:
        return iter(self.gates)

    def append(self, gate: Gate) -> None:
        qubits = gate.qubits
        if len(set(qubits)) != len(qubits) or not all(0 <= q < self.num_qubits for q in qubits):
            raise ParameterError("gate", f"acts on qubits {qubits} of {self.num_qubits}", "Use each qubit once")
        self.gates.append(gate)

    def extend(self, other: Circuit) -> None:
        """Append another circuit on the same qubits."""
        for gate in other.gates:
            self.append(gate)

    def inverse(self) -> Circuit:
        """U^dagger: the inverse gates in the opposite order."""
        return Circuit(self.num_qubits, [gate.inverse() for gate in reversed(self.gates)])

    def controlled(self, qubit: int) -> Circuit:
        """I where `qubit` is |0> and U where it is |1>: every gate gets it as a control."""
        program = Circuit(max(self.num_qubits, qubit + 1))
        for gate in self.gates:
            program.append(gate.controlled(qubit))
        return program

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

    def shift(
        self, amount: int, targets: Sequence[int], controls: Sequence[int] = (), control_values: Sequence[int] = ()
    ) -> None:
        """|j> -> |j + amount mod 2^k> on the targets, where every control has its value."""
        self.append(ShiftGate("add", tuple(targets), int(amount), tuple(controls), tuple(control_values)))

    def rz(self, angle: float, target: int, zeros: Sequence[int] = ()) -> None:
        """exp(-i angle Z/2) on the target where every qubit of `zeros` is |0>."""
        self.append(rz_gate(angle, target, tuple(zeros)))


def rz_gate(angle: float, target: int, zeros: tuple[int, ...] = ()) -> MatrixGate:
    """exp(-i angle Z/2) on the target where every qubit of `zeros` is |0>."""
    half = cmath.exp(-0.5j * angle)
    label = "controlled_rz" if zeros else "rz"
    return MatrixGate(label, np.diag([half, half.conjugate()]), (target,), zeros, (0,) * len(zeros))


def qsvt_circuit(block: Circuit, system_qubits: int, phases: np.ndarray) -> Circuit:
    """The real part of the QSVT sequence of a symmetric block encoding: |0> x v -> |0> x Re(P(A/alpha)) v + failure.

    phi_d comes first, then block, phi_(d-1), ..., block, phi_0; `phases` are reflection phases. `block` is real, with
    (<0| x I) U (|0> x I) = A/alpha and the ancillas above the system. One more qubit, the most significant, runs phi in
    its |0> and -phi in its |1>: between two Hadamard gates that leaves the real part (arXiv 1806.01838, corollary 18).
    A phase exp(i phi Z x (2 Pi - 1)) is a rotation where Pi holds; the other half of all of them commutes to the end.
    """
    return Circuit(block.num_qubits + 1, list(qsvt_gates(block.gates, block.num_qubits, system_qubits, phases)))


def branch_gates(block: Sequence[Any], block_qubits: int, system_qubits: int, phases: np.ndarray) -> Iterator[Any]:
    """What `qsvt_gates` do where the real-part qubit is |0>, but for the factor exp(-i sum phases): psi_phi.

    Where it is |1> they leave psi_(-phi), the complex conjugate, because the block and the start are real: one of the
    two is all that has to be simulated.
    """
    ancilla, *others = range(system_qubits, block_qubits)
    for k, phi in enumerate(phases[::-1]):
        if k:
            yield from block
        phase = np.diag([cmath.exp(2j * float(phi)), 1.0])
        yield MatrixGate("controlled_phase", phase, (ancilla,), tuple(others), (0,) * len(others))


def qsvt_gates(block: Sequence[Any], block_qubits: int, system_qubits: int, phases: np.ndarray) -> Iterator[Any]:
    """The gates of `qsvt_circuit` one by one, so that no memory grows with the degree; `block` may be fused gates."""
    ancillas, real_part = tuple(range(system_qubits, block_qubits)), block_qubits
    hadamard = MatrixGate("h", HADAMARD, (real_part,))
    yield hadamard
    for k, phi in enumerate(phases[::-1]):
        if k:
            yield from block
        yield rz_gate(-4 * float(phi), real_part, ancillas)
    yield rz_gate(2 * math.fsum(phases), real_part)
    yield hadamard
