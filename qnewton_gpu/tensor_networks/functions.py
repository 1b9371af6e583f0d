"""Vectors of 2^n entries whose matrix-product states are known in closed form; all of unit norm, site k is qubit k."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ParameterError
from .states import MatrixProductState


def delta(num_qubits: int, index: int) -> MatrixProductState:
    """|index>: bond dimension 1. Raises ParameterError where it is no integer below 2^n."""
    if not (isinstance(index, (int, np.integer)) and 0 <= index < 1 << num_qubits):
        raise ParameterError("index", f"{index!r} is not in [0, 2^{num_qubits})", "Give an index of the vector")
    return MatrixProductState.product([np.eye(2)[index >> k & 1] for k in range(num_qubits)])


def constant(num_qubits: int) -> MatrixProductState:
    """2^(-n/2) in every entry: bond dimension 1."""
    return MatrixProductState.product([np.full(2, math.sqrt(0.5))] * num_qubits)


def sine_mode(num_qubits: int, mode: int) -> MatrixProductState:
    """sqrt(2/(N + 1)) sin(pi m (j + 1)/(N + 1)) for j < N = 2^n: bond dimension 2.

    Bit k of j turns a unit vector by pi m 2^k/(N + 1). Angles are reduced by 2 pi in integers, so that each is right to
    1e-16 and an entry to about n 1e-16 of the largest. Raises ParameterError where m is no integer in 1..N.
    """
    size = 1 << num_qubits
    if not (isinstance(mode, (int, np.integer)) and 1 <= mode <= size):
        raise ParameterError("mode", f"{mode!r} is not in [1, 2^{num_qubits}]", "Give the number of half waves")
    mode = int(mode)  # a fixed-width integer would overflow below

    def turned(step: int) -> np.ndarray:
        angle = half_turns(mode * step, size + 1)
        return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])

    # a row (cos, sin) of the angle so far, turned from the right
    tensors = [np.stack([np.eye(2), turned(1 << k)], axis=1) for k in range(num_qubits)]
    tensors[0] = math.sqrt(2 / (size + 1)) * np.tensordot(turned(1)[:1], tensors[0], (1, 0))
    tensors[-1] = tensors[-1][:, :, 1:]
    return MatrixProductState(tensors)


def half_turns(numerator: int, denominator: int) -> float:
    """pi numerator/denominator modulo 2 pi, in (-pi, pi], reduced before it is rounded."""
    rest = numerator % (2 * denominator)
    return math.pi * ((rest - 2 * denominator if rest > denominator else rest) / denominator)
