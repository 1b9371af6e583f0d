"""Every quantum solver of the registry on random systems: what SOLVED promises, what a failure says, equal modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu import Status
from qnewton_gpu.solvers import QUANTUM

ENCODINGS = ("walk", "matching", "dilation")
FP64 = float(np.finfo(float).eps)


def symmetric(size: int, kappa: float, zeros: int, definite: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric matrix with the |eigenvalues| from 1/kappa to 1, `zeros` of them zero; and its eigenvectors."""
    random = np.random.default_rng(seed)
    values = kappa ** -random.random(size)
    values[-1], values[0] = 1.0, 1 / kappa
    values[:zeros] = 0.0
    if not definite:
        values *= random.choice([-1.0, 1.0], size)
    basis = np.linalg.qr(random.standard_normal((size, size)))[0]
    made = (basis * values) @ basis.T
    return (made + made.T) / 2, basis[:, zeros:]


def residual(name: str, A: np.ndarray, x: np.ndarray, b: np.ndarray) -> float:
    """Of the equation that the solver is for, largest over the columns, relative."""
    if name == "saddle_free":
        values, vectors = np.linalg.eigh(A)
        A = (vectors * abs(values)) @ vectors.T
    left, right = A @ x, b
    if name == "qsvt_pseudo_inverse":
        left, right = A.T @ left, A.T @ b
    return float((np.linalg.norm(right - left, axis=0) / np.linalg.norm(right, axis=0)).max())


def is_sentence(message: str) -> bool:
    return len(message.split()) >= 5 and message[0].isupper() | message[0].isdigit() and message[-1] in ".)"


def check(name: str, A: np.ndarray, b: np.ndarray, tolerance: float, **options: Any) -> qn.Solution:
    """Solve, and hold the solution to its status."""
    solution = qn.solve(A, b, solver=name, tolerance=tolerance, **options)
    where = f"{solution.status.name}: {solution.message}"
    true = residual(name, A, solution.x, b)
    rounding = 100 * len(A) * FP64 * (1 + np.linalg.norm(A, 2) * np.linalg.norm(solution.x) / np.linalg.norm(b))
    # |A| is certified to 5 % of the tolerance
    slack = 1.06 if name == "saddle_free" else 1 + 1e-6
    assert is_sentence(solution.message), where
    assert np.isfinite(solution.x).all() and solution.solver in (name, "none"), where
    if solution.solved:
        assert true <= tolerance * slack + rounding, f"{true} {where}"
        assert solution.relative_residual <= tolerance
    else:
        assert solution.status in (
            Status.NOT_CONVERGED, Status.SINGULAR, Status.TOO_ILL_CONDITIONED, Status.TOO_MANY_QUERIES
        ), where  # fmt: skip
        assert not solution.relative_residual <= tolerance, where
    assert (solution.success_probability is None) == (not solution.history), where
    for entry in solution.history:
        # a residual in the null space has no chance at all
        assert all(0 < p <= 1 or (p == 0 and not solution.solved) for p in entry["success_probability"]), where
        assert entry["queries"] >= (0 if name == "saddle_free" else 1)  # |H| = alpha I takes a constant
    assert solution.queries == sum(entry["queries"] for entry in solution.history)
    if solution.history:
        assert solution.queries <= options.get("max_queries", 10**6)
        assert solution.success_probability == min(p for e in solution.history for p in e["success_probability"])
        assert solution.ledger["arithmetic"] < 1e-6 or not solution.solved, where
    return solution


@pytest.mark.parametrize("name", QUANTUM)
@given(
    size=st.integers(1, 8),
    kappa=st.floats(1.0, 30.0),
    definite=st.booleans(),
    columns=st.integers(1, 3),
    tolerance=st.sampled_from([0.3, 1e-2, 1e-5, 1e-9]),
    encoding=st.sampled_from(ENCODINGS),
    scale=st.sampled_from([1.0, 1e-20, 1e20]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=20)
def test_well_conditioned_systems_are_solved(
    name: str, size: int, kappa: float, definite: bool, columns: int, tolerance: float, encoding: str, scale: float,
    seed: int,
) -> None:  # fmt: skip
    A, _ = symmetric(size, kappa, 0, definite, seed)
    b = np.random.default_rng(seed + 1).standard_normal((size, columns))
    solution = check(name, scale * A, b / scale**0.5, tolerance, encoding=encoding)
    assert solution.solved, solution.message


@pytest.mark.parametrize("name", QUANTUM)
@given(
    size=st.integers(2, 8),
    kappa=st.floats(1.0, 1e9),
    zeros=st.integers(0, 1),
    definite=st.booleans(),
    consistent=st.booleans(),
    tolerance=st.sampled_from([1e-2, 1e-6, 1e-10]),
    max_queries=st.sampled_from([10, 300, 5000]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=15)
def test_a_solution_is_what_its_status_says_whatever_the_spectrum(
    name: str, size: int, kappa: float, zeros: int, definite: bool, consistent: bool, tolerance: float,
    max_queries: int, seed: int,
) -> None:  # fmt: skip
    A, range_of_A = symmetric(size, kappa, zeros, definite, seed)
    b = np.random.default_rng(seed + 1).standard_normal((size, 1))
    if consistent:
        b = range_of_A @ (range_of_A.T @ b)
    solution = check(name, A, b, tolerance, encoding="walk", max_queries=max_queries)
    if zeros and not consistent and name != "qsvt_pseudo_inverse":
        outside = np.linalg.norm(b - range_of_A @ (range_of_A.T @ b)) / np.linalg.norm(b)
        assert not solution.solved or outside <= tolerance * 1.1


@pytest.mark.parametrize("name", QUANTUM)
@given(
    size=st.integers(1, 5),
    kappa=st.floats(1.0, 5.0),
    definite=st.booleans(),
    columns=st.integers(1, 2),
    tolerance=st.sampled_from([0.3, 1e-2, 1e-4]),
    encoding=st.sampled_from(ENCODINGS),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=8)
def test_the_whole_register_gives_the_same_x(
    name: str, size: int, kappa: float, definite: bool, columns: int, tolerance: float, encoding: str, seed: int
) -> None:
    A, _ = symmetric(size, kappa, 0, definite, seed)
    b = np.random.default_rng(seed + 1).standard_normal((size, columns))
    fused, subspace = (
        check(name, A, b, tolerance, encoding=encoding, mode=mode, bounds=qn.SpectrumBounds(1 / kappa, 1.0))
        for mode in ("fused", "subspace")
    )
    assert (fused.resources["mode"], subspace.resources["mode"]) == ("fused", "subspace")
    difference = np.linalg.norm(fused.x - subspace.x, axis=0) / np.linalg.norm(subspace.x, axis=0)
    assert difference.max() <= 1e-9
    assert fused.queries == subspace.queries and fused.status is subspace.status
    assert fused.success_probability == pytest.approx(subspace.success_probability, rel=1e-8)
