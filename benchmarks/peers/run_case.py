"""One solver on one case, in a process of its own: python -m peers.run_case SOLVER VARIANT CASE RESULT LIMIT MEMORY.

SIGALRM, which nothing catches, ends a solve that takes longer than LIMIT seconds, compiled code included; MEMORY bounds
the bytes of the address space. Imports are not timed. RESULT gets x and the fastest of up to RUNS solves, as many as
fit into a quarter of the limit.
"""

from __future__ import annotations

import importlib
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from peers.case import Case

RUNS = 5


def main(solver: str, variant: str, case: str, result: str, limit: str, memory: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    peer = importlib.import_module(f"peers.{solver}")
    system, solve = Case.load(Path(case)), peer.VARIANTS[variant]
    seconds: list[float] = []
    while not seconds or (len(seconds) < RUNS and sum(seconds) + min(seconds) < float(limit) / 4):
        signal.setitimer(signal.ITIMER_REAL, float(limit))
        began = time.perf_counter()
        x = solve(system)
        seconds.append(time.perf_counter() - began)
    signal.setitimer(signal.ITIMER_REAL, 0)
    np.savez(result, x=x, seconds=min(seconds), version=peer.VERSION)


if __name__ == "__main__":
    main(*sys.argv[1:])
