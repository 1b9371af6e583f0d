"""Block encodings made of block encodings: the same contract, and (alpha, ancillas, epsilon) by rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from physics.encoding_checks import CPU, check_contract, check_modes

from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.composition import block_diagonal, extended, linear_combination, product, scaled
from qnewton_gpu.errors import ParameterError, ShapeError
from qnewton_gpu.operators import GeneralMatrix, GramOperator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import run_sequence

NAMES = ["walk", "dilation", "matching", "banded", "pauli", "sparse_access"]
Encoded = tuple[Any, np.ndarray]


def symmetric(n: int, seed: int = 0, name: str = "walk") -> Encoded:
    H = np.random.default_rng(seed).standard_normal((n, n))
    return encode(as_operator(H + H.T, CPU), CPU, name), H + H.T


def general(m: int, n: int, seed: int = 0) -> Encoded:
    A = np.random.default_rng(seed).standard_normal((m, n))
    return encode(GeneralMatrix(A, CPU), CPU), A


@st.composite
def leaves(draw, shape: tuple[int, int] | None = None) -> Encoded:
    seed = draw(st.integers(0, 2**32 - 1))
    m, n = shape or (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    if m == n and draw(st.booleans()):
        return symmetric(n, seed, draw(st.sampled_from(NAMES)))
    return general(m, n, seed)


@st.composite
def composed(draw, depth: int = 2) -> Encoded:
    """A random composition of random compositions, with the matrix that it encodes."""
    if depth == 0:
        return draw(leaves())
    kind = draw(st.sampled_from(["block_diagonal", "product", "linear_combination", "scaled", "extended"]))
    first, A = draw(composed(depth - 1))
    if kind == "block_diagonal":
        second, B = draw(composed(depth - 1))
        return block_diagonal([first, second]), scipy.linalg.block_diag(A, B)
    if kind == "product":
        second, B = draw(leaves((A.shape[1], draw(st.integers(1, 4)))))
        return product(first, second), A @ B
    if kind == "linear_combination":
        second, B = draw(leaves(A.shape))
        c, d = draw(st.sampled_from([(1.0, 1.0), (-2.0, 0.5), (0.0, -3.0), (1e-3, 1e3)]))
        return linear_combination([c, d], [first, second]), c * A + d * B
    if kind == "scaled":
        c = draw(st.sampled_from([1.0, -1.0, -1e-6, 3e5]))
        return scaled(first, c), c * A
    entry = draw(st.sampled_from([-1.0, 0.0, 0.3, 1.0])) * first.alpha
    return extended(first, entry), scipy.linalg.block_diag(A, [[entry]])


@settings(max_examples=80)
@given(pair=composed(), queries=st.integers(0, 4))
def test_compositions_of_compositions_keep_the_contract(pair: Encoded, queries: int) -> None:
    encoding, A = pair
    check_contract(encoding, A)
    check_modes(encoding, queries)
    assert np.allclose(encoding.operator.dense(), A, rtol=0, atol=1e-12 * encoding.alpha)
    assert encoding.operator.shape == A.shape and encoding.operator.symmetric == encoding.symmetric
    total = encoding.system_qubits + encoding.ancilla_qubits
    assert 1 << total >= max(A.shape)


def test_alpha_ancillas_and_epsilon_follow_by_rule() -> None:
    (one, _), (two, _) = symmetric(4, 0, "walk"), symmetric(4, 1, "matching")
    one.epsilon, two.epsilon = 1e-3, 1e-5
    a, b = one.ancilla_qubits, two.ancilla_qubits
    stacked = block_diagonal([one, two])
    assert stacked.alpha == max(one.alpha, two.alpha) and stacked.epsilon == 1e-3
    smaller = a if one.alpha < two.alpha else b
    assert stacked.ancilla_qubits == max(a, b, smaller + 1)
    times = product(one, two)
    assert times.alpha == one.alpha * two.alpha and times.ancilla_qubits == max(a, b) + 1
    assert times.epsilon == pytest.approx(one.alpha * 1e-5 + two.alpha * 1e-3, rel=1e-15)
    assert times.register_size == one.register_size + two.register_size
    total = linear_combination([2.0, -3.0, 0.0], [one, two, one])
    assert total.alpha == pytest.approx(2 * one.alpha + 3 * two.alpha, rel=1e-15)
    assert total.ancilla_qubits == max(a, b) + 1 and total.epsilon == pytest.approx(2e-3 + 3e-5, rel=1e-15)
    assert scaled(one, -2.0).alpha == 2 * one.alpha and scaled(one, -2.0).ancilla_qubits == a
    longer = extended(one, one.alpha)
    assert (longer.alpha, longer.ancilla_qubits, longer.register_size) == (one.alpha, a, one.register_size + 2)


def test_what_is_made_of_symmetric_encodings_is_symmetric_but_a_product_is_not() -> None:
    (one, _), (two, _), (third, _) = symmetric(3), symmetric(3, 1), general(3, 3)
    made = (block_diagonal([one, two]), linear_combination([1, 2], [one, two]), scaled(one, -1), extended(one, 0.1))
    assert all(encoding.symmetric for encoding in made)
    assert not any(e.symmetric for e in (product(one, two), linear_combination([1, 2], [one, third])))


def test_extended_takes_an_entry_for_each_column() -> None:
    encoding, H = symmetric(5)
    entries = np.array([0.2, -0.7, encoding.alpha])
    together = extended(encoding, entries)
    start = np.random.default_rng(1).standard_normal((6, 3))
    start /= np.linalg.norm(start, axis=0)
    phases = np.random.default_rng(2).uniform(-3, 3, 6)
    for mode in ("subspace", "fused"):
        outcome = run_sequence(together, phases, start, CPU, mode=mode)
        for k, entry in enumerate(entries):
            alone = run_sequence(extended(encoding, entry), phases, start[:, [k]], CPU, mode=mode)
            assert np.allclose(outcome.amplitudes[:, k], alone.amplitudes[:, 0], rtol=0, atol=1e-13)
    check_contract(extended(encoding, entries[0]), scipy.linalg.block_diag(H, [[entries[0]]]))


def test_the_gram_encoding_composes_too() -> None:
    G = np.random.default_rng(0).standard_normal((4, 3))
    gram: Any = encode(GramOperator(G, 0.5, "cpu"), CPU)
    damped = np.vstack([G, np.sqrt(0.5) * np.eye(3)])
    H, matrix = symmetric(3)
    check_contract(product(gram, H), damped @ matrix)
    check_contract(block_diagonal([gram, H]), scipy.linalg.block_diag(damped, matrix))


@pytest.mark.parametrize("mode", ["subspace", "fused"])
def test_circuits_on_compositions_invert_what_they_encode(mode: str) -> None:
    one, A = symmetric(4, 3)
    two, B = symmetric(4, 4, "dilation")
    b = np.random.default_rng(5).standard_normal((4, 1))
    b /= np.linalg.norm(b)
    cases = [(product(one, two), A @ B), (linear_combination([1.0, -0.5], [one, two]), A - 0.5 * B)]
    for encoding, matrix in cases:
        polynomial = inverse_polynomial(encoding.alpha / np.linalg.svd(matrix)[1].min(), 1e-6)
        phases = phase_factors(polynomial)
        outcome = run_sequence(encoding, phases.reflection, b, CPU, side="left", mode=mode)
        x = polynomial.sup_norm / (phases.scale * encoding.alpha) * outcome.amplitudes
        assert np.allclose(matrix @ x, b, rtol=0, atol=2e-6)


def test_what_cannot_be_composed_is_refused() -> None:
    (one, _), (two, _) = symmetric(3), general(2, 4)
    with pytest.raises(ShapeError, match="3 columns do not meet 2 rows"):
        product(one, two)
    with pytest.raises(ShapeError, match="2 coefficients"):
        linear_combination([1.0, 2.0], [one, two])
    with pytest.raises(ShapeError, match="1 coefficients"):
        linear_combination([1.0], [one, one])
    with pytest.raises(ParameterError, match="nothing to encode"):
        linear_combination([0.0], [one])
    with pytest.raises(ParameterError, match="nothing to encode"):
        linear_combination([1.0, float("nan")], [one, one])
    for c in (0.0, float("inf")):
        with pytest.raises(ParameterError, match="zero or not finite"):
            scaled(one, c)
    with pytest.raises(ParameterError, match="exceeds alpha"):
        extended(one, np.array([0.0, -2 * one.alpha]))
    with pytest.raises(ParameterError, match="encodings: are none"):
        block_diagonal([])
