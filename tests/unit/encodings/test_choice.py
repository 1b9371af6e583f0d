"""Which encoding is taken, and what each one says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import ENCODINGS, choose_encoding, encode
from qnewton_gpu.encodings.base import qubits
from qnewton_gpu.errors import CombinationError, UnknownNameError
from qnewton_gpu.operators import GeneralMatrix, KroneckerOperator, as_operator, screened_poisson

CPU = select_backend("cpu")
FACTOR = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
OPERATORS = {
    "gram": qn.GramOperator(FACTOR, 1.0, "cpu"),
    "two_sided": GeneralMatrix(FACTOR, CPU),
    "kronecker": KroneckerOperator([np.eye(2), np.eye(3)], "cpu"),
    "toeplitz": screened_poisson([2], 2, "cpu"),
}
"""What the encodings encode that take no symmetric matrix."""


@pytest.mark.parametrize(
    ("A", "expected"),
    [(np.eye(2), "dilation"), (np.eye(64), "dilation"), (np.eye(65), "walk"), (sp.eye_array(2, format="csr"), "walk")],
)
def test_auto_takes_dilation_for_small_dense_and_walk_otherwise(A, expected: str) -> None:
    assert choose_encoding("auto", as_operator(A, CPU)) == expected
    assert encode(as_operator(A, CPU), CPU).name == expected


@pytest.mark.parametrize("name", OPERATORS)
def test_auto_takes_the_encoding_of_the_kind_of_operator(name: str) -> None:
    assert encode(OPERATORS[name], CPU).name == name


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_registered_encoding_is_what_its_name_says(name: str) -> None:
    assert encode(OPERATORS.get(name, as_operator(np.eye(2), CPU)), CPU, name).name == name


def test_an_unknown_encoding_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="auto, walk, gram, dilation"):
        encode(as_operator(np.eye(2), CPU), CPU, "fable")


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("kind", [*OPERATORS, "walk"])
def test_an_encoding_refuses_other_kinds_of_operator_and_names_the_one_that_takes_it(name: str, kind: str) -> None:
    operator = OPERATORS.get(kind, as_operator(np.eye(2), CPU))
    if name == kind or (kind == "walk" and name not in OPERATORS):
        return
    with pytest.raises(CombinationError, match=f"{name} needs .* Use encoding='{kind}'"):
        encode(operator, CPU, name)


def test_alpha_of_walk_is_the_largest_absolute_row_sum() -> None:
    H = np.array([[1.0, -2.0, 0.0], [-2.0, -0.5, 3.0], [0.0, 3.0, 0.0]])
    encoding = encode(as_operator(H, CPU), CPU, "walk")
    assert encoding.alpha == 5.5
    assert encoding.register_size == 6 + 2 * 3
    assert (encoding.system_qubits, encoding.ancilla_qubits) == (2, 3)


def test_stored_zeros_are_no_amplitudes() -> None:
    H = sp.csr_array(([1.0, 0.0, 0.0, 2.0], ([0, 0, 1, 1], [0, 1, 0, 1])), shape=(2, 2))
    for A in (H, H.toarray()):
        encoding = encode(as_operator(A, CPU), CPU, "walk")
        assert encoding.register_size == 2 + 2 * 2 == encoding.lift(np.eye(2)).shape[0]
    assert H.nnz == 4, "the caller's matrix was changed"


def test_alpha_of_dilation_is_the_spectral_norm() -> None:
    encoding = encode(as_operator(np.diag([0.5, -3.0]), CPU), CPU, "dilation")
    assert encoding.alpha == pytest.approx(3.0, rel=1e-15)
    assert (encoding.system_qubits, encoding.ancilla_qubits, encoding.register_size) == (1, 1, 4)


def test_alpha_of_gram_is_the_frobenius_norm_with_one_flag_row_of_damping() -> None:
    encoding = encode(qn.GramOperator(FACTOR, 11.0), CPU)
    assert encoding.alpha == 6.0  # sqrt(9 + 16 + 11), not + 2 * 11
    assert encoding.kappa == pytest.approx(6 / np.sqrt(11), rel=1e-15)
    assert (encoding.system_qubits, encoding.ancilla_qubits, encoding.register_size) == (1, 2, 4 * 2)


@pytest.mark.parametrize(("size", "expected"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1000, 10), (1024, 10)])
def test_qubits_hold_every_index(size: int, expected: int) -> None:
    assert qubits(size) == expected


def test_the_rows_of_a_factor_are_asked_for_by_its_register_only() -> None:
    class Products:
        shape, frobenius_squared, product_flops, product_bytes, gram_flops = (2, 2), 2.0, 8.0, 32.0, 8.0
        asked = 0

        def matvec(self, v):
            return v

        rmatvec = normal_matvec = matvec

        def gram(self):
            return np.eye(2)

        def rows(self):
            self.asked += 1
            return np.eye(2)

    factor = Products()
    encoding = encode(qn.GramOperator(factor, 1.0), CPU)
    assert np.allclose(encoding.matvec(np.eye(2)), np.vstack([np.eye(2), np.eye(2)]) / np.sqrt(3))
    assert factor.asked == 0
    lifted = encoding.lift(np.eye(2), "right")
    assert np.allclose(lifted.T @ lifted, np.eye(2)) and np.allclose(encoding.lower(lifted, "right"), np.eye(2))
    assert factor.asked == 1


def test_the_gram_register_is_the_row_norms_over_alpha_and_unit_rows() -> None:
    table = encode(qn.GramOperator(FACTOR, 11.0), CPU).register
    assert np.allclose(table.weight, [0.5, 4 / 6, 0.0, np.sqrt(11) / 6], rtol=0, atol=1e-15)
    assert np.allclose(table.unit, [[1, 0], [0, 1], [1, 0]], rtol=0, atol=1e-15)
    assert FACTOR.tolist() == [[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]], "the caller's factor was changed"
