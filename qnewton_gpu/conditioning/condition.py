"""The whole of conditioning in its order: prune raw H, repair it, make it definite, damp it, scale it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import ParameterError, UnknownNameError
from ..operators import MatrixOperator, as_symmetric
from .damping import definite_shift, paper_damping
from .pruning import REPAIRS, prune_symmetric
from .scaling import jacobi_scaling
from .spectrum import SpectrumBounds, estimate_spectrum, semidefinite_bounds

SCALINGS = ("none", "jacobi", "auto")


@dataclass
class Conditioned:
    """The changed system s (H' + (shift + damping) I) s, with x = s y; `record` says in words what each step did."""

    operator: MatrixOperator
    damping: float
    shift: float
    scale: Any | None
    bounds: SpectrumBounds
    record: list[str] = field(default_factory=list)


def condition(
    H: Any,
    *,
    density: float = 1.0,
    compensate: str | None = "diagonal",
    damping: float | str = 0.0,
    definite: bool = True,
    semidefinite: bool = False,
    scaling: str = "none",
    backend: str | Backend = "auto",
    seed: int = 0,
) -> Conditioned:
    """Prune to `density`, repair, shift by max(0, -lambda_min) if `definite`, damp, and scale an explicit symmetric H.

    `semidefinite` says that H is known to be positive semidefinite: then nothing is shifted, unless it is pruned
    without a repair that keeps it so, and damping is a certified lower bound. `damping` is a number, or "paper" for
    5e-3 max|H|. scaling="auto" keeps Jacobi only where it lowers the estimated kappa. Bounds are computed after
    damping. Raises what `qn.solve` raises for a bad matrix, and ParameterError.
    """
    check_conditioning(density, compensate, scaling)
    if not (damping == "paper" or (isinstance(damping, (int, float)) and math.isfinite(damping) and damping >= 0)):
        raise ParameterError("damping", f"{damping!r} is neither a number >= 0 nor 'paper'", "Use 0 for none")
    backend = select_backend(backend)
    operator = as_symmetric(H, backend)
    if not isinstance(operator, MatrixOperator):
        operator = MatrixOperator(operator.dense(), backend)
    record = []
    delta = paper_damping(operator) if damping == "paper" else float(damping)
    n = operator.shape[0]
    if density < 1:
        rows = max(1, round(density * n))
        operator = MatrixOperator(prune_symmetric(operator, rows, compensate=compensate, backend=backend), backend)
        record.append(
            f"pruned to at most {rows} of {n} entries a row ({operator.nonzeros} in all), repair {compensate}"
        )
    proven = semidefinite and (density == 1 or compensate == "diagonal")
    shift = definite_shift(operator, backend, seed) if definite and not proven else 0.0
    if shift:
        record.append(f"shifted by {shift:.6g}, a bound of -lambda_min: H is indefinite")
    undamped = operator
    if delta + shift:
        operator = _add_to_diagonal(operator, delta + shift, backend)
        record.append(f"damped by {delta:.6g}")
    if proven and delta:
        bounds = semidefinite_bounds(operator, delta, operator.largest_row_sum(), backend, seed)
    else:
        bounds = estimate_spectrum(undamped, damping=delta + shift, backend=backend, seed=seed)
    scale = None
    if scaling != "none":
        scaled, candidate = jacobi_scaling(operator, backend)
        scaled_bounds = estimate_spectrum(scaled, backend=backend, seed=seed)
        effect = f"Jacobi scaling: kappa {bounds.kappa:.4g} -> {scaled_bounds.kappa:.4g}"
        if scaling == "jacobi" or scaled_bounds.kappa < bounds.kappa:
            operator, scale, bounds = scaled, candidate, scaled_bounds
            record.append(effect)
        else:
            record.append(effect + ", not kept")
    return Conditioned(operator, delta, shift, scale, bounds, record)


def check_conditioning(density: float, compensate: str | None, scaling: str) -> None:
    """Raise ParameterError or UnknownNameError where the options of `condition` mean nothing."""
    if not 0 < density <= 1:
        raise ParameterError("density", f"{density!r} is not in (0, 1]", "1 keeps every entry of the matrix")
    if compensate not in (*REPAIRS, None):
        raise UnknownNameError.among("compensate", compensate, (*REPAIRS, "None"))
    if scaling not in SCALINGS:
        raise UnknownNameError.among("scaling", scaling, SCALINGS)


def _add_to_diagonal(H: MatrixOperator, value: float, backend: Backend) -> MatrixOperator:
    if H.sparse:
        import scipy.sparse as sp

        return MatrixOperator((H.matrix + value * sp.eye_array(H.shape[0], format="csr")).tocsr(), backend)
    matrix = H.matrix.copy()
    diagonal = backend.xp.arange(H.shape[0])
    matrix[diagonal, diagonal] += value
    return MatrixOperator(matrix, backend)
