"""Backends: the only place that may import cupy or cuquantum. `select_backend` gives the one to run on."""

from __future__ import annotations

import importlib
import logging
import os
from functools import cache

from ..errors import BackendUnavailableError, UnknownNameError
from .base import Backend

BACKENDS = {"cpu": "qnewton_gpu.backends.cpu:CpuBackend", "gpu": "qnewton_gpu.backends.gpu:GpuBackend"}
VARIABLE = "QNEWTON_BACKEND"
"""Environment variable that says what "auto" means, for jobs that must not choose."""
log = logging.getLogger("qnewton_gpu")


def select_backend(name: str | Backend = "auto") -> Backend:
    """The backend of that name: "cpu", "gpu", or "gpu:1" for the second GPU of this machine.

    "auto" is what the environment variable QNEWTON_BACKEND says, else the first GPU, else the CPU with one log line
    that says why. Raises UnknownNameError, and BackendUnavailableError where a GPU is asked for by name and cannot be
    used.

    >>> select_backend("cpu").name
    'cpu'
    """
    if not isinstance(name, str):
        if hasattr(name, "xp"):
            return name
        raise _unknown(name)
    if name == "auto":
        name = os.environ.get(VARIABLE, "auto")
    return _best() if name == "auto" else _named(name)


@cache
def _best() -> Backend:
    try:
        return _named("gpu")
    except BackendUnavailableError as missing:
        log.info("backend auto: the CPU, because %s", missing.problem)
        return _named("cpu")


@cache
def _named(name: str) -> Backend:
    kind, colon, index = name.partition(":")
    if kind not in BACKENDS or (colon and not (kind == "gpu" and index.isdecimal())):
        raise _unknown(name)
    module, attribute = BACKENDS[kind].split(":")
    make = getattr(importlib.import_module(module), attribute)
    backend: Backend = make(int(index)) if colon else make()
    return backend


def _unknown(name: object) -> UnknownNameError:
    return UnknownNameError.among("backend", name, ("auto", *BACKENDS, "gpu:INDEX"))


__all__ = ["BACKENDS", "Backend", "select_backend"]
