"""How fast this machine simulates: a few seconds of real circuits, timed once, and the rates that fit them.

Kept in the user's cache folder as the calibration of the classical machine is (costs/calibration.py). All seconds are
simulated seconds: those that this computer spends.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..backends.contraction_paths import path_cost, time_order
from ..backends.tensornet import TensornetBackend
from ..backends.tensornet_state import small_operands
from ..conditioning import SpectrumBounds
from ..costs.calibration import Rows, fit, machine_key, median_seconds, random_sparse, threads
from ..encodings import encode
from ..encodings.composition import extended
from ..errors import BackendUnavailableError, ParameterError
from ..operators import MatrixOperator
from ..simulation import Run
from ..solvers import LinearSystem, make_solver
from ..solvers.kernel_reflection import KernelOf
from ..tensor_networks import MatrixProductOperator, MatrixProductState
from ..user_cache import cache_folder, keep
from .gate_shapes import GateShape, chain_bonds, chain_cost, network_of

SUBSPACE_SIZES = (100, 1000, 10_000, 60_000)
DENSE_SIZES = (128, 512, 1536)
REGISTER_SIZES = (32, 250, 2000, 16_000)
CIRCUIT_SIZES = (32, 256, 2048)
LARGEST_PREPARED = 256
CHAIN_BONDS = (4, 8, 16, 32, 64)
CHAIN_QUBITS = 16
NETWORK_SIZES = (8, 32, 128)
NETWORK_QUERIES = 25
QUERIES = 60
"""Of the circuits that are timed for what a query takes."""
_FORMAT = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SimulatorRates:
    """Simulated seconds of one query, of one column, in each simulator, as sums of these parts.

    subspace    query_latency + entry_seconds * stored entries (dense_entry_seconds where dense)
                + unknown_seconds * N; with kernel reflection projection_latency + projection_seconds * N more
    fused       register_latency + amplitude_seconds * register size (coloured_seconds for matching and its kind)
    circuit     gate_latency + gate_seconds * 2^qubits; each round program_latency + program_seconds * 2^qubits more,
                for the gate program and its fusion, and with kernel reflection preparation_seconds * 4^(qubits of
                the system) for the program that prepares (b, 1)
    tensornet   exact: path_latency * pairs + flop_seconds * flops of the contraction path
    chains      site_latency + cube_seconds * (w chi)^3 for each site that an operator of bond w acts on, compressed
    Each round of a solver takes round_seconds beside its circuit.
    """

    name: str
    source: str
    round_seconds: float
    query_latency: float
    entry_seconds: float
    dense_entry_seconds: float
    unknown_seconds: float
    projection_latency: float
    projection_seconds: float
    register_latency: float
    amplitude_seconds: float
    coloured_seconds: float
    gate_latency: float
    gate_seconds: float
    program_latency: float
    program_seconds: float
    preparation_seconds: float
    path_latency: float
    flop_seconds: float
    site_latency: float
    cube_seconds: float
    measured: bool = False
    measured_at: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type != "float":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ParameterError(one.name, f"{value!r} is not a number of seconds >= 0", "Measure the rates anew")


def calibrate_simulators(backend: Backend, *, refresh: bool = False) -> SimulatorRates:
    """The rates of this machine as they were measured before, or measured now: on request, or at first.

    Kept for what a calibration of the classical machine is kept for: device, host, threads, versions.
    """
    backend = computing(backend)
    rates = None if refresh else cached_rates(backend)
    if rates is None:
        rates = measure_rates(backend)
        keep(_path(backend), json.dumps(asdict(rates), indent=2).encode(), "the calibration of the simulators")
    return rates


def computing(backend: Backend) -> Backend:
    """Where everything is compared: a backend that simulates by tensor networks only computes on its base."""
    return backend.base if isinstance(backend, TensornetBackend) else backend


def cached_rates(backend: Backend) -> SimulatorRates | None:
    """The rates that `calibrate_simulators` would take from the cache."""
    path = _path(computing(backend))
    try:
        if not path.is_file():
            return None
        rates = SimulatorRates(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, RecursionError) as problem:
        _log.warning("the rates in %s cannot be read (%s) and count as not measured", path, problem)
        return None
    return rates if rates.measured else None


def known_rates(backend: Backend) -> SimulatorRates:
    """Those of this machine where they were measured before, else the reference: nothing is timed."""
    return cached_rates(backend) or REFERENCE


def _path(backend: Backend) -> Path:
    return cache_folder() / f"simulators{_FORMAT}-{hashlib.sha256(machine_key(backend).encode()).hexdigest()[:16]}.json"


def measure_rates(backend: Backend) -> SimulatorRates:
    """Time real circuits in every simulator; every rate is a least-squares fit, of relative errors, to medians."""
    fitted = _subspace(backend) | _registers(backend) | _circuits(backend) | _networks(backend) | _chains(backend)
    fitted["round_seconds"] = _round(backend, fitted["query_latency"])
    return SimulatorRates(
        name=f"calibrated: {backend.device}",
        source=f"measured at N to {SUBSPACE_SIZES[-1]} (vectors), {REGISTER_SIZES[-1]} (registers), "
        f"{CIRCUIT_SIZES[-1]} (gates) and bonds to {CHAIN_BONDS[-1]}, medians, CPU threads: {threads()}",
        measured=True,
        measured_at=time.time(),
        **fitted,
    )


def _operator(size: int, entries: int, backend: Backend) -> MatrixOperator:
    return MatrixOperator(random_sparse(size, entries), backend)


def _dense(size: int, backend: Backend) -> MatrixOperator:
    A = np.random.default_rng(0).standard_normal((size, size))
    return MatrixOperator(backend.asarray(A + A.T), backend)


def _seconds(encoding: Any, mode: str, queries: int, backend: Backend) -> float:
    """Of a circuit of so many queries on one column."""
    size = encoding.shape[1]
    start, phases = backend.xp.full((size, 1), size**-0.5), np.random.default_rng(0).random(queries + 1)
    return median_seconds(backend, lambda: Run(encoding, phases, start, "right", mode).execute(backend))


def _query(encoding: Any, mode: str, backend: Backend) -> float:
    """Of one query among so many that what comes before and after them is shared out."""
    return _seconds(encoding, mode, QUERIES, backend) / (QUERIES + 1)


def _subspace(backend: Backend) -> dict[str, float]:
    """Products and vectors, of sparse matrices with 3 and 13 entries a row and of dense ones; and the projections."""
    rows: Rows = []
    sparse = [_operator(size, entries, backend) for size in SUBSPACE_SIZES for entries in (1, 6)]
    for operator in (*sparse, *(_dense(size, backend) for size in DENSE_SIZES)):
        n, encoding = float(operator.shape[0]), encode(operator, backend, "walk")
        parts = [1.0, 0.0, 0.0, n]
        parts[1 if operator.sparse else 2] = float(operator.nonzeros)
        rows.append(([*parts, 0.0, 0.0], _query(encoding, "subspace", backend)))
        if operator.sparse:
            rows.append(([*parts, 1.0, n], _query(_reflected(encoding, backend), "subspace", backend)))
    names = ("query_latency", "entry_seconds", "dense_entry_seconds", "unknown_seconds", "projection_latency",
             "projection_seconds")  # fmt: skip
    return dict(zip(names, map(float, fit(rows)), strict=True))


def _round(backend: Backend, query: float) -> float:
    """A solve of so few unknowns and queries that next to nothing but its round is left."""
    operator = _operator(16, 1, backend)
    bounds = SpectrumBounds(2.0, 6.0, certified=True, method="diagonally dominant")
    system = LinearSystem(operator, backend.xp.ones((16, 1)), bounds, 1e-2)
    solver = make_solver("qsvt", encoding="walk", mode="subspace")
    queries = solver.solve(system, backend).queries
    return max(median_seconds(backend, lambda: solver.solve(system, backend)) - queries * query, 1e-5)


def _registers(backend: Backend) -> dict[str, float]:
    """Whole registers: of the walk, and of coloured involutions."""
    rows: Rows = []
    for place, name in enumerate(("walk", "matching")):
        for size in REGISTER_SIZES:
            encoding = encode(_operator(size, 3, backend), backend, name)
            amounts = [1.0, 0.0, 0.0]
            amounts[1 + place] = float(encoding.register_size)
            rows.append((amounts, _query(encoding, "fused", backend)))
    latency, walk, coloured = map(float, fit(rows))
    return {"register_latency": latency, "amplitude_seconds": walk, "coloured_seconds": coloured}


def _circuits(backend: Backend) -> dict[str, float]:
    """Gate programs of the matching encoding, and of kernel reflection on it, which has to prepare (b, 1)."""
    rows: Rows = []
    for size in CIRCUIT_SIZES:
        encoding: Any = encode(_operator(size, 3, backend), backend, "matching")
        amplitudes = 2.0 ** (encoding.system_qubits + encoding.ancilla_qubits)
        for queries in (1, QUERIES):
            amounts = [1.0, amplitudes, 0.0, float(queries), queries * amplitudes]
            rows.append((amounts, _seconds(encoding, "circuit", queries, backend)))
        if size <= LARGEST_PREPARED:
            reflected = _reflected(encoding, backend)
            amounts = [1.0, 2 * amplitudes, 4.0**reflected.system_qubits, 2.0, 4 * amplitudes]
            rows.append((amounts, _seconds(reflected, "circuit", 2, backend)))
    names = ("program_latency", "program_seconds", "preparation_seconds", "gate_latency", "gate_seconds")
    return dict(zip(names, map(float, fit(rows)), strict=True))


def _reflected(encoding: Any, backend: Backend) -> KernelOf:
    n = encoding.operator.shape[0]
    return KernelOf(extended(encoding, encoding.alpha / 2), backend.xp.full((n, 1), n**-0.5), backend)


def _networks(backend: Backend) -> dict[str, float]:
    """Small circuits as networks, the path found anew; in the reference's time where no engine is installed."""
    rows: Rows = []
    for size in NETWORK_SIZES:
        encoding: Any = encode(_operator(size, 1, backend), backend, "matching")
        system, start = encoding.system_qubits, backend.xp.full((size, 1), size**-0.5)
        phases = np.random.default_rng(0).random(NETWORK_QUERIES + 1)
        gates = small_operands(encoding.circuit().gates)
        network = network_of(gates, system, system + encoding.ancilla_qubits, start, NETWORK_QUERIES)

        def contracted(encoding: Any = encoding, start: Any = start, phases: Any = phases) -> Any:
            fresh: Any = TensornetBackend(backend)  # which knows no path yet
            return Run(encoding, phases, start, "right", "circuit").execute(fresh)

        try:
            seconds = median_seconds(backend, contracted)
        except BackendUnavailableError as missing:
            _log.warning("tensor networks are not timed: %s", missing)
            return {"path_latency": REFERENCE.path_latency, "flop_seconds": REFERENCE.flop_seconds}
        path = path_cost(network, time_order(network), "time order")
        rows.append(([float(len(network.operands)), path.flops], seconds))
    latency, flop = map(float, fit(rows))
    return {"path_latency": latency, "flop_seconds": flop}


def _chains(backend: Backend) -> dict[str, float]:
    """Adders applied to random chains of full bonds, and compressed to them again."""
    random = np.random.default_rng(0)
    rows: Rows = []
    sites = tuple(range(CHAIN_QUBITS))
    adder = [GateShape(sites, sites, 0, CHAIN_QUBITS - 1, 2.0, 2.0)]
    shift = MatrixProductOperator.shift(CHAIN_QUBITS, 3)
    operator = MatrixProductOperator([backend.asarray(tensor) for tensor in shift.tensors])
    for bond in CHAIN_BONDS:
        bonds = [int(b) for b in (*chain_bonds(CHAIN_QUBITS, bond), 1)]
        tensors = [backend.asarray(random.standard_normal((a, 2, b)) + 1j) for a, b in pairwise(bonds)]
        state, _ = MatrixProductState(tensors).compressed()

        def sweep(state: Any = state, bond: int = bond) -> Any:
            return operator.apply(state, bond)

        rows.append((list(chain_cost(adder, CHAIN_QUBITS, bond)), median_seconds(backend, sweep)))
    site, cube = map(float, fit(rows))
    return {"site_latency": site, "cube_seconds": cube}


REFERENCE = SimulatorRates(
    name="reference",
    source="a CPU core of a shared machine with two, 2026, one thread",
    round_seconds=6.1e-4,
    query_latency=9.6e-6,
    entry_seconds=2.4e-9,
    dense_entry_seconds=2.9e-10,
    unknown_seconds=5.1e-9,
    projection_latency=1.6e-5,
    projection_seconds=5.6e-9,
    register_latency=2.1e-5,
    amplitude_seconds=6.2e-9,
    coloured_seconds=1.5e-8,
    gate_latency=1.3e-4,
    gate_seconds=8.2e-9,
    program_latency=3.6e-3,
    program_seconds=3.2e-7,
    preparation_seconds=3.5e-8,
    path_latency=1.4e-4,
    flop_seconds=1.2e-9,
    site_latency=5.0e-5,
    cube_seconds=2.8e-9,
)
"""Where this machine was not calibrated."""
