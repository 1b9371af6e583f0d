"""A linear combination of Pauli strings, for comparison only: alpha is the l1 norm of their coefficients.

With X^a Z^b |j> = (-1)^(b.j) |j xor a> on n qubits, N padded to 2^n with zero rows,
    H = sum_{a,b} c_ab X^a Z^b,   c_ab = 2^-n sum_j (-1)^(b.j) H_{j xor a, j}
by one fast Walsh-Hadamard transform for each a, O(n 4^n) in all. H = H^t leaves the strings with an even number of Y
(a.b even), which are real, symmetric and square to 1. For the strings t = (a, b) with c_t != 0
    T|j> = sum_t sqrt(|c_t|/alpha) |t>|j>,   S|t>|j> = sgn(c_t) |t> X^a Z^b |j>,   alpha = sum_t |c_t|.
Source: Childs and Wiebe, arXiv 1202.5822. Index order: string, then system.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..circuit import Circuit, PermutationGate
from ..errors import CombinationError
from ..operators import Operator
from .base import ExplicitSymmetric, Side, qubits

LARGEST = 1024


def parity(index: Any) -> Any:
    """Number of ones modulo 2, of indices below 2^16."""
    for shift in (8, 4, 2, 1):
        index = index ^ (index >> shift)
    return index & 1


def pauli_coefficients(H: np.ndarray) -> np.ndarray:
    """c_ab of X^a Z^b, (2^n, 2^n), for a matrix H of that shape."""
    size = len(H)
    j = np.arange(size)
    table = H[j ^ j[:, None], j]
    step = 1
    while step < size:
        pairs = table.reshape(size, -1, 2, step)
        table = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        step *= 2
    return table.reshape(size, size) / size


class PauliEncoding(ExplicitSymmetric):
    """H/alpha for an explicit symmetric H of at most 1024 rows."""

    name = "pauli"

    @classmethod
    def check(cls, operator: Operator) -> None:
        super().check(operator)
        if operator.shape[0] > LARGEST:
            raise CombinationError(
                "encoding",
                f"pauli is for comparison, up to N = {LARGEST}, and A has {operator.shape[0]} rows: 4^n strings",
                "Use encoding='walk' or 'matching'",
            )

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        n = operator.shape[0]
        self.system_qubits = qubits(n)
        padded = np.zeros((1 << self.system_qubits,) * 2)
        padded[:n, :n] = backend.to_numpy(operator.dense())
        c = pauli_coefficients(padded)
        kept = np.abs(c) > np.finfo(float).eps * np.abs(padded).max()  # what is smaller is rounding
        a, b = np.nonzero(kept)
        even = parity(a & b) == 0
        self.flips, self.signs = a[even], b[even]
        self.coefficients = c[self.flips, self.signs]
        c[self.flips, self.signs] = 0.0
        self.epsilon = float(np.abs(c).sum())
        self.alpha = float(np.abs(self.coefficients).sum())
        if not len(self.coefficients):  # zero is (1 - 1)/2
            self.flips, self.signs, self.coefficients, self.alpha = *np.zeros((2, 2), int), np.array([0.5, -0.5]), 1.0
        self.amplitude = np.sqrt(np.abs(self.coefficients) / self.alpha)
        self.ancilla_qubits = max(qubits(len(self.coefficients)), 1)
        self.register_size = len(self.coefficients) << self.system_qubits

    def _strings(self, xp: Any) -> tuple[Any, Any]:
        """S of each string as a gather and its signs, (strings, 2^n)."""
        put = np.asarray if xp is np else self.backend.asarray
        gather = xp.arange(1 << self.system_qubits) ^ put(self.flips)[:, None]
        odd = parity(gather & put(self.signs)[:, None])
        return gather, put(np.sign(self.coefficients))[:, None] * (1.0 - 2.0 * odd)

    @cached_property
    def _tables(self) -> tuple[Any, Any, Any]:
        gather, sign = self._strings(self.backend.xp)
        return gather[..., None], sign[..., None], self.backend.asarray(self.amplitude)[:, None, None]

    def lift(self, v: Any, side: Side = "right") -> Any:
        xp, size = self.backend.xp, 1 << self.system_qubits
        padded = xp.zeros((size, v.shape[1]), dtype=v.dtype)
        padded[: len(v)] = v
        return (self._tables[2] * padded).reshape(self.register_size, -1)

    def lower(self, psi: Any, side: Side = "right") -> Any:
        strings = psi.reshape(len(self.coefficients), 1 << self.system_qubits, -1)
        return (self._tables[2] * strings).sum(axis=0)[: self.shape[0]]

    def reflect(self, psi: Any) -> Any:
        gather, sign, _ = self._tables
        strings = psi.reshape(*gather.shape[:2], -1)
        moved = sign * self.backend.xp.take_along_axis(strings, gather, axis=1)
        return moved.reshape(self.register_size, -1)

    def circuit(self) -> Circuit:
        """PREP^t SELECT PREP; the string's index stands above the system, padded with identities."""
        system, strings = self.system_qubits, 1 << self.ancilla_qubits
        size, count = 1 << system, len(self.coefficients)
        amplitude = np.zeros(strings)
        amplitude[:count] = self.amplitude
        permutation, diagonal = np.tile(np.arange(size), (strings, 1)), np.ones((strings, size))
        permutation[:count], diagonal[:count] = self._strings(np)
        permutation += size * np.arange(strings)[:, None]
        index = tuple(range(system, system + self.ancilla_qubits))
        program = Circuit(system + self.ancilla_qubits)
        program.prepare(amplitude, index)
        targets = (*range(system), *index)
        program.append(PermutationGate("pauli", targets, permutation.reshape(-1), diagonal.reshape(-1)))
        program.prepare(amplitude, index)
        return program
