"""Phase factors: checked by their own reconstruction, by products of 2 x 2 matrices, and against two other packages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnewton_gpu.errors import ParameterError
from qnewton_gpu.polynomials import InversePolynomial, inverse_polynomial, phase_factors
from qnewton_gpu.polynomials.phases import inverse_nonlinear_fft, reconstruct, reconstruction_error, weiss_completion

POINTS = np.cos(np.pi * (np.arange(200) + 0.5) / 200)
PUBLISHED = [(10, 1e-2, 53), (100, 1e-4, 991), (1000, 1e-4, 9903)]


def wx_product(phases: np.ndarray, x: np.ndarray) -> np.ndarray:
    """<0| e^{i phi_0 Z} prod_k W(x) e^{i phi_k Z} |0> with W = [[x, i s], [i s, x]], one matrix after the other."""
    s = np.sqrt(1 - x * x)
    first, second = np.exp(1j * phases[0]) * np.ones_like(x, dtype=complex), np.zeros_like(x, dtype=complex)
    for phase in phases[1:]:
        rotated = first * x + second * 1j * s, first * 1j * s + second * x
        first, second = rotated[0] * np.exp(1j * phase), rotated[1] * np.exp(-1j * phase)
    return first


def reflection_product(phases: np.ndarray, x: np.ndarray) -> np.ndarray:
    """T^t psi of the circuit that alternates S = [[x, s], [s, -x]] with exp(i phi (2 Pi - 1)), Pi = T T^t, T = e_0."""
    s = np.sqrt(1 - x * x)
    psi = np.array([np.exp(1j * phases[0]) * np.ones_like(x), np.zeros_like(x)])
    for phase in phases[1:]:
        psi = np.array([x * psi[0] + s * psi[1], s * psi[0] - x * psi[1]])
        psi = psi * np.exp(1j * phase * np.array([[1], [-1]]))
    return psi[0]


def target(polynomial: InversePolynomial, scale: float) -> np.ndarray:
    return polynomial(POINTS) * scale / polynomial.sup_norm


@pytest.mark.parametrize("parity", ["odd", "even"])
@pytest.mark.parametrize(("kappa", "epsilon", "degree"), PUBLISHED)
def test_phases_reconstruct_their_polynomial_to_1e_12(kappa, epsilon, degree, parity) -> None:
    polynomial = inverse_polynomial(kappa, epsilon, parity)
    phases = phase_factors(polynomial)
    assert phases.degree == polynomial.degree == degree - (parity == "even")
    assert phases.error <= 1e-12
    direct = wx_product(phases.wx, POINTS).real
    assert np.max(np.abs(direct - target(polynomial, phases.scale))) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("parity", ["odd", "even"])
def test_phases_of_degree_1e5_reconstruct_their_polynomial_to_1e_12(parity) -> None:
    polynomial = inverse_polynomial(1e4, 1e-4, parity)
    phases = phase_factors(polynomial)
    assert phases.degree == 99035 - (parity == "even")
    assert phases.error <= 1e-12
    direct = wx_product(phases.wx, POINTS[:20]).real
    # the product itself rounds 1e5 times
    assert np.max(np.abs(direct - target(polynomial, phases.scale)[:20])) <= 1e-11


@pytest.mark.parametrize("length", [1, 2, 3, 96, 97, 98, 300])
def test_gammas_are_those_of_stripping_one_layer_after_the_other(length) -> None:
    rng = np.random.default_rng(length)
    b = rng.normal(size=length)
    b *= 0.9 / np.max(np.abs(np.fft.fft(b, 64 * length)))
    a = weiss_completion(b, 256 * length)
    gammas, left, right = [], a.copy(), b.copy()
    for _ in range(length):
        gammas.append(right[0] / left[0])
        c = math.hypot(1, gammas[-1])
        left, right = ((left + gammas[-1] * right) / c)[:-1], ((right - gammas[-1] * left) / c)[1:]
    np.testing.assert_allclose(inverse_nonlinear_fft(a, b), gammas, rtol=0, atol=1e-13)


def test_oracle_phases_are_met_to_1e_9(oracles) -> None:
    cases = [case for case in oracles["polynomials"] if "phases_wx" in case]
    assert {case["parity"] for case in cases} == {"odd", "even"}
    for case in cases:
        polynomial = inverse_polynomial(case["kappa"], case["epsilon"], case["parity"])
        phases = phase_factors(polynomial, scale=oracles["scale"])
        np.testing.assert_allclose(phases.wx, case["phases_wx"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("kappa", "epsilon", "degree"), PUBLISHED[:2])
def test_qsppack_phases_make_the_same_polynomial(kappa, epsilon, degree) -> None:
    qsppack = pytest.importorskip("qsppack")
    polynomial = inverse_polynomial(kappa, epsilon)
    ours = phase_factors(polynomial)
    options = {"method": "NLFT", "N": 1 << (64 * degree).bit_length()}
    theirs, _ = qsppack.solve(polynomial.chebyshev * ours.scale / ours.sup_norm, 1, options)
    assert np.max(np.abs(wx_product(theirs, POINTS).real - wx_product(ours.wx, POINTS).real)) <= 1e-10


@pytest.mark.parametrize(("kappa", "epsilon", "degree"), PUBLISHED[:2])
def test_nlft_qsp_phases_make_the_same_polynomial(kappa, epsilon, degree) -> None:
    nlft_qsp = pytest.importorskip("nlft_qsp")
    polynomial = inverse_polynomial(kappa, epsilon)
    ours = phase_factors(polynomial)
    coefficients = np.zeros(degree + 1)
    coefficients[1::2] = polynomial.chebyshev * ours.scale / ours.sup_norm
    theirs = np.array(nlft_qsp.chebqsp_solve(nlft_qsp.ChebyshevTExpansion(coefficients)).phi, dtype=float)
    assert np.max(np.abs(wx_product(theirs, POINTS).real - wx_product(ours.wx, POINTS).real)) <= 1e-10


@pytest.mark.parametrize("scale", [0.05, 0.5, 0.9, 0.98, 0.99, 0.999])
@pytest.mark.parametrize("parity", ["odd", "even"])
def test_every_scale_is_met(parity, scale) -> None:
    polynomial = inverse_polynomial(20, 1e-3, parity)
    phases = phase_factors(polynomial, scale=scale)
    assert np.max(np.abs(wx_product(phases.wx, POINTS).real - target(polynomial, scale))) <= 1e-12


@given(st.floats(1, 60), st.floats(-6, -0.05), st.sampled_from(["odd", "even"]))
def test_reflection_circuit_applies_the_polynomial(kappa, exponent, parity) -> None:
    polynomial = inverse_polynomial(kappa, 10**exponent, parity)
    phases = phase_factors(polynomial)
    amplitude = reflection_product(phases.reflection, POINTS)
    assert np.max(np.abs(amplitude.real - target(polynomial, phases.scale))) <= 1e-11
    assert np.max(np.abs(amplitude - wx_product(phases.wx, POINTS))) <= 1e-11


@pytest.mark.parametrize(("kappa", "parity"), [(10, "odd"), (10, "even")])
def test_reflection_phases_are_shifted_as_published(kappa, parity) -> None:
    phases = phase_factors(inverse_polynomial(kappa, 1e-2, parity))
    shift = (phases.reflection - phases.wx) / (math.pi / 4)
    expected = [2 * phases.degree - 1, *[-2] * (phases.degree - 1), -1]
    np.testing.assert_allclose(shift, expected, atol=1e-12)


def test_degree_zero_is_one_phase_in_both_conventions() -> None:
    polynomial = inverse_polynomial(1, 0.9, "even")
    phases = phase_factors(polynomial, scale=0.5)
    assert polynomial.degree == 0
    assert phases.reflection == phases.wx == pytest.approx([math.acos(0.5)])


@given(st.lists(st.floats(-math.pi, math.pi), min_size=1, max_size=120))
def test_reconstruction_of_symmetric_phases_is_the_product_of_matrices(half) -> None:
    phases = np.array(half + half[::-1])
    coefficients = np.zeros(len(phases))
    coefficients[1::2] = reconstruct(phases)
    values = np.polynomial.chebyshev.chebval(POINTS, coefficients)
    assert np.max(np.abs(values - wx_product(phases, POINTS).real)) <= 1e-11


def test_measured_error_sees_a_wrong_phase() -> None:
    polynomial = inverse_polynomial(10, 1e-2)
    phases = phase_factors(polynomial)
    wrong = phases.wx.copy()
    wrong[20] += 1e-6
    seen = reconstruction_error(wrong, polynomial.chebyshev * phases.scale / phases.sup_norm)
    direct = np.max(np.abs(wx_product(wrong, POINTS).real - target(polynomial, phases.scale)))
    assert 0.5 * direct <= seen <= 2e-6


@pytest.mark.parametrize("scale", [0, 1, 0.9995, -0.5, 1.5, math.nan, math.inf, "0.9", None])
def test_a_scale_that_leaves_no_room_below_one_is_a_typed_error(scale) -> None:
    with pytest.raises(ParameterError) as caught:
        phase_factors(inverse_polynomial(10, 1e-2), scale=scale)
    assert caught.value.argument == "scale"
