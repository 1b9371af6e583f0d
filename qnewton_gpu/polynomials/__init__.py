"""Polynomials that invert, and the phase factors that make a circuit apply them."""

from .cache import cached_phase_factors, clear_memory_cache, phases_for, round_down_to_grid, round_up_to_grid
from .inverse import InversePolynomial, Parity, inverse_degree, inverse_polynomial
from .phases import PhaseFactors, phase_factors

__all__ = [
    "InversePolynomial",
    "Parity",
    "PhaseFactors",
    "cached_phase_factors",
    "clear_memory_cache",
    "inverse_degree",
    "inverse_polynomial",
    "phase_factors",
    "phases_for",
    "round_down_to_grid",
    "round_up_to_grid",
]
