"""backend="tensornet" where it cannot serve: bad names, no cotengra, no memory, Ctrl-C."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu import backends, errors
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.cpu import CpuBackend
from qnewton_gpu.backends.tensornet import MOST_KEPT, TensornetBackend
from qnewton_gpu.backends.tensornet_cpu import CotengraEngine
from qnewton_gpu.cli import doctor, main
from qnewton_gpu.tensor_networks import CircuitNetwork, Operand, TensorNetwork

A, b = np.array([[2.0, 1.0], [1.0, -1.0]]), np.array([1.0, 2.0])


@pytest.mark.parametrize(
    "name", ["tensornet:0", "tensornet:x", "tensornet:", "tensornet:-4", "tensornet:1.5", "tensornet:²", "tensornets"]
)
def test_a_bond_dimension_is_a_positive_integer(name: str) -> None:
    with pytest.raises(errors.UnknownNameError, match="tensornet:BOND_DIMENSION"):
        select_backend(name)


def test_a_bond_dimension_in_the_name_makes_chains() -> None:
    backend: Any = select_backend("tensornet:8")
    assert backend.bond_dimension == 8 and backend is select_backend("tensornet:8")
    assert qn.solve(A, b, solver="qsvt", backend="tensornet:8").solved


@pytest.mark.parametrize("mode", ["subspace", "fused"])
def test_modes_without_gates_are_refused(mode: str) -> None:
    with pytest.raises(errors.CombinationError, match=r"mode.*tensornet.*'circuit'"):
        qn.solve(A, b, solver="qsvt", mode=mode, backend="tensornet")
    with pytest.raises(errors.CombinationError, match="mode"):
        qn.Scheduler(mode=mode, backend="tensornet")


def test_an_encoding_without_gates_is_refused() -> None:
    with pytest.raises(errors.CombinationError, match="walk has no gate program"):
        qn.solve(A, b, solver="qsvt", encoding="walk", backend="tensornet")


def test_without_cotengra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cotengra.pathfinders.path_basic", None)
    with pytest.raises(errors.BackendUnavailableError, match=r'pip install "qnewton-gpu\[tensornet\]"'):
        TensornetBackend(CpuBackend())
    TensornetBackend(CpuBackend(), bond_dimension=4)  # chains need none


class Small(CpuBackend):
    """A machine with little memory."""

    def __init__(self, free: int) -> None:
        self.free = free

    def available_bytes(self) -> int:
        return self.free


def test_what_does_not_fit_is_refused_before_it_is_allocated() -> None:
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.zeros((1 << 14, 1 << 14))

    operand = Operand((1 << 14, 1 << 14), make)
    network = TensorNetwork((operand, operand), ((0, 1), (1, 2)), (0, 2))
    backend = TensornetBackend(Small(1 << 30))
    tracemalloc.start()
    try:
        with pytest.raises(errors.NotEnoughMemoryError, match=r"needs 1[0-9.]* GiB .* but 1 GiB are free"):
            backend.contract(network)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not made and peak < 1 << 20


def test_a_solve_that_does_not_fit_says_how_many_qubits_would() -> None:
    random = np.random.default_rng(0)
    H = random.normal(size=(16, 16))
    H, size = 8 * np.eye(16) + 0.2 * (H + H.T), 1 << 18
    with pytest.raises(errors.NotEnoughMemoryError, match=r"About \d of its 10 qubits would fit"):
        qn.solve(H, H[0], solver="qsvt", encoding="matching", backend=TensornetBackend(Small(size)))
    assert qn.solve(H, H[0], solver="qsvt", encoding="dilation", backend=TensornetBackend(Small(size))).solved


def test_no_register_is_charged_that_is_never_kept() -> None:
    """Amplitudes of 60 qubits on a machine with one MiB: 2^60 amplitudes are never predicted, or made."""
    backend = TensornetBackend(Small(1 << 20))
    state: Any = backend.state_vector(np.ones((1, 1)), 60)
    np.testing.assert_allclose(state.lowest(2), [[1], [0]])
    with pytest.raises(errors.NotEnoughMemoryError, match=r"About \d+ of its 60 qubits would fit"):
        state.amplitudes  # noqa: B018


def test_ctrl_c_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TensornetBackend(CpuBackend())
    network = CircuitNetwork(3, np.eye(8)[:, :2])

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CotengraEngine, "find_path", interrupted)
        backend.contract(network.amplitudes())
    assert not backend._kept and backend._lock.acquire(blocking=False)
    backend._lock.release()
    state = backend.state_vector(np.eye(8)[:, :2], 3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("qnewton_gpu.backends.tensornet_cpu.reduced", interrupted)
        state.lowest(8)
    np.testing.assert_allclose(state.lowest(8), np.eye(8)[:, :2])


def test_few_paths_are_kept() -> None:
    backend = TensornetBackend(CpuBackend())
    for n in range(1, MOST_KEPT + 4):
        backend.contract(CircuitNetwork(n).amplitudes([], dict.fromkeys(range(n), 0)))
    assert len(backend._kept) == MOST_KEPT


def test_doctor_names_the_engine_or_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def row() -> tuple[str, ...]:
        (found,) = [row for row in doctor._machine() if row[0] == "backend tensornet"]
        return found

    assert row()[1] == "ready" and "cotengra" in row()[2]
    monkeypatch.setattr(backends, "_made", backends._made.__wrapped__)  # makes backends anew
    monkeypatch.setitem(sys.modules, "cotengra.pathfinders.path_basic", None)
    assert row()[1] == "not here" and 'pip install "qnewton-gpu[tensornet]"' in row()[2]


def test_the_command_line_takes_the_backend(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    np.save(tmp_path / "A.npy", A)
    np.save(tmp_path / "b.npy", b)
    files = [str(tmp_path / "A.npy"), str(tmp_path / "b.npy")]
    assert main(["solve", *files, "--solver", "qsvt", "--backend", "tensornet"]) == 0
    assert "tensor networks" in capsys.readouterr().out
    assert main(["solve", *files, "--solver", "qsvt", "--backend", "tensornet:0"]) == 2
    assert "unknown name 'tensornet:0'" in capsys.readouterr().err
