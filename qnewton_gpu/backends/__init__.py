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
    argument = "backend"
    if name == "auto" and os.environ.get(VARIABLE):
        argument, name = f"the environment variable {VARIABLE}", os.environ[VARIABLE].lower()
    return _best()[0] if name == "auto" else _named(name, argument)


def why_no_gpu() -> str | None:
    """Why "auto" means the CPU here; None where it does not, or where the environment variable decides."""
    return None if os.environ.get(VARIABLE) else _best()[1]


@cache
def _best() -> tuple[Backend, str | None]:
    try:
        return _named("gpu"), None
    except BackendUnavailableError as missing:
        log.info("backend auto: the CPU, because %s", missing.problem)
        return _named("cpu"), missing.problem


def _named(name: str, argument: str = "backend") -> Backend:
    kind, colon, index = name.partition(":")
    if kind not in BACKENDS or (colon and not (kind == "gpu" and index.isdecimal())):
        raise _unknown(name, argument)
    return _made(kind, int(index or 0))


@cache
def _made(kind: str, index: int) -> Backend:
    module, attribute = BACKENDS[kind].split(":")
    make = getattr(importlib.import_module(module), attribute)
    backend: Backend = make(index) if kind == "gpu" else make()
    return backend


def _unknown(name: object, argument: str = "backend") -> UnknownNameError:
    return UnknownNameError.among(argument, name, ("auto", *BACKENDS, "gpu:INDEX"))


__all__ = ["BACKENDS", "Backend", "select_backend", "why_no_gpu"]
