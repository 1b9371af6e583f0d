"""cuQuantum's contractions of tensor networks as far as the package calls them, on the CuPy of cupy_standin, in NumPy.

As strict as the real ones (their source and headers were read): one package and one dtype for all operands, no operand
without modes, nothing before a path is set, nothing after `free`.
"""

from __future__ import annotations

import dataclasses
import itertools
import types
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from cotengra.pathfinders import path_basic

from . import cupy_standin

COMPLEX = np.dtype(np.complex128)
numbers = itertools.count(1)


class Live:
    """What was made and not given back: a leak where it is not empty at the end."""

    handles: ClassVar[set[int]] = set()
    networks: ClassVar[set[int]] = set()
    states: ClassVar[set[int]] = set()
    contractions = 0
    searches = 0

    @classmethod
    def everything(cls) -> set[int]:
        return cls.handles | cls.networks | cls.states


def on_device(operands: Sequence[Any]) -> list[np.ndarray]:
    packages = {type(operand).__module__.partition(".")[0] for operand in operands}
    if len(packages) > 1:
        raise TypeError(f"All operands are not from the same package: {packages}")
    assert packages == {"cupy"}, "operands of the host would be copied to the device"
    arrays = [operand.on_host for operand in operands]
    if len({array.dtype for array in arrays}) > 1:
        raise ValueError("All operands do not have the same data type")
    assert arrays[0].dtype == COMPLEX
    return arrays


def check_stream(stream: Any) -> None:
    assert stream.ptr == torch.cuda.current_stream().cuda_stream, "this stream is not that of the arrays"


# --- cuquantum.bindings.cutensornet


class cuTensorNetError(Exception):
    pass


def create() -> int:
    number = next(numbers)
    Live.handles.add(number)
    return number


def destroy(handle):  # type: ignore[no-untyped-def]
    Live.handles.remove(handle)


# --- cuquantum.tensornet


@dataclasses.dataclass
class NetworkOptions:
    compute_type: Any = None
    device_id: int | None = None
    handle: int | None = None
    logger: Any = None
    memory_limit: Any = "80%"
    blocking: Any = True
    allocator: Any = None

    def __post_init__(self) -> None:
        assert self.handle in Live.handles, "no handle, or one that is destroyed"
        assert isinstance(self.memory_limit, int) and self.memory_limit > 0
        if self.blocking is not True and self.blocking != "auto":
            raise ValueError("The value specified for blocking must be either True or 'auto'.")


@dataclasses.dataclass
class OptimizerOptions:
    samples: int | None = None
    threads: int | None = None
    path: Any = None
    slicing: Any = None
    reconfiguration: Any = None
    seed: int | None = None
    cost_function: Any = None
    smart: Any = None
    gpu_arch: int | None = None

    def __post_init__(self) -> None:
        if self.path is not None:
            pairs = isinstance(self.path, Sequence) and all(isinstance(p, Sequence) and len(p) == 2 for p in self.path)
            if not pairs:
                raise TypeError("The path must be a sequence of pairs in the linear format of numpy.einsum_path.")


@dataclasses.dataclass
class OptimizerInfo:
    largest_intermediate: float
    opt_cost: float
    path: Any
    slices: Any
    num_slices: int
    intermediate_modes: Any


class InvalidNetworkState(Exception):
    pass


class MemoryLimitExceeded(MemoryError):
    pass


class Network:
    def __init__(self, *operands, qualifiers=None, options=None, stream=None, allow_cpu_pathfinder=False):  # type: ignore[no-untyped-def]
        assert isinstance(options, NetworkOptions) and qualifiers is None and not allow_cpu_pathfinder
        check_stream(stream)
        self.options = options
        self._describe(operands)
        assert all(array.flags.c_contiguous for array in self.arrays)
        self.path: list[tuple[int, int]] | None = None
        self.number = next(numbers)
        Live.networks.add(self.number)

    def _describe(self, operands: Sequence[Any]) -> None:
        assert len(operands) % 2 == 1, "the interleaved form with an output"
        self.inputs, self.output = [tuple(modes) for modes in operands[1::2]], tuple(operands[-1])
        self.arrays: Any = on_device(operands[:-1:2])
        self.extents: dict[int, int] = {}
        for array, modes in zip(self.arrays, self.inputs, strict=True):
            if array.ndim != len(modes):
                raise ValueError("Term-operand shape mismatch.")
            if not modes:
                raise cuTensorNetError("INVALID_VALUE (7): CUTENSORNET_STATUS_INVALID_VALUE")
            for mode, extent in zip(modes, array.shape, strict=True):
                if self.extents.setdefault(mode, extent) != extent:
                    raise ValueError("Extent mismatch.")
        if set(self.output) - set(self.extents):
            raise ValueError("Extra modes in output.")

    def _check(self) -> None:
        if self.number not in Live.networks:
            raise InvalidNetworkState("The network cannot be used after resources are free'd")

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, exc_type, exc_value, traceback):  # type: ignore[no-untyped-def]
        self.free()

    def free(self):  # type: ignore[no-untyped-def]
        Live.networks.discard(self.number)
        self.arrays = None

    def contract_path(self, optimize=None, **kwargs):  # type: ignore[no-untyped-def]
        self._check()
        assert not kwargs
        optimize = OptimizerOptions(**optimize) if isinstance(optimize, dict) else optimize
        assert optimize is not None and optimize.path is not None, "found before, not here"
        assert len(optimize.path) == len(self.inputs) - 1
        self.path, self.slices = list(optimize.path), dict(optimize.slicing or ())
        assert all(extent == 1 for extent in self.slices.values()) and set(self.slices) <= set(self.extents)
        largest, _ = _walk(self.inputs, self.output, {**self.extents, **self.slices}, self.path)
        if 16 * largest > self.options.memory_limit:
            raise MemoryLimitExceeded(f"{16 * largest} bytes of workspace, the limit is {self.options.memory_limit}")

    def reset_operands(self, *operands, stream=None):  # type: ignore[no-untyped-def]
        self._check()
        if len(operands) == 1 and operands[0] is None:
            self.arrays = None
            return
        check_stream(stream)
        if len(operands) != len(self.inputs):
            raise ValueError("Mismatch in the number of operands")
        arrays = on_device(operands)
        for array, modes in zip(arrays, self.inputs, strict=True):
            if array.shape != tuple(self.extents[mode] for mode in modes) or not array.flags.c_contiguous:
                raise ValueError("The shape or the strides of the new operands are not those of the old ones")
        self.arrays = arrays

    def contract(self, *, slices=None, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        self._check()
        check_stream(stream)
        if self.path is None:
            raise RuntimeError("Contraction cannot be performed before contract_path() has been called.")
        if self.arrays is None:
            raise RuntimeError("Contraction cannot be performed if the input operands have been set to None.")
        cupy_standin.Allocator.ask()  # the workspace
        Live.contractions += 1
        result = np.zeros(tuple(self.extents[mode] for mode in self.output), dtype=COMPLEX)
        for values in itertools.product(*(range(self.extents[mode]) for mode in self.slices)):
            at = {mode: slice(value, value + 1) for mode, value in zip(self.slices, values, strict=True)}
            parts = [
                array[tuple(at.get(mode, slice(None)) for mode in modes)]
                for array, modes in zip(self.arrays, self.inputs, strict=True)
            ]
            result[tuple(at.get(mode, slice(None)) for mode in self.output)] += self._contracted(parts)
        return cupy_standin.ndarray(result)

    def _contracted(self, arrays: list[np.ndarray]) -> np.ndarray:
        live = list(zip(arrays, self.inputs, strict=True))
        for first, second in self.path or ():
            high, low = live.pop(max(first, second)), live.pop(min(first, second))
            wanted = {*self.output, *(mode for _, modes in live for mode in modes)}
            kept = [mode for mode in dict.fromkeys((*low[1], *high[1])) if mode in wanted]
            live.append((_pair(*low, *high, kept), tuple(kept)))
        ((array, modes),) = live
        return _pair(array, modes, np.ones(()), (), list(self.output))


def _pair(a: np.ndarray, modes_a: Any, b: np.ndarray, modes_b: Any, kept: list[int]) -> np.ndarray:
    label = {mode: place for place, mode in enumerate(dict.fromkeys((*modes_a, *modes_b)))}
    return np.einsum(a, [label[m] for m in modes_a], b, [label[m] for m in modes_b], [label[m] for m in kept])


def _walk(inputs: Any, output: Any, extents: Mapping[int, int], path: Any) -> tuple[int, tuple[int, ...]]:
    """(entries of the largest intermediate, its modes)."""
    live, largest, widest = list(inputs), 1, ()
    for first, second in path:
        high, low = live.pop(max(first, second)), live.pop(min(first, second))
        wanted = {*output, *(mode for modes in live for mode in modes)}
        live.append(tuple(mode for mode in dict.fromkeys((*low, *high)) if mode in wanted))
        size = int(np.prod([extents[mode] for mode in live[-1]], dtype=object))
        if size > largest:
            largest, widest = size, live[-1]
    return largest, widest


def contract_path(*operands, qualifiers=None, options=None, optimize=None):  # type: ignore[no-untyped-def]
    """A greedy path; modes of its largest intermediate are sliced until it fits into the memory limit."""
    assert isinstance(options, NetworkOptions) and isinstance(optimize, OptimizerOptions) and qualifiers is None
    Live.searches += 1
    network = Network.__new__(Network)
    network._describe(operands)
    assert all(not any(array.strides) for array in network.arrays), "allocated before the cost was known"
    extents, slices = dict(network.extents), {}
    path = path_basic.optimize_greedy(network.inputs, network.output, extents, simplify=False)
    largest, widest = _walk(network.inputs, network.output, extents, path)
    while 16 * largest > options.memory_limit:
        mode = max(widest, key=lambda m: extents[m], default=None)
        if mode is None or extents[mode] == 1:
            raise cuTensorNetError("ALL_HYPER_SAMPLES_FAILED (24): CUTENSORNET_STATUS_ALL_HYPER_SAMPLES_FAILED")
        extents[mode] = slices[mode] = 1
        largest, widest = _walk(network.inputs, network.output, extents, path)
    count = int(np.prod([network.extents[mode] for mode in slices], dtype=object))
    pairs = [(np.int32(a), np.int32(b)) for a, b in path]
    return pairs, OptimizerInfo(float(largest), float("nan"), pairs, tuple(slices.items()), count, ())


def modules() -> dict[str, types.ModuleType]:
    """What stands in sys.modules during a rehearsal."""
    names = {
        "cuquantum.bindings.cutensornet": (create, destroy, cuTensorNetError),
        "cuquantum.tensornet": (contract_path, Network, NetworkOptions, OptimizerOptions, OptimizerInfo),
    }
    made = {}
    for name, things in names.items():
        made[name] = types.ModuleType(name)
        for thing in things:
            setattr(made[name], thing.__name__, thing)
    return made
