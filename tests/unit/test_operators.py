"""What a matrix can be: every kind of array gives the same operator, and the caller's arrays stay as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.errors import DataTypeError, NotEnoughMemoryError, NotSymmetricError, ShapeError
from qnewton_gpu.operators import (
    GeneralMatrix,
    MatrixFactor,
    MatrixOperator,
    as_operator,
    as_symmetric,
    check_memory,
    real_form,
)

CPU = select_backend("cpu")
H = np.array([[2.0, -1.0, 0.0], [-1.0, 3.0, 0.5], [0.0, 0.5, 1.0]])
G = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]])


@pytest.mark.parametrize(
    "convert",
    [np.asarray, np.asfortranarray, np.ndarray.tolist, lambda a: a.astype(np.float32),
     lambda a: (2 * a).astype(int) / 2,
     lambda a: a.astype(">f8"), torch.tensor, lambda a: torch.tensor(a, requires_grad=True),
     lambda a: torch.tensor(a, dtype=torch.bfloat16), lambda a: torch.tensor(a).to_sparse()],
)  # fmt: skip
def test_every_dense_kind_gives_the_same_operator(convert: Any) -> None:
    operator = as_operator(convert(H), CPU)
    assert np.array_equal(operator.dense(), H) and operator.dense().dtype == np.float64
    v = np.arange(6.0).reshape(3, 2)
    assert np.allclose(operator.matvec(v), H @ v)


@pytest.mark.parametrize("convert", [sp.csr_array, sp.csc_array, sp.coo_array, sp.csr_matrix, sp.lil_array,
                                     sp.dok_array, sp.bsr_array, sp.dia_array])  # fmt: skip
def test_every_sparse_kind_gives_the_same_operator(convert: Any) -> None:
    operator = as_operator(convert(H), CPU)
    assert operator.sparse and np.array_equal(operator.dense(), H)
    assert operator.largest_row_sum() == 4.5
    assert operator.matvec(np.ones((3, 1))).ravel().tolist() == [1.0, 2.5, 1.5]
    assert operator.product_flops == 2 * operator.nonzeros


def test_duplicate_entries_are_summed_and_the_input_stays() -> None:
    A = sp.csr_array((np.array([1.0, 1.0, 3.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    assert as_operator(A, CPU).dense().tolist() == [[2.0, 0.0], [0.0, 3.0]]
    assert A.nnz == 3


def test_integers_and_booleans_are_numbers() -> None:
    assert as_operator(np.eye(2, dtype=bool), CPU).dense().tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert as_operator([[2, 1], [1, 2]], CPU).dense().dtype == np.float64


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array])
def test_rounding_asymmetry_is_averaged_and_more_is_a_general_matrix(convert: Any) -> None:
    noisy = H.copy()
    noisy[0, 1] += 1e-12
    operator = as_operator(convert(noisy), CPU)
    dense = operator.dense()
    assert np.array_equal(operator.given.dense(), noisy) and as_operator(convert(H), CPU).given is None
    assert np.array_equal(dense, dense.T) and dense[0, 1] == pytest.approx(-1 + 5e-13, abs=1e-15)
    noisy[0, 1] += 1e-8
    general = as_operator(convert(noisy), CPU)
    assert isinstance(general, GeneralMatrix) and not general.symmetric and np.array_equal(general.dense(), noisy)
    with pytest.raises(NotSymmetricError, match="1e-08"):
        as_symmetric(convert(noisy), CPU)
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        as_symmetric(convert(H[:2]), CPU)
    with pytest.raises(DataTypeError, match="complex"):
        as_symmetric(convert(H * (1 + 1j)), CPU)


@pytest.mark.parametrize("solver", ["qsvt", "cholesky", "lu", "cg", "qr"])
@pytest.mark.parametrize("convert", [np.array, sp.csr_array], ids=["dense", "sparse"])
def test_a_solve_changes_neither_matrix_nor_right_hand_side(convert: Any, solver: str) -> None:
    A, b = convert(H), np.array([1.0, 2.0, 3.0])
    before = A.copy()
    if isinstance(A, np.ndarray):
        A.flags.writeable = False
    b.flags.writeable = False
    solution = qn.solve(A, b, solver=solver)
    assert solution.solved and b.tolist() == [1.0, 2.0, 3.0]
    assert np.array_equal(as_operator(A, CPU).dense(), as_operator(before, CPU).dense())
    solution.x += 1  # the answer is the caller's own


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array, torch.tensor, np.ndarray.tolist])
def test_a_gram_operator_is_its_factor_squared_plus_damping(convert: Any) -> None:
    operator = qn.GramOperator(convert(G), 0.5)
    expected = G.T @ G + 0.5 * np.eye(2)
    assert np.allclose(operator.dense(), expected, rtol=0, atol=1e-14)
    v = np.array([[1.0, 2.0], [-1.0, 0.5]])
    assert np.allclose(operator.matvec(v), expected @ v)
    assert np.allclose(operator.matvec(v + 1j * v[::-1]), expected @ (v + 1j * v[::-1]))
    assert operator.factor.frobenius_squared == 15.0
    assert operator.assembly_flops == 3 * 2 * 2
    assert operator.dense() is operator.dense(), "assembled once"


def test_a_matrix_factor_multiplies_both_ways() -> None:
    for matrix in (G, sp.csr_array(G)):
        factor = MatrixFactor(matrix, CPU)
        assert np.allclose(factor.matvec(np.eye(2)), G) and np.allclose(factor.rmatvec(np.eye(3)), G.T)
        assert np.allclose(factor.normal_matvec(np.eye(2)), G.T @ G) and np.allclose(factor.gram(), G.T @ G)
        assert isinstance(factor.rows(), np.ndarray) and np.array_equal(factor.rows(), G)


def test_an_operator_passes_the_door_unchanged() -> None:
    for operator in (MatrixOperator(H, CPU), qn.GramOperator(G, 1.0)):
        assert as_operator(operator, CPU) is operator


@pytest.mark.parametrize(
    ("b", "dtype"),
    [(np.ones(3), np.float64), (np.ones(3, np.float32), np.float32), (np.ones(3, int), np.float64),
     (np.ones(3, bool), np.float64), ([1, 2, 3], np.float64), (np.ones((3, 2), np.float16), np.float16)],
)  # fmt: skip
def test_columns_come_back_with_shape_and_floating_type_of_b(b: Any, dtype: type) -> None:
    form = real_form(H, b, CPU)
    assert form.columns.dtype == np.float64 and form.columns.shape == (3, np.size(b) // 3)
    x = form.restore(2 * form.columns)
    assert np.array_equal(form.columns_of(x), 2 * form.columns)
    assert x.dtype == dtype and x.shape == np.shape(b) and np.array_equal(x, 2 * np.asarray(b))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_torch_comes_back_as_torch(dtype: torch.dtype) -> None:
    b = torch.arange(1, 4).to(dtype)
    form = real_form(H, b, CPU)
    x = form.restore(form.columns)
    assert isinstance(x, torch.Tensor) and x.device == b.device
    assert x.dtype == (dtype if dtype.is_floating_point else torch.float64)
    assert x.tolist() == [1, 2, 3]


def test_columns_do_not_share_memory_with_b() -> None:
    for b in (np.ones(3), np.ones((3, 2)), torch.ones(3, dtype=torch.float64)):
        assert not np.shares_memory(real_form(H, b, CPU).columns, np.asarray(b))


def test_memory_is_refused_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(CPU), "available_bytes", lambda self: 2**30)
    check_memory("mode", 2.0**30, CPU, "less")
    with pytest.raises(
        NotEnoughMemoryError, match=r"mode: needs 3 GiB, but 1 GiB are free on CPU, \d+ cores. Use less"
    ):
        check_memory("mode", 3 * 2.0**30, CPU, "Use less")


def test_masked_arrays_are_refused_because_their_mask_would_be_lost() -> None:
    masked = np.ma.array(np.eye(3), mask=np.eye(3, dtype=bool))
    with pytest.raises(DataTypeError, match="masked"):
        as_operator(masked, select_backend("cpu"))
    with pytest.raises(DataTypeError, match="masked"):
        real_form(H, np.ma.array(np.ones(3)), CPU)
