"""Stages of tasks that ran at the same time: a track each in the timeline, and no part of each other's seconds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import CostModel, select_backend
from qnewton_gpu.concurrency import side_by_side
from qnewton_gpu.report.log import RunLog
from qnewton_gpu.report.timeline import timeline
from qnewton_gpu.stages import record_stages, stage

BEGAN = 1.7953567e9


def a_stage(name: str, start: float, seconds: float, depth: int, track: int | None = None) -> dict[str, Any]:
    stage = {"name": name, "start": BEGAN + start, "seconds": seconds, "depth": depth, "failed": False}
    return stage if track is None else {**stage, "track": track}


def log_of(*steps: list[dict[str, Any]]) -> RunLog:
    lines = [{"step": number, "simulated_seconds": 1.0, "stages": stages} for number, stages in enumerate(steps)]
    return RunLog({}, lines, CostModel())


OVERLAPPING = [
    a_stage("update", 0.0, 0.9, 0, 0),
    a_stage("solve", 0.1, 0.6, 1, 0), a_stage("verify", 0.5, 0.1, 2, 0),
    a_stage("encode", 0.1, 0.1, 1, 1), a_stage("solve", 0.2, 0.6, 1, 1), a_stage("verify", 0.3, 0.2, 2, 1),
]  # fmt: skip


def slices(log: RunLog) -> list[dict[str, Any]]:
    return [event for event in timeline(log)["traceEvents"] if event["ph"] == "X"]


def test_overlapping_stages_are_drawn_on_tracks_of_their_own_as_long_as_they_were() -> None:
    drawn = slices(log_of(OVERLAPPING))
    found = {(e["tid"], e["name"]): (e["ts"], e["dur"]) for e in drawn if e["tid"] != 1}
    expected = {(2 + s["track"], s["name"]): (1e6 * (s["start"] - BEGAN), 1e6 * s["seconds"]) for s in OVERLAPPING}
    assert set(found) == set(expected) and len(drawn) == 7
    for where, times in expected.items():
        assert found[where] == pytest.approx(times, abs=1)


def test_the_tracks_have_names_and_a_log_without_tracks_has_one() -> None:
    def names(log: RunLog) -> dict[int, str]:
        named = [event for event in timeline(log)["traceEvents"] if event["name"] == "thread_name"]
        return {event["tid"]: event["args"]["name"] for event in named}

    alone = [a_stage("solve", 0.0, 0.5, 0)]
    assert names(log_of(alone)) == {1: "steps", 2: "stages"}
    assert names(log_of(alone, OVERLAPPING)) == {1: "steps", 2: "stages", 3: "stages beside these, 1"}


def test_what_runs_beside_a_stage_is_no_part_of_it() -> None:
    (own,) = log_of(OVERLAPPING).stage_seconds()
    assert own == pytest.approx({"update": 0.3, "solve": 0.5 + 0.4, "verify": 0.3, "encode": 0.1})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_whatever_a_log_says_slices_of_a_track_nest(stages: list[tuple[float, float, int, int]]) -> None:
    named = [a_stage("solve", start, seconds, depth, track) for start, seconds, depth, track in stages]
    drawn = slices(log_of(named))
    assert len(drawn) == len(stages) + 1
    for tid in {event["tid"] for event in drawn}:
        open_until: list[float] = []
        for event in (event for event in drawn if event["tid"] == tid):
            begin, end = round(1000 * event["ts"]), round(1000 * (event["ts"] + event["dur"]))
            while open_until and open_until[-1] <= begin:
                open_until.pop()
            assert not open_until or end <= open_until[-1], f"{event} outlives the slice around it"
            open_until.append(end)


def test_what_two_tasks_side_by_side_recorded_is_drawn_on_two_tracks() -> None:
    def task(name: str) -> None:
        with stage(name):
            pass

    with record_stages() as events, stage("update"):
        side_by_side([lambda: task("solve"), lambda: task("verify")], select_backend("cpu"))
    drawn = {(event["tid"], event["name"]) for event in slices(log_of([asdict(event) for event in events]))}
    assert drawn == {(1, "step 1"), (2, "update"), (2, "solve"), (3, "verify")}
