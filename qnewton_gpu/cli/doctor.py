"""`qnewton doctor`: what this machine can run, and the command that installs what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import textwrap
import time
from collections.abc import Iterator
from importlib import metadata

NEEDED = ("numpy", "scipy", "torch", "nvtx", "rich", "scikit-learn", "matplotlib", "platformdirs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    from .tables import table

    rows = [*_packages(), *_machine()]
    if all(state != "missing" for _, state, _ in rows):
        rows += [*_data(), *_cache(), *_calibration(), *_self_test()]
    print(table(("what", "state", "remark"), _wrapped(rows)))
    return 0 if all(state not in ("missing", "failed") for _, state, _ in rows) else 1


def _wrapped(rows: list[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    for what, state, remark in rows:
        first, *more = textwrap.wrap(remark, 80) or [""]
        yield what, state, first
        yield from (("", "", part) for part in more)


def _packages() -> Iterator[tuple[str, str, str]]:
    yield "python", platform.python_version(), ""
    for name in NEEDED:
        try:
            yield name, metadata.version(name), ""
        except metadata.PackageNotFoundError:
            yield name, "missing", f"pip install {name}"


def _machine() -> Iterator[tuple[str, str, str]]:
    from ..backends import BACKENDS, select_backend
    from ..backends.tensornet import TensornetBackend
    from ..errors import BackendUnavailableError

    for name in BACKENDS:
        try:
            backend = select_backend(name)
        except BackendUnavailableError as missing:
            driver = "an NVIDIA driver is here" if shutil.which("nvidia-smi") else "no NVIDIA driver is here"
            where = f"; {driver}" if name == "gpu" else ""
            yield f"backend {name}", "not here", f"{missing.problem}{where}. {missing.remedy}"
        else:
            engine = f"{backend.engine.name} on " if isinstance(backend, TensornetBackend) else ""
            free = f"{backend.available_bytes() / 2**30:.1f} GiB free"
            yield f"backend {name}", "ready", f"{engine}{backend.device}, {free}"
    yield "gate programs", *_gate_programs()


def _gate_programs() -> tuple[str, str]:
    """Whether mode="circuit" runs where "auto" computes."""
    from ..backends import select_backend
    from ..errors import BackendUnavailableError, QNewtonError

    try:
        backend = select_backend("auto")
    except QNewtonError as problem:
        return "failed", str(problem)
    if backend.name == "cpu":
        return "ready", "on NumPy"
    try:
        backend.state_vector(backend.xp.ones((1, 1)), 1)
    except BackendUnavailableError as missing:
        return "not here", f"{missing.problem}. {missing.remedy}"
    return "ready", f"on cuStateVec, {backend.device}"


def _data() -> Iterator[tuple[str, str, str]]:
    from ..data import load_data
    from ..errors import QNewtonError

    for name in ("digits", "mnist"):
        try:
            data = load_data(name)
        except QNewtonError as problem:
            yield f"data {name}", "not here", problem.remedy
        else:
            yield (
                f"data {name}",
                "ready",
                f"{len(data.train_inputs)} training and {len(data.test_inputs)} test examples",
            )


def _cache() -> Iterator[tuple[str, str, str]]:
    from ..user_cache import cache_folder

    folder = cache_folder()
    entries = len(list(folder.glob("*.npz"))) if folder.is_dir() else 0
    place = folder
    while not place.exists():
        place = place.parent
    writable = os.access(place, os.W_OK)
    remark = "" if writable else "set QNEWTON_CACHE_DIR to a folder that can be written"
    yield "phase cache", f"{entries} entries" if writable else "read-only", remark or str(folder)


def _calibration() -> Iterator[tuple[str, str, str]]:
    """What `qnewton train --calibrate` would take from the cache."""
    from ..backends import select_backend
    from ..costs.calibration import cached
    from ..errors import QNewtonError
    from .machines import age

    try:
        backend = select_backend("auto")
    except QNewtonError:  # said further up
        backend = select_backend("cpu")
    machine = cached(backend)
    if machine is None:
        yield "calibration", "none yet", "--calibrate measures this machine for predictions (a few seconds)"
    else:
        rates = f"Cholesky {machine.cholesky_flops / 1e9:.3g} and LU {machine.lu_flops / 1e9:.3g} GFLOP/s"
        yield (
            "calibration",
            "ready",
            f"of {age(time.time() - machine.measured_at)} ago: {rates}; --recalibrate renews it",
        )


def _self_test() -> Iterator[tuple[str, str, str]]:
    """A small system by every solver, against its exact solution."""
    import numpy as np

    from ..backends import select_backend
    from ..errors import CombinationError, QNewtonError
    from ..linear_solve import solve
    from ..solvers import SOLVERS

    A = np.diag(np.linspace(0.2, 1.0, 8)) + 0.01
    exact = np.arange(8.0)
    try:
        backend = select_backend("auto")
    except QNewtonError:  # said further up
        backend = select_backend("cpu")
    for solver in SOLVERS:
        try:
            solution = solve(A, A @ exact, solver=solver, tolerance=1e-8, backend=backend)
        except CombinationError as missing:  # no gate program, where nothing else is simulated
            yield f"solver {solver}", "not here", f"{missing.problem}. {missing.remedy}"
            continue
        good = solution.solved and np.allclose(solution.x, exact, rtol=1e-6, atol=1e-6)
        yield f"solver {solver}", "ready" if good else "failed", f"relative residual {solution.relative_residual:.1e}"
