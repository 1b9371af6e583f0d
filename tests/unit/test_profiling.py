"""profiling/workload.py is deterministic and records what it ran; nsys.sh and ncu.sh call their tools as documented.

The tools themselves are stand-ins that write down their arguments: no Nsight runs here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from qnewton_gpu.errors import ParameterError

PROFILING = Path(__file__).parents[2] / "profiling"
SMALL = ["--warmup", "1", "--steps", "2", "--hidden", "0", "--batch-size", "32", "--tolerance", "0.1"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROFILING / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def workload() -> ModuleType:
    return load("workload")


def printed_digest(text: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith("digest ")]
    return line


def test_two_runs_print_the_same_digest_also_under_torch_profiler(
    workload: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, trace = tmp_path / "log.jsonl", tmp_path / "trace.json"
    assert workload.main(SMALL) == 0
    first = capsys.readouterr().out
    assert workload.main([*SMALL, "--log", str(log), "--torch-trace", str(trace)]) == 0
    second = capsys.readouterr().out
    assert printed_digest(first) == printed_digest(second)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and lines[0]["loss"] > lines[1]["loss"]
    assert f"queries {sum(line['queries'] for line in lines)}" in printed_digest(second)
    # the trace and the log hold the same stages
    stage_table = load("stage_table")
    (_, traced), (_, logged) = stage_table.read(trace), stage_table.read(log)
    assert [(use.stage, use.calls) for use in traced] == [(use.stage, use.calls) for use in logged]
    assert workload.main([*SMALL, "--seed", "1"]) == 0
    assert printed_digest(capsys.readouterr().out) != printed_digest(first)


def test_the_capture_range_holds_the_captured_steps_and_nothing_else(
    workload: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    @contextmanager
    def profile() -> Any:
        seen.append("start")
        yield
        seen.append("stop")

    class OnGpu:
        on_gpu = True

        def step(self, annotate: Any = None) -> dict[str, Any]:
            seen.append("step")
            return {}

    monkeypatch.setattr(torch.cuda.profiler, "profile", profile)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append("wait"))
    workload.run(OnGpu(), warmup=2, steps=3, trace=None)
    assert seen == ["step", "step", "start", "step", "step", "step", "wait", "stop"]
    on_cpu: AbstractContextManager[Any] = workload.capture_range(False)
    with on_cpu:
        assert seen[-1] == "stop"


def test_what_cannot_be_run_or_written_is_said_before_the_first_step(workload: ModuleType, tmp_path: Path) -> None:
    for wrong in (["--steps", "0"], ["--warmup", "-1"], ["--batch-size", "0"]):
        with pytest.raises(ParameterError):
            workload.main(wrong)
    command = [sys.executable, str(PROFILING / "workload.py"), *SMALL, "--torch-trace", str(tmp_path / "no" / "trace")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("workload.py: error:") and done.stdout == ""


FAKE = """#!/bin/sh
for argument in "$@"; do echo "$argument"; done > "$CALLS/{tool}_$1"
echo "$RANK" > "$CALLS/rank"
case "$*" in profile*workload.py*) [ -n "${{NO_REPORT:-}}" ] || : > "$OUT/r_$RANK.nsys-rep" ;; esac
"""


def script(
    name: str, tmp_path: Path, *arguments: str, tools: tuple[str, ...] = ("nsys", "ncu"), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a script with nothing on PATH but what it needs of the system and stand-ins for these tools."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for needed in ("sh", "dirname", "mkdir", "rm"):
        (folder / needed).symlink_to(str(shutil.which(needed)))
    for tool in tools:
        (folder / tool).write_text(FAKE.format(tool=tool))
        (folder / tool).chmod(0o755)
    surroundings = {k: v for k, v in os.environ.items() if k not in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")}
    surroundings |= {
        "PATH": str(folder),
        "CALLS": str(tmp_path),
        "OUT": str(tmp_path),
        "PYTHON": "python",
    }
    return subprocess.run(
        ["sh", str(PROFILING / name), *arguments], env={**surroundings, **variables}, capture_output=True, text=True
    )


def test_nsys_captures_the_range_and_sums_it_up(tmp_path: Path) -> None:
    done = script("nsys.sh", tmp_path, "--mode", "fused")
    assert done.returncode == 0, done.stderr
    called = (tmp_path / "nsys_profile").read_text().splitlines()
    program = called.index("python")
    assert called[:program] == [
        "profile", "-t", "cuda,nvtx,cublas", "--cuda-graph-trace=node", "--capture-range=cudaProfilerApi",
        "--capture-range-end=stop", "--force-overwrite=true", "-o", f"{tmp_path}/r_%q{{RANK}}",
    ]  # fmt: skip
    assert Path(called[program + 1]).samefile(PROFILING / "workload.py") and called[program + 2 :] == [
        "--mode",
        "fused",
    ]
    assert (tmp_path / "nsys_stats").read_text().splitlines() == [
        "stats", "--report", "nvtx_sum,nvtx_gpu_proj_sum,nvtx_kern_sum,cuda_gpu_mem_size_sum", "--format", "csv",
        "--force-export=true", "--force-overwrite=true", "--output", f"{tmp_path}/r_0", f"{tmp_path}/r_0.nsys-rep",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, "0"),
        ({"SLURM_PROCID": "3"}, "3"),
        ({"OMPI_COMM_WORLD_RANK": "4"}, "4"),
        ({"RANK": "1", "SLURM_PROCID": "3", "OMPI_COMM_WORLD_RANK": "4"}, "1"),
    ],
)
@pytest.mark.parametrize("name", ["nsys.sh", "ncu.sh"])
def test_each_rank_has_a_report_of_its_own(tmp_path: Path, name: str, variables: dict[str, str], rank: str) -> None:
    done = script(name, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rank").read_text().strip() == rank
    if name == "nsys.sh":
        assert f"{tmp_path}/r_{rank}.nsys-rep" in (tmp_path / "nsys_stats").read_text()
    else:
        assert f"{tmp_path}/ncu_{rank}" in (tmp_path / "ncu_--nvtx").read_text().splitlines()


def test_a_run_that_opened_no_capture_range_is_not_summed_up(tmp_path: Path) -> None:
    (tmp_path / "r_0.nsys-rep").write_text("of another run")
    done = script("nsys.sh", tmp_path, NO_REPORT="1")
    assert done.returncode == 1 and "only a GPU backend opens the capture range" in done.stderr
    assert not (tmp_path / "nsys_stats").exists()


def test_ncu_looks_at_our_kernels_inside_solve(tmp_path: Path) -> None:
    done = script("ncu.sh", tmp_path, "--hidden", "64", LAUNCHES="5")
    assert done.returncode == 0, done.stderr
    called = (tmp_path / "ncu_--nvtx").read_text().splitlines()
    program = called.index("python")
    options = called[:program]
    for option, value in {
        "--nvtx-include": "qnewton@solve/",
        "--clock-control": "none",
        "--profile-from-start": "off",
        "--kernel-name-base": "function",
        "--kernel-name": "regex:walk_query|matching_query|gram_rows|gram_columns|subspace_query",
        "--launch-count": "5",
    }.items():
        assert options[options.index(option) + 1] == value
    assert called[program + 2 :] == ["--steps", "1", "--hidden", "64"]


def test_the_kernels_that_ncu_looks_at_exist() -> None:
    text = (PROFILING / "ncu.sh").read_text()
    names = text.partition("regex:")[2].partition('"')[0].split("|")
    sources = "".join(path.read_text() for path in (PROFILING.parent / "kernels").glob("*.cu"))
    assert len(names) == 5 and all(f" {name}(" in sources for name in names)


@pytest.mark.parametrize("name", ["nsys.sh", "ncu.sh"])
def test_a_missing_tool_is_one_sentence(tmp_path: Path, name: str) -> None:
    done = script(name, tmp_path, tools=())
    assert done.returncode == 2 and done.stdout == ""
    assert "is not on PATH" in done.stderr and done.stderr.count("\n") == 1
