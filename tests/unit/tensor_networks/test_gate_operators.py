"""Gates as matrix-product operators against the state vector that applies them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.circuit import MatrixGate, PermutationGate, ShiftGate
from qnewton_gpu.errors import NotEnoughMemoryError
from qnewton_gpu.tensor_networks import MatrixProductState
from qnewton_gpu.tensor_networks.gate_operators import GROWTH, absorbed, fuse_where_cheaper, gate_operator

QUBITS = 5
fast = settings(max_examples=30, deadline=None)


def unitary(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size)))[0]


@st.composite
def gates(draw):
    """One gate of any kind on any of five qubits, in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    qubits = draw(st.permutations(range(QUBITS)))
    count = draw(st.integers(1, 3))
    targets = tuple(qubits[:count])
    controls = tuple(qubits[count : count + draw(st.integers(0, 2))])
    values = tuple(draw(st.integers(0, 1)) for _ in controls)
    kind = draw(st.sampled_from(["matrix", "permutation", "diagonal", "shift"]))
    if kind == "matrix":
        return MatrixGate("u", unitary(rng, 1 << count), targets, controls, values)
    if kind == "shift":
        if draw(st.booleans()):
            targets = tuple(sorted(targets))
        return ShiftGate("add", targets, draw(st.integers(-9, 9)), controls, values)
    permutation = rng.permutation(1 << count) if kind == "permutation" or draw(st.booleans()) else None
    diagonal = np.exp(1j * rng.normal(size=1 << count)) if kind == "diagonal" else None
    return PermutationGate("p", targets, permutation, diagonal)


def dense(operators) -> np.ndarray:
    """Of operators on some of the qubits, on all of them, the first acting first."""
    matrix = np.eye(1 << QUBITS)
    for item in operators:
        matrix = item.spread_over(0, QUBITS - 1).matrix() @ matrix
    return matrix


@fast
@given(gates())
def test_a_gate_is_its_operator(gate):
    operator = gate_operator(gate)
    assert min(gate.qubits) <= operator.first and operator.last <= max(gate.qubits)
    assert np.abs(dense([operator]) - apply_gate(gate, np.eye(1 << QUBITS, dtype=complex))).max() < 1e-13


@fast
@given(st.lists(gates(), max_size=8))
def test_fused_gates_do_the_same_with_no_more_work(program):
    wanted = np.eye(1 << QUBITS, dtype=complex)
    for gate in program:
        wanted = apply_gate(gate, wanted)
    fused = fuse_where_cheaper(program)
    assert np.abs(dense(fused) - wanted).max() < 1e-12
    assert sum(item.work for item in fused) <= sum(gate_operator(gate).work for gate in program) * (1 + 1e-12)


@fast
@given(st.lists(gates(), min_size=2, max_size=2), st.integers(1, QUBITS))
def test_a_gate_is_absorbed_by_one_around_it(pair, most):
    first, second = map(gate_operator, pair)
    both = absorbed(first, second, most)
    inside = {*first.qubits} <= {*second.qubits} or {*second.qubits} <= {*first.qubits}
    shorter, longer = sorted((first, second), key=lambda item: len(item.qubits))
    if both is None:
        grown = (second.spread_over(0, 4) @ first.spread_over(0, 4)).tensors
        work = sum(w.shape[0] * w.shape[3] for w in grown[longer.first : longer.last + 1])
        assert not inside or len(shorter.qubits) > most or work > GROWTH * longer.work + shorter.work
    else:
        assert inside and len(shorter.qubits) <= most
        assert np.abs(dense([both]) - dense([first, second])).max() < 1e-13


@pytest.mark.parametrize("controls", [(), (0,), (39,), (3, 39), (0, 1, 38)])
def test_bonds_stay_small(controls):
    values = (1,) * len(controls)
    x = MatrixGate("x", np.array([[0.0, 1.0], [1.0, 0.0]]), (20,), controls, values)
    assert gate_operator(x).operator.bond_dimension == (2 if controls else 1)
    shift = ShiftGate("add", tuple(range(5, 35)), 1, controls, values)
    assert gate_operator(shift).operator.bond_dimension <= (3 if controls else 2)
    assert gate_operator(shift).operator.dtype == np.float64


@pytest.mark.parametrize("qubits", [40, 130])
def test_what_acts_on_one_of_2_to_the_n_states_is_not_lost(qubits):
    """A phase of 1e-7 under all other qubits, alone and squared: its Frobenius norm is nothing beside that of 1."""
    phase = np.diag([1.0, np.exp(1e-7j)])
    gate = gate_operator(MatrixGate("phase", phase, (0,), tuple(range(1, qubits)), (1,) * (qubits - 1)))
    ones = MatrixProductState.product([np.array([0.0, 1.0])] * qubits)
    for operator, wanted in ((gate, np.exp(1e-7j)), (gate.then(gate), np.exp(2e-7j))):
        assert operator.operator.bond_dimension == 2
        assert abs(operator.operator.apply(ones)[0].entries(ones_index(qubits)) - wanted) < 1e-15


def ones_index(qubits: int) -> np.ndarray:
    return np.array((1 << qubits) - 1, dtype=object)


def test_a_permutation_that_only_shifts_has_the_bond_of_a_shift():
    gate = ShiftGate("add", tuple(range(10)), 333).table
    assert gate_operator(gate).operator.bond_dimension == 2


def test_a_permutation_without_structure_is_refused():
    permutation = np.random.default_rng(0).permutation(1 << 13)
    with pytest.raises(NotEnoughMemoryError, match="bond"):
        gate_operator(PermutationGate("random", tuple(range(13)), permutation))
