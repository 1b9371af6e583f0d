"""Polynomials that invert, filter or reflect, and the phase factors that make a circuit apply them."""

from .absolute import AbsoluteInversePolynomial, absolute_inverse_polynomial
from .base import Parity, Polynomial
from .cache import clear_memory_cache, phases_for, round_down_to_grid, round_up_to_grid
from .damped import DampedInversePolynomial, damped_inverse_polynomial
from .inverse import InversePolynomial, inverse_degree, inverse_polynomial
from .kernel import (
    EigenstateFilterPolynomial,
    KernelReflectionPolynomial,
    eigenstate_filter_polynomial,
    kernel_reflection_polynomial,
)
from .phases import PhaseFactors, phase_factors
from .pseudo_inverse import PseudoInversePolynomial, pseudo_inverse_polynomial
from .uniform import UniformInversePolynomial, uniform_inverse_polynomial

__all__ = [
    "AbsoluteInversePolynomial",
    "DampedInversePolynomial",
    "EigenstateFilterPolynomial",
    "InversePolynomial",
    "KernelReflectionPolynomial",
    "Parity",
    "PhaseFactors",
    "Polynomial",
    "PseudoInversePolynomial",
    "UniformInversePolynomial",
    "absolute_inverse_polynomial",
    "clear_memory_cache",
    "damped_inverse_polynomial",
    "eigenstate_filter_polynomial",
    "inverse_degree",
    "inverse_polynomial",
    "kernel_reflection_polynomial",
    "phase_factors",
    "phases_for",
    "pseudo_inverse_polynomial",
    "round_down_to_grid",
    "round_up_to_grid",
    "uniform_inverse_polynomial",
]
