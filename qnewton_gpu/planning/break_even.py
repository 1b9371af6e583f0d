"""The gate time at which a quantum computer would pay, over the order and the condition number of a stated system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..costs import CostModel
from ..errors import ShapeError
from ..solvers import make_predictor
from .plan import break_even, predict_all
from .stated import stated_system


@dataclass(frozen=True, eq=False)
class BreakEvenMap:
    """`gate_times[i, j]` in seconds (projected) belongs to kappas[i] and sizes[j]; 0 where no gate time would do."""

    sizes: np.ndarray
    kappas: np.ndarray
    gate_times: np.ndarray
    model: CostModel
    row_nonzeros: int | None
    alpha: float
    tolerance: float


def break_even_map(
    sizes: Sequence[int] | np.ndarray,
    kappas: Sequence[float] | np.ndarray,
    model: CostModel,
    *,
    row_nonzeros: int | None = None,
    alpha: float = 1.0,
    tolerance: float = 1e-2,
) -> BreakEvenMap:
    """Gate times at which the best quantum candidate of `model` takes as long as the best classical one.

    Of `stated_system(size, kappa, row_nonzeros, alpha, tolerance)` for every size and kappa; row_nonzeros None: dense.
    What `predict` says is all that is used, so the map holds for whatever `model` charges. Raises ParameterError,
    ShapeError.

    >>> found = break_even_map([1024, 4096], [10, 1000], CostModel(), row_nonzeros=16)
    >>> found.gate_times.shape, bool((found.gate_times[0] > found.gate_times[1]).all())
    ((2, 2), True)
    """
    across, up = _axis("sizes", sizes), _axis("kappas", kappas)
    predictors = {name: make_predictor(name) for name in model.candidates}
    gate_times = np.zeros((len(up), len(across)))
    for i, kappa in enumerate(up):
        for j, size in enumerate(across):
            system = stated_system(size, kappa, row_nonzeros, alpha, tolerance)
            costs = predict_all(system, model, system.operator.backend, predictors)
            gate_times[i, j] = break_even(model, costs)
    return BreakEvenMap(across, up, gate_times, model, row_nonzeros, alpha, tolerance)


def _axis(name: str, values: Sequence[float] | np.ndarray) -> np.ndarray:
    axis = np.asarray(values)
    if axis.ndim != 1 or axis.size == 0:
        raise ShapeError(name, f"it has the shape {axis.shape}", "Give a sequence of numbers")
    return axis
