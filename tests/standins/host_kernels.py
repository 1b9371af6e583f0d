"""Compiles the bodies of kernels/*.cu with g++ (cuda_host.h stands in for CUDA), and calls them on NumPy arrays."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qnewton_gpu.backends import cuda_source

HEADERS = Path(__file__).parents[1] / "host"
MISSING = "g++ is missing: install Debian's build-essential"


def require_gxx() -> str:
    """The path of g++; skips the test where there is none, or fails it where QNEWTON_REQUIRE_GXX=1."""
    found = shutil.which("g++")
    if found is None:
        (pytest.fail if os.environ.get("QNEWTON_REQUIRE_GXX") == "1" else pytest.skip)(MISSING)
    assert found is not None
    return found


def symbol(expression: str) -> str:
    return "run_" + re.sub(r"\W+", "_", expression)


def translation_unit(name: str, only: str | None = None) -> str:
    """A C++ text with the source of a kernel file and one exported function for each of its instances, or for one."""
    sources = [cuda_source.source(name, real) for real in cuda_source.REALS.values()]
    expressions = dict.fromkeys(e for source in sources for e in source.name_expressions)
    return _with_exports(sources[0].text, {only: None} if only else expressions)


def _with_exports(text: str, expressions: Iterable[str]) -> str:
    exports = [
        f'extern "C" int {symbol(e)}(const unsigned* grid, const unsigned* block, unsigned shared, void** arguments,'
        f" const int* bytes, int count) {{ return host::launch({e}, grid, block, shared, arguments, bytes, count); }}"
        for e in expressions
    ]
    return "\n".join(['#include "cuda_host.h"', text, *exports])


def build(text: str, *flags: str) -> Path:
    """The file that g++ makes of this text, kept in the tests' cache folder under a name of its content."""
    compiler = require_gxx()
    key = hashlib.sha256("\0".join([text, (HEADERS / "cuda_host.h").read_text(), *flags]).encode()).hexdigest()[:16]
    folder = Path(os.environ["QNEWTON_CACHE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / f"host-{key}.so"
    with (folder / f"host-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the workers of a test run share what one of them has built
        if not result.exists():
            unit = folder / f"host-{key}.cpp"
            unit.write_text(text)
            command = [compiler, "-std=c++20", "-O1", "-g", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-variable",
                       "-I", str(HEADERS), *flags, "-o", str(result), str(unit)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return result


@cache
def library(name: str) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(translation_unit(name), "-shared", "-fPIC")))


@cache
def library_of(text: str, expressions: tuple[str, ...]) -> ctypes.CDLL:
    """The library with these instances of a source: that of its file for one of kernels/, else one of its own."""
    for name in cuda_source.NAMES:
        sources = [cuda_source.source(name, real) for real in cuda_source.REALS.values()]
        if (text, expressions) in [(source.text, source.name_expressions) for source in sources]:
            return library(name)
    return ctypes.CDLL(str(build(_with_exports(text, expressions), "-shared", "-fPIC")))


def _flattened(grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]) -> tuple[Any, Any, list[Any]]:
    """Sizes in three dimensions, and the arguments with plain integers as 8 bytes."""
    values = [np.int64(v) if isinstance(v, int) else v for v in arguments]
    return (*grid, 1, 1)[:3], (*block, 1, 1)[:3], values


def run(
    name: str, expression: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0
) -> None:
    """Call a kernel of kernels/; arrays are passed by address, NumPy scalars by value with their own size."""
    call(library(name), expression, grid, block, arguments, shared)


def call(
    compiled: ctypes.CDLL, expression: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any],
    shared: int = 0,
) -> None:  # fmt: skip
    grid, block, values = _flattened(grid, block, arguments)
    stored = [np.array(np.uint64(v.ctypes.data) if isinstance(v, np.ndarray) else v) for v in values]
    addresses = (ctypes.c_void_p * len(stored))(*(v.ctypes.data for v in stored))
    sizes = (ctypes.c_int * len(stored))(*(v.itemsize for v in stored))
    three = ctypes.c_uint * 3
    problem = getattr(compiled, symbol(expression))(three(*grid), three(*block), shared, addresses, sizes, len(stored))
    assert problem == 0, f"{expression}: argument {problem - 2} has the wrong size" if problem > 1 else "wrong count"


def run_sanitized(
    sanitizer: str,
    name: str, expression: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0,
) -> None:  # fmt: skip
    """The same in a process of its own, built with -fsanitize; "thread" takes a system thread for each CUDA thread.

    Raises AssertionError with what the process said if it did not end cleanly.
    """
    flags = [f"-fsanitize={sanitizer}", "-fno-omit-frame-pointer", f"-DKERNEL={symbol(expression)}"]
    if sanitizer == "thread":
        flags += ["-DQNEWTON_THREADS", "-pthread"]
    program = build(translation_unit(name, expression) + '\n#include "run_one.inc"\n', *flags)
    grid, block, values = _flattened(grid, block, arguments)
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder, "arguments"), Path(folder, "results")
        with given.open("wb") as file:
            file.write(np.array([*grid, *block, shared, len(values)], dtype=np.uint32).tobytes())
            for value in values:
                is_array = isinstance(value, np.ndarray)
                file.write(np.array([is_array, value.nbytes], dtype=np.int64).tobytes() + value.tobytes())
        # address space randomisation is more than the thread sanitizer can take
        command = [*(["setarch", "-R"] if sanitizer == "thread" else []), str(program), str(given), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[:4000]
        content, place = result.read_bytes(), 0
    for array in (v for v in values if isinstance(v, np.ndarray)):
        array[...] = np.frombuffer(content, array.dtype, array.size, place).reshape(array.shape)
        place += array.nbytes
