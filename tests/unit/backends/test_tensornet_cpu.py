"""Paths and what they cost; contraction of random networks with hyperindices, against numpy.einsum."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.contraction_paths import FLOPS_A_PRODUCT, path_cost, steps, time_order
from qnewton_gpu.backends.cpu import CpuBackend
from qnewton_gpu.backends.pair_contraction import pair_of
from qnewton_gpu.backends.tensornet_cpu import MOST_SEARCHED, CotengraEngine
from qnewton_gpu.circuit import Circuit
from qnewton_gpu.tensor_networks import CircuitNetwork, Operand, TensorNetwork

ENGINE = CotengraEngine(select_backend("cpu"))


def random_network(seed: int) -> TensorNetwork:
    """Up to seven operands, real and complex, on six indices of different extents, every one in any number of them."""
    random = np.random.default_rng(seed)
    extents = random.integers(1, 4, size=6)
    operands, lists = [], []
    for _ in range(int(random.integers(1, 8))):
        own = random.permutation(6)[: int(random.integers(0, 5))].tolist()
        array = random.normal(size=[extents[i] for i in own])
        if random.integers(2):
            array = array + 1j * random.normal(size=array.shape)
        operands.append(Operand.of(array))
        lists.append(tuple(own))
    there = sorted({i for own in lists for i in own})
    output = [i for i in random.permutation(there).tolist() if random.integers(2)] if there else []
    return TensorNetwork(tuple(operands), tuple(lists), tuple(output))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_path_gives_the_sum_of_products(seed: int) -> None:
    network = random_network(seed)
    expected = np.einsum(*network.interleaved())
    paths = [("time order", time_order(network)), *ENGINE._searched(network)]
    for finder, path in paths:
        found = ENGINE.contract(network, path_cost(network, path, finder))
        np.testing.assert_allclose(found, expected, atol=1e-10, err_msg=finder)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_costs_are_those_of_the_arrays_that_are_made(seed: int) -> None:
    network = random_network(seed)
    path = time_order(network)
    live = [np.asarray(array) for array in network.arrays()]
    indices, largest = list(network.indices), 1
    for step, result in steps(network, path):
        low, high = step.positions
        second, first = live.pop(high), live.pop(low)
        names = indices.pop(high), indices.pop(low)
        pair = pair_of(names[1], names[0], step.kept, network.extents, {})
        live.append(pair(first, second))
        indices.append(pair.result(names[1], names[0]))
        assert set(indices[-1]) == set(result) and live[-1].shape == tuple(network.extents[i] for i in indices[-1])
        largest = max(largest, live[-1].size)
    assert path_cost(network, path, "time order").largest_intermediate == largest


def test_the_cost_of_a_matrix_times_a_vector() -> None:
    network = TensorNetwork((Operand.of(np.ones((8, 4))), Operand.of(np.ones(4))), ((0, 1), (1,)), (0,))
    cost = path_cost(network, ((0, 1),), "by hand")
    assert cost.flops == FLOPS_A_PRODUCT * 32 and cost.largest_intermediate == 8
    assert cost.bytes == 16 * (32 + 4 + 8)


def chain(length: int, size: int) -> TensorNetwork:
    """matrix @ matrix @ ... @ vector, in the order that is best from behind."""
    matrix = Operand((size, size), lambda: np.eye(size), "matrix")
    operands = (*[matrix] * length, Operand((size,), lambda: np.arange(float(size))))
    return TensorNetwork(operands, (*((i, i + 1) for i in range(length)), (length,)), (0,))


def test_the_cheaper_path_is_taken() -> None:
    network = chain(6, 64)
    cost = ENGINE.find_path(network)
    assert cost.finder != "time order"
    assert cost.flops == 6 * FLOPS_A_PRODUCT * 64**2  # a matrix times a vector, six times
    np.testing.assert_array_equal(ENGINE.contract(network, cost), np.arange(64.0))


def test_of_paths_that_do_not_fit_the_smallest_is_named() -> None:
    class Nothing(CpuBackend):
        def available_bytes(self) -> int:
            return 0

    network = chain(3, 16)
    cost = CotengraEngine(Nothing()).find_path(network)
    assert cost.bytes == min(path_cost(network, path, "").bytes for _, path in ENGINE._searched(network))


def test_long_and_small_networks_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("searched")

    monkeypatch.setattr(CotengraEngine, "_searched", fail)
    assert ENGINE.find_path(chain(1, 2)).finder == "time order"
    assert ENGINE.find_path(chain(MOST_SEARCHED, 2)).finder == "time order"


def test_no_intermediate_of_an_ordered_circuit_exceeds_its_register() -> None:
    state, circuit = CircuitNetwork(6), Circuit(6)
    for _ in range(3):
        for q in range(6):
            circuit.hadamard(q)
        circuit.rz(0.3, 0, range(1, 6))
        circuit.shift(3, range(6))
    state.run(circuit)
    network = state.amplitudes()
    cost = path_cost(network, time_order(network), "time order")
    assert cost.largest_intermediate <= 2 * 2**6  # a carry beside the register
    assert math.prod(network.shape) == 2**6


@pytest.mark.parametrize("question", ["amplitudes", "norm"])
def test_predicted_bytes_are_those_that_are_taken(question: str) -> None:
    state, circuit = CircuitNetwork(15), Circuit(15)
    for q in range(15):
        circuit.hadamard(q)
    circuit.rz(0.3, 0, range(1, 8))
    circuit.shift(7, range(2, 15), (0,), (1,))
    circuit.prepare(np.ones(8) / np.sqrt(8), (1, 5, 14))
    state.run(circuit)
    network = getattr(state, question)()
    cost = path_cost(network, time_order(network), "time order")
    contraction = ENGINE.contraction(network, cost)
    tracemalloc.start()
    try:
        contraction()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.95 * peak < cost.bytes < 1.3 * peak


def test_one_contraction_serves_replaced_operands() -> None:
    network = chain(2, 3)
    contraction = ENGINE.contraction(network, ENGINE.find_path(network))
    np.testing.assert_array_equal(contraction(), [0, 1, 2])
    np.testing.assert_array_equal(contraction({2: np.array([1.0, 1.0, 5.0])}), [1, 1, 5])
    np.testing.assert_array_equal(contraction({0: 2 * np.eye(3)}), [0, 2, 4])
