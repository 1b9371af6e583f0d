"""Projected costs on stated machines: the clock that this computer's own seconds are never mixed with."""

from .hardware import ClassicalMachine, Hardware, calibrate
from .model import COMPARISONS, FIRST_SUCCESS_PROBABILITY, Cost, CostModel, jennings_queries

__all__ = [
    "COMPARISONS",
    "FIRST_SUCCESS_PROBABILITY",
    "ClassicalMachine",
    "Cost",
    "CostModel",
    "Hardware",
    "calibrate",
    "jennings_queries",
]
