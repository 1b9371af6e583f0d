"""qnewton_gpu itself: the whole of `qnewton_gpu.solve`, its encoding and its FP64 certificate included, on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import qnewton_gpu as qn

from .case import Case

VERSION = f"qnewton_gpu {qn.__version__}"


def _with(mode: str, encoding: str) -> Callable[[Case], np.ndarray]:
    def solve(case: Case) -> np.ndarray:
        solution = qn.solve(
            case.matrix,
            case.b,
            solver="qsvt",
            encoding=encoding,
            mode=mode,
            tolerance=case.epsilon,
            bounds=qn.SpectrumBounds(1 / case.kappa, 1.0, certified=True),
            backend="cpu",
        )
        if not solution.solved:
            raise RuntimeError(solution.message)
        if encoding in case.encoded and solution.queries != len(case.encoded[encoding].phases) - 1:
            raise RuntimeError(f"{solution.queries} queries were made with other phases than those of the case")
        return solution.x

    return solve


VARIANTS = {
    "matching, circuit": _with("circuit", "matching"),
    "dilation, circuit": _with("circuit", "dilation"),
    "matching, fused": _with("fused", "matching"),
    "dilation, fused": _with("fused", "dilation"),
    "walk, fused": _with("fused", "walk"),
    "matching, two vectors, exact": _with("subspace", "matching"),
    "walk, two vectors, exact": _with("subspace", "walk"),
}
