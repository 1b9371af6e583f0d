"""The gate program of the matching encoding: a unitary with the block H/alpha, and the answers of the other modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.circuit import HADAMARD, Circuit, MatrixGate, PermutationGate, qsvt_circuit
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.matching import colour_edges
from qnewton_gpu.errors import CombinationError, ParameterError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import MODES, run_sequence

CPU = select_backend("cpu")


def unitary(circuit: Circuit) -> np.ndarray:
    state = np.eye(1 << circuit.num_qubits, dtype=complex)
    for gate in circuit.gates:
        state = apply_gate(gate, state)
    return state


def random_symmetric(n: int, density: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    A = random.standard_normal((n, n)) * (random.random((n, n)) < density)
    return A + A.T


MATRICES = st.builds(random_symmetric, st.integers(1, 9), st.sampled_from([0.0, 0.2, 0.6, 1.0]), st.integers(0, 10**6))


@given(MATRICES)
def test_the_program_is_a_unitary_whose_block_is_the_matrix(H: np.ndarray) -> None:
    encoding: Any = encode(as_operator(H, CPU), CPU, "matching")
    program = encoding.circuit()
    assert program.num_qubits == encoding.system_qubits + encoding.ancilla_qubits
    U, n, size = unitary(program), len(H), 1 << encoding.system_qubits
    assert np.allclose(U.conj().T @ U, np.eye(len(U)), atol=1e-12)
    assert np.allclose(U[:n, :n], H / encoding.alpha, atol=1e-12)
    assert np.allclose(U[n:size, :size], 0, atol=1e-12)


@given(MATRICES)
def test_colours_are_matchings_that_add_up_to_the_matrix(H: np.ndarray) -> None:
    partner, value = colour_edges(as_operator(H, CPU))
    n = len(H)
    rows = np.arange(n)
    assert all((p[p] == rows).all() for p in partner)
    total = np.zeros((n, n))
    for p, v in zip(partner, value, strict=True):
        total[rows, p] += v
    assert np.array_equal(total, H)
    off_diagonal = ((H != 0) & ~np.eye(n, dtype=bool)).sum(axis=1).max(initial=0)
    assert len(partner) <= max(2 * off_diagonal - 1, 0) + 1


def test_alpha_is_the_sum_of_the_colours_maxima_and_at_least_the_norm() -> None:
    for seed in range(20):
        H = random_symmetric(20, 0.3, seed)
        encoding: Any = encode(as_operator(H, CPU), CPU, "matching")
        assert encoding.alpha == pytest.approx(encoding.maxima.sum())
        assert encoding.alpha >= np.linalg.norm(H, 2) * (1 - 1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 8, 13])
def test_circuit_fused_and_subspace_agree(n: int, sparse: bool) -> None:
    H: Any = random_symmetric(n, 0.4, n) + np.diag(np.where(np.arange(n) % 2, 3.0, -3.0))
    b = np.random.default_rng(n).standard_normal((n, 2))
    A = sp.csr_array(H) if sparse else H
    results = {
        mode: qn.solve(A, b, solver="qsvt", encoding="matching", mode=mode, tolerance=1e-3, backend="cpu")
        for mode in MODES
    }
    for mode, solution in results.items():
        assert solution.solved and solution.resources["mode"] == mode
        assert np.allclose(solution.x, results["subspace"].x, rtol=0, atol=1e-10)
        assert solution.success_probability == pytest.approx(results["subspace"].success_probability, abs=1e-10)
        assert solution.queries == results["subspace"].queries


@pytest.mark.parametrize("n", [4, 7])
def test_the_whole_register_is_that_of_the_fused_mode(n: int) -> None:
    """Up to the circuit's PREP, which the fused register has already applied."""
    H = random_symmetric(n, 0.7, n) + 3 * np.eye(n)
    encoding: Any = encode(as_operator(H, CPU), CPU, "matching")
    phases = phase_factors(inverse_polynomial(5, 1e-2)).reflection
    start = np.random.default_rng(0).standard_normal((n, 1))
    start /= np.linalg.norm(start)
    circuit = run_sequence(encoding, phases, start, CPU, mode="circuit")
    fused = run_sequence(encoding, phases, start, CPU, mode="fused")
    system, colours = encoding.system_qubits, len(encoding.maxima)
    prepared = Circuit(encoding.system_qubits + encoding.ancilla_qubits)
    amplitude = np.zeros(1 << (encoding.ancilla_qubits - 1))
    amplitude[:colours] = encoding.amplitude
    prepared.prepare(amplitude, range(system + 1, prepared.num_qubits))
    real, imaginary = np.split(circuit.register(), 2)  # the real-part qubit in |0> and in |1>
    assert np.allclose(real.imag, 0, atol=1e-12) and np.allclose(imaginary.real, 0, atol=1e-12)
    state = real + imaginary
    for gate in prepared.gates:
        state = apply_gate(gate, state)
    state = state.reshape(len(amplitude), 2, 1 << system)
    assert np.allclose(state[:colours, :, :n].reshape(-1), fused.register()[:, 0], atol=1e-12)
    assert np.allclose(state[colours:], 0, atol=1e-12) and np.allclose(state[:, :, n:], 0, atol=1e-12)


def test_the_sequence_applies_its_polynomial() -> None:
    H = random_symmetric(6, 0.5, 3)
    encoding: Any = encode(as_operator(H, CPU), CPU, "matching")
    phases = phase_factors(inverse_polynomial(4, 1e-2))
    program = qsvt_circuit(encoding.circuit(), encoding.system_qubits, phases.reflection)
    values, vectors = np.linalg.eigh(H / encoding.alpha)
    polynomial = inverse_polynomial(4, 1e-2)
    expected = (vectors * (phases.scale * polynomial(values) / polynomial.sup_norm)) @ vectors.T
    assert np.allclose(unitary(program)[:6, :6].real, expected, atol=1e-12)


def test_gates_use_little_endian_qubits() -> None:
    x = MatrixGate("x", np.array([[0, 1], [1, 0]]), (0,), (2,), (1,))
    state = np.zeros((8, 1), dtype=complex)
    state[0b100] = 1
    assert apply_gate(x, state)[0b101, 0] == 1
    state = np.zeros((8, 1), dtype=complex)
    state[0b001] = 1
    # targets[0] is the least significant bit of the permutation's index: old 0b01 on (2, 0) is qubit 2 set
    moved = PermutationGate("p", (2, 0), permutation=np.array([0, 2, 1, 3]))
    assert apply_gate(moved, state)[0b100, 0] == 1
    two = MatrixGate("h on the second", np.kron(HADAMARD, np.eye(2)), (0, 1))
    assert np.allclose(apply_gate(two, state)[[0b001, 0b011], 0], 1 / np.sqrt(2))


def test_a_gate_on_a_qubit_twice_or_outside_is_refused() -> None:
    for gate in (MatrixGate("x", np.eye(2), (3,)), MatrixGate("x", np.eye(4), (0, 0))):
        with pytest.raises(ParameterError, match="gate"):
            Circuit(2).append(gate)


def test_encodings_without_a_gate_program_are_refused_in_circuit_mode() -> None:
    with pytest.raises(CombinationError, match="matching"):
        qn.solve(np.eye(3), np.ones(3), solver="qsvt", encoding="walk", mode="circuit")
