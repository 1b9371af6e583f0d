"""Tensor networks on a CPU: paths by cotengra or in the order in time, contraction in NumPy, pair by pair."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import BackendUnavailableError
from ..tensor_networks.network import TensorNetwork
from .base import Backend
from .contraction_paths import Path, PathCost, path_cost, steps, time_order
from .pair_contraction import Pair, pair_of, reduced

INSTALL = 'Install it with pip install "qnewton-gpu[tensornet]", or use backend="cpu"'
OPTIMAL = 8
"""Operands up to which all paths are compared."""
RANDOM = 100
"""Operands up to which several randomised greedy searches are made, TRIALS of them."""
TRIALS = 16
FLOPS_OF_A_SEARCH = 2.5e3
"""Times the square of the number of operands: what NumPy computes while cotengra's greedy search runs once. It takes
0.4 s for 400 operands; no path is searched for in more time than the order in time takes altogether."""
MOST_SEARCHED = 2000
"""Operands up to which a path is searched for where the order in time does not fit into memory: about ten seconds."""


class CotengraEngine:
    """Contracts on the CPU. Raises BackendUnavailableError where cotengra is missing."""

    name = "cotengra"

    def __init__(self, base: Backend) -> None:
        self._base = base
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="cotengra")  # of optional packages that it misses
                self._finders = importlib.import_module("cotengra.pathfinders.path_basic")
        except ImportError as problem:
            raise BackendUnavailableError("backend", f"cotengra cannot be imported ({problem})", INSTALL) from problem

    def find_path(self, network: TensorNetwork) -> PathCost:
        """Of the paths that fit into memory the one of fewest flops; where none fits, the one of fewest bytes."""
        in_time = path_cost(network, time_order(network), "time order")
        free = self._base.available_bytes()
        count = len(network.operands)
        searches = TRIALS if OPTIMAL < count <= RANDOM else 1
        quick = in_time.flops <= searches * FLOPS_OF_A_SEARCH * count**2
        if (in_time.bytes <= free and quick) or count > MOST_SEARCHED:
            return in_time
        candidates = [in_time, *(path_cost(network, path, name) for name, path in self._searched(network))]
        fitting = [cost for cost in candidates if cost.bytes <= free]
        return min(fitting, key=lambda cost: cost.flops) if fitting else min(candidates, key=lambda cost: cost.bytes)

    def _searched(self, network: TensorNetwork) -> list[tuple[str, Path]]:
        asked = (network.indices, network.output, network.extents)
        count, finders = len(network.operands), self._finders
        found = [("greedy", finders.optimize_greedy(*asked, simplify=False))]
        if count <= OPTIMAL:
            found.append(("optimal", finders.optimize_optimal(*asked, simplify=False)))
        elif count <= RANDOM:
            path, _ = finders.optimize_random_greedy_track_flops(*asked, ntrials=TRIALS, seed=0, simplify=False)
            found.append(("random greedy", path))
        return [(name, tuple(tuple(pair) for pair in path)) for name, path in found]

    def contract(self, network: TensorNetwork, cost: PathCost) -> np.ndarray:
        return self.contraction(network, cost)()

    def contraction(self, network: TensorNetwork, cost: PathCost) -> NumpyContraction:
        return NumpyContraction(network, cost.path)


class NumpyContraction:
    """A network with its path, each pair prepared: which axes are multiplied, summed, and kept."""

    def __init__(self, network: TensorNetwork, path: Path) -> None:
        self._network = network
        self._pairs: list[tuple[tuple[int, int], Pair]] = []
        live, plans = list(network.indices), dict[Any, Pair]()
        for step, _ in steps(network, path):
            low, high = step.positions
            second, first = live.pop(high), live.pop(low)
            pair = pair_of(first, second, step.kept, network.extents, plans)
            self._pairs.append((step.positions, pair))
            live.append(pair.result(first, second))
        self._last = live[0]

    def __call__(self, replacements: Mapping[int, Any] | None = None) -> np.ndarray:
        network = self._network
        live: list[np.ndarray] = network.arrays(replacements)
        for (low, high), pair in self._pairs:
            second, first = live.pop(high), live.pop(low)
            live.append(pair(first, second))
            del first, second
        return reduced(live[0], self._last, network.output)
