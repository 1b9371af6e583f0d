"""Gate programs with fewer gates that do the same: what cuStateVec is measured with beside our kernels."""

from __future__ import annotations

import cmath
from collections.abc import Sequence
from typing import Any

import numpy as np

from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.circuit import Circuit, Gate, MatrixGate, PermutationGate


def fuse(gates: Sequence[Gate], most_targets: int = 5) -> list[Gate]:
    """Fewer gates that do the same: matrices of up to `most_targets` qubits multiplied, permutations composed.

    A gate goes back to the nearest one that it can be multiplied with, past those that act on other qubits.
    """
    fused: list[Gate] = []
    for gate in gates:
        for place in range(len(fused) - 1, -1, -1):
            before = fused[place]
            union = tuple(sorted(_qubits(before) | _qubits(gate)))
            permuted = [isinstance(g, PermutationGate) for g in (before, gate)]
            if all(permuted) or (not any(permuted) and len(union) <= most_targets):
                fused[place] = _product(before, gate, union)
                break
            if _qubits(before) & _qubits(gate):
                fused.append(gate)
                break
        else:
            fused.append(gate)
    return fused


def _qubits(gate: Gate) -> set[int]:
    return {*gate.targets, *(gate.controls if isinstance(gate, MatrixGate) else ())}


def _product(first: Gate, second: Gate, union: tuple[int, ...]) -> Gate:
    """Two matrices, or two permutations, as one gate on these qubits."""
    place, size = {qubit: q for q, qubit in enumerate(union)}, 1 << len(union)
    if isinstance(first, MatrixGate) and isinstance(second, MatrixGate):
        product = np.eye(size, dtype=np.complex128)
        for gate in (first, second):
            targets, controls = (tuple(place[q] for q in qubits) for qubits in (gate.targets, gate.controls))
            product = apply_gate(MatrixGate("", gate.matrix, targets, controls, gate.control_values), product)
        return MatrixGate("fused", product, union)
    permutation, diagonal = np.arange(size)[:, None], np.ones((size, 1), dtype=np.complex128)
    for permuting in (first, second):
        assert isinstance(permuting, PermutationGate)
        targets = tuple(place[q] for q in permuting.targets)
        permutation = apply_gate(PermutationGate("", targets, permuting.permutation), permutation)
        diagonal = apply_gate(PermutationGate("", targets, permuting.permutation, permuting.diagonal), diagonal)
    return PermutationGate("fused", union, permutation[:, 0], diagonal[:, 0])


def fuse_repeated(gates: Sequence[Gate]) -> list[Gate]:
    """One of many repetitions, begun behind its first fused gate, which the last one before it takes in."""
    once = fuse(gates)
    return fuse(once[1:] + once[:1])


def gates_of_query(encoding: Any, phi: float) -> Circuit:
    """A query on the register of the matching encoding: its block, and exp(2 i phi) where every ancilla is |0>.

    Between PREP on either side it is what matching_query does, but for the global phase exp(-i phi).
    """
    program: Circuit = encoding.circuit()
    rotated, *colour = range(encoding.system_qubits, program.num_qubits)
    phase = np.diag([cmath.exp(2j * phi), 1.0])
    program.append(MatrixGate("controlled_phase", phase, (rotated,), tuple(colour), (0,) * len(colour)))
    return program
