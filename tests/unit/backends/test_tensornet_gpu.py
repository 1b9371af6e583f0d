"""What the cuTensorNet side says without a GPU, and what its stand-ins stand for."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standins import cupy_standin, cutensornet_standin, network_state_standin
from standins.cutensornet_standin import Live
from standins.rehearsal import rehearse

from qnewton_gpu.backends import network_state, select_backend, tensornet_gpu
from qnewton_gpu.backends.network_state import NetworkStateBackend, NetworkStateChain
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.backends.tensornet_gpu import CuTensorNetEngine, why_no_cutensornet
from qnewton_gpu.errors import (
    BackendUnavailableError,
    CombinationError,
    NotEnoughMemoryError,
    ParameterError,
    ShapeError,
)
from qnewton_gpu.tensor_networks.network import Operand, TensorNetwork

RECORD: dict[str, list[str]] = cupy_standin.RECORD["cutensornet"]


@pytest.fixture(scope="module")
def engine() -> Iterator[CuTensorNetEngine]:
    with rehearse() as backend:
        yield CuTensorNetEngine(backend)


# --- the stand-ins


@pytest.mark.parametrize("name", RECORD)
def test_a_stand_in_has_the_parameters_of_the_real_one(name: str) -> None:
    experimental = "experimental" in name
    thing: Any = network_state_standin if experimental else cutensornet_standin
    for part in name.split(".")[2 + experimental :]:
        thing = getattr(thing, part)
    assert list(inspect.signature(thing).parameters) == RECORD[name]


def test_the_bindings_have_the_parameters_of_the_real_ones() -> None:
    for name, parameters in cupy_standin.RECORD["cutensornet bindings"].items():
        assert list(inspect.signature(getattr(cutensornet_standin, name)).parameters) == parameters


def test_every_method_that_is_called_is_on_record() -> None:
    called = set()
    for node in ast.walk(ast.parse(Path(network_state.__file__).read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._ask":
            called.add(ast.literal_eval(node.args[0]))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("state", "self._states[column]"):
            called.add(node.attr)
    assert called == {name.rpartition(".")[2] for name in RECORD if ".NetworkState." in name}
    called = set()
    for node in ast.walk(ast.parse(Path(tensornet_gpu.__file__).read_text())):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("planned", "self._planned"):
            called.add(node.attr)
    assert called == {name.rpartition(".")[2] for name in RECORD if ".Network." in name and "__" not in name}


def test_the_stand_in_is_as_strict_as_cutensornet(engine: CuTensorNetEngine) -> None:
    xp, options, stream = engine.base.xp, engine.options(), engine.base.stream
    one = xp.ones((2, 2), dtype=np.complex128)
    network = cutensornet_standin.Network
    with pytest.raises(TypeError, match="same package"):
        network(one, [0, 1], np.ones((2, 2), complex), [1, 2], [0, 2], options=options, stream=stream)
    with pytest.raises(ValueError, match="same data type"):
        network(one, [0, 1], xp.ones((2, 2)), [1, 2], [0, 2], options=options, stream=stream)
    with pytest.raises(cutensornet_standin.cuTensorNetError, match="INVALID_VALUE"):
        network(xp.ones((), dtype=np.complex128), [], one, [0, 1], [0], options=options, stream=stream)
    made = network(one, [0, 1], one, [1, 2], [0, 2], options=options, stream=stream)
    with pytest.raises(RuntimeError, match="before contract_path"):
        made.contract(stream=stream)
    made.contract_path(optimize={"path": [(0, 1)]})
    made.reset_operands(None)
    with pytest.raises(RuntimeError, match="set to None"):
        made.contract(stream=stream)
    with pytest.raises(ValueError, match="strides"):
        made.reset_operands(one, one.T, stream=stream)
    made.free()
    with pytest.raises(cutensornet_standin.InvalidNetworkState):
        made.contract(stream=stream)


def test_the_stand_in_of_network_state_takes_the_documented_order_of_axes(engine: CuTensorNetEngine) -> None:
    """A gate on (a, b) has a most significant; an operator chain is (left, in, right, out)."""
    xp, stream = engine.base.xp, engine.base.stream
    config = network_state_standin.MPSConfig(max_extent=4)

    def state() -> Any:
        return network_state_standin.NetworkState((2, 2), config=config, options=engine.options())

    def amplitudes(made: Any) -> np.ndarray:
        found: np.ndarray = made.compute_batched_amplitudes({}, stream=stream).get()
        made.free()
        return found

    flip_second = np.zeros((2, 2, 2, 2), dtype=np.complex128)  # out a, out b, in a, in b
    for a in range(2):
        for b in range(2):
            flip_second[a, 1 - b, a, b] = 1
    made = state()
    made.apply_tensor_operator((0, 1), xp.asarray(flip_second), unitary=True, stream=stream)
    assert amplitudes(made)[0, 1] == pytest.approx(1)  # axes of the result: mode 0, mode 1
    raising = np.array([[0, 0], [1, 0]], dtype=np.complex128)  # |0> to |1>, nothing else
    first, last = raising.T[:, None, :], np.eye(2, dtype=np.complex128)[None]
    made = state()
    with pytest.raises(AssertionError, match="immutable"):
        made.apply_mpo((0, 1), [xp.asarray(first), xp.asarray(last)], stream=stream)
    made.apply_mpo((0, 1), [xp.asarray(first), xp.asarray(last)], immutable=True, stream=stream)
    assert amplitudes(made)[1, 0] == pytest.approx(1)
    with pytest.raises(cutensornet_standin.InvalidNetworkState):
        made.compute_sampling(1, seed=1, stream=stream)


def test_what_is_made_is_freed(engine: CuTensorNetEngine) -> None:
    before = Live.everything()
    a = np.eye(2)
    network = TensorNetwork((Operand.of(a), Operand.of(a)), ((0, 1), (1, 2)), (0, 2))
    contraction: Any = engine.contraction(network, engine.find_path(network))
    contraction()
    state = NetworkStateChain(engine, engine.base.xp.ones((4, 2)), 3, 8)
    assert len(Live.everything() - before) == 3, "a network, and a state for each column"
    del contraction, state
    assert Live.everything() == before


def test_a_path_that_cannot_be_planned_leaves_nothing(engine: CuTensorNetEngine) -> None:
    before, a = Live.everything(), np.eye(2)
    network = TensorNetwork((Operand.of(a), Operand.of(a)), ((0, 1), (1, 2)), (0, 2))
    cost = engine.find_path(network)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tensornet_gpu, "LIMIT_SHARE", 1e-9)
        with pytest.raises(NotEnoughMemoryError, match="workspace"):
            engine.contract(network, cost)
    assert Live.everything() == before


# --- refusals


def test_why_it_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuquantum.tensornet", None)
    assert "cuTensorNet cannot be used" in (why_no_cutensornet() or "")
    with rehearse() as backend:
        assert why_no_cutensornet() is None
        broken = types.ModuleType("cuquantum.bindings.cutensornet")
        broken.create = lambda: 1 / 0  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "cuquantum.bindings.cutensornet", broken)
        with pytest.raises(BackendUnavailableError, match="cuTensorNet"):
            TensornetBackend(backend)


def test_no_path_within_the_memory_means_the_order_in_time(
    engine: CuTensorNetEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise cutensornet_standin.cuTensorNetError("ALL_HYPER_SAMPLES_FAILED (24)")

    size = 1 << 20
    operands = tuple(Operand((size, size), lambda: np.zeros(0)) for _ in range(2))
    monkeypatch.setattr(engine.library, "contract_path", fail)
    assert engine.find_path(TensorNetwork(operands, ((0, 1), (1, 2)), (0, 2))).finder == "time order"


def test_what_network_state_cannot_hold_is_refused(engine: CuTensorNetEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    start = engine.base.xp.ones((2, 1))
    for qubits in (1, 64):
        with pytest.raises(ShapeError, match="NetworkState"):
            NetworkStateChain(engine, start, qubits, 8)
    for bond_dimension in (0, 1025):
        with pytest.raises(ParameterError, match="bond_dimension"):
            NetworkStateChain(engine, start, 40, bond_dimension)
    with pytest.raises(CombinationError, match="needs a GPU"):
        NetworkStateBackend(select_backend("cpu"), 8)
    state = NetworkStateChain(engine, start, 40, 8)
    with pytest.raises(NotEnoughMemoryError, match="GiB"):
        state.amplitudes  # noqa: B018
