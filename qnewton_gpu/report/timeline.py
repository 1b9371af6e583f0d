"""timeline.json: the simulated clock of a run as trace events that Perfetto and chrome://tracing open.

One track of steps, one of stages (nested by depth) for each of the tasks that ran at the same time, and counters of
loss, accuracy, kappa and damping. Times are microseconds from the start of the run; projected seconds appear as
arguments only, under that name.
"""

from __future__ import annotations

import math
from typing import Any

from ..runfolder import to_json
from .log import Record, RunLog, number

PROCESS, STEP_TRACK, STAGE_TRACK = 1, 1, 2
SHOWN_OF_A_STAGE = ("category", "device_seconds", "host_bytes", "failed")


def timeline(log: RunLog) -> dict[str, Any]:
    """The whole trace file."""
    events: list[Record] = []
    starts = [min((stage["start"] for stage in line.get("stages") or []), default=math.inf) for line in log.steps]
    origin, clock = next((start for start in starts if start < math.inf), 0.0), 0
    for index, line in enumerate(log.steps):
        stages = sorted(line.get("stages") or [], key=lambda stage: (stage["start"], stage["depth"]))
        begins = max(clock, _nanoseconds(stages[0]["start"] - origin) if stages else clock)
        # a clock that was set back between two sittings must not fold the track over itself
        shift = begins - _nanoseconds(stages[0]["start"] - origin) if stages else 0
        drawn, ends = _stage_events(stages, origin, shift, begins)
        ends = max(ends, begins + _nanoseconds(number(line.get("simulated_seconds")) or 0.0))
        if drawn and index + 1 < len(starts) and starts[index + 1] < math.inf:
            # the log knows a step's length, not its start: that of its first stage, a little later, stands for it
            ends = min(ends, max(max(end for _, end in drawn), _nanoseconds(starts[index + 1] - origin)))
        events.append(_complete(f"step {log.numbers[index]}", STEP_TRACK, begins, ends, _step_arguments(log, index)))
        events += [event for event, _ in drawn]
        events += _counters(log, index, begins, ends)
        clock = ends
    events.sort(key=lambda event: event["ts"])
    return {
        "traceEvents": [*_names(log), *events],
        "displayTimeUnit": "ms",
        "otherData": {
            "clock": "simulated: measured on the machine of the run",
            "versions": to_json(log.config.get("versions", {})),
        },
    }


def _track(stage: Record) -> int:
    """Which of the tasks that ran at the same time; a log of before there were any says none."""
    return int(stage.get("track") or 0)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _stage_events(stages: list[Record], origin: float, shift: int, begins: int) -> tuple[list[tuple[Record, int]], int]:
    """Events of one step with their ends, and the last end; integers, so that rounding cannot break the nesting."""
    drawn: list[tuple[Record, int]] = []
    tracks: dict[int, list[Record]] = {}
    for stage in stages:
        tracks.setdefault(_track(stage), []).append(stage)
    for track, among in sorted(tracks.items()):
        enclosing: list[tuple[int, int]] = []  # depths and ends of the stages around
        free = [begins]  # per level of nesting, where the last stage there ended
        for stage in among:
            while enclosing and enclosing[-1][0] >= stage["depth"]:
                enclosing.pop()
            level = len(enclosing)
            del free[level + 1 :]
            start = max(_nanoseconds(stage["start"] - origin) + shift, free[level])
            end = start + _nanoseconds(stage["seconds"])
            if enclosing:
                start, end = min(start, enclosing[-1][1]), min(end, enclosing[-1][1])
            arguments = {name: stage[name] for name in SHOWN_OF_A_STAGE if stage.get(name)}
            drawn.append((_complete(stage["name"], STAGE_TRACK + track, start, end, arguments), end))
            enclosing.append((stage["depth"], end))
            free[level] = end
            free.append(start)
    return drawn, max((end for _, end in drawn), default=begins)


def _complete(name: str, track: int, start: int, end: int, arguments: Record) -> Record:
    return {
        "name": name, "cat": "simulated", "ph": "X", "pid": PROCESS, "tid": track,
        "ts": start / 1000, "dur": (end - start) / 1000, "args": arguments,
    }  # fmt: skip


def _step_arguments(log: RunLog, index: int) -> Record:
    line = log.steps[index]
    shown = {name: line.get(name) for name in ("loss", "accuracy", "damping", "accepted")}
    for system in log.by_step[index]:
        shown[f"system {system.label}"] = (
            f"{system.chosen}: {system.reason}; kappa {_short(system.kappa)}, queries {system.queries}, "
            f"projected_seconds {_short(system.projected_seconds)}"
        )
    return {name: value for name, value in shown.items() if value is not None}


def _short(value: Any) -> str:
    return "infinite" if number(value) is None else f"{value:.4g}"


def _counters(log: RunLog, index: int, begins: int, ends: int) -> list[Record]:
    line = log.steps[index]
    counters: list[Record] = []

    def count(name: str, nanoseconds: int, value: Any) -> None:
        if number(value) is not None:
            counters.append(
                {"name": name, "ph": "C", "pid": PROCESS, "ts": nanoseconds / 1000, "args": {"value": value}}
            )

    if index == 0:
        count("loss", begins, line.get("loss_before"))
    count("damping", begins, line.get("damping"))
    for system in log.by_step[index]:
        count(f"kappa of {system.label}", begins, system.kappa)
    count("loss", ends, line.get("loss"))
    count("accuracy", ends, line.get("accuracy"))
    return counters


def _names(log: RunLog) -> list[Record]:
    def metadata(kind: str, track: int | None, arguments: Record) -> Record:
        return {
            "name": kind, "ph": "M", "ts": 0, "pid": PROCESS,
            **({} if track is None else {"tid": track}), "args": arguments,
        }  # fmt: skip

    title = f"qnewton train, {log.config.get('data')}, seed {log.config.get('seed')} (simulated clock)"
    named = [metadata("process_name", None, {"name": title})]
    most = max((_track(stage) for line in log.steps for stage in line.get("stages") or []), default=0)
    beside = [(STAGE_TRACK + track, f"stages beside these, {track}") for track in range(1, most + 1)]
    for order, (track, name) in enumerate([(STEP_TRACK, "steps"), (STAGE_TRACK, "stages"), *beside]):
        named.append(metadata("thread_name", track, {"name": name}))
        named.append(metadata("thread_sort_index", track, {"sort_index": order}))
    return named


__all__ = ["timeline"]
