"""Tensor networks on a GPU: paths and contractions by cuTensorNet, on the base backend's stream and in its memory.

cuTensorNet takes hyperindices as they are (an index in any number of operands, and in the output too), so a network
goes to it unchanged but for operands without an axis, which it refuses.
"""

from __future__ import annotations

import importlib
import math
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BackendUnavailableError, NotEnoughMemoryError
from ..tensor_networks.network import ENTRY_BYTES, TensorNetwork
from .contraction_paths import PathCost, path_cost, time_order
from .gpu import INSTALL

if TYPE_CHECKING:
    from .gpu import GpuBackend

LIMIT_SHARE = 0.8
"""Of the free memory, for cuTensorNet's workspace; the operands and the result need the rest."""
SEARCHED = 1500
"""Operands up to which cuTensorNet's path finder is asked: it takes seconds at 1000 operands and minutes at 4000."""
FLOPS_OF_A_SEARCH = 1e8
"""For each operand: what a GPU computes in the milliseconds that the finder looks at it."""
SEED = 0


@dataclass(frozen=True)
class SlicedPathCost(PathCost):
    """A path that cuTensorNet walks once for every value of its sliced indices, so that the memory suffices."""

    slices: tuple[tuple[int, int], ...] = ()
    """(index, extent of a slice)."""


def cutensornet() -> tuple[ModuleType, ModuleType]:
    """(cuquantum.tensornet, the bindings below it). Raises BackendUnavailableError where they cannot be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that are not used here
            library = importlib.import_module("cuquantum.tensornet")
            return library, importlib.import_module("cuquantum.bindings.cutensornet")
    except Exception as problem:  # ImportError, or a library that is not found
        raise BackendUnavailableError("backend", f"cuTensorNet cannot be used ({problem})", INSTALL) from None


def why_no_cutensornet() -> str | None:
    """Why cuTensorNet cannot be loaded here, in words; None where it can. No device is touched."""
    try:
        cutensornet()
    except BackendUnavailableError as missing:
        return missing.problem
    return None


class CuTensorNetEngine:
    """The engine of a GpuBackend. Raises BackendUnavailableError where cuTensorNet cannot be used."""

    name = "cutensornet"

    def __init__(self, base: GpuBackend) -> None:
        self.base = base
        self.library, self._bindings = cutensornet()
        self.lock = RLock()  # a handle is for one thread at a time
        try:
            self._handle: int = self._bindings.create()
        except Exception as problem:
            raise BackendUnavailableError("backend", f"cuTensorNet cannot be used ({problem})", INSTALL) from None
        # not at exit: the device may be gone before
        weakref.finalize(self, self._bindings.destroy, self._handle).atexit = False

    def options(self) -> Any:
        """Handle, device, memory and no waiting: what is asked of cuTensorNet is done in the order of the stream."""
        limit = int(LIMIT_SHARE * self.base.available_bytes())
        return self.library.NetworkOptions(
            device_id=self.base.index, handle=self._handle, memory_limit=limit, blocking="auto"
        )

    def find_path(self, network: TensorNetwork) -> PathCost:
        """The path of fewest flops of those that fit: the order in time, or what cuTensorNet finds for up to 1500
        operands. cuTensorNet may slice indices to make a path fit; that is counted in flops and bytes."""
        in_time = path_cost(network, time_order(network), "time order")
        free, count = self.base.available_bytes(), len(network.operands)
        cheap = in_time.bytes <= free and in_time.flops <= FLOPS_OF_A_SEARCH * count
        if cheap or not 1 < count <= SEARCHED:
            return in_time
        # one number stands for all entries of each operand: nothing is allocated while the cost is unknown
        stand_in = self.base.xp.zeros((), dtype=np.complex128)
        shapes = [self.base.xp.broadcast_to(stand_in, operand.shape) for operand in network.operands]
        optimize = self.library.OptimizerOptions(seed=SEED)
        try:
            with self.lock:
                path, found = self.library.contract_path(
                    *_accepted(network, shapes), options=self.options(), optimize=optimize
                )
        except self._bindings.cuTensorNetError:  # no path within the limit, even sliced
            return in_time
        searched = _sliced_cost(network, path, found)
        fitting = [cost for cost in (in_time, searched) if cost.bytes <= free]
        return min(fitting, key=lambda cost: cost.flops) if fitting else min(in_time, searched, key=lambda c: c.bytes)

    def contract(self, network: TensorNetwork, cost: PathCost) -> Any:
        if len(network.operands) == 1:
            return _rearranged(self.base.xp, network, self.arrays(network, None)[0])
        with self._failing(), self._planned(network, self.arrays(network, None), cost) as planned:
            return planned.contract(stream=self.base.stream)

    def contraction(self, network: TensorNetwork, cost: PathCost) -> Any:
        return CuTensorNetContraction(self, network, cost)

    def arrays(self, network: TensorNetwork, replacements: Mapping[int, Any] | None) -> list[Any]:
        """Every operand on the device, complex and contiguous; one array for operands that are one and the same."""
        xp, moved = self.base.xp, dict[int, Any]()
        given = network.arrays(replacements)
        for array in given:
            if id(array) not in moved:
                moved[id(array)] = xp.ascontiguousarray(self.base.asarray(array, dtype=np.complex128))
        return [moved[id(array)] for array in given]

    def _planned(self, network: TensorNetwork, arrays: list[Any], cost: PathCost) -> Any:
        """A Network with the path of `cost`, ready to contract; whoever asks for it frees it."""
        with self.lock:
            planned = self.library.Network(*_accepted(network, arrays), options=self.options(), stream=self.base.stream)
            try:
                optimize: dict[str, Any] = {"path": list(cost.path)}
                if isinstance(cost, SlicedPathCost) and cost.slices:
                    optimize["slicing"] = cost.slices
                planned.contract_path(optimize=optimize)
            except BaseException:
                planned.free()
                raise
            return planned

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What cuTensorNet raises where its workspace does not fit becomes an error of this package."""
        try:
            with self.lock:
                yield
        except MemoryError as problem:
            if isinstance(problem, NotEnoughMemoryError):
                raise
            raise NotEnoughMemoryError(
                "backend", f"cuTensorNet's workspace does not fit ({problem})", "Use a bond dimension: tensornet:64"
            ) from problem


class CuTensorNetContraction:
    """One network and its path, planned once: cuTensorNet's Network, whose operands are reset before each contraction.

    It is freed when this object goes.
    """

    def __init__(self, engine: CuTensorNetEngine, network: TensorNetwork, cost: PathCost) -> None:
        self._engine, self._network, self._cost = engine, network, cost
        self._planned: Any = None

    def __call__(self, replacements: Mapping[int, Any] | None = None) -> Any:
        engine, network = self._engine, self._network
        arrays = engine.arrays(network, replacements)
        if len(arrays) == 1:
            return _rearranged(engine.base.xp, network, arrays[0])
        with engine._failing():
            if self._planned is None:
                self._planned = engine._planned(network, arrays, self._cost)
                weakref.finalize(self, self._planned.free).atexit = False
            else:
                self._planned.reset_operands(*_with_axes(arrays), stream=engine.base.stream)
            result = self._planned.contract(stream=engine.base.stream, release_workspace=True)
            self._planned.reset_operands(None)  # the arrays are not kept
            return result


def _accepted(network: TensorNetwork, arrays: list[Any]) -> list[Any]:
    """The network in the interleaved form; an operand without an axis gets one of extent 1, of its own."""
    fresh = max(network.extents, default=-1) + 1
    form: list[Any] = []
    for place, (array, indices) in enumerate(zip(_with_axes(arrays), network.indices, strict=True)):
        form += [array, list(indices) or [fresh + place]]
    return [*form, list(network.output)]


def _with_axes(arrays: list[Any]) -> list[Any]:
    return [array if array.ndim else array.reshape(1) for array in arrays]


def _rearranged(xp: Any, network: TensorNetwork, array: Any) -> Any:
    """The result of a network of one operand."""
    place = {index: p for p, index in enumerate(network.extents)}
    return xp.einsum(array, [place[i] for i in network.indices[0]], [place[i] for i in network.output]).copy()


def _sliced_cost(network: TensorNetwork, path: Any, found: Any) -> SlicedPathCost:
    """The cost of a path of cuTensorNet, counted as for every other path: of one slice, and of all."""
    pairs = tuple((int(a), int(b)) for a, b in path)
    slices = tuple((int(index), int(extent)) for index, extent in found.slices)
    extents = {**network.extents, **dict(slices)}
    one = _one_slice(network, extents) if slices else network
    cost = path_cost(one, pairs, "cutensornet")
    # operands and result stay whole
    whole = network.operand_bytes - one.operand_bytes + ENTRY_BYTES * (math.prod(network.shape) - math.prod(one.shape))
    return SlicedPathCost(
        pairs, cost.flops * found.num_slices, cost.largest_intermediate, cost.bytes + whole, cost.finder, slices
    )


def _one_slice(network: TensorNetwork, extents: Mapping[int, int]) -> TensorNetwork:
    """The network of one slice: the same operands, shorter along the sliced indices."""
    operands = tuple(
        replace(operand, shape=tuple(extents[index] for index in indices))
        for operand, indices in zip(network.operands, network.indices, strict=True)
    )
    return TensorNetwork(operands, network.indices, network.output)
