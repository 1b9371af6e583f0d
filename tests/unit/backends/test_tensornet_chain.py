"""Chains of bounded bond dimension against the state vector, and against quimb's circuit on matrix-product states."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.backends.cpu import NumpyStateVector
from qnewton_gpu.backends.tensornet_chain import ChainStateVector
from qnewton_gpu.circuit import HADAMARD, PAULI_X, Circuit, MatrixGate, PermutationGate
from qnewton_gpu.tensor_networks import MatrixProductState

QUBITS = 6
fast = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def random_circuit(seed: int, gates: int = 12) -> Circuit:
    rng = np.random.default_rng(seed)
    circuit = Circuit(QUBITS)
    for _ in range(gates):
        order = [int(q) for q in rng.permutation(QUBITS)]
        kind = rng.integers(5)
        if kind == 0:
            circuit.permute(rng.permutation(4), order[:2], "permutation")
        elif kind == 1:
            circuit.append(PermutationGate("phase", tuple(order[:2]), diagonal=np.exp(1j * rng.normal(size=4))))
        elif kind == 2:
            circuit.shift(int(rng.integers(-7, 8)), sorted(order[:4]), order[4:5], (int(rng.integers(2)),))
        else:
            q, _ = np.linalg.qr(rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4)))
            values = tuple(int(v) for v in rng.integers(2, size=kind - 3))
            circuit.append(MatrixGate("u", q, tuple(order[:2]), tuple(order[2 : kind - 1]), values))
    return circuit


def start(seed: int, size: int = 5, columns: int = 2) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(size, columns))
    return vectors / np.linalg.norm(vectors, axis=0)


@fast
@given(seeds)
def test_without_a_limit_it_is_the_state_vector(seed: int) -> None:
    circuit, first = random_circuit(seed), start(seed)
    exact, chain = NumpyStateVector(first, QUBITS), ChainStateVector(first, QUBITS)
    exact.run(circuit)
    chain.run(chain.fuse(circuit) if seed % 2 else circuit)
    assert np.abs(chain.amplitudes - exact.amplitudes).max() < 1e-11
    assert chain.truncation_error.max() < 1e-10
    assert np.abs(chain.norms() - 1).max() < 1e-11
    for size in (1, 3, 8, 1 << QUBITS):
        assert np.abs(chain.lowest(size) - exact.amplitudes[:size]).max() < 1e-11
    for qubits in ((), (0,), (5, 1), (3, 4, 5), tuple(range(QUBITS))):
        assert np.abs(chain.probability(qubits) - exact.probability(qubits)).max() < 1e-11
    found = chain.marginal([4, 1])
    table = (np.abs(exact.amplitudes) ** 2).reshape(2, 2, 2, 2, 2, 2, 2).sum(axis=(0, 2, 3, 5))  # axes: qubits 4, 1
    assert np.abs(found - table.transpose(1, 0, 2).reshape(4, 2)).max() < 1e-11
    found, wanted = chain.postselect([2, 5]), exact.postselect([2, 5])
    assert np.abs(found - wanted).max() < 1e-11
    if wanted.min() > 1e-6:
        assert np.abs(chain.amplitudes - exact.amplitudes).max() < 1e-8


@fast
@given(seeds, st.integers(1, 7), st.sampled_from([1e-12, 0.05]))
def test_the_truncation_error_bounds_the_distance(seed: int, bond: int, cutoff: float) -> None:
    circuit, first = random_circuit(seed), start(seed)
    exact, chain = NumpyStateVector(first, QUBITS), ChainStateVector(first, QUBITS, bond, cutoff)
    exact.run(circuit)
    chain.run(circuit)
    distance = np.linalg.norm(chain.amplitudes - exact.amplitudes, axis=0)
    assert (distance <= chain.truncation_error + 1e-11).all()
    assert (np.abs(chain.norms() - 1) <= chain.truncation_error + 1e-11).all()
    assert max(state.bond_dimension for state in chain.chains) <= bond
    probability = exact.probability([0])
    if probability.min() > 0.05 and (chain.probability([0]) > 1e-3).all():
        chain.postselect([0])
        exact.postselect([0])
        distance = np.linalg.norm(chain.amplitudes - exact.amplitudes, axis=0)
        assert (distance <= chain.truncation_error + 1e-10).all()


@pytest.mark.parametrize("seed", [3, 4])
def test_chains_live_where_their_start_does(backend: Any, seed: int) -> None:
    circuit, first = random_circuit(seed), start(seed)
    exact, chain = NumpyStateVector(first, QUBITS), ChainStateVector(backend.asarray(first), QUBITS, 8)
    exact.run(circuit)
    chain.run(chain.fuse(circuit))
    assert all(isinstance(tensor, backend.xp.ndarray) for state in chain.chains for tensor in state.tensors)
    assert np.abs(backend.to_numpy(chain.lowest(7)) - exact.amplitudes[:7]).max() < 1e-11
    assert np.abs(backend.to_numpy(chain.norms()) - 1).max() < 1e-11
    assert np.abs(backend.to_numpy(chain.postselect([2])) - exact.postselect([2])).max() < 1e-11
    assert chain.sample(4, seed=0).shape == (4,)


def test_a_truncation_is_seen() -> None:
    """Bell pairs across the middle need a bond of 8: a bond of 4 loses half of the norm's square."""
    chain = ChainStateVector(np.ones((1, 1)), QUBITS, bond_dimension=4)
    for low in range(3):
        chain.apply(MatrixGate("h", HADAMARD, (low,)))
        chain.apply(MatrixGate("x", PAULI_X, (low + 3,), (low,), (1,)))
    assert chain.truncation_error == pytest.approx([np.sqrt(0.5)])
    assert chain.norms() == pytest.approx([np.sqrt(0.5)])
    assert chain.bond_dimension == 4


def test_samples_are_those_of_the_state() -> None:
    circuit, first = random_circuit(5), start(5)
    exact, chain = NumpyStateVector(first, QUBITS), ChainStateVector(first, QUBITS)
    exact.run(circuit)
    chain.run(circuit)
    shots = 20000
    found = np.bincount(chain.sample(shots, seed=2, column=1), minlength=1 << QUBITS) / shots
    assert np.abs(found - np.abs(exact.amplitudes[:, 1]) ** 2).max() < 5 * np.sqrt(0.25 / shots)


def test_fifty_qubits_that_no_state_vector_holds() -> None:
    """A state of bond 2, (|0..0> + |1..1>)/sqrt(2), shifted by one: amplitudes at 1 and at 0."""
    chain = ChainStateVector(MatrixProductState.product([np.array([1.0, 0.0])] * 40), 50)
    chain.apply(MatrixGate("h", HADAMARD, (0,)))
    circuit = Circuit(50)
    for qubit in range(49):
        circuit.append(MatrixGate("x", PAULI_X, (qubit + 1,), (qubit,), (1,)))
    circuit.shift(1, range(50))
    chain.run(chain.fuse(circuit))
    amplitudes = chain.chains[0].entries(np.array([0, 1, 2, 2**49]))
    assert np.abs(amplitudes - np.array([1, 1, 0, 0]) / np.sqrt(2)).max() < 1e-13
    assert chain.probability(range(1, 50)) == pytest.approx([1.0])
    assert chain.truncation_error.max() < 1e-12


def test_quimb_agrees_on_a_random_circuit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optional packages that quimb would like, at its import
        import quimb.tensor as qtn
    circuit = qtn.CircuitMPS(QUBITS)
    chain: Any = ChainStateVector(np.ones((1, 1)), QUBITS)
    rng = np.random.default_rng(11)
    for _ in range(30):
        one, two = (int(q) for q in rng.permutation(QUBITS)[:2])
        matrix, _ = np.linalg.qr(rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4)))
        circuit.apply_gate_raw(matrix, (one, two))  # its first qubit is the most significant of the matrix
        chain.apply(MatrixGate("u", matrix, (two, one)))
    wanted = circuit.psi.to_dense().reshape((2,) * QUBITS).transpose().reshape(-1)  # its qubit 0 is most significant
    assert np.abs(chain.amplitudes[:, 0] - wanted).max() < 1e-10
