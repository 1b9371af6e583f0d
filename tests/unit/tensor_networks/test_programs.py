"""Every question that a CircuitNetwork answers, against the NumPy state vector of random small circuits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.tensornet_cpu import CotengraEngine
from qnewton_gpu.circuit import Circuit, MatrixGate, PermutationGate
from qnewton_gpu.errors import ParameterError, ShapeError
from qnewton_gpu.tensor_networks.gates import MOST_AXES
from qnewton_gpu.tensor_networks.network import TensorNetwork
from qnewton_gpu.tensor_networks.programs import CircuitNetwork

QUICK = settings(max_examples=25, deadline=None)


def random_circuit(num_qubits: int, gates: int, random: np.random.Generator) -> Circuit:
    """Dense, controlled, diagonal and permuting gates, adders, and a phase under all the other qubits."""
    circuit = Circuit(num_qubits)
    for _ in range(gates):
        qubits = random.permutation(num_qubits).tolist()
        few = int(random.integers(1, min(3, num_qubits) + 1))
        targets, rest = qubits[:few], qubits[few : few + int(random.integers(0, 3))]
        values = random.integers(2, size=len(rest)).tolist()
        size = 1 << few
        match random.integers(5):
            case 0:
                unitary, _ = np.linalg.qr(random.normal(size=(size, size)) + 1j * random.normal(size=(size, size)))
                circuit.append(MatrixGate("random", unitary, tuple(targets), tuple(rest), tuple(values)))
            case 1:
                phases = np.exp(1j * random.normal(size=size)) if random.integers(2) else None
                circuit.append(PermutationGate("moved", tuple(targets), random.permutation(size), phases))
            case 2:
                circuit.append(
                    PermutationGate("phases", tuple(targets), diagonal=np.exp(1j * random.normal(size=size)))
                )
            case 3:
                circuit.shift(int(random.integers(-8, 8)), targets, rest, values)
            case _:
                circuit.rz(float(random.normal()), qubits[0], qubits[1:])
    return circuit


def cases(seed: int, columns: int | None = 2) -> tuple[CircuitNetwork, np.ndarray, np.random.Generator]:
    """A network, its state vector (2^n, k) by NumPy, and the generator that made them."""
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 5))
    size = int(random.integers(1, (1 << n) + 1))
    start = random.normal(size=(size, columns or 1)) + 0j
    start /= np.linalg.norm(start, axis=0)
    circuit = random_circuit(n, int(random.integers(0, 8)), random)
    state = select_backend("cpu").state_vector(start, n)
    state.run(circuit)
    network = CircuitNetwork(n, start if columns else start[:, 0])
    network.run(circuit)
    return network, state.amplitudes, random


def value(network: TensorNetwork, *shape: int) -> np.ndarray:
    engine = CotengraEngine(select_backend("cpu"))
    return engine.contract(network, engine.find_path(network)).reshape(shape)


seeds = st.integers(0, 2**32 - 1)


@QUICK
@given(seeds)
def test_amplitudes_open_fixed_and_in_batches(seed: int) -> None:
    network, psi, random = cases(seed)
    n = network.num_qubits
    np.testing.assert_allclose(value(network.amplitudes(), 1 << n, 2), psi, atol=1e-12)
    qubits = random.permutation(n).tolist()
    opened = qubits[: int(random.integers(0, n + 1))]
    fixed = {q: int(random.integers(2)) for q in qubits[len(opened) :]}
    chosen = sum(v << q for q, v in fixed.items()) + sum(
        (np.arange(1 << len(opened)) >> place & 1) << q for place, q in enumerate(opened)
    )
    np.testing.assert_allclose(
        value(network.amplitudes(opened, fixed), 1 << len(opened), 2), psi[chosen].reshape(-1, 2), atol=1e-12
    )
    batch = random.integers(1 << n, size=3)
    np.testing.assert_allclose(value(network.entries(batch), 3, 2), psi[batch], atol=1e-12)


@QUICK
@given(seeds)
def test_norm_expectation_overlap(seed: int) -> None:
    network, psi, random = cases(seed)
    n = network.num_qubits
    np.testing.assert_allclose(value(network.norm(), 2), (abs(psi) ** 2).sum(axis=0), atol=1e-12)
    qubits = random.permutation(n)[: int(random.integers(1, n + 1))].tolist()
    size = 1 << len(qubits)
    operator = random.normal(size=(size, size)) + 1j * random.normal(size=(size, size))
    moved = select_backend("cpu").state_vector(psi, n)
    moved.apply(MatrixGate("observable", operator, tuple(qubits)))
    expected = (psi.conj() * moved.amplitudes).sum(axis=0)
    np.testing.assert_allclose(value(network.expectation(operator, qubits), 2), expected, atol=1e-11)
    reference = random.normal(size=1 << n) + 1j * random.normal(size=1 << n)
    np.testing.assert_allclose(value(network.overlap(reference), 2), reference.conj() @ psi, atol=1e-11)
    vectors = {q: random.normal(size=2) + 1j * random.normal(size=2) for q in qubits}
    product = np.ones(1)
    for q in range(n):
        product = np.kron(vectors.get(q, np.array([1.0, 0.0])), product)
    np.testing.assert_allclose(value(network.overlap(vectors), 2), product.conj() @ psi, atol=1e-11)


@QUICK
@given(seeds)
def test_marginals(seed: int) -> None:
    network, psi, random = cases(seed, columns=None)
    n, psi = network.num_qubits, psi[:, 0]
    qubits = random.permutation(n).tolist()
    few = int(random.integers(1, n + 1))
    asked, fixed = qubits[:few], {q: int(random.integers(2)) for q in qubits[few : few + 1]}
    tensor = psi.reshape((2,) * n).transpose([n - 1 - q for q in [*asked[::-1], *qubits[few:]]])
    density = np.tensordot(tensor, tensor.conj(), [range(few, n)] * 2).reshape(1 << few, 1 << few)
    np.testing.assert_allclose(value(network.marginal(asked, diagonal=False), *density.shape), density, atol=1e-12)
    np.testing.assert_allclose(value(network.marginal(asked), 1 << few), density.diagonal(), atol=1e-12)
    held = tensor[(slice(None),) * few + tuple(fixed.values())].reshape(1 << few, -1)
    np.testing.assert_allclose(
        value(network.marginal(asked, fixed), 1 << few), (abs(held) ** 2).sum(axis=1), atol=1e-12
    )


def test_product_starts() -> None:
    plus = np.array([1.0, 1.0j]) / np.sqrt(2)
    network = CircuitNetwork(3, np.array([0.6, 0.8]), {2: plus})
    expected = np.kron(plus, np.kron([1.0, 0.0], [0.6, 0.8]))
    np.testing.assert_allclose(value(network.amplitudes(), 8), expected, atol=1e-15)


def test_a_gate_with_many_controls_is_no_dense_tensor() -> None:
    circuit = Circuit(40)
    circuit.rz(0.3, 0, zeros=range(1, 40))
    circuit.shift(5, range(20), range(20, 40), (1,) * 20)
    network = CircuitNetwork(40, product={q: np.array([0.6, 0.8]) for q in range(40)})
    network.run(circuit)
    assert max(operand.size for operand in network.amplitudes([], dict.fromkeys(range(40), 0)).operands) <= 2**MOST_AXES
    amplitude = value(network.amplitudes([], dict.fromkeys(range(40), 0)))
    np.testing.assert_allclose(amplitude, 0.6**40 * np.exp(-0.15j), rtol=1e-12)


def test_gates_out_of_reach_are_left_out() -> None:
    circuit = Circuit(3)
    circuit.hadamard(0)
    circuit.hadamard(2)
    network = CircuitNetwork(3)
    network.run(circuit)
    assert len(network.expectation(np.eye(2), [0]).operands) < len(network.norm().operands)


def test_what_makes_no_sense_is_refused() -> None:
    network = CircuitNetwork(2)
    with pytest.raises(ParameterError, match="fixed"):
        network.amplitudes([0])
    with pytest.raises(ParameterError, match="qubits"):
        network.marginal([0, 0])
    with pytest.raises(ParameterError, match="qubits"):
        network.apply(MatrixGate("x", np.eye(2), (2,)))
    with pytest.raises(ParameterError, match="indices"):
        network.entries([4])
    with pytest.raises(ShapeError, match="operator"):
        network.expectation(np.eye(2), [0, 1])
    with pytest.raises(ShapeError, match="reference"):
        network.overlap(np.ones(2))
    with pytest.raises(ShapeError, match="start"):
        CircuitNetwork(2, np.ones(5))
    with pytest.raises(ShapeError, match="start"):
        CircuitNetwork(2, np.ones(2), {0: np.ones(2)})


def test_an_operator_may_be_a_list_and_a_network_prints_on_a_line() -> None:
    network = CircuitNetwork(9).expectation([[1, 0], [0, -1]], [7])  # type: ignore[arg-type]
    assert np.einsum(*network.interleaved()) == 1.0
    assert (
        repr(network) == f"TensorNetwork({len(network.operands)} operands, {len(network.extents)} indices, output ())"
    )


def test_starts_references_and_projections_that_are_none_are_refused() -> None:
    for change in (
        lambda: CircuitNetwork(3, product={0: np.ones(3)}),
        lambda: CircuitNetwork(3).overlap({0: np.ones(4)}),
    ):
        with pytest.raises(ShapeError, match=r"Give \(2,\)"):
            change()
    with pytest.raises(ParameterError, match="is not 0 or 1"):
        CircuitNetwork(3).project(0, 2)
