"""Gate programs as tensor networks: the backend, and the protocol of the engines that contract for it.

An engine makes every array itself, from the operands of a network, so that a path is known and judged before anything
is allocated. cotengra with NumPy is the engine of a CPU (tensornet_cpu.py), cuTensorNet that of a GPU
(tensornet_gpu.py): each is made as `Engine(base)` of the backend on whose device it computes.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from functools import cached_property
from threading import RLock
from typing import Any, Protocol

from ..errors import NotEnoughMemoryError
from ..tensor_networks.network import TensorNetwork
from .base import Backend, StateVector
from .contraction_paths import PathCost
from .tensornet_state import REMEDY, TensorNetworkState

ENGINES = {
    "cpu": "qnewton_gpu.backends.tensornet_cpu:CotengraEngine",
    "gpu": "qnewton_gpu.backends.tensornet_gpu:CuTensorNetEngine",
}
MOST_KEPT = 8
"""Contractions whose path is kept for networks of the same form: other phases, rounds and columns."""
KEPT_SHARE = 16
"""A contraction is kept that needs less than 1/KEPT_SHARE of the free memory: it may hold arrays on its device."""


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


class TensornetBackend:
    """Everything classical is that of `base`; a gate program becomes a tensor network instead of 2^qubits amplitudes.

    bond_dimension: None contracts exactly; a number keeps matrix-product states of at most this bond dimension, and
    drops singular values below `cutoff`. Raises BackendUnavailableError where the engine's library is missing.

    >>> import numpy as np
    >>> from qnewton_gpu.backends import select_backend
    >>> from qnewton_gpu.tensor_networks import CircuitNetwork
    >>> from qnewton_gpu.circuit import Circuit
    >>> circuit, state = Circuit(60), CircuitNetwork(60)
    >>> circuit.hadamard(0)
    >>> circuit.shift(2**59 - 1, range(60))  # (|2^59 - 1> + |2^59>)/sqrt 2
    >>> state.run(circuit)
    >>> backend = select_backend("tensornet")
    >>> abs(backend.to_numpy(backend.contract(state.entries([2**59, 2**59 - 1, 5])))).round(3)
    array([0.707, 0.707, 0.   ])
    """

    name = "tensornet"
    modes = ("circuit",)
    register_bytes = (0, 0)  # none is kept: a state vector tells what its network takes, before it is contracted
    register_kernels: tuple[str, ...] = ()

    def __init__(self, base: Backend, bond_dimension: int | None = None, cutoff: float = 1e-12) -> None:
        self.base, self.bond_dimension, self.cutoff = base, bond_dimension, cutoff
        self._kept: OrderedDict[Hashable, tuple[PathCost, Contraction | None]] = OrderedDict()
        self._lock = RLock()
        if bond_dimension is None:
            self.engine  # noqa: B018  raises at once where it cannot be used

    def __reduce__(self) -> tuple[Any, ...]:
        # a copy of what holds a backend, such as an optimizer, finds its own paths: locks and contractions stay here
        return type(self), (self.base, self.bond_dimension, self.cutoff)

    def __getattr__(self, name: str) -> Any:
        if name == "base":  # not before it is made, when copied
            raise AttributeError(name)
        return getattr(self.base, name)

    @cached_property
    def engine(self) -> Engine:
        module, attribute = ENGINES[self.base.name].split(":")
        engine: Engine = getattr(importlib.import_module(module), attribute)(self.base)
        return engine

    def state_vector(self, start: Any, num_qubits: int) -> StateVector:
        if self.bond_dimension is None:
            return TensorNetworkState(self, start, num_qubits)
        from .tensornet_chain import ChainStateVector

        state: StateVector = ChainStateVector(start, num_qubits, self.bond_dimension, self.cutoff)
        return state

    def path(self, network: TensorNetwork) -> PathCost:
        """The path that `contract` takes, found once for all networks of the same form."""
        return self._prepared(network)[0]

    def contract(self, network: TensorNetwork, remedy: str = REMEDY) -> Any:
        """The result, of shape `network.shape`, on the device of `base`.

        Raises NotEnoughMemoryError, before any array is made, where the cheapest path takes more than there is.
        """
        self.check(network, remedy)
        cost, kept = self._prepared(network)
        if kept is None:
            return self.engine.contract(network, cost)
        with self._lock:
            return kept(dict(enumerate(network.arrays())))

    def check(self, network: TensorNetwork, remedy: str = REMEDY) -> None:
        """Raise NotEnoughMemoryError where `contract` would."""
        cost, free = self.path(network), self.base.available_bytes()
        if cost.bytes > free:
            problem = (
                f"the tensor network of {len(network.operands)} operands needs {cost.bytes / 2**30:.3g} GiB along the "
                f"best path found ({cost.finder}), but {free / 2**30:.3g} GiB are free on {self.base.device}"
            )
            raise NotEnoughMemoryError("backend", problem, remedy)

    def _prepared(self, network: TensorNetwork) -> tuple[PathCost, Contraction | None]:
        form = network.indices, network.output, tuple(network.extents.items())
        with self._lock:
            if form in self._kept:
                self._kept.move_to_end(form)
                return self._kept[form]
            cost = self.engine.find_path(network)
            small = cost.bytes * KEPT_SHARE <= self.base.available_bytes()
            self._kept[form] = cost, self.engine.contraction(network, cost) if small else None
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return self._kept[form]
