"""Randomised block power iteration: lambda_max of a positive semidefinite H, with nothing brought to the host."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend
from .bounds import FAILURE_PROBABILITY, rounding
from .lanczos import TINY, start_generator


@dataclass(frozen=True)
class BlockPower:
    """H^(q-1) V = Q S after q - 1 products with a Gaussian V of shape (N, k), and the q-th product, H Q.

    `ritz` and `residual` are Q^t H Q and R^t R of R = H Q - Q Q^t H Q, (k, k); S is `start` times exp(`scale`).
    """

    ritz: np.ndarray
    residual: np.ndarray
    start: np.ndarray
    scale: float
    size: int
    products: int

    @property
    def columns(self) -> int:
        return len(self.ritz)

    @property
    def matvecs(self) -> int:
        return self.columns * self.products

    @property
    def theta(self) -> float:
        """The largest Ritz value, which is at most lambda_max."""
        return float(np.linalg.eigvalsh(self.ritz)[-1])

    def upper_bound(self, failure_probability: float = FAILURE_PROBABILITY, terms: int = 0) -> float:
        """At least lambda_max of H but with probability < failure_probability over V.

        `terms` are those of the longest sum in a product, where they are more than N: what rounding grows with.

        Let u be a unit eigenvector of lambda_max and c = V^t u, k Gaussian numbers, so that ||c|| < tau with
        probability < eta for tau^2 = 2 (eta Gamma(k/2 + 1))^(2/k), from chi^2's density without its factor
        exp(-x/2) <= 1. Then u^t Q S = lambda^(q-1) c^t, and u^t R = u^t Q (lambda - Q^t H Q) because H u = lambda u.
        With Q^t H Q = Y Theta Y^t, D = (lambda - Theta)^-1 for lambda > theta, and any positive diagonal M

            lambda^(q-1) tau <= lambda^(q-1) ||c|| <= ||R Y D Y^t S|| <= ||R Y D M|| ||M^-1 Y^t S||.

        The left side grows with lambda and the last one falls, since the entries of D do: lambda_max is at most where
        they meet. Here M holds the norms of the rows of Y^t S. Nothing is assumed of a gap, and as R vanishes the bound
        closes on theta. It is Dixon's argument (SIAM J. Numer. Anal. 20 (1983) 812) with the residual in place of the
        power.
        """
        theta = self.theta
        slack = rounding(max(self.size, terms), theta)
        if self.columns >= self.size or theta <= 0:  # the span is all there is, or H is zero on a random span
            return theta + slack
        values, vectors = np.linalg.eigh(self.ritz)
        start, residual = vectors.T @ self.start, vectors.T @ self.residual @ vectors
        rows = np.maximum(np.linalg.norm(start, axis=1), TINY)
        row_space = float(np.linalg.norm(start / rows[:, None], 2))
        k = self.columns
        log_tau = 0.5 * math.log(2) + (math.log(failure_probability) + math.lgamma(k / 2 + 1)) / k

        def is_beyond(gap: float) -> bool:
            weights = rows / (theta + gap - values)
            right = math.sqrt(max(float(np.linalg.eigvalsh(weights[:, None] * residual * weights)[-1]), 0.0))
            right = (right + slack * float(weights.max())) * row_space  # R is known but for rounding
            return (self.products - 1) * math.log(theta + gap) + log_tau > self.scale + math.log(right)

        low, high = max(slack, TINY), max(theta, TINY)
        while not is_beyond(high):
            high *= 2
        for _ in range(40):  # bisection of log(gap); `high` stays on the safe side
            middle = math.sqrt(low * high)
            low, high = (low, middle) if is_beyond(middle) else (middle, high)
        return theta + high + slack


def block_power(
    product: Callable[[Any], Any], size: int, columns: int, products: int, backend: Backend, seed: int
) -> BlockPower:
    """`products` products of a positive semidefinite H with a block of `columns` Gaussian vectors.

    3 columns^2 + 1 numbers come to the host at the end.
    """
    xp = backend.xp
    columns = min(columns, size)
    v = backend.asarray(start_generator(seed).standard_normal((size, columns)))  # the same start everywhere
    scale = xp.zeros(())
    for _ in range(products - 1):
        w = product(v)
        largest = xp.maximum(abs(w).max(), TINY)
        v, scale = w / largest, scale + xp.log(largest)
    # one QR is enough, however parallel the columns grow: of the combination nearest to the top eigenvector a product
    # loses FP64_EPSILON/cos(angle at the start), 1e-12 at N = 10^6
    q, s = xp.linalg.qr(v)
    image = product(q)
    ritz = q.T @ image
    residual = image - q @ ritz
    found = backend.to_numpy(xp.stack([ritz, residual.T @ residual, s]))
    return BlockPower((found[0] + found[0].T) / 2, found[1], found[2], float(scale), size, products)
