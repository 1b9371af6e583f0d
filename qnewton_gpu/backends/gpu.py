"""The GPU backend: CuPy arrays on one NVIDIA GPU, in torch's memory pool and on torch's stream.

CuPy, cuStateVec and the kernels of kernels/*.cu are reached through this backend alone. Tensors and arrays cross by
DLPack without a copy, and only what a name says (`to_numpy`, a scalar) comes to the host.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import stages
from ..errors import BackendUnavailableError, NotEnoughMemoryError
from . import factorisations

if TYPE_CHECKING:
    from .base import RegisterProgram, SubspaceProgram
    from .cuda_source import Source
    from .gpu_state_vector import CuStateVector

INSTALL = 'Install it with pip install "qnewton-gpu[cuda13]" (or [cuda12]), or use backend="cpu"'


class _Stream:
    """A stream as torch and as CuPy see it, and the handle of cuStateVec on it, for that library has one for each."""

    def __init__(self, cuda: Any, stream: Any, index: int) -> None:
        self.torch = stream
        if hasattr(stream, "__cuda_stream__"):
            self.cupy = cuda.Stream.from_external(stream)
        else:  # of an older torch
            self.cupy = cuda.ExternalStream(stream.cuda_stream, index)
        self.custatevec: tuple[ModuleType, int] | None = None
        self.exhausted: Exception | None = None


_own_stream: ContextVar[_Stream | None] = ContextVar("qnewton_own_stream", default=None)


class GpuBackend:
    """One GPU, by its index. Raises BackendUnavailableError where CuPy, torch's CUDA or the device is missing."""

    name = "gpu"
    modes: tuple[str, ...] = ("subspace", "fused", "circuit")
    register_bytes = (56, 16)
    register_kernels = ("walk", "matching", "gram")
    register_bytes_per_second = 1e12  # below an A100: with the GPUs this is built for, a budget of seconds is a bound

    _in_use: int | None = None

    def __init__(self, index: int = 0) -> None:
        self.xp, torch = _libraries(index)
        if GpuBackend._in_use not in (None, index):
            problem = f"this process computes on GPU {GpuBackend._in_use} already"
            raise BackendUnavailableError("backend", problem, "Use one process for each GPU")
        GpuBackend._in_use = self.index = index
        torch.cuda.set_device(index)
        self.xp.cuda.Device(index).use()
        cuda = self.xp.cuda
        cuda.set_allocator(cuda.PythonFunctionAllocator(_allocate, _release).malloc)
        self._common_stream = _Stream(cuda, torch.cuda.current_stream(index), index)
        self._idle_streams: list[_Stream] = []
        self.stream.use()
        self.torch_device = torch.from_dlpack(self.xp.empty(1)).device
        self.out_of_memory = (MemoryError, torch.OutOfMemoryError)
        self._modules: dict[Source, Any] = {}
        self._kernels: dict[tuple[Source, str], Any] = {}
        stages.use_device_clock(_EventClock(self.xp))

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # a copy of what holds a backend, such as an optimizer, goes on with the one of its process
        return importlib.import_module("qnewton_gpu.backends").select_backend, (f"gpu:{self.index}",)

    @property
    def _stream(self) -> _Stream:
        return _own_stream.get() or self._common_stream

    @property
    def stream(self) -> Any:
        """The stream of CuPy and torch: the one that the backend was made on, or a thread's `own_stream`."""
        return self._stream.cupy

    def own_stream(self) -> AbstractContextManager[None]:
        return self._on_own_stream(self._stream, self.stream.record())

    @contextmanager
    def _on_own_stream(self, outer: _Stream, before: Any) -> Iterator[None]:
        cuda, torch = self.xp.cuda, importlib.import_module("torch")
        cuda.Device(self.index).use()  # a new thread begins on the first device
        try:  # kept and used again: torch keeps memory for each, and CuPy destroys a stream with its own name for it
            own = self._idle_streams.pop()
        except IndexError:
            own = _Stream(cuda, torch.cuda.Stream(self.index), self.index)
        token = _own_stream.set(own)
        try:
            with torch.cuda.stream(own.torch), own.cupy:
                own.cupy.wait_event(before)
                yield
        finally:
            _own_stream.reset(token)
            outer.cupy.wait_event(own.cupy.record())
            self._idle_streams.append(own)

    @property
    def device(self) -> str:
        properties = self.xp.cuda.runtime.getDeviceProperties(self.index)
        return f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB"

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        if isinstance(array, importlib.import_module("torch").Tensor):
            array = self.xp.from_dlpack(array.detach().resolve_conj().to(self.torch_device))
        return self.xp.asarray(array, dtype=dtype)

    def to_numpy(self, array: Any) -> np.ndarray:
        stages.count_host_bytes(array.nbytes)
        result: np.ndarray = self.xp.asnumpy(array)
        return result

    def to_torch(self, array: Any) -> Any:
        return importlib.import_module("torch").from_dlpack(array)

    def csr(self, matrix: Any) -> Any:
        if matrix.nnz >= 2**31:
            problem = f"has {matrix.nnz} entries, and 32 bits index them on a GPU"
            raise NotEnoughMemoryError("A", problem, 'Use backend="cpu"')
        sparse = importlib.import_module("cupyx.scipy.sparse")
        parts = [self.xp.asarray(part) for part in (matrix.data, *_int32(matrix.indices, matrix.indptr))]
        return sparse.csr_matrix(tuple(parts), shape=matrix.shape)

    def real_product(self, matrix: Any, vectors: Any) -> Any:
        xp = self.xp
        if not xp.iscomplexobj(vectors):
            return matrix @ vectors
        n, k = vectors.shape
        real = xp.ascontiguousarray(vectors, dtype=xp.complex128).view(xp.float64).reshape(n, 2 * k)
        return xp.ascontiguousarray(matrix @ real).view(xp.complex128).reshape(matrix.shape[0], k)

    def row_sums(self, values: Any, starts: Any) -> Any:
        # a product with ones: CuPy's reduceat is a difference of cumulated sums, which cancels
        xp, count = self.xp, len(values)
        first = xp.concatenate([starts.astype(np.int32), xp.full(1, count, dtype=np.int32)])
        ones = importlib.import_module("cupyx.scipy.sparse").csr_matrix(
            (xp.ones(count), xp.arange(count, dtype=np.int32), first), shape=(len(starts), count)
        )
        return self.real_product(ones, values)

    def cholesky_solve(self, matrix: Any, rhs: Any) -> Any:
        return self.asarray(factorisations.cholesky_solve(self.to_torch(matrix), self.to_torch(rhs)))

    def lu_solve(self, matrix: Any, rhs: Any) -> Any:
        return self.asarray(factorisations.lu_solve(self.to_torch(matrix), self.to_torch(rhs)))

    def conjugate_gradients(self, product: Any, rhs: Any, tolerance: float, steps: int) -> Any:
        linalg, n = importlib.import_module("cupyx.scipy.sparse.linalg"), len(rhs)
        operator = linalg.LinearOperator((n, n), matvec=lambda v: product(v.reshape(n, 1))[:, 0], dtype=np.float64)
        return linalg.cg(operator, rhs[:, 0], rtol=tolerance, atol=0.0, maxiter=steps)[0][:, None]

    def state_vector(self, start: Any, num_qubits: int) -> CuStateVector:
        from .gpu_state_vector import CuStateVector

        return CuStateVector(self, start, num_qubits)

    def register_program(self, encodings: Sequence[Any], dtype: str) -> RegisterProgram | None:
        from .gpu_programs import register_program

        return register_program(self, encodings, dtype)

    def subspace_program(self, encodings: Sequence[Any], dtype: str) -> SubspaceProgram | None:
        from .gpu_programs import subspace_program

        return subspace_program(self, encodings, dtype)

    def available_bytes(self) -> int:
        cuda = importlib.import_module("torch").cuda
        pooled = cuda.memory_reserved(self.index) - cuda.memory_allocated(self.index)
        return int(cuda.mem_get_info(self.index)[0] + pooled)

    def synchronize(self) -> None:
        self.stream.synchronize()

    def kernel(self, source: Source, expression: str) -> Any:
        """A kernel of kernels/<source.name>.cu, compiled for this device on first use (and then cached on disk)."""
        if source not in self._modules:
            self._modules[source] = self.xp.RawModule(
                code=source.text, options=source.options, name_expressions=source.name_expressions
            )
        if (source, expression) not in self._kernels:
            self._kernels[source, expression] = self._modules[source].get_function(expression)
        return self._kernels[source, expression]

    @property
    def custatevec(self) -> tuple[ModuleType, int]:
        """The cuStateVec bindings and a handle on the stream of this thread and on this backend's memory."""
        stream = self._stream
        if stream.custatevec is not None:
            return stream.custatevec
        try:
            library = importlib.import_module("cuquantum.bindings.custatevec")
            handle: int = library.create()
        except Exception as problem:  # ImportError, a library that is not found, or one that does not fit the driver
            raise BackendUnavailableError("mode", f"cuStateVec cannot be used ({problem})", INSTALL) from None
        library.set_stream(handle, stream.torch.cuda_stream)
        library.set_device_mem_handler(handle, (self._workspace, self._release_workspace, "torch"))
        stream.custatevec = library, handle
        return library, handle

    def _workspace(self, size: int, stream: int) -> int:
        try:
            return _allocate(size, self.index)
        except self.out_of_memory as problem:
            self._stream.exhausted = problem  # cuStateVec makes a status of its own of it
            raise

    def _release_workspace(self, pointer: int, size: int, stream: int) -> None:
        _release(pointer, self.index)

    def call_custatevec(self, function: str, *arguments: Any) -> Any:
        """A function of cuStateVec on the handle of this stream; memory that runs out raises what it does elsewhere."""
        library, handle = self.custatevec
        try:
            return getattr(library, function)(handle, *arguments)
        except Exception:
            problem, self._stream.exhausted = self._stream.exhausted, None
            if problem is not None:
                raise problem from None
            raise


class _EventClock:
    """CUDA events on the current stream: the clock that `stages` reads."""

    def __init__(self, cupy: ModuleType) -> None:
        self.cuda = cupy.cuda

    def mark(self) -> Any:
        event = self.cuda.Event()
        event.record()
        return event

    def seconds(self, first: Any, last: Any) -> float:
        last.synchronize()
        return 1e-3 * float(self.cuda.get_elapsed_time(first, last))


def _allocate(size: int, device: int) -> int:
    """Memory of torch's pool, for CuPy and cuStateVec alike."""
    pointer: int = importlib.import_module("torch").cuda.caching_allocator_alloc(max(size, 1), device)
    return pointer


def _release(pointer: int, device: int) -> None:
    importlib.import_module("torch").cuda.caching_allocator_delete(pointer)


def _int32(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.int32, copy=False) for array in arrays]


@cache
def _libraries(index: int) -> tuple[ModuleType, ModuleType]:
    """cupy and torch, once it is certain that both can use the device of this index."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that are not used here
            cupy = importlib.import_module("cupy")
    except ImportError as problem:
        raise BackendUnavailableError("backend", f"CuPy cannot be imported ({problem})", INSTALL) from None
    if not cupy.cuda.is_available():
        raise BackendUnavailableError("backend", "CuPy finds no NVIDIA GPU with a driver", 'Use backend="cpu"')
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        remedy = "Install torch for CUDA, as pip install torch does on Linux"
        raise BackendUnavailableError("backend", f"torch {torch.__version__} is not built for CUDA", remedy)
    count = cupy.cuda.runtime.getDeviceCount()
    if not 0 <= index < count:
        named = ", ".join(f'"gpu:{i}"' for i in range(count))
        raise BackendUnavailableError("backend", f"there is no GPU {index}", f"Use one of {named}")
    return cupy, torch
