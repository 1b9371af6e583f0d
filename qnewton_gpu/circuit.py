"""A gate program: what a circuit is, once, for every backend that runs it, counts it or exports it.

Qubit 0 is the least significant bit of a basis index, and targets[0] the least significant bit of a gate's own index,
as in cuStateVec.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from .errors import ParameterError

HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
PAULI_X = np.array([[0.0, 1.0], [1.0, 0.0]])
S_GATE = np.diag([1, 1j])
DAGGER = "_dagger"
PARAMETRIC = ("rz", "controlled_rz", "excluded_rz", "multiplexed_rz")
"""Labels of rotations, whose inverse is a rotation by the opposite angle."""


class Controllable:
    """What gates share that act where every control qubit has its value."""

    targets: tuple[int, ...]
    controls: tuple[int, ...]
    control_values: tuple[int, ...]

    @property
    def qubits(self) -> tuple[int, ...]:
        return self.targets + self.controls

    def controlled(self, qubit: int, value: int = 1) -> Self:
        """The gate where `qubit` has this value, nothing where it has the other one."""
        more = {"controls": (*self.controls, qubit), "control_values": (*self.control_values, value)}
        return replace(self, **more)  # type: ignore[type-var]


@dataclass(frozen=True)
class MatrixGate(Controllable):
    """A 2^k x 2^k unitary on k targets, applied where every control qubit has its value."""

    label: str
    matrix: np.ndarray
    targets: tuple[int, ...]
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()

    def inverse(self) -> MatrixGate:
        adjoint = self.matrix.conj().T
        return replace(self, label=_inverse_label(self.label, np.array_equal(adjoint, self.matrix)), matrix=adjoint)


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

    def controlled(self, qubit: int, value: int = 1) -> PermutationGate:
        """The gate where `qubit`, one more target, has this value, and nothing where it has the other one."""
        size = 1 << len(self.targets)
        permutation, diagonal = self.permutation, self.diagonal
        if permutation is not None:
            halves = [np.arange(size), permutation] if value else [permutation, np.arange(size)]
            permutation = np.concatenate([halves[0], size + halves[1]])
        if diagonal is not None:
            ones = np.ones(size)
            diagonal = np.concatenate([ones, diagonal] if value else [diagonal, ones])
        return PermutationGate(self.label, (*self.targets, qubit), permutation, diagonal)


@dataclass(frozen=True)
class ShiftGate(Controllable):
    """|j> -> |j + amount mod 2^k> on k targets, where every control qubit has its value: an adder of a constant.

    It needs no table: k multi-controlled X for each bit of the amount, or a matrix-product operator of bond 2.
    """

    label: str
    targets: tuple[int, ...]
    amount: int
    controls: tuple[int, ...] = ()
    control_values: tuple[int, ...] = ()

    def inverse(self) -> ShiftGate:
        return replace(self, label=_inverse_label(self.label, False), amount=-self.amount)

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


def _undo(first: Gate, last: Gate, qubit: int) -> bool:
    """Whether the last gate is the inverse of the first, exactly, and neither acts on this qubit."""
    back = first.inverse()
    return (
        type(back) is type(last)
        and qubit not in last.qubits
        and all(np.array_equal(getattr(back, f.name), getattr(last, f.name)) for f in fields(back) if f.name != "label")
    )


def _check_arrays(gate: Gate) -> None:
    """Raise ParameterError where a matrix, a table or the control values are not those of so many qubits."""
    size, of = 1 << len(gate.targets), f"{gate.label!r} on the targets {gate.targets}"
    if isinstance(gate, PermutationGate):
        if any(table is not None and table.shape != (size,) for table in (gate.permutation, gate.diagonal)):
            raise ParameterError("gate", f"{of} has a table of another shape", f"Give arrays of shape ({size},)")
        return
    if isinstance(gate, MatrixGate) and getattr(gate.matrix, "shape", None) != (size, size):
        raise ParameterError("gate", f"{of} has a matrix of another shape", f"Give an array of shape ({size}, {size})")
    if len(gate.control_values) != len(gate.controls) or not {*gate.control_values} <= {0, 1}:
        problem = f"{gate.label!r} has control_values {gate.control_values} for the controls {gate.controls}"
        raise ParameterError("gate", problem, "Give 0 or 1 for each control")


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
        _check_arrays(gate)
        self.gates.append(gate)

    def extend(self, other: Circuit) -> None:
        """Append another circuit on the same qubits."""
        for gate in other.gates:
            self.append(gate)

    def inverse(self) -> Circuit:
        """U^dagger: the inverse gates in the opposite order."""
        return Circuit(self.num_qubits, [gate.inverse() for gate in reversed(self.gates)])

    def controlled(self, qubit: int, value: int = 1) -> Circuit:
        """U where `qubit` has this value, I where it has the other one: it becomes a control of the gates.

        Gates at the two ends that undo each other, such as PREP and PREP^dagger, need none.
        """
        gates, outer = self.gates, 0
        while outer < len(gates) // 2 and _undo(gates[outer], gates[-1 - outer], qubit):
            outer += 1
        program = Circuit(max(self.num_qubits, qubit + 1))
        for place, gate in enumerate(gates):
            inside = outer <= place < len(gates) - outer
            program.append(gate.controlled(qubit, value) if inside else gate)
        return program

    def placed(self, qubits: Sequence[int], num_qubits: int) -> Circuit:
        """The same program in a register of `num_qubits`, where its qubit q is qubits[q]."""
        program = Circuit(num_qubits)
        for gate in self.gates:
            targets = tuple(qubits[q] for q in gate.targets)
            if isinstance(gate, PermutationGate):
                program.append(replace(gate, targets=targets))
            else:
                program.append(replace(gate, targets=targets, controls=tuple(qubits[q] for q in gate.controls)))
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
        if not targets:
            return
        self.append(PermutationGate(label, tuple(targets), permutation=np.asarray(permutation, dtype=np.int64)))

    def shift(
        self, amount: int, targets: Sequence[int], controls: Sequence[int] = (), control_values: Sequence[int] = ()
    ) -> None:
        """|j> -> |j + amount mod 2^k> on the targets, where every control has its value."""
        self.append(ShiftGate("add", tuple(targets), int(amount), tuple(controls), tuple(control_values)))

    def rz(self, angle: float, target: int, zeros: Sequence[int] = ()) -> None:
        """exp(-i angle Z/2) on the target where every qubit of `zeros` is |0>."""
        self.append(rz_gate(angle, target, tuple(zeros)))


def merged(gates: Iterable[Any], product: Callable[[Any, Any], Any]) -> list[Any]:
    """Fewer gates that do the same. `product(first, second)` is both as one gate, or None where that is not wanted.

    A gate goes back to the nearest one that it can be multiplied with, past those that act on other qubits.
    """
    result: list[Any] = []
    for gate in gates:
        for place in range(len(result) - 1, -1, -1):
            both = product(result[place], gate)
            if both is not None:
                result[place] = both
                break
            if {*result[place].qubits} & {*gate.qubits}:
                result.append(gate)
                break
        else:
            result.append(gate)
    return result


def rz_gate(angle: float, target: int, zeros: tuple[int, ...] = (), label: str | None = None) -> MatrixGate:
    """exp(-i angle Z/2) on the target where every qubit of `zeros` is |0>."""
    half = cmath.exp(-0.5j * angle)
    label = label or ("controlled_rz" if zeros else "rz")
    return MatrixGate(label, np.diag([half, half.conjugate()]), (target,), zeros, (0,) * len(zeros))


def phase_gate(angle: float, zeros: Sequence[int]) -> MatrixGate:
    """exp(i angle) where every one of these qubits is |0>."""
    target, *others = zeros
    matrix = np.diag([cmath.exp(1j * angle), 1.0])
    return MatrixGate("controlled_phase", matrix, (target,), tuple(others), (0,) * len(others))


def qsvt_circuit(block: Circuit, system_qubits: int, phases: np.ndarray, excluded: Circuit | None = None) -> Circuit:
    """The real part of the QSVT sequence of a symmetric block encoding: |0> x v -> |0> x Re(P(A/alpha)) v + failure.

    phi_d comes first, then block, phi_(d-1), ..., block, phi_0; `phases` are reflection phases. `block` is real and
    Hermitian, with (<0| x I) U (|0> x I) = A/alpha and the ancillas above the system. One more qubit, the most
    significant, runs phi in its |0> and -phi in its |1>: between two Hadamard gates that leaves the real part (arXiv
    1806.01838, corollary 18). A phase exp(i phi Z x (2 Pi - 1)) is a rotation where Pi holds; the other half of all of
    them commutes to the end.

    Pi = |0><0| x I, ancillas first, where no program is `excluded`. Such a program B, real and on the system, leaves
    the state w = B|0> out of every other projector, beginning with phi_(d-1): Pi = |0><0| x (I - w w^t), so that the
    sequence applies P to the singular values of (I - w w^t) A/alpha; d is even then.
    """
    gates = qsvt_gates(block.gates, block.num_qubits, system_qubits, phases, excluded)
    return Circuit(block.num_qubits + 1, list(gates))


def branch_gates(
    block: Sequence[Any],
    block_qubits: int,
    system_qubits: int,
    phases: np.ndarray,
    excluded: Circuit | None = None,
) -> Iterator[Any]:
    """What `qsvt_gates` do where the real-part qubit is |0>, but for the factor exp(-i sum phases): psi_phi.

    Where it is |1> they leave psi_(-phi), the complex conjugate, because the block and the start are real: one of the
    two is all that has to be simulated.
    """
    ancillas = range(system_qubits, block_qubits)
    everything = (*ancillas, *range(system_qubits))

    def phase(phi: float) -> MatrixGate:
        return phase_gate(2 * phi, ancillas)

    def excluding(phi: float) -> MatrixGate:
        return phase_gate(-2 * phi, everything)

    return _alternating(block, phases, excluded, phase, excluding)


def qsvt_gates(
    block: Sequence[Any],
    block_qubits: int,
    system_qubits: int,
    phases: np.ndarray,
    excluded: Circuit | None = None,
) -> Iterator[Any]:
    """The gates of `qsvt_circuit` one by one, so that no memory grows with the degree; `block` may be fused gates."""
    system, ancillas, real_part = tuple(range(system_qubits)), tuple(range(system_qubits, block_qubits)), block_qubits

    def phase(phi: float) -> MatrixGate:
        return rz_gate(-4 * phi, real_part, ancillas)

    def excluding(phi: float) -> MatrixGate:
        return rz_gate(4 * phi, real_part, ancillas + system, "excluded_rz")

    hadamard = MatrixGate("h", HADAMARD, (real_part,))
    yield hadamard
    yield from _alternating(block, phases, excluded, phase, excluding)
    yield rz_gate(2 * math.fsum(phases), real_part)
    yield hadamard


def _alternating(
    block: Sequence[Any],
    phases: np.ndarray,
    excluded: Circuit | None,
    phase: Callable[[float], Gate],
    excluding: Callable[[float], Gate],
) -> Iterator[Any]:
    """phase(phi_d), block, phase(phi_(d-1)), ...; of every other one the opposite on the state that is left out."""
    there, back = (excluded.gates, excluded.inverse().gates) if excluded else ([], [])
    for k, phi in enumerate(map(float, phases[::-1])):
        if k:
            yield from block
        yield phase(phi)
        if excluded and k % 2:
            yield from back
            yield excluding(phi)
            yield from there
