"""Conditioning: what is known of the spectrum, and how kappa and the row sparsity d are lowered."""

from .bounds import FP64_EPSILON, SpectrumBounds
from .condition import Conditioned, condition
from .kappa import KappaEstimate, kappa_estimates
from .pruning import prune_symmetric
from .record import ConditioningStep
from .spectrum import LANCZOS_STEPS, estimate_spectrum

__all__ = [
    "FP64_EPSILON",
    "LANCZOS_STEPS",
    "Conditioned",
    "ConditioningStep",
    "KappaEstimate",
    "SpectrumBounds",
    "condition",
    "estimate_spectrum",
    "kappa_estimates",
    "prune_symmetric",
]
