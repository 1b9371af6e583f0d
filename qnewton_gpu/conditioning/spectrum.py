"""Bounds of a spectrum from products alone: Lanczos with full reorthogonalisation, and what is certain about the rest.

A Rayleigh quotient bounds lambda_max from below and lambda_min from above, so it underestimates kappa: the unsafe
side. `certified` is True only where a proof, or a stated failure probability, stands behind both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import ParameterError
from ..operators import GramOperator, MatrixOperator, Operator, as_operator

FP64_EPSILON = float(np.finfo(np.float64).eps)
FAILURE_PROBABILITY = 1e-6
SAFETY = 0.9
_GRAM_STEPS = 24
LANCZOS_STEPS = 100


@dataclass(frozen=True)
class SpectrumBounds:
    """lower <= |lambda| <= upper for every eigenvalue lambda; `lower` is 0 where a zero mode was found.

    `smallest_nonzero` is then the smallest magnitude above rounding. `matvecs` products were spent. `negative` says
    that an eigenvalue below zero was found, which a negative Rayleigh quotient proves.
    """

    lower: float
    upper: float
    certified: bool = False
    matvecs: int = 0
    method: str = "given"
    smallest_nonzero: float | None = None
    negative: bool = False

    @property
    def kappa(self) -> float:
        return self.upper / self.lower if self.lower > 0 else math.inf


@dataclass(frozen=True)
class Ritz:
    """Ritz values, ascending, how far an eigenvalue may be from each, and the steps taken."""

    values: np.ndarray
    residuals: np.ndarray
    steps: int
    complete: bool
    """The Krylov space closed: every eigenvalue that the start vector sees is among the values."""


def lanczos(product: Callable[[Any], Any], size: int, steps: int, backend: Backend, seed: int) -> Ritz:
    """Lanczos on a symmetric `product` from a random start, at most `steps` steps of O(size * steps) work."""
    xp = backend.xp
    start = np.random.default_rng(seed).standard_normal((size, 1))
    v = backend.asarray(start / np.linalg.norm(start))
    steps = min(steps, size)
    basis = xp.empty((steps, size))
    diagonal, off = [], []
    largest = 0.0
    for k in range(steps):
        basis[k] = v[:, 0]
        w = product(v)
        diagonal.append(float((v * w).sum()))
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            w = w - basis[: k + 1].T @ (basis[: k + 1] @ w)
        norm = float(xp.sqrt((w * w).sum()))
        largest = max(largest, abs(diagonal[-1]), norm)
        off.append(norm)
        if norm <= size * FP64_EPSILON * largest:
            break
        v = w / norm
    count = len(diagonal)
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off[: count - 1], 1) + np.diag(off[: count - 1], -1))
    complete = off[-1] <= size * FP64_EPSILON * largest or count == size
    residuals = np.zeros(count) if complete else off[-1] * np.abs(vectors[-1])
    return Ritz(values, residuals, count, complete)


def estimate_spectrum(
    operator: Any, *, backend: str | Backend = "auto", damping: float = 0.0, seed: int = 0
) -> SpectrumBounds:
    """Bounds of |eigenvalue| of H + damping I.

    A Gram operator is certified: lambda_min >= its damping by construction, and lambda_max is below both ||G||_F^2 +
    damping and the Lanczos value over 1 - e, wrong with probability < 1e-6 (Kuczynski and Wozniakowski
    1992). Any other matrix gets Lanczos at both ends: exact and certified where the Krylov space closes (always for
    N <= 100), else, on H^2 where H is indefinite, with a safety factor and uncertified.

    Raises what `qn.solve` raises for a bad matrix, and ParameterError for a negative damping.

    >>> import numpy as np
    >>> bounds = estimate_spectrum(np.diag([1.0, 2.0, 8.0]))
    >>> bounds.lower < 1.0 and bounds.upper >= 8.0
    True
    """
    if not (math.isfinite(damping) and damping >= 0):
        raise ParameterError("damping", f"{damping!r} is not a finite number >= 0", "Use 0 for none")
    backend = select_backend(backend)
    H = as_operator(operator, backend)
    if isinstance(H, GramOperator):
        return _gram_bounds(H, damping, backend, seed)
    assert isinstance(H, MatrixOperator)
    return _matrix_bounds(H, damping, backend, seed)


def lanczos_relative_error(size: int, steps: int) -> float:
    """e with lambda_max <= theta/(1 - e) but with probability < 1e-6: 1.648 sqrt(N) exp(-sqrt(e) (2k - 1))."""
    return (math.log(1.648 * math.sqrt(size) / FAILURE_PROBABILITY) / (2 * steps - 1)) ** 2


def semidefinite_bounds(
    H: Operator, floor: float, norm_bound: float, backend: Backend, seed: int = 0
) -> SpectrumBounds:
    """Certified bounds of an H with H - floor I positive semidefinite and ||H|| <= norm_bound, both proven."""
    ritz = lanczos(H.matvec, H.shape[0], _GRAM_STEPS, backend, seed)
    error = 64 * FP64_EPSILON if ritz.complete else lanczos_relative_error(H.shape[0], ritz.steps)
    upper = min(norm_bound, float(ritz.values[-1]) / (1 - error)) if error < 1 else norm_bound
    return SpectrumBounds(floor, max(upper, floor), True, ritz.steps, "known damping, Lanczos lambda_max")


def _gram_bounds(H: GramOperator, damping: float, backend: Backend, seed: int) -> SpectrumBounds:
    bounds = semidefinite_bounds(H, H.damping, H.factor.frobenius_squared + H.damping, backend, seed)
    return replace(bounds, lower=bounds.lower + damping, upper=bounds.upper + damping)


def smallest_eigenvalue(H: Operator, backend: Backend, seed: int = 0) -> float:
    """The algebraically smallest eigenvalue less its Ritz residual: Lanczos, at most 100 products."""
    ritz = lanczos(H.matvec, H.shape[0], LANCZOS_STEPS, backend, seed)
    return float(ritz.values[0] - ritz.residuals[0])


def _matrix_bounds(H: MatrixOperator, damping: float, backend: Backend, seed: int) -> SpectrumBounds:
    n = H.shape[0]

    def product(v: Any) -> Any:
        return H.matvec(v) + damping * v

    ritz = lanczos(product, n, LANCZOS_STEPS, backend, seed)
    magnitudes, matvecs, method = np.abs(ritz.values), ritz.steps, "Lanczos both ends"
    largest = float(magnitudes.max())
    norm_bound = H.largest_row_sum() + damping
    if ritz.values[0] < 0 < ritz.values[-1] and not ritz.complete:
        squared = lanczos(lambda v: product(product(v)), n, LANCZOS_STEPS, backend, seed)
        smallest = min(float(np.sqrt(np.maximum(squared.values, 0)).min()), float(magnitudes.min()))
        magnitudes = np.array([smallest, largest])
        matvecs, method = matvecs + 2 * squared.steps, "Lanczos on H and H^2"
    rounding = 8 * n * FP64_EPSILON * largest  # also what a Krylov space that closed may have left out
    nonzero = magnitudes[magnitudes > rounding]
    negative = bool(ritz.values[0] < -rounding)
    if ritz.complete:  # every eigenvalue is known, up to rounding
        shrink, upper = 1.0, largest + rounding
    else:
        shrink, upper = SAFETY, min(norm_bound, largest / SAFETY)
    smallest_nonzero = float(nonzero.min()) * shrink if len(nonzero) else None
    found_zero = len(nonzero) < len(magnitudes)
    lower = 0.0 if found_zero else float(magnitudes.min()) * shrink - rounding * ritz.complete
    return SpectrumBounds(lower, upper, ritz.complete and not found_zero, matvecs, method, smallest_nonzero, negative)
