"""Gate programs on cuStateVec: k registers of n qubits as one state vector, the columns as its highest qubits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import Gate, MatrixGate, PermutationGate, ShiftGate
from .gate_fusion import dense_product, fuse

if TYPE_CHECKING:
    from .gpu import GpuBackend

CUDA_C_64F, COMPUTE_64F, ROW_MAJOR, RANDNUM_ORDER = (
    5,
    16,
    1,
    0,
)  # cudaDataType, ComputeType, MatrixLayout, SamplerOutput
TARGETS_FROM_HOST = 5
"""Matrices on more qubits than these are kept on the device."""


class CuStateVector:
    """States (2^n, k), held as planes (2^ceil(log2 k), 2^n); cuStateVec's index bit q is qubit q."""

    def __init__(self, backend: GpuBackend, start: Any, num_qubits: int) -> None:
        self.backend, self.num_qubits = backend, num_qubits
        n, self.columns = start.shape
        self.column_qubits = tuple(range(num_qubits, num_qubits + (self.columns - 1).bit_length()))
        self._bits = num_qubits + len(self.column_qubits)
        self._planes = backend.xp.zeros((1 << len(self.column_qubits), 1 << num_qubits), dtype=np.complex128)
        self._planes[: self.columns, :n] = start.T
        backend.custatevec  # noqa: B018  raises at once where it cannot be used
        self._tables: dict[int, tuple[tuple[int, int, int], tuple[Any, ...]]] = {}

    @property
    def amplitudes(self) -> Any:
        return self._planes[: self.columns].T

    @property
    def _state(self) -> tuple[int, int, int]:
        return self._planes.data.ptr, CUDA_C_64F, self._bits

    def lowest(self, size: int) -> Any:
        return self._planes[: self.columns, :size].T

    def norms(self) -> Any:
        return self.backend.xp.sqrt(self.probability(()))

    def apply(self, gate: Gate) -> None:
        if isinstance(gate, ShiftGate):
            gate = gate.table
        permutation, diagonal, matrix = self._tables_of(gate)
        if isinstance(gate, MatrixGate):
            self.backend.call_custatevec(
                "apply_matrix", *self._state, matrix, CUDA_C_64F, ROW_MAJOR, 0,
                gate.targets, len(gate.targets), gate.controls, gate.control_values, len(gate.controls),
                COMPUTE_64F, 0, 0,
            )  # fmt: skip
            return
        self.backend.call_custatevec(
            "apply_generalized_permutation_matrix", *self._state, permutation, diagonal, CUDA_C_64F, 0,
            gate.targets, len(gate.targets), (), (), 0, 0, 0,
        )  # fmt: skip

    def _tables_of(self, gate: MatrixGate | PermutationGate) -> tuple[int, int, int]:
        """Addresses of permutation, diagonal and matrix, 0 for none; made once, for a program repeats its gates.

        All but small matrices are on the device. They stay until the state goes, because the device may read them
        after the call that named them.
        """
        if id(gate) not in self._tables:
            arrays: list[Any] = [None, None, None]
            if isinstance(gate, MatrixGate):
                matrix = np.ascontiguousarray(gate.matrix, dtype=np.complex128)
                arrays[2] = matrix if len(gate.targets) <= TARGETS_FROM_HOST else self.backend.xp.asarray(matrix)
            else:
                for place, (table, kind) in enumerate(((gate.permutation, np.int64), (gate.diagonal, np.complex128))):
                    arrays[place] = None if table is None else self.backend.xp.asarray(table, dtype=kind)
            first, second, third = map(_address, arrays)
            # the gate as well, so that its id stays its own
            self._tables[id(gate)] = (first, second, third), (gate, *arrays)
        return self._tables[id(gate)][0]

    def run(self, gates: Iterable[Any]) -> None:
        for gate in gates:
            self.apply(gate)

    def fuse(self, gates: Iterable[Any]) -> list[Any]:
        return fuse(gates, dense_product)

    def probability(self, qubits: Iterable[int]) -> Any:
        zeros = tuple(qubits)
        # one qubit stays unmasked below the columns: the sums of its |0> and |1> stand next to each other
        pivot, masked = (zeros[0], zeros[1:]) if zeros else (0, ())
        sums = self.backend.xp.empty((1 << len(self.column_qubits), 2))
        ordering = (pivot, *self.column_qubits)
        self.backend.call_custatevec(
            "abs2sum_array",
            *self._state,
            sums.data.ptr,
            ordering,
            len(ordering),
            (0,) * len(masked),
            masked,
            len(masked),
        )
        return (sums[:, 0] if zeros else sums.sum(axis=1))[: self.columns]

    def postselect(self, qubits: Iterable[int]) -> Any:
        zeros, xp = tuple(qubits), self.backend.xp
        probability = self.probability(zeros)
        if zeros:
            self.backend.call_custatevec(
                "collapse_by_bit_string", *self._state, (0,) * len(zeros), zeros, len(zeros), 1.0
            )
        self._planes[: self.columns] /= xp.sqrt(xp.where(probability > 0, probability, 1.0))[:, None]
        return probability

    def sample(self, shots: int, seed: int, column: int = 0) -> np.ndarray:
        call, plane = self.backend.call_custatevec, self._planes[column]
        sampler, needed = call("sampler_create", plane.data.ptr, CUDA_C_64F, self.num_qubits, shots)
        try:
            workspace = self.backend.xp.empty(max(needed, 1), dtype=np.uint8)
            call("sampler_preprocess", sampler, workspace.data.ptr, needed)
            drawn, found = np.random.default_rng(seed).random(shots), np.empty(shots, dtype=np.int64)
            call("sampler_sample", sampler, found.ctypes.data, range(self.num_qubits), self.num_qubits,
                 drawn.tolist(), shots, RANDNUM_ORDER)  # fmt: skip
        finally:
            self.backend.custatevec[0].sampler_destroy(sampler)
        return found


def _address(array: Any) -> int:
    if array is None:
        return 0
    address: int = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    return address
