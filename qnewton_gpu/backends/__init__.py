"""Backends: the only place that may import cupy or cuquantum. `select_backend` gives the one to run on."""

from __future__ import annotations

import importlib
import logging
import os
from functools import cache
from typing import Any

from ..errors import BackendUnavailableError, UnknownNameError
from .base import Backend

BACKENDS = {
    "cpu": "qnewton_gpu.backends.cpu:CpuBackend",
    "gpu": "qnewton_gpu.backends.gpu:GpuBackend",
    "tensornet": "qnewton_gpu.backends.tensornet:TensornetBackend",
}
VARIABLE = "QNEWTON_BACKEND"
"""Environment variable that says what "auto" means, for jobs that must not choose."""
log = logging.getLogger("qnewton_gpu")


def select_backend(name: str | Backend = "auto") -> Backend:
    """The backend of that name: "cpu", "gpu", or "gpu:1" for the second GPU of this machine.

    "tensornet" computes where "auto" would without the variable below, and simulates circuits as tensor networks:
    contracted exactly, or with "tensornet:64" as matrix-product states of bond dimension at most 64.
    "auto" is what the environment variable QNEWTON_BACKEND says, else the first GPU, else the CPU with one log line
    that says why. Raises UnknownNameError, and BackendUnavailableError where what is asked for by name cannot be used.

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
    kind, colon, number = name.partition(":")
    least = {"gpu": 0, "tensornet": 1}
    digits = number.isascii() and number.isdecimal() and len(number) < 10
    numbered = kind in least and digits and int(number) >= least[kind]
    if kind not in BACKENDS or (colon and not numbered):
        raise _unknown(name, argument)
    backend: Backend = _made(kind, int(number) if colon else 0 if kind == "gpu" else None)
    return backend


@cache
def _made(kind: str, number: int | None) -> Any:
    module, attribute = BACKENDS[kind].split(":")
    make = getattr(importlib.import_module(module), attribute)
    if kind == "tensornet":
        return make(_best()[0], number)
    return make() if number is None else make(number)


def _unknown(name: object, argument: str = "backend") -> UnknownNameError:
    return UnknownNameError.among(argument, name, ("auto", *BACKENDS, "gpu:INDEX", "tensornet:BOND_DIMENSION"))


__all__ = ["BACKENDS", "Backend", "select_backend", "why_no_gpu"]
