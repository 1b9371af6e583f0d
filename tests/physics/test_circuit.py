"""The circuit: the same whole register in every mode, norm one, and the polynomial that its phases stand for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.gram import ReducedGram
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import run_sequence

CPU = select_backend("cpu")
RANDOM = np.random.default_rng(7)


def _symmetric(n: int) -> np.ndarray:
    H = RANDOM.standard_normal((n, n))
    return H + H.T


def _sparse(n: int) -> sp.csr_array:
    H = sp.random_array((n, n), density=3 / n, rng=RANDOM, data_sampler=RANDOM.standard_normal)
    return sp.csr_array(H + H.T)


MATRICES = {
    "sparse": _sparse(60),
    "dense": _symmetric(24),
    "diagonal": np.diag(RANDOM.standard_normal(17)),
    "1x1": np.array([[-0.3]]),
    "disconnected": sp.csr_array(sp.block_diag([_symmetric(5), sp.csr_array((3, 3)), _sparse(12)])),
    "zero": np.zeros((4, 4)),
}


def _unit_columns(n: int, k: int) -> np.ndarray:
    start = RANDOM.standard_normal((n, k))
    return start / np.linalg.norm(start, axis=0)


def _same(one, other) -> None:
    assert np.allclose(one.register(), other.register(), rtol=0, atol=1e-10)
    for field in ("amplitudes", "success_probability", "register_norm"):
        assert np.allclose(getattr(one, field), getattr(other, field), rtol=0, atol=1e-10), field
    assert one.queries == other.queries
    assert np.allclose(np.linalg.norm(one.register(), axis=0), one.register_norm, rtol=0, atol=1e-12)


@pytest.mark.parametrize("queries", [0, 1, 2, 301, 1000])
@pytest.mark.parametrize("encoding_name", ["walk", "dilation", "matching"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_modes_agree_on_the_whole_register_whose_norm_stays_one(matrix: str, encoding_name: str, queries: int) -> None:
    encoding = encode(as_operator(MATRICES[matrix], CPU), CPU, encoding_name)
    start = _unit_columns(MATRICES[matrix].shape[0], 2)
    phases = np.random.default_rng(queries).uniform(-np.pi, np.pi, queries + 1)
    subspace, fused = (run_sequence(encoding, phases, start, CPU, mode=mode) for mode in ("subspace", "fused"))
    _same(subspace, fused)
    assert np.allclose(fused.register_norm, 1, rtol=0, atol=1e-10)
    assert np.allclose(subspace.register_norm, 1, rtol=0, atol=1e-10)


@pytest.mark.parametrize("queries", [0, 1, 2, 3, 200, 1001])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["dense", "sparse", "zero rows", "one row", "1x1"])
def test_gram_register_is_that_of_subspace_and_of_the_reduced_loop(kind: str, side: str, queries: int) -> None:
    m, n = {"one row": (1, 6), "1x1": (1, 1)}.get(kind, (9, 6))
    random = np.random.default_rng(3)
    G = random.standard_normal((m, n))
    if kind == "zero rows":
        G[::2] = 0
    operator = GramOperator(sp.csr_array(G) if kind == "sparse" else G, 0.1)
    encoding = encode(operator, CPU)
    phases = random.uniform(-np.pi, np.pi, queries + 1)
    start = _unit_columns(n if side == "right" else m + n, 2)
    fused = run_sequence(encoding, phases, start, CPU, side=side, mode="fused")
    full = run_sequence(encoding, phases, start, CPU, side=side, mode="subspace")
    _same(full, fused)
    assert np.allclose(fused.register_norm, 1, rtol=0, atol=1e-10)

    if side == "right":
        reduced = ReducedGram(encoding, np.zeros((n, 2)), 0.0)
        outcome = run_sequence(reduced, phases, start, CPU, side=side, mode="subspace")
    else:  # the left start r is known through G~^t r and ||r|| alone
        damped = np.vstack([G, np.sqrt(operator.damping) * np.eye(n)])
        reduced = ReducedGram(encoding, damped.T @ start, np.ones(2))
        outcome = run_sequence(
            reduced, phases, np.vstack([np.ones((1, 2)), np.zeros((n, 2))]), CPU, side=side, mode="subspace"
        )
    assert np.allclose(outcome.register_norm, fused.register_norm, rtol=0, atol=1e-10)
    assert np.allclose(outcome.success_probability, fused.success_probability, rtol=0, atol=1e-10)
    ends_right = (side == "right") == (queries % 2 == 0)
    if ends_right:
        assert np.allclose(outcome.amplitudes, fused.amplitudes, rtol=0, atol=1e-10)
    else:
        c, z = outcome.amplitudes[:1], outcome.amplitudes[1:]
        source = start if side == "left" else np.zeros((m + n, 2))
        assert np.allclose(c * source + encoding.matvec(z), fused.amplitudes, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", ["subspace", "fused"])
@pytest.mark.parametrize("parity", ["odd", "even"])
@pytest.mark.parametrize("encoding_name", ["walk", "dilation", "matching"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_circuit_applies_its_polynomial(matrix: str, encoding_name: str, parity: str, mode: str) -> None:
    operator = as_operator(MATRICES[matrix], CPU)
    encoding = encode(operator, CPU, encoding_name)
    start = _unit_columns(operator.shape[0], 2)
    polynomial = inverse_polynomial(20.0, 1e-3, parity)
    phases = phase_factors(polynomial)
    outcome = run_sequence(encoding, phases.reflection, start, CPU, mode=mode)
    values, vectors = np.linalg.eigh(operator.dense() / encoding.alpha)
    target = phases.scale / polynomial.sup_norm * polynomial(np.clip(values, -1, 1))
    expected = vectors @ (target[:, None] * (vectors.T @ start))
    assert np.allclose(outcome.amplitudes, expected, rtol=0, atol=1e-11)
    assert np.allclose(outcome.success_probability, (expected**2).sum(axis=0), rtol=0, atol=1e-11)
    assert outcome.queries == polynomial.degree


@pytest.mark.parametrize("parity", ["odd", "even"])
@pytest.mark.parametrize("mode", ["subspace", "fused"])
def test_the_gram_circuit_applies_its_polynomial_to_singular_values(parity: str, mode: str) -> None:
    G = RANDOM.standard_normal((8, 5))
    operator = GramOperator(G, 0.3)
    encoding = encode(operator, CPU)
    start = _unit_columns(13, 1) if parity == "odd" else _unit_columns(5, 1)
    side = "left" if parity == "odd" else "right"
    polynomial = inverse_polynomial(encoding.kappa, 1e-3, parity)
    phases = phase_factors(polynomial)
    outcome = run_sequence(encoding, phases.reflection, start, CPU, side=side, mode=mode)
    left, values, right = np.linalg.svd(np.vstack([G, np.sqrt(0.3) * np.eye(5)]) / encoding.alpha, full_matrices=False)
    target = (phases.scale / polynomial.sup_norm * polynomial(values))[:, None]
    expected = right.T @ (target * ((left.T if parity == "odd" else right) @ start))
    assert np.allclose(outcome.amplitudes, expected, rtol=0, atol=1e-11)
