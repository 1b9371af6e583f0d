"""Qrisp's own `inversion`: its Pauli encoding, its polynomial, its angles; sampling gives the magnitudes of x only."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from qrisp import QuantumFloat, prepare, terminal_sampling
from qrisp.block_encodings import BlockEncoding
from qrisp.gqsp import inversion

from .case import Case

VERSION = f"Qrisp {version('qrisp')}"


def solve(case: Case) -> np.ndarray:
    """|x_j| = alpha' ||b|| sqrt(p_j), where the circuit encodes A^-1/alpha' and p_j is found with all flags in |0>."""
    encoding = BlockEncoding.from_array(case.matrix.toarray())
    inverse = inversion(encoding, case.epsilon, encoding.alpha * case.kappa)
    norm = np.linalg.norm(case.b)

    @terminal_sampling
    def outcomes() -> tuple:
        operand = QuantumFloat(case.qubits)
        prepare(operand, case.b / norm)
        return operand, *inverse.apply(operand)

    probability = np.zeros(case.size)
    for (place, *flags), p in outcomes().items():
        if not any(flags):
            probability[int(place)] += p
    return inverse.alpha * norm * np.sqrt(probability)


VARIANTS = {"own, inversion": solve}
