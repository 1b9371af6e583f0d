"""A tensor network as data: which arrays meet in which indices. No array is made before somebody contracts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ShapeError

ENTRY_BYTES = 16
"""Of one complex128 entry; every array of a contraction is one."""


@dataclass(frozen=True)
class Operand:
    """An array that is made on request, so that its cost is known before anything is allocated."""

    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]
    key: Hashable | None = None
    """Operands with equal keys hold equal arrays, which are made once; None for one that shares with no other."""

    @classmethod
    def of(cls, array: Any) -> Operand:
        """An operand of an array that is there already; the same array twice is the same operand."""
        return cls(tuple(array.shape), lambda: array, ("array", id(array)))

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class TensorNetwork:
    """sum over all indices that are not in `output` of the product of the operands.

    An index is any integer. One that stands in more than two operands, or in two and the output, is a hyperindex: a
    control, or a diagonal, joins its wire without a dense tensor. Raises ShapeError where an index has two extents.

    >>> matrix, vector = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([3.0, 4.0])
    >>> network = TensorNetwork((Operand.of(matrix), Operand.of(vector)), ((0, 1), (1,)), (0,))
    >>> np.einsum(*network.interleaved())
    array([4., 3.])
    """

    operands: tuple[Operand, ...]
    indices: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]

    def __repr__(self) -> str:
        return f"TensorNetwork({len(self.operands)} operands, {len(self.extents)} indices, output {self.shape})"

    def __post_init__(self) -> None:
        if len(self.operands) != len(self.indices):
            problem = f"{len(self.operands)} operands meet {len(self.indices)} lists of indices"
            raise ShapeError("operands", problem, "Give each operand its indices")
        missing = set(self.output) - set(self.extents)
        if missing:
            raise ShapeError("output", f"index {min(missing)} is in no operand", "Use indices of the operands")

    @cached_property
    def extents(self) -> dict[int, int]:
        """The extent of every index."""
        extents: dict[int, int] = {}
        for operand, indices in zip(self.operands, self.indices, strict=True):
            if len(operand.shape) != len(indices):
                problem = f"an operand of shape {operand.shape} has indices {indices}"
                raise ShapeError("indices", problem, "Give each axis one index")
            if len(set(indices)) != len(indices):
                problem = f"{indices} names an index twice in one operand"
                raise ShapeError("indices", problem, "Take the diagonal of that operand first")
            for index, extent in zip(indices, operand.shape, strict=True):
                if extents.setdefault(index, extent) != extent:
                    problem = f"index {index} has extent {extents[index]} and {extent}"
                    raise ShapeError("operands", problem, "Join only axes of equal extent")
        return extents

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return tuple(self.extents[index] for index in self.output)

    @property
    def operand_bytes(self) -> int:
        """Memory that the arrays take together: operands with equal keys count once."""
        shared = {operand.key: operand.size for operand in self.operands if operand.key is not None}
        own = sum(operand.size for operand in self.operands if operand.key is None)
        return ENTRY_BYTES * (own + sum(shared.values()))

    def arrays(self, replacements: Mapping[int, Any] | None = None) -> list[Any]:
        """Every operand as its array, or what replaces it; operands with equal keys are one and the same array."""
        given, made = replacements or {}, dict[Hashable, np.ndarray]()
        return [given[place] if place in given else _made(operand, made) for place, operand in enumerate(self.operands)]

    def interleaved(self, arrays: Sequence[Any] | None = None) -> list[Any]:
        """array0, indices0, array1, indices1, ..., output: what numpy.einsum and its relatives take.

        `arrays`, where given, stand in for those of the operands.
        """
        form: list[Any] = []
        for array, indices in zip(self.arrays() if arrays is None else arrays, self.indices, strict=True):
            form += [array, list(indices)]
        return [*form, list(self.output)]


def _made(operand: Operand, made: dict[Hashable, np.ndarray]) -> np.ndarray:
    if operand.key is None:
        return operand.make()
    if operand.key not in made:
        made[operand.key] = operand.make()
    return made[operand.key]
