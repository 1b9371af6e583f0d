"""QSVT on matrix-product states: the circuit itself, closed-form solutions at 40 qubits, and honest failure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.conditioning import SpectrumBounds, estimate_spectrum
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import CombinationError, DataTypeError, ParameterError, ShapeError
from qnewton_gpu.operators import ToeplitzOperator, screened_poisson
from qnewton_gpu.operators.closed_forms import constant_solution, point_solution
from qnewton_gpu.simulation import run_sequence
from qnewton_gpu.solvers import Status
from qnewton_gpu.solvers.chain_solve import ChainCircuit
from qnewton_gpu.tensor_networks import MatrixProductState
from qnewton_gpu.tensor_networks.functions import constant, delta

CPU = select_backend("cpu")


def definite(data: st.DataObject) -> ToeplitzOperator:
    """A definite band operator on one or two small axes."""
    qubits = data.draw(st.sampled_from([(3,), (4,), (2, 2), (1, 3)]))
    coefficients = st.floats(-1, 1).filter(lambda c: abs(c) > 0.1)
    offsets = [
        {k: data.draw(coefficients) for k in data.draw(st.sets(st.integers(1, 2**n - 1), min_size=1, max_size=2))}
        for n in qubits
    ]
    total = 2 * sum(abs(c) for one in offsets for c in one.values())
    return ToeplitzOperator(qubits, total * data.draw(st.floats(1.2, 3)), offsets, CPU)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_circuit_on_a_chain_is_the_circuit_on_a_register(data: st.DataObject) -> None:
    operator = definite(data)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    v = rng.normal(size=operator.shape[0])
    circuit = ChainCircuit(operator, estimate_spectrum(operator), TensornetBackend(CPU, 64, 1e-14), 1e-2, 10**6)
    circuit.cutoff = 1e-14
    found, entry = circuit.apply(MatrixProductState.from_vector(v))
    encoding = encode(operator, CPU, "toeplitz")
    start = (v / np.linalg.norm(v))[:, None]
    register = run_sequence(encoding, circuit.phases.reflection, start, CPU, mode="circuit")
    expected = np.linalg.norm(v) * circuit.gain / encoding.alpha * register.amplitudes[:, 0]
    assert abs(found.vector() - expected).max() <= 1e-10 * abs(expected).max()
    assert entry["success_probability"][0] == pytest.approx(float(register.success_probability[0]), abs=1e-10)


@pytest.mark.parametrize(("qubits", "kappa"), [(12, 10.0), (40, 10.0)])
def test_screened_poisson_beyond_any_state_vector(qubits: int, kappa: float) -> None:
    operator, source = screened_poisson([qubits], kappa, CPU), (1 << qubits) // 3
    solution = qn.solve(operator, delta(qubits, source), solver="qsvt", tolerance=1e-3, backend="tensornet:32")
    indices = np.array([0, 7, source - 20, source - 1, source, source + 3, (1 << qubits) - 1])
    exact = point_solution(operator, source, indices)
    assert solution.status is Status.SOLVED
    # |x - x*| <= ||r||/lambda_min, and max|x*| >= 1/lambda_max
    assert abs(solution.x.entries(indices) - exact).max() <= 1e-3 * kappa * abs(exact).max()
    residual = (delta(qubits, source) - operator.as_mpo() @ solution.x).moved(0).norm()
    assert solution.relative_residual == pytest.approx(residual, rel=1e-6)
    assert solution.resources["bond_dimension"] <= 32
    assert 0 < solution.resources["truncation_error"] < 1e-3 / kappa


def test_rounds_reach_what_one_circuit_does_not() -> None:
    operator = screened_poisson([6], 5.0, CPU)
    solution = qn.solve(operator, constant(6), tolerance=1e-9, backend="tensornet:48")
    exact = constant_solution(operator, np.arange(64))
    assert solution.status is Status.SOLVED and len(solution.history) >= 2
    assert abs(solution.x.vector() - exact).max() <= 5e-9 * abs(exact).max()
    assert solution.queries == sum(entry["queries"] for entry in solution.history)


def test_a_bond_dimension_too_small_is_said_and_never_called_solved() -> None:
    operator = screened_poisson([6, 6], 20.0, CPU)
    b = MatrixProductState.from_vector(np.random.default_rng(0).normal(size=4096))
    solution = qn.solve(operator, b, tolerance=1e-3, backend="tensornet:4")
    assert solution.status is Status.NOT_CONVERGED
    assert "bond dimension 4" in solution.message and "tensornet:8" in solution.message
    residual = (b - operator.as_mpo() @ solution.x).moved(0).norm() / b.moved(0).norm()
    assert solution.relative_residual == pytest.approx(residual, rel=1e-6)


def test_other_ends() -> None:
    operator, b = screened_poisson([8], 50.0, CPU), constant(8)
    few = qn.solve(operator, b, tolerance=1e-2, max_queries=20, backend="tensornet:16")
    assert few.status is Status.TOO_MANY_QUERIES and few.queries == 0
    nothing = qn.solve(operator, b * 0.0, backend="tensornet:16")
    assert nothing.status is Status.SOLVED and nothing.x.norm() == 0
    known = SpectrumBounds(1e-14, 1.0, certified=True)
    assert qn.solve(operator, b, bounds=known, backend="tensornet:16").status is Status.TOO_ILL_CONDITIONED


def test_an_indefinite_operator_needs_bounds_that_are_known() -> None:
    operator = ToeplitzOperator([3], 0.0, [{1: 1.0}], CPU)
    with pytest.raises(ParameterError, match="encloses zero"):
        qn.solve(operator, constant(3), backend="tensornet:32")
    eigenvalues = np.abs(np.linalg.eigvalsh(operator.dense()))
    bounds = SpectrumBounds(0.99 * eigenvalues.min(), 1.01 * eigenvalues.max(), certified=True)
    solution = qn.solve(operator, constant(3), tolerance=1e-4, bounds=bounds, backend="tensornet:32")
    assert solution.status is Status.SOLVED
    expected = np.linalg.solve(operator.dense(), constant(3).vector())
    assert np.linalg.norm(solution.x.vector() - expected) <= 1e-4 / bounds.lower


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"A": np.eye(16)}, DataTypeError, "A: is a ndarray"),
        ({"b": constant(5)}, ShapeError, "b: has 5 sites of 2 levels, and A acts on 4"),
        ({"b": constant(4) * 1j}, DataTypeError, "b: is complex"),
        ({"solver": "lu"}, CombinationError, "solver: 'lu'"),
        ({"mode": "fused"}, CombinationError, "mode: 'fused'"),
        ({"damping": 0.1}, CombinationError, "damping: 0.1"),
        ({"tolerance": 0.0}, ParameterError, "tolerance: 0.0"),
    ],
)
def test_wrong_input_is_named(change: dict[str, Any], error: type[Exception], said: str) -> None:
    given: dict[str, Any] = {"A": screened_poisson([4], 10.0, CPU), "b": constant(4), "backend": "tensornet:8"}
    with pytest.raises(error, match=said):
        qn.solve(**{**given, **change})
