"""What is counted is what was run: queries of any program, and gates, each of which costs what the table says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.counting import CountingEncoding, count
from qnewton_gpu.circuit import Circuit, MatrixGate, PermutationGate, qsvt_circuit
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import ParameterError
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import Run
from qnewton_gpu.simulation.fused import whole_register
from qnewton_gpu.simulation.subspace import two_vectors

CPU = select_backend("cpu")


def tridiagonal(n: int) -> np.ndarray:
    return 3 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


@pytest.mark.parametrize("degree", [0, 1, 2, 531, 9903])
@pytest.mark.parametrize("name", ["walk", "matching", "dilation", "gram"])
def test_the_whole_register_program_makes_a_query_a_degree(name: str, degree: int) -> None:
    """The same lines that simulate a register, run on one amplitude."""
    factor = np.diag(np.arange(1.0, 6.0))
    operator = GramOperator(factor, 0.1, CPU) if name == "gram" else as_operator(tridiagonal(5), CPU)
    real: Any = encode(operator, CPU, name)
    counting = CountingEncoding(real)
    for field in ("name", "alpha", "system_qubits", "ancilla_qubits", "symmetric"):
        assert getattr(counting, field) == getattr(real, field)
    phases = np.random.default_rng(degree).uniform(-3, 3, degree + 1)
    run = Run(counting, phases, np.ones((1, 1)))
    psi, lowered = whole_register(run, CPU)
    assert counting.queries == run.queries == degree
    assert counting.lifts == degree + 2 and counting.lowers == degree + 2  # a pair a phase, the start and the end
    # A/alpha = 1 is an eigenvalue on which every phase acts alike
    assert np.allclose(psi, np.exp(1j * phases.sum()), rtol=0, atol=1e-11) and lowered is psi
    counting = CountingEncoding(real)
    two_vectors(Run(counting, phases, np.ones((1, 1))), CPU)
    assert counting.queries == degree  # products count like reflections


@pytest.mark.parametrize("n", [2, 4, 5, 8])
def test_queries_and_qubits_are_those_of_the_sequence(n: int) -> None:
    encoding: Any = encode(as_operator(tridiagonal(n), CPU), CPU, "matching")
    phases = phase_factors(inverse_polynomial(6, 1e-2))
    counted = count(qsvt_circuit(encoding.circuit(), encoding.system_qubits, phases.reflection))
    assert counted.queries == counted.gates["select"] == phases.degree
    assert counted.qubits == encoding.system_qubits + encoding.ancilla_qubits + 1  # one for the real part
    assert counted.gates["controlled_rz"] == phases.degree + 1
    assert counted.gates["multiplexed_rz"] == phases.degree


def test_counts_of_one_block_follow_the_table() -> None:
    """N = 4, three colours: 2 system qubits, 1 rotated, 2 for the colour."""
    encoding: Any = encode(as_operator(tridiagonal(4), CPU), CPU, "matching")
    assert len(encoding.maxima) == 3 and encoding.ancilla_qubits == 3
    counted = count(encoding.circuit(), rotation_error=2.0**-10)
    prepare, multiplexed, select = 2**2 - 1, 2**4, 2 * (2**4 - 2)
    assert counted.rotations == 2 * prepare + multiplexed
    assert counted.ands == select
    assert counted.cnots == 2 * (prepare - 1) + multiplexed
    assert counted.t_count == 4 * select + counted.rotations * 30
    assert sum(counted.gates.values()) == len(encoding.circuit().gates)


def test_depth_counts_gates_on_different_qubits_once() -> None:
    program = Circuit(2)
    hadamard = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    for qubit in (0, 1, 0):
        program.append(MatrixGate("h", hadamard, (qubit,)))
    assert count(program).depth == 2 and count(program).t_count == 0
    assert count(Circuit(3)).depth == 0


def test_the_solver_reports_what_its_gates_are_made_of() -> None:
    solution = qn.solve(tridiagonal(4), np.ones(4), solver="qsvt", encoding="matching", mode="circuit", tolerance=1e-2)
    assert solution.solved and solution.resources["gates"].queries == solution.queries
    other = qn.solve(tridiagonal(4), np.ones(4), solver="qsvt", encoding="matching", tolerance=1e-2)
    assert "gates" not in other.resources


def test_a_gate_of_unknown_cost_and_a_bad_accuracy_are_refused() -> None:
    program = Circuit(1)
    program.append(MatrixGate("magic", np.eye(2), (0,)))
    with pytest.raises(ParameterError, match="magic"):
        count(program)
    with pytest.raises(ParameterError, match="rotation_error"):
        count(Circuit(1), rotation_error=0.0)


@pytest.mark.parametrize("name", ["matching", "banded", "pauli", "dilation"])
def test_every_gate_program_has_a_cost_with_and_without_a_control(name: str) -> None:
    encoding: Any = encode(as_operator(tridiagonal(4), CPU), CPU, name)
    phases = phase_factors(inverse_polynomial(6, 1e-2))
    program = qsvt_circuit(encoding.circuit(), encoding.system_qubits, phases.reflection)
    once = count(program)
    assert once.queries == phases.degree and once.t_count > 0
    back = count(program.inverse())
    assert (back.t_count, back.cnots, back.queries) == (once.t_count, once.cnots, once.queries)
    under_control = count(program.controlled(program.num_qubits))
    assert under_control.qubits == once.qubits + 1 and under_control.t_count >= once.t_count


def cost_of(program: Circuit) -> tuple[int, int, int, int]:
    counted = count(program)
    return counted.rotations, counted.ands, counted.cnots, counted.depth


def test_gates_cost_what_the_table_says() -> None:
    """(rotations, ANDs, CNOTs, depth)."""
    table: list[tuple[MatrixGate | PermutationGate, tuple[int, int, int, int]]] = [
        (MatrixGate("h", np.eye(2), (0,)), (0, 0, 0, 1)),
        (MatrixGate("s_dagger", np.eye(2), (0,), (1,), (1,)), (0, 1, 1, 3)),
        (MatrixGate("z", np.eye(2), (0,), (1, 2), (1, 0)), (0, 1, 1, 3)),
        (MatrixGate("reflection", np.eye(2), (0,), (1, 2, 3), (0, 0, 0)), (0, 2, 1, 5)),
        (MatrixGate("rz", np.eye(2), (0,)), (1, 0, 0, 1)),
        (MatrixGate("rz", np.eye(2), (0,), (1, 2), (1, 1)), (2, 1, 2, 6)),
        (MatrixGate("excluded_rz", np.eye(2), (0,), (1, 2, 3), (0, 0, 0)), (1, 2, 2, 7)),
        (MatrixGate("prepare", np.eye(4), (0, 1)), (3, 0, 2, 6)),
        (MatrixGate("prepare", np.eye(4), (0, 1), (2,), (1,)), (6, 1, 5, 15)),
        (MatrixGate("unitary", np.eye(4), (0, 1)), (15, 0, 7, 32)),
        # two strings above three qubits
        (PermutationGate("pauli", (0, 1, 2, 3), np.append(np.arange(8), 15 - np.arange(8))), (0, 0, 6, 6)),
        # one colour on eight qubits: 2 * 64 + 16 ANDs, where a look-up takes 2 * 254
        (PermutationGate("shift", tuple(range(8)), np.arange(256)[::-1]), (0, 144, 0, 144)),
        # small, so that a look-up is cheaper
        (PermutationGate("shift", (0, 1, 2), np.arange(8)[::-1]), (0, 12, 0, 12)),
        (PermutationGate("shift", (0, 1, 2), np.arange(8)), (0, 0, 0, 1)),
        (PermutationGate("multiplexed_rz", (0, 1, 2), diagonal=np.ones(8)), (4, 0, 4, 8)),
    ]
    for gate, expected in table:
        assert cost_of(Circuit(8, [gate])) == expected, gate.label
    with pytest.raises(ParameterError, match="what"):
        count(Circuit(1, [PermutationGate("what", (0,))]))
