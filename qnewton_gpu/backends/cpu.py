"""The CPU backend: NumPy and SciPy, the shortest correct code, and so the specification of every other backend."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..circuit import Circuit, Gate, MatrixGate
from . import factorisations


class CpuBackend:
    """NumPy arrays. Dense factorisations run in torch once torch is loaded, in SciPy otherwise."""

    name = "cpu"
    xp = np
    register_bytes = (48, 40)
    register_kernels: tuple[str, ...] = ()  # no mode but subspace is worth its time on a CPU, unless it is asked for
    register_bytes_per_second = 0.0
    out_of_memory = (MemoryError,)
    torch_device = "cpu"

    @property
    def device(self) -> str:
        return f"CPU, {len(os.sched_getaffinity(0))} cores"

    def asarray(self, array: Any, dtype: Any = None) -> np.ndarray:
        if "torch" in sys.modules and isinstance(array, sys.modules["torch"].Tensor):
            array = array.detach().resolve_conj().cpu().numpy()
        return np.asarray(array, dtype=dtype)

    def to_numpy(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def to_torch(self, array: np.ndarray) -> Any:
        return _tensor(array)

    def csr(self, matrix: Any) -> Any:
        return matrix

    def real_product(self, matrix: Any, vectors: np.ndarray) -> np.ndarray:
        if not np.iscomplexobj(vectors):
            return matrix @ vectors
        # k complex columns are 2k real ones: the matrix is read once and never made complex
        n, k = vectors.shape
        real = np.ascontiguousarray(vectors).view(np.float64).reshape(n, 2 * k)
        return (matrix @ real).view(np.complex128).reshape(matrix.shape[0], k)

    def row_sums(self, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, starts, axis=0)

    def cholesky_solve(self, matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        if "torch" in sys.modules:  # OpenBLAS threads and torch's OpenMP pool slow each other down fifty-fold
            return factorisations.cholesky_solve(_tensor(matrix), _tensor(rhs)).numpy()
        import scipy.linalg

        return scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix, lower=True), rhs)

    def lu_solve(self, matrix: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        if "torch" in sys.modules:
            return factorisations.lu_solve(_tensor(matrix), _tensor(rhs)).numpy()
        return np.linalg.solve(matrix, rhs)

    def conjugate_gradients(self, product: Any, rhs: np.ndarray, tolerance: float, steps: int) -> np.ndarray:
        import scipy.sparse.linalg as spla

        n = len(rhs)
        operator = spla.LinearOperator((n, n), matvec=lambda v: product(v.reshape(n, 1))[:, 0], dtype=np.float64)
        x, _ = spla.cg(operator, rhs[:, 0], rtol=tolerance, atol=0.0, maxiter=steps)
        return x[:, None]

    def state_vector(self, start: np.ndarray, num_qubits: int) -> NumpyStateVector:
        return NumpyStateVector(start, num_qubits)

    def register_program(self, encodings: Sequence[Any], dtype: str) -> None:
        return None  # lift, lower and reflect are the specification

    def subspace_program(self, encodings: Sequence[Any], dtype: str) -> None:
        return None

    def synchronize(self) -> None:
        pass

    def available_bytes(self) -> int:
        free = _meminfo_available()
        for limit, usage in (
            ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        ):
            try:
                free = min(free, int(Path(limit).read_text()) - int(Path(usage).read_text()))
            except (OSError, ValueError):  # no such control group, or "max"
                continue
        return max(free, 0)


class NumpyStateVector:
    """k registers as an array (2^n, k), gate by gate."""

    def __init__(self, start: np.ndarray, num_qubits: int) -> None:
        self.num_qubits = num_qubits
        self.amplitudes = np.zeros((1 << num_qubits, start.shape[1]), dtype=np.complex128)
        self.amplitudes[: len(start)] = start

    def apply(self, gate: Gate) -> None:
        self.amplitudes = apply_gate(gate, self.amplitudes)

    def run(self, circuit: Circuit) -> None:
        for gate in circuit.gates:
            self.apply(gate)

    def _where_zero(self, qubits: Iterable[int]) -> np.ndarray:
        mask = sum(1 << q for q in qubits)
        return (np.arange(1 << self.num_qubits) & mask) == 0

    def probability(self, qubits: Iterable[int]) -> np.ndarray:
        kept = self.amplitudes[self._where_zero(qubits)]
        return (kept.real**2 + kept.imag**2).sum(axis=0)

    def postselect(self, qubits: Iterable[int]) -> np.ndarray:
        qubits = list(qubits)
        probability = self.probability(qubits)
        self.amplitudes[~self._where_zero(qubits)] = 0
        self.amplitudes /= np.sqrt(np.where(probability > 0, probability, 1.0))
        return probability

    def sample(self, shots: int, seed: int, column: int = 0) -> np.ndarray:
        amplitude = self.amplitudes[:, column]
        cumulative = np.cumsum(amplitude.real**2 + amplitude.imag**2)
        drawn = np.random.default_rng(seed).random(shots) * cumulative[-1]
        return np.searchsorted(cumulative, drawn, side="right")


def apply_gate(gate: Gate, state: np.ndarray) -> np.ndarray:
    """The gate on a state of shape (2^n, k), k columns at once."""
    size, columns = state.shape
    n = size.bit_length() - 1
    tensor = state.reshape((2,) * n + (columns,))

    def axes(which: tuple[int, ...]) -> list[int]:
        return [n - 1 - q for q in which]  # qubit 0 is the last axis of the index

    if isinstance(gate, MatrixGate):
        result = tensor.copy()
        chosen: list[Any] = [slice(None)] * (n + 1)
        for axis, value in zip(axes(gate.controls), gate.control_values, strict=True):
            chosen[axis] = slice(value, value + 1)
        part = result[tuple(chosen)]
        moved = np.moveaxis(part, axes(gate.targets[::-1]), range(len(gate.targets)))
        moved[...] = (gate.matrix @ moved.reshape(len(gate.matrix), -1)).reshape(moved.shape)
        return result.reshape(size, columns)
    moved = np.moveaxis(tensor, axes(gate.targets[::-1]), range(len(gate.targets)))
    table = moved.reshape(1 << len(gate.targets), -1)
    if gate.permutation is not None:
        table = table[gate.permutation]
    if gate.diagonal is not None:
        table = gate.diagonal[:, None] * table
    return np.moveaxis(table.reshape(moved.shape), range(len(gate.targets)), axes(gate.targets[::-1])).reshape(
        size, columns
    )


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.require(array, requirements=["C", "W"]))  # torch warns of memory it must not write


def _meminfo_available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
