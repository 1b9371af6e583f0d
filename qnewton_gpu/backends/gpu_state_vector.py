"""Gate programs on cuStateVec: k registers of n qubits as one state vector, the columns as its highest qubits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import Circuit, Gate, MatrixGate

if TYPE_CHECKING:
    from .gpu import GpuBackend

CUDA_C_64F, COMPUTE_64F, ROW_MAJOR, RANDNUM_ORDER = (
    5,
    16,
    1,
    0,
)  # cudaDataType, ComputeType, MatrixLayout, SamplerOutput


class CuStateVector:
    """States (2^n, k), held as planes (2^ceil(log2 k), 2^n); cuStateVec's index bit q is qubit q."""

    def __init__(self, backend: GpuBackend, start: Any, num_qubits: int) -> None:
        self.backend, self.num_qubits = backend, num_qubits
        n, self.columns = start.shape
        self.column_qubits = tuple(range(num_qubits, num_qubits + (self.columns - 1).bit_length()))
        self._bits = num_qubits + len(self.column_qubits)
        self._planes = backend.xp.zeros((1 << len(self.column_qubits), 1 << num_qubits), dtype=np.complex128)
        self._planes[: self.columns, :n] = start.T
        self._library, self._handle = backend.custatevec
        self._tables: dict[int, tuple[Gate, Any, Any]] = {}

    @property
    def amplitudes(self) -> Any:
        return self._planes[: self.columns].T

    @property
    def _state(self) -> tuple[int, int, int, int]:
        return self._handle, self._planes.data.ptr, CUDA_C_64F, self._bits

    def apply(self, gate: Gate) -> None:
        if isinstance(gate, MatrixGate):
            matrix = np.ascontiguousarray(gate.matrix, dtype=np.complex128)
            self._library.apply_matrix(
                *self._state, matrix.ctypes.data, CUDA_C_64F, ROW_MAJOR, 0,
                gate.targets, len(gate.targets), gate.controls, gate.control_values, len(gate.controls),
                COMPUTE_64F, 0, 0,
            )  # fmt: skip
            return
        permutation, diagonal = self._on_device(gate)
        self._library.apply_generalized_permutation_matrix(
            *self._state, permutation.data.ptr if permutation is not None else 0,
            diagonal.data.ptr if diagonal is not None else 0, CUDA_C_64F, 0,
            gate.targets, len(gate.targets), (), (), 0, 0, 0,
        )  # fmt: skip

    def _on_device(self, gate: Any) -> tuple[Any, Any]:
        """The tables of a gate, copied once: a program repeats the gates of its block."""
        if id(gate) not in self._tables:
            xp, kinds = self.backend.xp, (np.int64, np.complex128)
            tables = [
                None if table is None else xp.asarray(table, dtype=kind)
                for table, kind in zip((gate.permutation, gate.diagonal), kinds, strict=True)
            ]
            self._tables[id(gate)] = (gate, *tables)  # the gate itself, so that its id stays its own
        return self._tables[id(gate)][1:]

    def run(self, circuit: Circuit) -> None:
        for gate in circuit.gates:
            self.apply(gate)

    def probability(self, qubits: Iterable[int]) -> Any:
        zeros = tuple(qubits)
        # one qubit stays unmasked below the columns: the sums of its |0> and |1> stand next to each other
        pivot, masked = (zeros[0], zeros[1:]) if zeros else (0, ())
        sums = self.backend.xp.empty((1 << len(self.column_qubits), 2))
        ordering = (pivot, *self.column_qubits)
        self._library.abs2sum_array(
            *self._state, sums.data.ptr, ordering, len(ordering), (0,) * len(masked), masked, len(masked)
        )
        return (sums[:, 0] if zeros else sums.sum(axis=1))[: self.columns]

    def postselect(self, qubits: Iterable[int]) -> Any:
        zeros, xp = tuple(qubits), self.backend.xp
        probability = self.probability(zeros)
        self._library.collapse_by_bit_string(*self._state, (0,) * len(zeros), zeros, len(zeros), 1.0)
        self._planes[: self.columns] /= xp.sqrt(xp.where(probability > 0, probability, 1.0))[:, None]
        return probability

    def sample(self, shots: int, seed: int, column: int = 0) -> np.ndarray:
        library, plane = self._library, self._planes[column]
        sampler, needed = library.sampler_create(self._handle, plane.data.ptr, CUDA_C_64F, self.num_qubits, shots)
        try:
            workspace = self.backend.xp.empty(max(needed, 1), dtype=np.uint8)
            library.sampler_preprocess(self._handle, sampler, workspace.data.ptr, needed)
            drawn, found = np.random.default_rng(seed).random(shots), np.empty(shots, dtype=np.int64)
            library.sampler_sample(
                self._handle, sampler, found.ctypes.data, range(self.num_qubits), self.num_qubits,
                drawn.tolist(), shots, RANDNUM_ORDER,
            )  # fmt: skip
        finally:
            library.sampler_destroy(sampler)
        return found
