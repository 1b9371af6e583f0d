"""What contracts tensor networks: the protocol of engines, and what a contraction path costs.

An engine makes every array itself, from the operands of a network, so that a path is known and judged before anything
is allocated. cotengra with NumPy is the engine of a CPU (tensornet_cpu.py), cuTensorNet that of a GPU
(tensornet_gpu.py): each is made as `Engine(base)` of the backend on whose device it computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..tensor_networks.network import TensorNetwork

Path = tuple[tuple[int, ...], ...]
"""As of numpy.einsum_path: positions to be contracted, which leave the list; the result is appended to it."""


@dataclass(frozen=True)
class PathCost:
    """A contraction path and what it takes, known before any array is made."""

    path: Path
    flops: float
    """Real additions and multiplications, of complex entries."""
    largest_intermediate: int
    """Entries of the largest array that a contraction makes."""
    bytes: float
    """Operands, and the intermediates that live at the same time, where they are most."""
    finder: str
    """What found the path: "time order", "greedy", "optimal", "cutensornet"."""


class Contraction(Protocol):
    """One network with one path, contracted again and again."""

    def __call__(self, replacements: Mapping[int, Any] | None = None) -> Any:
        """The result, an array of the engine's device; replacements stand in for operands of these numbers."""
        ...


class Engine(Protocol):
    """Finds paths and contracts. Raises BackendUnavailableError, where it is made, for a library that is missing."""

    name: str

    def find_path(self, network: TensorNetwork) -> PathCost:
        """The cheapest path found: the order of the operands, which is the order in time, is always a candidate."""
        ...

    def contract(self, network: TensorNetwork, cost: PathCost) -> Any:
        """The result of shape `network.shape`, along the path of `cost`."""
        ...

    def contraction(self, network: TensorNetwork, cost: PathCost) -> Contraction:
        """The same, set up once for many contractions in which single operands are replaced."""
        ...
