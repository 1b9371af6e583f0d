"""Symmetric pruning: what stays, what the repairs promise, and why the AND mask."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.errors import NotSymmetricError, ParameterError, UnknownNameError


def positive(n: int, seed: int) -> np.ndarray:
    G = np.random.default_rng(seed).standard_normal((n, n // 2 or 1))
    return G @ G.T


@given(n=st.integers(1, 12), d=st.integers(1, 14), seed=st.integers(0, 999))
def test_the_result_is_symmetric_within_the_degree_and_keeps_the_largest_of_both_rows(
    n: int, d: int, seed: int
) -> None:
    H = np.random.default_rng(seed).standard_normal((n, n))
    H = H + H.T
    pruned = qn.prune_symmetric(H, d, compensate=None).toarray()
    assert np.array_equal(pruned, pruned.T)
    assert np.array_equal(np.diag(pruned), np.diag(H))
    off = np.abs(H) * (1 - np.eye(n))
    rank = (off[:, :, None] < off[:, None, :]).sum(axis=2)  # how many of row i are larger than H_ij
    top = (rank < d - 1) & ~np.eye(n, dtype=bool)
    kept = top & top.T
    assert np.array_equal(pruned, np.where(kept | np.eye(n, dtype=bool), H, 0))
    assert (pruned != 0).sum(axis=1).max() <= d


def test_the_or_mask_would_break_the_degree_bound_which_the_and_mask_keeps() -> None:
    n, d = 64, 8
    H = np.eye(n) + 0.01 * np.random.default_rng(0).random((n, n))
    H[0, :] = H[:, 0] = 2.0  # every row counts entry 0 among its largest
    H = (H + H.T) / 2
    off = np.abs(H) - np.diag(np.diag(H))
    top = off >= np.sort(off, axis=1)[:, -(d - 1)][:, None]
    assert (top | top.T).sum(axis=1).max() == n - 1
    pruned = qn.prune_symmetric(H, d)
    assert np.diff(pruned.indptr).max() <= d


@pytest.mark.parametrize("density", [0.5, 0.25, 0.05])
def test_pruning_breaks_positive_definiteness_and_both_repairs_restore_it(density: float) -> None:
    H = positive(96, 1)
    rows = round(density * 96)
    lowest = {
        c: np.linalg.eigvalsh(qn.prune_symmetric(H, rows, compensate=c).toarray())[0]
        for c in (None, "diagonal", "shift")
    }
    assert lowest[None] < -0.1
    assert lowest["diagonal"] >= -1e-10
    assert lowest["shift"] == pytest.approx(0, abs=1e-9)


def test_the_diagonal_repair_adds_the_dropped_absolute_sums() -> None:
    H = positive(20, 2)
    plain, repaired = (qn.prune_symmetric(H, 5, compensate=c).toarray() for c in (None, "diagonal"))
    dropped = np.abs(H - plain).sum(axis=1)
    assert np.allclose(repaired - plain, np.diag(dropped), rtol=0, atol=1e-12)


def test_one_entry_a_row_is_the_diagonal_and_all_entries_are_the_matrix() -> None:
    H = positive(9, 3)
    assert np.array_equal(qn.prune_symmetric(H, 1, compensate=None).toarray(), np.diag(np.diag(H)))
    for d in (9, 10, 1000):
        assert np.array_equal(qn.prune_symmetric(H, d).toarray(), H)
    assert qn.prune_symmetric([[3.0]], 1).toarray().tolist() == [[3.0]]


def test_a_sparse_matrix_is_pruned_as_its_dense_one_and_neither_is_changed() -> None:
    H = positive(12, 4)
    before = H.copy()
    sparse = sp.coo_array(H)
    assert np.array_equal(qn.prune_symmetric(sparse, 4).toarray(), qn.prune_symmetric(H, 4).toarray())
    assert np.array_equal(H, before) and np.array_equal(sparse.toarray(), before)


@pytest.mark.parametrize("d", [0, -1, 1.5, None, "3"])
def test_a_row_budget_below_one_is_refused(d) -> None:
    with pytest.raises(ParameterError, match="max_row_nonzeros"):
        qn.prune_symmetric(np.eye(3), d)


def test_an_unknown_repair_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="diagonal, shift, None"):
        qn.prune_symmetric(np.eye(3), 2, compensate="magic")


def test_a_matrix_that_is_not_symmetric_is_refused() -> None:
    with pytest.raises(NotSymmetricError):
        qn.prune_symmetric(np.triu(np.ones((3, 3))), 2)
