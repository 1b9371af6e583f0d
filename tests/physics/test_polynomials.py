"""What every polynomial promises: its error, its parity, its bound, its coefficients, its phases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.chebyshev import chebval

from qnewton_gpu.errors import ParameterError
from qnewton_gpu.polynomials import (
    Polynomial,
    absolute_inverse_polynomial,
    damped_inverse_polynomial,
    eigenstate_filter_polynomial,
    inverse_polynomial,
    kernel_reflection_polynomial,
    phase_factors,
    phases_for,
    pseudo_inverse_polynomial,
    uniform_inverse_polynomial,
)

# each from (kappa, epsilon, a third number between 0 and 1 that only the pseudo-inverse needs)
BUILDERS: dict[str, Callable[[float, float, float], Any]] = {
    "residual-odd": lambda kappa, epsilon, _: inverse_polynomial(kappa, epsilon),
    "residual-even": lambda kappa, epsilon, _: inverse_polynomial(kappa, epsilon, "even"),
    "uniform": lambda kappa, epsilon, _: uniform_inverse_polynomial(kappa, epsilon),
    "absolute": lambda kappa, epsilon, _: absolute_inverse_polynomial(kappa, epsilon),
    "damped": lambda kappa, epsilon, _: damped_inverse_polynomial(1 / kappa, epsilon),
    "pseudo-inverse": pseudo_inverse_polynomial,
    "filter": lambda kappa, epsilon, _: eigenstate_filter_polynomial(kappa, epsilon),
    "reflection": lambda kappa, epsilon, _: kernel_reflection_polynomial(kappa, epsilon),
}
KAPPA_ONLY = ("residual-odd", "uniform", "absolute", "pseudo-inverse", "filter", "reflection")

kinds = st.sampled_from(sorted(BUILDERS))
kappas = st.floats(0, 2.3).map(lambda exponent: 10.0**exponent)
epsilons = st.floats(-9, -0.05).map(lambda exponent: 10.0**exponent)
cuts = st.floats(0.05, 0.8)


def spectrum(kappa: float) -> np.ndarray:
    """Both ends of [1/kappa, 1] and much between."""
    x = np.concatenate([np.linspace(1 / kappa, 1, 4000), np.geomspace(1 / kappa, 1, 4000)])
    return np.clip(x, 1 / kappa, 1)


def everywhere(polynomial: Polynomial) -> np.ndarray:
    """[0, 1], with many points where the polynomial is large."""
    near = np.linspace(0, min(1, 4 / polynomial.kappa), 3000)
    return np.concatenate([near, np.linspace(0, 1, 3000), np.geomspace(1e-9, 1, 1000)])


def full_series(polynomial: Polynomial) -> np.ndarray:
    coefficients = np.zeros(polynomial.degree + 1)
    coefficients[polynomial.degree % 2 :: 2] = polynomial.chebyshev
    return coefficients


def assert_reached(polynomial: Any, error: np.ndarray, tightness: float = 1.0) -> None:
    """The measured error is the one that is stated, up to the tightness of the bound, and that is within epsilon."""
    assert polynomial.relative_error <= polynomial.epsilon * (1 + 1e-9)
    measured = np.max(np.abs(error))
    assert measured <= polynomial.relative_error * (1 + 1e-9) + 1e-12
    assert measured >= tightness * polynomial.relative_error * (1 - 1e-4) - 1e-12


@given(kappas, epsilons)
def test_uniform_error_is_absolute(kappa, epsilon) -> None:
    polynomial = uniform_inverse_polynomial(kappa, epsilon)
    x = spectrum(polynomial.kappa)
    assert polynomial.absolute_error <= epsilon * (1 + 1e-9)
    assert np.max(np.abs(polynomial(x) - 1 / x)) == pytest.approx(polynomial.absolute_error, rel=1e-3, abs=1e-11)
    assert_reached(polynomial, x * polynomial(x) - 1)


@given(kappas, epsilons)
def test_uniform_residual_stays_between_zero_and_one_inside_the_gap(kappa, epsilon) -> None:
    polynomial = uniform_inverse_polynomial(kappa, epsilon)
    x = np.linspace(0, 1 / polynomial.kappa, 1001)
    product = x * polynomial(x)
    assert product[0] == 0 and np.all(np.diff(product) > -1e-12) and product[-1] <= 1


@pytest.mark.parametrize(
    ("kappa", "epsilon", "degree", "largest"),
    [(10, 1e-2, 69, "1.29"), (100, 1e-4, 1383, "1.75"), (1000, 1e-4, 16119, "1.88"), (1000, 1e-6, 20725, "2.11")],
)
def test_uniform_degree_and_sup_norm_are_those_of_the_published_table(kappa, epsilon, degree, largest) -> None:
    polynomial = uniform_inverse_polynomial(kappa, epsilon)
    assert polynomial.degree == degree
    assert f"{polynomial.sup_norm / kappa:.2f}" == largest


@given(st.floats(1.5, 100), epsilons)
def test_uniform_equioscillates_so_that_no_other_polynomial_of_its_degree_is_better(kappa, epsilon) -> None:
    polynomial = uniform_inverse_polynomial(kappa, epsilon)
    a, n = 1 / kappa, polynomial.order
    y = np.cos(np.linspace(0, math.pi, 60 * n + 1))
    x = np.sqrt(np.clip(((1 - a * a) * y + 1 + a * a) / 2, a * a, 1))
    error = (polynomial(x) - 1 / x) / polynomial.absolute_error
    extremes = error[np.abs(error) > 0.99]
    if polynomial.absolute_error > 1e-10 * kappa:  # below, rounding is seen instead
        assert 1 + np.count_nonzero(np.diff(np.sign(extremes))) == n + 1


@given(kappas, epsilons)
def test_absolute_inverts_the_modulus(kappa, epsilon) -> None:
    polynomial = absolute_inverse_polynomial(kappa, epsilon)
    x = spectrum(polynomial.kappa)
    assert_reached(polynomial, x * polynomial(x) - 1)
    inside = np.linspace(0, 1 / polynomial.kappa, 1001)
    values = polynomial(inside)
    # inside the gap it is bounded, falls, and amplifies nothing
    assert np.all(np.diff(values) <= 1e-12 * values[0]) and np.max(inside * values) <= 1 + polynomial.relative_error


@pytest.mark.parametrize(("kappa", "epsilon", "degree"), [(100, 1e-2, 370), (1000, 1e-4, 7934)])
def test_absolute_needs_no_more_than_the_published_degrees(kappa, epsilon, degree) -> None:
    assert absolute_inverse_polynomial(kappa, epsilon).degree <= degree


@pytest.mark.parametrize(("kappa", "epsilon"), [(10, 1e-2), (100, 1e-2), (100, 1e-6), (1000, 1e-4)])
def test_absolute_error_nearly_equioscillates(kappa, epsilon) -> None:
    """By de la Vallee Poussin the least error of this degree lies above the lowest of its degree/2 + 2 extremes."""
    polynomial = absolute_inverse_polynomial(kappa, epsilon)
    a, n = 1 / kappa, polynomial.degree // 2
    y = np.cos(np.linspace(0, math.pi, 60 * (n + 2)))
    x = np.sqrt(np.clip(((1 - a * a) * y + 1 + a * a) / 2, a * a, 1))
    error = x * polynomial(x) - 1
    runs = np.split(error, np.flatnonzero(np.diff(np.sign(error))) + 1)
    assert len(runs) == n + 2
    assert min(np.max(np.abs(run)) for run in runs) >= 0.93 * polynomial.relative_error


@given(st.floats(-3, 1).map(lambda exponent: 10.0**exponent), epsilons)
def test_damped_error_is_relative_to_its_largest_value_on_all_of_the_interval(damping, epsilon) -> None:
    polynomial = damped_inverse_polynomial(damping, epsilon)
    x = everywhere(polynomial)
    exact = x / (x * x + damping**2)
    largest = 1 / (2 * damping) if damping <= 1 else 1 / (1 + damping**2)
    assert polynomial.damping == damping
    assert_reached(polynomial, (polynomial(x) - exact) / largest, 0.99)


@given(st.floats(0.02, 3), epsilons)
def test_damped_equioscillates_so_that_no_other_polynomial_of_its_degree_is_better(damping, epsilon) -> None:
    polynomial = damped_inverse_polynomial(damping, epsilon)
    x = np.sin(np.linspace(-math.pi / 2, math.pi / 2, 400 * (polynomial.degree + 2) + 1))
    error = (polynomial(x) - x / (x * x + damping**2)) / polynomial.absolute_error
    extremes = error[np.abs(error) > 0.99]
    if polynomial.relative_error > 1e-11:
        assert 1 + np.count_nonzero(np.diff(np.sign(extremes))) >= polynomial.degree + 2


@settings(max_examples=25)
@given(kappas, epsilons, cuts)
def test_pseudo_inverse_keeps_above_drops_below_and_amplifies_nothing_between(kappa, epsilon, cut) -> None:
    polynomial = pseudo_inverse_polynomial(kappa, epsilon, cut)
    x, noise = spectrum(polynomial.kappa), np.linspace(0, cut / polynomial.kappa, 2001)
    between = np.linspace(cut, 1, 501) / polynomial.kappa
    errors = np.concatenate([x * polynomial(x) - 1, noise * polynomial(noise)])
    assert_reached(polynomial, errors, 0.98)
    reached = polynomial.relative_error + 1e-12
    assert np.all((between * polynomial(between) >= -reached) & (between * polynomial(between) <= 1 + reached))


@pytest.mark.parametrize(
    ("kappa", "epsilon", "cut", "degree"), [(10, 1e-2, 0.5, 135), (100, 1e-8, 0.5, 6549), (1000, 1e-4, 0.3, 21559)]
)
def test_pseudo_inverse_degrees_do_not_grow(kappa, epsilon, cut, degree) -> None:
    assert pseudo_inverse_polynomial(kappa, epsilon, cut).degree <= degree


@given(kappas, epsilons)
def test_filter_and_reflection_are_one_at_zero_and_small_or_minus_one_on_the_spectrum(kappa, epsilon) -> None:
    keep, turn = eigenstate_filter_polynomial(kappa, epsilon), kernel_reflection_polynomial(kappa, epsilon)
    assert keep(0.0) == turn(0.0) == 1
    x = spectrum(keep.kappa)
    assert_reached(keep, keep(x))
    assert_reached(turn, (turn(x) + 1) / 2)
    assert keep.degree == turn.degree == inverse_polynomial(kappa, epsilon).degree + 1


@settings(max_examples=100)
@given(kinds, kappas, epsilons, cuts)
def test_values_have_the_parity_and_stay_below_the_sup_norm(kind, kappa, epsilon, cut) -> None:
    polynomial = BUILDERS[kind](kappa, epsilon, cut)
    x = everywhere(polynomial)
    values = polynomial(x)
    assert polynomial.parity == ("odd" if polynomial.degree % 2 else "even")
    np.testing.assert_array_equal(polynomial(-x), -values if polynomial.parity == "odd" else values)
    assert np.max(np.abs(values)) <= polynomial.sup_norm * (1 + 3e-4)
    assert polynomial(x[1]).shape == () and polynomial(x[:6].reshape(2, 3)).shape == (2, 3)


@settings(max_examples=60)
@given(kinds, st.floats(1, 60), epsilons, cuts)
def test_chebyshev_series_is_the_polynomial_and_the_largest_value_is_reached(kind, kappa, epsilon, cut) -> None:
    polynomial = BUILDERS[kind](kappa, epsilon, cut)
    assert len(polynomial.chebyshev) == polynomial.degree // 2 + 1
    x = everywhere(polynomial)
    series = chebval(x, full_series(polynomial))
    assert np.max(np.abs(series - polynomial(x))) <= 3e-12 * polynomial.sup_norm
    assert np.max(np.abs(polynomial(x))) >= 0.98 * polynomial.sup_norm


@settings(max_examples=60)
@given(kinds, st.floats(1, 60), epsilons, cuts)
def test_phases_reconstruct_every_polynomial_to_1e_12(kind, kappa, epsilon, cut) -> None:
    polynomial = BUILDERS[kind](kappa, epsilon, cut)
    phases = phase_factors(polynomial)
    assert phases.error <= 1e-12
    assert phases.degree == polynomial.degree
    assert phases.scale * np.max(np.abs(polynomial(everywhere(polynomial)))) / phases.sup_norm < 1


@settings(max_examples=60)
@given(kinds, kappas, st.floats(1, 10), epsilons, st.floats(1e-3, 1), cuts)
def test_degree_grows_with_kappa_and_with_accuracy(kind, kappa, times, epsilon, part, cut) -> None:
    if kind == "pseudo-inverse":  # its degrees are multiples, so a small step may go down by one
        times, part = max(times, 2), min(part, 0.1)
    smaller = BUILDERS[kind](kappa, epsilon, cut)
    assert BUILDERS[kind](kappa * times, epsilon, cut).degree >= smaller.degree
    assert BUILDERS[kind](kappa, max(epsilon * part, 1e-10), cut).degree >= smaller.degree


def test_names_tell_kinds_and_parameters_apart() -> None:
    polynomials = [
        build(kappa, epsilon, cut)
        for build in BUILDERS.values()
        for kappa, epsilon, cut in ((10, 1e-2, 0.5), (11, 1e-2, 0.5), (10, 1e-3, 0.5))
    ]
    polynomials.append(pseudo_inverse_polynomial(10, 1e-2, 0.4))
    assert len({polynomial.name for polynomial in polynomials}) == len(set(polynomials)) == len(polynomials)
    assert all(set(polynomial.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-+.") for polynomial in polynomials)


@pytest.mark.parametrize("kind", BUILDERS)
def test_equal_arguments_give_the_same_object_and_phases_from_memory(kind) -> None:
    polynomial = BUILDERS[kind](9, 1e-2, 0.5)
    assert polynomial is BUILDERS[kind](9.0, np.float64(1e-2), 0.5)
    assert phases_for(polynomial) is phases_for(BUILDERS[kind](9, 1e-2, 0.5))


@pytest.mark.parametrize("kind", KAPPA_ONLY)
def test_kappa_below_1_01_is_raised_to_it(kind) -> None:
    assert BUILDERS[kind](1, 1e-2, 0.5) == BUILDERS[kind](1.01, 1e-2, 0.5)


BAD_EPSILONS = (0, 1, -1e-3, 2, math.nan, math.inf, "1e-2", None)


@pytest.mark.parametrize("kind", KAPPA_ONLY)
def test_bad_kappa_and_epsilon_are_typed_errors(kind) -> None:
    for kappa in (0.99, 0, -3, math.nan, math.inf, "10", None):
        with pytest.raises(ParameterError) as caught:
            BUILDERS[kind](kappa, 1e-2, 0.5)
        assert caught.value.argument == "kappa"
    for epsilon in BAD_EPSILONS:
        with pytest.raises(ParameterError) as caught:
            BUILDERS[kind](10, epsilon, 0.5)
        assert caught.value.argument == "epsilon"


def test_bad_damping_and_cut_are_typed_errors() -> None:
    for damping in (0, -1, math.nan, math.inf, "1", None):
        with pytest.raises(ParameterError) as caught:
            damped_inverse_polynomial(damping, 1e-2)
        assert caught.value.argument == "damping"
    for epsilon in BAD_EPSILONS:
        with pytest.raises(ParameterError):
            damped_inverse_polynomial(0.1, epsilon)
    for cut in (0, 1, -0.5, 1.5, math.nan, "0.5", None, 0.999):
        with pytest.raises(ParameterError) as caught:
            pseudo_inverse_polynomial(10, 1e-9, cut)
        assert caught.value.argument == "cut"
    with pytest.raises(ParameterError):
        pseudo_inverse_polynomial(10, 1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BUILDERS)
def test_phases_of_degree_1e4_and_more_keep_1e_12(kind) -> None:
    polynomial = BUILDERS[kind](2000, 1e-4, 0.3)
    assert polynomial.degree > 1e4
    assert phase_factors(polynomial).error <= 1e-12
