"""CKS: the expansion, its coefficients and its query count."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from qnewton_gpu import LinearSystem, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.operators import as_operator
from qnewton_gpu.solvers.cks import CKS, ChebyshevSum, cks_coefficients, cks_orders

CPU = select_backend("cpu")


def expansion(kappa: float, epsilon: float) -> ChebyshevSum:
    return ChebyshevSum(None, None, "subspace", kappa, epsilon)


@pytest.mark.parametrize(
    ("kappa", "epsilon", "b", "j0"),
    [(10, 1e-2, 691, 94), (100, 1e-4, 138156, 1761), (1000, 1e-4, 16118096, 20936)],
)
def test_orders_and_queries_are_those_of_the_paper(kappa: float, epsilon: float, b: int, j0: int) -> None:
    assert cks_orders(kappa, epsilon) == (b, j0)
    assert expansion(kappa, epsilon).queries == 2 * j0 + 1


def test_coefficients_are_the_binomial_tails() -> None:
    kappa, epsilon = 4.0, 1e-2
    b, j0 = cks_orders(kappa, epsilon)
    tails = [Fraction(sum(comb(2 * b, b + i) for i in range(j + 1, b + 1)), 4**b) for j in range(j0 + 1)]
    exact = [float(4 * (-1) ** j * tail) for j, tail in enumerate(tails)]
    np.testing.assert_allclose(cks_coefficients(kappa, epsilon), exact, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("epsilon", [0.5, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("kappa", [1.0, 1.5, 10.0, 100.0, 1000.0])
def test_the_error_is_within_epsilon_and_the_norm_within_its_bound(kappa: float, epsilon: float) -> None:
    """At kappa 1000 b is 2e7: a binomial coefficient has six million digits."""
    g = expansion(kappa, epsilon)
    assert g.relative_error <= epsilon
    assert g.gain <= 4 * cks_orders(kappa, epsilon)[1]


def test_the_success_probability_is_that_of_the_linear_combination() -> None:
    values = np.array([-1.0, 0.7, 0.3, -0.25])
    b = np.array([[0.5], [0.5], [0.5], [0.5]])
    system = LinearSystem(as_operator(np.diag(values), CPU), b, SpectrumBounds(0.25, 1.0, True, negative=True), 1e-3)
    solution = CKS(encoding="walk").solve(system, CPU)
    g = expansion(solution.resources["kappa_on_grid"], 1e-3)
    applied = np.polynomial.chebyshev.chebval(values, g.coefficients) / np.abs(g.coefficients).sum() / 2
    assert solution.success_probability == pytest.approx(applied @ applied, rel=1e-12)
    np.testing.assert_allclose(solution.x[:, 0], 0.5 / values, rtol=1e-3)
