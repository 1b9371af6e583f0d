"""Projected costs on stated machines: the clock that this computer's own seconds are never mixed with."""

from .calibration import calibrate
from .hardware import Hardware
from .jennings import jennings_queries, released_code_queries
from .machine import ClassicalMachine
from .model import COMPARISONS, FIRST_SUCCESS_PROBABILITY, Comparison, Cost, CostModel

__all__ = [
    "COMPARISONS",
    "FIRST_SUCCESS_PROBABILITY",
    "ClassicalMachine",
    "Comparison",
    "Cost",
    "CostModel",
    "Hardware",
    "calibrate",
    "jennings_queries",
    "released_code_queries",
]
