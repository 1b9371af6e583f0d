"""The two machines: what is stated, what is refused, what a calibration measures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qnewton_gpu import ClassicalMachine, Hardware
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import calibrate
from qnewton_gpu.errors import FileFormatError, ParameterError, UnknownNameError


def test_the_shipped_machine_is_the_stated_one() -> None:
    machine = ClassicalMachine.load()
    assert (machine.cholesky_flops, machine.lu_flops, machine.bandwidth) == (1e11, 1e11, 2e10)
    assert "stated" in machine.source


def test_a_machine_survives_its_file(tmp_path: Path) -> None:
    machine = ClassicalMachine("mine", 1e10, 2e10, 3e9, "measured")
    (tmp_path / "mine.json").write_text(json.dumps(machine.to_dict()))
    assert ClassicalMachine.load(str(tmp_path / "mine.json")) == machine


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"name": "x"}', '{"name": "x", "cholesky_flops": 1, "lu_flops": 0, "bandwidth": 1}',
             '{"name": "x", "cholesky_flops": 1, "lu_flops": "fast", "bandwidth": 1}'],
)  # fmt: skip
def test_a_file_that_is_no_machine_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text(text)
    with pytest.raises((FileFormatError, ParameterError)):
        ClassicalMachine.load(str(path))


def test_an_unknown_machine_lists_the_shipped_ones() -> None:
    with pytest.raises(UnknownNameError, match="reference"):
        ClassicalMachine.load("supercomputer")


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "1e-7"])
def test_a_gate_time_or_rate_that_is_no_positive_number_is_refused(value) -> None:
    with pytest.raises(ParameterError, match="gate_time"):
        Hardware(gate_time=value)
    with pytest.raises(ParameterError, match="bandwidth"):
        ClassicalMachine("x", 1.0, 1.0, value)


def test_unknown_access_and_readout_list_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="qram, qrom"):
        Hardware(access="ram")
    with pytest.raises(UnknownNameError, match="none, copies, inverse"):
        Hardware(readout="all")


def test_every_assumption_is_said() -> None:
    said = Hardware(1e-7).assumptions()
    assert len(said) == 5
    assert "1e-07 s" in said[0] and "QRAM" in said[1] and "not charged" in said[3] and "not charged" in said[4]
    honest = Hardware(1e-7, access="qrom", amplification=False).honest().assumptions()
    assert "QROM" in honest[1] and "repeated" in honest[2] and "N/eps" in honest[3] and "charged in every" in honest[4]


@pytest.mark.parametrize("number", [np.float64(1e-6), 1])
def test_numbers_of_numpy_and_integers_are_numbers(number) -> None:
    assert Hardware(gate_time=number).gate_time == number


def test_a_calibration_is_a_machine_that_says_how_it_was_measured() -> None:
    machine = calibrate(select_backend("cpu"), size=60, repeats=1)
    assert min(machine.cholesky_flops, machine.lu_flops, machine.bandwidth) > 0
    assert "order 60" in machine.source and "CPU" in machine.name
    assert ClassicalMachine(**json.loads(json.dumps(machine.to_dict()))) == machine
