"""The CPU backend: NumPy and SciPy, the shortest correct code, and so the specification of every other backend."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ..circuit import Gate, PermutationGate, ShiftGate
from . import factorisations
from .gate_fusion import SparseGate, StateControlledGate, fuse, merge_conjugations, sparse_product


class CpuBackend:
    """NumPy arrays. Dense factorisations run in torch once torch is loaded, in SciPy otherwise."""

    name = "cpu"
    xp = np
    modes: tuple[str, ...] = ("subspace", "fused", "circuit")
    register_bytes = (48, 48)
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
        if k == 1 and isinstance(matrix, np.ndarray):
            return _two_products(matrix, vectors)
        real = np.ascontiguousarray(vectors, dtype=np.complex128).view(np.float64).reshape(n, 2 * k)
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

    def own_stream(self) -> AbstractContextManager[None]:
        return nullcontext()

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

    def apply(self, gate: Any) -> None:
        self.amplitudes = _apply(gate, self.amplitudes)

    def fuse(self, gates: Iterable[Any]) -> list[Any]:
        return fuse(gates, sparse_product)

    def run(self, gates: Iterable[Any]) -> None:
        for gate in merge_conjugations(gates):
            self.apply(gate)

    def lowest(self, size: int) -> np.ndarray:
        return self.amplitudes[:size]

    def norms(self) -> np.ndarray:
        return np.sqrt(self.probability(()))

    def _where_zero(self, qubits: Iterable[int]) -> np.ndarray:
        mask = sum(1 << q for q in qubits)
        return (np.arange(1 << self.num_qubits) & mask) == 0

    def probability(self, qubits: Iterable[int]) -> np.ndarray:
        zeros = list(qubits)
        kept = self.amplitudes[self._where_zero(zeros)] if zeros else self.amplitudes
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
    """The gate on a state of shape (2^n, k), k columns at once; the state is left as it is."""
    return _apply(gate, state.copy())


def _apply(gate: Any, state: np.ndarray) -> np.ndarray:
    """The same, in the memory of the state where that is possible."""
    size, columns = state.shape
    n = size.bit_length() - 1
    tensor = state.reshape((2,) * n + (columns,))
    axes = {q: n - 1 - q for q in range(n)}  # qubit 0 is the last axis of the index
    if isinstance(gate, ShiftGate):
        gate = gate.table
    if isinstance(gate, SparseGate):
        return _sparse_product(gate, tensor, axes).reshape(size, columns)
    if isinstance(gate, PermutationGate):
        return _permute(gate, tensor, axes).reshape(size, columns)
    if isinstance(gate, StateControlledGate):
        part, axes = _where(tensor, axes, gate.gate.controls, gate.gate.control_values)
        _apply_under_state(gate, part, axes)
    else:
        part, axes = _where(tensor, axes, gate.controls, gate.control_values)
        _multiply(gate.matrix, part, [axes[q] for q in gate.targets])
    return state


def _where(
    tensor: np.ndarray, axes: dict[int, int], qubits: Sequence[int], values: Sequence[int]
) -> tuple[np.ndarray, dict[int, int]]:
    """The part in which these qubits have these values, a view, and the axes of the other qubits."""
    chosen: list[Any] = [slice(None)] * tensor.ndim
    for qubit, value in zip(qubits, values, strict=True):
        chosen[axes[qubit]] = value
    left = [q for q in sorted(axes, reverse=True) if q not in qubits]
    return tensor[tuple(chosen)], {q: axis for axis, q in enumerate(left)}


def _grouped(tensor: np.ndarray, axes: Sequence[int], most_before: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """`tensor` with these axes next to each other, the last most significant, as it is and as (before, own, behind).

    The second is a view of the first wherever strides allow it, and a copy elsewhere: where many small products, one
    for each index before, would be slower.
    """
    own = 1 << len(axes)
    before = 1 << (axes[-1] if axes else 0)
    behind = tensor.size // (own * before)
    in_place = list(axes) == list(range(axes[0], axes[0] - len(axes), -1)) if axes else True
    if not in_place or before > max(most_before, behind):
        tensor, before = np.moveaxis(tensor, axes[::-1], range(len(axes))), 1
    return tensor, tensor.reshape(before, own, -1)


def _multiply(matrix: np.ndarray, part: np.ndarray, axes: Sequence[int]) -> None:
    """part <- matrix part on these axes, the first least significant."""
    if len(axes) == 1 and matrix[0, 1] == 0 == matrix[1, 0]:
        for value, factor in enumerate(matrix.diagonal()):
            if factor != 1:
                part[(slice(None),) * axes[0] + (value,)] *= factor
        return
    moved, grouped = _grouped(part, axes)
    if grouped.shape[0] == grouped.shape[2] == 1 and not np.iscomplexobj(matrix):
        moved[...] = _two_products(matrix, grouped[0]).reshape(moved.shape)
        return
    moved[...] = _product(matrix, grouped).reshape(moved.shape)


def _product(matrix: Any, vectors: np.ndarray) -> np.ndarray:
    """matrix @ vectors; a real matrix is not made complex for complex vectors, which are twice as many real ones."""
    if np.iscomplexobj(matrix) or not np.iscomplexobj(vectors):
        return np.asarray(matrix @ vectors)
    if vectors.strides[-1] != vectors.itemsize:
        vectors = np.ascontiguousarray(vectors)
    return (matrix @ vectors.view(np.float64)).view(np.complex128)


def _two_products(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A dense real matrix times one complex column, (N, 1): BLAS packs a matrix for a product with two columns."""
    product = np.empty((matrix.shape[0], 1), dtype=np.complex128)
    product.real[:, 0] = matrix @ np.ascontiguousarray(vector.real[:, 0])
    product.imag[:, 0] = matrix @ np.ascontiguousarray(vector.imag[:, 0])
    return product


def _apply_under_state(gate: StateControlledGate, part: np.ndarray, axes: dict[int, int]) -> None:
    """part += |p> x (M - 1) <p|part."""
    moved, grouped = _grouped(part, [axes[q] for q in gate.where])
    overlap = _product(gate.state.conj()[None], grouped)
    others = [q for q in sorted(axes, reverse=True) if q not in gate.where]
    tensor = overlap.reshape((2,) * len(others) + part.shape[-1:])
    change = gate.gate.matrix - np.eye(len(gate.gate.matrix))
    _multiply(change, tensor, [others.index(q) for q in gate.gate.targets])
    grouped += _product(gate.state[:, None], overlap)
    if not np.may_share_memory(grouped, moved):
        moved[...] = grouped.reshape(moved.shape)


def _permute(gate: PermutationGate, tensor: np.ndarray, axes: dict[int, int]) -> np.ndarray:
    moved, grouped = _grouped(tensor, [axes[q] for q in gate.targets], most_before=8)
    if gate.permutation is not None:
        grouped = np.take(grouped, gate.permutation, axis=1)
    if gate.diagonal is not None:
        grouped = np.multiply(grouped, gate.diagonal[:, None], out=grouped if np.iscomplexobj(grouped) else None)
    return _moved_back(grouped, moved, [axes[q] for q in gate.targets])


def _sparse_product(gate: SparseGate, tensor: np.ndarray, axes: dict[int, int]) -> np.ndarray:
    moved, grouped = _grouped(tensor, [axes[q] for q in gate.targets], most_before=8)
    result = np.empty_like(grouped)
    for source, target in zip(grouped, result, strict=True):
        target[...] = _product(gate.matrix, source)
    return _moved_back(result, moved, [axes[q] for q in gate.targets])


def _moved_back(grouped: np.ndarray, moved: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """What `_grouped` made, with every axis where it was."""
    result = grouped.reshape(moved.shape)
    if len(grouped) == 1:
        return np.moveaxis(result, range(len(axes)), axes[::-1])
    return result


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
