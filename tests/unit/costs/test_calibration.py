"""A calibration: what is fitted, and how it is kept."""

from __future__ import annotations

import importlib
import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import ClassicalMachine
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import calibrate, calibration
from qnewton_gpu.costs.calibration import cached, measure
from qnewton_gpu.errors import ParameterError

CPU = select_backend("cpu")
SMALL = {"orders": (8, 16, 32), "sparse_orders": (50, 100), "batches": (10, 20)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[ClassicalMachine]:
    """Measurements that take no time, each another machine, as they were made."""
    made: list[ClassicalMachine] = []

    def fake(backend: object) -> ClassicalMachine:
        made.append(ClassicalMachine("fake", 1e9 + len(made), 1e9, 1e9, measured=True, measured_at=time.time()))
        return made[-1]

    monkeypatch.setattr(calibration, "measure", fake)
    return made


def test_a_measured_machine_says_how_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(calibration, "ENOUGH_SECONDS", 0.0)
    began = time.time()
    machine = measure(CPU, **SMALL)
    assert machine.measured and began <= machine.measured_at <= time.time()
    assert "orders 8 to 32" in machine.source and "CPU" in machine.name
    assert f"CPU threads: {torch.get_num_threads()}" in machine.source
    fields = machine.to_dict()
    assert None not in fields.values()  # torch is loaded, so products through graphs are measured, too
    assert ClassicalMachine(**json.loads(json.dumps(fields))) == machine


@settings(max_examples=25)
@given(
    latency=st.floats(1e-7, 1e-3), rate=st.floats(1e9, 1e13), half=st.floats(1, 5000),
    noise=st.lists(st.floats(-0.01, 0.01), min_size=7, max_size=7),
)  # fmt: skip
def test_the_fit_finds_the_machine_behind_the_timings(
    latency: float, rate: float, half: float, noise: list[float]
) -> None:
    orders = np.array([32, 64, 128, 256, 512, 1024, 2048])
    seconds = latency + orders**3 / rate * (1 + half / orders)
    timed = seconds * (1 + np.array(noise))
    rows = [([1.0, float(n) ** 3, float(n) ** 2], t) for n, t in zip(orders, timed, strict=True)]
    constant, cube, square = calibration.fit(rows)
    assert min(constant, cube, square) > 0
    found = constant + cube * orders**3 + square * orders**2
    np.testing.assert_allclose(found, seconds, rtol=0.06)


def test_a_term_that_noise_hides_still_costs_something() -> None:
    rows = [([1.0, float(n)], 1e-3 * (1 + (n % 2) / 10)) for n in (1, 2, 3, 4)]
    assert min(calibration.fit(rows)) > 0


def test_what_was_measured_is_kept(folder: Path, measurements: list[ClassicalMachine]) -> None:
    assert cached(CPU) is None
    first = calibrate(CPU)
    assert calibrate(CPU) == cached(CPU) == first and len(measurements) == 1
    (entry,) = folder.iterdir()
    assert entry.name.startswith("machine")
    assert calibrate(CPU, refresh=True) == measurements[1] == calibrate(CPU) != first
    assert list(folder.iterdir()) == [entry]  # overwritten, and no temporary file is left


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"name": 1}', "\x00\xff", 100_000 * "[",
                                    '{"name": "x", "cholesky_flops": 1, "lu_flops": 1, '
                                    '"bandwidth": 1' + 400 * "0" + "}",
                                    '{"name": "x", "cholesky_flops": -1, "lu_flops": 1, "bandwidth": 1}',
                                    '{"name": "x", "cholesky_flops": 1, "lu_flops": 1, "bandwidth": 1}'],
                         ids=range(10))  # fmt: skip
def test_a_damaged_entry_is_measured_anew(damage: str, folder: Path, measurements: list[ClassicalMachine]) -> None:
    calibrate(CPU)
    (entry,) = folder.iterdir()
    entry.write_bytes(damage.encode("latin-1"))
    assert calibrate(CPU) == measurements[1] == cached(CPU)


def test_another_machine_or_version_has_its_own(
    folder: Path, measurements: list[ClassicalMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module("torch")
    calibrate(CPU)
    for name, value in (("threads", lambda: 99), ("platform", type("P", (), {"node": str, "machine": str}))):
        with monkeypatch.context() as patched:
            patched.setattr(calibration, name, value)
            assert cached(CPU) is None
    with monkeypatch.context() as patched:
        patched.setattr(calibration.np, "__version__", "0.0")
        assert cached(CPU) is None
    with monkeypatch.context() as patched:
        patched.delitem(calibration.sys.modules, "torch")  # dense factorisations run in SciPy then
        assert cached(CPU) is None
    assert cached(CPU) == measurements[0]


def test_a_cache_that_cannot_be_written_costs_no_calibration(
    tmp_path: Path,
    measurements: list[ClassicalMachine],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert calibrate(CPU) == measurements[0]
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("3,2", 3), ("two", None), ("0", None), ("", None)])
def test_the_threads_are_those_that_openmp_would_take(
    asked: str, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert calibration.threads() == threads or (threads is None and calibration.threads() >= 1)


def test_a_calibrated_rate_is_a_rate() -> None:
    with pytest.raises(ParameterError, match="lu_flops"):
        ClassicalMachine("x", 1.0, float("nan"), 1.0, measured=True)


def test_every_backend_can_be_measured(backend: Any) -> None:
    """On a GPU the same calls on its arrays; the rehearsal shows that they are complete, and says nothing of speed."""
    machine = measure(backend, **SMALL)
    assert machine.measured and machine.name == f"calibrated: {backend.device}"
    for solver in ("cholesky", "lu", "qr"):
        assert 0 < machine.rate(solver, 16) < math.inf
    assert 0 < machine.product_seconds(1e6, 1e6) < math.inf
