"""Screened Poisson on grids from 2^8 to 2^40 points by QSVT on matrix-product states, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu.operators.closed_forms import constant_solution, point_solution, sine_solution
from qnewton_gpu.tensor_networks.functions import constant, delta, sine_mode

TOLERANCE = 1e-2


def solved(operator: qn.ToeplitzOperator, b, tolerance: float = TOLERANCE):
    """x, once its residual is what the solver says, computed anew without truncation."""
    solution = qn.solve(operator, b, solver="qsvt", tolerance=tolerance, backend="tensornet:64")
    assert solution.solved, solution.message
    left = (b - operator.as_mpo() @ solution.x).moved(0).norm() / b.moved(0).norm()
    assert left <= tolerance and left == pytest.approx(solution.relative_residual, rel=1e-6)
    return solution


@pytest.mark.parametrize("qubits", [[3, 3], [8]])
def test_the_chain_gives_what_the_state_vector_gives(qubits: list[int]) -> None:
    operator = qn.screened_poisson(qubits, 10, "cpu")
    b = delta(sum(qubits), 43) + 0.5 * constant(sum(qubits))
    chain = solved(operator, b)
    vector = qn.solve(operator, b.vector(), solver="qsvt", mode="circuit", tolerance=TOLERANCE, backend="cpu")
    difference = np.linalg.norm(chain.x.vector() - vector.x) / np.linalg.norm(vector.x)
    # both are the same polynomial of H but for its degree, the share of the tolerance that truncation has
    assert difference <= 2 * TOLERANCE
    exact = np.linalg.solve(operator.dense(), b.vector())
    assert np.linalg.norm(chain.x.vector() - exact) <= 10 * TOLERANCE * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("num_qubits", "tolerance"), [(12, 1e-4), (40, 1e-2), pytest.param(40, 1e-4, marks=pytest.mark.slow)]
)
def test_a_point_source_gives_the_discrete_greens_function(num_qubits: int, tolerance: float) -> None:
    operator = qn.screened_poisson([num_qubits], 10, "cpu")
    source = (1 << num_qubits) // 3
    x = solved(operator, delta(num_qubits, source), tolerance).x
    at = source + np.arange(-30, 30)
    exact = point_solution(operator, source, at)
    # ||x - exact|| <= tolerance/lambda_min, and for kappa = 10 that is 3.17 tolerance max(exact)
    assert abs(x.entries(at) - exact).max() <= 3.2 * tolerance * exact.max()
    assert abs(x.entries(np.array([0, (1 << num_qubits) - 1]))).max() <= tolerance


def test_a_constant_is_solved_in_2_norm_and_its_walls_where_they_are_no_rounding() -> None:
    operator = qn.screened_poisson([12], 10, "cpu")
    x = solved(operator, constant(12)).x
    at = np.array([0, 1, 2, 100, 2048, 4095])
    exact = constant_solution(operator, at)
    assert abs(x.entries(at) - exact).max() <= 2 * TOLERANCE * exact.max()


@pytest.mark.parametrize("qubits", [[40], pytest.param([20, 20], marks=pytest.mark.slow)])
def test_sums_of_sines_of_forty_qubits(qubits: list[int]) -> None:
    operator = qn.screened_poisson(qubits, 10, "cpu")
    largest = (1 << qubits[0]) // 3
    modes = {(1,) * len(qubits): 1.0, (largest,) * len(qubits): -0.7}
    first, second = (
        amplitude * (sine_mode(40, m[0]) if len(m) == 1 else sine_mode(20, m[0]).kron(sine_mode(20, m[1])))
        for m, amplitude in modes.items()
    )
    x = solved(operator, first + second).x
    at = np.random.default_rng(0).integers(0, 1 << 40, 50, dtype=np.int64)
    exact = sine_solution(operator, modes, at)
    assert abs(x.entries(at) - exact).max() <= 2 * TOLERANCE * abs(exact).max()
