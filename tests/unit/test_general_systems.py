"""Systems that are not real and symmetric: general, rectangular, complex, damped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu import SpectrumBounds, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import CostModel
from qnewton_gpu.operators import GeneralMatrix, MatrixOperator, as_operator, real_form
from qnewton_gpu.solvers import LinearSystem, make_solver
from qnewton_gpu.solvers.base import amplification, certify, growth

CPU = select_backend("cpu")
RANDOM = np.random.default_rng(4)
A = RANDOM.standard_normal((9, 9)) + 3 * np.eye(9)
TALL, WIDE = RANDOM.standard_normal((12, 5)), RANDOM.standard_normal((4, 9))
COMPLEX = A + 1j * RANDOM.standard_normal((9, 9))
HERMITIAN = COMPLEX + COMPLEX.conj().T
B = RANDOM.standard_normal((12, 3))
DENSE_AND_SPARSE = pytest.mark.parametrize("kind", [np.array, sp.csr_array, sp.coo_matrix], ids=["dense", "csr", "coo"])


def reference(matrix: np.ndarray, b: np.ndarray, damping: float = 0.0) -> np.ndarray:
    U, values, V = np.linalg.svd(matrix, full_matrices=False)
    inverse = np.divide(values, values**2 + damping**2, out=0 * values, where=values > 1e-12 * values[0])
    return (V.conj().T * inverse) @ (U.conj().T @ b)


def agrees(x: np.ndarray, exact: np.ndarray, tolerance: float = 1e-6) -> bool:
    return x.shape == exact.shape and bool(np.linalg.norm(x - exact) <= tolerance * np.linalg.norm(exact))


@pytest.mark.parametrize("solver", ["auto", "qsvt", "lu", "qr", "cg"])
@pytest.mark.parametrize("matrix", [A, COMPLEX, HERMITIAN], ids=["real", "complex", "hermitian"])
@pytest.mark.parametrize("b", [B[:9, 0], B[:9, :2], B[:9, :2] * (1 + 2j) + 1j], ids=["b", "two", "complex b"])
@DENSE_AND_SPARSE
def test_square_systems(kind: Any, b: np.ndarray, matrix: np.ndarray, solver: str) -> None:
    solution = qn.solve(kind(matrix), b, solver=solver, tolerance=1e-8)
    assert solution.solved, solution.message
    assert agrees(solution.x, np.linalg.solve(matrix, b))
    assert solution.x.dtype == (complex if np.iscomplexobj(matrix) or np.iscomplexobj(b) else float)
    residual = np.linalg.norm(b - matrix @ solution.x, axis=0) / np.linalg.norm(b, axis=0)
    assert residual.max() <= solution.relative_residual * (1 + 1e-6) + 1e-15


@pytest.mark.parametrize("solver", ["auto", "qsvt", "qr", "cg"])
@pytest.mark.parametrize("matrix", [TALL, WIDE, TALL * (1 - 1j) + 1j], ids=["tall", "wide", "complex tall"])
@DENSE_AND_SPARSE
def test_least_squares_and_minimum_norm(kind: Any, matrix: np.ndarray, solver: str) -> None:
    b = B[: matrix.shape[0], :2]
    solution = qn.solve(kind(matrix), b, solver=solver, tolerance=1e-8)
    assert solution.solved, solution.message
    assert agrees(solution.x, reference(matrix, b))
    gradient = np.linalg.norm(matrix.conj().T @ (b - matrix @ solution.x), axis=0)
    relative = gradient / np.linalg.norm(matrix.conj().T @ b, axis=0)
    assert relative.max() == pytest.approx(solution.relative_residual, rel=1e-3, abs=1e-15)


@pytest.mark.parametrize("solver", ["auto", "qsvt", "qr", "cg"])
@pytest.mark.parametrize("matrix", [A, A + A.T, TALL, WIDE, np.diag([0.0, 1.0, 2.0]), COMPLEX],
                         ids=["general", "symmetric", "tall", "wide", "singular", "complex"])  # fmt: skip
def test_tikhonov_damping(matrix: np.ndarray, solver: str) -> None:
    b = B[: matrix.shape[0], :2]
    solution = qn.solve(matrix, b, solver=solver, damping=0.7, tolerance=1e-5)
    assert solution.solved, solution.message
    exact = reference(matrix, b, 0.7)
    assert agrees(solution.x, exact, 1e-3)
    gradient = matrix.conj().T @ (b - matrix @ solution.x) - 0.49 * solution.x
    relative = np.linalg.norm(gradient, axis=0) / np.linalg.norm(matrix.conj().T @ b, axis=0)
    assert relative.max() == pytest.approx(solution.relative_residual, rel=1e-3, abs=1e-15)


@pytest.mark.parametrize("solver", ["qr", "cg"])
@pytest.mark.parametrize("damping", [1e-40, 1e-6, 1e3, 1e50])
def test_damping_far_from_the_norm_of_the_matrix(damping: float, solver: str) -> None:
    for matrix in (TALL, WIDE):
        b = B[: matrix.shape[0], 0]
        solution = qn.solve(matrix, b, solver=solver, damping=damping, tolerance=1e-8)
        exact = reference(matrix, b, 0.0 if damping < 1e-8 else damping)
        assert solution.solved and agrees(solution.x, exact), solution.message


@pytest.mark.parametrize("solver", ["qr", "cg"])
def test_a_rank_deficient_least_squares_problem_has_the_solution_of_minimum_norm(solver: str) -> None:
    for matrix in (TALL @ np.diag([1.0, 1, 0, 1, 0]), np.vstack([WIDE, WIDE])):
        b = B[: matrix.shape[0], 0]
        solution = qn.solve(matrix, b, solver=solver, tolerance=1e-9)
        assert solution.solved and agrees(solution.x, reference(matrix, b))


@pytest.mark.parametrize("matrix", [TALL, TALL * (1 + 1j)])
def test_b_outside_of_the_range_has_the_least_squares_solution_zero(matrix: np.ndarray) -> None:
    b = B[:, 0] - TALL @ np.linalg.lstsq(TALL, B[:, 0], rcond=None)[0]
    solution = qn.solve(matrix, b)
    assert solution.solved and not solution.x.any() and solution.x.shape == (5,)
    assert solution.relative_residual < 1e-14 and "A^t b is zero" in solution.message
    mixed = qn.solve(matrix, np.c_[b, B[:, 1]], solver="qr")
    assert mixed.solved and np.linalg.norm(mixed.x[:, 0]) < 1e-14 < np.linalg.norm(mixed.x[:, 1])


def test_zeros_are_handled_in_every_shape() -> None:
    for matrix in (TALL, WIDE, A, COMPLEX, np.zeros((5, 3))):
        m, n = matrix.shape
        solution = qn.solve(matrix, np.zeros((m, 2)))
        assert solution.solved and solution.x.shape == (n, 2) and not solution.x.any()
        assert np.iscomplexobj(solution.x) == np.iscomplexobj(matrix)
    assert qn.solve(np.zeros((5, 3)), np.ones(5)).solved  # x = 0 is as near as one gets
    assert qn.solve(np.zeros((3, 3)), np.ones(3)).status is Status.SINGULAR
    singular = np.outer(np.arange(1.0, 5), [1.0, 0, 2, 1])
    assert qn.solve(singular, np.ones(4), solver="qr").status is Status.SINGULAR
    assert qn.solve(singular, np.arange(1.0, 5), solver="qr").solved


@pytest.mark.parametrize(
    ("matrix", "b", "dtype"),
    [
        (A, np.ones(9, np.float32), np.float32), (A, np.ones(9, np.complex64), np.complex64),
        (COMPLEX, np.ones(9, np.float32), np.complex64), (COMPLEX.astype(np.complex64), np.ones(9, int), complex),
        (COMPLEX, np.ones(9, np.complex64) * 1j, np.complex64), (A, np.ones(9) + 0j, complex),
        (A + 0j, np.ones(9), complex), (A.tolist(), [1] * 9, float), (COMPLEX.tolist(), [1] * 9, complex),
    ],
)  # fmt: skip
def test_x_is_complex_where_a_or_b_is_and_as_precise_as_b(matrix: Any, b: Any, dtype: type) -> None:
    solution = qn.solve(matrix, b, solver="lu")
    assert solution.solved and solution.x.dtype == dtype
    assert agrees(solution.x, np.linalg.solve(np.asarray(matrix), np.asarray(b)), 1e-5)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64, torch.float32])
def test_complex_torch_in_complex_torch_out(dtype: torch.dtype) -> None:
    b = torch.ones(9, 2).to(dtype)
    for matrix in (torch.tensor(COMPLEX), torch.tensor(COMPLEX).to_sparse(), torch.tensor(COMPLEX.conj()).conj()):
        solution = qn.solve(matrix, b, solver="lu")
        assert isinstance(solution.x, torch.Tensor) and solution.x.shape == (9, 2)
        assert solution.x.dtype == (torch.complex128 if dtype is torch.complex128 else torch.complex64)
        assert agrees(solution.x.numpy(), np.linalg.solve(COMPLEX, np.ones((9, 2))), 1e-5)
    real = qn.solve(torch.tensor(A), b, solver="lu").x
    assert real.dtype == dtype and agrees(real.numpy(), np.linalg.solve(A, np.ones((9, 2))), 1e-5)


def test_numbers_that_are_complex_by_dtype_only_are_real() -> None:
    form = real_form(A + A.T + 0j, B[:9] + 1e-17j, CPU)
    assert isinstance(form.operator, MatrixOperator) and form.operator.shape == (9, 9)
    assert form.columns.shape == (9, 3) and form.restore(form.columns).dtype == complex
    assert real_form(sp.csr_array(A + 0j), B[:9], CPU).operator.shape == (9, 9)
    assert real_form(A, B[:9] + 1e-9j, CPU).columns.shape == (9, 6)


@given(n=st.integers(1, 6), extra=st.integers(0, 4), seed=st.integers(0, 10**6), sparse=st.booleans())
@settings(max_examples=25)
def test_the_real_embedding_is_the_complex_matrix(n: int, extra: int, seed: int, sparse: bool) -> None:
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((n + extra, n)) + 1j * random.standard_normal((n + extra, n))
    b = random.standard_normal((n + extra, 2)) + 1j * random.standard_normal((n + extra, 2))
    form = real_form(sp.csr_array(matrix) if sparse else matrix, b, CPU)
    x = random.standard_normal((n, 2)) + 1j * random.standard_normal((n, 2))
    real = np.concatenate([x.real, x.imag])
    assert form.operator.shape == (2 * (n + extra), 2 * n)
    assert np.array_equal(form.restore(real), x) and np.array_equal(form.columns_of(x), real)
    image, adjoint = form.operator.matvec(real), form.operator.rmatvec(form.columns)
    assert np.allclose(image, np.concatenate([(matrix @ x).real, (matrix @ x).imag]), rtol=0, atol=1e-12)
    expected = matrix.conj().T @ b
    assert np.allclose(adjoint, np.concatenate([expected.real, expected.imag]), rtol=0, atol=1e-12)
    values = np.linalg.svd(form.operator.dense(), compute_uv=False)
    assert np.allclose(values, np.repeat(np.linalg.svd(matrix, compute_uv=False), 2), rtol=0, atol=1e-12)
    row_sum = abs(form.operator.dense()).sum(axis=1).max()
    assert row_sum <= np.sqrt(2) * abs(matrix).sum(axis=1).max() * (1 + 1e-12)


@given(m=st.integers(1, 7), n=st.integers(1, 7), seed=st.integers(0, 10**6), sparse=st.booleans())
@settings(max_examples=25)
def test_a_general_matrix_multiplies_both_ways_and_its_dilation_is_symmetric(
    m: int, n: int, seed: int, sparse: bool
) -> None:
    random = np.random.default_rng(seed)
    dense = random.standard_normal((m, n)) * (random.random((m, n)) < 0.7)
    operator = GeneralMatrix(sp.csr_array(dense) if sparse else dense, CPU)
    v, u = random.standard_normal((n, 2)) + 1j, random.standard_normal((m, 3))
    assert np.allclose(operator.matvec(v), dense @ v) and np.allclose(operator.rmatvec(u), dense.T @ u)
    assert np.array_equal(operator.dense(), dense) and operator.count_nonzero() == np.count_nonzero(dense)
    assert operator.frobenius_norm == pytest.approx(np.linalg.norm(dense), rel=1e-14)
    norm = np.linalg.norm(dense, 2)
    assert norm**2 <= operator.largest_row_sum() * operator.largest_column_sum() * (1 + 1e-12)
    dilation = operator.hermitian_dilation()
    assert dilation.shape == (m + n, m + n) and np.array_equal(dilation.dense(), dilation.dense().T)
    image = dilation.matvec(np.concatenate([u[:, :2], v.real]))
    assert np.allclose(image, np.concatenate([dense @ v.real, dense.T @ u[:, :2]]))


def test_the_dilation_serves_solvers_of_symmetric_matrices() -> None:
    dilation = GeneralMatrix(A, CPU).hermitian_dilation()
    solution = qn.solve(dilation, np.r_[B[:9, 0], np.zeros(9)], solver="qsvt", encoding="walk", tolerance=1e-8)
    assert solution.solved and agrees(solution.x[9:], np.linalg.solve(A, B[:9, 0]))


def test_an_asymmetry_that_matters_is_not_averaged_away() -> None:
    Q = np.linalg.qr(RANDOM.standard_normal((8, 8)))[0]
    given_matrix = (Q * np.geomspace(1e-7, 1, 8)) @ Q.T
    given_matrix = (given_matrix + given_matrix.T) / 2
    given_matrix[0, 1] += 2e-11
    assert as_operator(given_matrix, CPU).symmetric
    b = Q @ np.ones(8)
    averaged = np.linalg.solve((given_matrix + given_matrix.T) / 2, b)
    assert np.linalg.norm(b - given_matrix @ averaged) > 1e-5 * np.linalg.norm(b)
    solution = qn.solve(given_matrix, b, solver="lu", tolerance=1e-6)
    assert solution.solved
    assert np.linalg.norm(b - given_matrix @ solution.x) <= 1e-6 * np.linalg.norm(b)
    refused = qn.solve(given_matrix, b, solver="cholesky", tolerance=1e-6)
    assert refused.status is Status.NOT_CONVERGED and "symmetric" in refused.message


def test_an_encoding_that_cannot_take_the_asymmetry_says_so() -> None:
    Q = np.linalg.qr(RANDOM.standard_normal((8, 8)))[0]
    matrix = (Q * np.geomspace(1e-3, 1, 8)) @ Q.T
    matrix = (matrix + matrix.T) / 2
    matrix[0, 1] += 0.9e-10 * abs(matrix).max()
    b = Q[:, 0]
    bounds = SpectrumBounds(0.9e-3, 1.1)
    solution = qn.solve(matrix, b, solver="qsvt", encoding="walk", damping=1e-3, tolerance=1e-6, bounds=bounds)
    assert solution.status is Status.NOT_CONVERGED and "not symmetric enough" in solution.message
    gradient = matrix.T @ (b - matrix @ solution.x) - 1e-6 * solution.x
    relative = np.linalg.norm(gradient) / np.linalg.norm(matrix.T @ b)
    assert relative > 1e-6 and solution.relative_residual == pytest.approx(relative, rel=1e-3)
    assert qn.solve(matrix, b, solver="qr", damping=1e-3, tolerance=1e-6).solved


@pytest.mark.parametrize("encoding", ["walk", "matching", "dilation", "two_sided"])
def test_encodings_of_symmetric_matrices_serve_a_square_one_by_its_dilation(encoding: str) -> None:
    for matrix in (A, COMPLEX):
        solution = qn.solve(matrix, B[:9, 0], solver="qsvt", encoding=encoding, tolerance=1e-8)
        assert solution.solved and solution.resources["encoding"] == encoding
        assert agrees(solution.x, np.linalg.solve(matrix, B[:9, 0]))


def system(matrix: np.ndarray, columns: int = 2, damping: float = 0.0) -> LinearSystem:
    operator = as_operator(matrix, CPU)
    values = np.linalg.svd(matrix, compute_uv=False)
    bounds = SpectrumBounds(values[-1], values[0], True)
    return LinearSystem(operator, B[: matrix.shape[0], :columns], bounds, 1e-8, damping=damping)


@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("matrix", [A, A + A.T, TALL, WIDE], ids=["general", "symmetric", "tall", "wide"])
def test_a_system_knows_its_residual(matrix: np.ndarray, damping: float) -> None:
    this = system(matrix, damping=damping)
    m, n = matrix.shape
    assert (this.size, this.unknowns, this.zeros().shape) == (max(m, n), n, (n, 2))
    assert this.normal == (damping > 0 or m != n)
    x = RANDOM.standard_normal((n, 2))
    residual = this.residual(x)
    assert np.allclose(residual[:m], this.rhs - matrix @ x) and len(residual) == m + n * (damping > 0)
    gradient = matrix.T @ (this.rhs - matrix @ x) - damping**2 * x
    assert np.allclose(this.normal_residual(residual), gradient)
    measured, scale = (gradient, matrix.T @ this.rhs) if this.normal else (residual, this.rhs)
    expected = np.linalg.norm(measured, axis=0) / np.linalg.norm(scale, axis=0)
    assert np.allclose(this.relative_residuals(residual), expected)
    assert certify(this, x, CPU)[0] == pytest.approx(expected.max(), rel=1e-12)
    assert np.allclose(this.relative_residuals(this.residual(this.zeros())), 1)
    stacked = np.vstack([matrix, damping * np.eye(n)]) if damping else matrix
    values = np.linalg.svd(stacked, compute_uv=False)
    if m >= n or not damping:
        assert this.kappa == pytest.approx(values[0] / values[-1], rel=1e-12)
    exact = reference(matrix, this.rhs, damping)
    assert growth(this, exact, CPU) <= this.kappa * (1 + 1e-9)
    rounded = exact.astype(np.float32).astype(float)
    allowed = 2.0**-24 * amplification(this, exact) + 1e-14
    assert this.relative_residuals(this.residual(rounded)).max() <= allowed


def test_predictions_are_finite_for_the_solvers_that_serve_a_system() -> None:
    model = CostModel()
    for matrix, damping, serving in [
        (A + A.T + 20 * np.eye(9), 0.0, {"cholesky", "lu", "cg", "qr"}), (A, 0.0, {"lu", "cg", "qr"}),
        (TALL, 0.0, {"cg", "qr"}), (WIDE, 0.3, {"cg", "qr"}), (A + A.T, 0.3, {"cg", "qr"}),
    ]:  # fmt: skip
        this = system(matrix, damping=damping)
        costs = {name: make_solver(name).predict(this, model, CPU) for name in ("cholesky", "lu", "cg", "qr")}
        assert {name for name, cost in costs.items() if cost.finite} == serving
        for name in set(costs) - serving:
            status = make_solver(name).solve(this, CPU)
            assert status.status is Status.NOT_CONVERGED and ("'lu'" in status.message or "'qr'" in status.message)
    assert make_solver("qr").predict(system(TALL), model, CPU).factors["flops"] == pytest.approx(2 * 25 * (12 - 5 / 3))
    general = make_solver("cg").predict(system(A), model, CPU)
    kappa = system(A).bounds.kappa
    expected = kappa / 2 * np.log(2 / 1e-8) * 2  # two columns
    assert expected <= general.factors["products_bound"] <= 1.1 * expected
    assert general.factors["products"] == 2 * 2 * 9  # 2 N a column: more are not expected, whatever kappa


def test_a_general_system_on_every_backend(backend: Any) -> None:
    b = B[:9, 0]
    for matrix, solver in ((A, "lu"), (A, "qr"), (A, "cg"), (A, "qsvt"), (COMPLEX, "cg"), (sp.csr_array(A), "cg")):
        solution = qn.solve(matrix, b, solver=solver, tolerance=1e-8, backend=backend)
        dense = matrix.toarray() if sp.issparse(matrix) else matrix
        assert solution.solved and agrees(np.asarray(solution.x), np.linalg.solve(dense, b)), solution.message
    for solver in ("qr", "cg", "qsvt"):
        solution = qn.solve(TALL, B[:, 0], solver=solver, tolerance=1e-8, backend=backend)
        assert solution.solved and agrees(np.asarray(solution.x), reference(TALL, B[:, 0])), solution.message
