"""The named stages of a Newton step: an NVTX range and a wall-clock timer around each.

    with record_stages() as events:
        with stage("solve"):
            ...

`events` then holds one `StageEvent` for every stage that was closed, also when an exception passed through it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

STAGES = ("gradient", "curvature", "condition", "plan", "encode", "solve", "verify", "update")


@dataclass(frozen=True)
class StageEvent:
    """One closed stage. `start` is in seconds of `time.perf_counter`; `depth` counts the enclosing stages."""

    name: str
    start: float
    seconds: float
    depth: int
    failed: bool


_events: ContextVar[list[StageEvent] | None] = ContextVar("qnewton_stage_events", default=None)
_depth: ContextVar[int] = ContextVar("qnewton_stage_depth", default=0)


@cache
def _nvtx_domain() -> Any:
    import nvtx  # 90 ms to import: only once a stage is entered

    return nvtx.get_domain("qnewton")


@cache
def _nvtx_attributes(name: str) -> Any:
    return _nvtx_domain().get_event_attributes(message=name)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark a stage of the step for Nsight and for the run log; it is closed whatever happens inside."""
    if name not in STAGES:
        raise KeyError(f"{name!r} is not one of the stages {STAGES}")
    domain, depth = _nvtx_domain(), _depth.get()
    token = _depth.set(depth + 1)
    failed = True
    start = time.perf_counter()
    domain.push_range(_nvtx_attributes(name))
    try:
        yield
        failed = False
    finally:
        domain.pop_range()
        seconds = time.perf_counter() - start
        _depth.reset(token)
        events = _events.get()
        if events is not None:
            events.append(StageEvent(name, start, seconds, depth, failed))


@contextmanager
def record_stages() -> Iterator[list[StageEvent]]:
    """Collect the events of every stage closed inside this block."""
    events: list[StageEvent] = []
    token = _events.set(events)
    try:
        yield events
    finally:
        _events.reset(token)
