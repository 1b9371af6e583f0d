"""qn.solve: what goes in and what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import qnewton_gpu as qn
import qnewton_gpu.errors as qn_errors
from qnewton_gpu import SpectrumBounds, Status
from qnewton_gpu.solvers.base import LEDGER

RANDOM = np.random.default_rng(0)
H = np.diag(np.linspace(1, 4, 9)) + 0.1
B = RANDOM.standard_normal((9, 3))
SOLVERS = pytest.mark.parametrize("solver", ["auto", "qsvt", "cholesky", "lu", "cg", "qr"])


def solved(A: Any, b: Any, **options: Any) -> Any:
    solution = qn.solve(A, b, tolerance=1e-8, **options)
    assert solution.status is Status.SOLVED, solution.message
    return solution.x


@SOLVERS
def test_many_columns_are_the_columns_solved_alone(solver: str) -> None:
    x = solved(H, B, solver=solver)
    assert x.shape == B.shape
    for k in range(3):
        assert np.allclose(x[:, k], solved(H, B[:, k], solver=solver), rtol=0, atol=1e-7)
    assert solved(H, B[:, :1], solver=solver).shape == (9, 1)


@SOLVERS
def test_columns_of_very_different_size_are_each_within_tolerance(solver: str) -> None:
    b = B * [1e-20, 1.0, 1e20]
    b[:, 1] = 0
    x = solved(H, b, solver=solver)
    assert not x[:, 1].any()
    for k in (0, 2):
        assert np.linalg.norm(b[:, k] - H @ x[:, k]) <= 1e-8 * np.linalg.norm(b[:, k])


@SOLVERS
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, bool])
def test_x_has_the_floating_type_of_b_and_integers_give_float64(solver: str, dtype: type) -> None:
    b = (10 * B[:, 0]).astype(dtype)
    x = solved(H, b, solver=solver)
    assert x.dtype == (dtype if np.issubdtype(dtype, np.floating) else np.float64)
    exact = np.linalg.solve(H, b.astype(float))
    # float32 from FP64 work: the only error is the last rounding
    assert np.allclose(x, exact, rtol=0, atol=1e-7 * np.abs(exact).max())


@SOLVERS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64])
def test_torch_in_torch_out(solver: str, dtype: torch.dtype) -> None:
    b = torch.tensor(10 * B).to(dtype)
    for A in (H, torch.tensor(H), torch.tensor(H).to_sparse(), sp.csr_array(H)):
        x = solved(A, b, solver=solver)
        assert isinstance(x, torch.Tensor) and x.shape == b.shape and not x.requires_grad
        assert x.dtype == (dtype if dtype.is_floating_point else torch.float64)
        assert torch.allclose(torch.tensor(H) @ x.double(), b.double(), atol=1e-5)


@SOLVERS
def test_torch_that_carries_a_gradient_is_read(solver: str) -> None:
    b = torch.tensor(B, requires_grad=True)
    assert torch.allclose(torch.tensor(H) @ solved(torch.tensor(H, requires_grad=True), b, solver=solver), b, atol=1e-6)


@SOLVERS
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array, sp.coo_matrix, sp.dia_array])
def test_scipy_sparse_matrices_are_taken(solver: str, kind: Any) -> None:
    x = solved(kind(H), B[:, 0], solver=solver)
    assert isinstance(x, np.ndarray) and np.allclose(H @ x, B[:, 0], atol=1e-7)
    assert np.allclose(H @ solved(H, sp.csr_array(B), solver=solver), B, atol=1e-7)


@SOLVERS
@pytest.mark.parametrize("b", [np.zeros(9), np.zeros((9, 2), np.float32), torch.zeros(9), np.zeros(9, int)])
def test_zero_is_answered_with_zero_without_work(solver: str, b: Any) -> None:
    from qnewton_gpu.stages import record_stages

    with record_stages() as events:
        solution = qn.solve(H, b, solver=solver)
    assert events == [] and solution.solved and solution.queries == 0 and solution.relative_residual == 0.0
    assert type(solution.x) is type(b) and solution.x.shape == b.shape
    assert not solution.x.any()
    solution.x += 1
    assert not b.any(), "x is the caller's b"
    assert qn.solve(np.zeros((9, 9)), b).solved, "0 x = 0 has the solution 0"


def test_queries_are_the_total_over_rounds_and_history_has_a_value_a_column() -> None:
    solution = qn.solve(H, B, solver="qsvt", encoding="walk", tolerance=1e-12)
    assert len(solution.history) == 2
    assert solution.queries == sum(entry["queries"] for entry in solution.history)
    before = 1.0
    for entry in solution.history:
        assert entry["queries"] == entry["degree"] > 0
        assert len(entry["success_probability"]) == len(entry["relative_residual"]) == 3
        assert all(0 < p <= 1 for p in entry["success_probability"])
        assert max(entry["relative_residual"]) <= 1.01 * entry["epsilon"] * before
        before = max(entry["relative_residual"])
    everything = [p for entry in solution.history for p in entry["success_probability"]]
    assert solution.success_probability == min(everything)
    assert solution.resources["degree"] == solution.history[-1]["degree"]


def test_a_column_of_zeros_has_no_success_probability() -> None:
    solution = qn.solve(H, np.c_[B[:, 0], np.zeros(9)], solver="qsvt")
    assert solution.solved and len(solution.history[0]["success_probability"]) == 1
    assert len(solution.history[0]["relative_residual"]) == 2


@SOLVERS
def test_every_solution_has_the_whole_error_ledger(solver: str) -> None:
    for A, b in ((H, B), (np.zeros((9, 9)), B), (np.diag([1e-15] + 8 * [1.0]), B), (H, 0 * B)):
        solution = qn.solve(A, b, solver=solver)
        assert tuple(solution.ledger) == LEDGER
        assert solution.ledger["residual"] == solution.relative_residual
        assert all(value >= 0 for value in solution.ledger.values())


def test_the_ledger_of_a_quantum_solve_explains_its_residual() -> None:
    solution = qn.solve(H, B, solver="qsvt", tolerance=1e-3)
    ledger = solution.ledger
    assert ledger["readout"] == 0.0
    assert 0 < ledger["phases"] < 1e-9 and 0 < ledger["arithmetic"] < 1e-9
    assert ledger["polynomial"] <= 1e-3
    assert ledger["residual"] <= ledger["polynomial"] + ledger["phases"] + ledger["arithmetic"]


@pytest.mark.parametrize(("encoding", "mode"), [("walk", "subspace"), ("walk", "fused"), ("dilation", "subspace"),
                                                ("dilation", "fused")])  # fmt: skip
def test_encodings_and_modes_are_taken_as_told(encoding: str, mode: str) -> None:
    solution = qn.solve(H, B, solver="qsvt", encoding=encoding, mode=mode)
    assert solution.solved
    assert (solution.resources["encoding"], solution.resources["mode"]) == (encoding, mode)
    reference = qn.solve(H, B, solver="qsvt", encoding=encoding, mode="subspace")
    assert np.allclose(solution.x, reference.x, rtol=0, atol=1e-12)
    assert solution.success_probability == pytest.approx(reference.success_probability, rel=1e-9)


def test_gram_needs_the_root_of_the_queries_that_walk_needs() -> None:
    G = RANDOM.standard_normal((20, 30)) / 8
    operator = qn.GramOperator(G, 1e-3)
    gram = qn.solve(operator, np.ones(30), solver="qsvt", tolerance=1e-2)
    walk = qn.solve(operator.dense(), np.ones(30), solver="qsvt", encoding="walk", tolerance=1e-2)
    assert gram.solved and walk.solved and gram.resources["encoding"] == "gram"
    assert gram.queries < walk.queries / 10
    assert np.linalg.norm(operator.dense() @ gram.x - 1) <= 1e-2 * np.sqrt(30)


def test_bounds_of_the_caller_are_taken_and_nothing_is_estimated() -> None:
    bounds = SpectrumBounds(0.9, 6.0, True)
    solution = qn.solve(H, B, solver="qsvt", bounds=bounds)
    assert solution.solved and solution.resources["bounds"] is bounds
    estimated = qn.solve(H, B, solver="qsvt").resources["bounds"]
    assert estimated.matvecs > 0 and estimated is not bounds


@SOLVERS
def test_the_residual_is_recomputed_with_the_original_matrix(solver: str) -> None:
    solution = qn.solve(H, B, solver=solver, tolerance=1e-3)
    residual = (np.linalg.norm(B - H @ solution.x, axis=0) / np.linalg.norm(B, axis=0)).max()
    assert solution.relative_residual == pytest.approx(residual, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("solver", ["qsvt", "lu"])
def test_both_clocks_are_shown(solver: str) -> None:
    solution = qn.solve(H, B, solver=solver)
    assert solution.simulated_seconds > 0 and solution.projected_seconds > 0


def test_the_same_solve_gives_the_same_bits() -> None:
    first, second = (qn.solve(H, B, solver="qsvt", tolerance=1e-9) for _ in range(2))
    assert np.array_equal(first.x, second.x) and first.history == second.history


def test_the_answer_does_not_depend_on_the_scale_of_matrix_or_right_hand_side() -> None:
    reference = qn.solve(H, B, solver="qsvt", encoding="walk")
    for a, c in ((1e-50, 1.0), (1e50, 1.0), (1.0, 1e-50), (1.0, 1e50), (1e-50, 1e50)):
        scaled = qn.solve(a * H, c * B, solver="qsvt", encoding="walk")
        assert scaled.solved and scaled.queries == reference.queries
        assert np.allclose(scaled.x * a / c, reference.x, rtol=1e-9, atol=0)


def test_the_certificate_is_that_of_the_x_that_is_returned() -> None:
    random = np.random.default_rng(0)
    Q = np.linalg.qr(random.standard_normal((60, 60)))[0]
    A = (Q * np.geomspace(1e-4, 1, 60)) @ Q.T
    A = (A + A.T) / 2
    b = random.standard_normal(60).astype(np.float32)
    solution = qn.solve(A, b, solver="lu", tolerance=1e-10)
    residual = np.linalg.norm(b - A @ solution.x.astype(float)) / np.linalg.norm(b)
    assert solution.x.dtype == np.float32
    assert solution.relative_residual == pytest.approx(residual, rel=1e-6) and residual > 1e-10
    assert "rounded to float32" in solution.message


def test_an_x_that_overflows_its_dtype_is_not_solved() -> None:
    solution = qn.solve(np.diag([1e-6, 1.0]), np.ones(2, np.float16), solver="lu")
    assert solution.status is qn.Status.NOT_CONVERGED and solution.relative_residual == 1.0


def test_an_alpha_below_the_norm_is_found_by_the_register(monkeypatch: pytest.MonkeyPatch) -> None:
    from qnewton_gpu.encodings.walk import WalkEncoding

    real = WalkEncoding.__init__

    def shrunk(self: WalkEncoding, *arguments: Any) -> None:
        real(self, *arguments)
        self.alpha *= 0.5

    monkeypatch.setattr(WalkEncoding, "__init__", shrunk)
    solution = qn.solve(np.diag(np.linspace(1, 4, 6)), np.ones(6), solver="qsvt", encoding="walk")
    assert solution.status is qn.Status.NOT_CONVERGED


@pytest.mark.parametrize("tolerance", [[1e-3], "1e-3", None])
def test_a_tolerance_that_is_no_number_is_called_that(tolerance: Any) -> None:
    with pytest.raises(qn_errors.ParameterError, match="not a number"):
        qn.solve(np.eye(2), np.ones(2), tolerance=tolerance)
