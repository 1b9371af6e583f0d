"""What all quantum solvers share: counts that are predictions, FP32 registers, equations, chains, damping, rank."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn
from qnewton_gpu import CostModel, GramOperator, LinearSystem, SpectrumBounds, estimate_spectrum
from qnewton_gpu.backends import select_backend
from qnewton_gpu.errors import CombinationError, UnknownNameError
from qnewton_gpu.operators import KroneckerOperator, as_operator
from qnewton_gpu.polynomials import inverse_degree, pseudo_inverse_polynomial, round_up_to_grid
from qnewton_gpu.solvers import QUANTUM, make_solver
from qnewton_gpu.solvers.cks import cks_orders
from qnewton_gpu.solvers.method import count_round
from qnewton_gpu.solvers.qsvt import QSVT
from qnewton_gpu.solvers.quantum import LARGEST_ROUNDING

CPU = select_backend("cpu")
SYMMETRIC_ENCODINGS = ["walk", "matching", "dilation", "banded", "pauli", "sparse_access"]
OF_THE_INVERSE = [name for name in QUANTUM if name not in ("saddle_free", "qsvt_pseudo_inverse")]
"""Solvers of A x = b for any square A."""
ONLY_SYMMETRIC = ["kernel_reflection", "hhl", "cks", "adiabatic", "saddle_free"]


def matrix(eigenvalues: np.ndarray, seed: int = 0) -> np.ndarray:
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    made = (basis * eigenvalues) @ basis.T
    return (made + made.T) / 2


def general(singular: np.ndarray, m: int, n: int, seed: int = 3) -> np.ndarray:
    random = np.random.default_rng(seed)
    U, V = (np.linalg.qr(random.standard_normal((size, size)))[0][:, : len(singular)] for size in (m, n))
    made: np.ndarray = (U * singular) @ V.T
    return made


def spectrum(size: int, kappa: float, indefinite: bool = False) -> np.ndarray:
    return np.geomspace(1 / kappa, 1, size) * np.where(np.arange(size) % 2 * indefinite, -1, 1)


def system(
    kappa: float, indefinite: bool = False, tolerance: float = 1e-4, *, size: int = 8, columns: int = 1, seed: int = 0
) -> LinearSystem:
    H = matrix(spectrum(size, kappa, indefinite), seed)
    b = np.random.default_rng(seed + 1).standard_normal((size, columns))
    bounds = SpectrumBounds(1 / kappa, 1.0, True, negative=indefinite)
    return LinearSystem(as_operator(H, CPU), b, bounds, tolerance, seed=seed)


def norm_of_x(problem: LinearSystem) -> float:
    return float(np.linalg.norm(np.linalg.solve(problem.operator.dense(), problem.rhs[:, 0])))


def counted(solver: Any, problem: LinearSystem) -> int:
    """The first round's queries, on the encoding that only counts."""
    posed = solver.pose(problem)
    method = solver.method(posed, CPU)
    return count_round(method, posed.zeros(), posed.rhs, method.split()[0])


@pytest.mark.parametrize("indefinite", [False, True], ids=["definite", "indefinite"])
@pytest.mark.parametrize("encoding", ["walk", "matching", "dilation"])
@pytest.mark.parametrize("name", QUANTUM)
def test_counted_stated_and_made_queries_are_those_predicted(name: str, encoding: str, indefinite: bool) -> None:
    problem = system(6.0, indefinite)
    problem.expected_norm = norm_of_x(problem)
    solver: Any = make_solver(name, encoding=encoding)
    method = solver.method(solver.pose(problem), CPU)
    epsilon, rounds = method.split()
    stated = method.queries(epsilon)
    solution = solver.solve(problem, CPU)
    assert solution.solved, solution.message
    assert counted(solver, problem) == stated
    assert {entry["queries"] for entry in solution.history} == {stated}
    predicted = solver.predict(problem, CostModel(), CPU).factors
    assert predicted["queries"] == stated and predicted["rounds"] == rounds >= len(solution.history)
    assert solution.queries == stated * len(solution.history)


@pytest.mark.parametrize("encoding", ["walk", "matching", "dilation"])
@pytest.mark.parametrize("name", OF_THE_INVERSE)
def test_the_same_holds_for_the_dilation_of_a_general_matrix(name: str, encoding: str) -> None:
    A, b = general(spectrum(4, 3.0), 4, 4), np.arange(1.0, 5)[:, None]
    expected = float(np.linalg.norm(np.linalg.solve(A, b)))
    bounds = SpectrumBounds(1 / 3, 1.0, True)
    problem = LinearSystem(as_operator(A, CPU), b, bounds, 1e-3, expected_norm=expected)
    solver: Any = make_solver(name, encoding=encoding)
    solution = solver.solve(problem, CPU)
    assert solution.solved, solution.message
    predicted = solver.predict(problem, CostModel(), CPU).factors["queries"]
    assert counted(solver, problem) == solution.history[0]["queries"] == predicted


@pytest.mark.parametrize("encoding", ["walk", "matching", "dilation"])
@pytest.mark.parametrize("name", ["saddle_free", "qsvt_pseudo_inverse"])
def test_solvers_of_other_equations_refuse_a_general_matrix_on_a_symmetric_encoding(name: str, encoding: str) -> None:
    with pytest.raises(CombinationError, match="qsvt"):
        qn.solve(general(spectrum(4, 3.0), 4, 4), np.ones(4), solver=name, encoding=encoding)


@pytest.mark.parametrize("indefinite", [False, True], ids=["definite", "indefinite"])
@pytest.mark.parametrize("encoding", ["walk", "matching", "dilation"])
def test_a_cold_search_is_counted_as_made_and_predicted_at_its_longest(encoding: str, indefinite: bool) -> None:
    problem = system(40.0, indefinite)
    solver: Any = make_solver("kernel_reflection", encoding=encoding)
    made = solver.solve(problem, CPU).history[0]["queries"]
    assert counted(solver, problem) == made
    warm = replace(problem, expected_norm=norm_of_x(problem))
    predicted = solver.predict(problem, CostModel(), CPU).factors
    assert counted(solver, warm) < made <= predicted["queries"] + predicted["search_queries"]
    assert predicted["queries"] == solver.predict(warm, CostModel(), CPU).factors["queries"]


@pytest.mark.parametrize(("kappa", "degree"), [(10.0, 99), (100.0, 991), (1000.0, 9903)])
def test_qsvt_makes_the_queries_of_the_theorem(kappa: float, degree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """METHODS section 5: 2n - 1 with alpha = ||H||, eps 1e-4; off the grid that plans are rounded to."""
    monkeypatch.setattr("qnewton_gpu.solvers.qsvt.round_up_to_grid", lambda value: value)
    problem = system(kappa, True, size=4)
    problem.operator = as_operator(np.diag(spectrum(4, kappa, True)), CPU)
    solver: Any = make_solver("qsvt", encoding="dilation")
    method = solver.method(problem, CPU)
    assert method.kappa == pytest.approx(kappa, rel=1e-13)
    method.kappa = kappa
    assert method.queries(1e-4) == degree == inverse_degree(kappa, 1e-4)
    assert count_round(method, problem.zeros(), problem.rhs, 1e-4) == degree


@pytest.mark.parametrize("kappa", [10.0, 50.0])
@pytest.mark.parametrize("epsilon", [1e-2, 1e-4])
def test_cks_makes_the_queries_of_the_theorem(kappa: float, epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 j0 + 1 with b = ceil(kappa^2 ln(kappa/eps)) and j0 = ceil(sqrt(b ln(4b/eps)))."""
    monkeypatch.setattr("qnewton_gpu.solvers.cks.round_up_to_grid", lambda value: value)
    problem = system(kappa, size=3)
    solver: Any = make_solver("cks", encoding="dilation")
    method = solver.method(problem, CPU)
    method.kappa = kappa
    b = math.ceil(kappa**2 * math.log(kappa / epsilon))
    theorem = 2 * math.ceil(math.sqrt(b * math.log(4 * b / epsilon))) + 1
    assert cks_orders(kappa, epsilon)[0] == b
    assert method.queries(epsilon) == theorem == count_round(method, problem.zeros(), problem.rhs, epsilon)


def test_columns_of_one_round_are_counted_once() -> None:
    solver = make_solver("qsvt", encoding="walk")
    assert counted(solver, system(6.0, columns=3)) == counted(solver, system(6.0, columns=1))


# FP32 registers


@pytest.mark.parametrize(
    ("largest", "mode", "chosen"),
    [
        (1.0, "fused", "single"), (LARGEST_ROUNDING * 2**24, "fused", "single"),
        (LARGEST_ROUNDING * 2**24 * (1 + 1e-12), "fused", "double"), (1e9, "fused", "double"),
        (1.0, "subspace", "double"), (1.0, "circuit", "double"),
    ],
)  # fmt: skip
def test_single_precision_is_taken_where_rounding_allows(
    largest: float, mode: str, chosen: str, caplog: pytest.LogCaptureFixture
) -> None:
    """6e-8 max|P| <= 2e-3, and the decision is logged where there is one."""
    phases: Any = SimpleNamespace(sup_norm=largest)
    with caplog.at_level(logging.INFO, logger="qnewton_gpu"):
        assert QSVT(name="x", precision="auto").precision_of(phases, mode) == chosen
        assert [f"{chosen} precision" in record.getMessage() for record in caplog.records] == [True] * (mode == "fused")
        caplog.clear()
        assert QSVT(name="x").precision_of(phases, mode) == "double" and not caplog.records


@pytest.mark.parametrize("name", ["qsvt", "qsvt_uniform", "kernel_reflection"])
def test_a_register_in_single_precision_is_refined_to_a_tight_tolerance(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = system(50.0, True, 1e-10, size=16)
    problem.expected_norm = norm_of_x(problem)
    with caplog.at_level(logging.INFO, logger="qnewton_gpu"):
        solution = make_solver(name, encoding="walk", mode="fused", precision="auto").solve(problem, CPU)
    assert "single precision" in caplog.text and "double precision" not in caplog.text
    assert solution.solved, solution.message
    assert np.linalg.norm(problem.rhs - problem.operator.dense() @ solution.x) <= 1e-10 * np.linalg.norm(problem.rhs)
    assert 4 <= len(solution.history) <= 7 and solution.history[0]["epsilon"] == pytest.approx(1e-2)
    assert solution.ledger["arithmetic"] > 1e-12  # the register did round
    if name == "qsvt":
        assert solution.resources["precision"] == "single"


def test_beyond_the_rule_the_register_stays_double(caplog: pytest.LogCaptureFixture) -> None:
    """The even form: max|P| = 2.65 kappa_eff^2, so that FP32 ends near kappa_eff = 110."""
    random = np.random.default_rng(0)
    G = random.standard_normal((6, 4))
    G /= np.linalg.norm(G)
    for damping, chosen in ((1e-2, "single"), (1e-5, "double")):
        operator = GramOperator(G, damping)
        g = G.T @ random.standard_normal((6, 1))
        problem = LinearSystem(operator, g, estimate_spectrum(operator), 1e-10)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="qnewton_gpu"):
            solution = make_solver("qsvt", mode="fused", precision="auto").solve(problem, CPU)
        assert f"{chosen} precision" in caplog.text
        assert solution.resources["precision"] == chosen and solution.resources["parity"] == "even"
        assert solution.solved, solution.message
        assert np.linalg.norm(g - operator.dense() @ solution.x) <= 1e-10 * np.linalg.norm(g)


@pytest.mark.parametrize("mode", ["subspace", "circuit"])
def test_other_modes_stay_double(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    problem = system(5.0, True, 1e-10, size=4)
    with caplog.at_level(logging.INFO, logger="qnewton_gpu"):
        solution = make_solver("qsvt", encoding="matching", mode=mode, precision="auto").solve(problem, CPU)
    assert solution.solved and solution.resources["precision"] == "double" and not caplog.records
    assert solution.ledger["arithmetic"] < 1e-11


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="double, auto"):
        make_solver("qsvt", precision="half")
    with pytest.raises(UnknownNameError, match="subspace, fused, circuit"):
        make_solver("kernel_reflection", mode="exact")
    with pytest.raises(CombinationError, match="'subspace' or 'fused'"):
        make_solver("hhl", mode="circuit")


# square, rectangular


@pytest.mark.parametrize("encoding", SYMMETRIC_ENCODINGS)
@pytest.mark.parametrize("name", OF_THE_INVERSE)
def test_a_square_matrix_is_served_by_its_dilation(name: str, encoding: str) -> None:
    A, b = general(spectrum(4, 3.0), 4, 4), np.random.default_rng(0).standard_normal((4, 2))
    for given in (A, sp.csr_array(A)):
        solution = qn.solve(given, b, solver=name, encoding=encoding, tolerance=1e-6)
        assert solution.solved and solution.resources["encoding"] == encoding, solution.message
        assert solution.x.shape == (4, 2)
        assert (np.linalg.norm(b - A @ solution.x, axis=0) <= 1e-6 * np.linalg.norm(b, axis=0) * (1 + 1e-9)).all()


def test_the_dilation_is_made_once_and_a_known_success_goes_with_it() -> None:
    A = general(spectrum(4, 3.0), 4, 4)
    problem = LinearSystem(as_operator(A, CPU), np.ones((4, 1)), SpectrumBounds(1 / 3, 1.0, True), 1e-3)
    solver: Any = make_solver("cks", encoding="walk")
    posed = solver.pose(problem)
    np.testing.assert_array_equal(posed.operator.dense(), np.block([[np.zeros((4, 4)), A], [A.T, np.zeros((4, 4))]]))
    np.testing.assert_array_equal(posed.rhs, np.vstack([np.ones((4, 1)), np.zeros((4, 1))]))
    assert posed.bounds.negative and solver.pose(problem) is posed
    problem.expected_success = {solver.name: 0.25}
    assert solver.pose(problem).expected_success == {solver.name: 0.25}


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize("name", ONLY_SYMMETRIC)
def test_a_rectangle_is_refused_by_solvers_of_symmetric_matrices(name: str, shape: tuple[int, int]) -> None:
    A = general(spectrum(4, 3.0), *shape)
    for encoding in ("auto", "walk"):
        with pytest.raises(CombinationError, match="qsvt"):
            problem = LinearSystem(as_operator(A, CPU), np.ones((shape[0], 1)), SpectrumBounds(1 / 3, 1.0, True), 1e-3)
            make_solver(name, encoding=encoding).solve(problem, CPU)


@pytest.mark.parametrize("encoding", SYMMETRIC_ENCODINGS)
def test_a_rectangle_is_refused_with_a_symmetric_encoding(encoding: str) -> None:
    with pytest.raises(CombinationError, match="two_sided"):
        qn.solve(general(spectrum(4, 3.0), 6, 4), np.ones(6), solver="qsvt", encoding=encoding)


# factor by factor


@pytest.mark.parametrize("mode", ["subspace", "fused", "circuit"])
def test_a_chain_of_circuits_is_one_dense_solve_and_degrees_add(mode: str) -> None:
    factors = [matrix(spectrum(2, 3.0)), matrix(spectrum(4, 5.0, True), 1)]
    dense = np.kron(*factors)
    b = np.random.default_rng(2).standard_normal((8, 2))
    bounds = [SpectrumBounds(1 / 3, 1.0), SpectrumBounds(1 / 5, 1.0)]
    problem = LinearSystem(KroneckerOperator(factors, CPU), b, SpectrumBounds(1 / 15, 1.0, True), 1e-5)
    solver: Any = make_solver("qsvt", encoding="kronecker", mode=mode)
    solution = solver.solve(problem, CPU)
    assert solution.solved, solution.message
    assert (np.linalg.norm(b - dense @ solution.x, axis=0) <= 1e-5 * np.linalg.norm(b, axis=0)).all()
    np.testing.assert_allclose(solution.x, np.linalg.solve(dense, b), rtol=0, atol=1e-3)
    degrees = [inverse_degree(round_up_to_grid(1 / one.lower), 0.5e-5) for one in bounds]
    assert solution.history[0]["queries"] == sum(degrees) == counted(solver, problem)
    assert sum(degrees) < inverse_degree(15.0, 1e-5)
    assert solver.predict(problem, CostModel(), CPU).factors["queries"] == sum(degrees)


def test_a_chain_ends_with_the_probability_of_the_product() -> None:
    """||P_2 P_1 b||^2 with each circuit at scale 0.98 of its maximum."""
    factors = [matrix(spectrum(2, 3.0)), matrix(spectrum(3, 4.0), 1)]
    b = np.random.default_rng(2).standard_normal((6, 1))
    b /= np.linalg.norm(b)
    problem = LinearSystem(KroneckerOperator(factors, CPU), b, SpectrumBounds(1 / 12, 1.0, True), 1e-6)
    solver: Any = make_solver("qsvt", encoding="kronecker")
    method = solver.method(problem, CPU)
    gains = [p.sup_norm / 0.98 for p in method.polynomials(method.split()[0])]
    solution = solver.solve(problem, CPU)
    norm = np.linalg.norm(np.linalg.solve(np.kron(*factors), b))
    assert solution.success_probability == pytest.approx((norm / math.prod(gains)) ** 2, rel=1e-4)


# damping and numerical rank


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("shape", [(7, 7), (6, 6), (8, 5), (5, 8)], ids=["symmetric", "square", "tall", "wide"])
def test_damped_systems_at_any_tolerance(shape: tuple[int, int], tolerance: float) -> None:
    d = 0.2
    A = matrix(spectrum(7, 1e6, True)) if shape == (7, 7) else general(spectrum(min(shape), 1e6), *shape)
    b = np.random.default_rng(1).standard_normal((shape[0], 2))
    solution = qn.solve(A, b, solver="qsvt", damping=d, tolerance=tolerance)
    assert solution.solved, solution.message
    normal = A.T @ A + d**2 * np.eye(shape[1])
    residual = np.linalg.norm(A.T @ b - normal @ solution.x, axis=0) / np.linalg.norm(A.T @ b, axis=0)
    assert residual.max() <= tolerance * (1 + 1e-6)
    exact = np.linalg.solve(normal, A.T @ b)
    error = np.linalg.norm(solution.x - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert error.max() <= tolerance * np.linalg.cond(normal)
    assert len(solution.history) == 1 and solution.queries == solution.resources["degree"]


@pytest.mark.parametrize("damping", [1e-3, 1e-2, 1.0, 1e3])
def test_damping_of_any_size(damping: float) -> None:
    A = matrix(spectrum(5, 1e9, True))
    b = np.random.default_rng(1).standard_normal(5)
    solution = qn.solve(A, b, solver="qsvt", damping=damping, tolerance=1e-5)
    assert solution.solved, solution.message
    normal = A.T @ A + damping**2 * np.eye(5)
    assert np.linalg.norm(A.T @ b - normal @ solution.x) <= 1.001e-5 * np.linalg.norm(A.T @ b)


def test_damping_is_refused_by_solvers_without_it() -> None:
    for name in [name for name in QUANTUM if name != "qsvt"]:
        with pytest.raises(CombinationError):
            qn.solve(np.diag([1.0, 2.0]), np.ones(2), solver=name, damping=0.1)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
@pytest.mark.parametrize("noise", [0.0, 1e-9])
@pytest.mark.parametrize("shape", [(6, 6), (8, 6), (6, 8), (7, 7)], ids=["square", "tall", "wide", "symmetric"])
def test_the_pseudo_inverse_of_numerical_rank(shape: tuple[int, int], noise: float, tolerance: float) -> None:
    """Singular values below half of bounds.lower are dropped, as by numpy.linalg.pinv with that cut."""
    values = np.array([1.0, 0.6, 0.3, 0.2, noise, noise])
    signed = np.concatenate([values * [1, -1, 1, -1, 1, -1], [0.0]])
    A = matrix(signed) if shape == (7, 7) else general(values, *shape)
    b = np.random.default_rng(4).standard_normal((shape[0], 2))
    bounds = SpectrumBounds(0.2, 1.0, True)
    solution = qn.solve(A, b, solver="qsvt_pseudo_inverse", tolerance=tolerance, bounds=bounds)
    assert solution.solved, solution.message
    exact = np.linalg.pinv(A, rcond=0.1) @ b
    error = np.linalg.norm(solution.x - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert error.max() <= 10 * tolerance
    normal = np.linalg.norm(A.T @ (b - A @ solution.x), axis=0) / np.linalg.norm(A.T @ b, axis=0)
    assert normal.max() <= tolerance * (1 + 1e-6)
    alpha, made = solution.resources["alpha"], solution.history[0]
    degree = pseudo_inverse_polynomial(round_up_to_grid(alpha / 0.2), made["epsilon"]).degree
    assert made["queries"] == degree
    if noise:  # the plain inverse follows the noise instead
        plain = np.linalg.pinv(A) @ b
        assert np.linalg.norm(plain - exact) > 1e3 * np.linalg.norm(exact)
