"""Isometry, involution and block identity of every encoding, on matrices that try to break them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from physics.encoding_checks import CPU, check_contract, check_gate_program, check_modes

from qnewton_gpu.encodings import WITH_GATES, encode
from qnewton_gpu.operators import GeneralMatrix, GramOperator, KroneckerOperator, ToeplitzOperator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import run_sequence


def dense(draw, n: int, random: np.random.Generator) -> np.ndarray:
    H = random.standard_normal((n, n))
    return H + H.T


def nonnegative(draw, n: int, random: np.random.Generator) -> np.ndarray:
    return np.abs(dense(draw, n, random))


def diagonal(draw, n: int, random: np.random.Generator) -> np.ndarray:
    return np.diag(random.standard_normal(n))


def sparse(draw, n: int, random: np.random.Generator) -> sp.csr_array:
    H = sp.random_array((n, n), density=draw(st.floats(0.0, 0.4)), rng=random, data_sampler=random.standard_normal)
    return sp.csr_array(H + H.T)


def disconnected(draw, n: int, random: np.random.Generator) -> sp.csr_array:
    blocks = [dense(draw, n, random), sp.csr_array((2, 2)), diagonal(draw, n, random)]
    order = random.permutation(2 * n + 2)
    return sp.csr_array(sp.csr_array(sp.block_diag(blocks))[order][:, order])


def with_stored_zeros(draw, n: int, random: np.random.Generator) -> sp.csr_array:
    full = dense(draw, n, random)
    kept = random.random((n, n)) < 0.5
    rows, columns = np.indices((n, n)).reshape(2, -1)
    return sp.csr_array((np.where(kept & kept.T, full, 0.0).ravel(), (rows, columns)), shape=(n, n))


def one_by_one(draw, n: int, random: np.random.Generator) -> np.ndarray:
    return np.array([[draw(st.sampled_from([-2.0, -1e-9, 0.0, 1e-12, 0.5, 1e9]))]])


KINDS = [dense, nonnegative, diagonal, sparse, disconnected, with_stored_zeros, one_by_one]


@st.composite
def symmetric_matrices(draw):
    n = draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw(st.integers(-8, 8))
    return draw(st.sampled_from(KINDS))(draw, n, random) * scale


def array(H) -> np.ndarray:
    return H.toarray() if sp.issparse(H) else np.asarray(H)


SYMMETRIC = ["walk", "dilation", "matching", "banded", "pauli", "sparse_access"]


@pytest.mark.parametrize("name", SYMMETRIC)
@settings(max_examples=30)
@given(H=symmetric_matrices(), queries=st.integers(0, 5))
def test_symmetric_encodings_keep_the_contract_and_their_modes_agree(name: str, H, queries: int) -> None:
    encoding = encode(as_operator(H, CPU), CPU, name)
    check_contract(encoding, array(H))
    check_modes(encoding, queries)


@pytest.mark.parametrize("name", WITH_GATES)
@settings(max_examples=15)
@given(n=st.integers(1, 6), seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.0, 0.3, 1.0]))
def test_gate_programs_are_hermitian_unitaries_with_the_block(name: str, n: int, seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    H = random.standard_normal((n, n)) * (random.random((n, n)) < density)
    operator = as_operator(H + H.T, CPU)
    if name == "kronecker":
        operator = KroneckerOperator([operator, np.diag(random.standard_normal(2))], CPU)
    if name == "toeplitz":
        steps = {k: c for k, c in enumerate(random.standard_normal(min(n, 3)), start=1) if density}
        operator = ToeplitzOperator([2, 1], 1 - density, [steps, {1: 0.5}], CPU)
    encoding: Any = encode(operator, CPU, name)
    check_gate_program(encoding, operator.dense())
    check_modes(encoding, 3, "circuit")


@settings(max_examples=30)
@given(H=symmetric_matrices())
def test_alpha_grows_from_dilation_over_walk_to_the_others(H) -> None:
    """A row sum takes one entry of each colour, of each row of at most d, and of each flip of a Pauli string."""
    alpha = {name: encode(as_operator(H, CPU), CPU, name).alpha for name in SYMMETRIC}
    assert alpha["dilation"] <= alpha["walk"] * (1 + 1e-12)
    for name in ("matching", "banded", "pauli", "sparse_access"):
        assert alpha["walk"] <= alpha[name] * (1 + 1e-12), name


@st.composite
def general_matrices(draw):
    m, n = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    A = random.standard_normal((m, n)) * (random.random((m, n)) < draw(st.sampled_from([0.0, 0.3, 1.0])))
    A *= 10.0 ** draw(st.integers(-8, 8))
    return sp.csr_array(A) if draw(st.booleans()) else A


@given(A=general_matrices(), queries=st.integers(0, 5))
def test_two_sided_keeps_the_contract_and_its_alpha_is_that_of_schurs_test(A, queries: int) -> None:
    encoding = encode(GeneralMatrix(A, CPU), CPU)
    check_contract(encoding, array(A))
    check_modes(encoding, queries)
    rows, columns = (np.abs(array(A)).sum(axis=axis).max() for axis in (1, 0))
    assert encoding.alpha == pytest.approx(np.sqrt(rows * columns) if rows else 1.0, rel=1e-14)
    assert encoding.register_size == np.count_nonzero(array(A)) + sum(A.shape)


@pytest.mark.parametrize("shape", [(6, 6), (7, 4), (4, 7)])
def test_two_sided_circuits_apply_the_pseudo_inverse(shape: tuple[int, int]) -> None:
    A = np.random.default_rng(2).standard_normal(shape)
    b = np.random.default_rng(3).standard_normal((shape[0], 2))
    encoding = encode(GeneralMatrix(A, CPU), CPU)
    polynomial = inverse_polynomial(encoding.alpha / np.linalg.svd(A)[1].min(), 1e-6)
    phases = phase_factors(polynomial)
    norms = np.linalg.norm(b, axis=0)
    outcome = run_sequence(encoding, phases.reflection, b / norms, CPU, side="left", mode="fused")
    x = norms * polynomial.sup_norm / (phases.scale * encoding.alpha) * outcome.amplitudes
    assert np.allclose(x, np.linalg.pinv(A) @ b, rtol=0, atol=1e-5 * np.linalg.norm(x))


@st.composite
def kronecker_operators(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    factors = [random.standard_normal((n, n)) * (random.random((n, n)) < 0.7) for n in sizes]
    return KroneckerOperator([sp.csr_array(F + F.T) if draw(st.booleans()) else F + F.T for F in factors], CPU)


@settings(max_examples=30)
@given(H=kronecker_operators(), queries=st.integers(0, 4))
def test_kronecker_and_each_of_its_factors_keep_the_contract(H: KroneckerOperator, queries: int) -> None:
    encoding: Any = encode(H, CPU)
    check_contract(encoding, H.dense())
    check_modes(encoding, queries)
    alone = [encode(factor, CPU) for factor in H.factors]
    assert encoding.alpha == pytest.approx(np.prod([one.alpha for one in alone]), rel=1e-14)
    for place, one in enumerate(alone):
        part = encoding.factor(place)
        assert part.alpha == one.alpha and part.ancilla_qubits == one.ancilla_qubits
        check_contract(part, H.parts[place].dense())


@given(H=symmetric_matrices())
def test_alpha_of_walk_is_the_row_sum_bound_and_at_least_the_norm(H) -> None:
    alpha = encode(as_operator(H, CPU), CPU, "walk").alpha
    bound = np.abs(array(H)).sum(axis=1).max()
    assert alpha == pytest.approx(bound if bound else 1.0, rel=1e-15)
    assert alpha >= np.linalg.norm(array(H), 2) * (1 - 1e-14)


@given(H=symmetric_matrices())
def test_alpha_of_dilation_is_the_norm(H) -> None:
    norm = np.linalg.norm(array(H), 2)
    assert encode(as_operator(H, CPU), CPU, "dilation").alpha == pytest.approx(norm if norm else 1.0, rel=1e-12)


@st.composite
def gram_operators(draw):
    m, n = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    G = random.standard_normal((m, n)) * 10.0 ** draw(st.integers(-3, 3))
    G[random.random(m) < draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0.0  # rows of zeros are any unit vector
    G = sp.csr_array(G) if draw(st.booleans()) else G
    return GramOperator(G, 10.0 ** draw(st.integers(-6, 2)))


@given(H=gram_operators())
def test_gram_is_two_isometries_whose_product_is_the_damped_factor(H: GramOperator) -> None:
    encoding = encode(H, CPU)
    G = array(H.factor.matrix)
    m, n = G.shape
    damped = np.vstack([G, np.sqrt(H.damping) * np.eye(n)])
    N, M = encoding.lift(np.eye(n), "right"), encoding.lift(np.eye(m + n), "left")
    assert N.shape == (encoding.register_size, n) and M.shape == (encoding.register_size, m + n)
    assert np.allclose(N.T @ N, np.eye(n), rtol=0, atol=1e-13)
    assert np.allclose(M.T @ M, np.eye(m + n), rtol=0, atol=1e-13)
    assert np.allclose(M.T @ encoding.reflect(N), damped / encoding.alpha, rtol=0, atol=1e-13)
    everything = np.eye(encoding.register_size)
    assert np.allclose(encoding.lower(everything, "right"), N.T, rtol=0, atol=1e-14)
    assert np.allclose(encoding.lower(everything, "left"), M.T, rtol=0, atol=1e-14)
    assert np.allclose(encoding.matvec(np.eye(n)), damped / encoding.alpha, rtol=0, atol=1e-14)
    assert np.allclose(encoding.rmatvec(np.eye(m + n)), damped.T / encoding.alpha, rtol=0, atol=1e-14)
    assert encoding.alpha == pytest.approx(np.sqrt((G**2).sum() + H.damping), rel=1e-14)
    assert np.linalg.svd(damped / encoding.alpha)[1].min() >= 1 / encoding.kappa - 1e-14
    check_contract(encoding, damped)


@given(H=symmetric_matrices())
def test_the_walk_register_of_a_dense_matrix_is_that_of_the_same_sparse_one(H) -> None:
    one, two = (encode(as_operator(A, CPU), CPU, "walk").register for A in (array(H), sp.csr_array(array(H))))
    for part in ("starts", "gather", "amplitude", "slack"):
        a, b = getattr(one, part), getattr(two, part)
        assert a.dtype == b.dtype and a.shape == b.shape and np.allclose(a, b, rtol=1e-14, atol=1e-15)
