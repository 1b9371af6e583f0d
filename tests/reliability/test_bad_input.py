"""Bad input of a solve: a typed error that names argument, problem and remedy, before any work starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import qnewton_gpu as qn
from qnewton_gpu import errors
from qnewton_gpu.backends.cpu import CpuBackend
from qnewton_gpu.solvers import SOLVERS
from qnewton_gpu.stages import record_stages

H = np.diag([1.0, 2.0, 4.0])
b = np.ones(3)
N = 4096
LARGE = sp.diags_array(np.linspace(1, 2, N)).tocsr()


def spoiled(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array.flat[-2] = value
    return array


def refuses(call: Callable[[], Any], error: type[errors.QNewtonError], argument: str, *fragments: str) -> None:
    with record_stages() as events, pytest.raises(error) as caught:
        call()
    problem = caught.value
    assert events == [], "work had begun"
    assert problem.argument == argument
    assert problem.problem and problem.remedy
    assert str(problem) == f"{argument}: {problem.problem}. {problem.remedy}."
    for fragment in fragments:
        assert fragment in str(problem)


@pytest.mark.parametrize(
    ("A", "error", "fragments"),
    [
        (np.ones(3), errors.ShapeError, ["1 dimensions"]),
        (np.float64(3), errors.ShapeError, ["0 dimensions"]),
        (np.ones((2, 2, 2)), errors.ShapeError, ["3 dimensions"]),
        (np.ones((0, 0)), errors.ShapeError, ["empty", "(0, 0)"]),
        (np.ones((0, 3)), errors.ShapeError, ["empty"]),
        ([], errors.ShapeError, ["dimensions"]),
        (None, errors.DataTypeError, ["object"]),
        ("abc", errors.DataTypeError, ["not numbers"]),
        ([[1, 2], [3]], errors.DataTypeError, ["not an array"]),
        (spoiled(H, np.nan), errors.NonFiniteError, ["1 NaN or infinite"]),
        (spoiled(H, np.inf), errors.NonFiniteError, ["1 NaN or infinite"]),
        (np.full((3, 3), np.nan), errors.NonFiniteError, ["9 NaN or infinite"]),
        (sp.diags_array([1.0, np.nan, -np.inf]).tocsr(), errors.NonFiniteError, ["2 NaN or infinite"]),
        (sp.diags_array([1.0, np.nan, 2.0]).tocoo(), errors.NonFiniteError, ["1 NaN or infinite"]),
        (torch.tensor(spoiled(H, np.nan)), errors.NonFiniteError, ["1 NaN or infinite"]),
        (1e200 * H, errors.ParameterError, ["4e+200", "Multiply"]),
        (1e-200 * H, errors.ParameterError, ["4e-200", "Multiply"]),
        (spoiled(H, np.nan) + 0j, errors.NonFiniteError, ["1 NaN or infinite"]),
        (sp.csr_array(spoiled(1j * H, np.inf)), errors.NonFiniteError, ["1 NaN or infinite"]),
        (1e200j * H, errors.ParameterError, ["4e+200", "Multiply"]),
        (np.ones((3, 0)), errors.ShapeError, ["empty"]),
    ],
)  # fmt: skip
def test_a_matrix_that_cannot_be_meant_is_refused(A: Any, error: type, fragments: list[str]) -> None:
    refuses(lambda: qn.solve(A, b), error, "A", *fragments)


@pytest.mark.parametrize(
    ("rhs", "error", "fragments"),
    [
        (np.ones(4), errors.ShapeError, ["(4,)", "3 rows", "(3, k)"]),
        (np.ones((1, 3)), errors.ShapeError, ["(1, 3)", "3 rows"]),
        (np.ones((3, 1, 1)), errors.ShapeError, ["(3, 1, 1)"]),
        (np.float64(1.0), errors.ShapeError, ["()"]),
        (np.ones(0), errors.ShapeError, ["(0,)"]),
        (np.ones((3, 0)), errors.ShapeError, ["(3, 0)"]),
        (torch.ones(4), errors.ShapeError, ["(4,)"]),
        (np.ones(2) + 1j, errors.ShapeError, ["(2,)", "3 rows"]),
        (spoiled(b + 0j, np.nan), errors.NonFiniteError, ["1 NaN"]),
        (1e-200j * b, errors.ParameterError, ["1e-200"]),
        (None, errors.DataTypeError, ["object"]),
        (["1", "2", "3"], errors.DataTypeError, ["not numbers"]),
        ([1, [2], 3], errors.DataTypeError, ["not an array"]),
        (spoiled(b, np.nan), errors.NonFiniteError, ["1 NaN"]),
        (spoiled(b, -np.inf), errors.NonFiniteError, ["1 NaN"]),
        (torch.tensor([1.0, float("nan"), 2.0]), errors.NonFiniteError, ["1 NaN"]),
        (sp.csr_array(np.array([[1.0], [np.nan], [2.0]])), errors.NonFiniteError, ["1 NaN"]),
        (1e-200 * b, errors.ParameterError, ["1e-200"]),
        (np.stack([b, 1e200 * b], axis=1), errors.ParameterError, ["1e+200"]),
    ],
)  # fmt: skip
def test_a_right_hand_side_that_cannot_be_meant_is_refused(rhs: Any, error: type, fragments: list[str]) -> None:
    refuses(lambda: qn.solve(H, rhs), error, "b", *fragments)


@pytest.mark.parametrize(
    ("A", "rows"),
    [(np.ones((2, 3)), 2), (np.ones((5, 3)), 5), (sp.csr_array(np.ones((5, 3))), 5), (1j * np.ones((5, 3)), 5),
     (torch.ones(5, 3), 5)],
)  # fmt: skip
def test_b_has_as_many_entries_as_a_has_rows(A: Any, rows: int) -> None:
    refuses(lambda: qn.solve(A, b), errors.ShapeError, "b", f"has shape (3,), but A has {rows} rows", f"({rows}, k)")


GENERAL = H + np.eye(3, k=1) * 0.25
WIDE = np.ones((2, 3))


@pytest.mark.parametrize(
    ("A", "error", "argument", "options", "fragments"),
    [
        (GENERAL, errors.NotSymmetricError, "A", {"solver": "cholesky"}, ["0.25", "max |A| = 4", "(A + A^t)/2"]),
        (sp.csr_array(GENERAL), errors.NotSymmetricError, "A", {"solver": "cholesky"}, ["0.25", "max |A| = 4"]),
        (H + np.eye(3, k=1) * 1e-9, errors.NotSymmetricError, "A", {"solver": "cholesky"}, ["1e-09"]),
        (H + 1j * H, errors.NotSymmetricError, "A", {"solver": "cholesky"}, ["= 8"]),
        (WIDE, errors.ShapeError, "A", {"solver": "cholesky"}, ["(2, 3)", "not square"]),
        (WIDE, errors.ShapeError, "A", {"solver": "lu"}, ["(2, 3)", "not square", "'qr', 'cg' or 'qsvt'"]),
        (WIDE.T, errors.ShapeError, "A", {"solver": "lu"}, ["(3, 2)", "not square"]),
        (H, errors.CombinationError, "damping", {"solver": "lu", "damping": 0.1}, ["normal equations", "'qr'"]),
        (H, errors.CombinationError, "damping", {"solver": "cholesky", "damping": 0.1}, ["normal equations"]),
        (qn.GramOperator(H, 0.1), errors.CombinationError, "damping", {"damping": 0.1}, ["GramOperator already"]),
        (GENERAL, errors.CombinationError, "encoding", {"encoding": "walk", "damping": 0.1}, ["walk"]),
        (GENERAL, errors.CombinationError, "encoding", {"encoding": "gram"}, ["gram"]),
        (WIDE, errors.CombinationError, "encoding", {"encoding": "matching"}, ["matching"]),
        (WIDE, errors.CombinationError, "encoding", {"encoding": "gram"}, ["gram"]),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_serve_the_matrix_is_refused(
    A: Any, error: type, argument: str, options: dict[str, Any], fragments: list[str]
) -> None:
    refuses(lambda: qn.solve(A, np.ones(A.shape[0]), **options), error, argument, *fragments)


@pytest.mark.parametrize("damping", [-1.0, float("nan"), float("inf"), None, "0.1", 1j])
def test_a_damping_that_is_no_number_from_zero_on_is_refused(damping: Any) -> None:
    refuses(lambda: qn.solve(H, b, damping=damping), errors.ParameterError, "damping", "Use 0 for none")


@pytest.mark.parametrize("solver", ["auto", "qsvt", "cholesky", "lu", "cg"])
@pytest.mark.parametrize("tolerance", [0, -1e-6, float("nan"), float("inf"), 1.0, 2, None, "1e-6", 1e-6j, True])
def test_a_tolerance_outside_zero_and_one_is_refused(tolerance: Any, solver: str) -> None:
    refuses(lambda: qn.solve(H, b, tolerance=tolerance, solver=solver), errors.ParameterError, "tolerance", "1e-6")


@pytest.mark.parametrize(
    ("argument", "valid"),
    [
        ("solver", ["auto", *SOLVERS]),
        ("encoding", ["auto", "walk", "gram", "dilation"]),
        ("mode", ["auto", "subspace", "fused"]),
        ("backend", ["auto", "cpu"]),
    ],
)
@pytest.mark.parametrize("name", ["nonsense", "", None, 3, "QSVT"])
def test_an_unknown_name_is_answered_with_the_valid_ones(argument: str, valid: list[str], name: Any) -> None:
    call = lambda: qn.solve(H, b, **{argument: name})  # noqa: E731
    refuses(call, errors.UnknownNameError, argument, f"unknown name {name!r}", ", ".join(valid))


@pytest.mark.parametrize("max_queries", [0, -1, 1.5, None, float("nan")])
def test_a_query_budget_below_one_is_refused(max_queries: Any) -> None:
    refuses(lambda: qn.solve(H, b, max_queries=max_queries), errors.ParameterError, "max_queries")


@pytest.mark.parametrize(
    "bounds",
    [(1.0, 4.0), qn.SpectrumBounds(0.0, 4.0), qn.SpectrumBounds(5.0, 4.0), qn.SpectrumBounds(1.0, np.inf),
     qn.SpectrumBounds(np.nan, 4.0), qn.SpectrumBounds(1.0, np.nan), qn.SpectrumBounds(-1.0, 4.0)],
)  # fmt: skip
def test_bounds_that_bound_nothing_are_refused(bounds: Any) -> None:
    refuses(lambda: qn.solve(H, b, bounds=bounds), errors.ParameterError, "bounds")


def test_hardware_that_is_no_machine_is_refused() -> None:
    refuses(lambda: qn.solve(H, b, hardware="fast"), errors.ParameterError, "hardware", "Hardware")


@pytest.mark.parametrize("solver", ["auto", "qsvt", "lu"])
def test_options_that_do_not_go_together_are_refused(solver: str) -> None:
    gram = qn.GramOperator(H, 0.1)
    combine = errors.CombinationError
    refuses(lambda: qn.solve(H, b, solver=solver, encoding="gram"), combine, "encoding", "GramOperator")
    refuses(lambda: qn.solve(gram, b, solver=solver, encoding="walk"), combine, "encoding", "gram")
    refuses(lambda: qn.solve(gram, b, solver=solver, encoding="dilation"), combine, "encoding", "gram")
    refuses(lambda: qn.solve(gram, b, solver=solver, mode="circuit"), combine, "mode", "subspace", "fused")


@pytest.mark.parametrize("damping", [0, 0.0, -1.0, float("nan"), float("inf"), None, "0.1"])
def test_a_gram_operator_needs_damping(damping: Any) -> None:
    refuses(lambda: qn.GramOperator(H, damping), errors.ParameterError, "damping")


@pytest.mark.parametrize(
    ("G", "error"),
    [(np.ones(3), errors.ShapeError), (np.ones((0, 3)), errors.ShapeError), (H + 0j, errors.DataTypeError),
     (spoiled(H, np.nan), errors.NonFiniteError), ("abc", errors.DataTypeError)],
)  # fmt: skip
def test_a_factor_is_checked_like_a_matrix(G: Any, error: type) -> None:
    refuses(lambda: qn.GramOperator(G, 0.1), error, "factor")


# bytes that are free, so that the solve named cannot fit but another one does
@pytest.mark.parametrize(
    ("options", "free", "argument", "fragments"),
    [
        ({"solver": "qsvt", "encoding": "walk"}, 400 * 2**10, "A", ["About N = 512 would fit", "bounds="]),
        ({"solver": "qsvt", "encoding": "walk", "bounds": qn.SpectrumBounds(1, 2)}, 400 * 2**10, "mode",
         ["2560 unknowns"]),
        ({"solver": "qsvt", "encoding": "walk", "bounds": qn.SpectrumBounds(1, 2), "mode": "fused"}, 800 * 2**10,
         "mode", ["mode='subspace' needs 0.625 MiB"]),
        ({"solver": "qsvt", "encoding": "dilation"}, 2**26, "encoding", ["walk"]),
        ({"solver": "cholesky"}, 2**28, "solver", ["'cg' or 'qsvt'", "MiB"]),
        ({"solver": "cg"}, 2**20, "A", ["About N = 1310 would fit"]),
    ],
)  # fmt: skip
def test_memory_that_is_not_there_is_refused_with_what_would_fit(
    options: dict[str, Any], free: int, argument: str, fragments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CpuBackend, "available_bytes", lambda self: free)
    call = lambda: qn.solve(LARGE, np.ones(N), **options)  # noqa: E731
    refuses(call, errors.NotEnoughMemoryError, argument, *fragments)
    with pytest.raises(errors.NotEnoughMemoryError) as caught:
        call()
    needed = re.search(r"needs ([0-9.e+-]+) GiB, but ([0-9.e+-]+) GiB are free", str(caught.value))
    assert needed is not None
    assert float(needed[1]) > float(needed[2]) == pytest.approx(free / 2**30, rel=1e-2)


def test_dense_lu_is_refused_where_sparse_lu_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = np.eye(1024)
    monkeypatch.setattr(CpuBackend, "available_bytes", lambda self: 2**24)
    refuses(lambda: qn.solve(dense, np.ones(1024), solver="lu"), errors.NotEnoughMemoryError, "solver", "MiB")
    assert qn.solve(sp.csr_array(dense), np.ones(1024), solver="lu").solved


def test_an_error_survives_pickling_with_its_parts() -> None:
    import pickle

    with pytest.raises(errors.ShapeError) as caught:
        qn.solve(np.ones(3), b)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), copy.argument) == (errors.ShapeError, str(caught.value), "A")
