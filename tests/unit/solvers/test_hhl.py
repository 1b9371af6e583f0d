"""HHL: the clock, its window, and the filter that they make of the rotation."""

from __future__ import annotations

import numpy as np
import pytest

from qnewton_gpu import LinearSystem, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.operators import as_operator
from qnewton_gpu.solvers.hhl import HHL, PhaseEstimation, clock_values, filter_coefficients, rotation, window

CPU = select_backend("cpu")
KAPPAS, EPSILONS = (1.0, 1.3, 2.0, 5.0, 10.0, 33.0, 100.0, 200.0), (0.5, 0.37, 0.2, 0.1, 0.03)


def whole_register_error(kappa: float, T: int, eigenvalue: float) -> float:
    """The distance of the register, clock included, from its window times kappa^-1/lambda, relative to that."""
    angle = np.arccos(eigenvalue)
    seen = np.abs(np.fft.fft(window(T) * np.exp(1j * angle * np.arange(T)), norm="ortho")) ** 2
    return float(np.sqrt(seen @ (eigenvalue * kappa * rotation(T, kappa) - 1) ** 2))


@pytest.mark.parametrize("T", [2, 3, 8, 37])
def test_filter_coefficients_are_those_of_the_clock_summed_directly(T: int) -> None:
    phi, f = window(T), rotation(T, 3.0)
    assert phi @ phi == pytest.approx(1.0)
    expected = []
    for s in range(T):
        fourier = (f * np.exp(-2j * np.pi * s * np.arange(T) / T)).mean()
        expected.append((1 if s == 0 else 2) * fourier.real * (phi[s:] @ phi[: T - s]))
        assert abs(fourier.imag) < 1e-14
    np.testing.assert_allclose(filter_coefficients(T, 3.0), expected, atol=1e-14)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_clock_is_long_enough(kappa: float) -> None:
    """T = ceil(pi kappa/epsilon): the residual is within epsilon, and so is the whole register before measurement."""
    for epsilon in EPSILONS:
        assert PhaseEstimation(None, None, "subspace", kappa, epsilon).relative_error <= epsilon
        T = clock_values(kappa, epsilon)
        for eigenvalue in np.geomspace(1 / kappa, 1, 30):
            assert whole_register_error(kappa, T, eigenvalue) <= epsilon


def test_the_constant_of_the_clock_is_tight() -> None:
    ratios = [
        max(
            PhaseEstimation(None, None, "subspace", kappa, epsilon).relative_error / epsilon,
            max(whole_register_error(kappa, clock_values(kappa, epsilon), x) for x in np.geomspace(1 / kappa, 1, 30))
            / epsilon,
        )
        for kappa in (10.0, 33.0, 100.0)
        for epsilon in (0.1, 0.03)
    ]
    assert max(ratios) > 0.9


def test_what_kappa_does_not_cover_is_damped() -> None:
    """|1 - x P(x)| <= 1 below 1/kappa: a round can only take the residual down."""
    kappa, epsilon = 10.0, 0.3
    x = np.linspace(-1 / kappa, 1 / kappa, 201)
    program = PhaseEstimation(None, None, "subspace", kappa, epsilon)
    left = 1 - x * kappa * np.polynomial.chebyshev.chebval(x, program.coefficients)
    assert np.abs(left).max() <= 1 + 1e-12


@pytest.mark.parametrize("epsilon", [0.5, 0.47, 0.43, 0.4])
def test_the_explicit_clock_is_the_filter(epsilon: float) -> None:
    """Clock and register simulated amplitude by amplitude, T odd and even, against T - 1 products."""
    values = np.array([-1.0, 0.9, 0.4, 0.25])
    operator = as_operator(np.diag(values) + 0.02, CPU)
    start = np.random.default_rng(3).standard_normal((4, 2))
    start /= np.linalg.norm(start, axis=0)
    encoding = HHL(encoding="walk").encode(
        LinearSystem(operator, start, SpectrumBounds(0.2, 1.1, True, negative=True), 1e-2), CPU
    )
    outcomes = [PhaseEstimation(encoding, start, mode, 5.0, epsilon).execute(CPU) for mode in ("fused", "subspace")]
    np.testing.assert_allclose(outcomes[0].amplitudes, outcomes[1].amplitudes, atol=1e-13)
    np.testing.assert_allclose(outcomes[0].success_probability, outcomes[1].success_probability, atol=1e-13)
    for outcome in outcomes:
        np.testing.assert_allclose(outcome.register_norm, 1.0, atol=1e-12)
    np.testing.assert_allclose(outcomes[0].register(), outcomes[1].register(), atol=1e-15)


def test_rounds_are_coarse() -> None:
    """14 rounds of about 1/e take 14 * 17 kappa queries; one at 1e-6 would take 6e6 kappa."""
    epsilon, rounds = HHL().split(1e-6)
    assert rounds == 14 and epsilon == pytest.approx(1e-6 ** (1 / 14)) and epsilon > 1 / np.e
