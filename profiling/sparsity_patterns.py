"""The matrices that roofline.py measures: 16 entries a row, banded or random, made fast and well conditioned."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp

from qnewton_gpu.encodings.matching import MatchingRegister

COLOURS = 16
"""Entries a row."""
GOLDEN = (math.sqrt(5) - 1) / 2


def matchings(rows: int) -> np.ndarray:
    """A random symmetric pattern: the columns of 15 perfect matchings without a common edge, and the diagonal, (16, N).

    With the rows numbered at random, each is paired with that whose number differs in the bits of a mask.
    """
    rng = np.random.default_rng(0)
    number = rng.permutation(np.arange(rows, dtype=np.int32))
    row = np.argsort(number).astype(np.int32)
    masks = 1 + rng.choice(rows - 1, COLOURS - 1, replace=False).astype(np.int32)
    return np.stack([*(row[number ^ mask] for mask in masks), np.arange(rows, dtype=np.int32)])


def band(rows: int) -> np.ndarray:
    """Neighbouring columns, as on a ring: 7 to each side, an eighth to one of them, and the diagonal, (16, N)."""
    j = np.arange(rows, dtype=np.int32)
    return np.stack([*((j + offset) % rows for offset in range(-7, 8) if offset), j ^ 8, j]).astype(np.int32)


def entries(columns: np.ndarray, colour: Any = 0) -> np.ndarray:
    """H there, (16, N): of both signs, the diagonal larger than a row's others together, so that kappa is below 31.

    `colour`, 0 to 15 for each matching, makes those of one matching larger than those of the next.
    """
    mixed = (np.arange(columns.shape[1]) + columns) * GOLDEN % 1  # the same for (j, k) and (k, j)
    values = np.where(mixed < 0.5, -1.0, 1.0) * (1 - (colour + mixed) / (2 * COLOURS))
    values[-1] = COLOURS
    return values


def random_entries(columns: np.ndarray) -> np.ndarray:
    return entries(columns, np.arange(COLOURS)[:, None])


PATTERNS: dict[str, tuple[Callable[[int], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "band": (band, entries),
    "random": (matchings, random_entries),
}


@cache
def sparse_matrix(pattern: str, rows: int) -> sp.csr_matrix:
    """H as SciPy CSR with 16 sorted entries a row."""
    columns_of, entries_of = PATTERNS[pattern]
    columns = columns_of(rows)
    values = np.ascontiguousarray(entries_of(columns).T)
    columns = np.ascontiguousarray(columns.T)
    order = columns.argsort(axis=1)
    starts = np.arange(0, COLOURS * rows + 1, COLOURS, dtype=np.int32)
    sorted_values, sorted_columns = (np.take_along_axis(a, order, 1).reshape(-1) for a in (values, columns))
    return sp.csr_matrix((sorted_values, sorted_columns, starts), shape=(rows, rows))


def matching_register(rows: int, backend: Any) -> MatchingRegister:
    """The tables of the matching encoding of the random pattern, from its matchings: no edge has to be coloured."""
    partner = matchings(rows)
    value = random_entries(partner)
    maxima = np.abs(value).max(axis=1)
    put = backend.asarray
    return MatchingRegister(put(partner), put(value / maxima[:, None]), put(np.sqrt(maxima / maxima.sum())))
