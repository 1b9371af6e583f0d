"""Backends: the only place that may import cupy or cuquantum. `select_backend` gives the one to run on."""

from __future__ import annotations

import importlib

from ..errors import UnknownNameError
from .base import Backend

BACKENDS = {"cpu": "qnewton_gpu.backends.cpu:CpuBackend"}


def select_backend(name: str | Backend = "auto") -> Backend:
    """The backend of that name; "auto" takes the best that this version has for this machine (so far: the CPU).

    Raises UnknownNameError for a name that is not a backend.

    >>> select_backend("cpu").name
    'cpu'
    """
    if not isinstance(name, str) and hasattr(name, "xp"):
        return name
    if name == "auto":
        name = "cpu"
    if name not in BACKENDS:
        raise UnknownNameError.among("backend", name, ("auto", *BACKENDS))
    module, attribute = BACKENDS[name].split(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend


__all__ = ["BACKENDS", "Backend", "select_backend"]
