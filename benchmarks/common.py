"""What every benchmark shares: systems of known condition number, medians, and plain tables that name their clock."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

RUNS = 7


def sparse_system(size: int, kappa: float, seed: int = 0, indefinite: bool = False) -> sp.csr_array:
    """8 entries a row, |eigenvalues| from 1/kappa to 1, both exactly: rotated 8x8 blocks, permuted at random."""
    random = np.random.default_rng(seed)
    blocks = size // 8
    rotations = np.linalg.qr(random.standard_normal((blocks, 8, 8)))[0]
    values = kappa ** -random.random((blocks, 8))
    values[0, :2] = 1.0, 1 / kappa
    if indefinite:
        values[random.random((blocks, 8)) < 0.5] *= -1
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


def run_chosen(benchmarks: dict[str, Callable[[], None]], description: str | None) -> None:
    """The command line of a file of benchmarks: all of them, or those named."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("which", nargs="*", default=list(benchmarks), help=f"some of: {', '.join(benchmarks)}")
    chosen = parser.parse_args().which
    unknown = sorted(set(chosen) - set(benchmarks))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; valid ones are {', '.join(benchmarks)}")
    with tempfile.TemporaryDirectory() as folder:  # the user's own cache neither helps nor grows
        os.environ["QNEWTON_CACHE_DIR"] = folder
        for name in chosen:
            benchmarks[name]()
