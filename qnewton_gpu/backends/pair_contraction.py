"""Two arrays contracted over the indices they share, with NumPy: an elementwise product, or a batch of matrix products.

first[batch, left, summed], second[batch, summed, right] -> result[batch, left, right]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pair:
    """How two arrays are contracted, in axes, so that equal contractions of a long path share it."""

    sums: tuple[tuple[int, ...], tuple[int, ...]]
    """Axes of each that are summed before."""
    order: tuple[tuple[int, ...], tuple[int, ...]]
    """Axes of each after that: (batch, left, summed) and (batch, summed, right); elementwise, as in the result."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of each after that; elementwise, with ones where the smaller has no axis."""
    shape: tuple[int, ...]
    elementwise: bool
    places: tuple[tuple[int, int], ...]
    """Of each axis of the result: 0 or 1 for first or second, and the axis there."""

    def result(self, first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
        """The indices of the result, in the order of its axes."""
        return tuple((first, second)[which][axis] for which, axis in self.places)

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        a, b = (
            (array.sum(axis=axes) if axes else array).transpose(order).reshape(shape)
            for array, axes, order, shape in zip((first, second), self.sums, self.order, self.shapes, strict=True)
        )
        return a * b if self.elementwise else _matrix_products(a, b).reshape(self.shape)


def pair_of(
    first: tuple[int, ...],
    second: tuple[int, ...],
    kept: frozenset[int],
    extents: Mapping[int, int],
    plans: dict[object, Pair],
) -> Pair:
    """How arrays of these indices are contracted to the indices `kept`; `plans` has those that were made before."""
    place = {index: p for p, index in enumerate(first)}
    key = (
        tuple((extents[index], index in kept) for index in first),
        tuple((extents[index], index in kept, place.get(index, -1)) for index in second),
    )
    if key not in plans:
        plans[key] = _made(first, second, kept, extents)
    return plans[key]


def _made(first: tuple[int, ...], second: tuple[int, ...], kept: frozenset[int], extents: Mapping[int, int]) -> Pair:
    sums = (
        tuple(axis for axis, index in enumerate(first) if index not in kept and index not in second),
        tuple(axis for axis, index in enumerate(second) if index not in kept and index not in first),
    )
    a = [index for axis, index in enumerate(first) if axis not in sums[0]]
    b = [index for axis, index in enumerate(second) if axis not in sums[1]]
    shared = [index for index in b if index in a]
    batch, summed = [i for i in shared if i in kept], [i for i in shared if i not in kept]
    left, right = [i for i in a if i not in shared], [i for i in b if i not in shared]
    elementwise = not summed and (not left or not right)
    if elementwise:
        result = b if not left else a  # has all indices, in the order that both are brought to
        order = (
            tuple(a.index(i) for i in result if i in a),
            tuple(b.index(i) for i in result if i in b),
        )
        shapes = (
            tuple(extents[i] if i in a else 1 for i in result),
            tuple(extents[i] if i in b else 1 for i in result),
        )
    else:
        result = [*batch, *left, *right]
        order = (
            tuple(a.index(i) for i in (*batch, *left, *summed)),
            tuple(b.index(i) for i in (*batch, *summed, *right)),
        )
        sizes = [int(np.prod([extents[i] for i in group], dtype=np.int64)) for group in (batch, left, summed, right)]
        shapes = ((sizes[0], sizes[1], sizes[2]), (sizes[0], sizes[2], sizes[3]))
    places = tuple((1, second.index(i)) if i in second else (0, first.index(i)) for i in result)
    return Pair(sums, order, shapes, tuple(extents[i] for i in result), elementwise, places)


def reduced(array: np.ndarray, indices: Sequence[int], output: Sequence[int]) -> np.ndarray:
    """The array with the indices of the output, in its order; others are summed."""
    unwanted = tuple(axis for axis, index in enumerate(indices) if index not in output)
    left = [index for index in indices if index in output]
    return (array.sum(axis=unwanted) if unwanted else array).transpose([left.index(index) for index in output])


def _matrix_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b; of a real and a complex one, the complex one is twice as many real columns."""
    if np.iscomplexobj(a) == np.iscomplexobj(b):
        return a @ b
    if np.iscomplexobj(a):
        return _matrix_products(b.swapaxes(1, 2), a.swapaxes(1, 2)).swapaxes(1, 2)
    return (a @ np.ascontiguousarray(b).view(np.float64)).view(np.complex128)
