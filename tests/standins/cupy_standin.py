"""NumPy in the place of CuPy, for the rehearsal: as strict as CuPy about what may cross between host and device.

An array here refuses implicit conversion to NumPy and mixing with NumPy arrays, reductions give 0-d arrays, and every
value that comes to the host is counted. `empty` is full of NaN. Kernels are the host-compiled bodies. Names that the
real CuPy lacks (signatures.json, recorded from the real one) are refused.
"""

from __future__ import annotations

import importlib
import itertools
import json
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from . import host_kernels

RECORD = json.loads((Path(__file__).parent / "signatures.json").read_text())
HOST_MADE = {"asarray", "array", "asnumpy", "ascontiguousarray"}  # these take NumPy arrays


class Transfers:
    """Bytes that came from the "device" to the host."""

    to_host = 0


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    __module__ = "cupy"
    __array_priority__ = 100

    def __init__(self, array: Any) -> None:
        self.on_host = np.asarray(array)

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _wrap(getattr(ufunc, method)(*_unwrap(inputs), **_unwrap(options)))

    def __array_function__(self, function: Any, kinds: Any, args: Any, options: Any) -> Any:
        return _wrap(function(*_unwrap(args), **_unwrap(options)))

    def __getattr__(self, name: str) -> Any:
        if name not in RECORD["cupy.ndarray"]:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        value = getattr(self.on_host, name)
        return _lifted(value) if callable(value) else _wrap(value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("on_host",):
            object.__setattr__(self, name, value)
        else:
            setattr(self.on_host, name, value)

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self.on_host.ctypes.data)

    @property
    def flat(self) -> Any:
        raise NotImplementedError("cupy's flatiter takes no steps: index with arrays")

    def __getitem__(self, key: Any) -> Any:
        return _wrap(self.on_host[_unwrap(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.on_host[_unwrap(key)] = _unwrap(value)

    def __len__(self) -> int:
        return len(self.on_host)

    def __iter__(self) -> Any:
        return (_wrap(part) for part in self.on_host)

    def get(self) -> np.ndarray:
        Transfers.to_host += self.on_host.nbytes
        return self.on_host.copy()

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __dlpack__(self, **options: Any) -> Any:
        return self.on_host.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.on_host.__dlpack_device__()


def _wrap(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(value)
    if isinstance(value, tuple) and type(value) is not tuple:  # eigh gives a named tuple
        return type(value)(*map(_wrap, value))
    return type(value)(map(_wrap, value)) if isinstance(value, (tuple, list)) else value


def _unwrap(value: Any, host_made: bool = False) -> Any:
    if isinstance(value, ndarray):
        return value.on_host
    if isinstance(value, np.ndarray) and value.ndim and not host_made:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: CuPy does not mix with NumPy arrays")
    if isinstance(value, dict):
        return {key: _unwrap(item, host_made) for key, item in value.items()}
    return type(value)(_unwrap(item, host_made) for item in value) if type(value) in (tuple, list) else value


def _lifted(function: Callable[..., Any], host_made: bool = False) -> Callable[..., Any]:
    return lambda *args, **options: _wrap(function(*_unwrap(args, host_made), **_unwrap(options, host_made)))


class _Functions(types.ModuleType):
    """A module whose functions are NumPy's, on the arrays above."""

    def __init__(self, name: str, functions: Any) -> None:
        super().__init__(name)
        self.__dict__["_functions"] = functions

    def __getattr__(self, name: str) -> Any:
        if name not in RECORD[self.__name__]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(self._functions, name)
        if isinstance(value, (type, np.dtype)) or not callable(value) or isinstance(value, types.ModuleType):
            return value
        return _Ufunc(value) if isinstance(value, np.ufunc) else _lifted(value, name in HOST_MADE)


class _Ufunc:
    def __init__(self, ufunc: np.ufunc) -> None:
        self.ufunc = ufunc

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _wrap(self.ufunc(*_unwrap(args), **_unwrap(options)))

    def reduceat(self, *args: Any, **options: Any) -> Any:
        return _wrap(self.ufunc.reduceat(*_unwrap(args), **_unwrap(options)))


class Allocator:
    """What the backend shares of torch's memory: asked for a little with every new array, so that it is run."""

    functions: tuple[Callable[..., Any], Callable[..., None]] | None = None

    def __init__(self, allocate: Callable[[int, int], int], release: Callable[[int, int], None]) -> None:
        self.malloc = (allocate, release)

    @classmethod
    def ask(cls) -> None:
        _check_stream()
        if cls.functions is not None:
            allocate, release = cls.functions
            release(allocate(64, 0), 0)

    @classmethod
    def use(cls, functions: Any) -> None:
        cls.functions = functions


def empty(shape: Any, dtype: Any = float) -> ndarray:
    Allocator.ask()
    made = np.empty(shape, dtype=dtype)
    made.view(np.uint8)[...] = 0xFF  # NaN in every float: whoever reads before writing is found out
    return ndarray(made)


def asnumpy(array: ndarray) -> np.ndarray:
    return array.get()


def from_dlpack(tensor: Any) -> ndarray:
    return ndarray(np.from_dlpack(tensor))


class Graph:
    def __init__(self, launches: list[Callable[[], None]]) -> None:
        self.launches = launches

    def launch(self, stream: Any = None) -> None:
        assert stream is None or stream.ptr == streams.used.ptr
        for launch in self.launches:
            launch()


class _Streams(threading.local):
    """What CuPy keeps for each thread: the stream that is used, those entered by `with`, and what is being recorded."""

    def __init__(self) -> None:
        self.used = Stream.null
        self.entered = [Stream.null]
        self.recording: list[Callable[[], None]] | None = None


class Stream:
    null: Stream
    made_here = itertools.count(-1, -1)
    log: list[tuple[str, int, _Event]]
    """Which stream records an event and which waits for it, in the order in which that was asked."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = next(self.made_here) if non_blocking else 0

    @classmethod
    def from_external(cls, stream: Any) -> Stream:
        external = cls()
        version, external.ptr = stream.__cuda_stream__()
        assert version == 0
        return external

    def use(self) -> Stream:
        streams.used = self
        return self

    def synchronize(self) -> None:
        assert streams.recording is None, "a stream that is being recorded cannot be waited for"

    def record(self, event: _Event | None = None) -> _Event:
        event = event or _Event()
        Stream.log.append(("record", self.ptr, event))
        return event

    def wait_event(self, event: _Event) -> None:
        Stream.log.append(("wait", self.ptr, event))

    def __enter__(self) -> Stream:
        streams.entered.append(self)
        return self.use()

    def __exit__(self, *problem: Any) -> None:
        assert streams.recording is None, "the recording was not ended"
        streams.entered.pop()
        streams.entered[-1].use()

    def begin_capture(self) -> None:
        assert self.ptr != 0, "the legacy default stream cannot be recorded"
        streams.recording = []

    def end_capture(self) -> Graph:
        launches, streams.recording = streams.recording, None
        assert launches
        return Graph(launches)


Stream.null, Stream.log = Stream(), []
streams = _Streams()


def _check_stream() -> None:
    """CuPy and torch have to be on one stream, in every thread: each would read what the other has not written yet."""
    if Allocator.functions is not None and streams.recording is None:
        assert streams.used.ptr == importlib.import_module("torch").cuda.current_stream().cuda_stream


class RawModule:
    launches = 0
    one_at_a_time = threading.Lock()  # the host library has one grid

    def __init__(self, *, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> None:
        self.library, self.name_expressions = host_kernels.library_of(code, name_expressions), name_expressions

    def get_function(self, expression: str) -> Callable[..., None]:
        assert streams.recording is None, "a kernel is loaded while a stream is recorded"
        assert expression in self.name_expressions

        def kernel(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared_mem: int = 0) -> None:
            assert (
                all(0 < size < 2**31 for size in grid)
                and (*grid, 1)[1] <= 65535
                and 0 < int(np.prod(block)) <= 1024
                and shared_mem <= 49152
            )
            values = []
            for value in args:
                assert isinstance(value, (ndarray, np.generic)), f"{type(value)} is passed with an unclear size"
                assert not isinstance(value, ndarray) or value.on_host.flags.c_contiguous
                values.append(value.on_host if isinstance(value, ndarray) else value)

            def launch() -> None:
                with RawModule.one_at_a_time:
                    RawModule.launches += 1
                    host_kernels.call(self.library, expression, grid, block, values, shared_mem)

            _check_stream()
            launch() if streams.recording is None else streams.recording.append(launch)

        return kernel


class csr_matrix:
    """cupyx.scipy.sparse.csr_matrix, as far as it is used."""

    def __init__(self, parts: tuple[ndarray, ndarray, ndarray], shape: tuple[int, int]) -> None:
        self.data, self.indices, self.indptr = parts
        assert self.indices.dtype == self.indptr.dtype == np.int32, "cuSPARSE indices are of 32 bits"
        self.shape, self.nnz = shape, len(self.data)
        self.on_host = scipy.sparse.csr_matrix(tuple(p.on_host for p in parts), shape=shape)

    @classmethod
    def _of(cls, matrix: Any) -> csr_matrix:
        matrix = matrix.tocsr()
        return cls(tuple(map(ndarray, (matrix.data, matrix.indices, matrix.indptr))), matrix.shape)  # type: ignore

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, csr_matrix):
            return self._of(self.on_host @ other.on_host)
        return ndarray(np.asfortranarray(self.on_host @ _unwrap(other)))  # cuSPARSE gives columns

    @property
    def T(self) -> csr_matrix:
        return self._of(self.on_host.T)

    def tocsr(self) -> csr_matrix:
        return self

    def toarray(self) -> ndarray:
        return ndarray(self.on_host.toarray())


def _linear_operator(shape: Any, matvec: Any, dtype: Any) -> Any:
    return scipy.sparse.linalg.LinearOperator(shape, matvec=lambda v: matvec(ndarray(v)).on_host, dtype=dtype)


def _cg(A: Any, b: ndarray, *, rtol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None) -> Any:
    x, info = scipy.sparse.linalg.cg(A, b.on_host, rtol=rtol, atol=atol, maxiter=maxiter)
    return ndarray(x), info


class _Event:
    def record(self) -> None:
        import time

        self.time = time.perf_counter()

    def synchronize(self) -> None:
        pass


def modules() -> dict[str, types.ModuleType]:
    """What stands in sys.modules during a rehearsal."""
    cupy = _Functions("cupy", np)
    cupy.ndarray, cupy.empty, cupy.asnumpy, cupy.from_dlpack = ndarray, empty, asnumpy, from_dlpack  # type: ignore
    cupy.empty_like = lambda array: empty(array.shape, array.dtype)  # type: ignore
    cupy.RawModule = RawModule  # type: ignore
    cupy.linalg = _Functions("cupy.linalg", np.linalg)  # type: ignore
    cupy.cuda = types.SimpleNamespace(  # type: ignore
        is_available=lambda: True,
        runtime=types.SimpleNamespace(
            getDeviceCount=lambda: 1,
            getDeviceProperties=lambda index: {"name": b"rehearsal on a CPU, no GPU", "totalGlobalMem": 4 * 2**30},
            driverGetVersion=lambda: 0,
            runtimeGetVersion=lambda: 0,
        ),
        Device=lambda index: types.SimpleNamespace(use=lambda: None),
        PythonFunctionAllocator=Allocator,
        set_allocator=Allocator.use,
        Stream=Stream,
        Event=_Event,
        get_current_stream=lambda: streams.used,
        get_elapsed_time=lambda first, last: 1e3 * (last.time - first.time),
    )
    sparse = types.ModuleType("cupyx.scipy.sparse")
    sparse.csr_matrix = csr_matrix  # type: ignore
    linalg = types.ModuleType("cupyx.scipy.sparse.linalg")
    linalg.LinearOperator, linalg.cg = _linear_operator, _cg  # type: ignore
    return {"cupy": cupy, "cupyx.scipy.sparse": sparse, "cupyx.scipy.sparse.linalg": linalg}
