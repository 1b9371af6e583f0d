"""Conditioning on the matrices of a real network: what pruning breaks, what repairs promise, what damping does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.pruning import REPAIRS, prune
from qnewton_gpu.curvature import Objective, make_curvature
from qnewton_gpu.data import load_data
from qnewton_gpu.operators import as_operator
from qnewton_gpu.training import build_network

CPU = select_backend("cpu")
DENSITIES = (0.5, 0.25, 0.1, 0.05)


@pytest.fixture(scope="module")
def network_matrices() -> dict[str, np.ndarray]:
    """Gauss-Newton matrix, its first layer's block, Hessian and gradient of a 64-7-10 network on digits, N = 535."""
    data = load_data("digits")
    objective = Objective(
        build_network(64, (7,), 10, seed=0), torch.nn.CrossEntropyLoss(), data.train_inputs, data.train_targets
    )
    theta = objective.parameters.vector()
    with torch.no_grad():
        ggn = make_curvature("ggn", objective, theta).dense().numpy()
        hessian = make_curvature("hessian", objective, theta).dense().numpy()
        gradient = objective.value_and_gradient(theta)[1].numpy()
    first = next(iter(objective.parameters.layers().values()))
    return {"ggn": ggn, "layer": ggn[first, first], "hessian": hessian, "gradient": gradient}


def smallest(matrix) -> float:
    return float(np.linalg.eigvalsh(matrix.toarray())[0])


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("name", ["ggn", "layer"])
def test_pruning_a_gauss_newton_matrix_breaks_definiteness_and_both_repairs_restore_it(
    network_matrices, name: str, density: float
) -> None:
    C = network_matrices[name]
    rows, norm = round(density * len(C)), np.linalg.norm(C, 2)
    assert np.linalg.eigvalsh(C)[0] > -1e-12 * norm
    pruned = qn.prune_symmetric(C, rows, compensate=None)
    assert smallest(pruned) < -1e-3 * norm
    for compensate in REPAIRS:
        repaired = qn.prune_symmetric(C, rows, compensate=compensate)
        assert smallest(repaired) > -1e-12 * norm
        assert np.diff(repaired.indptr).max() <= rows
        assert abs(repaired - repaired.T).max() == 0


def test_the_record_tells_the_story_of_a_pruned_block(network_matrices) -> None:
    """The order of the steps, and what every one of them does, against dense eigendecompositions."""
    C, g = network_matrices["ggn"], network_matrices["gradient"]
    conditioned = qn.condition(
        C, density=0.25, damping=0.1, semidefinite=True, scaling="jacobi", gradient=g, backend="cpu"
    )
    given, pruned, repaired, damped, scaled = conditioned.record
    assert [s.name for s in conditioned.record] == ["given", "prune", "repair", "damping", "scaling"]
    assert given.kappa == np.inf and given.angle == 0  # pixels that are never lit: exactly singular
    assert pruned.smallest_eigenvalue < 0 <= repaired.smallest_eigenvalue + 1e-12
    assert damped.smallest_eigenvalue == pytest.approx(repaired.smallest_eigenvalue + 0.1, abs=1e-12)
    assert pruned.row_nonzeros == repaired.row_nonzeros == damped.row_nonzeros <= round(0.25 * len(C))
    # what the diagonal repair adds is what pruning took: no row sum grows
    assert pruned.alpha < repaired.alpha == pytest.approx(given.alpha, rel=1e-12)
    assert damped.alpha == pytest.approx(repaired.alpha + 0.1, rel=1e-12)
    assert scaled.angle == pytest.approx(damped.angle, abs=1e-6) and damped.angle > 1
    assert damped.kappa == pytest.approx(np.linalg.cond(conditioned.changes[3].operator.dense()), rel=1e-9)
    # a certified bound is never below the truth, and within the estimator's promise of it
    bounds = conditioned.changes[3].bounds
    assert bounds.certified and damped.kappa <= bounds.kappa <= 2 * damped.kappa


@pytest.mark.parametrize("name", ["ggn", "hessian"])
def test_damping_lowers_kappa_and_turns_the_step_from_newtons_to_the_gradient(network_matrices, name: str) -> None:
    """Undamped there is no angle; damped beyond the spectrum the step is the gradient's."""
    C, g = network_matrices[name], network_matrices["gradient"]
    steps = [qn.condition(C, damping=d, gradient=g, backend="cpu").record[-1] for d in (1e-3, 1e-2, 1e-1, 1.0, 1e4)]
    assert all(a.kappa > b.kappa for a, b in pairwise(steps))
    exact = qn.condition(C, gradient=g, definite=False, backend="cpu").record[0]
    assert exact.angle == 0
    x = np.linalg.pinv(C, rcond=len(C) * np.finfo(float).eps, hermitian=True) @ g
    to_gradient = np.degrees(np.arccos(x @ g / np.linalg.norm(x) / np.linalg.norm(g)))
    assert steps[-1].angle == pytest.approx(to_gradient, abs=0.05)


def test_of_a_semidefinite_matrix_kappa_is_one_plus_lambda_max_over_delta(network_matrices) -> None:
    """kappa(H + delta I) = 1 + lambda_max/delta where H is singular: what damping can do for kappa, and no more."""
    C = network_matrices["ggn"]
    largest = np.linalg.eigvalsh(C)[-1]
    for delta in (1e-4, 1e-2, 1.0):
        step = qn.condition(C, damping=delta, semidefinite=True, gradient=np.ones(len(C)), backend="cpu").record[-1]
        assert step.kappa == pytest.approx(1 + largest / delta, rel=1e-9)
    paper = qn.condition(C, damping="paper", semidefinite=True, backend="cpu")
    assert paper.damping == 5e-3 * np.abs(C).max()
    # lambda_max is at most the largest row sum, so the paper's rule keeps kappa below 1 + 200 alpha/max|H|
    assert paper.record[-1].kappa < 1 + 200 * paper.record[0].alpha / np.abs(C).max() * 1.5


def test_the_rule_of_the_paper_makes_an_indefinite_hessian_worse_where_delta_meets_an_eigenvalue(
    network_matrices,
) -> None:
    """Without a definite shift, damping beside -lambda_min makes an indefinite H nearly singular."""
    H, g = network_matrices["hessian"], network_matrices["gradient"]
    values = np.linalg.eigvalsh(H)
    assert values[0] < -1e-3
    beside = -values[0] * (1 + 1e-6)
    bad = qn.condition(H, damping=beside, definite=False, gradient=g, backend="cpu").record[-1]
    good = qn.condition(H, damping=beside, definite=True, gradient=g, backend="cpu").record[-1]
    assert bad.kappa > 1e5 > 1e3 > good.kappa


def test_the_worked_example_of_a_spectrum_with_a_small_negative_end() -> None:
    """Eigenvalues -0.05, 0.95/35 ... 0.95: kappa 35 undamped, 999 at 0.049, 1001 at 0.051, 34 at 0.08, 8 at 0.2."""
    H = np.diag([-0.05, 0.95 / 35, 0.3, 0.95])
    kappas = [
        round(qn.condition(H, damping=d, definite=False, backend="cpu").record[-1].kappa)
        for d in (0.0, 0.049, 0.051, 0.08, 0.2)
    ]
    assert kappas == [35, 999, 1001, 34, 8]


def test_jacobi_is_kept_where_it_lowers_kappa_and_only_there(network_matrices) -> None:
    C = network_matrices["ggn"]
    for matrix in (C, np.diag(10.0 ** np.arange(6)) + 0.1, np.eye(4) + np.diag([0.4] * 3, 1) + np.diag([0.4] * 3, -1)):
        options = {"damping": 0.05, "semidefinite": True, "backend": "cpu"}
        plain, asked, auto = (
            qn.condition(matrix, scaling=s, **options).bounds.kappa for s in ("none", "jacobi", "auto")
        )
        assert auto == min(plain, asked)


@given(n=st.integers(2, 24), rank=st.integers(1, 24), d=st.integers(1, 24), seed=st.integers(0, 9999))
def test_the_diagonal_repair_of_a_semidefinite_matrix_is_semidefinite(n: int, rank: int, d: int, seed: int) -> None:
    """H + sum over dropped pairs of |h| (e_i e_i^t + e_j e_j^t) - h (e_i e_j^t + e_j e_i^t): every term is one."""
    G = np.random.default_rng(seed).standard_normal((n, rank))
    H = G @ G.T
    repaired = qn.prune_symmetric(H, d, backend="cpu")
    added = repaired.toarray() - H
    for matrix in (repaired.toarray(), added):
        assert np.linalg.eigvalsh(matrix)[0] >= -1e-12 * np.linalg.norm(H, 2)
    assert np.diff(repaired.indptr).max() <= d and np.array_equal(repaired.toarray(), repaired.toarray().T)


@given(n=st.integers(1, 24), d=st.integers(1, 24), seed=st.integers(0, 9999))
def test_what_a_row_lost_is_what_pruning_took_of_it(n: int, d: int, seed: int) -> None:
    G = np.random.default_rng(seed).standard_normal((n, n))
    H = G + G.T
    pruned, dropped = prune(as_operator(H, CPU), d)
    assert np.allclose(np.abs(H).sum(axis=1) - np.abs(pruned.host.toarray()).sum(axis=1), dropped, rtol=0, atol=1e-12)
