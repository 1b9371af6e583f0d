"""Damping rules, Jacobi scaling, and the order of conditioning."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning.damping import definite_shift, paper_damping
from qnewton_gpu.conditioning.scaling import jacobi_scaling
from qnewton_gpu.errors import ParameterError, UnknownNameError
from qnewton_gpu.operators import MatrixOperator, as_operator

CPU = select_backend("cpu")
BOTH = pytest.mark.parametrize("kind", [np.asarray, sp.csr_array], ids=["dense", "sparse"])


def kappa_of(matrix: np.ndarray) -> float:
    magnitudes = np.abs(np.linalg.eigvalsh(matrix))
    return magnitudes.max() / magnitudes.min()


def badly_scaled(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    off = random.standard_normal((n, n)) / n
    scale = 10 ** random.uniform(-1.5, 1.5, n)
    return (np.eye(n) + 0.3 * (off + off.T)) * np.outer(scale, scale)


@BOTH
def test_the_rule_of_the_paper_is_a_share_of_the_largest_entry(kind) -> None:
    H = as_operator(kind(np.array([[1.0, -8.0], [-8.0, 2.0]])), CPU)
    assert paper_damping(H) == pytest.approx(0.04, rel=1e-15)
    assert paper_damping(H, 1e-2) == pytest.approx(0.08, rel=1e-15)


@pytest.mark.parametrize(("damping", "kappa"), [(0.0, 35), (0.049, 999), (0.051, 1001), (0.08, 34), (0.2, 8)])
def test_a_small_damping_makes_kappa_worse_where_eigenvalues_are_negative(damping: float, kappa: int) -> None:
    """The paper's rule near -lambda_min: the spectrum reaches from -0.05 to 0.95."""
    H = np.diag([-0.05, 0.95 / 35, 0.3, 0.95])
    bounds = qn.condition(H, damping=damping, definite=False).bounds
    assert round(bounds.kappa) == kappa
    assert bounds.kappa == pytest.approx(kappa_of(H + damping * np.eye(4)), rel=1e-9)


@BOTH
def test_the_definite_shift_is_what_lifts_the_smallest_eigenvalue_to_zero(kind) -> None:
    assert definite_shift(as_operator(kind(np.diag([-0.3, 1.0, 2.0])), CPU), CPU) == pytest.approx(0.3, abs=1e-12)
    assert definite_shift(as_operator(kind(np.diag([0.3, 1.0, 2.0])), CPU), CPU) == 0.0


@BOTH
def test_an_indefinite_matrix_is_shifted_damped_and_the_record_says_so(kind) -> None:
    conditioned = qn.condition(kind(np.diag([-0.5, 1.0, 2.0])), damping=0.25)
    assert conditioned.shift == pytest.approx(0.5, abs=1e-12) and conditioned.damping == 0.25
    assert np.allclose(conditioned.operator.dense(), np.diag([0.25, 1.75, 2.75]))
    assert conditioned.bounds.kappa == pytest.approx(11, rel=1e-9)
    assert any("0.5" in line and "indefinite" in line for line in conditioned.record)
    assert any("0.25" in line for line in conditioned.record)


def test_a_definite_matrix_is_left_as_it_is() -> None:
    conditioned = qn.condition(np.diag([1.0, 4.0]))
    assert (conditioned.shift, conditioned.damping, conditioned.scale, conditioned.record) == (0.0, 0.0, None, [])
    assert conditioned.operator.dense().tolist() == [[1.0, 0.0], [0.0, 4.0]]


def test_the_paper_rule_takes_the_entries_before_pruning() -> None:
    H = np.full((8, 8), 0.1) + np.diag(np.arange(1.0, 9.0))
    conditioned = qn.condition(H, density=0.25, damping="paper")
    assert conditioned.damping == pytest.approx(5e-3 * 8.1, rel=1e-12)
    assert "2 of 8" in conditioned.record[0]
    assert np.diff(sp.csr_array(conditioned.operator.matrix).indptr).max() <= 2


@pytest.mark.parametrize("density", [0.5, 0.1])
@pytest.mark.parametrize("compensate", ["diagonal", "shift", None])
def test_whatever_was_pruned_the_damped_result_is_definite_and_bounded(density: float, compensate: str | None) -> None:
    G = np.random.default_rng(0).standard_normal((60, 30))
    conditioned = qn.condition(G @ G.T, density=density, compensate=compensate, damping=0.5)
    values = np.linalg.eigvalsh(conditioned.operator.dense())
    assert values[0] >= 0.5 - 1e-9
    assert conditioned.bounds.lower <= values[0] * (1 + 1e-9) and conditioned.bounds.upper >= values[-1] * (1 - 1e-9)


@BOTH
@pytest.mark.parametrize("n", [64, 256])
def test_jacobi_scaling_undoes_bad_scaling(n: int, kind) -> None:
    H = badly_scaled(n, n)
    scaled, s = jacobi_scaling(as_operator(kind(H), CPU), CPU)
    assert kappa_of(H) > 1000
    assert kappa_of(scaled.dense()) < 20
    assert np.allclose(np.diag(scaled.dense()), 1)
    b = np.ones((n, 1))
    y = np.linalg.solve(scaled.dense(), s * b)
    assert np.allclose(H @ (s * y), b, rtol=0, atol=1e-8)


def test_jacobi_scaling_leaves_zero_diagonals_and_takes_negative_ones() -> None:
    scaled, s = jacobi_scaling(MatrixOperator(np.array([[0.0, 3.0], [3.0, -9.0]]), CPU), CPU)
    assert s.ravel().tolist() == [1.0, 1 / 3]
    assert np.allclose(scaled.dense(), [[0.0, 1.0], [1.0, -1.0]])


def test_scaling_auto_keeps_jacobi_only_where_it_helps() -> None:
    helped = qn.condition(badly_scaled(32, 1), scaling="auto")
    assert helped.scale is not None and helped.bounds.kappa < 30
    harmful = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # already perfect
    kept = qn.condition(harmful, scaling="auto")
    assert kept.scale is None and "not kept" in kept.record[-1]
    assert qn.condition(harmful, scaling="jacobi").scale is not None


def test_bad_options_are_refused() -> None:
    for density in (0, -1, 1.5, float("nan")):
        with pytest.raises(ParameterError, match="density"):
            qn.condition(np.eye(2), density=density)
    for damping in (-1.0, float("nan"), float("inf"), "rule", None):
        with pytest.raises(ParameterError, match="damping"):
            qn.condition(np.eye(2), damping=damping)
    with pytest.raises(UnknownNameError, match="none, jacobi, auto"):
        qn.condition(np.eye(2), scaling="row")
