"""The whole of conditioning in its order: prune raw H, repair it, make it definite, damp it, scale it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import Any

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import DataTypeError, ParameterError, ShapeError, UnknownNameError
from ..operators import MatrixOperator, as_symmetric
from ..operators.arrays import as_columns, is_complex
from .bounds import check_damping
from .damping import add_to_diagonal, definite_shift, paper_damping
from .pruning import REPAIRS, prune, repair
from .record import Change, ConditioningStep, measure
from .scaling import jacobi_scaling
from .spectrum import SpectrumBounds, estimate_spectrum, semidefinite_bounds

SCALINGS = ("none", "jacobi", "auto")


@dataclass
class Conditioned:
    """The changed system s (H' + (shift + damping) I) s, with x = s y.

    `record` says what each step did to kappa, d, alpha and the Newton step; `texts` the same in words, for free.
    """

    operator: MatrixOperator
    damping: float
    shift: float
    scale: Any | None = field(repr=False)
    bounds: SpectrumBounds
    changes: list[Change] = field(repr=False)
    gradient: Any | None = field(default=None, repr=False)
    seed: int = 0

    @cached_property
    def record(self) -> list[ConditioningStep]:
        """Measured when it is first read, so that training pays nothing: see `measure` for what it takes."""
        return measure(self.changes, self.gradient, self.operator.backend, self.seed)

    @property
    def texts(self) -> list[str]:
        """A line for each step after the given matrix."""
        return [change.text for change in self.changes[1:]]


def condition(
    H: Any,
    *,
    density: float = 1.0,
    compensate: str | None = "diagonal",
    damping: float | str = 0.0,
    definite: bool = True,
    semidefinite: bool = False,
    scaling: str = "none",
    gradient: Any | None = None,
    backend: str | Backend = "auto",
    seed: int = 0,
) -> Conditioned:
    """Prune to `density`, repair, shift by max(0, -lambda_min) if `definite`, damp, and scale an explicit symmetric H.

    `semidefinite` says that H is known to be positive semidefinite: then nothing is shifted, unless it is pruned
    without a repair that keeps it so, and damping is a certified lower bound (what was rounded to float32 is
    semidefinite only up to that). `damping` is a number, or "paper" for 5e-3 max|H|. scaling="auto" keeps Jacobi only
    where it lowers the estimated kappa. Bounds are computed after damping. With a `gradient`, (N,) or (N, 1), the
    record has the angles between the exact Newton step and those of the changed matrices. Raises what `qn.solve` raises
    for a bad matrix or right-hand side, and ParameterError.

    >>> import numpy as np
    >>> H = np.array([[2.0, 1.0, 0.5], [1.0, 2.0, 0.5], [0.5, 0.5, 0.6]])
    >>> for step in condition(H, density=0.67, damping=0.1).record:
    ...     print(f"{step.name}: kappa {step.kappa:.1f}, d {step.row_nonzeros}, alpha {step.alpha:.1f}")
    given: kappa 7.8, d 3, alpha 3.5
    prune: kappa 5.0, d 2, alpha 3.0
    repair: kappa 2.3, d 2, alpha 3.5
    damping: kappa 2.3, d 2, alpha 3.6
    """
    check_conditioning(density, compensate, scaling)
    if not (isinstance(damping, str) and damping == "paper"):
        check_damping(damping, " nor 'paper'")
    backend = select_backend(backend)
    raw = as_symmetric(H, backend)
    given = raw if isinstance(raw, MatrixOperator) else MatrixOperator(raw.dense(), backend)
    n = given.shape[0]
    if gradient is not None:
        gradient = as_columns(gradient, n, backend, "gradient")
        if is_complex(gradient):
            raise DataTypeError("gradient", "is complex", "Pass a real vector")
        if gradient.shape[1] > 1:
            raise ShapeError("gradient", f"has {gradient.shape[1]} columns", f"Pass one of shape ({n},)")
    delta = paper_damping(given) if isinstance(damping, str) else float(damping)
    course = _Course(given, backend, seed)
    if density < 1:
        course.prune(max(1, round(density * n)), compensate)
    proven = semidefinite and (density == 1 or compensate == "diagonal")
    repaired = density < 1 and compensate == "shift"
    shift = definite_shift(course.base, backend, seed) if definite and not proven and not repaired else 0.0
    if shift:
        course.lift(
            shift, "definite shift", f"shifted by {shift:.6g}, -lambda_min by Lanczos: H is indefinite, or nearly"
        )
    if delta:
        course.lift(delta, "damping", f"damped by {delta:.6g}")
    operator, changes = course.operator, course.changes
    if proven and delta:
        bounds = semidefinite_bounds(operator, delta, operator.largest_row_sum(), backend, seed)
        if density < 1:  # the repair mostly lifts lambda_min far above the damping
            found = estimate_spectrum(course.base, damping=course.lifted, backend=backend, seed=seed)
            bounds = found if found.certified and found.kappa < bounds.kappa else bounds
    else:
        bounds = estimate_spectrum(course.base, damping=course.lifted, backend=backend, seed=seed)
    changes[-1] = replace(changes[-1], bounds=bounds)
    scale = None
    if scaling != "none":
        scaled, candidate = jacobi_scaling(operator, backend)
        scaled_bounds = estimate_spectrum(scaled, backend=backend, seed=seed)
        text = f"Jacobi scaling: kappa {bounds.kappa:.4g} -> {scaled_bounds.kappa:.4g}"
        if scaling == "jacobi" or scaled_bounds.kappa < bounds.kappa:
            operator, scale, bounds = scaled, candidate, scaled_bounds
        else:
            text += ", not kept"
        changes.append(Change("scaling", text, operator, bounds, scale))
    return Conditioned(operator, delta, shift, scale, bounds, changes, gradient, seed)


class _Course:
    """The matrix on its way, base + lifted I: its eigenvalues are those of `base` + lifted, so one Lanczos run serves
    the repair, the shift and the bounds."""

    def __init__(self, given: MatrixOperator, backend: Backend, seed: int) -> None:
        self.base, self.lifted, self.backend, self.seed = given, 0.0, backend, seed
        self.changes = [Change("given", f"{given.shape[0]} x {given.shape[0]}", given)]

    @property
    def operator(self) -> MatrixOperator:
        return self.changes[-1].operator

    def prune(self, rows: int, compensate: str | None) -> None:
        n = self.base.shape[0]
        self.base, dropped = prune(self.base, rows)
        text = f"pruned to at most {rows} of {n} entries a row ({self.base.nonzeros} in all)"
        self.changes.append(Change("prune", text + ("" if compensate else ", no repair"), self.base))
        if compensate == "diagonal":
            self.base = add_to_diagonal(self.base, dropped, self.backend)
            text = f"diagonal repair: what each row lost, up to {dropped.max():.4g}, is added to its diagonal"
            self.changes.append(Change("repair", text, self.base))
        elif compensate == "shift":
            by = float(repair(self.base, dropped, compensate, self.backend, self.seed)[0])
            self.lift(by, "repair", f"shift repair: {by:.6g}, -lambda_min by Lanczos, is added to the diagonal")

    def lift(self, by: float, name: str, text: str) -> None:
        self.lifted += by
        self.changes.append(Change(name, text, add_to_diagonal(self.operator, by, self.backend)))


def check_conditioning(density: float, compensate: str | None, scaling: str) -> None:
    """Raise ParameterError or UnknownNameError where the options of `condition` mean nothing."""
    if not (isinstance(density, Real) and 0 < float(density) <= 1):
        raise ParameterError("density", f"{density!r} is not in (0, 1]", "1 keeps every entry of the matrix")
    if compensate not in (*REPAIRS, None):
        raise UnknownNameError.among("compensate", compensate, (*REPAIRS, "None"))
    if scaling not in SCALINGS:
        raise UnknownNameError.among("scaling", scaling, SCALINGS)
