"""A Kronecker product known by its factors: products without forming it, and an inverse factor by factor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.kronecker import KroneckerEncoding
from qnewton_gpu.errors import CombinationError, DataTypeError, NotSymmetricError, ParameterError
from qnewton_gpu.operators import GramOperator, KroneckerOperator, Operator, as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import run_sequence

CPU = select_backend("cpu")


def positive(n: int, seed: int) -> np.ndarray:
    A = np.random.default_rng(seed).standard_normal((n, n))
    return A @ A.T / n + 0.5 * np.eye(n)


@pytest.mark.parametrize("sizes", [(3,), (2, 3), (3, 1, 4)])
def test_products_are_those_of_the_formed_matrix(sizes: tuple[int, ...]) -> None:
    factors = [positive(n, n) for n in sizes]
    formed = factors[0]
    for factor in factors[1:]:
        formed = np.kron(formed, factor)
    H = KroneckerOperator([sp.csr_array(factors[0]), *factors[1:]], "cpu")
    assert isinstance(H, Operator) and H.symmetric and H.shape == formed.shape
    assert np.allclose(H.dense(), formed, rtol=0, atol=1e-13)
    v = np.random.default_rng(0).standard_normal((len(formed), 3))
    for vectors in (v, v + 1j * v[::-1]):
        assert np.allclose(H.matvec(vectors), formed @ vectors, rtol=0, atol=1e-12)
        assert np.allclose(H.rmatvec(vectors), formed.T @ vectors, rtol=0, atol=1e-12)
    assert H.nonzeros == formed.size
    assert H.largest_row_sum() == pytest.approx(np.abs(formed).sum(axis=1).max(), rel=1e-13)
    parts = [part.dense() for part in H.parts]
    for part, dense in zip(H.parts, parts, strict=True):
        assert part.nonzeros == np.count_nonzero(dense) and isinstance(part, Operator)
    assert np.allclose(np.linalg.multi_dot([np.eye(len(formed)), *parts]), formed, rtol=0, atol=1e-12)


def test_a_product_costs_its_factors_and_not_their_product() -> None:
    H = KroneckerOperator([np.eye(30), np.eye(40)], "cpu")
    assert H.product_flops == 2 * 1200 * (30 + 40)
    assert H.product_bytes == 8 * (900 + 1600) + 2 * 16 * 1200
    assert H.assembly_flops == 1200**2


def test_what_is_no_factor_is_refused() -> None:
    with pytest.raises(ParameterError, match="factors: are none"):
        KroneckerOperator([], "cpu")
    with pytest.raises(NotSymmetricError):
        KroneckerOperator([np.eye(2), np.array([[1.0, 2.0], [0.0, 1.0]])], "cpu")
    with pytest.raises(DataTypeError, match="no explicit matrix"):
        KroneckerOperator([np.eye(2), GramOperator(np.eye(2), 1.0, "cpu")], "cpu")


def test_factors_are_encoded_as_they_would_be_alone() -> None:
    H = KroneckerOperator([np.diag([1.0, -2.0]), sp.csr_array(positive(4, 0))], "cpu")
    encoding: Any = encode(H, CPU)
    assert [part.name for part in encoding.parts] == ["dilation", "walk"]
    assert encoding.alpha == pytest.approx(2 * np.abs(positive(4, 0)).sum(axis=1).max(), rel=1e-14)
    assert encoding.system_qubits == 1 + 2 and encoding.ancilla_qubits == 1 + 3
    assert encoding.register_size == 4 * (16 + 8)
    walks = KroneckerEncoding(H, CPU, "walk")
    assert walks.alpha == pytest.approx(H.largest_row_sum(), rel=1e-14)


def test_one_circuit_for_each_factor_adds_degrees_where_the_product_multiplies_condition_numbers() -> None:
    H = KroneckerOperator([positive(5, 1), positive(6, 2)], "cpu")
    encoding: Any = encode(H, CPU)
    b = np.random.default_rng(3).standard_normal((30, 2))
    x, degrees = b, []
    for place, factor in enumerate(H.factors):
        one = encoding.factor(place)
        polynomial = inverse_polynomial(one.alpha / np.linalg.eigvalsh(factor.dense())[0], 1e-8)
        phases, norms = phase_factors(polynomial), np.linalg.norm(x, axis=0)
        outcome = run_sequence(one, phases.reflection, x / norms, CPU, mode="fused")
        x = norms * polynomial.sup_norm / (phases.scale * one.alpha) * outcome.amplitudes
        degrees.append(polynomial.degree)
    assert np.linalg.norm(H.matvec(x) - b) <= 1e-6 * np.linalg.norm(b)
    values = np.linalg.eigvalsh(H.dense())
    assert sum(degrees) < inverse_polynomial(encoding.alpha / values[0], 1e-8).degree


@pytest.mark.parametrize("sizes", [(3, 4), (2, 2, 2)])
def test_gate_programs_of_the_product_and_of_a_factor_run(sizes: tuple[int, ...]) -> None:
    encoding: Any = encode(KroneckerOperator([positive(n, n) for n in sizes], "cpu"), CPU)
    start = np.random.default_rng(0).standard_normal((math.prod(sizes), 1))
    start /= np.linalg.norm(start)
    phases = np.random.default_rng(1).uniform(-3, 3, 4)
    for one in (encoding, encoding.factor(0), encoding.factor(len(sizes) - 1)):
        gates, vectors = (run_sequence(one, phases, start, CPU, mode=mode) for mode in ("circuit", "subspace"))
        assert np.allclose(gates.amplitudes, vectors.amplitudes, rtol=0, atol=1e-12)


def test_gate_programs_that_do_not_exist_are_refused() -> None:
    holes: Any = encode(KroneckerOperator([np.eye(2), np.eye(3)], "cpu"), CPU)
    with pytest.raises(CombinationError, match="powers of two"):
        holes.circuit()
    walk: Any = encode(KroneckerOperator([np.eye(2), sp.eye_array(4, format="csr")], "cpu"), CPU)
    with pytest.raises(CombinationError, match="walk encoding of factor 1 has no gate program"):
        walk.circuit()
    assert walk.factor(0).circuit().num_qubits == 1 + 2 + 1


def test_a_kronecker_operator_goes_through_the_door() -> None:
    H = KroneckerOperator([np.eye(2), np.eye(3)], "cpu")
    assert as_operator(H, CPU) is H
