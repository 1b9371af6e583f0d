"""The quantum machine: what is stated, what is refused, and what a solve takes on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import Hardware
from qnewton_gpu.errors import ParameterError, UnknownNameError

PHYSICAL = Hardware(1e-8, level="physical", physical_error=1e-3)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "1e-7", True, 1e-25, 1e7])
def test_a_gate_time_that_is_no_positive_number_is_refused(value: object) -> None:
    with pytest.raises(ParameterError, match="gate_time"):
        Hardware(gate_time=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "valid"), [("access", "qram, qrom"), ("readout", "none, copies, inverse"),
                                              ("level", "logical, physical")])  # fmt: skip
def test_unknown_names_list_the_valid_ones(field: str, valid: str) -> None:
    with pytest.raises(UnknownNameError, match=valid):
        Hardware(**{field: "mine"})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("physical_error", [0, 1e-13, 1e-2, 0.5, float("nan"), "1e-3", None]),
        ("factories", [0, -1, 1.5, True, "4", 10**13]),
        ("parallel", [0, -1, 1.5, True, None, 10**13]),
        ("t_gates_per_gate", [-1, float("nan"), float("inf"), "1", None]),
    ],
)
def test_what_no_machine_has_is_refused(field: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(ParameterError, match=field):
            Hardware(**{field: value})  # type: ignore[arg-type]


def test_every_assumption_is_said() -> None:
    said = Hardware(1e-7).assumptions()
    assert len(said) == 5
    assert "1e-07 s" in said[0] and "QRAM" in said[1] and "not charged" in said[3] and "not charged" in said[4]
    honest = Hardware(1e-7, access="qrom", amplification=False).honest().assumptions()
    assert "QROM" in honest[1] and "repeated" in honest[2] and "N/eps" in honest[3] and "charged in every" in honest[4]
    physical = Hardware(1e-9, level="physical", physical_error=1e-4, factories=7, parallel=3).assumptions()
    assert "physical gate with error 0.0001" in physical[0] and "surface code" in physical[0]
    assert "7 T factories" in physical[5] and "3 processors" in physical[6]


@pytest.mark.parametrize("number", [np.float64(1e-6), 1])
def test_numbers_of_numpy_and_integers_are_numbers(number: float) -> None:
    assert Hardware(gate_time=number).gate_time == number


@given(gates=st.floats(1, 1e30), gate_time=st.floats(1e-18, 1e-6))
def test_the_default_machine_takes_its_gates_one_after_the_other(gates: float, gate_time: float) -> None:
    machine = Hardware(gate_time)
    assert machine.seconds(gates, 50) == gates * gate_time
    assert machine.code_distance(gates, 50) == 1 and machine.gate_seconds(gates, 50) == gate_time
    assert machine.seconds(math.inf, 50) == math.inf


@pytest.mark.parametrize(("gates", "distance"), [(1e6, 21), (1e12, 33), (1e18, 45)])
def test_the_code_distance_is_the_smallest_that_is_enough(gates: float, distance: int) -> None:
    # by the stated formula on 100 qubits at p = 1e-3: gates * 100 * d * 0.1 * 0.1^((d+1)/2) <= 0.01
    assert PHYSICAL.code_distance(gates, 100) == distance
    failures = [gates * 100 * d * 0.1 * 0.1 ** ((d + 1) / 2) for d in (distance - 2, distance)]
    assert failures[1] <= 0.01 < failures[0]


def test_a_logical_gate_takes_d_cycles_of_eight_physical_gates() -> None:
    assert PHYSICAL.gate_seconds(1e12, 100) == pytest.approx(33 * 8 * 1e-8)
    assert PHYSICAL.seconds(1e12, 100) == pytest.approx(1e12 * 33 * 8 * 1e-8)


@settings(max_examples=100)
@given(
    gates=st.floats(1, 1e25), more=st.floats(1, 1e6), qubits=st.floats(1, 1e6), error=st.floats(1e-6, 9e-3),
    worse=st.floats(1, 1.1), factories=st.sampled_from([None, 1, 40]),
)  # fmt: skip
def test_seconds_are_monotone(
    gates: float, more: float, qubits: float, error: float, worse: float, factories: int | None
) -> None:
    machine = Hardware(1e-8, level="physical", physical_error=error, factories=factories)
    seconds = machine.seconds(gates, qubits)
    assert machine.seconds(gates * more, qubits) >= seconds
    assert machine.seconds(gates, qubits * more) >= seconds
    noisier = Hardware(1e-8, level="physical", physical_error=error * worse, factories=factories)
    assert noisier.seconds(gates, qubits) >= seconds
    slower = Hardware(1e-8 * more, level="physical", physical_error=error, factories=factories)
    assert slower.seconds(gates, qubits) == pytest.approx(seconds * more)  # so break-even divides


def test_slow_factories_are_waited_for() -> None:
    logical = Hardware(1e-6, factories=4)
    assert logical.seconds(1e9, 50, t_gates=1e9) == pytest.approx(1e9 * 11 / 4 * 1e-6)  # 15-to-1
    assert logical.seconds(1e9, 50, t_gates=1e8) == pytest.approx(1e9 * 1e-6)  # not the bottleneck
    assert logical.seconds(1e9, 50, t_gates=0.0) == pytest.approx(1e9 * 1e-6)
    assert Hardware(1e-6, factories=11).seconds(1e9, 50) == pytest.approx(1e9 * 1e-6)
    assert Hardware(1e-6, factories=1, t_gates_per_gate=3.0).seconds(10, 5) == pytest.approx(330e-6)


def test_many_t_gates_need_better_states() -> None:
    physical = Hardware(1e-8, level="physical", physical_error=1e-3, factories=1)
    # 35 p^3 = 3.5e-8: good for 2.8e5 T gates; 225-to-1: 35 (35 p^3)^3 = 1.5e-21
    assert physical.gates_per_t_state(2e5) == 11 and physical.gates_per_t_state(4e5) == 15
    assert physical.gates_per_t_state(6e18) == 15 and physical.gates_per_t_state(1e19) == math.inf
    assert physical.seconds(1e19, 50) == math.inf and Hardware(1e-8, level="physical").seconds(1e19, 50) < math.inf


def test_processors_share_what_is_independent() -> None:
    machine = Hardware(parallel=4, amplification=True)
    assert machine.speedup(columns=8, repetitions=9, copies=1) == 4
    assert machine.speedup(columns=5, repetitions=9, copies=1) == 2.5  # 5 runs: two rounds
    assert machine.speedup(columns=1, repetitions=9, copies=1) == 1  # amplification is one long run
    assert Hardware(parallel=4, amplification=False).speedup(1, 16, 1) == 4
    assert machine.speedup(1, 9, 1e6) == 4 and Hardware().speedup(8, 9, 1e6) == 1
    assert machine.gate_times(100, 10, in_sequence=25) == 25


@given(columns=st.integers(1, 50), copies=st.floats(1, 1e12), parallel=st.integers(1, 10**6))
def test_more_processors_are_never_slower(columns: int, copies: float, parallel: int) -> None:
    some, more = Hardware(parallel=parallel), Hardware(parallel=2 * parallel)
    assert 1 <= some.speedup(columns, 3, copies) <= parallel + 1e-6 * parallel
    assert more.speedup(columns, 3, copies) >= some.speedup(columns, 3, copies) * (1 - 1e-12)
