"""Resources of a whole solve: those of its gate program where there is one, else those of the stated formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.counting import count
from qnewton_gpu.circuit import qsvt_circuit
from qnewton_gpu.costs.resources import solve_resources
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import CombinationError, ParameterError, UnknownNameError
from qnewton_gpu.operators import GeneralMatrix, GramOperator, MatrixOperator
from qnewton_gpu.operators.kronecker import KroneckerOperator

CPU = select_backend("cpu")


def tridiagonal(n: int) -> np.ndarray:
    return 3 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)


def encoded(name: str, n: int = 8) -> Any:
    operator: Any = MatrixOperator(tridiagonal(n), CPU)
    if name == "gram":
        operator = GramOperator(tridiagonal(n)[:5], 0.5, CPU)
    elif name == "two_sided":
        operator = GeneralMatrix(tridiagonal(n)[:5], CPU)
    elif name == "kronecker":
        operator = KroneckerOperator([MatrixOperator(tridiagonal(4), CPU), MatrixOperator(tridiagonal(2), CPU)], CPU)
    return encode(operator, CPU, name)


@pytest.mark.parametrize("queries", [0, 1, 7])
@pytest.mark.parametrize("name", ["matching", "banded", "pauli", "dilation", "kronecker"])
def test_with_a_gate_program_they_are_those_of_the_whole_circuit(name: str, queries: int) -> None:
    encoding = encoded(name)
    program = qsvt_circuit(encoding.circuit(), encoding.system_qubits, np.ones(queries + 1))
    counted, found = count(program), solve_resources(encoding, queries)
    assert found.queries == counted.queries == queries and found.qubits == counted.qubits
    for field in ("gates", "rotations", "ands", "cnots", "t_count"):
        assert getattr(found, field) == getattr(counted, field), field
    # gates on different qubits overlap in the circuit
    assert counted.depth <= found.depth <= 3 * counted.depth


def test_look_ups_follow_the_formula() -> None:
    bits, phases = 34, 5 * (100 + 4 * 4) + 100  # ceil(log2 1e10); four ANDs for the five ancillas of walk with N = 16
    encoding = encoded("walk", 16)
    entries = 16 + 2 * 15 + 2 * 16
    found = solve_resources(encoding, 4)
    assert encoding.ancilla_qubits == 5 and encoding.register_size == entries
    assert found.ands == 4 * (2 * (entries - 1) + 2 * (bits + 4)) + 5 * 4
    assert found.t_count == 4 * 4 * (2 * (entries - 1) + 2 * (bits + 4)) + phases
    assert found.cnots == 4 * 2 * entries * (bits + 4) + 5 * 2
    assert found.qubits == 4 + 5 + 1 + 7 + bits + 4 and found.gates["look_up"] == 8


@pytest.mark.parametrize("name", ["walk", "gram", "two_sided", "sparse_access"])
def test_reading_more_entries_costs_more(name: str) -> None:
    small, large = (solve_resources(encoded(name, n), 10) for n in (8, 32))
    assert small.t_count < large.t_count and small.depth < large.depth and small.qubits < large.qubits
    coarse = solve_resources(encoded(name), 10, rotation_error=1e-3)
    assert coarse.t_count < small.t_count and coarse.qubits < small.qubits


@pytest.mark.parametrize("name", ["walk", "gram", "two_sided", "sparse_access", "matching", "pauli", "kronecker"])
def test_a_qram_hides_the_matrix_and_leaves_the_phases(name: str) -> None:
    encoding = encoded(name)
    found, paid = solve_resources(encoding, 10, access="qram"), solve_resources(encoding, 10)
    between = 2 * (encoding.ancilla_qubits - 1) + 3
    assert found.depth == 10 * 9 + 11 * between + 3  # log2(8)^2
    assert found.rotations == 12 and found.ands == 11 * (encoding.ancilla_qubits - 1) and found.gates["qram"] == 10
    assert found.t_count < paid.t_count


def test_solvers_without_phases_pay_for_queries_only() -> None:
    encoding = encoded("matching")
    found, block = solve_resources(encoding, 5, phases=0), count(encoding.circuit())
    assert found.t_count == 5 * block.t_count and "controlled_rz" not in found.gates


def test_bad_input_is_refused() -> None:
    encoding = encoded("walk")
    with pytest.raises(UnknownNameError, match="qram, qrom"):
        solve_resources(encoding, 1, access="disk")
    for arguments in ({"queries": -1}, {"queries": 1.5}, {"queries": 1, "phases": -2}):
        with pytest.raises(ParameterError, match="integer"):
            solve_resources(encoding, **arguments)
    for error in (0.0, 1.0, -1e-3):
        with pytest.raises(ParameterError, match="rotation_error"):
            solve_resources(encoding, 1, rotation_error=error)
    encoding.name = "mine"
    with pytest.raises(CombinationError, match="mine is not known"):
        solve_resources(encoding, 1)
