"""The banded encoding: H as diagonals, each two matchings that are computed, so that no partner is looked up.

The offset k of H pairs j with j + k where floor(j/k) is even, and in a second colour where it is odd; so for colour
l = (k, p), p in {0, 1},
    P_l j = j + k if floor(j/k) mod 2 = p, else j - k        (j itself where that leaves 0..N-1)
which is its own inverse. The diagonal is a colour of its own. The rest is the matching encoding: alpha is the sum of
the colours' largest entries, and S a permutation by P_l, here of adders, and a rotation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import CombinationError
from ..operators import Operator
from .matching import ColouredEncoding

MOST_OFFSETS = 64


def involutions(offset: Any, parity: Any, size: int, xp: Any) -> Any:
    """P_l j for the colours l = (offset, parity), (L, size); of offset 0 the identity."""
    j, k = xp.arange(size), offset[:, None]
    ahead = (j // xp.maximum(k, 1)) % 2 == parity[:, None]
    partner = j + xp.where(ahead, k, -k)
    return xp.where((partner >= 0) & (partner < size), partner, j)


def offsets_of(host: Any) -> np.ndarray:
    """The k > 0 for which some H_{j, j+k} is not zero, in rising order."""
    row, column = host.nonzero()
    offsets = np.unique(column - row)
    return offsets[offsets > 0]


class BandedEncoding(ColouredEncoding):
    """H/alpha for an explicit symmetric H of few diagonals."""

    name = "banded"
    select = "shift"

    @classmethod
    def check(cls, operator: Operator) -> None:
        super().check(operator)
        count = len(offsets_of(operator.host))  # type: ignore[attr-defined]
        if count > MOST_OFFSETS:
            raise CombinationError(
                "encoding",
                f"banded is meant for few diagonals, and A has entries on {count} above its main one",
                f"Use encoding='matching' or 'walk', or order the unknowns so that at most {MOST_OFFSETS} remain",
            )

    def _colour(self) -> np.ndarray:
        host, n = self.operator.host, self.operator.shape[0]
        colours: list[tuple[int, int]] = []
        values = []
        for k in offsets_of(host).tolist():
            entries = np.asarray(host.diagonal(k))
            for parity in (0, 1):
                chosen = np.where((np.arange(n - k) // k) % 2 == parity, entries, 0.0)
                if chosen.any():
                    colours.append((k, parity))
                    values.append(np.pad(chosen, (0, k)) + np.pad(chosen, (k, 0)))  # at j, and at j + k
        diagonal = np.asarray(host.diagonal())
        if diagonal.any() or not colours:
            colours.append((0, 0))
            values.append(diagonal)
        self.offset, self.parity = np.array(colours).T
        return np.array(values)

    @property
    def partner(self) -> np.ndarray:
        return np.asarray(involutions(self.offset, self.parity, self.value.shape[1], np))

    def _involutions(self) -> Any:
        put = self.backend.asarray
        return involutions(put(self.offset), put(self.parity), self.value.shape[1], self.backend.xp)
