"""The Toeplitz encoding: the block, its gate program of adders, and solves by every mode that a vector fits in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from physics.encoding_checks import check_contract, check_gate_program, check_modes

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.counting import count
from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.circuit import Circuit, MatrixGate, ShiftGate
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import CombinationError
from qnewton_gpu.operators import ToeplitzOperator, as_operator, screened_poisson

CPU = select_backend("cpu")
CASES: dict[str, tuple[list[int], float, list[dict[int, float]]]] = {
    "tridiagonal": ([3], 2.5, [{1: -1.0}]),
    "two offsets": ([3], 2.0, [{1: 0.7, 3: -0.4}]),
    "five points": ([2, 3], 5.0, [{1: -1.0}, {1: -1.0}]),
    "no diagonal": ([3], 0.0, [{1: 1.0, 2: -0.5}]),
    "one negative offset": ([3], 0.0, [{2: -1.0}]),
    "negative diagonal": ([2, 1], -3.0, [{3: 0.5}, {1: 1.0}]),
    "diagonal alone": ([2], -2.0, [{}]),
    "corners": ([3], 1.0, [{7: 1.0}]),
    "three axes": ([1, 2, 1], 0.3, [{1: -1.0}, {1: 1.0, 2: 2.0}, {}]),
}


def unitary(program: Circuit) -> np.ndarray:
    state = np.eye(1 << program.num_qubits, dtype=complex)
    for gate in program:
        state = apply_gate(gate, state)
    return state


@pytest.mark.parametrize("case", CASES)
def test_the_contract_holds_and_modes_agree(case: str) -> None:
    H = ToeplitzOperator(*CASES[case], CPU)
    encoding: Any = encode(H, CPU)
    assert encoding.name == "toeplitz" and encoding.alpha == pytest.approx(H.largest_row_sum(), rel=1e-15)
    check_contract(encoding, H.dense())
    check_gate_program(encoding, H.dense())
    assert abs(unitary(encoding.circuit()).imag).max() == 0
    check_modes(encoding, 4)
    check_modes(encoding, 3, "circuit")


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 3),
    diagonal=st.sampled_from([0.0, 1.0, -2.0]),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 3),
)
def test_random_bands_keep_the_contract(n: int, diagonal: float, seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    ks = random.choice(np.arange(1, 1 << n), size=min(count, (1 << n) - 1), replace=False)
    H = ToeplitzOperator([n], diagonal, [{int(k): random.standard_normal() for k in ks}], CPU)
    encoding: Any = encode(H, CPU)
    check_contract(encoding, H.dense())
    check_gate_program(encoding, H.dense())


@pytest.mark.parametrize("case", ["five points", "no diagonal", "negative diagonal"])
def test_the_program_is_the_register_of_the_fused_mode(case: str) -> None:
    """S itself, not its block alone: colours padded, and PREP undone."""
    encoding: Any = encode(ToeplitzOperator(*CASES[case], CPU), CPU)
    program = encoding.circuit()
    prepare = [g for g in program.gates if isinstance(g, MatrixGate) and g.label in ("prepare", "h")]
    size = encoding.register_size
    psi = np.random.default_rng(0).standard_normal((size, 1))
    state = np.zeros((1 << program.num_qubits, 1), dtype=complex)
    state[:size] = psi
    for gate in program.gates[len(prepare) // 2 : -(len(prepare) // 2)]:
        state = apply_gate(gate, state)
    assert np.allclose(state[:size], encoding.reflect(psi), rtol=0, atol=1e-14)


@pytest.mark.parametrize("axes", [1, 2])
def test_the_program_grows_linearly_with_the_qubits(axes: int) -> None:
    """Shift gates do not grow at all; X gates, ANDs and CNOTs grow by the same number for each further qubit."""
    encodings: list[Any] = [encode(screened_poisson([n // axes] * axes, 10, CPU), CPU) for n in (10, 20, 30, 40)]
    programs = [encoding.circuit() for encoding in encodings]
    assert {sum(isinstance(g, ShiftGate) for g in p) for p in programs} == {2 * axes}
    assert len({len(p.gates) for p in programs}) == 1
    flips = [sum(len(g.elementary()) if isinstance(g, ShiftGate) else 1 for g in p) for p in programs]
    resources = [count(p) for p in programs]
    for grown in (flips, [r.ands for r in resources], [r.cnots for r in resources]):
        steps = np.diff(grown)
        assert len(set(steps.tolist())) == 1 and steps[0] > 0
    assert len({r.rotations for r in resources}) == 1
    assert flips[-1] <= 2 * axes * 41 + 12


def test_no_array_grows_with_the_grid() -> None:
    encoding: Any = encode(screened_poisson([20, 20], 100, CPU), CPU)
    assert encoding.register_size == 3 * 4 << 40 and encoding.alpha == pytest.approx(8 * 101 / 101, rel=0.02)
    for gate in encoding.circuit():
        assert isinstance(gate, ShiftGate) or gate.matrix.size <= 16


@pytest.mark.parametrize("case", ["tridiagonal", "five points", "negative diagonal"])
def test_solves_are_those_of_the_matrix_in_every_mode(case: str) -> None:
    H = ToeplitzOperator(*CASES[case], CPU)
    b = np.random.default_rng(1).standard_normal((H.shape[0], 2))
    exact = np.linalg.solve(H.dense(), b)
    found = {
        mode: qn.solve(H, b, solver="qsvt", mode=mode, tolerance=1e-6, backend="cpu")
        for mode in ("subspace", "fused", "circuit")
    }
    for mode, solution in found.items():
        assert solution.solved and solution.resources["mode"] == mode and solution.resources["bounds"].certified
        assert np.linalg.norm(solution.x - exact) <= 1e-5 * np.linalg.norm(exact)
        assert np.allclose(solution.x, found["subspace"].x, rtol=0, atol=1e-10)
    for solver in ("cg", "lu", "qr", "kernel_reflection"):
        solution = qn.solve(H, b, solver=solver, tolerance=1e-4, backend="cpu")
        assert solution.solved and np.allclose(solution.x, exact, rtol=0, atol=1e-3)
    if H.eigenvalue_range[0] > 0:
        assert qn.solve(H, b, solver="cholesky", backend="cpu").solved


def test_other_operators_and_other_encodings_are_refused() -> None:
    with pytest.raises(CombinationError, match="ToeplitzOperator"):
        encode(as_operator(np.eye(2), CPU), CPU, "toeplitz")
    with pytest.raises(CombinationError, match="encoding='toeplitz'"):
        encode(screened_poisson([2], 2, CPU), CPU, "banded")
