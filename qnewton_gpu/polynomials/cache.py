"""Phase factors kept in memory, and on disk by the name of their polynomial and the scale, for all processes of a user.

An entry is verified by reconstruction when it is read, and rebuilt where it is damaged.
"""

from __future__ import annotations

import io
import logging
import math
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..user_cache import cache_folder, keep
from .base import Polynomial
from .phases import (
    DEFAULT_SCALE,
    RECONSTRUCTION_TOLERANCE,
    PhaseFactors,
    checked_scale,
    phase_factors,
    reconstruction_error,
)

GRID_STEPS_PER_OCTAVE = 8
_FORMAT = 3
_log = logging.getLogger(__name__)


def round_up_to_grid(value: float) -> float:
    """The smallest 2^(k/8) >= value: kappas on this grid share their phase factors and their plans."""
    if math.isinf(value):
        return value
    return 2.0 ** (math.ceil(GRID_STEPS_PER_OCTAVE * math.log2(value) - 1e-9) / GRID_STEPS_PER_OCTAVE)


def round_down_to_grid(value: float) -> float:
    """The largest 2^(k/8) <= value."""
    return 2.0 ** (math.floor(GRID_STEPS_PER_OCTAVE * math.log2(value) + 1e-9) / GRID_STEPS_PER_OCTAVE)


def phases_for(polynomial: Polynomial, scale: float = DEFAULT_SCALE) -> PhaseFactors:
    """The verified phase factors of scale * P/max|P|, from memory, from disk, or built now; errors as `phase_factors`.

    >>> from qnewton_gpu.polynomials import inverse_polynomial
    >>> phases_for(inverse_polynomial(10, 1e-2)).degree
    53
    """
    return _phases_for(polynomial, checked_scale(scale))


@lru_cache(maxsize=256)
def _phases_for(polynomial: Polynomial, scale: float) -> PhaseFactors:
    path = cache_folder() / f"phases{_FORMAT}-{polynomial.name}-{scale.hex()}.npz"
    phases = _read(path, polynomial, scale)
    if phases is None:
        phases = phase_factors(polynomial, scale=scale)
        keep(path, _content(phases), "phase factors")
    return phases


def clear_memory_cache() -> None:
    """Forget what this process holds; the folder stays."""
    _phases_for.cache_clear()


def _read(path: Path, polynomial: Polynomial, scale: float) -> PhaseFactors | None:
    if path.exists() and not path.is_file():  # a pipe or a folder would be waited for, or fail
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
            wx = entry["wx"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as problem:  # bytes that are no archive fail anywhere in zip and npy parsing, in ways without end
        _log.warning("the cached phases in %s cannot be read (%s) and are rebuilt", path, problem)
        return None
    if wx.shape == (polynomial.degree + 1,) and wx.dtype == np.float64:
        with np.errstate(all="ignore"):  # wrong numbers may overflow; the comparison below refuses them
            error = reconstruction_error(wx, polynomial.chebyshev * (scale / polynomial.sup_norm))
        if error <= RECONSTRUCTION_TOLERANCE:
            return PhaseFactors(wx, scale, polynomial.sup_norm, error)
    _log.warning("the cached phases in %s do not reconstruct their polynomial and are rebuilt", path)
    return None


def _content(phases: PhaseFactors) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, wx=phases.wx)
    return buffer.getvalue()
