"""What each step of conditioning did to kappa, d, alpha and the Newton step; measured when somebody reads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..operators import MatrixOperator
from .spectrum import FP64_EPSILON, SpectrumBounds, estimate_spectrum, smallest_eigenvalue


@dataclass(frozen=True)
class ConditioningStep:
    """One step of `condition`, and the values of the matrix after it.

    name: "given" (the raw H, always first), "prune", "repair", "definite shift", "damping" or "scaling". row_nonzeros
    is d, the most nonzero entries in a row; alpha the largest sum of |H_ij| in a row, the norm of the `walk` encoding.

    Without a gradient kappa is an estimate from products (`estimate_spectrum`) and smallest_eigenvalue, the
    algebraically smallest, a Ritz value less its residual; kappa is inf where a semidefinite matrix cannot be told from
    a singular one, and may lie below the truth where the matrix is indefinite and N > 100. With a gradient both are
    exact to rounding, and angle is that, in degrees and in the scale of x, between H^+ g of the raw H and the step of
    the matrix after this one. It is None without a gradient, NaN where one of the two steps is zero.
    """

    name: str
    text: str
    kappa: float
    smallest_eigenvalue: float
    row_nonzeros: int
    alpha: float
    angle: float | None = None


@dataclass(frozen=True)
class Change:
    """What a step of conditioning left: the matrix, its bounds where they are known, s of x = s y where it scales."""

    name: str
    text: str
    operator: MatrixOperator
    bounds: SpectrumBounds | None = None
    scale: Any | None = None


def measure(changes: Sequence[Change], gradient: Any | None, backend: Backend, seed: int) -> list[ConditioningStep]:
    """The record of `changes`: up to 100 products with each matrix, 300 where it is indefinite.

    With a gradient, (N, 1), an eigendecomposition of each instead, O(N^3).
    """
    steps: list[ConditioningStep] = []
    exact: Any = None
    for change in changes:
        angle = None
        if gradient is None:
            kappa, smallest = _estimated(change, backend, seed)
        else:
            values, step = newton_step(change.operator, gradient, backend, change.scale)
            exact = step if exact is None else exact
            angle = angle_between(exact, step)
            kappa, smallest = _exact(backend.to_numpy(values))
        H = change.operator
        steps.append(
            ConditioningStep(change.name, change.text, kappa, smallest, row_nonzeros(H), H.largest_row_sum(), angle)
        )
    return steps


def _estimated(change: Change, backend: Backend, seed: int) -> tuple[float, float]:
    """kappa and the smallest eigenvalue, from products alone."""
    smallest = smallest_eigenvalue(change.operator, backend, seed)
    bounds = change.bounds or estimate_spectrum(change.operator, backend=backend, seed=seed)
    unresolved = smallest <= 0 and not (bounds.negative or bounds.certified)
    return math.inf if unresolved else bounds.kappa, smallest


def _exact(values: np.ndarray) -> tuple[float, float]:
    """kappa, inf below rounding, and the smallest of all eigenvalues, ascending."""
    magnitudes = np.abs(values)
    singular = magnitudes.min() <= len(values) * FP64_EPSILON * magnitudes.max()
    return math.inf if singular else float(magnitudes.max() / magnitudes.min()), float(values[0])


def row_nonzeros(H: MatrixOperator) -> int:
    """d, the most nonzero entries in a row."""
    return int((H.matrix != 0).sum(axis=1).max())


def newton_step(H: MatrixOperator, g: Any, backend: Backend, scale: Any | None = None) -> tuple[Any, Any]:
    """The eigenvalues of H, and s H^+ s g, (N, 1); eigenvalues up to N FP64_EPSILON ||H|| count as 0 in H^+."""
    xp = backend.xp
    values, vectors = xp.linalg.eigh(H.dense())
    magnitudes = abs(values)
    kept = magnitudes > len(values) * FP64_EPSILON * magnitudes.max()
    along = vectors.T @ (g if scale is None else scale * g)
    x = vectors @ (along * xp.where(kept, 1 / xp.where(kept, values, 1.0), 0.0)[:, None])
    return values, x if scale is None else scale * x


def angle_between(u: Any, v: Any) -> float:
    """Degrees between two vectors, accurate for small angles, too; NaN where one is zero.

    2 atan2(|u/|u| - v/|v||, |u/|u| + v/|v||): Kahan, How Futile are Mindless Assessments of Roundoff (2006).
    """
    lengths = [float((w * w).sum() ** 0.5) for w in (u, v)]
    if 0 in lengths:
        return math.nan
    u, v = u / lengths[0], v / lengths[1]
    apart, together = (float((w * w).sum() ** 0.5) for w in (u - v, u + v))
    return math.degrees(2 * math.atan2(apart, together))
