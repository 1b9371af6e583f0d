"""Saddle-free steps: |H|^-1 b, the certificate of |H| x = b, and what Newton's method gains from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu import GramOperator, LinearSystem, QNewton, Scheduler, SpectrumBounds, Status, estimate_spectrum
from qnewton_gpu.backends import select_backend
from qnewton_gpu.errors import CombinationError
from qnewton_gpu.operators import KroneckerOperator, as_operator
from qnewton_gpu.optimizer import StepReport
from qnewton_gpu.solvers import make_solver
from qnewton_gpu.solvers.base import certify
from qnewton_gpu.solvers.saddle_free import LARGEST_EIGENDECOMPOSITION, SaddleFree

CPU = select_backend("cpu")


def matrix(eigenvalues: np.ndarray, seed: int = 0) -> np.ndarray:
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    made = (basis * eigenvalues) @ basis.T
    return (made + made.T) / 2


def spectrum(size: int, kappa: float, indefinite: bool = True) -> np.ndarray:
    return np.geomspace(1 / kappa, 1, size) * np.where(np.arange(size) % 2 * indefinite, -1, 1)


def absolute(H: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(H)
    result: np.ndarray = (vectors * abs(values)) @ vectors.T
    return result


def residual(H: np.ndarray, x: np.ndarray, b: np.ndarray) -> float:
    return float((np.linalg.norm(b - absolute(H) @ x, axis=0) / np.linalg.norm(b, axis=0)).max())


def right_hand_side(size: int, columns: int = 2, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((size, columns))


def system(H: Any, b: np.ndarray, lower: float, tolerance: float, upper: float = 1.0) -> LinearSystem:
    return LinearSystem(as_operator(H, CPU), b, SpectrumBounds(lower, upper, True, negative=True), tolerance)


@pytest.mark.parametrize("mode", ["subspace", "fused", "circuit"])
@pytest.mark.parametrize("encoding", ["matching", "dilation"])
def test_x_is_the_inverse_of_the_absolute_value_in_every_mode(encoding: str, mode: str) -> None:
    H, b = matrix(spectrum(8, 5.0)), right_hand_side(8)
    solution = qn.solve(H, b, solver="saddle_free", encoding=encoding, mode=mode, tolerance=1e-7)
    assert solution.solved and solution.resources["parity"] == "even"
    assert residual(H, solution.x, b) <= 1e-7
    np.testing.assert_allclose(solution.x, np.linalg.solve(absolute(H), b), rtol=0, atol=1e-5)
    assert np.linalg.norm(H @ solution.x - b) > 0.1  # it is not the solution of H x = b


@given(
    size=st.integers(1, 9), kappa=st.floats(1.0, 40.0), seed=st.integers(0, 10**6),
    tolerance=st.sampled_from([1e-1, 1e-3, 1e-6, 1e-9]), scale=st.sampled_from([1e-12, 1.0, 1e9]),
)  # fmt: skip
@settings(max_examples=25)
def test_random_indefinite_systems(size: int, kappa: float, seed: int, tolerance: float, scale: float) -> None:
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size)
    H, b = scale * matrix(abs(spectrum(size, kappa)) * signs, seed), right_hand_side(size, seed=seed)
    solution = qn.solve(H, b, solver="saddle_free", tolerance=tolerance)
    assert solution.solved, solution.message
    assert residual(H, solution.x, b) <= tolerance * (1 + 1e-6) + 1e-13 * kappa


@pytest.mark.parametrize("size", [LARGEST_EIGENDECOMPOSITION, LARGEST_EIGENDECOMPOSITION + 200])
def test_a_large_sparse_system_is_certified_by_products(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """[[1, c], [c, -1]] blocks in a random order: |H| is diagonal there, so the truth needs no eigendecomposition."""
    random = np.random.default_rng(0)
    c = random.uniform(0.1, 2.0, size // 2)
    blocks = sp.block_array([[sp.diags_array(np.ones(len(c))), sp.diags_array(c)],
                             [sp.diags_array(c), sp.diags_array(-np.ones(len(c)))]]).tocsr()  # fmt: skip
    order = random.permutation(len(c) * 2)
    H = blocks[order][:, order].tocsr()
    diagonal = np.tile(np.sqrt(1 + c**2), 2)[order][:, None]
    b = right_hand_side(len(order))
    if size > LARGEST_EIGENDECOMPOSITION:
        monkeypatch.setattr(np.linalg, "eigh", lambda *_: pytest.fail("decomposed a large matrix"))
    problem = system(H, b, 1.0, 1e-8, upper=float(diagonal.max()))
    solution = SaddleFree(encoding="walk").solve(problem, CPU)
    assert solution.solved, solution.message
    true = float((np.linalg.norm(b - diagonal * solution.x, axis=0) / np.linalg.norm(b, axis=0)).max())
    assert true <= 1e-8 * 1.1
    # the certificate misses the truth by CERTIFICATE_ERROR of the tolerance at most
    assert abs(true - solution.relative_residual) <= 0.06 * 1e-8
    equation = SaddleFree(encoding="walk").equation(problem)
    v = right_hand_side(len(order), seed=6)
    np.testing.assert_allclose(equation.operator.matvec(v), diagonal * v, rtol=0, atol=1e-8)


def test_products_and_the_eigendecomposition_are_the_same_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    H, b = matrix(spectrum(12, 30.0)), right_hand_side(12)
    dense = SaddleFree(encoding="walk").equation(system(H, b, 1 / 30, 1e-6)).operator
    v = right_hand_side(12, seed=6)
    by_decomposition = dense.matvec(v)
    monkeypatch.setattr("qnewton_gpu.solvers.saddle_free.LARGEST_EIGENDECOMPOSITION", 4)
    by_products = dense.matvec(v)
    np.testing.assert_allclose(by_decomposition, absolute(H) @ v, rtol=0, atol=1e-12)
    error = np.linalg.norm(by_products - by_decomposition, axis=0)
    assert (error <= 0.05 * 1e-6 * np.linalg.norm(by_decomposition, axis=0)).all() and error.max() > 0


@pytest.mark.parametrize("limit", [LARGEST_EIGENDECOMPOSITION, 4])
def test_the_certificate_rejects_a_wrong_x(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnewton_gpu.solvers.saddle_free.LARGEST_EIGENDECOMPOSITION", limit)
    H, b = matrix(spectrum(12, 10.0)), right_hand_side(12)
    solver = SaddleFree(encoding="walk")
    equation = solver.equation(system(H, b, 0.1, 1e-6))
    right = np.linalg.solve(absolute(H), b)
    assert certify(equation, right, CPU)[0] <= 1e-7
    assert certify(equation, np.linalg.solve(H, b), CPU)[0] > 0.1
    off = right * (1 + np.array([0.0, 1e-3]))
    assert certify(equation, off, CPU)[0] == pytest.approx(1e-3, rel=1e-3)


def test_a_spectrum_that_bounds_leave_out_is_not_called_solved() -> None:
    H, b = matrix(spectrum(12, 1e3)), right_hand_side(12)
    solution = SaddleFree(encoding="walk").solve(system(H, b, 0.1, 1e-6), CPU)  # bounds that lie
    assert solution.status is Status.NOT_CONVERGED and len(solution.message.split()) > 5
    assert residual(H, solution.x, b) == pytest.approx(solution.relative_residual, rel=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_b_in_single_precision_is_certified_as_it_is_returned(kind: Any) -> None:
    H = matrix(spectrum(10, 8.0))
    b = right_hand_side(10).astype(np.float32)
    coarse, fine = (qn.solve(kind(H), b, solver="saddle_free", tolerance=t) for t in (1e-3, 1e-9))
    for solution in (coarse, fine):
        assert solution.x.dtype == np.float32 and solution.solved, solution.message
        assert residual(H, solution.x.astype(float), b.astype(float)) == pytest.approx(
            solution.relative_residual, rel=1e-6
        )
    assert coarse.relative_residual <= 1e-3
    assert 1e-9 < fine.relative_residual < 1e-5 and "float32" in fine.message


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_definite_matrix_gives_what_qsvt_gives(sign: float) -> None:
    H, b = sign * matrix(spectrum(10, 20.0, indefinite=False)), right_hand_side(10)
    x = qn.solve(H, b, solver="saddle_free", tolerance=1e-10).x
    np.testing.assert_allclose(x, sign * qn.solve(H, b, solver="qsvt", tolerance=1e-10).x, rtol=0, atol=1e-7)


def test_what_has_no_absolute_value_is_refused() -> None:
    solver = make_solver("saddle_free")
    b = np.ones((4, 1))
    gram = GramOperator(np.eye(4), 0.1)
    kronecker = KroneckerOperator([np.eye(2), np.eye(2)], CPU)
    general = as_operator(np.triu(np.ones((4, 4))), CPU)
    for operator in (gram, kronecker, general):
        with pytest.raises(CombinationError, match="symmetric matrix"):
            solver.solve(LinearSystem(operator, b, estimate_spectrum(operator), 1e-2), CPU)
    damped = LinearSystem(as_operator(np.eye(4), CPU), b, SpectrumBounds(1.0, 1.0, True), 1e-2, damping=0.1)
    with pytest.raises(CombinationError, match="no damping"):
        solver.solve(damped, CPU)
    with pytest.raises(CombinationError, match="symmetric matrix"):
        qn.solve(np.ones((4, 3)), np.ones(4), solver="saddle_free")
    with pytest.raises(CombinationError, match="gate program"):
        qn.solve(np.eye(4), np.ones(4), solver="saddle_free", encoding="walk", mode="circuit")


def test_the_equation_is_posed_once() -> None:
    problem = system(matrix(spectrum(6, 4.0)), right_hand_side(6), 0.25, 1e-4)
    solver = SaddleFree(encoding="walk")
    posed = solver.equation(problem)
    assert solver.equation(posed) is posed and posed.operator.shape == (6, 6)
    assert posed.encodings is problem.encodings and not posed.bounds.negative
    assert solver.equation(replace(problem, encodings={})).operator is not posed.operator


class Product(torch.nn.Module):
    """x -> v w x, with a saddle of the loss at v = w = 0."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
        for weight in self.double().parameters():
            torch.nn.init.constant_(weight, start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def trained(solver: str, steps: int) -> tuple[list[StepReport], np.ndarray]:
    """Steps on (1 - v w)^2 from v = w = 0.1, and where they end."""
    model, x = Product(0.1), torch.ones(8, 1, dtype=torch.float64)
    optimizer = QNewton(
        model, torch.nn.MSELoss(), curvature="hessian", damping=1e-3, weight_decay=0.0, tolerance=1e-6,
        scheduler=Scheduler(solver=solver, encoding="walk"),
    )  # fmt: skip
    reports = [optimizer.step(x, x) for _ in range(steps)]
    return reports, np.array([float(p.detach()) for p in model.parameters()])


def test_near_a_saddle_the_step_goes_down_where_that_of_newton_goes_up() -> None:
    """The curvature is -1.94 along v + w: -H^-1 g heads for the saddle, -|H|^-1 g away from it."""
    v = 0.1
    gradient = np.full(2, -2 * (1 - v * v) * v)
    H = np.array([[2 * v * v, -2 * (1 - 2 * v * v)], [-2 * (1 - 2 * v * v), 2 * v * v]]) + 1e-3 * np.eye(2)
    assert gradient @ -np.linalg.solve(H, gradient) > 0
    expected = -np.linalg.solve(absolute(H), gradient)
    assert gradient @ expected < 0

    (report,), weights = trained("saddle_free", 1)
    assert report.systems[0]["status"] == "solved" and report.accepted
    np.testing.assert_allclose(weights - v, expected, rtol=1e-5)
    assert report.new_loss < 0.95 * report.loss

    shifted, stays = trained("lu", 1)  # other solvers get a matrix that was made definite
    assert "shifted" in shifted[0].systems[0]["conditioning"][0]
    assert "shifted" not in report.systems[0]["conditioning"][0]
    assert not shifted[0].accepted and (stays == v).all()


def test_saddle_free_steps_converge_from_a_saddle() -> None:
    reports, weights = trained("saddle_free", 6)
    assert all(report.accepted and report.systems[0]["solver"] == "saddle_free" for report in reports)
    assert reports[-1].new_loss < 1e-6 and np.prod(weights) == pytest.approx(1.0, abs=1e-3)


def test_saddle_free_training_needs_an_explicit_matrix() -> None:
    model, x = Product(0.5), torch.ones(8, 1, dtype=torch.float64)
    optimizer = QNewton(model, torch.nn.MSELoss(), curvature="ggn", scheduler=Scheduler(solver="saddle_free"))
    with pytest.raises(CombinationError, match="explicit symmetric matrix"):
        optimizer.step(x, x)
