"""Phase factors on disk: written once, read by all, rebuilt where damaged, never a reason to fail."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qnewton_gpu import user_cache
from qnewton_gpu.errors import ParameterError
from qnewton_gpu.polynomials import (
    cache,
    clear_memory_cache,
    inverse_polynomial,
    phase_factors,
    phases_for,
)
from qnewton_gpu.polynomials.phases import DEFAULT_SCALE

KEY = (10.0, 1e-2)
POLYNOMIAL = inverse_polynomial(*KEY)
BUILT = phase_factors(POLYNOMIAL)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path / "cache"))
    clear_memory_cache()
    yield tmp_path / "cache"
    clear_memory_cache()


def entry(folder: Path) -> Path:
    """The one file of the cache, which holds no temporary files either."""
    (path,) = folder.iterdir()
    return path


def read_anew() -> np.ndarray:
    clear_memory_cache()
    return phases_for(POLYNOMIAL).wx


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_, **__):
        raise AssertionError("built again")

    monkeypatch.setattr(cache, "phase_factors", build)


def test_an_entry_is_written_once_and_read_without_building(folder, monkeypatch) -> None:
    phases = phases_for(POLYNOMIAL)
    assert np.array_equal(phases.wx, BUILT.wx)
    written = entry(folder).stat()  # its access time changes when it is read
    forbid_building(monkeypatch)
    assert phases_for(POLYNOMIAL) is phases  # from memory
    assert np.array_equal(read_anew(), BUILT.wx)  # from disk
    again = entry(folder).stat()
    assert (again.st_mtime_ns, again.st_ino) == (written.st_mtime_ns, written.st_ino)


def test_what_is_read_is_what_was_built_with_its_error_measured_again(folder) -> None:
    built = phases_for(POLYNOMIAL)
    clear_memory_cache()
    read = phases_for(POLYNOMIAL)
    assert read is not built
    assert (read.scale, read.sup_norm, read.error) == (built.scale, built.sup_norm, built.error)


def test_every_parameter_has_an_entry_of_its_own(folder) -> None:
    for arguments in (KEY, (11.0, 1e-2), (10.0, 1e-3), (*KEY, "even")):
        phases_for(inverse_polynomial(*arguments))
    phases_for(POLYNOMIAL, 0.9)
    assert len(list(folder.iterdir())) == 5


def test_an_integer_kappa_is_the_same_polynomial_as_the_float() -> None:
    polynomial = inverse_polynomial(10.0, 1e-2)  # made here: other tests may have driven an older one out
    for kappa in (10, 10.0, np.float32(10)):
        assert inverse_polynomial(kappa, 1e-2) is polynomial == POLYNOMIAL  # so its largest value is not computed again


def test_the_default_scale_shares_its_entry_however_it_is_given() -> None:
    assert phases_for(POLYNOMIAL, DEFAULT_SCALE) is phases_for(POLYNOMIAL, scale=np.float64(DEFAULT_SCALE))
    assert phases_for(POLYNOMIAL) is phases_for(POLYNOMIAL, DEFAULT_SCALE)


def resave(path: Path, **changes) -> None:
    with np.load(path) as old:
        np.savez(path, **{**old, **changes})


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# they reconstruct the target if the stored norm is believed
WEAK = phase_factors(inverse_polynomial(*KEY[:2]), scale=BUILT.scale / 100)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(b"garbage" * 100),
    "bare-array": lambda path: path.write_bytes(npy_bytes(BUILT.wx)),
    "wrong-phase": lambda path: resave(path, wx=BUILT.wx + 1e-9),
    "other-degree": lambda path: resave(path, wx=BUILT.wx[:-2]),
    "nan": lambda path: resave(path, wx=np.full_like(BUILT.wx, np.nan)),
    "infinite": lambda path: resave(path, wx=np.full_like(BUILT.wx, np.inf)),
    "single-precision": lambda path: resave(path, wx=BUILT.wx.astype(np.float32)),
    "objects": lambda path: resave(path, wx=BUILT.wx.astype(object)),
    "phases-of-another-scale": lambda path: np.savez(path, wx=WEAK.wx, sup_norm=100 * BUILT.sup_norm),
    "no-phases": lambda path: np.savez(path, sup_norm=BUILT.sup_norm),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_rebuilt_with_a_warning(folder, caplog, monkeypatch, damage) -> None:
    phases_for(POLYNOMIAL)
    damage(entry(folder))
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(read_anew(), BUILT.wx)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(entry(folder)) in caplog.text and "rebuilt" in caplog.text
    forbid_building(monkeypatch)
    assert np.array_equal(read_anew(), BUILT.wx)  # the entry is whole again


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_change_of_bytes_gives_wrong_phases_or_an_error(folder, data) -> None:
    read_anew()
    path = entry(folder)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert np.max(np.abs(read_anew() - BUILT.wx)) <= 1e-11
    path.unlink()


def test_a_folder_that_cannot_be_made_costs_only_a_warning(tmp_path, monkeypatch, caplog) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QNEWTON_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert np.array_equal(read_anew(), BUILT.wx)
    assert len(caplog.records) == 1 and "phase factors cannot be kept" in caplog.text


def test_a_full_disk_costs_only_a_warning_and_leaves_nothing(folder, monkeypatch, caplog) -> None:
    def full(descriptor: int, *_: object) -> object:
        os.close(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(user_cache.os, "fdopen", full)
    assert np.array_equal(read_anew(), BUILT.wx)
    assert "No space left" in caplog.text
    assert not list(folder.iterdir())


@pytest.mark.parametrize("scale", [1.0, 0, None, "0.9"])
def test_a_bad_scale_is_a_typed_error_and_writes_nothing(folder, scale) -> None:
    with pytest.raises(ParameterError):
        phases_for(POLYNOMIAL, scale)
    assert not folder.exists()


def test_processes_that_start_together_agree_and_leave_one_whole_entry(folder, monkeypatch) -> None:
    program = """
import sys
from qnewton_gpu.polynomials import clear_memory_cache, inverse_polynomial, phases_for
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    clear_memory_cache()
    wx = phases_for(inverse_polynomial(10.0, 1e-2)).wx
print(wx.tobytes().hex())
"""
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    results = [process.communicate("go\n", timeout=60) for process in processes]
    assert results == [(BUILT.wx.tobytes().hex() + "\n", "")] * 4  # no warning on stderr
    forbid_building(monkeypatch)
    assert np.array_equal(read_anew(), BUILT.wx)
    assert entry(folder)
