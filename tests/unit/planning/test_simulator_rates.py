"""The rates of the simulators: measured on request, kept for this machine, and never taken from a damaged entry."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import calibration
from qnewton_gpu.errors import ParameterError
from qnewton_gpu.planning import simulator_rates
from qnewton_gpu.planning.simulator_rates import (
    REFERENCE,
    SimulatorRates,
    cached_rates,
    calibrate_simulators,
    known_rates,
    measure_rates,
)
from qnewton_gpu.planning.simulators import simulators
from qnewton_gpu.planning.stated import stated_system

CPU = select_backend("cpu")
SECONDS = [one.name for one in fields(SimulatorRates) if one.type == "float" and one.name != "measured_at"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SimulatorRates]]:
    """Measurements that take no time, each another machine, as they were made."""
    made: list[SimulatorRates] = []

    def fake(backend: object) -> SimulatorRates:
        seconds = 1e-3 * (1 + len(made))
        made.append(replace(REFERENCE, round_seconds=seconds, measured=True, measured_at=time.time()))
        return made[-1]

    monkeypatch.setattr(simulator_rates, "measure_rates", fake)
    yield made


def test_rates_are_measured_from_real_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        "SUBSPACE_SIZES": (20, 200), "DENSE_SIZES": (16, 64), "REGISTER_SIZES": (20, 100), "CIRCUIT_SIZES": (4, 16),
        "CHAIN_BONDS": (2, 4), "CHAIN_QUBITS": 6, "NETWORK_SIZES": (4, 8), "NETWORK_QUERIES": 3,
    }  # fmt: skip
    for name, value in sizes.items():
        monkeypatch.setattr(simulator_rates, name, value)
    monkeypatch.setattr(calibration, "ENOUGH_SECONDS", 0.0)
    began = time.time()
    rates = measure_rates(CPU)
    assert rates.measured and began <= rates.measured_at <= time.time() and "CPU" in rates.name
    assert all(0 < getattr(rates, name) < 1 for name in SECONDS)


def test_without_an_engine_networks_have_the_rates_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> None:
        raise simulator_rates.BackendUnavailableError("backend", "cotengra cannot be imported", "Install it")

    monkeypatch.setattr(simulator_rates, "TensornetBackend", missing)
    with caplog.at_level(logging.WARNING):
        found = simulator_rates._networks(CPU)
    assert found == {"path_latency": REFERENCE.path_latency, "flop_seconds": REFERENCE.flop_seconds}
    assert "cotengra" in caplog.text


def test_rates_are_kept_and_renewed_on_request(folder: Path, measurements: list[SimulatorRates]) -> None:
    assert cached_rates(CPU) is None and known_rates(CPU) is REFERENCE and not measurements
    first = calibrate_simulators(CPU)
    assert calibrate_simulators(CPU) == cached_rates(CPU) == known_rates(CPU) == first == measurements[0]
    assert calibrate_simulators(CPU, refresh=True) == measurements[1] != first
    assert known_rates(CPU) == measurements[1] and len(measurements) == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"name": "x"}', "negative", "boolean", "not measured"])
def test_a_damaged_entry_is_not_used(folder: Path, measurements: list[SimulatorRates], damage: str) -> None:
    calibrate_simulators(CPU)
    (entry,) = folder.glob("simulators*.json")
    values = json.loads(entry.read_text())
    changed = {
        "negative": {"query_latency": -1.0},
        "boolean": {"query_latency": True},
        "not measured": {"measured": False},
    }
    entry.write_text(json.dumps({**values, **changed[damage]}) if damage in changed else damage)
    assert known_rates(CPU) is REFERENCE
    assert calibrate_simulators(CPU) == measurements[1] == cached_rates(CPU)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "1", None, True])
@pytest.mark.parametrize("name", SECONDS[:2])
def test_a_rate_is_a_number_of_seconds(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"^{name}: "):
        SimulatorRates(**{**asdict(REFERENCE), name: value})


@pytest.mark.parametrize("name", SECONDS)
def test_every_rate_counts_in_some_simulator_and_none_makes_it_faster(name: str) -> None:
    cases = [(stated_system(64, 10.0, row), solver) for row in (3, 64) for solver in ("qsvt", "kernel_reflection")]
    cases.append((stated_system(4, 10.0, 1), "qsvt"))  # its tables are small enough for chains
    slower = replace(REFERENCE, **{name: 10 * getattr(REFERENCE, name)})
    counted = False
    for system, solver in cases:
        pairs = zip(*(simulators(system, solver, rates=rates) for rates in (REFERENCE, slower)), strict=True)
        for before, after in pairs:
            assert after.simulated_seconds >= before.simulated_seconds and after.bytes == before.bytes
            counted |= after.simulated_seconds > before.simulated_seconds
    assert counted or name == "coloured_seconds"  # of encodings that a stated system has not
