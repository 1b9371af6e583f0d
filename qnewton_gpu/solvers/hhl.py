"""HHL: phase estimation of the walk, a rotation by 1/lambda, and phase estimation undone.

A clock of T values starts in the sine window phi_t = sqrt(2/T) sin(pi (t + 1/2)/T); W^t runs where it shows t (T - 1
queries). After a Fourier transform it shows y, that is lambda(y) = cos(2 pi y/T) in units of alpha, and a flag is
turned to amplitude f(lambda(y)), f(x) = sgn(x) min(1/(kappa |x|), kappa |x|): C/x with C = 1/kappa, and
below 1/kappa a line through zero, which damps what kappa does not cover. All but the rotation is undone (T - 1 queries
more), and flag, clock (in phi) and encoding are post-selected.

All powers of W commute, so that the post-selected map is exactly
    sum_s c_s T_|s|(A/alpha),  c_s = [(1/T) sum_y f(lambda(y)) e^(-2 pi i y s/T)] [sum_t phi_(t+s) phi_t]
which mode "subspace" applies with T - 1 products and no clock. T = ceil(pi kappa/eps): measured, the whole register,
clock included, is then within eps of C/lambda (relative, every lambda from 1/kappa on), and so is the residual. That
is the kappa/eps of the paper. The success probability is about (||A^-1 b||/kappa)^2, so that amplitude amplification
costs kappa^2/eps in all.
Source: Harrow, Hassidim, Lloyd, arXiv 0811.3171; the walk as its unitary: Childs, arXiv 0810.0312.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..backends.base import Backend
from ..polynomials import round_up_to_grid
from .base import LinearSystem
from .walks import (
    WalkMethod,
    WalkProgram,
    WalkSolver,
    chebyshev_series,
    columns_of,
    inversion_error,
    outer,
    walk,
    walk_back,
)


def clock_values(kappa: float, epsilon: float) -> int:
    """T = ceil(pi kappa/epsilon), any integer from 2 on.

    >>> clock_values(10, 0.1)
    315
    """
    return max(2, math.ceil(math.pi * kappa / epsilon))


def window(T: int) -> np.ndarray:
    """phi_t: the window whose Fourier transform falls off fastest at its centre."""
    return np.sqrt(2 / T) * np.sin(np.pi * (np.arange(T) + 0.5) / T)


def rotation(T: int, kappa: float) -> np.ndarray:
    """f(lambda(y)), y = 0..T-1."""
    shown = np.cos(2 * np.pi * np.arange(T) / T)
    distance = kappa * np.abs(shown)
    return np.sign(shown) * np.minimum(1 / np.maximum(distance, 1.0), distance)


def filter_coefficients(T: int, kappa: float) -> np.ndarray:
    """c_s + c_(-s) of T_s, s = 0..T-1; the autocorrelation of the window in closed form."""
    s, angle = np.arange(T), np.pi / T
    correlation = (1 - s / T) * np.cos(s * angle) + np.sin(s * angle) / (T * np.sin(angle))
    coefficients = np.fft.fft(rotation(T, kappa)).real / T * correlation
    coefficients[1:] *= 2
    return coefficients


@dataclass(frozen=True)
class PhaseEstimation(WalkProgram):
    """f(A/alpha) start, smeared by the width of the clock: with a clock in mode "fused", as a series in "subspace"."""

    kappa: float
    epsilon: float

    @property
    def clock(self) -> int:
        return clock_values(self.kappa, self.epsilon)

    @property
    def queries(self) -> int:
        return 2 * (self.clock - 1)

    @property
    def degree(self) -> int:
        return self.clock - 1

    @property
    def copies(self) -> int:
        return 1 if self.mode == "subspace" else self.clock

    @property
    def gain(self) -> float:
        return self.kappa

    @cached_property
    def coefficients(self) -> np.ndarray:
        return filter_coefficients(self.clock, self.kappa)

    @property
    def relative_error(self) -> float:
        return inversion_error(self.coefficients * self.gain, self.kappa)

    def run(self, backend: Backend) -> tuple[Any, Any, Any]:
        space = self.space(backend)
        if self.mode == "subspace":
            total, psi = chebyshev_series(space, self.coefficients, self.start)
            return total, space.norms_squared(psi), psi
        xp, T, k = backend.xp, self.clock, self.start.shape[1]
        phi, turned = backend.asarray(window(T)), backend.asarray(rotation(T, self.kappa))
        psi = space.lift(outer(phi, self.start))
        for t in range(1, T):
            psi[:, t * k :] = walk(space, psi[:, t * k :])[0]
        shown = xp.fft.fft(columns_of(psi, T), axis=1, norm="ortho")
        failed = (abs(shown) ** 2 * (1 - turned**2)[:, None]).sum(axis=(0, 1))  # the flag that was not turned
        psi = xp.fft.ifft(shown * turned[:, None], axis=1, norm="ortho").reshape(psi.shape)
        for t in range(1, T):
            psi[:, t * k :] = walk_back(space, psi[:, t * k :])
        amplitudes = (columns_of(space.lower(psi), T) * phi[:, None]).sum(axis=1).real
        return amplitudes, failed + space.norms_squared(psi).reshape(T, k).sum(axis=0), psi


class HHLMethod(WalkMethod):
    def program(self, epsilon: float, start: Any) -> PhaseEstimation:
        return PhaseEstimation(self.encoding, start, self.mode, round_up_to_grid(self.kappa), epsilon)


@dataclass(frozen=True)
class HHL(WalkSolver):
    """Phase estimation on any symmetric encoding: 2 pi kappa/epsilon queries a round, repeated about kappa^2 times.

    Rounds are coarse, because (1/epsilon)/ln(1/epsilon) is least at epsilon = 1/e; the FP64 residual joins them.
    """

    name: str = "hhl"
    tightest_round: ClassVar[float] = 1 / math.e

    def method(self, system: LinearSystem, backend: Backend) -> HHLMethod:
        return HHLMethod(self, system, self.encode(system, backend), backend)
