"""The rehearsal: the GPU backend's own code, unchanged, on stand-ins for CuPy, cuQuantum and torch.cuda.

What it shows is that the code is complete, consistent and calls what exists; it is no GPU result.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from qnewton_gpu import backends, stages
from qnewton_gpu.backends import gpu

from . import cupy_standin, custatevec_standin, cutensornet_standin, host_kernels, network_state_standin

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype, LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
LIBC.free.argtypes = [ctypes.c_void_p]
FREE_BYTES = 4 * 2**30


def _stream(number: int) -> types.SimpleNamespace:
    return types.SimpleNamespace(cuda_stream=number, __cuda_stream__=lambda: (0, number))


class _Current(threading.local):
    """torch's current stream in each thread: the legacy default stream in a new one."""

    stream = _stream(0)


def _torch_cuda() -> dict[str, object]:
    current, numbers = _Current(), itertools.count(1)

    @contextmanager
    def on(stream: types.SimpleNamespace) -> Iterator[None]:
        before, current.stream = current.stream, stream
        try:
            yield
        finally:
            current.stream = before

    return {
        "is_available": lambda: True,
        "set_device": lambda index: None,
        "current_stream": lambda device=None: current.stream,
        "Stream": lambda device=None, priority=0: _stream(next(numbers)),
        "stream": on,
        "caching_allocator_alloc": lambda size, device=None: LIBC.malloc(size),
        "caching_allocator_delete": lambda pointer: LIBC.free(pointer),
        "mem_get_info": lambda index: (FREE_BYTES, FREE_BYTES),
        "memory_reserved": lambda index: 0,
        "memory_allocated": lambda index: 0,
    }


@contextmanager
def rehearse() -> Iterator[gpu.GpuBackend]:
    """A GpuBackend on the stand-ins; "gpu" means it everywhere while this is open."""
    host_kernels.require_gxx()
    modules = {
        **cupy_standin.modules(),
        "cuquantum.bindings.custatevec": custatevec_standin,
        **cutensornet_standin.modules(),
        **network_state_standin.modules(),
    }
    caches = (gpu._libraries, backends._made, backends._best)
    with pytest.MonkeyPatch.context() as monkeypatch:  # only these: what is imported meanwhile has to stay
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        for name, function in _torch_cuda().items():
            monkeypatch.setattr(torch.cuda, name, function)
        for cache in caches:
            cache.cache_clear()
        try:
            backend = backends.select_backend("gpu")
            assert isinstance(backend, gpu.GpuBackend)
            yield backend
        finally:
            stages.use_device_clock(None)
            gpu.GpuBackend._in_use = None
            cupy_standin.Allocator.use(None)
            for cache in caches:
                cache.cache_clear()
