"""NWQLib's own `qsvt_inverse`: its encodings, its polynomial, its phases, on Aer."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from nwqlib import LinearSystem, solve
from nwqlib.algorithms.qls import QLS

from .case import Case

VERSION = f"NWQLib {version('nwqlib')}"
NO_LIMITS = {
    "max_degree": 10**5,
    "max_qsp_evaluations": 10**6,
    "max_work": 10**15,
    "max_bytes": 10**12,
    "max_admission_steps": 10**12,
}


def _with(**options: Any) -> Callable[[Case], np.ndarray]:
    def run(case: Case) -> np.ndarray:
        method = QLS(epsilon_inv=case.epsilon, alpha=1.0, kappa=case.kappa, **NO_LIMITS, **options)
        result = solve(LinearSystem(A=case.matrix.toarray(), b=case.b), method=method, seed=0)
        return np.asarray(result.x).real

    return run


VARIANTS = {
    "own, dense dilation": _with(block_encoding_implementation="dense_dilation", dense_control_route="whole_matrix")
}
