"""Systems known by a few numbers: what they say of themselves is what predictions need, and the door checks them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from qnewton_gpu import CostModel, LinearSystem, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.errors import ParameterError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.planning.stated import stated_system
from qnewton_gpu.solvers import CLASSICAL, QUANTUM, make_solver

CPU = select_backend("cpu")


@pytest.mark.parametrize("dense", [True, False])
def test_a_stated_system_costs_what_a_real_one_with_these_numbers_costs(dense: bool) -> None:
    """All but LU and Cholesky of a sparse matrix, which a real one is charged for within its band."""
    n, kappa, d = 64, 20.0, 3
    A = np.full((n, n), 1e-9) if dense else np.zeros((n, n))
    A += np.diag(np.geomspace(1 / kappa, 1, n)) + 1e-6 * (np.eye(n, k=1) + np.eye(n, k=-1))
    A[0, -1] = A[-1, 0] = 1e-6
    real = as_operator(A if dense else sp.csr_array(A), CPU)
    bounds = SpectrumBounds(1 / kappa, 1.0, certified=True, method="made so")
    quantum: Any = make_solver("qsvt", encoding="walk")
    alpha = quantum.method(LinearSystem(real, np.ones((n, 1)), bounds, 1e-3), CPU).encoding.alpha
    stated = stated_system(n, kappa, None if dense else d, alpha, 1e-3)
    assert stated.operator.nonzeros == real.nonzeros == n * (n if dense else d)
    assert stated.operator.product_bytes == real.product_bytes
    known = LinearSystem(real, np.ones((n, 1)) / np.sqrt(n), bounds, 1e-3, expected_norm=1.0)
    for name in (*QUANTUM, *(CLASSICAL if dense else ("cg", "qr"))):
        solver = make_solver(name, encoding="walk") if name in QUANTUM else make_solver(name)
        expected = solver.predict(known, CostModel(), CPU)
        assert make_solver(name).predict(stated, CostModel(), CPU).seconds == pytest.approx(expected.seconds), name


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("size", 0), ("size", 2.5), ("size", "many"), ("size", None), ("size", 1e16), ("size", float("nan")),
        ("kappa", 0.5), ("kappa", float("inf")), ("kappa", 1j), ("row_nonzeros", 0), ("row_nonzeros", 1.5),
        ("alpha", 0.99), ("tolerance", 1.0), ("tolerance", 0.0), ("tolerance", float("nan")), ("entry_bytes", 0.5),
    ],
)  # fmt: skip
def test_a_number_that_no_system_has_is_refused(argument: str, value: Any) -> None:
    stated: dict[str, Any] = {"size": 64, "kappa": 10.0, argument: value}
    with pytest.raises(ParameterError, match=f"^{argument}: ") as refused:
        stated_system(**stated)
    assert "Traceback" not in str(refused.value) and refused.value.argument == argument


def test_a_row_has_no_more_entries_than_the_matrix_columns() -> None:
    full = stated_system(32, 10, 1000)
    assert full.operator.nonzeros == 32 * 32 and full.operator.product_bytes == 8 * 32 * 32
    assert stated_system(32, 10).operator.nonzeros == 32 * 32
    assert not stated_system(32, 10, 22).operator.sparse and stated_system(32, 10, 21).operator.sparse  # 2/3 N: as long
    assert stated_system(32, 10, entry_bytes=4).operator.product_bytes == 4 * 32 * 32
    assert stated_system(np.int64(32), np.float64(10)).kappa == pytest.approx(10)
