"""The CPU backend: its name, its primitives, and what free memory means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from qnewton_gpu import select_backend
from qnewton_gpu.backends import BACKENDS, cpu
from qnewton_gpu.errors import UnknownNameError

CPU = select_backend()
H = np.array([[4.0, 1.0], [1.0, 3.0]])


def test_auto_is_the_cpu_and_a_backend_passes_through() -> None:
    assert CPU.name == select_backend("cpu").name == "cpu"
    assert select_backend(CPU) is CPU
    assert CPU.device.startswith("CPU, ") and CPU.device.endswith(" cores")


@pytest.mark.parametrize("name", ["tpu", "", None, 3, "cpu:0", "gpu:", "gpu:-1", "gpu:x"])
def test_an_unknown_backend_lists_the_valid_ones(name) -> None:
    with pytest.raises(UnknownNameError, match=", ".join(("auto", *BACKENDS))):
        select_backend(name)


@pytest.mark.parametrize("matrix", [H, sp.csr_array(H), sp.csr_array(np.ones((3, 2))), np.ones((3, 2))])
@pytest.mark.parametrize("columns", [1, 3])
def test_a_complex_product_is_two_real_ones(matrix, columns: int) -> None:
    random = np.random.default_rng(0)
    v = random.standard_normal((2, 2 * columns))[:, ::2] + 1j * random.standard_normal((2, columns))
    for vectors in (v, np.asfortranarray(v), v.real, np.broadcast_to(v[:, :1], (2, columns))):
        assert np.allclose(CPU.real_product(matrix, vectors), matrix @ vectors, rtol=0, atol=1e-14)


def test_row_sums() -> None:
    values = np.arange(12.0).reshape(6, 2)
    assert CPU.row_sums(values, np.array([0, 1, 4])).tolist() == [[0, 1], [12, 15], [18, 20]]


@pytest.mark.parametrize("library", ["torch", "scipy"])
def test_both_libraries_solve_and_refuse_alike(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "scipy":
        monkeypatch.delitem(cpu.sys.modules, "torch")
    b = np.array([[1.0, 0.0], [2.0, 1.0]])
    for matrix in (H, np.asfortranarray(H)):
        for solve in (CPU.cholesky_solve, CPU.lu_solve):
            x = solve(matrix, b)
            assert isinstance(x, np.ndarray) and np.allclose(H @ x, b, rtol=0, atol=1e-14)
    assert H.tolist() == [[4.0, 1.0], [1.0, 3.0]] and b.tolist() == [[1.0, 0.0], [2.0, 1.0]]
    with pytest.raises(np.linalg.LinAlgError):
        CPU.cholesky_solve(-H, b)
    with pytest.raises(np.linalg.LinAlgError):
        CPU.lu_solve(np.ones((2, 2)), b)


def test_arrays_cross_to_torch_and_back_without_a_copy() -> None:
    array = np.arange(4.0)
    tensor = CPU.to_torch(array)
    assert tensor.data_ptr() == array.ctypes.data and tensor.dtype == torch.float64
    assert CPU.to_numpy(CPU.asarray(array)) is array


def test_free_memory_is_the_least_of_machine_and_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/sys/fs/cgroup/memory.max": "1000\n", "/sys/fs/cgroup/memory.current": "400\n",
             "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 5 kB\n"}  # fmt: skip

    def read_text(path: Path, *_: object, **__: object) -> str:
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    assert CPU.available_bytes() == 600
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert CPU.available_bytes() == 5 * 1024
    files["/sys/fs/cgroup/memory.max"] = "100\n"
    assert CPU.available_bytes() == 0
    del files["/proc/meminfo"]
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert CPU.available_bytes() > 2**20  # all the machine has
