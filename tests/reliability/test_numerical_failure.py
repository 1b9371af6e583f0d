"""Numerical failure is a Status with a full sentence, and never a bad answer that is called solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn
from qnewton_gpu import Status
from qnewton_gpu.backends.cpu import CpuBackend

RANDOM = np.random.default_rng(5)
Q = np.linalg.qr(RANDOM.standard_normal((40, 40)))[0]
SOLVERS = ["auto", "qsvt", "cholesky", "lu", "cg", "qr"]


def with_spectrum(*values: float) -> np.ndarray:
    """A 40x40 matrix with these eigenvalues first, the others between 0.5 and 1."""
    spectrum = np.linspace(0.5, 1, 40)
    spectrum[: len(values)] = values
    H = (Q * spectrum) @ Q.T
    return (H + H.T) / 2


def checked(A: Any, b: np.ndarray, **options: Any) -> qn.Solution:
    """qn.solve, held to what its status says whatever that is."""
    solution = qn.solve(A, b, **options)
    matrix = A.dense() if isinstance(A, qn.GramOperator) else A
    assert np.isfinite(solution.x).all()
    residual = np.linalg.norm(b - matrix @ solution.x) / np.linalg.norm(b)
    assert solution.relative_residual == pytest.approx(residual, rel=1e-3, abs=1e-14)
    assert solution.solved == (solution.status is Status.SOLVED)
    if solution.solved:
        assert residual <= options.get("tolerance", 1e-6)
    assert len(solution.message.split()) >= 5
    assert solution.message[0].isalnum() and solution.message.rstrip()[-1] in ".)"
    return solution


@pytest.mark.parametrize("n_zero", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_singular_and_inconsistent_is_called_singular(n_zero: int, sign: int) -> None:
    A = with_spectrum(*[0.0] * n_zero, sign * 0.6)
    solution = checked(A, Q @ np.ones(40), solver="qsvt")
    assert solution.status is Status.SINGULAR
    assert "null space" in solution.message
    # the part of b that can be reached is reached: x is the least-squares answer
    assert solution.relative_residual == pytest.approx(np.sqrt(n_zero / 40), rel=1e-6)


@pytest.mark.parametrize("n_zero", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_singular_and_consistent_is_solved_by_the_pseudo_inverse(n_zero: int, sign: int) -> None:
    A = with_spectrum(*[0.0] * n_zero, sign * 0.6)
    b = Q @ np.r_[np.zeros(n_zero), np.ones(40 - n_zero)]
    solution = checked(A, b, solver="qsvt")
    assert solution.status is Status.SOLVED
    assert np.allclose(solution.x, np.linalg.pinv(A, rcond=1e-10) @ b, rtol=0, atol=1e-5)


def graph_laplacian(n: int, matchings: int) -> sp.csr_array:
    """Of random perfect matchings: constants are its null space, and the other eigenvalues stay away from zero."""
    A = sp.csr_array((n, n))
    for _ in range(matchings):
        pairs = RANDOM.permutation(n).reshape(-1, 2)
        A = A + sp.coo_array((np.ones(n), np.hstack([pairs.T, pairs.T[::-1]])), shape=(n, n)).tocsr()
    return sp.csr_array(sp.diags_array(A.sum(axis=1)) - A)


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize("matchings", [3, 7])
def test_a_large_singular_matrix_is_told_from_a_consistent_right_hand_side(matchings: int, consistent: bool) -> None:
    """Above 100 unknowns Lanczos sees part of the spectrum only."""
    b = RANDOM.standard_normal(400)
    b += 0.3 * (not consistent) - b.mean()
    solution = checked(graph_laplacian(400, matchings), b, solver="qsvt", tolerance=1e-6)
    assert solution.status is (Status.SOLVED if consistent else Status.SINGULAR)


def test_a_zero_mode_among_tiny_eigenvalues_is_not_called_solved() -> None:
    n = 300
    path = sp.diags_array([-np.ones(n - 1), np.r_[1, 2 * np.ones(n - 2), 1], -np.ones(n - 1)], offsets=[-1, 0, 1])
    solution = checked(path.tocsr(), RANDOM.standard_normal(n), solver="qsvt", tolerance=1e-3, max_queries=20_000)
    assert solution.status in (Status.SINGULAR, Status.TOO_MANY_QUERIES)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_solver_calls_a_singular_system_solved(solver: str) -> None:
    for values in ([0.0], [0.0, -0.5], [0.0, 0.0, 0.7]):
        solution = checked(with_spectrum(*values), np.ones(40), solver=solver)
        assert solution.status in (Status.SINGULAR, Status.NOT_CONVERGED, Status.TOO_ILL_CONDITIONED)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "A", [np.zeros((3, 3)), sp.csr_array((3, 3)), np.zeros((1, 1))], ids=["dense", "sparse", "1x1"]
)
def test_the_zero_matrix_is_singular(A: Any, solver: str) -> None:
    assert checked(A, np.ones(A.shape[0]), solver=solver).status is Status.SINGULAR


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("smallest", [1e-13, -1e-13, 1e-12])
def test_kappa_beyond_double_precision_is_refused(smallest: float, solver: str) -> None:
    solution = checked(with_spectrum(smallest), np.ones(40), solver=solver, tolerance=1e-5)
    assert solution.status is Status.TOO_ILL_CONDITIONED
    assert "condition number" in solution.message and "damp" in solution.message


def test_kappa_beyond_double_precision_is_refused_for_gram() -> None:
    H = qn.GramOperator(RANDOM.standard_normal((5, 8)), 1e-14)
    assert checked(H, np.ones(8), solver="qsvt").status is Status.TOO_ILL_CONDITIONED


@pytest.mark.parametrize("solver", ["auto", "qsvt", "lu", "cg"])
def test_a_tolerance_below_rounding_is_never_called_reached(solver: str) -> None:
    solution = checked(with_spectrum(0.01), Q[:, 0], solver=solver, tolerance=2e-15)
    assert solution.status in (Status.TOO_ILL_CONDITIONED, Status.NOT_CONVERGED)


@pytest.mark.parametrize(("max_queries", "status"), [(1, Status.TOO_MANY_QUERIES), (10**6, Status.SOLVED)])
def test_the_query_budget_is_kept(max_queries: int, status: Status) -> None:
    solution = checked(with_spectrum(0.01), np.ones(40), solver="qsvt", max_queries=max_queries)
    assert solution.status is status
    assert solution.queries <= max_queries


def test_the_query_budget_counts_all_rounds_and_keeps_what_was_reached() -> None:
    A, b = with_spectrum(0.01), np.ones(40)
    whole = checked(A, b, solver="qsvt", tolerance=1e-10)
    assert len(whole.history) > 1
    short = checked(A, b, solver="qsvt", tolerance=1e-10, max_queries=whole.queries - 1)
    assert short.status is Status.TOO_MANY_QUERIES
    assert 0 < short.queries < whole.queries
    assert 1e-10 < short.relative_residual < 1e-3
    for part in (str(whole.history[0]["degree"]), str(short.queries), str(whole.queries - 1), "max_queries"):
        assert part in short.message


def test_the_budget_is_refused_before_phases_of_that_degree_are_built() -> None:
    solution = checked(np.diag([1e-7, 1.0]), np.ones(2), solver="qsvt", tolerance=1e-3)
    assert solution.status is Status.TOO_MANY_QUERIES and solution.queries == 0


@pytest.mark.parametrize("certified", [True, False])
def test_bounds_that_are_wrong_do_not_make_a_wrong_answer(certified: bool) -> None:
    bounds = qn.SpectrumBounds(0.5, 1.0, certified)  # the smallest eigenvalue is 0.01
    solution = checked(with_spectrum(0.01), Q @ np.ones(40), solver="qsvt", bounds=bounds)
    assert solution.status is (Status.NOT_CONVERGED if certified else Status.SOLVED)


def test_bounds_that_are_too_low_at_the_top_do_not_make_a_wrong_answer() -> None:
    bounds = qn.SpectrumBounds(0.005, 0.1)
    assert checked(with_spectrum(0.01), np.ones(40), solver="qsvt", bounds=bounds).solved


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_an_indefinite_matrix_is_not_called_singular(solver: str) -> None:
    solution = checked(with_spectrum(-1.0, -0.5), Q @ (-1.0) ** np.arange(40), solver=solver)
    assert solution.status in (Status.NOT_CONVERGED, Status.SOLVED)
    assert solver == "cg" or "positive definite" in solution.message


def test_memory_that_runs_out_on_the_way_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    from qnewton_gpu import simulation

    def fail(*_: Any) -> None:
        raise MemoryError("as told")

    monkeypatch.setitem(simulation.RUN_IN, "subspace", fail)
    solution = checked(with_spectrum(), np.ones(40), solver="qsvt")
    assert solution.status is Status.NO_MEMORY and "as told" in solution.message
    monkeypatch.setattr(CpuBackend, "lu_solve", fail)
    assert checked(with_spectrum(), np.ones(40), solver="lu").status is Status.NO_MEMORY
