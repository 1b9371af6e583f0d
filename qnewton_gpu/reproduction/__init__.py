"""The experiments of the Q-Newton paper (arXiv 2405.00252), run again: its claims beside what is measured."""

from .parts import PARTS, reproduce

__all__ = ["PARTS", "reproduce"]
