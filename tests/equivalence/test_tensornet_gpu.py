"""Tensor networks by cuTensorNet against state vectors of the CPU: one suite for the rehearsal and for a GPU.

The rehearsal runs the code of the package on stand-ins for cuTensorNet, whose parameters are those of the real library
(signatures.json); it is no GPU result. `make test-gpu` runs the same on a GPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.backends.contraction_paths import path_cost, time_order
from qnewton_gpu.backends.network_state import NetworkStateBackend, NetworkStateChain
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.backends.tensornet_gpu import CuTensorNetEngine, SlicedPathCost
from qnewton_gpu.circuit import Circuit
from qnewton_gpu.errors import NotEnoughMemoryError
from qnewton_gpu.operators.toeplitz import screened_poisson
from qnewton_gpu.tensor_networks import CircuitNetwork
from qnewton_gpu.tensor_networks.network import Operand, TensorNetwork

CPU = qn.select_backend("cpu")
QUBITS = 6


@pytest.fixture(scope="module", params=["rehearsal", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The GPU backend. After a rehearsal no network and no state of cuTensorNet is left."""
    if request.param == "gpu":
        yield request.getfixturevalue("gpu")
        return
    from standins.cutensornet_standin import Live
    from standins.rehearsal import rehearse

    with rehearse() as backend:
        yield backend
        del backend
    gc.collect()
    assert not Live.networks | Live.states  # pytest may still hold the engine, and it its handle


@pytest.fixture(scope="module")
def engine(device: Any) -> Iterator[CuTensorNetEngine]:
    yield CuTensorNetEngine(device)


def program(seed: int, qubits: int = QUBITS, gates: int = 12) -> Circuit:
    """Gates of every kind on random qubits."""
    random, circuit = np.random.default_rng(seed), Circuit(qubits)
    for kind in random.integers(0, 5, gates):
        chosen = [int(q) for q in random.permutation(qubits)]
        if kind == 0:
            circuit.hadamard(chosen[0])
        elif kind == 1:
            circuit.rz(random.normal(), chosen[0], chosen[1 : random.integers(1, 4)])
        elif kind == 2:
            circuit.shift(int(random.integers(1, 7)), sorted(chosen[:3]), chosen[3:4], [int(random.integers(2))])
        elif kind == 3:
            circuit.permute(random.permutation(4), chosen[:2], "permutation")
        else:
            circuit.prepare(random.standard_normal(4), chosen[:2])
    return circuit


def start(columns: int = 2, qubits: int = 3, seed: int = 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((1 << qubits, columns))
    return vectors / np.linalg.norm(vectors, axis=0)


def exact(circuit: Circuit, vectors: np.ndarray) -> Any:
    state = CPU.state_vector(vectors, circuit.num_qubits)
    state.run(circuit)
    return state


def network(circuit: Circuit, vectors: np.ndarray) -> TensorNetwork:
    state = CircuitNetwork(circuit.num_qubits, vectors)
    state.run(circuit)
    return state.amplitudes()


def searched(engine: CuTensorNetEngine, asked: TensorNetwork, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What cuTensorNet's finder gives, although the order in time would be cheap."""
    monkeypatch.setattr("qnewton_gpu.backends.tensornet_gpu.FLOPS_OF_A_SEARCH", 0.0)
    monkeypatch.setattr("qnewton_gpu.backends.tensornet_gpu.path_cost", _dear_in_time)
    return engine.find_path(asked)


def _dear_in_time(asked: TensorNetwork, path: Any, finder: str) -> Any:
    cost = path_cost(asked, path, finder)
    return cost if finder == "cutensornet" else type(cost)(path, np.inf, cost.largest_intermediate, cost.bytes, finder)


# --- exact contraction


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), columns=st.integers(1, 3))
def test_amplitudes_are_those_of_the_state_vector(device: Any, seed: int, columns: int) -> None:
    circuit, vectors = program(seed), start(columns)
    state: Any = TensornetBackend(device).state_vector(device.asarray(vectors), QUBITS)
    state.run(state.fuse(circuit))
    expected = exact(circuit, vectors)
    assert np.allclose(device.to_numpy(state.lowest(8)), expected.lowest(8), rtol=0, atol=1e-10)
    assert np.allclose(device.to_numpy(state.norms()), expected.norms(), rtol=0, atol=1e-10)


def test_a_path_of_cutensornet_contracts_to_the_same(
    engine: CuTensorNetEngine, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit, vectors = program(0), start()
    asked = network(circuit, vectors)
    cost = searched(engine, asked, monkeypatch)
    assert cost.finder == "cutensornet" and np.isfinite(cost.flops) and len(cost.path) == len(asked.operands) - 1
    result = device.to_numpy(engine.contract(asked, cost)).reshape(-1, 2)
    assert np.allclose(result, exact(circuit, vectors).amplitudes, rtol=0, atol=1e-12)


def test_a_network_that_does_not_fit_is_sliced(
    engine: CuTensorNetEngine, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums over slices are the same sums; flops are those of all slices, bytes those of one and of the operands."""
    asked = network(program(3, qubits=10, gates=25), start())
    whole = searched(engine, asked, monkeypatch)
    monkeypatch.setattr(type(device), "available_bytes", lambda self: int(whole.bytes / 4))
    cost = engine.find_path(asked)
    assert isinstance(cost, SlicedPathCost) and cost.slices and cost.bytes < whole.bytes
    monkeypatch.undo()
    by_time = path_cost(asked, time_order(asked), "time order")
    there, here = (device.to_numpy(engine.contract(asked, c)) for c in (cost, by_time))
    assert np.allclose(there, here, rtol=0, atol=1e-12)


def test_one_path_serves_many_phases(engine: CuTensorNetEngine, device: Any) -> None:
    """The Network is planned once; operands that are replaced leave the others as they were."""
    random = np.random.default_rng(0)
    matrices = [random.standard_normal((4, 4)) + 0j for _ in range(3)]
    chain = TensorNetwork(tuple(map(Operand.of, matrices)), ((0, 1), (1, 2), (2, 3)), (0, 3))
    contraction = engine.contraction(chain, engine.find_path(chain))
    for phase in (0.0, 1.0, 2.0):
        middle = np.exp(1j * phase) * matrices[1]
        found = device.to_numpy(contraction({1: middle}))
        assert np.allclose(found, matrices[0] @ middle @ matrices[2], rtol=0, atol=1e-12)
    assert np.allclose(device.to_numpy(contraction()), np.linalg.multi_dot(matrices), rtol=0, atol=1e-12)


def test_hyperindices_scalars_and_single_operands(engine: CuTensorNetEngine, device: Any) -> None:
    random = np.random.default_rng(0)
    a, b, v, s = (
        random.standard_normal((3, 4)),
        random.standard_normal((3, 5)),
        random.standard_normal(3),
        np.array(2.0),
    )
    cases = [
        TensorNetwork(tuple(map(Operand.of, (a, b, v))), ((0, 1), (0, 2), (0,)), (0, 2, 1)),
        TensorNetwork(tuple(map(Operand.of, (a, s, v))), ((0, 1), (), (0,)), (1,)),
        TensorNetwork((Operand.of(a),), ((0, 1),), (1,)),
    ]
    for asked in cases:
        cost = engine.find_path(asked)
        expected = np.einsum(*asked.interleaved())
        for _ in range(2):
            assert np.allclose(device.to_numpy(engine.contract(asked, cost)), expected, rtol=0, atol=1e-12)
            assert np.allclose(device.to_numpy(engine.contraction(asked, cost)()), expected, rtol=0, atol=1e-12)


def test_a_search_makes_no_operand(engine: CuTensorNetEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> np.ndarray:
        raise AssertionError("an operand was made before its cost was known")

    size = 1 << 20
    operands = tuple(Operand((size, size), refuse) for _ in range(3))
    asked = TensorNetwork(operands, ((0, 1), (1, 2), (2, 3)), (0, 3))
    cost = engine.find_path(asked)
    assert cost.bytes >= 3 * 16 * size**2
    with pytest.raises(NotEnoughMemoryError, match="GiB"):
        TensornetBackend(engine.base).contract(asked)


@pytest.mark.parametrize("encoding", ["matching", "banded", "toeplitz"])
def test_solutions_are_those_of_the_circuit(device: Any, encoding: str) -> None:
    """QSVT by exact contraction, by the chains of this package on the device, and by those of cuTensorNet."""
    b = start(1)[:, 0]

    def system(backend: Any) -> Any:
        return screened_poisson([3], 3.0, backend) if encoding == "toeplitz" else screened_poisson([3], 3.0).dense()

    options: dict[str, Any] = {"solver": "qsvt", "encoding": encoding, "tolerance": 1e-2}
    expected = qn.solve(system(CPU), b, mode="circuit", backend=CPU, **options)
    for backend in (TensornetBackend(device), TensornetBackend(device, 64), NetworkStateBackend(device, 64)):
        here = qn.solve(system(device), b, backend=backend, **options)
        assert here.solved and here.queries == expected.queries
        assert np.allclose(here.x, expected.x, rtol=0, atol=1e-10)
        assert here.success_probability == pytest.approx(expected.success_probability, abs=1e-10)


# --- NetworkState


def chain(engine: CuTensorNetEngine, circuit: Circuit, vectors: np.ndarray, bond_dimension: int = 64) -> Any:
    state = NetworkStateChain(engine, engine.base.asarray(vectors), circuit.num_qubits, bond_dimension)
    state.run(circuit)
    return state


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), columns=st.integers(1, 2))
def test_network_states_are_those_of_the_state_vector(engine: Any, device: Any, seed: int, columns: int) -> None:
    circuit, vectors = program(seed), start(columns)
    state, expected = chain(engine, circuit, vectors), exact(circuit, vectors)
    assert np.allclose(device.to_numpy(state.amplitudes), expected.amplitudes, rtol=0, atol=1e-10)
    assert np.allclose(device.to_numpy(state.lowest(5)), expected.amplitudes[:5], rtol=0, atol=1e-10)
    assert np.allclose(device.to_numpy(state.norms()), 1, rtol=0, atol=1e-10)
    assert (state.truncation_error < 1e-5).all(), "nothing was dropped: what is left is what a norm resolves"
    for qubits in ([], [4], [1, 5, 3]):
        here = device.to_numpy(state.probability(qubits))
        assert np.allclose(here, expected.probability(qubits), rtol=0, atol=1e-10)
    table = device.to_numpy(state.marginal([2, 0]))
    every = (abs(expected.amplitudes) ** 2).reshape(8, 2, 2, 2, columns).sum(axis=(0, 2))  # (qubit 2, qubit 0)
    assert np.allclose(table, every.transpose(1, 0, 2).reshape(4, columns), rtol=0, atol=1e-10)


def test_stretches_change_nothing(engine: Any, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnewton_gpu.backends.network_state.STRETCH", 3)
    circuit, vectors = program(5, gates=20), start()
    state = chain(engine, circuit, vectors)
    assert np.allclose(device.to_numpy(state.amplitudes), exact(circuit, vectors).amplitudes, rtol=0, atol=1e-10)


def test_postselection_goes_on(engine: Any, device: Any) -> None:
    circuit, vectors = program(2), start()
    state, expected = chain(engine, circuit, vectors), exact(circuit, vectors)
    for qubits in ([5, 2], []):
        here, there = state.postselect(qubits), expected.postselect(qubits)
        assert np.allclose(device.to_numpy(here), there, rtol=0, atol=1e-10)
    following = program(6)
    state.run(following)
    expected.run(following)
    assert np.allclose(device.to_numpy(state.amplitudes), expected.amplitudes, rtol=0, atol=1e-9)


def test_samples_have_the_frequencies_of_the_state(engine: Any) -> None:
    shots, circuit, vectors = 4000, program(7), start(1)
    state = chain(engine, circuit, vectors)
    drawn = state.sample(shots, seed=0)
    assert np.array_equal(drawn, state.sample(shots, seed=0)) and drawn.shape == (shots,)
    p = abs(exact(circuit, vectors).amplitudes[:, 0]) ** 2
    counts = np.bincount(drawn, minlength=len(p))
    assert counts[p < 1e-12].sum() == 0
    assert (abs(counts - shots * p) <= 5 * np.sqrt(shots * p * (1 - p)) + 1e-6).all()


def test_truncation_shows_in_the_error(engine: Any, device: Any) -> None:
    circuit, vectors = program(9, gates=30), start(1)
    expected = exact(circuit, vectors).amplitudes
    errors, distances = [], []
    for bond_dimension in (2, 4, 8):
        state = chain(engine, circuit, vectors, bond_dimension)
        errors.append(float(state.truncation_error[0]))
        distances.append(float(np.linalg.norm(device.to_numpy(state.amplitudes) - expected)))
        assert state.bond_dimension <= bond_dimension
    assert distances[2] < 1e-10 and errors[2] < 1e-5
    assert distances[0] > 1e-3 and errors[0] > 1e-3 and errors[0] > errors[2]


def test_an_engine_gives_its_handle_back(device: Any) -> None:
    if "rehearsal" not in device.device:
        pytest.skip("handles are counted in the rehearsal")
    from standins.cutensornet_standin import Live

    before = set(Live.handles)
    made = CuTensorNetEngine(device)
    assert len(Live.handles) == len(before) + 1
    del made
    gc.collect()
    assert Live.handles == before


def test_little_comes_to_the_host(engine: Any, device: Any) -> None:
    """Of a register: what is asked for, and a norm for each column."""
    if "rehearsal" not in device.device:
        pytest.skip("transfers are counted in the rehearsal")
    from standins.cupy_standin import Transfers

    circuit, vectors = program(4), start()
    before = Transfers.to_host
    state = chain(engine, circuit, vectors)
    state.norms()
    assert Transfers.to_host - before <= 4096
    cost = engine.find_path(network(circuit, vectors))
    before = Transfers.to_host
    engine.contract(network(circuit, vectors), cost)
    assert Transfers.to_host == before
