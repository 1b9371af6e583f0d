"""What every polynomial has, the checks of its arguments, and its Chebyshev coefficients and maximum by sampling."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from numbers import Real
from typing import Literal

import numpy as np
import scipy  # its submodules load at their first use: predictions need none of them

from ..errors import ParameterError

Parity = Literal["odd", "even"]
SMALLEST_KAPPA = 1.01  # at kappa = 1 the interval is a point and the formulas divide by zero


class Polynomial(ABC):
    """A real polynomial of definite parity on [-1, 1]; subclasses are frozen dataclasses of numbers, so hashable."""

    kappa: float
    epsilon: float
    parity: Parity

    @property
    @abstractmethod
    def name(self) -> str:
        """Kind and parameters: part of a file name in the phase cache."""

    @property
    @abstractmethod
    def degree(self) -> int: ...

    @property
    @abstractmethod
    def relative_error(self) -> float:
        """What was reached of `epsilon`, in the sense of the class."""

    @property
    def reach(self) -> float:
        """|P| is largest on |x| <= reach."""
        return 1.0

    @abstractmethod
    def __call__(self, x: np.ndarray | float) -> np.ndarray:
        """P(x) for real |x| <= 1."""

    @cached_property
    def chebyshev(self) -> np.ndarray:
        """Coefficients of T_1, T_3, ..., T_d (odd) or T_0, T_2, ..., T_d (even)."""
        points = scipy.fft.next_fast_len(2 * (self.degree + 2), real=True)
        points += points % 2  # an even number of Gauss points leaves out x = 0
        x = np.cos(np.pi * (np.arange(points // 2) + 0.5) / points)
        half = self(x)
        values = np.concatenate([half, half[::-1] if self.parity == "even" else -half[::-1]])
        coefficients = scipy.fft.dct(values, type=2) / points
        coefficients[0] /= 2
        return coefficients[: self.degree + 1][self.degree % 2 :: 2].copy()

    @cached_property
    def sup_norm(self) -> float:
        """max |P| over x_k = cos(pi k/M), M the smallest power of two >= 64 (degree + 1): at most 3e-4 too small."""
        count = 1 << (64 * (self.degree + 1) - 1).bit_length()
        first = max(0, int(count * math.acos(min(self.reach, 1.0)) / math.pi) - 1)
        x = np.sin(np.pi * np.arange(count // 2 - first + 1) / count)  # from x = 0 up: small x keep their digits
        return float(np.max(np.abs(self(x))))


def checked_kappa(kappa: float) -> float:
    """kappa as a float, at least SMALLEST_KAPPA; raises ParameterError unless it is finite and >= 1."""
    if not (isinstance(kappa, Real) and math.isfinite(kappa) and kappa >= 1):
        raise ParameterError("kappa", f"{kappa!r} is not a finite number >= 1", "Give a bound of the condition number")
    return max(float(kappa), SMALLEST_KAPPA)


def checked_fraction(argument: str, value: float, example: str) -> float:
    """The value as a float; raises ParameterError unless it is between 0 and 1."""
    if not (isinstance(value, Real) and 0 < value < 1):
        raise ParameterError(argument, f"{value!r} is not between 0 and 1", f"Give {example}")
    return float(value)


def checked_epsilon(epsilon: float) -> float:
    """epsilon as a float; raises ParameterError unless it is between 0 and 1."""
    return checked_fraction("epsilon", epsilon, "a relative error such as 1e-2")
