"""The named stages of a Newton step: an NVTX range, a wall-clock timer and, on a GPU, device events around each.

    with record_stages() as events:
        with stage("solve", category="layer1", payload=63):
            ...

`events` then holds one `StageEvent` for every stage that was closed, also when an exception passed through it.
This is the lowest layer: a backend tells it of its device with `use_device_clock` and `count_host_bytes`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from functools import cache
from types import TracebackType
from typing import Any, Protocol, TypeVar

STAGES = ("gradient", "curvature", "condition", "plan", "encode", "solve", "verify", "update")
DOMAIN = "qnewton"
T = TypeVar("T")


@dataclass(frozen=True)
class StageEvent:
    """One closed stage; what its nested stages took is included.

    `start` is in seconds of `time.perf_counter`; `depth` counts the enclosing stages; `category` names the block of
    the network, None for the whole step. `device_seconds` is the time between the device's first and last mark, None
    without a device clock and for a failed stage. `host_bytes` were copied from the device to the host. `track` tells
    apart what ran at the same time: 0 for the thread that records, else the number of its `Track`.
    """

    name: str
    start: float
    seconds: float
    depth: int
    failed: bool
    category: str | None = None
    device_seconds: float | None = None
    host_bytes: int = 0
    track: int = 0


class DeviceClock(Protocol):
    """The clock of a device that runs behind the host, such as CUDA events on the stream that the kernels run on."""

    def mark(self) -> Any:
        """An event at this place of the device's queue; it must not wait for the device."""
        ...

    def seconds(self, first: Any, last: Any) -> float:
        """Seconds from one mark to the other; it may wait, and is called once for each pair."""
        ...


class _Recorder:
    def __init__(self, annotate: Callable[[str], AbstractContextManager[Any]]) -> None:
        self.annotate = annotate
        self.events: list[StageEvent] = []
        self.marks: list[tuple[DeviceClock, Any, Any] | None] = []
        self.one_at_a_time = threading.Lock()

    def keep(self, event: StageEvent, marks: tuple[DeviceClock, Any, Any] | None) -> None:
        with self.one_at_a_time:  # the two lists belong together
            self.events.append(event)
            self.marks.append(marks)

    def read_device_clock(self) -> None:
        for place, marks in enumerate(self.marks):
            if marks is not None:
                clock, first, last = marks
                self.events[place] = replace(self.events[place], device_seconds=clock.seconds(first, last))


_innermost: ContextVar[stage | None] = ContextVar("qnewton_innermost_stage", default=None)
_recorder: ContextVar[_Recorder | None] = ContextVar("qnewton_stage_recorder", default=None)
_host_bytes: ContextVar[int] = ContextVar("qnewton_host_bytes", default=0)
_track: ContextVar[int] = ContextVar("qnewton_track", default=0)
_device_clock: DeviceClock | None = None


def use_device_clock(clock: DeviceClock | None) -> None:
    """Mark the stages that open from now on, in all threads, with this clock; None for a backend without a device."""
    global _device_clock
    _device_clock = clock


def count_host_bytes(number: int) -> None:
    """Tell that this many bytes are being copied from the device to the host: a backend calls it at every copy."""
    _host_bytes.set(_host_bytes.get() + number)


def host_bytes() -> int:
    """All bytes counted so far in this thread, inside stages and outside: the difference is that of a step."""
    return _host_bytes.get()


class Track:
    """Where a task leaves its stages that runs in another thread, at the same time as the one that makes this.

    They are recorded with those of the maker, inside the stage that was open there, under the number of this track.
    """

    def __init__(self, number: int) -> None:
        self._context = copy_context()
        self._context.run(_track.set, number)
        self._copied = _host_bytes.get()

    def run(self, task: Callable[[], T]) -> T:
        """task(), in the thread that calls this."""
        return self._context.run(task)

    def close(self) -> None:
        """Count for the maker what the task copied to the host: called by the maker, when the task has ended."""
        count_host_bytes(self._context.get(_host_bytes, 0) - self._copied)


@cache
def _nvtx_domain() -> Any:
    import nvtx  # 90 ms to import: only once a stage is entered

    return nvtx.get_domain(DOMAIN)


@cache
def _nvtx_attributes(name: str, category: str | None) -> Any:
    return _nvtx_domain().get_event_attributes(message=name, category=category)


def _push_range(name: str, category: str | None, payload: float | None) -> None:
    domain = _nvtx_domain()
    if payload is None:
        domain.push_range(_nvtx_attributes(name, category))
    else:  # attributes of its own: shared ones would carry the payload of another thread
        number = payload if isinstance(payload, int) else float(payload)
        domain.push_range(domain.get_event_attributes(message=name, category=category, payload=number))


class stage:
    """`with stage("solve"):` marks a stage of the step for Nsight and for the run log; it is closed in every case.

    category names the block or layer; a nested stage has that of the enclosing one unless it is given. payload is a
    number shown beside the range: kappa (float) of the system, or the queries (int) that a solve begins with.
    Raises KeyError for a name that is not one of STAGES.
    """

    __slots__ = (
        "_annotation", "_clock", "_copied", "_mark", "_recorder", "_start", "_token",
        "category", "depth", "name", "payload",
    )  # fmt: skip

    def __init__(self, name: str, *, category: str | None = None, payload: float | None = None) -> None:
        if name not in STAGES:
            raise KeyError(f"{name!r} is not one of the stages {STAGES}")
        self.name, self.category, self.payload = name, category, payload

    def __enter__(self) -> None:
        outer = _innermost.get()
        self.depth: int = 0 if outer is None else outer.depth + 1
        if self.category is None and outer is not None:
            self.category = outer.category
        self._recorder = _recorder.get()
        if self._recorder is not None:
            self._begin_record(self._recorder)
        self._token = _innermost.set(self)
        self._start = time.perf_counter()
        _push_range(self.name, self.category, self.payload)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _nvtx_domain().pop_range()
        seconds = time.perf_counter() - self._start
        _innermost.reset(self._token)
        if self._recorder is not None:
            self._end_record(self._recorder, seconds, kind is not None)

    def _begin_record(self, recorder: _Recorder) -> None:
        self._copied = _host_bytes.get()
        self._clock = _device_clock
        self._mark = None if self._clock is None else self._clock.mark()
        self._annotation = recorder.annotate(f"{DOMAIN}:{self.name}")
        self._annotation.__enter__()

    def _end_record(self, recorder: _Recorder, seconds: float, failed: bool) -> None:
        self._annotation.__exit__(None, None, None)
        copied = _host_bytes.get() - self._copied
        # a device that has just failed is not asked for a mark: that error would hide the first
        marks = (self._clock, self._mark, self._clock.mark()) if self._clock is not None and not failed else None
        event = StageEvent(
            self.name, self._start, seconds, self.depth, failed, self.category, None, copied, _track.get()
        )
        recorder.keep(event, marks)


@contextmanager
def record_stages(annotate: Callable[[str], AbstractContextManager[Any]] = nullcontext) -> Iterator[list[StageEvent]]:
    """Collect the events of every stage closed inside this block.

    The device clock is read at the end of the block, once and not before, so that no stage waits for the device; where
    an exception leaves the block it is not read. annotate("qnewton:solve") is entered with every stage, for tools
    that do not see NVTX, such as torch.profiler.record_function.
    """
    recorder = _Recorder(annotate)
    token = _recorder.set(recorder)
    try:
        yield recorder.events
    finally:
        _recorder.reset(token)
    recorder.read_device_clock()
