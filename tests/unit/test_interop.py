"""Programs in standard gates are the same unitary, global phase included: by Qiskit, and by reading the text."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.circuit import Circuit, MatrixGate, PermutationGate, qsvt_circuit
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import BackendUnavailableError, ParameterError
from qnewton_gpu.interop import to_qasm3, to_qiskit
from qnewton_gpu.operators import as_operator

CPU = select_backend("cpu")
TOLERANCE = {"rtol": 0, "atol": 1e-12}
FIXED = {
    "h": np.array([[1, 1], [1, -1]]) / math.sqrt(2),
    "x": np.array([[0, 1], [1, 0]]),
    "z": np.diag([1, -1]),
    "s": np.diag([1, 1j]),
    "sdg": np.diag([1, -1j]),
}


def turned(name: str, a: float) -> np.ndarray:
    if name == "rz":
        return np.diag([np.exp(-0.5j * a), np.exp(0.5j * a)])
    if name == "p":
        return np.diag([1, np.exp(1j * a)])
    assert name == "ry"
    return np.array([[math.cos(a / 2), -math.sin(a / 2)], [math.sin(a / 2), math.cos(a / 2)]])


def unitary(program: Circuit) -> np.ndarray:
    state = np.eye(1 << program.num_qubits, dtype=complex)
    for gate in program:
        state = apply_gate(gate, state)
    return state


def read(text: str) -> np.ndarray:
    """An interpreter of the subset that is written: the unitary of a text."""
    header, include, declaration, *lines = text.splitlines()
    assert header == "OPENQASM 3.0;" and include == 'include "stdgates.inc";'
    found = re.fullmatch(r"qubit\[(\d+)\] q;", declaration)
    assert found is not None
    size = 1 << int(found[1])
    U = np.eye(size, dtype=complex)
    for line in lines:
        if line.startswith("// "):
            continue
        parts = re.fullmatch(r"((?:(?:neg)?ctrl @ )*)(\w+)(?:\(([^)]*)\))?((?: q\[\d+\],?)*);", line)
        assert parts is not None, line
        modifiers, name, angle, operands = parts.groups()
        values = [int(m == "ctrl") for m in modifiers.split(" @ ") if m]
        qubits = [int(q) for q in re.findall(r"\[(\d+)\]", operands)]
        if name == "cx":
            name, values = "x", [*values, 1]
        if name == "gphase":
            assert not values and not qubits
            U = np.exp(1j * float(angle)) * U
            continue
        matrix = turned(name, float(angle)) if angle is not None else FIXED[name]
        *controls, target = qubits
        assert len(controls) == len(values)
        on = np.array([all(i >> q & 1 == v for q, v in zip(controls, values, strict=True)) for i in range(size)])
        low = np.flatnonzero(on & (np.arange(size) >> target & 1 == 0))
        high = low | 1 << target
        U[low], U[high] = matrix[0, 0] * U[low] + matrix[0, 1] * U[high], matrix[1, 0] * U[low] + matrix[1, 1] * U[high]
    return U


def same(program: Circuit) -> None:
    from qiskit.quantum_info import Operator

    expected = unitary(program)
    assert np.allclose(read(to_qasm3(program)), expected, **TOLERANCE)
    assert np.allclose(Operator(to_qiskit(program)).data, expected, **TOLERANCE)


def one_gate(kind: str, seed: int) -> Circuit:
    random = np.random.default_rng(seed)
    order = [int(q) for q in random.permutation(4)]
    program, size = Circuit(4), 8
    if kind == "prepare":
        amplitude = random.standard_normal(size) * (random.random(size) < 0.7)
        amplitude[3] += 1
        program.prepare(amplitude / np.linalg.norm(amplitude), order[:3])
    elif kind == "diagonal":
        program.append(PermutationGate(kind, tuple(order[:3]), diagonal=np.exp(1j * random.uniform(-3, 3, size))))
    elif kind == "permutation":
        program.permute(random.permutation(size), order[:3], label=kind)
    elif kind == "both":
        phases = np.exp(1j * random.uniform(-3, 3, size))
        program.append(PermutationGate(kind, tuple(order[:3]), random.permutation(size), phases))
    elif kind == "multiplexed":
        program.multiplexed_reflection(random.uniform(-3, 3, 8), order[0], order[1:])
    else:
        matrix = np.linalg.qr(random.standard_normal((2, 2)) + 1j * random.standard_normal((2, 2)))[0]
        matrix = {"antidiagonal": np.diag(matrix[0] / abs(matrix[0]))[::-1], "phase": np.eye(2) * 1j}.get(kind, matrix)
        controls = tuple(order[1 : 1 + int(random.integers(0, 4))])
        values = tuple(int(v) for v in random.integers(0, 2, len(controls)))
        program.append(MatrixGate("u", matrix, (order[0],), controls, values))
    return program


KINDS = ["prepare", "diagonal", "permutation", "both", "multiplexed", "one qubit", "antidiagonal", "phase"]


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.integers(0, 10**9))
def test_a_gate_is_the_same_in_standard_gates(kind: str, seed: int) -> None:
    same(one_gate(kind, seed))


@pytest.mark.parametrize("amplitude", [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.6, -0.8], [1.0], [0.5, 0.5, -0.5, 0.5]])
def test_prepare_takes_zero_to_its_state(amplitude: list[float]) -> None:
    program = Circuit(2)
    program.prepare(np.array(amplitude), range(len(amplitude).bit_length() - 1))
    same(program)
    assert np.allclose(read(to_qasm3(program))[: len(amplitude), 0], amplitude, **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "n"), [*(("matching", n) for n in (1, 2, 3, 4)), ("banded", 4), ("pauli", 2), ("pauli", 4)]
)
def test_the_block_of_an_encoding(name: str, n: int) -> None:
    H = np.random.default_rng(n).standard_normal((n, n))
    encoding: Any = encode(as_operator(H + H.T, CPU), CPU, name)
    program = encoding.circuit()
    same(program)
    assert np.allclose(read(to_qasm3(program))[:n, :n], (H + H.T) / encoding.alpha, **TOLERANCE)


def whole_sequence() -> Circuit:
    encoding: Any = encode(as_operator(np.array([[2.0, 1.0], [1.0, -1.0]]), CPU), CPU, "matching")
    return qsvt_circuit(encoding.circuit(), encoding.system_qubits, np.array([0.3, -1.2, 0.7, 2.1]))


def test_a_whole_sequence_and_its_inverse() -> None:
    program = whole_sequence()
    same(program)
    same(program.inverse())


def test_a_controlled_program() -> None:
    encoding: Any = encode(as_operator(np.array([[2.0, 1.0], [1.0, -1.0]]), CPU), CPU, "matching")
    same(encoding.circuit().controlled(4))


def test_a_drawing_shows_named_boxes() -> None:
    program = whole_sequence()
    drawn = to_qiskit(program)
    names = drawn.count_ops()
    assert {"prepare", "multiplexed_rz", "select"} <= {*names} and names["select"] == 3
    assert "select" in str(drawn.draw("text")) and "prepare" in str(drawn.draw("text"))
    assert "// select" in to_qasm3(program)


def test_a_dense_unitary_is_refused_as_text_and_kept_by_qiskit() -> None:
    from qiskit.quantum_info import Operator

    random = np.random.default_rng(0)
    dense = np.linalg.qr(random.standard_normal((4, 4)))[0]
    program = Circuit(3, [MatrixGate("unitary", dense, (2, 0), (1,), (0,))])
    with pytest.raises(ParameterError, match="'unitary' is a dense unitary on 2 qubits"):
        to_qasm3(program)
    drawn = to_qiskit(program)
    assert np.allclose(Operator(drawn).data, unitary(program), **TOLERANCE)


def test_without_qiskit_the_error_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *_: Any) -> Any:
        raise ImportError(f"no module named {name}")

    monkeypatch.setattr("qnewton_gpu.interop.importlib.import_module", refuse)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'qnewton-gpu\[interop\]'"):
        to_qiskit(Circuit(1))
