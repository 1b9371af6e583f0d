"""The gates of one query, fused as in a repeated sequence: what cuStateVec is measured with beside our kernels."""

from __future__ import annotations

import cmath
from collections.abc import Iterable
from typing import Any

import numpy as np

from qnewton_gpu.backends.gate_fusion import dense_product, fuse
from qnewton_gpu.circuit import Circuit, MatrixGate


def fuse_repeated(gates: Iterable[Any]) -> list[Any]:
    """One of many repetitions, begun behind its first fused gate, which the last one before it takes in."""
    once = fuse(gates, dense_product)
    return fuse(once[1:] + once[:1], dense_product)


def gates_of_query(encoding: Any, phi: float) -> Circuit:
    """A query on the register of the matching encoding: its block, and exp(2 i phi) where every ancilla is |0>.

    Between PREP on either side it is what matching_query does, but for the global phase exp(-i phi).
    """
    program: Circuit = encoding.circuit()
    rotated, *colour = range(encoding.system_qubits, program.num_qubits)
    phase = np.diag([cmath.exp(2j * phi), 1.0])
    program.append(MatrixGate("controlled_phase", phase, (rotated,), tuple(colour), (0,) * len(colour)))
    return program
