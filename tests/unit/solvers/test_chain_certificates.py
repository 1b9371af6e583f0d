"""Chains at the edges of what they promise: scales of b, walls of long chains, wrong bounds, rounds that keep pace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.conditioning import SpectrumBounds, estimate_spectrum
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import DataTypeError, NonFiniteError, ParameterError
from qnewton_gpu.operators import ToeplitzOperator, screened_poisson
from qnewton_gpu.operators.closed_forms import point_solution
from qnewton_gpu.simulation import run_sequence
from qnewton_gpu.solvers import Status
from qnewton_gpu.solvers.chain_solve import ChainCircuit
from qnewton_gpu.tensor_networks import MatrixProductState
from qnewton_gpu.tensor_networks.functions import constant, delta

CPU = select_backend("cpu")


def random_state(qubits: int, seed: int) -> MatrixProductState:
    return MatrixProductState.from_vector(np.random.default_rng(seed).normal(size=1 << qubits))


def true_residual(operator: ToeplitzOperator, b: MatrixProductState, x: MatrixProductState) -> float:
    return float(np.linalg.norm(b.vector() - operator.dense() @ x.vector()) / np.linalg.norm(b.vector()))


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e-160, 1e200])
def test_a_right_hand_side_whose_norm_leaves_double_precision_is_refused(scale: float) -> None:
    with pytest.raises(ParameterError, match="b: has a largest magnitude"):
        qn.solve(screened_poisson([4], 4.0, CPU), random_state(4, 0) * scale, backend="tensornet:8")


def test_a_norm_is_judged_as_a_whole_and_not_tensor_by_tensor() -> None:
    operator, one = screened_poisson([4], 4.0, CPU), random_state(4, 1)
    tensors = [t * s for t, s in zip(one.tensors, (1e-100, 1e100, 1e-90, 1e90), strict=True)]
    solution = qn.solve(operator, MatrixProductState(tensors), tolerance=1e-6, backend="tensornet:8")
    assert solution.status is Status.SOLVED and true_residual(operator, one, solution.x) <= 1.001e-6
    tiny = MatrixProductState.product([np.full(2, 1e-60)] * 8)  # 1e-480: no double, and not zero
    with pytest.raises(ParameterError, match="b: has a largest magnitude"):
        qn.solve(screened_poisson([8], 4.0, CPU), tiny, backend="tensornet:8")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_entries_that_are_no_numbers_are_named(bad: float) -> None:
    tensors = [t.copy() for t in random_state(4, 2).tensors]
    tensors[2][0, 0, 0] = bad
    with pytest.raises(NonFiniteError, match="b: holds"):
        qn.solve(screened_poisson([4], 4.0, CPU), MatrixProductState(tensors), backend="tensornet:8")
    objects = MatrixProductState([np.ones((1, 2, 1), dtype=object)] * 4)
    with pytest.raises(DataTypeError, match="b: holds object"):
        qn.solve(screened_poisson([4], 4.0, CPU), objects, backend="tensornet:8")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_the_residual_of_a_short_float_is_one_in_double_precision(dtype: type) -> None:
    operator = screened_poisson([4], 4.0, CPU)
    b = MatrixProductState([(3 * t).astype(dtype) for t in random_state(4, 3).tensors])
    solution = qn.solve(operator, b, tolerance=1e-9, backend="tensornet:8")
    exact = MatrixProductState([t.astype(float) for t in b.tensors])
    assert solution.status is Status.SOLVED
    assert solution.relative_residual == pytest.approx(true_residual(operator, exact, solution.x), rel=1e-4)


@pytest.mark.parametrize("qubits", [40, 110])
def test_the_walls_of_long_chains_are_in_the_residual(qubits: int) -> None:
    """A wall is one entry of 2^n: less than rounding of the operator's Frobenius norm, and all that e_N feels."""
    last = (1 << qubits) - 1
    operator = screened_poisson([qubits], 3.0, CPU)
    circuit = ChainCircuit(operator, estimate_spectrum(operator), TensornetBackend(CPU, 8), 1e-2, 10**6)
    image = circuit.image(delta(qubits, last))
    assert image.entry(0) == pytest.approx(0, abs=5e-14) and image.entry(last - 1) == pytest.approx(-1, abs=5e-14)
    assert image.entry(last) == pytest.approx(operator.diagonal, abs=5e-14)


def test_a_residual_at_40_qubits_is_right_to_twelve_digits() -> None:
    """x of one entry c at s leaves b - H x = (1 - c c_0) e_s + c (e_(s-1) + e_(s+1)) for b = e_s."""
    operator, source, c = screened_poisson([40], 10.0, CPU), (1 << 40) // 3, 0.37
    circuit = ChainCircuit(operator, estimate_spectrum(operator), TensornetBackend(CPU, 8), 1e-2, 10**6)
    b = delta(40, source)
    left = (b - circuit.image(b * c)).moved(0).norm()
    assert left == pytest.approx(np.sqrt((1 - c * operator.diagonal) ** 2 + 2 * c**2), rel=1e-13)


def test_bounds_that_are_too_high_are_widened() -> None:
    operator, b = screened_poisson([4], 40.0, CPU), random_state(4, 4)
    for lower in (0.4, 400.0):
        solution = qn.solve(operator, b, tolerance=1e-2, bounds=SpectrumBounds(lower, 500.0), backend="tensornet:16")
        assert solution.status is Status.SOLVED, solution.message
        assert true_residual(operator, b, solution.x) <= 1.001e-2
        assert solution.queries == sum(entry["queries"] for entry in solution.history)


def test_certified_bounds_that_are_wrong_are_named_and_not_the_bond_dimension() -> None:
    operator, b = screened_poisson([4], 40.0, CPU), random_state(4, 4)
    wrong = SpectrumBounds(2.0, 5.0, certified=True)
    solution = qn.solve(operator, b, tolerance=1e-3, bounds=wrong, backend="tensornet:16")
    assert solution.status is Status.NOT_CONVERGED
    assert "bounds.lower" in solution.message and "tensornet:" not in solution.message
    few = qn.solve(operator, b, tolerance=1e-3, bounds=SpectrumBounds(2.0, 5.0), max_queries=40, backend="tensornet:16")
    assert few.status is Status.TOO_MANY_QUERIES and 0 < few.queries <= 40


@pytest.mark.parametrize("tolerance", [1e-7, 1e-12])
def test_every_round_leaves_what_its_polynomial_promises(tolerance: float) -> None:
    """The residual that a round starts from is not truncated so far that the next one falls behind."""
    solution = qn.solve(
        screened_poisson([8], 3.0, CPU), random_state(8, 5), tolerance=tolerance, backend="tensornet:32"
    )
    assert solution.status is Status.SOLVED
    errors = [1.0, *(entry["relative_residual"][0] for entry in solution.history)]
    epsilons = [entry["epsilon"] for entry in solution.history]
    assert all(after <= 1.2 * e * before for before, after, e in zip(errors, errors[1:], epsilons, strict=False))


def test_one_diagonal_ends_beyond_its_tolerance() -> None:
    """A polynomial of degree 5 may be far better than asked for: nothing is truncated by more than all of it."""
    operator = ToeplitzOperator([3], -2.0, [{}], CPU)
    solution = qn.solve(operator, random_state(3, 6), tolerance=1e-10, backend="tensornet:8")
    assert solution.status is Status.SOLVED and solution.relative_residual < 1e-10


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 5), st.integers(1, 8), st.integers(0, 2**20))
def test_what_truncation_reports_bounds_what_it_did(qubits: int, bond: int, seed: int) -> None:
    """The part of the register that x is read from, against the same circuit on a state vector."""
    operator = screened_poisson([qubits], 3.0, CPU)
    circuit = ChainCircuit(operator, estimate_spectrum(operator), TensornetBackend(CPU, bond, 1e-14), 1e-2, 10**6)
    circuit.cutoff = 1e-14
    b = random_state(qubits, seed)
    found, entry = circuit.apply(b)
    encoding = encode(operator, CPU, "toeplitz")
    start = (b.vector() / np.linalg.norm(b.vector()))[:, None]
    register = run_sequence(encoding, circuit.phases.reflection, start, CPU, mode="circuit")
    scale = np.linalg.norm(b.vector()) * circuit.gain / encoding.alpha
    assert np.linalg.norm(found.vector() / scale - register.amplitudes[:, 0]) <= entry["truncation_error"] + 1e-11


def test_a_point_source_beside_the_wall_of_60_qubits() -> None:
    operator, source = screened_poisson([60], 3.0, CPU), (1 << 60) - 1
    solution = qn.solve(operator, delta(60, source), tolerance=1e-5, backend="tensornet:16")
    indices = source - np.arange(4)
    exact = point_solution(operator, source, indices)
    assert solution.status is Status.SOLVED
    assert abs(solution.x.entries(indices) - exact).max() <= 3e-5 * abs(exact).max()


def test_zero_is_solved_whatever_tensor_makes_it_zero() -> None:
    tensors = list(constant(5).tensors)
    tensors[3] = 0 * tensors[3]
    solution = qn.solve(screened_poisson([5], 4.0, CPU), MatrixProductState(tensors), backend="tensornet:8")
    assert solution.status is Status.SOLVED and solution.x.norm() == 0


def test_widening_that_is_refused_leaves_the_account_of_what_was_run() -> None:
    operator, b = screened_poisson([4], 40.0, CPU), random_state(4, 4)
    few = qn.solve(operator, b, tolerance=1e-3, bounds=SpectrumBounds(2.0, 5.0), max_queries=40, backend="tensornet:16")
    assert few.queries == sum(entry["queries"] for entry in few.history) <= 40
    assert few.resources["degree"] == few.history[-1]["queries"]
    assert few.relative_residual == pytest.approx(true_residual(operator, b, few.x), rel=1e-9)


@pytest.mark.parametrize("certified", [True, False])
def test_what_rounding_leaves_is_said_to_be_rounding(certified: bool) -> None:
    """Of rounds that stagnate there, whatever is known of the bounds: nothing else would help."""
    operator = screened_poisson([4], 40.0, CPU)
    bounds = SpectrumBounds(1e-3, 5.0, certified)
    circuit = ChainCircuit(operator, bounds, TensornetBackend(CPU, 16), 1e-14, 10**6)
    status, message = circuit.end(error=2e-14, reached=2e-14, before=2.1e-14, lost=1e-6, floor=3e-14) or (None, "")
    assert status is Status.NOT_CONVERGED and "rounding alone" in message


def test_an_exact_readout_and_no_noise_are_none_whichever_way_they_are_said() -> None:
    readout, noise = qn.Readout("exact"), qn.Noise()
    said = qn.solve(
        screened_poisson([4], 4.0, CPU),
        constant(4),
        tolerance=1e-2,
        backend="tensornet:8",
        readout=readout,
        noise=noise,
    )
    assert said.status is Status.SOLVED
