"""The unitary dilation of a small dense matrix: alpha = ||H||_2, one ancilla. For validation, and for tiny blocks.

    U = [[A, B], [B, -A]],  A = H/alpha,  B = sqrt(I - A^2),  T v = (v, 0),  S = U

It needs an eigendecomposition, so no quantum computer would be given it; that is what `validation` means.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..circuit import Circuit, MatrixGate
from ..operators import Operator
from .base import ExplicitSymmetric, Side, positive_or_one, qubits


class DilationEncoding(ExplicitSymmetric):
    """H/alpha as a block of an orthogonal symmetric matrix of twice the size."""

    name = "dilation"

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        n = operator.shape[0]
        self._eigenvalues, self._eigenvectors = backend.xp.linalg.eigh(operator.dense())
        self.alpha = positive_or_one(float(abs(self._eigenvalues).max()))
        self.system_qubits, self.ancilla_qubits, self.register_size = qubits(n), 1, 2 * n

    @cached_property
    def _complement(self) -> Any:
        scaled = self._eigenvalues / self.alpha
        root = self.backend.xp.sqrt(self.backend.xp.maximum(1 - scaled**2, 0.0))
        return (self._eigenvectors * root) @ self._eigenvectors.T

    def lift(self, v: Any, side: Side = "right") -> Any:
        return self.backend.xp.concatenate([v, self.backend.xp.zeros_like(v)])

    def lower(self, psi: Any, side: Side = "right") -> Any:
        return psi[: psi.shape[0] // 2]

    def reflect(self, psi: Any) -> Any:
        xp, columns = self.backend.xp, psi.shape[1]
        halves = xp.concatenate(xp.split(psi, 2), axis=1)  # side by side, so that each matrix is read once
        A, B = self.matvec(halves), self.backend.real_product(self._complement, halves)
        return xp.concatenate([A[:, :columns] + B[:, columns:], B[:, :columns] - A[:, columns:]])

    def circuit(self) -> Circuit:
        """U as one dense gate, its ancilla the most significant qubit; N is padded to a power of two with zero rows."""
        n, size = self.operator.shape[0], 1 << self.system_qubits
        A, B = np.zeros((size, size)), np.eye(size)
        A[:n, :n] = self.backend.to_numpy(self.operator.dense()) / self.alpha
        B[:n, :n] = self.backend.to_numpy(self._complement)
        program = Circuit(self.system_qubits + 1)
        program.append(MatrixGate("unitary", np.block([[A, B], [B, -A]]), tuple(range(self.system_qubits + 1))))
        return program
