"""The residual-minimax inverses: degrees, largest values, and what they promise on [1/kappa, 1] and inside the gap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.chebyshev import chebval

from qnewton_gpu.errors import ParameterError, UnknownNameError
from qnewton_gpu.polynomials import inverse_degree, inverse_polynomial, round_down_to_grid, round_up_to_grid

kappas = st.floats(1.01, 300)
epsilons = st.floats(-10, -0.05).map(lambda exponent: 10.0**exponent)
parities = st.sampled_from(["odd", "even"])
POWER = {"odd": 1, "even": 2}


def chebyshev_points(count: int) -> np.ndarray:
    return np.cos(np.pi * np.arange(count + 1) / count)


def full_coefficients(polynomial) -> np.ndarray:
    coefficients = np.zeros(polynomial.degree + 1)
    coefficients[polynomial.degree % 2 :: 2] = polynomial.chebyshev
    return coefficients


@pytest.mark.parametrize(
    ("kappa", "epsilon", "degree", "largest"),
    [(10, 1e-2, 53, "1.12"), (100, 1e-4, 991, "1.47"), (1000, 1e-4, 9903, "1.47"), (1000, 1e-6, 14509, "1.76")],
)
def test_degree_and_sup_norm_are_those_of_the_published_table(kappa, epsilon, degree, largest) -> None:
    polynomial = inverse_polynomial(kappa, epsilon)
    assert polynomial.degree == inverse_degree(kappa, epsilon) == degree
    assert f"{polynomial.sup_norm / kappa:.2f}" == largest


@pytest.mark.parametrize(("kappa", "epsilon", "largest"), [(100, 1e-2, "2.65"), (1000, 1e-4, "4.95")])
def test_even_sup_norm_over_kappa_squared(kappa, epsilon, largest) -> None:
    assert f"{inverse_polynomial(kappa, epsilon, 'even').sup_norm / kappa**2:.2f}" == largest


def test_oracle_polynomials_are_met_to_1e_9(oracles) -> None:
    for case in oracles["polynomials"]:
        polynomial = inverse_polynomial(case["kappa"], case["epsilon"], case["parity"])
        assert polynomial.degree == case["degree"]
        assert math.isclose(polynomial.sup_norm, case["sup_norm"], rel_tol=1e-9)
        # the oracle measured this one as max |x^k P - 1|, to about 1e-13
        assert math.isclose(polynomial.relative_error, case["relative_error"], rel_tol=1e-9, abs_tol=1e-12)
        if "chebyshev" in case:
            np.testing.assert_allclose(polynomial.chebyshev, case["chebyshev"], rtol=1e-9, atol=1e-9)


@given(kappas, epsilons, parities)
def test_residual_is_at_most_epsilon_on_the_spectrum(kappa, epsilon, parity) -> None:
    polynomial = inverse_polynomial(kappa, epsilon, parity)
    x = np.concatenate([np.linspace(1 / kappa, 1, 2000), np.geomspace(1 / kappa, 1, 2000)])
    assert np.max(np.abs(x ** POWER[parity] * polynomial(x) - 1)) <= polynomial.relative_error + 1e-12
    assert polynomial.relative_error <= epsilon * (1 + 1e-12)


@given(kappas, epsilons, parities)
def test_no_smaller_degree_would_do(kappa, epsilon, parity) -> None:
    polynomial = inverse_polynomial(kappa, epsilon, parity)
    n = polynomial.half_order - 1
    assert n == 0 or 1 / math.cosh(2 * n * math.atanh(1 / polynomial.kappa)) > epsilon * (1 - 1e-9)


@given(kappas, epsilons, parities)
def test_values_have_the_parity_of_the_degree(kappa, epsilon, parity) -> None:
    polynomial = inverse_polynomial(kappa, epsilon, parity)
    x = np.linspace(0, 1, 501)
    assert polynomial.degree % 2 == POWER[parity] % 2
    assert np.array_equal(polynomial(-x), polynomial(x) * (-1) ** polynomial.degree)


@given(st.floats(1.01, 100), epsilons, parities)
def test_chebyshev_coefficients_give_the_same_values(kappa, epsilon, parity) -> None:
    polynomial = inverse_polynomial(kappa, epsilon, parity)
    x = np.concatenate([chebyshev_points(300), np.linspace(-2 / kappa, 2 / kappa, 301).clip(-1, 1)])
    assert len(polynomial.chebyshev) == polynomial.degree // 2 + 1
    difference = chebval(x, full_coefficients(polynomial)) - polynomial(x)
    assert np.max(np.abs(difference)) <= 1e-11 * polynomial.sup_norm


@given(kappas, epsilons, parities)
def test_residual_lies_between_zero_and_one_inside_the_gap(kappa, epsilon, parity) -> None:
    residual = inverse_polynomial(kappa, epsilon, parity).residual(np.linspace(-1 / kappa, 1 / kappa, 1001))
    assert residual.min() >= -1e-15 and residual.max() <= 1
    assert residual[500] == 1


@given(kappas, epsilons, parities)
def test_sup_norm_bounds_the_values_on_its_grid(kappa, epsilon, parity) -> None:
    polynomial = inverse_polynomial(kappa, epsilon, parity)
    count = 1 << (64 * (polynomial.degree + 1) - 1).bit_length()
    x = chebyshev_points(count)[: count // 2 + 1]
    assert polynomial.sup_norm == pytest.approx(np.max(np.abs(polynomial(x))), rel=1e-13)


@pytest.mark.parametrize("kappa", [1e3, 1e5])
def test_no_digits_are_lost_next_to_zero(kappa) -> None:
    odd, even = (inverse_polynomial(kappa, 1e-6, parity) for parity in ("odd", "even"))
    x = np.geomspace(1e-12, 1e-3, 40) / kappa
    np.testing.assert_allclose(odd(x) / x, even(0.0), rtol=1e-5)
    np.testing.assert_allclose(even(x), even(0.0), rtol=1e-5)
    assert odd(0.0) == 0


@pytest.mark.parametrize("parity", ["odd", "even"])
def test_kappa_below_1_01_is_raised_to_it_and_otherwise_kept(parity) -> None:
    assert inverse_polynomial(1, 1e-6, parity) == inverse_polynomial(1.01, 1e-6, parity)
    assert inverse_degree(1, 1e-6, parity) == inverse_degree(1.01, 1e-6, parity)
    assert inverse_polynomial(1.0101, 1e-6, parity).kappa == 1.0101


@pytest.mark.parametrize("function", [inverse_polynomial, inverse_degree])
@pytest.mark.parametrize(
    ("kappa", "epsilon", "parity", "error", "argument"),
    [
        *((kappa, 1e-2, "odd", ParameterError, "kappa") for kappa in (0.99, 0, -3, math.nan, math.inf, "10", None)),
        *((10, epsilon, "odd", ParameterError, "epsilon") for epsilon in (0, 1, -1e-3, 2, math.nan, math.inf, "1e-2")),
        *((10, 1e-2, parity, UnknownNameError, "parity") for parity in ("", "ODD", None, 1)),
    ],
)
def test_bad_input_is_a_typed_error_that_names_the_argument(function, kappa, epsilon, parity, error, argument) -> None:
    with pytest.raises(error) as caught:
        function(kappa, epsilon, parity)
    assert caught.value.argument == argument


@given(st.floats(1, 1e8))
def test_grid_rounding_brackets_the_value_within_one_step(value) -> None:
    up, down = round_up_to_grid(value), round_down_to_grid(value)
    assert down <= value * (1 + 1e-9) and value <= up * (1 + 1e-9)
    assert up / down <= 2 ** (1 / 8) * (1 + 1e-12)
    assert round_up_to_grid(up) == up and round_down_to_grid(down) == down
