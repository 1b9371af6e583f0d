"""Curvature of a training loss: operators on the flat parameter vector, in torch, FP64."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import UnknownNameError
from .base import Curvature, Objective, ParameterVector, Tensor

CURVATURES = {
    "ggn": "qnewton_gpu.curvature.gauss_newton:GaussNewton",
    "hessian": "qnewton_gpu.curvature.hessian:Hessian",
    "fisher": "qnewton_gpu.curvature.fisher:EmpiricalFisher",
    "kfac": "qnewton_gpu.curvature.kronecker:KroneckerFactored",
}


def make_curvature(name: str, objective: Objective, theta: Tensor, **options: Any) -> Curvature:
    """The curvature of that name at theta, with its own options (K-FAC: sharing); raises UnknownNameError."""
    if name not in CURVATURES:
        raise UnknownNameError.among("curvature", name, CURVATURES)
    module, attribute = CURVATURES[name].split(":")
    curvature: Curvature = getattr(importlib.import_module(module), attribute)(objective, theta, **options)
    return curvature


__all__ = ["CURVATURES", "Curvature", "Objective", "ParameterVector", "make_curvature"]
