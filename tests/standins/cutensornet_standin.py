"""cuQuantum's tensor networks as far as the package calls them, on the CuPy of cupy_standin: contractions in NumPy, and
NetworkState on this package's own chains. As strict as the real ones (their source and headers were read): mode orders,
one package and one dtype for all operands, no operand without modes, immutable operator chains, nothing after `free`.
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

from qnewton_gpu.circuit import MatrixGate
from qnewton_gpu.tensor_networks.chain import MatrixProductOperator, MatrixProductState
from qnewton_gpu.tensor_networks.gate_operators import gate_operator

from . import cupy_standin

COMPLEX = np.dtype(np.complex128)
_numbers = itertools.count(1)


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


def _on_device(operands: Sequence[Any]) -> list[np.ndarray]:
    packages = {type(operand).__module__.partition(".")[0] for operand in operands}
    if len(packages) > 1:
        raise TypeError(f"All operands are not from the same package: {packages}")
    assert packages == {"cupy"}, "operands of the host would be copied to the device"
    arrays = [operand.on_host for operand in operands]
    if len({array.dtype for array in arrays}) > 1:
        raise ValueError("All operands do not have the same data type")
    assert arrays[0].dtype == COMPLEX
    return arrays


def _check_stream(stream: Any) -> None:
    assert stream.ptr == torch.cuda.current_stream().cuda_stream, "this stream is not that of the arrays"


# --- cuquantum.bindings.cutensornet


class cuTensorNetError(Exception):
    pass


def create() -> int:
    number = next(_numbers)
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
        _check_stream(stream)
        self.options = options
        self._describe(operands)
        assert all(array.flags.c_contiguous for array in self.arrays)
        self.path: list[tuple[int, int]] | None = None
        self.number = next(_numbers)
        Live.networks.add(self.number)

    def _describe(self, operands: Sequence[Any]) -> None:
        assert len(operands) % 2 == 1, "the interleaved form with an output"
        self.inputs, self.output = [tuple(modes) for modes in operands[1::2]], tuple(operands[-1])
        self.arrays: Any = _on_device(operands[:-1:2])
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
        _check_stream(stream)
        if len(operands) != len(self.inputs):
            raise ValueError("Mismatch in the number of operands")
        arrays = _on_device(operands)
        for array, modes in zip(arrays, self.inputs, strict=True):
            if array.shape != tuple(self.extents[mode] for mode in modes) or not array.flags.c_contiguous:
                raise ValueError("The shape or the strides of the new operands are not those of the old ones")
        self.arrays = arrays

    def contract(self, *, slices=None, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        self._check()
        _check_stream(stream)
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


# --- cuquantum.tensornet.experimental


@dataclasses.dataclass
class MPSConfig:
    max_extent: int | None = None
    canonical_center: int | None = None
    abs_cutoff: float | None = None
    rel_cutoff: float | None = None
    normalization: str | None = None
    discarded_weight_cutoff: float | None = None
    algorithm: str | None = None
    mpo_application: str | None = None
    gauge_option: str | None = None
    gesvdj_tol: float | None = 0
    gesvdj_max_sweeps: int | None = 0
    gesvdr_oversampling: int | None = 0
    gesvdr_niters: int | None = 0


class NetworkState:
    """Operators are kept and applied when something is computed, as there; a new one frees what was computed."""

    def __init__(
        self, state_mode_extents, *, dtype="complex128", pure_state=True, config=None, state_labels=None, options=None
    ):  # type: ignore[no-untyped-def]
        assert isinstance(config, MPSConfig) and isinstance(options, NetworkOptions) and pure_state
        assert tuple(state_mode_extents) == (2,) * len(state_mode_extents) and len(state_mode_extents) > 1
        assert dtype == "complex128" and state_labels is None
        self.n, self.config = len(state_mode_extents), config
        self.start = MatrixProductState.product([np.array([1.0 + 0j, 0.0])] * self.n)
        self.operators: list[tuple[MatrixProductOperator, int]] = []
        self.computed: MatrixProductState | None = None
        self.backend_setup, self.given = False, list[Any]()
        self.number = next(_numbers)
        Live.states.add(self.number)

    def free(self):  # type: ignore[no-untyped-def]
        Live.states.discard(self.number)

    def _check(self, stream: Any) -> None:
        if self.number not in Live.states:
            raise InvalidNetworkState("The state cannot be used after resources are free'd")
        _check_stream(stream)

    def _apply(self, operator: MatrixProductOperator, first: int) -> int:
        assert first >= 0 and first + len(operator) <= self.n
        self.backend_setup, self.computed = True, None
        self.operators.append((operator, first))
        return len(self.operators)

    # positional, as there: decorators of the real ones take the operand from the positional arguments
    def set_initial_mps(self, mps_tensors, /, *, stream=None):  # type: ignore[no-untyped-def]
        self._check(stream)
        arrays = _on_device(mps_tensors)
        assert len(arrays) == self.n and not self.operators
        shapes = [(1, *arrays[0].shape), *(a.shape for a in arrays[1:-1]), (*arrays[-1].shape, 1)]
        self.start = MatrixProductState([a.reshape(s).copy() for a, s in zip(arrays, shapes, strict=True)])
        assert self.start.dims == (2,) * self.n
        self.backend_setup, self.computed = True, None

    def apply_tensor_operator(
        self,
        modes,
        operand,
        /,
        *,
        control_modes=None,
        control_values=None,
        immutable=False,
        adjoint=False,
        unitary=None,
        diagonal=False,
        gradient=None,
        stream=None,
    ):  # type: ignore[no-untyped-def]
        self._check(stream)
        (array,) = _on_device([operand])
        if array.ndim > 4:
            raise ValueError("MPS simulation only supports one-body and two-body operators")
        assert array.shape == (2,) * (2 * len(modes)) and not adjoint and not diagonal and unitary is not None
        controls = tuple(control_modes or ())
        assert not controls or len(modes) == 1, "controlled operators have one target"
        # ABab for modes (a, b): the first mode is the most significant of the matrix
        matrix = array.reshape(2 ** len(modes), -1).copy()
        gate = MatrixGate("given", matrix, tuple(reversed(modes)), controls, tuple(control_values or ()))
        local = gate_operator(gate)
        if unitary:
            assert np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), atol=1e-10), "said to be unitary"
        return self._apply(local.operator, local.first)

    def apply_mpo(self, modes, mpo_tensors, /, *, immutable=False, adjoint=False, unitary=False, stream=None):  # type: ignore[no-untyped-def]
        self._check(stream)
        assert immutable, "only immutable network operators are supported"
        arrays = _on_device(mpo_tensors)
        assert len(arrays) == len(modes) > 1 and not adjoint
        assert list(modes) == list(range(modes[0], modes[0] + len(modes))), "others would be swapped: not rehearsed"
        first, last = arrays[0], arrays[-1]
        assert first.ndim == last.ndim == 3 and all(a.ndim == 4 for a in arrays[1:-1])
        # pknb: previous bond, ket (in), next bond, bra (out)
        full = [first[None], *arrays[1:-1], last[:, :, None]]
        return self._apply(MatrixProductOperator([a.transpose(0, 3, 1, 2).copy() for a in full]), modes[0])

    def _state(self, stream: Any) -> MatrixProductState:
        self._check(stream)
        if not self.backend_setup:
            raise RuntimeError("cannot be performed before operands or NetworkOperator has been applied.")
        assert self.operators, "nothing to compute: not rehearsed"
        cupy_standin.Allocator.ask()
        if self.computed is None:
            state = self.start
            for operator, first in self.operators:
                state, _ = operator.apply(state, self.config.max_extent, self.config.rel_cutoff or 0.0, first)
            self.computed = state
            for array in self.given:  # the buffers of the last computation are written again
                array[...] = np.nan
            self.given = []
        return self.computed

    def compute_output_state(self, *, stream=None, release_workspace=False, release_operators=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        first, *middle, last = (tensor.astype(COMPLEX) for tensor in state.tensors)
        tensors = [first[0], *middle, last[..., 0]]
        self.given += tensors
        if release_operators:
            self.start, self.operators, self.computed = state, [], None
        return [cupy_standin.ndarray(tensor) for tensor in tensors]

    def compute_amplitude(self, bitstring, *, return_norm=False, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        if len(bitstring) != self.n:
            raise ValueError("Length of bitstring is expected to match the dimension of the underlying state")
        amplitude = state.entries(sum(int(bit) << place for place, bit in enumerate(bitstring)))
        return self._with_norm(amplitude, state, return_norm)

    def compute_batched_amplitudes(self, fixed, *, return_norm=False, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        assert isinstance(fixed, Mapping) and all(0 <= mode < self.n for mode in fixed)
        open_modes = [mode for mode in range(self.n) if mode not in fixed]
        index = np.zeros((2,) * len(open_modes), dtype=np.int64) + sum(v << mode for mode, v in fixed.items())
        for axis, mode in enumerate(open_modes):  # axes in ascending order of modes
            index += (np.arange(2) << mode).reshape([2 if a == axis else 1 for a in range(len(open_modes))])
        return self._with_norm(state.entries(index), state, return_norm)

    def _with_norm(self, amplitudes: Any, state: MatrixProductState, return_norm: bool) -> Any:
        found = cupy_standin.ndarray(np.asarray(amplitudes, dtype=COMPLEX))
        return (found, cupy_standin.ndarray(np.asarray(state.norm() ** 2, dtype=COMPLEX))) if return_norm else found

    def compute_reduced_density_matrix(
        self, where, *, fixed=types.MappingProxyType({}), diagonal=False, stream=None, release_workspace=False
    ):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        assert diagonal, "only diagonals are rehearsed"
        if not set(fixed).isdisjoint(where):
            raise ValueError("`fixed` modes must be disjoint from the `where` modes")
        modes = [*where, *fixed]
        # modes `where` are axes in this order; of the fixed ones one value stays
        table = state.marginal(modes[::-1]).reshape((2,) * len(modes))
        table = table[(..., *(int(fixed[mode]) for mode in modes[len(where) :]))]
        return cupy_standin.ndarray(table.astype(COMPLEX))

    def compute_sampling(self, nshots, *, modes=None, seed=None, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        assert modes is None
        if seed is None or seed <= 0:
            raise ValueError("seed must be a positive integer")
        found, counts = np.unique(state.sample(nshots, seed), return_counts=True)
        bits = ["".join(str(int(j) >> q & 1) for q in range(self.n)) for j in found]
        return dict(zip(bits, counts, strict=True))


def modules() -> dict[str, types.ModuleType]:
    """What stands in sys.modules during a rehearsal."""
    names = {
        "cuquantum.bindings.cutensornet": (create, destroy, cuTensorNetError),
        "cuquantum.tensornet": (contract_path, Network, NetworkOptions, OptimizerOptions, OptimizerInfo),
        "cuquantum.tensornet.experimental": (NetworkState, MPSConfig),
    }
    made = {}
    for name, things in names.items():
        made[name] = types.ModuleType(name)
        for thing in things:
            setattr(made[name], thing.__name__, thing)
    return made
