"""Isometry, involution and block identity of every encoding, on matrices that try to break them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import GramOperator, as_operator

CPU = select_backend("cpu")


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


@pytest.mark.parametrize("name", ["walk", "dilation", "matching"])
@given(H=symmetric_matrices())
def test_lift_is_an_isometry_reflect_an_involution_and_the_block_is_the_matrix(name: str, H) -> None:
    encoding = encode(as_operator(H, CPU), CPU, name)
    identity = np.eye(H.shape[0])
    T = encoding.lift(identity, "right")
    assert T.shape == (encoding.register_size, H.shape[0])
    assert np.allclose(T.T @ T, identity, rtol=0, atol=1e-14)
    everything = np.eye(encoding.register_size)
    S = encoding.reflect(everything)
    assert np.allclose(S @ S, everything, rtol=0, atol=1e-13)
    assert np.allclose(S, S.T, rtol=0, atol=1e-13)
    # near |lambda| = alpha the complement sqrt(1 - lambda^2) has the square root of the rounding error
    assert np.allclose(T.T @ encoding.reflect(T), array(H) / encoding.alpha, rtol=0, atol=2e-14)
    assert np.allclose(encoding.lower(everything, "right"), T.T, rtol=0, atol=1e-15)
    assert np.allclose(encoding.matvec(identity), array(H) / encoding.alpha, rtol=0, atol=1e-15)


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


@given(H=symmetric_matrices())
def test_the_walk_register_of_a_dense_matrix_is_that_of_the_same_sparse_one(H) -> None:
    one, two = (encode(as_operator(A, CPU), CPU, "walk").register for A in (array(H), sp.csr_array(array(H))))
    for part in ("starts", "gather", "amplitude", "slack"):
        a, b = getattr(one, part), getattr(two, part)
        assert a.dtype == b.dtype and a.shape == b.shape and np.allclose(a, b, rtol=1e-14, atol=1e-15)
