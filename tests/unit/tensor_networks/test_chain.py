"""Matrix-product states and operators against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.errors import NonFiniteError, NotEnoughMemoryError, ParameterError, ShapeError
from qnewton_gpu.tensor_networks import MatrixProductOperator, MatrixProductState

seeds = st.integers(0, 2**32 - 1)
site_dims = st.lists(st.integers(1, 4), min_size=1, max_size=5)
fast = settings(max_examples=25, deadline=None)


def numbers(rng: np.random.Generator, shape: tuple[int, ...], real: bool = False) -> np.ndarray:
    return rng.normal(size=shape) if real else rng.normal(size=shape) + 1j * rng.normal(size=shape)


def random_bonds(rng: np.random.Generator, sites: int, most: int) -> list[int]:
    return [1, *rng.integers(1, most + 1, size=sites - 1), 1]


def random_state(rng, dims, most=4, real=False) -> MatrixProductState:
    b = random_bonds(rng, len(dims), most)
    return MatrixProductState([numbers(rng, (b[k], d, b[k + 1]), real) for k, d in enumerate(dims)])


def random_operator(rng, dims, most=3, real=False) -> MatrixProductOperator:
    b = random_bonds(rng, len(dims), most)
    return MatrixProductOperator([numbers(rng, (b[k], d, d, b[k + 1]), real) for k, d in enumerate(dims)])


def close(found, wanted, digits=1e-12):
    assert np.abs(found - wanted).max(initial=0) <= digits * max(1.0, float(np.linalg.norm(wanted)))


@fast
@given(site_dims, seeds, st.booleans())
def test_a_vector_comes_back_from_its_chain(dims, seed, real):
    vector = numbers(np.random.default_rng(seed), (int(np.prod(dims)),), real)
    state = MatrixProductState.from_vector(vector, dims)
    assert state.dims == tuple(dims) and state.dtype == vector.dtype
    close(state.vector(), vector)
    assert state.norm() == pytest.approx(np.linalg.norm(vector), rel=1e-12)
    for k, tensor in enumerate(state.tensors[:-1]):
        q = tensor.reshape(-1, tensor.shape[2])
        close(q.conj().T @ q, np.eye(q.shape[1])), f"site {k}"


@fast
@given(site_dims, seeds)
def test_entries_overlaps_sums_and_parts(dims, seed):
    rng = np.random.default_rng(seed)
    one, two = random_state(rng, dims), random_state(rng, dims)
    v, w = one.vector(), two.vector()
    index = rng.integers(0, v.size, size=(2, 3))
    close(one.entries(index), v[index])
    assert one.entry(int(index[0, 0])) == pytest.approx(v[index[0, 0]])
    close(one.overlap(two), np.vdot(v, w))
    assert one.norm() == pytest.approx(np.linalg.norm(v), rel=1e-6)
    close((one + two).vector(), v + w)
    close((one - 2j * two).vector(), v - 2j * w)
    close((-one * 0.5).vector(), -0.5 * v)
    close(one.conj().vector(), v.conj())
    close(one.real.vector(), v.real)
    close(one.imag.vector(), v.imag)
    assert one.real.dtype == np.float64
    if v.size <= 64:
        close(one.kron(two).vector(), np.kron(w, v))


@fast
@given(st.lists(st.integers(2, 3), min_size=1, max_size=6), seeds, st.integers(1, 6), st.sampled_from([0, 1e-8, 0.1]))
def test_the_truncation_error_is_the_distance_exactly(dims, seed, bond, cutoff):
    rng = np.random.default_rng(seed)
    state = random_state(rng, dims, most=8, real=bool(seed % 2))
    short, error = state.compressed(bond, cutoff)
    wanted = state.vector()
    norm = np.linalg.norm(wanted)
    assert short.bond_dimension <= bond
    assert np.linalg.norm(short.vector() - wanted) == pytest.approx(error, rel=1e-9, abs=1e-13 * norm)
    assert short.norm() ** 2 + error**2 == pytest.approx(norm**2, rel=1e-12)
    for tensor in short.tensors[1:]:
        rows = tensor.reshape(tensor.shape[0], -1)
        close(rows @ rows.conj().T, np.eye(len(rows)))
    whole, error = state.compressed(None, cutoff)
    assert error <= np.sqrt(len(dims)) * cutoff * norm * (1 + 1e-12)
    close(whole.moved(int(rng.integers(len(dims)))).vector(), whole.vector())


def test_a_bond_drops_exactly_what_the_cutoff_allows():
    singular = np.array([1.0, 1e-3, 1e-5, 1e-5])
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    state = MatrixProductState.from_vector((q * singular @ q.T).reshape(-1), (4, 4))
    assert state.compressed(cutoff=1.5e-5)[0].bonds == (2,)  # sqrt(2) 1e-5 may go together
    assert state.compressed(cutoff=1.2e-5)[0].bonds == (3,)
    assert state.compressed(cutoff=0.9)[0].bonds == (1,)
    assert state.compressed(bond_dimension=3, cutoff=0)[1] == pytest.approx(1e-5)


@fast
@given(st.lists(st.integers(2, 3), min_size=1, max_size=4), seeds, st.sampled_from([None, 1, 3]), st.booleans())
def test_operators_agree_with_their_matrices(dims, seed, bond, real):
    rng = np.random.default_rng(seed)
    one, two = random_operator(rng, dims, real=real), random_operator(rng, dims, real=real)
    state = random_state(rng, dims, real=real)
    m, n, v = one.matrix(), two.matrix(), state.vector()
    scale = 1e-12
    close((one @ state).vector(), m @ v, scale)
    close((one @ two).matrix(), m @ n, scale)
    close((one - 2 * two).matrix(), m - 2 * n, scale)
    close(one.adjoint().matrix(), m.conj().T, scale)
    if v.size <= 9:
        close(one.kron(two).matrix(), np.kron(n, m), scale)
    close(MatrixProductOperator.from_matrix(m, dims).matrix(), m, scale)
    close(state.expectation(one), np.vdot(v, m @ v), scale)
    product, error = one.apply(state, bond)
    distance = np.linalg.norm(product.vector() - m @ v)
    assert distance == pytest.approx(error, rel=1e-8, abs=1e-12 * np.linalg.norm(m @ v))
    assert product.dtype == (np.float64 if real else np.complex128)
    close(one.compressed()[0].matrix(), m, scale)


@fast
@given(seeds, st.integers(2, 6), st.data())
def test_an_operator_on_some_sites_leaves_the_others(seed, sites, data):
    rng = np.random.default_rng(seed)
    first = data.draw(st.integers(0, sites - 1))
    length = data.draw(st.integers(1, sites - first))
    state = random_state(rng, [2] * sites).moved(data.draw(st.integers(0, sites - 1)))
    operator = random_operator(rng, [2] * length)
    dense = np.kron(np.eye(2 ** (sites - first - length)), np.kron(operator.matrix(), np.eye(2**first)))
    wanted = dense @ state.vector()
    found, error = operator.apply(state, data.draw(st.sampled_from([None, 2])), first=first)
    assert np.linalg.norm(found.vector() - wanted) == pytest.approx(error, rel=1e-8, abs=1e-12 * np.linalg.norm(wanted))
    assert found.norm() ** 2 + error**2 == pytest.approx(np.linalg.norm(wanted) ** 2, rel=1e-10)


@fast
@given(st.integers(1, 6), st.integers(-80, 80), st.booleans())
def test_shifts(n, amount, cyclic):
    size = 1 << n
    wanted = np.zeros((size, size))
    for j in range(size):
        if cyclic or 0 <= j + amount < size:
            wanted[(j + amount) % size, j] = 1
    operator = MatrixProductOperator.shift(n, amount, cyclic)
    assert operator.bond_dimension <= 2
    assert np.array_equal(operator.matrix(), wanted)


def test_identities_and_products():
    assert np.array_equal(MatrixProductOperator.identity((2, 3)).matrix(), np.eye(6))
    vectors = [np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])]
    assert np.array_equal(MatrixProductState.product(vectors).vector(), np.kron(vectors[1], vectors[0]))


@fast
@given(st.lists(st.integers(2, 3), min_size=1, max_size=5), seeds, st.data())
def test_marginals(dims, seed, data):
    state = random_state(np.random.default_rng(seed), dims)
    sites = data.draw(st.permutations(range(len(dims))))[: data.draw(st.integers(1, len(dims)))]
    probability = np.abs(state.vector().reshape(dims[::-1]).transpose()) ** 2  # axis k is site k
    others = tuple(k for k in range(len(dims)) if k not in sites)
    kept = sorted(sites)
    wanted = probability.sum(axis=others).transpose([kept.index(k) for k in reversed(sites)]).reshape(-1)
    close(state.marginal(sites), wanted)


def test_samples_follow_the_probabilities():
    state = random_state(np.random.default_rng(3), (2, 3, 2))
    probability = np.abs(state.vector()) ** 2
    probability /= probability.sum()
    shots = 20000
    found = np.bincount(state.sample(shots, seed=1), minlength=12) / shots
    assert np.abs(found - probability).max() < 5 * np.sqrt(0.25 / shots)
    assert np.array_equal(state.sample(50, seed=1), state.sample(50, seed=1))


def test_forty_sites_without_a_vector():
    n = 40
    halves = MatrixProductState.product([np.array([0.6, 0.8])] * n)
    shifted, error = MatrixProductOperator.shift(n, 12345).apply(halves, cutoff=1e-13)
    assert error <= 1e-12 and shifted.norm() == pytest.approx(1, abs=1e-12)
    index = np.array([0, 17, 2**40 - 1, 12345 + 2**39])
    close(shifted.entries(index), halves.entries((index - 12345) % 2**n), 1e-13)
    with pytest.raises(NotEnoughMemoryError):
        shifted.vector()
    assert len(shifted.sample(3, seed=0)) == 3


def test_misuse_is_refused():
    state = MatrixProductState.product([np.ones(2)] * 3)
    with pytest.raises(ShapeError, match="no chain"):
        MatrixProductState([np.ones((1, 2, 3)), np.ones((2, 2, 1))])
    with pytest.raises(ShapeError, match="same sites"):
        state + MatrixProductState.product([np.ones(3)])
    with pytest.raises(ShapeError, match="sites of the state"):
        MatrixProductOperator.identity([3]).apply(state)
    with pytest.raises(ParameterError, match="indices"):
        state.entries([8])
    with pytest.raises(ParameterError, match="bond_dimension"):
        state.compressed(0)
    with pytest.raises(ParameterError, match="cutoff"):
        state.compressed(cutoff=-1.0)
    with pytest.raises(NonFiniteError):
        (state * float("nan")).compressed()
    with pytest.raises(NonFiniteError):
        MatrixProductState.from_vector(np.array([1.0, np.nan]))
    with pytest.raises(ParameterError, match="zero"):
        (state * 0.0).sample(2, seed=0)
    with pytest.raises(ShapeError, match="prod"):
        MatrixProductState.from_vector(np.ones(5), (2, 2))


def test_a_failed_singular_value_decomposition_is_made_by_the_other_algorithm(monkeypatch):
    state = random_state(np.random.default_rng(0), (2, 2, 2))

    def fail(*_, **__):
        raise np.linalg.LinAlgError("SVD did not converge")

    wanted = state.vector()
    monkeypatch.setattr(np.linalg, "svd", fail)
    close(state.compressed()[0].vector(), wanted)


def test_a_product_state_may_be_given_by_lists() -> None:
    assert MatrixProductState.product([[1.0, 2.0], [3.0, 4.0]]).vector().tolist() == [3.0, 6.0, 4.0, 8.0]
