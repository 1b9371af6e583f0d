"""What every benchmark shares: systems of known condition number, medians, and plain tables that name their clock."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

RUNS = 7


def sparse_system(size: int, kappa: float, seed: int = 0) -> sp.csr_array:
    """8 entries a row, positive definite, condition number exactly kappa: rotated 8x8 blocks, permuted at random."""
    random = np.random.default_rng(seed)
    blocks = size // 8
    rotations = np.linalg.qr(random.standard_normal((blocks, 8, 8)))[0]
    values = kappa ** -random.random((blocks, 8))
    values[0, :2] = 1.0, 1 / kappa
    dense = np.einsum("bik,bk,bjk->bij", rotations, values, rotations)
    dense = (dense + dense.transpose(0, 2, 1)) / 2
    H = sp.bsr_array((dense, np.arange(blocks), np.arange(blocks + 1)), shape=(size, size)).tocoo()
    place = random.permutation(size)
    matrix = sp.coo_array((H.data, (place[H.row], place[H.col])), shape=H.shape).tocsr()
    matrix.sort_indices()
    return matrix


def median(call: Callable[[], Any], runs: int = RUNS) -> float:
    """Median seconds of `runs` calls, after one that warms caches."""
    call()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def machine() -> str:
    return f"{len(os.sched_getaffinity(0))} CPU cores"


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """A plain table. `simulated` in the title: seconds that this machine spent."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\n{title}  [{machine()}]")
    for row in (header, ["-" * width for width in widths], *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
