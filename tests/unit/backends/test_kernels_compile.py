"""Every kernel compiles for every architecture and both precisions, with the registers on record and without spills."""

from __future__ import annotations

import re

import pytest
from standins import nvrtc

from qnewton_gpu.backends import cuda_source

# another version of NVRTC may take another number of registers; constraints.txt pins the one that made the record
RECORDED_BY_THIS_COMPILER = f"NVRTC {nvrtc.version()}." in nvrtc.TABLE.read_text()
CASES = [(n, r, a) for n in cuda_source.NAMES for r in cuda_source.REALS.values() for a in nvrtc.ARCHITECTURES]


def recorded() -> dict[tuple[str, str], str]:
    """(kernel, architecture) -> registers, from kernels/registers.txt."""
    header, *rows = [line for line in nvrtc.TABLE.read_text().splitlines() if not line.startswith("#")]
    return {
        (line[:34].rstrip(), architecture): cell
        for line in rows
        for architecture, cell in zip(header.split()[1:], line[34:].split(), strict=True)
    }


@pytest.mark.parametrize(("name", "real", "architecture"), CASES, ids=lambda value: str(value))
def test_a_file_of_kernels_compiles_without_spills(name: str, real: str, architecture: str) -> None:
    used = nvrtc.compile_kernels(name, real, architecture)
    assert set(used) == set(cuda_source.source(name, real).name_expressions)
    for expression, usage in used.items():
        assert usage.spills == usage.stack == 0, expression
        # a block of 512 threads, the largest that is launched, has to find registers
        assert usage.registers * 512 <= 65536, expression
        if expression != "advance" and RECORDED_BY_THIS_COMPILER:
            assert recorded()[expression, architecture] == str(usage.registers), "see the head of registers.txt"


def test_the_record_names_its_compiler_and_every_kernel() -> None:
    assert re.search(r"NVRTC \d+\.\d+\b", nvrtc.TABLE.read_text())
    expressions = {
        e
        for n in cuda_source.NAMES
        for r in cuda_source.REALS.values()
        for e in cuda_source.source(n, r).name_expressions
    }
    assert {kernel for kernel, _ in recorded()} == expressions - {"advance"}


def test_a_mistake_in_a_kernel_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    good = cuda_source.source("walk_query", "double")
    bad = cuda_source.Source(
        "walk_query", good.text.replace("sum_over_lanes<LANES>(v)", "nothing(v)"), good.name_expressions
    )
    monkeypatch.setattr(cuda_source, "source", lambda name, real: bad)
    with pytest.raises(RuntimeError, match="nothing"):
        nvrtc.compile_kernels.__wrapped__("walk_query", "double", "sm_90")
