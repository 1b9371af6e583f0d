"""What matrix-product states and operators share: one tensor (left, ..., right) a site, joined by bonds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from .decompositions import Array


class Chain:
    """Tensors with equal neighbouring bonds and outer bonds 1. Raises ShapeError for what is none."""

    axes: ClassVar[tuple[str, ...]]
    """What the axes of a tensor are, left and right among them."""
    __array_priority__ = 100  # NumPy scalars leave scalar * chain to us

    def __init__(self, tensors: Sequence[Array]) -> None:
        self.tensors = tuple(tensors)
        bonds = [(t.shape[0], t.shape[-1]) for t in self.tensors]
        chained = bool(bonds) and all(a[1] == b[0] for a, b in pairwise(bonds)) and bonds[0][0] == bonds[-1][1] == 1
        if not chained or any(t.ndim != len(self.axes) for t in self.tensors):
            raise ShapeError(
                "tensors",
                f"shapes {[t.shape for t in self.tensors]} are no chain",
                f"Give ({', '.join(self.axes)}) tensors with equal neighbouring bonds and outer bonds 1",
            )

    @property
    def dims(self) -> tuple[int, ...]:
        """Of the sites; of an operator those of its outputs."""
        return tuple(t.shape[1] for t in self.tensors)

    @property
    def bonds(self) -> tuple[int, ...]:
        """Of sites k and k + 1, (n - 1,)."""
        return tuple(t.shape[-1] for t in self.tensors[:-1])

    @property
    def bond_dimension(self) -> int:
        """The largest bond."""
        return max(self.bonds, default=1)

    @property
    def bytes(self) -> int:
        return sum(t.nbytes for t in self.tensors)

    @property
    def dtype(self) -> Any:
        return np.result_type(*(t.dtype for t in self.tensors))

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} sites, bond dimension {self.bond_dimension}, {self.dtype})"
