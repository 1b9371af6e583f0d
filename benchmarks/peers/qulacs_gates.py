"""qulacs: gate objects applied one after another, so that no gate is copied into a circuit."""

from __future__ import annotations

import numpy as np
import qulacs
import scipy.sparse as sp
from qulacs.gate import DenseMatrix, DiagonalMatrix, SparseMatrix

from .case import Case

VERSION = f"qulacs {qulacs.__version__}"


def dilation(case: Case) -> np.ndarray:
    """U as one dense gate on n+1 qubits, the phase as a diagonal one on the ancilla."""
    encoded = case.encoded["dilation"]
    state = qulacs.QuantumState(encoded.qubits)
    state.load(case.start("dilation"))
    unitary = DenseMatrix(list(range(encoded.qubits)), encoded.select.astype(complex))
    for k, phi in enumerate(encoded.first_phases):
        if k:
            unitary.update_quantum_state(state)
        DiagonalMatrix([case.qubits], np.exp([1j * phi, -1j * phi])).update_quantum_state(state)
    return case.solution("dilation", state.get_vector())


def matching(case: Case) -> np.ndarray:
    """S as one sparse gate; PREP, phase and PREP as one controlled gate, the phase common to all amplitudes last."""
    encoded, rotated = case.encoded["matching"], case.qubits
    state = qulacs.QuantumState(encoded.qubits)
    state.load(case.start("matching"))
    select = SparseMatrix(list(range(encoded.qubits)), sp.csc_matrix(encoded.select.astype(complex)))
    colours = list(range(rotated + 1, encoded.qubits))
    prepare = DenseMatrix(colours, encoded.prepare.astype(complex))
    projector, one = case.prepared_projector("matching"), np.eye(len(encoded.prepare))
    prepare.update_quantum_state(state)
    for k, phi in enumerate(encoded.first_phases):
        if k:
            select.update_quantum_state(state)
        phase = DenseMatrix(colours, one + (np.exp(2j * phi) - 1) * projector)
        phase.add_control_qubit(rotated, 0)
        phase.update_quantum_state(state)
    prepare.update_quantum_state(state)
    return case.solution("matching", state.get_vector() * np.exp(-1j * encoded.phases.sum()))


VARIANTS = {"dilation, dense gate": dilation, "matching, sparse gate": matching}
