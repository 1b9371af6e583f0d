"""profiling/stage_table.py reads every recorder of stages, tells them apart by content, and says `-` where unknown."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qnewton_gpu.errors import FileFormatError
from qnewton_gpu.stages import STAGES

SAMPLES = Path(__file__).parents[1] / "samples"
CALLS = {"curvature": 6, "condition": 4, "plan": 4, "encode": 4, "solve": 4, "verify": 4, "gradient": 2, "update": 2}


@pytest.fixture(scope="module")
def stage_table() -> ModuleType:
    path = Path(__file__).parents[2] / "profiling" / "stage_table.py"
    spec = importlib.util.spec_from_file_location("stage_table", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stage_table"] = module  # where dataclasses look for the types of their fields
    spec.loader.exec_module(module)
    return module


def test_our_own_log(stage_table: ModuleType) -> None:
    source, uses = stage_table.read(SAMPLES / "workload_log.jsonl")
    assert source == "log" and [use.stage for use in uses] == list(STAGES)
    assert {use.stage: use.calls for use in uses} == CALLS
    lines = [json.loads(line) for line in (SAMPLES / "workload_log.jsonl").read_text().splitlines()]
    solves = [e["seconds"] for line in lines for e in line["stages"] if e["name"] == "solve"]
    solve = next(use for use in uses if use.stage == "solve")
    assert len(solves) == 4 and solve.cpu_seconds == pytest.approx(sum(solves)) and solve.cpu_seconds > 0
    assert solve.gpu_seconds is None and solve.host_bytes == 0


def test_a_torch_trace_of_the_same_run_says_the_same(stage_table: ModuleType) -> None:
    source, uses = stage_table.read(SAMPLES / "torch_trace.json")
    _, logged = stage_table.read(SAMPLES / "workload_log.jsonl")
    assert source == "torch.profiler"
    for use, other in zip(uses, logged, strict=True):
        assert (use.stage, use.calls, use.gpu_seconds, use.host_bytes) == (other.stage, other.calls, None, None)
        # the range of torch is just around ours
        assert use.cpu_seconds == pytest.approx(other.cpu_seconds, rel=0.02, abs=1e-4 * use.calls)


def gpu_trace() -> dict[str, Any]:
    """A step as torch.profiler lays it out with a GPU: ranges, their projections, launches and copies."""
    copies = [
        (1, "DtoH (Device -> Pageable)", 16),
        (2, "HtoD (Pageable -> Device)", 900),
        (3, "DtoH (Device -> Pinned)", 8),
    ]
    launches = {1: 30.0, 2: 31.0, 3: 200.0}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "args": {"name": "python"}},
        {"ph": "X", "cat": "user_annotation", "name": "Optimizer.step#QNewton.step", "ts": 0.0, "dur": 300.0},
        {"ph": "X", "cat": "user_annotation", "name": "qnewton:solve", "ts": 10.0, "dur": 100.0},
        {"ph": "X", "cat": "user_annotation", "name": "qnewton:verify", "ts": 20.0, "dur": 50.0},
        {"ph": "X", "cat": "user_annotation", "name": "qnewton:update", "ts": 120.0, "dur": 10.0},
        {"ph": "X", "cat": "gpu_user_annotation", "name": "qnewton:solve", "ts": 40.0, "dur": 250.0},
        {"ph": "X", "cat": "gpu_user_annotation", "name": "another:solve", "ts": 40.0, "dur": 1.0},
    ]
    for correlation, name, size in copies:
        at, args = launches[correlation], {"correlation": correlation, "bytes": size}
        events.append({"ph": "X", "cat": "cuda_runtime", "name": "cudaMemcpyAsync", "ts": at, "dur": 1.0, "args": args})
        events.append(
            {"ph": "X", "cat": "gpu_memcpy", "name": f"Memcpy {name}", "ts": at + 500, "dur": 1.0, "args": args}
        )
    return {"traceEvents": events}


def test_a_torch_trace_with_a_gpu_gives_a_copy_to_the_stages_it_was_launched_in(
    stage_table: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(gpu_trace()))
    _, uses = stage_table.read(path)
    found = [(use.stage, use.calls, use.cpu_seconds, use.gpu_seconds, use.host_bytes) for use in uses]
    assert found == [
        ("solve", 1, pytest.approx(100e-6), pytest.approx(250e-6), 16),
        ("verify", 1, pytest.approx(50e-6), None, 16),
        ("update", 1, pytest.approx(10e-6), None, 0),
    ]


def test_the_csv_reports_of_nsys(stage_table: ModuleType) -> None:
    source, uses = stage_table.read(SAMPLES / "nsys_nvtx_sum.csv")
    assert source == "nsys nvtx_sum" and [use.stage for use in uses] == list(STAGES)
    curvature = next(use for use in uses if use.stage == "curvature")
    assert (curvature.calls, curvature.gpu_seconds, curvature.host_bytes) == (4, None, None)
    assert curvature.cpu_seconds == pytest.approx(8e-6)
    source, uses = stage_table.read(SAMPLES / "nsys_nvtx_gpu_proj_sum.csv")
    assert source == "nsys nvtx_gpu_proj_sum" and [use.stage for use in uses] == [s for s in STAGES if s != "plan"]
    solve = next(use for use in uses if use.stage == "solve")  # that of another domain is not among them
    assert (solve.calls, solve.host_bytes) == (2, None)
    assert (solve.cpu_seconds, solve.gpu_seconds) == (pytest.approx(12e-6), pytest.approx(6e-6))


@pytest.mark.parametrize(("unit", "factor"), [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)])
def test_nsys_in_other_units_of_time(stage_table: ModuleType, tmp_path: Path, unit: str, factor: float) -> None:
    path = tmp_path / "report.csv"
    path.write_text((SAMPLES / "nsys_nvtx_sum.csv").read_text().replace("(ns)", f"({unit})"))
    solve = next(use for use in stage_table.read(path)[1] if use.stage == "solve")
    assert solve.cpu_seconds == pytest.approx(12000 * factor)


def test_what_nsys_says_around_its_reports_is_passed_over(stage_table: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "stdout.txt"
    report = (SAMPLES / "nsys_nvtx_sum.csv").read_text()
    path.write_text(
        f"NOTICE: exporting\nProcessing [r_0.sqlite], please wait\n\n{report}\nTime (%),Total Time (ns)\n1,2\n"
    )
    assert stage_table.read(path) == stage_table.read(SAMPLES / "nsys_nvtx_sum.csv")


def test_a_log_of_a_gpu_with_a_failed_stage_and_a_torn_last_line(stage_table: ModuleType, tmp_path: Path) -> None:
    stages = [
        {"name": "solve", "seconds": 1.0, "device_seconds": 0.5, "host_bytes": 8},
        {"name": "solve", "seconds": 2.0, "device_seconds": None, "host_bytes": 0, "failed": True},
        {"name": "plan", "seconds": 3.0},  # of a version that did not count bytes
    ]
    (tmp_path / "steps.jsonl").write_text(json.dumps({"step": 0, "stages": stages}) + '\n{"step": 1, "stag')
    expected = [stage_table.Use("plan", 1, 3.0), stage_table.Use("solve", 2, 3.0, 0.5, 8)]
    assert stage_table.read(tmp_path) == ("log", expected)


def test_the_table_says_dash_where_the_source_does_not_know(
    stage_table: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage_table.main([str(SAMPLES / "nsys_nvtx_gpu_proj_sum.csv"), str(SAMPLES / "workload_log.jsonl")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split()[:3] == ["stage", "calls", "CPU"] for line in lines) == 2
    assert ["solve", "2", "0.000012", "0.000006", "-"] in [line.split() for line in lines]
    assert any(line.startswith("solve") and line.split()[3:] == ["-", "0"] for line in lines)


BAD = {
    "a picture": "\x89PNG",
    "nothing": "",
    "another JSON": '{"a": 1}',
    "a list": "[1, 2]",
    "another report of nsys": "Total (MB),Count,Operation\n1,2,[CUDA memcpy Device-to-Host]\n",
    "a trace without stages": '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::add", "ts": 0, "dur": 1}]}',
    "a log without stages": '{"step": 0, "stages": []}\n',
    "a damaged trace": '{"traceEvents": [{"cat": "user_annotation", "name": "qnewton:solve"}]}',
    "a damaged log": '{"stages": [{"seconds": 1}]}\n',
    "a damaged report": "Total Time (ns),Instances,Range\nmany,1,qnewton:solve\n",
    "a short row": "Total Time (ns),Instances,Range\n1,qnewton:solve\n",
    "a unit that nsys lacks": "Total Time (h),Instances,Range\n1,1,qnewton:solve\n",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_other_files_are_refused_with_the_formats_that_are_known(
    stage_table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(FileFormatError):
        stage_table.read(path)
    assert stage_table.main([str(path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("stage_table.py: error: file: ") and str(path) in message and message.count("\n") == 1


def test_a_file_that_is_not_there_or_not_text(stage_table: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        with pytest.raises(FileFormatError, match="cannot be read"):
            stage_table.read(path)


def test_the_samples_have_the_columns_that_are_documented() -> None:
    """A sample edited by mistake would test nothing: every row is as long as its header."""
    for name in ("nsys_nvtx_sum.csv", "nsys_nvtx_gpu_proj_sum.csv"):
        header, *rows = list(csv.reader((SAMPLES / name).read_text().splitlines()))
        assert "Range" in header and "Style" in header and all(len(row) == len(header) for row in rows)
