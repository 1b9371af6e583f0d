"""Conditioning: what is known of the spectrum, and how kappa and the row sparsity d are lowered."""

from .condition import Conditioned, condition
from .pruning import prune_symmetric
from .record import ConditioningStep
from .spectrum import FP64_EPSILON, LANCZOS_STEPS, SpectrumBounds, estimate_spectrum

__all__ = [
    "FP64_EPSILON",
    "LANCZOS_STEPS",
    "Conditioned",
    "ConditioningStep",
    "SpectrumBounds",
    "condition",
    "estimate_spectrum",
    "prune_symmetric",
]
