"""The solvers on their own: registry, formulations, refinement, certificates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu import CostModel, LinearSystem, Solution, SpectrumBounds, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.errors import ParameterError, UnknownNameError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.polynomials import inverse_degree, round_up_to_grid
from qnewton_gpu.solvers import SOLVERS, make_solver
from qnewton_gpu.solvers.base import LEDGER, beyond_double_precision, certify, relative_residuals
from qnewton_gpu.solvers.refinement import split_tolerance

CPU = select_backend("cpu")
RANDOM = np.random.default_rng(2)
G = RANDOM.standard_normal((14, 9)) / 3
DAMPING = 0.05


def matrix_system(tolerance: float = 1e-6, columns: int = 2) -> LinearSystem:
    H = np.diag(np.linspace(0.2, 1, 12))
    return LinearSystem(
        as_operator(H, CPU), RANDOM.standard_normal((12, columns)), SpectrumBounds(0.2, 1.0, True), tolerance
    )


def gram_system(preimage: bool, tolerance: float = 1e-6) -> LinearSystem:
    operator = qn.GramOperator(G, DAMPING)
    r = RANDOM.standard_normal((14 + 9, 2))
    g = np.vstack([G, np.sqrt(DAMPING) * np.eye(9)]).T @ r
    return LinearSystem(operator, g, qn.estimate_spectrum(operator), tolerance, preimage=r if preimage else None)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_registered_solver_is_what_its_name_says(name: str) -> None:
    solver = make_solver(name)
    assert solver.name == name
    system = matrix_system()
    solution = solver.solve(system, CPU)
    assert solution.solved and solution.solver == name and solution.simulated_seconds > 0
    assert solver.predict(system, CostModel(), CPU).solver == name


def test_an_unknown_solver_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"auto, qsvt, .*hhl, cks, adiabatic, cholesky, lu, cg"):
        make_solver("magic")


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-11])
@pytest.mark.parametrize("preimage", [True, False])
def test_both_gram_formulations_solve_any_number_of_columns(preimage: bool, tolerance: float) -> None:
    system = gram_system(preimage, tolerance)
    solution = make_solver("qsvt").solve(system, CPU)
    assert solution.solved, solution.message
    exact = np.linalg.solve(system.operator.dense(), system.rhs)
    error = np.linalg.norm(solution.x - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert error.max() <= tolerance * np.linalg.cond(system.operator.dense())
    assert solution.resources["parity"] == ("odd" if preimage else "even")


def test_the_pseudo_inverse_form_succeeds_more_often_than_the_even_form() -> None:
    system = gram_system(True, 1e-2)
    odd = make_solver("qsvt").solve(system, CPU)
    even = make_solver("qsvt").solve(replace(system, preimage=None), CPU)
    assert odd.success_probability > 3 * even.success_probability
    assert odd.resources["kappa"] == even.resources["kappa"] == pytest.approx(odd.resources["alpha"] / np.sqrt(DAMPING))


@pytest.mark.parametrize("scale", [0.0, 0.01, 0.999, 100.0, float("nan")])
def test_a_preimage_that_is_none_is_refused(scale: float) -> None:
    """x would come out right, and a success probability that no register has."""
    system = gram_system(True)
    with pytest.raises(ParameterError, match="preimage"):
        make_solver("qsvt").solve(replace(system, preimage=scale * system.preimage), CPU)


@pytest.mark.parametrize("mode", ["subspace", "fused"])
@pytest.mark.parametrize("error", [0.0, 1e-9])
def test_refinement_with_a_preimage_reaches_a_tight_tolerance(error: float, mode: str) -> None:
    """r - G~ x vanishes where r is in the range of G~, and the error of r is beyond the tolerance."""
    system = gram_system(True, 1e-12)
    damped = np.vstack([G, np.sqrt(DAMPING) * np.eye(9)])
    r = damped @ RANDOM.standard_normal((9, 2))
    system = replace(system, rhs=damped.T @ r, preimage=r + error * RANDOM.standard_normal(r.shape))
    solution = make_solver("qsvt", mode=mode).solve(system, CPU)
    assert solution.solved, solution.message
    assert len(solution.history) == 2 and solution.ledger["arithmetic"] < 1e-10


@given(tolerance=st.floats(1e-15, 0.99))
def test_rounds_share_the_tolerance_evenly(tolerance: float) -> None:
    epsilon, rounds = split_tolerance(tolerance)
    assert 1e-6 * (1 - 1e-8) <= epsilon <= 0.5
    assert epsilon**rounds <= tolerance * (1 + 1e-9)
    assert rounds == 1 or epsilon ** (rounds - 1) > tolerance


def test_the_degree_run_is_that_of_kappa_on_the_grid() -> None:
    solution = make_solver("qsvt", encoding="walk").solve(matrix_system(1e-2), CPU)
    kappa = solution.resources["kappa"]
    assert kappa == pytest.approx(5.0, rel=1e-12)
    assert solution.resources["kappa_on_grid"] == round_up_to_grid(kappa) >= kappa
    assert solution.queries == inverse_degree(round_up_to_grid(kappa), 1e-2)


def test_the_refinement_of_a_loose_round_reaches_a_tight_tolerance() -> None:
    solution = make_solver("qsvt").solve(matrix_system(1e-12), CPU)
    residuals = [max(entry["relative_residual"]) for entry in solution.history]
    assert solution.solved and len(residuals) == 2 and residuals[0] > 1e-8 and residuals[1] <= 1e-12


@pytest.mark.parametrize("name", ["cholesky", "lu"])
def test_factorisations_of_a_gram_operator(name: str) -> None:
    system = gram_system(False)
    assert np.allclose(system.operator.dense() @ make_solver(name).solve(system, CPU).x, system.rhs, atol=1e-10)


def test_sparse_lu_keeps_the_matrix_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(CPU), "lu_solve", lambda *_: pytest.fail("made dense"))
    system = matrix_system()
    system.operator = as_operator(sp.csr_array(system.operator.dense()), CPU)
    assert make_solver("lu").solve(system, CPU).solved


def test_conjugate_gradients_count_their_products() -> None:
    system = matrix_system(columns=1)
    solution = make_solver("cg").solve(system, CPU)
    assert 2 <= solution.resources["products"] <= 15


def test_the_certificate_is_the_worst_column() -> None:
    system = matrix_system()
    x = np.linalg.solve(system.operator.dense(), system.rhs)
    x[:, 1] *= 1.25
    worst, residual = certify(system, x, CPU)
    assert worst == pytest.approx(0.25, rel=1e-12)
    assert np.allclose(residual[:, 0], 0, atol=1e-14)


def test_a_column_of_zeros_is_solved_by_zero_only() -> None:
    rhs = np.array([[0.0, 3.0], [0.0, 4.0]])
    assert relative_residuals(rhs, rhs, CPU).tolist() == [0.0, 1.0]
    assert relative_residuals(np.array([[2.0, 0.0], [0.0, 0.0]]), rhs, CPU).tolist() == [2.0, 0.0]


def test_a_solution_completes_its_ledger() -> None:
    solution = Solution(None, Status.NOT_CONVERGED, "As told.", 0.5, "none", ledger={"phases": 1e-9})
    assert tuple(solution.ledger) == LEDGER
    assert solution.ledger == {"polynomial": 0, "phases": 1e-9, "arithmetic": 0, "readout": 0, "residual": 0.5}


@pytest.mark.parametrize(("kappa", "tolerance", "fits"), [(1e9, 1e-6, True), (1e10, 1e-6, False), (4.5e15, 0.99, False),
                                                          (1e3, 1e-12, True)])  # fmt: skip
def test_double_precision_has_an_end(kappa: float, tolerance: float, fits: bool) -> None:
    sentence = beyond_double_precision(kappa, tolerance)
    assert (sentence is None) == fits
    assert fits or f"{kappa:.3g}" in sentence


def test_only_solved_is_a_success() -> None:
    assert [status for status in Status if Solution(None, status, "", 0.0, "none").solved] == [Status.SOLVED]
