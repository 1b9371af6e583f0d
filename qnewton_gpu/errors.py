"""Typed errors: one class for each thing that a user can mend.

Every message names the argument, the problem and the remedy. Numerical failure is not an error: it is a
`Status` of the `Solution` (see solvers/base.py).
"""

from __future__ import annotations

from collections.abc import Iterable


class QNewtonError(Exception):
    """Base of every error this package raises on purpose: `argument: problem. remedy.`"""

    def __init__(self, argument: str, problem: str, remedy: str) -> None:
        self.argument, self.problem, self.remedy = argument, problem, remedy
        super().__init__(f"{argument}: {problem}. {remedy}.")

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.argument, self.problem, self.remedy)


class ShapeError(QNewtonError, ValueError):
    """An array has the wrong shape: not square, empty, or a right-hand side of the wrong length."""


class NotSymmetricError(QNewtonError, ValueError):
    """A matrix that has to be symmetric is not."""


class DataTypeError(QNewtonError, TypeError):
    """An array holds numbers of a kind that is not supported, or is no array at all."""


class NonFiniteError(QNewtonError, ValueError):
    """An input holds NaN or infinity."""


class ParameterError(QNewtonError, ValueError):
    """A number is outside the range in which it means anything."""


class UnknownNameError(QNewtonError, ValueError):
    """A name is not one of the valid ones, which the message lists."""

    @classmethod
    def among(cls, argument: str, name: object, valid: Iterable[str]) -> UnknownNameError:
        from difflib import get_close_matches  # not before somebody mistypes

        names = list(valid)
        near = get_close_matches(str(name), names, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        return cls(argument, f"unknown name {name!r}{meant}", "Valid names are: " + ", ".join(names))


class CombinationError(QNewtonError, ValueError):
    """Two options that are valid on their own do not go together."""


class BackendUnavailableError(QNewtonError, RuntimeError):
    """A backend needs a library or a device that is not here; the message says what installs it."""


class FileFormatError(QNewtonError, ValueError):
    """A file cannot be read as what it should be."""


class MissingDataError(QNewtonError, FileNotFoundError):
    """A data set is not on this machine; the message says where to put it or what to install."""

    __str__ = Exception.__str__


class UnsupportedModelError(QNewtonError, TypeError):
    """A model or loss for which the asked curvature is not defined."""


class NotEnoughMemoryError(QNewtonError, MemoryError):
    """The predicted memory does not fit; the message says how much is needed and what would fit."""


class NonFiniteLossError(QNewtonError, ArithmeticError):
    """The training loss or its gradient is NaN or infinite: the step is refused, parameters unchanged."""


class RunFolderError(QNewtonError, RuntimeError):
    """A run folder is missing, holds another run, or cannot be continued."""
