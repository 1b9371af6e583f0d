"""What a tool such as Nsight sees of one step, captured on a CPU: domain, category, message, payload and nesting.

The tool is a library that NVTX loads (tests/host/nvtx_capture.c); the step runs in a process of its own, because NVTX
looks for a tool once, when it is first used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from standins.host_kernels import require_gxx

SOURCE = Path(__file__).parents[1] / "host" / "nvtx_capture.c"
STEPS = """
import json, sys
import torch
import qnewton_gpu as qn
for arguments in sys.argv[1:]:
    partition, solver = arguments.split()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    inputs, targets = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    optimizer = qn.QNewton(model, torch.nn.MSELoss(), partition=partition, scheduler=qn.Scheduler(solver=solver))
    print(json.dumps(optimizer.step(inputs, targets).systems))
"""
CASES = ("network qsvt", "layer qsvt", "network cholesky")
NESTED = """
from qnewton_gpu.stages import stage
try:
    with stage("solve", category="layer1", payload=63):
        with stage("encode"), stage("verify", category="layer2", payload=float("inf")):
            raise MemoryError
except MemoryError:
    pass
with stage("update"):
    pass
"""


@dataclass
class Range:
    """One range of the domain qnewton, and those pushed inside it."""

    message: str
    category: str
    payload: float | int | None
    inside: list[Range] = field(default_factory=list)

    @property
    def names(self) -> Any:
        return (self.message, [r.names for r in self.inside]) if self.inside else self.message


def parse(capture: str) -> list[Range]:
    """The trees of ranges in a capture; fails on a range of another domain, an unpaired pop or an open range."""
    top = Range("", "", None)
    stack = [top]
    for line in capture.splitlines():
        kind, domain, *rest = line.split("\t")
        assert domain == "qnewton"
        if kind == "pop":
            assert len(stack) > 1, "a pop without a push"
            stack.pop()
            continue
        category, message, payload_type, payload = rest
        number = {"none": lambda _: None, "int": int, "float": float}[payload_type](payload)
        stack[-1].inside.append(Range(message, category, number))
        stack.append(stack[-1].inside[-1])
    assert stack == [top], "a range was left open"
    return top.inside


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = require_gxx()
    built = tmp_path_factory.mktemp("nvtx") / "nvtx_capture.so"
    flags = ["-x", "c", "-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Wno-cast-function-type", "-Werror"]
    subprocess.run([compiler, *flags, "-shared", "-fPIC", "-o", str(built), str(SOURCE)], check=True)
    return built


def capture(library: Path, folder: Path, program: str, *arguments: str) -> tuple[list[Range], str]:
    """The ranges of a Python program that ran under the tool, and what it printed."""
    surroundings = {**os.environ, "NVTX_INJECTION64_PATH": str(library), "NVTX_CAPTURE": str(folder / "ranges")}
    surroundings.pop("NVTX_DISABLE", None)
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return parse((folder / "ranges").read_text()), done.stdout


Step = tuple[list[Range], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def steps(library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    """For each case the ranges of its one step, and what that step reported of its systems."""
    ranges, printed = capture(library, tmp_path_factory.mktemp("steps"), STEPS, *CASES)
    begins = [place for place, r in enumerate(ranges) if r.message == "gradient"]
    trees = [ranges[first:last] for first, last in zip(begins, [*begins[1:], len(ranges)], strict=True)]
    return dict(zip(CASES, zip(trees, map(json.loads, printed.splitlines()), strict=True), strict=True))


def test_a_step_with_one_system(steps: dict[str, Step]) -> None:
    ranges, [system] = steps["network qsvt"]
    assert [r.names for r in ranges] == [
        "gradient", "curvature", "curvature", "condition", "plan", "encode", "solve", "verify", "update"
    ]  # fmt: skip
    assert {r.category for r in ranges if r.message in ("gradient", "update")} == {""}
    assert [r.category for r in ranges[1:-1]] == ["", *["network"] * 6]
    payloads = {r.message: r.payload for r in ranges[2:]}
    assert payloads["plan"] == payloads["encode"] == payloads["verify"] == system["kappa"] > 1
    assert payloads["solve"] == system["degree"] and isinstance(payloads["solve"], int)
    assert payloads["condition"] is None and payloads["update"] is None


def test_a_step_with_a_system_for_each_layer(steps: dict[str, Step]) -> None:
    ranges, systems = steps["layer qsvt"]
    made, planned, encoded, verified = (
        [(name, layer) for layer in ("0", "2") for name in names]
        for names in (("curvature", "condition"), ("plan",), ("encode",), ("verify",))
    )
    assert [(r.message, r.category) for r in ranges] == [
        ("gradient", ""), ("curvature", ""), *made, *planned, ("plan", "0+2"), *encoded, ("solve", "0+2"), *verified,
        ("update", ""),
    ]  # fmt: skip
    assert [r.names for r in ranges] == [r.message for r in ranges], "no stage of this step is inside another"
    by_layer = {(r.message, r.category): r.payload for r in ranges}
    for system in systems:
        layer = system["name"]
        assert [by_layer[name, layer] for name in ("plan", "encode", "verify")] == [system["kappa"]] * 3
    assert by_layer["solve", "0+2"] == sum(system["degree"] for system in systems)
    assert systems[0]["kappa"] != systems[1]["kappa"]


def test_a_classical_solve_makes_no_queries(steps: dict[str, Step]) -> None:
    ranges, [system] = steps["network cholesky"]
    assert [r.payload for r in ranges if r.message == "solve"] == [None]
    assert [r.payload for r in ranges if r.message == "verify"] == [system["kappa"]]
    assert "encode" not in [r.message for r in ranges]


def test_ranges_nest_and_close_when_an_exception_passes(library: Path, tmp_path: Path) -> None:
    [solve, update], _ = capture(library, tmp_path, NESTED)
    verify = Range("verify", "layer2", float("inf"))
    assert solve == Range("solve", "layer1", 63, [Range("encode", "layer1", None, [verify])])
    assert update == Range("update", "", None)
