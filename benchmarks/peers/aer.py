"""Qiskit Aer, statevector method: a circuit of `UnitaryGate` with and without fusion, and its `AerState` gate by gate.

Aer has no sparse gate, so the S of the matching encoding is a multiplexer over the colours of dense 2N x 2N blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import qiskit_aer
from qiskit import QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit_aer import AerSimulator
from qiskit_aer.quantum_info.states.aer_state import AerState

from .case import Case

VERSION = f"Qiskit Aer {qiskit_aer.__version__}"
BATCH_BYTES = 1 << 28
"""AerState copies each gate until it is flushed: so many bytes of them at once."""


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def _circuit(fusion: bool) -> Callable[[Case], np.ndarray]:
    def solve(case: Case) -> np.ndarray:
        encoded = case.encoded["dilation"]
        simulator = AerSimulator(method="statevector", fusion_enable=fusion, max_parallel_threads=_threads())
        circuit = QuantumCircuit(encoded.qubits)
        circuit.set_statevector(case.start("dilation"))
        unitary = UnitaryGate(encoded.select, check_input=False)
        for k, phi in enumerate(encoded.first_phases):
            if k:
                circuit.append(unitary, range(encoded.qubits))
            circuit.rz(-2 * phi, case.qubits)
        circuit.save_statevector()
        result = simulator.run(circuit).result()
        if not result.success:
            raise RuntimeError(result.status)
        return case.solution("dilation", np.asarray(result.get_statevector()))

    return solve


def _state(case: Case, encoding: str) -> AerState:
    state = AerState(method="statevector", max_parallel_threads=_threads())
    state.initialize(case.start(encoding))
    return state


def dilation(case: Case) -> np.ndarray:
    encoded = case.encoded["dilation"]
    state, qubits = _state(case, "dilation"), list(range(encoded.qubits))
    unitary = np.asfortranarray(encoded.select.astype(complex))
    batch = max(BATCH_BYTES // unitary.nbytes, 1)
    for k, phi in enumerate(encoded.first_phases):
        if k:
            state.apply_unitary(qubits, unitary)
        state.apply_diagonal([case.qubits], np.exp([1j * phi, -1j * phi]))
        if k % batch == batch - 1:
            state.flush()
    return case.solution("dilation", np.array(state.move_to_ndarray()))


def matching(case: Case) -> np.ndarray:
    encoded, width = case.encoded["matching"], 2 * case.size
    blocks = [
        encoded.select[k : k + width, k : k + width].toarray().astype(complex, order="F")
        for k in range(0, encoded.select.shape[0], width)
    ]
    state, colours = _state(case, "matching"), list(range(case.qubits + 1, encoded.qubits))
    prepare = np.asfortranarray(encoded.prepare.astype(complex))
    # a phase acts where the rotated qubit, the least significant of these, is |0>
    projector = np.kron(case.prepared_projector("matching"), np.diag([1, 0]))
    batch = max(BATCH_BYTES // (len(blocks) * blocks[0].nbytes), 1)
    state.apply_unitary(colours, prepare)
    for k, phi in enumerate(encoded.first_phases):
        if k:
            state.apply_multiplexer(colours, list(range(case.qubits + 1)), blocks)
        phase = np.exp(-1j * phi) * (np.eye(len(projector)) + (np.exp(2j * phi) - 1) * projector)
        state.apply_unitary([case.qubits, *colours], np.asfortranarray(phase))
        if k % batch == batch - 1:
            state.flush()
    state.apply_unitary(colours, prepare)
    return case.solution("matching", np.array(state.move_to_ndarray()))


VARIANTS = {
    "dilation, circuit": _circuit(fusion=False),
    "dilation, circuit fused": _circuit(fusion=True),
    "dilation, AerState": dilation,
    "matching, AerState": matching,
}
