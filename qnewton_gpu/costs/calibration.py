"""The classical machine, measured: a few seconds of factorisations and products, and the rates that fit them.

Kept in the user's cache folder under the machine's name, its threads, and the versions of NumPy and torch.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import QNewtonError
from ..operators import MatrixOperator, check_memory
from ..stages import stage
from ..user_cache import cache_folder, keep
from .machine import VECTOR_BYTES_OF_A_STEP, ClassicalMachine

ORDERS = (64, 128, 256, 512, 1024)
SPARSE_ORDERS = (1_000, 10_000, 100_000)
GRAPH_BATCHES = (100, 400, 1600)
STEPS = 20  # of conjugate gradients, timed as one
ENOUGH_SECONDS = 0.1  # of repeating one measurement, at least three times
_FORMAT = 1
_log = logging.getLogger(__name__)

Rows = list[tuple[list[float], float]]
"""What a measurement should be a sum of (amounts of each term), and the seconds it took."""


def calibrate(backend: Backend, *, refresh: bool = False) -> ClassicalMachine:
    """This machine as it was measured before (`measured_at` says when), or measured now: on request, or at first.

    An entry belongs to the device, the host's name, the threads, the versions of NumPy and torch, and whether torch is
    loaded, because dense factorisations on a CPU run in torch then. A damaged entry is measured anew.
    """
    path = _path(backend)
    machine = None if refresh else _read(path)
    if machine is None:
        machine = measure(backend)
        keep(path, json.dumps(machine.to_dict(), indent=2).encode(), "the calibration")
    return machine


def cached(backend: Backend) -> ClassicalMachine | None:
    """The calibration that `calibrate` would take from the cache."""
    return _read(_path(backend))


def measure(
    backend: Backend,
    *,
    orders: Sequence[int] = ORDERS,
    sparse_orders: Sequence[int] = SPARSE_ORDERS,
    batches: Sequence[int] = GRAPH_BATCHES,
) -> ClassicalMachine:
    """Time LU, Cholesky, QR, sparse LU, conjugate gradients, products and, where torch is loaded, a network's.

    Every rate is the least-squares fit, of relative errors, to medians at several sizes.
    """
    latency, factorisations = _factorisations(backend, orders)
    fitted: dict[str, Any] = {"latency": latency}
    for name, (per_cube, per_square) in factorisations.items():
        fitted[f"{name}_flops"], fitted[f"{name}_half_order"] = 1 / per_cube, per_square / per_cube
    fitted |= _sparse_lu(sparse_orders) | _iterations(backend, orders, sparse_orders)
    if "torch" in sys.modules:
        fitted |= _graph(backend, batches) | _assembly(backend, batches)
    return ClassicalMachine(
        name=f"calibrated: {backend.device}",
        source=f"measured at orders {orders[0]} to {orders[-1]} (dense) and to {sparse_orders[-1]} (sparse), medians, "
        f"{'torch' if 'torch' in sys.modules else 'without torch'}, CPU threads: {threads()}",
        measured=True,
        measured_at=time.time(),
        **fitted,
    )


def median_seconds(backend: Backend, function: Callable[[], Any]) -> float:
    """Median of at least three calls, after one that warms up."""
    function()
    backend.synchronize()
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < ENOUGH_SECONDS and len(seconds) < 25):
        start = time.perf_counter()
        function()
        backend.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def fit(rows: Rows) -> np.ndarray:
    """Coefficients >= 0 whose sums of amounts are the seconds, with the least sum of squared relative errors."""
    from scipy.optimize import nnls

    amounts = np.array([[amount / seconds for amount in parts] for parts, seconds in rows])
    scale = amounts.max(axis=0)
    found = nnls(amounts / scale, np.ones(len(rows)))[0] / scale
    # what timing noise made free costs at least a thousandth of what it can
    return np.asarray(np.maximum(found, 1e-3 / scale))


def _factorisations(backend: Backend, orders: Sequence[int]) -> tuple[float, dict[str, tuple[float, float]]]:
    """Seconds of a call, and for each factorisation seconds a flop and seconds a flop times order (the half order)."""
    random, xp = np.random.default_rng(0), backend.xp
    flops = {"cholesky": 1 / 3, "lu": 2 / 3, "qr": 4 / 3}
    rows: Rows = []
    for order in orders:
        A = random.standard_normal((order, order))
        H = backend.asarray(A @ A.T / order + np.eye(order))
        b = backend.asarray(random.standard_normal((order, 1)))

        def qr(H: Any, b: Any) -> Any:
            q, r = xp.linalg.qr(H)
            return xp.linalg.solve(r, q.T @ b)

        calls = (backend.cholesky_solve, backend.lu_solve, qr)
        for place, (share, solve) in enumerate(zip(flops.values(), calls, strict=True)):

            def call(solve: Any = solve, H: Any = H, b: Any = b) -> Any:  # as solvers/classical.py does it
                check_memory("calibration", 24.0 * len(H) ** 2, backend, "Use a stated machine")
                with stage("solve", category="calibration"):
                    return solve(H, b)

            amounts = [1.0, *6 * [0.0]]
            amounts[1 + 2 * place : 3 + 2 * place] = share * order**3, share * order**2
            rows.append((amounts, median_seconds(backend, call)))
    latency, *found = map(float, fit(rows))
    return latency, {name: (found[2 * place], found[2 * place + 1]) for place, name in enumerate(flops)}


def random_sparse(order: int, entries: int, seed: int = 0) -> Any:
    """Symmetric, diagonally dominant, with about 2 * entries + 1 entries a row in random places."""
    import scipy.sparse as sp

    random = np.random.default_rng(seed)
    rows = np.repeat(np.arange(order), entries)
    half = sp.coo_array((np.full(order * entries, -0.5 / entries), (rows, random.integers(0, order, order * entries))),
                        shape=(order, order))  # fmt: skip
    matrix = (half + half.T + 4 * sp.eye_array(order)).tocsr()
    matrix.sort_indices()
    return matrix


def _sparse_lu(orders: Sequence[int]) -> dict[str, float]:
    """SuperLU on the host: narrow bands, where entries count, and random matrices, where their fill does."""
    import scipy.sparse as sp
    import scipy.sparse.linalg as spla

    host = select_backend("cpu")
    ones: Any = sp.eye_array
    bands = [(4 * ones(n) + ones(n, k=1) + ones(n, k=-1) + ones(n, k=2) + ones(n, k=-2)).tocsr() for n in orders]
    rows: Rows = []
    for matrix in (*bands, random_sparse(orders[0] // 2, 3), random_sparse(orders[0], 3)):

        def factorise(matrix: Any = matrix) -> Any:
            return spla.splu(matrix.tocsc())

        rows.append(([float(matrix.nnz), MatrixOperator(matrix, host).fill_flops], median_seconds(host, factorise)))
    entry, flop = map(float, fit(rows))
    return {"sparse_entry_seconds": entry, "sparse_lu_flops": 1 / flop}


def _iterations(backend: Backend, orders: Sequence[int], sparse_orders: Sequence[int]) -> dict[str, float]:
    """Steps of conjugate gradients, dense and sparse: their own latency, vectors, and the two bandwidths of products.

    Sparse matrices with 3 and with 13 entries a row tell what vectors cost from what entries do.
    """
    random = np.random.default_rng(0)
    rows: Rows = []
    for order in (*orders[::2], 2 * orders[-1]):
        A = random.standard_normal((order, order))
        matrix = backend.asarray(A @ A.T / order + np.eye(order))
        rows.append(([1.0, 8.0 * order**2, 0.0, VECTOR_BYTES_OF_A_STEP * order], _step(backend, matrix, order)))
    for order in sparse_orders:
        for entries in (1, 6):
            matrix = random_sparse(order, entries)
            amounts = [1.0, 0.0, 12.0 * matrix.nnz, VECTOR_BYTES_OF_A_STEP * order]
            rows.append((amounts, _step(backend, backend.csr(matrix), order)))
    step, dense, sparse, vectors = map(float, fit(rows))
    return {
        "step_latency": step, "bandwidth": 1 / dense, "sparse_bandwidth": 1 / sparse, "vector_bandwidth": 1 / vectors,
    }  # fmt: skip


def _step(backend: Backend, matrix: Any, order: int) -> float:
    b = backend.asarray(np.random.default_rng(1).standard_normal((order, 1)))

    def solve() -> Any:
        return backend.conjugate_gradients(lambda v: backend.real_product(matrix, v), b, 1e-300, STEPS)

    return median_seconds(backend, solve) / STEPS


def _graph(backend: Backend, batches: Sequence[int]) -> dict[str, float]:
    """Products G^t G v through the graph of a small network, as curvature/gauss_newton.py makes them."""
    torch = importlib.import_module("torch")
    inputs, hidden, outputs = 64, 16, 10
    generator = torch.Generator().manual_seed(0)
    make = {"dtype": torch.float64, "device": backend.torch_device}
    sizes = (hidden * inputs, hidden, outputs * hidden, outputs)
    rows: Rows = []
    for batch in batches:
        x = torch.rand(batch, inputs, generator=generator, dtype=torch.float64).to(**make)
        theta = (torch.rand(sum(sizes), generator=generator, dtype=torch.float64) - 0.5).to(**make).requires_grad_()
        with torch.enable_grad():
            w1, b1, w2, b2 = theta.split(sizes)
            y = torch.relu(x @ w1.view(hidden, inputs).T + b1) @ w2.view(outputs, hidden).T + b2
            dual = torch.zeros_like(y, requires_grad=True)
            (backward,) = torch.autograd.grad(y, theta, dual, create_graph=True)
        v = torch.ones(1, theta.numel(), **make)

        weight = torch.full_like(y, 0.1)

        def root(rows: Any, weight: Any = weight) -> Any:  # of the Hessian of cross-entropy
            return weight * rows - weight * (weight * rows).sum(dim=-1, keepdim=True)

        def product(y: Any = y, backward: Any = backward, dual: Any = dual, theta: Any = theta, v: Any = v) -> Any:
            (rows,) = torch.autograd.grad(backward, [dual], v, is_grads_batched=True, retain_graph=True)
            return torch.autograd.grad(y, [theta], root(root(rows)), is_grads_batched=True, retain_graph=True)[0]

        moved = 16.0 * (x.numel() + 2 * y.numel() + 2 * theta.numel())
        rows.append(([1.0, moved], median_seconds(backend, product)))
    latency, byte = map(float, fit(rows))
    return {"graph_latency": latency, "graph_bandwidth": 1 / byte}


def _assembly(backend: Backend, batches: Sequence[int]) -> dict[str, float]:
    """G^t G of a layer as one product of two tables over the examples, as curvature/linear_layers.py makes it."""
    torch = importlib.import_module("torch")
    make = {"dtype": torch.float64, "device": backend.torch_device}
    rows: Rows = []
    for batch, inputs, outputs in ((batches[0], 64, 16), (batches[-1], 64, 4), (batches[-1], 64, 16)):
        h, delta = torch.ones(batch, inputs, **make), torch.ones(batch, outputs, outputs, **make)
        order = inputs * outputs
        index = torch.arange(order, device=backend.torch_device)

        def form(h: Any = h, delta: Any = delta, index: Any = index, shape: Any = (outputs, inputs)) -> Any:
            o, i = shape
            pairs = (h[:, :, None] * h[:, None, :]).flatten(1)
            block = ((delta.transpose(1, 2) @ delta).flatten(1).T @ pairs).view(o, o, i, i).permute(0, 2, 1, 3)
            total = torch.empty(o * i, o * i, **make)
            total[index[:, None], index] = block.reshape(o * i, o * i)
            return total.clone()  # the damping is added to a copy

        written = 8.0 * (batch * (inputs**2 + outputs**2) + 2 * order**2)
        amounts = [2.0 * batch * order**2, written]
        rows.append((amounts, median_seconds(backend, form)))
    flop, byte = map(float, fit(rows))
    return {"assembly_flops": 1 / flop, "table_bandwidth": 1 / byte}


def threads() -> int:
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # a number for each level of nesting
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))


def machine_key(backend: Backend) -> str:
    torch: Any = sys.modules.get("torch")
    versions = f"numpy {np.__version__}, torch {torch.__version__ if torch is not None else 'not loaded'}"
    return f"{platform.node()}, {platform.machine()}, {backend.device}, {threads()} threads, {versions}"


def _path(backend: Backend) -> Path:
    return cache_folder() / f"machine{_FORMAT}-{hashlib.sha256(machine_key(backend).encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> ClassicalMachine | None:
    try:
        if not path.is_file():
            return None
        machine = ClassicalMachine(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, RecursionError, QNewtonError) as problem:
        _log.warning("the calibration in %s cannot be read (%s) and is measured anew", path, problem)
        return None
    return machine if machine.measured else None
