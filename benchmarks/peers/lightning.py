"""PennyLane's lightning.qubit: `qml.QSVT`, QNodes of sparse `QubitUnitary`, and the state vector's own C++ methods.

Wire 0 is the most significant bit.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import pennylane as qml
import scipy.sparse as sp
from pennylane_lightning.lightning_qubit_ops import StateVectorC128

from .case import Case

VERSION = f"lightning.qubit {version('pennylane_lightning')}"


def _stored(matrix: np.ndarray | sp.csr_array) -> sp.csr_matrix:
    """The matrix as `applySparseMatrix` wants it; a dense one with all of its entries."""
    if sp.issparse(matrix):
        return sp.csr_matrix(matrix.astype(complex))
    size = len(matrix)
    places = np.tile(np.arange(size), size), np.arange(0, size * size + 1, size)
    return sp.csr_matrix((matrix.astype(complex).reshape(-1), *places), shape=matrix.shape)


def _run(qubits: int, start: np.ndarray, gates: Callable[[], object]) -> np.ndarray:
    @qml.qnode(qml.device("lightning.qubit", wires=qubits), diff_method=None)
    def circuit() -> object:
        qml.StatePrep(start, wires=range(qubits))
        gates()
        return qml.state()

    return circuit()


def qsvt(case: Case) -> np.ndarray:
    """`qml.QSVT` of the dense unitary, as its documentation has it."""
    encoded = case.encoded["dilation"]
    wires = range(encoded.qubits)

    def gates() -> None:
        unitary = qml.QubitUnitary(encoded.select, wires=wires, unitary_check=False)
        qml.QSVT(unitary, [qml.PCPhase(phi, dim=case.size, wires=wires) for phi in encoded.first_phases])

    return case.solution("dilation", _run(encoded.qubits, case.start("dilation"), gates))


def dilation(case: Case) -> np.ndarray:
    """The same unitary stored as a sparse matrix, which is applied faster than a dense one."""
    encoded = case.encoded["dilation"]
    unitary = _stored(encoded.select)

    def gates() -> None:
        for k, phi in enumerate(encoded.first_phases):
            if k:
                qml.QubitUnitary(unitary, wires=range(encoded.qubits), unitary_check=False)
            qml.RZ(-2 * phi, 0)

    return case.solution("dilation", _run(encoded.qubits, case.start("dilation"), gates))


def matching(case: Case) -> np.ndarray:
    """S as a sparse `QubitUnitary`; PREP, phase and PREP as one controlled gate, the common phase last."""
    encoded = case.encoded["matching"]
    select = _stored(encoded.select)
    projector, one = case.prepared_projector("matching"), np.eye(len(encoded.prepare))
    rotated = encoded.qubits - case.qubits - 1
    colours = range(rotated)

    def gates() -> None:
        qml.QubitUnitary(encoded.prepare, wires=colours, unitary_check=False)
        for k, phi in enumerate(encoded.first_phases):
            if k:
                qml.QubitUnitary(select, wires=range(encoded.qubits), unitary_check=False)
            phase = qml.QubitUnitary(one + (np.exp(2j * phi) - 1) * projector, wires=colours, unitary_check=False)
            qml.ctrl(phase, control=[rotated], control_values=[0])
        qml.QubitUnitary(encoded.prepare, wires=colours, unitary_check=False)

    state = _run(encoded.qubits, case.start("matching"), gates)
    return case.solution("matching", state * np.exp(-1j * encoded.phases.sum()))


def _state(case: Case, encoding: str) -> tuple[StateVectorC128, Callable[[], None]]:
    """The start, and S as a call."""
    encoded = case.encoded[encoding]
    wires, select = list(range(encoded.qubits)), _stored(encoded.select)
    indptr, indices = select.indptr.astype(np.uint64), select.indices.astype(np.uint64)
    state = StateVectorC128(encoded.qubits)
    state.setStateVector(case.start(encoding), wires)
    return state, lambda: state.applySparseMatrix(indptr, indices, select.data, wires, False)


def _amplitudes(state: StateVectorC128) -> np.ndarray:
    amplitudes = np.empty(state.size(), dtype=np.complex128)
    state.getState(amplitudes)
    return amplitudes


def dilation_bindings(case: Case) -> np.ndarray:
    """As `dilation`, past PennyLane's queue."""
    state, select = _state(case, "dilation")
    for k, phi in enumerate(case.encoded["dilation"].first_phases):
        if k:
            select()
        state.RZ([0], False, [-2 * phi])
    return case.solution("dilation", _amplitudes(state))


def matching_bindings(case: Case) -> np.ndarray:
    """As `matching`, past PennyLane's queue."""
    encoded, (state, select) = case.encoded["matching"], _state(case, "matching")
    projector, one = case.prepared_projector("matching"), np.eye(len(encoded.prepare))
    rotated, prepare = encoded.qubits - case.qubits - 1, encoded.prepare.astype(complex)
    colours = list(range(rotated))
    state.applyMatrix(prepare, colours, False)
    for k, phi in enumerate(encoded.first_phases):
        if k:
            select()
        phase = one + (np.exp(2j * phi) - 1) * projector
        state.applyControlledMatrix(phase, [rotated], [False], colours, False)
    state.applyMatrix(prepare, colours, False)
    return case.solution("matching", _amplitudes(state) * np.exp(-1j * encoded.phases.sum()))


VARIANTS = {
    "dilation, qml.QSVT": qsvt,
    "dilation, sparse gate": dilation,
    "dilation, C++ methods": dilation_bindings,
    "matching, sparse gate": matching,
    "matching, C++ methods": matching_bindings,
}
