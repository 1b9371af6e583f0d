"""What is known of a spectrum, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..operators.arrays import LARGEST_MAGNITUDE

FP64_EPSILON = float(np.finfo(np.float64).eps)
FAILURE_PROBABILITY = 1e-6
SAFETY = 0.9
"""What an extreme Ritz value is shrunk by where nothing proves how far it is from the eigenvalue."""


@dataclass(frozen=True)
class SpectrumBounds:
    """lower <= |lambda| <= upper for every eigenvalue lambda; `lower` is 0 where a zero mode was found.

    Of a matrix that is not symmetric the min(m, n) singular values are meant instead.

    `smallest_nonzero` is then the smallest magnitude above rounding. `matvecs` vectors were multiplied. `negative`
    says that an eigenvalue below zero was found, which a negative Rayleigh quotient proves. `certified` is True only
    where a proof stands behind both ends; `failure_probability`, over the random start, is that of the proof (0 for one
    without chance). `errs` says on which side of the truth `kappa` lies if it is off: "above" | "below" | "either", or
    "exact" up to rounding.
    """

    lower: float
    upper: float
    certified: bool = False
    matvecs: int = 0
    method: str = "given"
    smallest_nonzero: float | None = None
    negative: bool = False
    errs: str = "either"
    failure_probability: float = 0.0

    @property
    def kappa(self) -> float:
        return self.upper / self.lower if self.lower > 0 else math.inf


def check_damping(damping: Any, or_else: str = "") -> None:
    """Raise ParameterError where it is no number >= 0 of a magnitude that a matrix may have."""
    number = isinstance(damping, Real)
    if not (number and 0 <= damping < math.inf):
        raise ParameterError("damping", f"{damping!r} is not a finite number >= 0{or_else}", "Use 0 for none")
    if int(damping) > LARGEST_MAGNITUDE:  # no float32 would hold it, and no float a very large int
        raise ParameterError("damping", f"{damping!r} is beyond {LARGEST_MAGNITUDE:.0e}", "Scale the matrix down")


def rounding(size: int, largest: float) -> float:
    """8 N epsilon ||H||: what FP64 may move an eigenvalue by. What is below it is zero; bounds are widened by it."""
    return 8 * size * FP64_EPSILON * largest
