"""Encodings that know the structure of their matrix: diagonals, Pauli strings, entries a row."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import choose_encoding, encode, matching
from qnewton_gpu.encodings.banded import involutions
from qnewton_gpu.encodings.pauli import pauli_coefficients
from qnewton_gpu.errors import CombinationError
from qnewton_gpu.operators import as_operator

CPU = select_backend("cpu")
PAULI = {
    "I": np.eye(2),
    "X": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "Y": np.array([[0.0, -1j], [1j, 0.0]]),
    "Z": np.diag([1.0, -1.0]),
}


@given(size=st.integers(1, 40), offset=st.integers(1, 45))
def test_the_two_colours_of_an_offset_are_matchings_that_hold_every_pair_once(size: int, offset: int) -> None:
    colours = involutions(np.array([offset, offset, 0]), np.array([0, 1, 0]), size, np)
    j = np.arange(size)
    assert all((colour[colour] == j).all() for colour in colours)
    pairs = [(a, b) for colour in colours for a, b in zip(j, colour, strict=True) if a < b]
    assert sorted(pairs) == [(a, a + offset) for a in range(size - offset)]
    assert (colours[2] == j).all()


def test_a_tridiagonal_matrix_has_three_colours_and_no_edge_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the colouring of edges was run")

    monkeypatch.setattr(matching, "colour_edges", refuse)
    n = 1000
    H = sp.diags_array([-np.ones(n - 1), 2.5 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1], format="csr")
    encoding: Any = encode(as_operator(H, CPU), CPU, "banded")
    assert encoding.alpha == 4.5  # the row sum, too: this is as good as the walk
    assert encoding.value.shape == (3, n) and encoding.register_size == 6 * n
    assert encoding.ancilla_qubits == 3
    assert "shift" in {gate.label for gate in encoding.circuit().gates}


def test_banded_refuses_many_diagonals_and_says_what_to_do() -> None:
    n = 70
    dense = np.ones((n, n))
    with pytest.raises(CombinationError, match=r"69 above its main one.*encoding='matching' or 'walk'"):
        encode(as_operator(dense, CPU), CPU, "banded")
    assert choose_encoding("banded", as_operator(np.triu(np.tril(dense, 64), -64), CPU)) == "banded"


def string(letters: str) -> np.ndarray:
    """The first letter acts on the most significant qubit."""
    product = reduce(np.kron, [PAULI[letter] for letter in letters])
    assert not np.any(product.imag)
    return product.real


def test_coefficients_are_those_of_the_strings_that_make_the_matrix() -> None:
    H = 2.0 * string("XIZ") - 0.5 * string("YYI") + 3.0 * string("III") - 1.0 * string("ZZX")
    encoding: Any = encode(as_operator(H, CPU), CPU, "pauli")
    assert sorted(np.abs(encoding.coefficients)) == pytest.approx([0.5, 1.0, 2.0, 3.0], abs=1e-14)
    assert encoding.alpha == pytest.approx(6.5, rel=1e-14)
    assert (encoding.register_size, encoding.system_qubits, encoding.ancilla_qubits) == (4 * 8, 3, 2)
    c = pauli_coefficients(H)
    assert c[0b100, 0b001] == pytest.approx(2.0, abs=1e-14)  # X on qubit 2, Z on qubit 0
    # X Z = -i Y on both: X^a Z^b = -Y Y
    assert c[0b110, 0b110] == pytest.approx(0.5, abs=1e-14)


def test_coefficients_have_the_norm_of_the_matrix() -> None:
    H = np.random.default_rng(0).standard_normal((16, 16))
    assert (pauli_coefficients(H) ** 2).sum() == pytest.approx((H**2).sum() / 16, rel=1e-13)


def test_pauli_refuses_what_is_too_large() -> None:
    with pytest.raises(CombinationError, match="up to N = 1024, and A has 1025 rows"):
        encode(as_operator(sp.eye_array(1025, format="csr"), CPU), CPU, "pauli")


@pytest.mark.parametrize("convert", [np.asarray, sp.csr_array])
def test_alpha_of_sparse_access_is_the_textbooks(convert: Any) -> None:
    H = convert(np.array([[1.0, -2.0, 0.0], [-2.0, -0.5, 3.0], [0.0, 3.0, 0.0]]))
    encoding = encode(as_operator(H, CPU), CPU, "sparse_access")
    assert encoding.alpha == 3 * 3.0
    assert encoding.ancilla_qubits == 2 + 3


def test_stored_zeros_are_no_entries_of_a_row() -> None:
    H = sp.csr_array(([1.0, 0.0, 0.0, 2.0], ([0, 0, 1, 1], [0, 1, 0, 1])), shape=(2, 2))
    assert encode(as_operator(H, CPU), CPU, "sparse_access").alpha == 2.0
    assert encode(as_operator(H, CPU), CPU, "banded").register_size == 2 * 2


def test_on_a_sparse_matrix_alpha_rises_from_walk_over_matching_and_sparse_access_to_pauli() -> None:
    """The order of the table in METHODS, on a random positive definite matrix of N = 256 with about 5 entries a row."""
    random = np.random.default_rng(0)
    A = sp.random_array((256, 256), density=2 / 256, rng=random, data_sampler=random.standard_normal)
    H = sp.csr_array(A + A.T)
    H = sp.csr_array(H + sp.diags_array(abs(H).sum(axis=1) + 0.1))
    alpha = [encode(as_operator(H, CPU), CPU, name).alpha for name in ("walk", "matching", "sparse_access", "pauli")]
    assert np.linalg.norm(H.toarray(), 2) <= alpha[0] < alpha[1] < alpha[2] < alpha[3]
