"""The query count that the Q-Newton paper plans with: a formula only, no circuit of it is simulated here."""

from __future__ import annotations

import math

from ..errors import ParameterError

LEAST_KAPPA = math.sqrt(12)
LARGEST_EPSILON = 0.24


def jennings_queries(kappa: float, alpha: float, epsilon: float) -> float:
    """Queries of the solver of Jennings et al. (arXiv 2305.11352 v1), repetitions included.

    Q/(0.39 - 0.204 eps); alpha is the block-encoding norm over ||H||. Raises ParameterError outside eps <= 0.24,
    kappa >= sqrt(12).
    """
    if not 0 < epsilon <= LARGEST_EPSILON:
        raise ParameterError(
            "epsilon", f"{epsilon!r} is outside (0, 0.24], where the bound holds", "Use epsilon <= 0.24"
        )
    if kappa < LEAST_KAPPA:
        raise ParameterError("kappa", f"{kappa!r} is below sqrt(12), where the bound holds", "Round kappa up to 3.4642")
    walk = 1741 * alpha * math.e / 500 * math.sqrt(kappa**2 + 1)
    walk *= (133 / 125 + 4 / (25 * kappa ** (1 / 3))) * math.pi * math.log(2 * kappa + 3) + 1
    log2 = math.log(2 * kappa + 3) ** 2
    filtering = 351 / 50 * log2 * (math.log(451 * log2 / epsilon) + 1)
    return (walk + filtering + alpha * kappa * math.log(32 / epsilon)) / (0.39 - 0.204 * epsilon)


def released_code_queries(kappa: float, alpha: float, epsilon: float) -> float:
    """The same as the paper's released code counts it: times alpha once more, which is an error."""
    return alpha * jennings_queries(kappa, alpha, epsilon)
