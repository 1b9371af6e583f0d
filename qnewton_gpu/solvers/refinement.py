"""Iterative refinement around a polynomial solver: how a tolerance is split into rounds.

A round at accuracy epsilon multiplies the FP64 residual by at most epsilon, because the solution keeps its norm. One
long polynomial takes the fewest queries while the phases of its degree are cheap; below `TIGHTEST_ROUND` rounds of
equal accuracy share one shorter sequence.
"""

from __future__ import annotations

import math

TIGHTEST_ROUND = 1e-6
STAGNATION = 0.5


def split_tolerance(tolerance: float) -> tuple[float, int]:
    """(epsilon of a round, number of rounds) with epsilon^rounds = tolerance and epsilon >= 1e-6.

    >>> split_tolerance(1e-2)
    (0.01, 1)
    """
    if tolerance >= TIGHTEST_ROUND:
        return min(tolerance, 0.5), 1
    rounds = math.ceil(math.log(tolerance) / math.log(TIGHTEST_ROUND) - 1e-9)
    return tolerance ** (1 / rounds), rounds
