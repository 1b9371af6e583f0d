"""Circuits as values: every gate, inverse, controlled and fused program is the matrix that it says."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.backends import gate_fusion, select_backend
from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.circuit import (
    HADAMARD,
    S_GATE,
    Circuit,
    Gate,
    MatrixGate,
    PermutationGate,
    ShiftGate,
    qsvt_circuit,
    qsvt_gates,
)
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import ParameterError
from qnewton_gpu.operators import as_operator

CPU = select_backend("cpu")
QUBITS = 5
few = settings(max_examples=60)


def random_gate(seed: int, qubits: int = QUBITS) -> Gate:
    """A matrix with or without controls, real or complex, dense or diagonal; or a permutation, a diagonal, or both."""
    random = np.random.default_rng(seed)
    order = [int(q) for q in random.permutation(qubits)]
    count = int(random.integers(1, 4))
    targets, controls = tuple(order[:count]), tuple(order[count : count + int(random.integers(0, 3))])
    size = 1 << count
    kind = random.choice(["real", "complex", "diagonal", "permutation", "phases", "both"])
    phases = np.exp(1j * random.uniform(-3, 3, size))
    if kind in ("permutation", "phases", "both"):
        permutation = None if kind == "phases" else random.permutation(size)
        return PermutationGate(kind, targets, permutation, None if kind == "permutation" else phases)
    matrix: Any = random.standard_normal((size, size))
    if kind != "real":
        matrix = matrix + 1j * random.standard_normal((size, size))
    unitary = np.diag(phases) if kind == "diagonal" else np.linalg.qr(matrix)[0]
    return MatrixGate(kind, unitary, targets, controls, tuple(int(v) for v in random.integers(0, 2, len(controls))))


def random_circuit(seeds: list[int]) -> Circuit:
    return Circuit(QUBITS, [random_gate(seed) for seed in seeds])


def matrix_of(gate: Gate, qubits: int) -> np.ndarray:
    """Entry by entry from the definition."""
    size = 1 << qubits
    result = np.zeros((size, size), dtype=complex)

    def local(index: int) -> int:
        return sum((index >> q & 1) << place for place, q in enumerate(gate.targets))

    mask = sum(1 << q for q in gate.targets)
    for row, column in itertools.product(range(size), repeat=2):
        if row & ~mask != column & ~mask:
            continue
        r, c = local(row), local(column)
        if isinstance(gate, MatrixGate):
            on = all(row >> q & 1 == v for q, v in zip(gate.controls, gate.control_values, strict=True))
            result[row, column] = gate.matrix[r, c] if on else r == c
        elif c == (r if gate.permutation is None else gate.permutation[r]):
            result[row, column] = 1 if gate.diagonal is None else gate.diagonal[r]
    return result


def unitary(gates: Any, qubits: int = QUBITS) -> np.ndarray:
    state = CPU.state_vector(np.eye(1 << qubits), qubits)
    for gate in gates:
        state.apply(gate)
    return state.amplitudes


SEEDS = st.integers(0, 10**9)
PROGRAMS = st.lists(SEEDS, min_size=1, max_size=8).map(random_circuit)


@few
@given(SEEDS)
def test_a_gate_is_its_matrix(seed: int) -> None:
    gate = random_gate(seed)
    expected = matrix_of(gate, QUBITS)
    assert np.allclose(unitary([gate]), expected, rtol=0, atol=1e-14)
    one = np.random.default_rng(seed).standard_normal((1 << QUBITS, 1)) + 0j
    before = one.copy()
    assert np.allclose(apply_gate(gate, one), expected @ one, rtol=0, atol=1e-14)
    assert np.array_equal(one, before)  # apply_gate leaves what it is given


@few
@given(PROGRAMS)
def test_the_inverse_undoes_a_program_and_that_of_the_inverse_is_the_program(program: Circuit) -> None:
    U, back = unitary(program), unitary(program.inverse())
    assert np.allclose(back, U.conj().T, rtol=0, atol=1e-13)
    twice = program.inverse().inverse()
    assert [gate.label for gate in twice] == [gate.label for gate in program]
    assert np.allclose(unitary(twice), U, rtol=0, atol=1e-14)


def test_a_gate_that_is_its_own_inverse_and_a_rotation_keep_their_labels() -> None:
    program = Circuit(3)
    program.hadamard(0)
    program.append(MatrixGate("s", S_GATE, (1,)))
    program.rz(0.3, 2, zeros=(0,))
    program.permute(np.array([1, 0, 3, 2]), (0, 1), label="select")
    program.permute(np.array([1, 2, 3, 0]), (0, 1), label="shift")
    assert [gate.label for gate in program.inverse()] == ["shift_dagger", "select", "controlled_rz", "s_dagger", "h"]


@few
@given(PROGRAMS, st.booleans(), st.integers(0, 1))
def test_a_controlled_program_acts_where_the_control_has_its_value(program: Circuit, above: bool, value: int) -> None:
    if above:
        control, joined = QUBITS, program.controlled(QUBITS, value)
    else:  # in the middle: the same gates on the other qubits
        control = 2
        moved = [q + (q >= control) for q in range(QUBITS)]
        joined = program.placed(moved, QUBITS + 1).controlled(control, value)
    U = unitary(joined, QUBITS + 1)
    index = np.arange(2 << QUBITS)
    without, acting = index[index >> control & 1 != value], index[index >> control & 1 == value]
    assert np.allclose(U[np.ix_(without, without)], np.eye(1 << QUBITS), rtol=0, atol=1e-14)
    assert np.allclose(U[np.ix_(acting, acting)], unitary(program), rtol=0, atol=1e-14)
    assert not U[np.ix_(without, acting)].any()


@few
@given(PROGRAMS, PROGRAMS)
def test_what_is_undone_at_the_end_needs_no_control(outer: Circuit, inner: Circuit) -> None:
    program = Circuit(QUBITS, [*outer, *inner, *outer.inverse()])
    joined = program.controlled(QUBITS)
    assert [QUBITS in gate.qubits for gate in joined][: len(outer.gates)] == [False] * len(outer.gates)
    assert any(QUBITS in gate.qubits for gate in joined) or np.allclose(unitary(inner), np.eye(1 << QUBITS))
    U, half = unitary(joined, QUBITS + 1), 1 << QUBITS
    assert np.allclose(U[:half, :half], np.eye(half), rtol=0, atol=1e-13) and not U[:half, half:].any()
    assert np.allclose(U[half:, half:], unitary(program), rtol=0, atol=1e-13)


@pytest.mark.parametrize("qubit", [-1, 1])
def test_a_control_that_the_program_uses_is_refused(qubit: int) -> None:
    program = Circuit(2)
    program.hadamard(1)
    with pytest.raises(ParameterError, match="gate"):
        program.controlled(qubit)


# --- fused programs


@few
@given(PROGRAMS, st.sampled_from([gate_fusion.dense_product, gate_fusion.sparse_product]))
def test_a_fused_program_is_no_longer_and_does_the_same(program: Circuit, product: Any) -> None:
    fused = gate_fusion.fuse(program, product)
    assert len(fused) <= len(program.gates)
    assert np.allclose(unitary(fused), unitary(program), rtol=0, atol=1e-13)
    for gate in fused:
        if isinstance(gate, gate_fusion.SparseGate):
            assert np.diff(gate.matrix.indptr).max() == gate_fusion.MOST_ENTRIES
    if product is gate_fusion.dense_product:
        assert not any(isinstance(gate, gate_fusion.SparseGate) for gate in fused)  # cuStateVec has no such gate


@few
@given(SEEDS)
def test_a_gate_between_a_change_of_basis_on_its_controls_is_under_the_control_of_a_state(seed: int) -> None:
    random = np.random.default_rng(seed)
    where, others = np.split(random.permutation(QUBITS), [int(random.integers(1, 3))])
    size, target = 1 << len(where), int(others[0])
    change, _ = np.linalg.qr(random.standard_normal((size, size)) + 1j * random.integers(0, 2))
    values = tuple(int(v) for v in random.integers(0, 2, QUBITS - 1))
    inner = np.linalg.qr(random.standard_normal((2, 2)) + 0j)[0]
    V = MatrixGate("v", change, tuple(map(int, where)))
    G = MatrixGate("g", inner, (target,), tuple(int(q) for q in (*where, *others[1:])), values)
    program = [random_gate(seed), V, G, V.inverse(), random_gate(seed + 1)]
    merged = list(gate_fusion.merge_conjugations(program))
    assert [type(gate).__name__ for gate in merged[1:-1]] == ["StateControlledGate"]
    assert np.allclose(unitary(merged), unitary(program), rtol=0, atol=1e-13)


def test_what_is_no_conjugation_stays() -> None:
    h = MatrixGate("h", HADAMARD, (0,))
    s = MatrixGate("s", S_GATE, (0,))
    cz = MatrixGate("z", np.diag([1, -1]), (1,), (0,), (1,))
    for program in ([h, cz, s], [h, cz], [h, MatrixGate("z", np.diag([1, -1]), (1,)), h], [s, h, cz]):
        assert list(gate_fusion.merge_conjugations(program)) == program


def test_a_query_of_the_matching_encoding_is_two_fused_gates_whatever_the_degree() -> None:
    H = np.random.default_rng(0).standard_normal((8, 8))
    encoding: Any = encode(as_operator(H + H.T, CPU), CPU, "matching")
    block, degree = encoding.circuit(), 7
    phases = np.random.default_rng(1).uniform(-3, 3, degree + 1)
    state = CPU.state_vector(np.eye(8), block.num_qubits + 1)
    gates = qsvt_gates(state.fuse(block), block.num_qubits, encoding.system_qubits, phases)
    assert iter(gates) is gates  # made one by one, never all at once
    merged = list(gate_fusion.merge_conjugations(gates))
    # both Hadamard gates, the last rotation, the first and last phase, and PREP behind and before these
    assert len(merged) == 2 * degree + 6
    program = qsvt_circuit(block, encoding.system_qubits, phases)
    assert len(program.gates) == 10 * degree + 4
    state.run(merged)
    assert np.allclose(state.amplitudes, unitary(program, program.num_qubits)[:, :8], rtol=0, atol=1e-13)


def test_a_real_block_stays_real_when_it_is_fused() -> None:
    H = np.random.default_rng(0).standard_normal((8, 8))
    encoding: Any = encode(as_operator(H + H.T, CPU), CPU, "matching")
    block = encoding.circuit()
    fused = CPU.state_vector(np.eye(1), block.num_qubits).fuse(block)
    assert [type(gate).__name__ for gate in fused] == ["MatrixGate", "SparseGate", "MatrixGate"]
    assert not any(np.iscomplexobj(gate.matrix) for gate in fused)
    assert np.allclose(unitary(fused, block.num_qubits), unitary(block, block.num_qubits), rtol=0, atol=1e-14)


def test_memory_does_not_grow_with_the_degree() -> None:
    H = np.random.default_rng(0).standard_normal((4, 4))
    encoding: Any = encode(as_operator(H + H.T, CPU), CPU, "matching")
    block, start = encoding.circuit(), np.eye(4)

    def peak(degree: int) -> int:
        phases = np.ones(degree + 1)
        tracemalloc.start()
        state = CPU.state_vector(start, block.num_qubits + 1)
        state.run(qsvt_gates(state.fuse(block), block.num_qubits, encoding.system_qubits, phases))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # imports
    assert peak(1500) < peak(30) + 50_000  # a gate takes about 700 bytes


@given(st.data())
def test_a_shift_is_its_table_and_its_elementary_gates(data: st.DataObject) -> None:
    qubits = data.draw(st.permutations(range(6)))
    k, c = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 2))
    values = tuple(data.draw(st.lists(st.integers(0, 1), min_size=c, max_size=c)))
    gate = ShiftGate("add", tuple(qubits[:k]), data.draw(st.integers(-20, 20)), tuple(qubits[k : k + c]), values)
    state = np.random.default_rng(0).normal(size=(64, 2))
    expected = np.empty_like(state)
    for j in range(64):  # by the definition, bit by bit
        on = all((j >> q) & 1 == v for q, v in zip(gate.controls, values, strict=True))
        number = sum(((j >> q) & 1) << place for place, q in enumerate(gate.targets))
        moved = (number + gate.amount * on) % (1 << k)
        rest = j & ~sum(1 << q for q in gate.targets)
        expected[rest | sum(((moved >> place) & 1) << q for place, q in enumerate(gate.targets))] = state[j]
    assert np.array_equal(apply_gate(gate, state), expected)
    by_flips = state
    for flip in gate.elementary():
        by_flips = apply_gate(flip, by_flips)
    assert np.array_equal(by_flips, expected)
    assert np.array_equal(apply_gate(gate.inverse(), expected), state)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (MatrixGate("x", np.eye(4)[::-1], (0,)), "a matrix of another shape"),
        (MatrixGate("x", np.eye(2)[::-1], (0, 1)), "a matrix of another shape"),
        (MatrixGate("x", [[0, 1], [1, 0]], (0,)), "Give an array"),  # type: ignore[arg-type]
        (MatrixGate("x", np.eye(2)[::-1], (0,), (1,)), "0 or 1 for each control"),
        (MatrixGate("x", np.eye(2)[::-1], (0,), (1,), (2,)), "0 or 1 for each control"),
        (ShiftGate("add", (0,), 1, (1,)), "0 or 1 for each control"),
        (PermutationGate("moved", (0, 1), np.arange(2)), "a table of another shape"),
        (PermutationGate("phases", (0,), diagonal=np.ones(4)), "a table of another shape"),
    ],
)
def test_a_gate_of_other_qubits_than_its_arrays_is_refused(gate: Gate, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Circuit(2).append(gate)
