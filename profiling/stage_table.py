"""Where the time of the stages went, from whatever recorded them: stage, calls, CPU s, GPU s, bytes.

    .venv/bin/python profiling/stage_table.py FILE ...

FILE is a run folder or its steps.jsonl, what workload.py wrote for --log or --torch-trace, or the CSV that
`nsys stats` (profiling/nsys.sh) makes of its reports nvtx_sum and nvtx_gpu_proj_sum.

The format is recognised from the content. Seconds are of the simulated clock. A stage inside another counts in both,
so that the rows do not add up to the step. Bytes went from the device to the host. `-`: this source does not say.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qnewton_gpu.cli.tables import table
from qnewton_gpu.errors import FileFormatError
from qnewton_gpu.stages import DOMAIN, STAGES

USAGE_ERROR = 2
FORMATS = (
    "a run folder, a log of stages (steps.jsonl, workload.py --log), a chrome trace (workload.py --torch-trace), or "
    "the CSV of the nsys reports nvtx_sum and nvtx_gpu_proj_sum"
)
UNITS = {"ns": 1e-9, "us": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0}
LAUNCHES = ("cuda_runtime", "cuda_driver")


@dataclass(frozen=True)
class Use:
    """What one stage took in one call or several; None where the source does not say."""

    stage: str
    calls: int = 1
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    host_bytes: int | None = None


def read(path: Path) -> tuple[str, list[Use]]:
    """What the file is, and one `Use` for each stage in it, in the order of a step.

    Raises FileFormatError where it is no file of a known format, or holds no stage.
    """
    if path.is_dir():
        path = path / "steps.jsonl"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise FileFormatError("file", f"{path} cannot be read ({problem})", f"Give {FORMATS}") from problem
    try:
        source, uses = _recognise(text)
    except (AttributeError, LookupError, TypeError, ValueError) as problem:
        what = f"{path} has a known format, but is damaged ({type(problem).__name__}: {problem})"
        raise FileFormatError("file", what, "Record it again") from problem
    if not source:
        raise FileFormatError("file", f"{path} is of no known format", f"Give {FORMATS}")
    if not uses:
        what = f"{path} ({source}) holds no stage of {DOMAIN}"
        raise FileFormatError("file", what, "Record a run of profiling/workload.py, with NVTX among the traces of nsys")
    return source, [_total(name, uses) for name in STAGES if any(use.stage == name for use in uses)]


def _recognise(text: str) -> tuple[str, list[Use]]:
    records = _json_records(text)
    if len(records) == 1 and "traceEvents" in records[0]:
        return "torch.profiler", _from_trace(records[0]["traceEvents"])
    if records and all("stages" in record for record in records):
        return "log", [_from_log(entry) for record in records for entry in record["stages"]]
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
    for place, row in enumerate(rows):  # nsys writes what it is doing in front of a report
        columns = {re.sub(r" \(.*\)$", "", name): k for k, name in enumerate(row)}
        if {"Range", "Total Proj Time", "Total Range Time", "Range Instances"} <= columns.keys():
            return "nsys nvtx_gpu_proj_sum", list(_from_nsys(row, columns, rows[place + 1 :]))
        if {"Range", "Total Time", "Instances"} <= columns.keys():
            return "nsys nvtx_sum", list(_from_nsys(row, columns, rows[place + 1 :]))
    return "", []


def _json_records(text: str) -> list[dict[str, Any]]:
    """The objects of a JSON file or of JSON lines, without a last line that a killed run left half written."""
    try:
        records = [json.loads(text)]
    except ValueError:
        records = []
        lines = [line for line in text.splitlines() if line.strip()]
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:
                if line is not lines[-1]:
                    return []
    return records if all(isinstance(record, dict) for record in records) else []


def _from_log(entry: dict[str, Any]) -> Use:
    return Use(entry["name"], 1, entry["seconds"], entry.get("device_seconds"), entry.get("host_bytes"))


def _from_nsys(header: list[str], columns: dict[str, int], rows: Iterable[list[str]]) -> Iterable[Use]:
    """The rows of one report up to the next empty line; ranges of other domains are left out."""

    def seconds(row: list[str], name: str) -> float:
        unit = re.fullmatch(r".*\((\w+)\)", header[columns[name]])
        return float(row[columns[name]]) * UNITS[unit[1] if unit else "ns"]

    for row in rows:
        if not any(row):
            return
        domain, _, name = row[columns["Range"]].rpartition(":")
        if domain != DOMAIN or name not in STAGES:
            continue
        if "Total Proj Time" in columns:
            calls = int(row[columns["Range Instances"]])
            yield Use(name, calls, seconds(row, "Total Range Time"), seconds(row, "Total Proj Time"))
        else:
            yield Use(name, int(row[columns["Instances"]]), seconds(row, "Total Time"))


def _from_trace(events: list[dict[str, Any]]) -> list[Use]:
    """CPU ranges, their projections on the GPU, and the copies that were launched inside each range."""
    spans = [(_stage_of(event), event) for event in events if event.get("cat") == "user_annotation"]
    uses = [Use(name, 1, event["dur"] * 1e-6) for name, event in spans if name]
    launched = {e["args"]["correlation"]: e["ts"] for e in events if e.get("cat") in LAUNCHES}
    if not launched:  # nothing of a GPU was traced
        return uses
    for event in events:
        if event.get("cat") == "gpu_user_annotation" and _stage_of(event):
            uses.append(Use(_stage_of(event), 0, None, event["dur"] * 1e-6))
        if event.get("cat") == "gpu_memcpy" and "DtoH" in event["name"]:
            at = launched[event["args"]["correlation"]]
            around = {n for n, span in spans if n and span["ts"] <= at <= span["ts"] + span["dur"]}
            uses += [Use(name, 0, None, None, event["args"]["bytes"]) for name in around]
    return [*uses, *(Use(name, 0, None, None, 0) for name, _ in spans if name)]


def _stage_of(event: dict[str, Any]) -> str:
    domain, _, name = event["name"].partition(":")
    return name if domain == DOMAIN and name in STAGES else ""


def _total(name: str, uses: Iterable[Use]) -> Use:
    own = [use for use in uses if use.stage == name]

    def known(values: Iterable[Any]) -> Any:
        numbers = [value for value in values if value is not None]
        return sum(numbers) if numbers else None

    return Use(
        name,
        sum(use.calls for use in own),
        known(use.cpu_seconds for use in own),
        known(use.gpu_seconds for use in own),
        known(use.host_bytes for use in own),
    )


def show(uses: Iterable[Use]) -> str:
    def cell(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return table(
        ("stage", "calls", "CPU s", "GPU s", "bytes"),
        [(u.stage, str(u.calls), cell(u.cpu_seconds, 6), cell(u.gpu_seconds, 6), cell(u.host_bytes, 0)) for u in uses],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog=f"FILE is {FORMATS}.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    for path in parser.parse_args(arguments).files:
        try:
            source, uses = read(path)
        except FileFormatError as problem:
            print(f"stage_table.py: error: {problem}", file=sys.stderr)
            return USAGE_ERROR
        print(f"{path} ({source})\n{show(uses)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
