"""The classical machine: what is stated, what is refused, and what its fields mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qnewton_gpu import ClassicalMachine
from qnewton_gpu.errors import FileFormatError, ParameterError, UnknownNameError

BARE = ClassicalMachine("bare", cholesky_flops=1e10, lu_flops=2e10, bandwidth=1e9)


def test_the_shipped_machine_is_the_stated_one() -> None:
    machine = ClassicalMachine.load()
    assert (machine.cholesky_flops, machine.lu_flops, machine.bandwidth) == (1e11, 1e11, 2e10)
    assert "stated" in machine.source and not machine.measured
    # a machine of three rates: nothing else is charged
    assert machine == ClassicalMachine(machine.name, 1e11, 1e11, 2e10, machine.source)


@pytest.mark.parametrize("name", ["h100", "server64"])
def test_other_machines_that_ship_are_stated_and_say_from_what(name: str) -> None:
    machine = ClassicalMachine.load(name)
    assert machine.name == name and not machine.measured
    assert "not measured" in machine.source and "half" in machine.source
    assert machine.rate("lu", 10**6) > 10 * machine.rate("lu", 100)


def test_the_stated_h100_is_below_its_data_sheet() -> None:
    machine = ClassicalMachine.load("h100")
    flops = [machine.cholesky_flops, machine.lu_flops, machine.qr_flops, machine.assembly_flops]
    assert max(f for f in flops if f) <= 67e12 / 2
    assert max(b for b in (machine.bandwidth, machine.sparse_bandwidth, machine.graph_bandwidth) if b) <= 3.35e12


def test_a_machine_survives_its_file(tmp_path: Path) -> None:
    machine = ClassicalMachine("mine", 1e10, 2e10, 3e9, "measured", qr_flops=1e9, latency=1e-5, measured=True)
    (tmp_path / "mine.json").write_text(json.dumps(machine.to_dict()))
    assert ClassicalMachine.load(str(tmp_path / "mine.json")) == machine


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"name": "x"}', '{"name": "x", "cholesky_flops": 1, "lu_flops": 0, "bandwidth": 1}',
        '{"name": "x", "cholesky_flops": 1, "lu_flops": "fast", "bandwidth": 1}',
        '{"name": "x", "cholesky_flops": 1, "lu_flops": 1, "bandwidth": 1, "colour": 1}',
        '{"name": 3, "cholesky_flops": 1, "lu_flops": 1, "bandwidth": 1}', "[" * 100_000, b"\xff",
        '{"name": "x", "cholesky_flops": 1, "lu_flops": 1' + 400 * "0" + ', "bandwidth": 1}',
        '{"name": "x", "cholesky_flops": 1, "lu_flops": 1, "bandwidth": 1, "measured": "no"}',
    ],
    ids=range(13),
)  # fmt: skip
def test_a_file_that_is_no_machine_is_refused(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((FileFormatError, ParameterError)):
        ClassicalMachine.load(str(path))


def test_an_unknown_machine_lists_the_shipped_ones() -> None:
    with pytest.raises(UnknownNameError, match="h100, reference, server64"):
        ClassicalMachine.load("supercomputer")


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "1e-7", True])
def test_a_rate_that_is_no_positive_number_is_refused(value: object) -> None:
    with pytest.raises(ParameterError, match="bandwidth"):
        ClassicalMachine("x", 1.0, 1.0, value)  # type: ignore[arg-type]
    if value is not None:
        with pytest.raises(ParameterError, match="qr_flops"):
            ClassicalMachine("x", 1.0, 1.0, 1.0, qr_flops=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf"), None, "1"])
def test_an_amount_that_is_no_number_from_zero_on_is_refused(value: object) -> None:
    for field in ("latency", "lu_half_order", "sparse_entry_seconds", "graph_latency"):
        with pytest.raises(ParameterError, match=field):
            ClassicalMachine("x", 1.0, 1.0, 1.0, **{field: value})  # type: ignore[arg-type]


def test_half_the_rate_is_reached_at_the_half_order() -> None:
    machine = ClassicalMachine("x", 1e10, 2e10, 1e9, qr_flops=4e9, cholesky_half_order=300, qr_half_order=100)
    assert machine.rate("cholesky", 300) == 5e9 and machine.rate("lu", 300) == 2e10
    assert machine.rate("qr", 100) == 2e9 and machine.rate("qr", 900) == pytest.approx(3.6e9)
    assert BARE.rate("qr", 100) == BARE.lu_flops


def test_a_product_takes_what_arithmetic_or_memory_takes_longer() -> None:
    assert BARE.product_seconds(2e10, 1) == 1 and BARE.product_seconds(1, 1e9) == 1
    for kind in ("sparse", "graph"):
        assert BARE.product_seconds(2e10, 1e8, kind) == BARE.product_seconds(2e10, 1e8)
    own = ClassicalMachine("x", 1e10, 2e10, 1e9, sparse_bandwidth=5e8, graph_bandwidth=1e8, graph_latency=0.25)
    assert own.product_seconds(1, 1e9, "sparse") == 2 and own.product_seconds(1, 1e9) == 1
    assert own.product_seconds(1e12, 1e8, "graph") == 1.25


def test_what_is_not_given_is_not_charged() -> None:
    assert BARE.step_seconds(10**6) == 0
    assert BARE.assembly_seconds(2e10, 1e12, rate=1e10) == 2
    assert BARE.sparse_lu_seconds(2e10, entries=10**6) == 1


def test_what_is_given_is_charged() -> None:
    machine = ClassicalMachine(
        "x", 1e10, 2e10, 1e9, assembly_flops=4e10, table_bandwidth=1e10, sparse_lu_flops=1e9,
        sparse_entry_seconds=1e-6, step_latency=0.125, vector_bandwidth=1.2e10,
    )  # fmt: skip
    assert machine.step_seconds(10**7) == pytest.approx(0.125 + 0.1)  # 120 bytes an unknown
    assert machine.assembly_seconds(4e10, 2e10, rate=1e10) == 3
    assert machine.sparse_lu_seconds(2e9, entries=10**6) == 3
