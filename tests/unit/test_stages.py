"""Stages nest, are closed whatever happens, and are recorded for whoever asked, with the device's own clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from standins.rehearsal import rehearse

import qnewton_gpu as qn
from qnewton_gpu.errors import QNewtonError
from qnewton_gpu.stages import STAGES, count_host_bytes, host_bytes, record_stages, stage, use_device_clock


def test_the_eight_names() -> None:
    assert STAGES == ("gradient", "curvature", "condition", "plan", "encode", "solve", "verify", "update")


def test_stages_nest_and_the_inner_one_is_closed_first() -> None:
    with record_stages() as events, stage("solve"):
        with stage("encode"):
            pass
        with stage("verify"):
            pass
    assert [(e.name, e.depth, e.failed) for e in events] == [
        ("encode", 1, False), ("verify", 1, False), ("solve", 0, False)]  # fmt: skip
    inner, later, outer = events
    assert outer.start <= inner.start and inner.start + inner.seconds <= later.start
    assert outer.seconds >= inner.seconds + later.seconds >= 0


def test_an_exception_closes_every_stage_it_passes_and_marks_it() -> None:
    with record_stages() as events:
        with pytest.raises(ZeroDivisionError), stage("solve"):
            with stage("encode"):
                pass
            with stage("verify"):
                _ = 1 / 0
        with stage("update"):
            pass
    assert [(e.name, e.depth, e.failed) for e in events] == [
        ("encode", 1, False), ("verify", 1, True), ("solve", 0, True), ("update", 0, False)]  # fmt: skip


def test_an_interrupt_closes_a_stage_too() -> None:
    with record_stages() as events, pytest.raises(KeyboardInterrupt), stage("solve"):
        raise KeyboardInterrupt
    assert [(e.name, e.failed) for e in events] == [("solve", True)]


def test_every_range_that_was_pushed_is_popped(monkeypatch: pytest.MonkeyPatch) -> None:
    from qnewton_gpu import stages

    open_ranges: list[str] = []

    class Domain:
        def push_range(self, attributes: str) -> None:
            open_ranges.append(attributes)

        def pop_range(self) -> None:
            open_ranges.pop()

    monkeypatch.setattr(stages, "_nvtx_domain", Domain)
    monkeypatch.setattr(stages, "_nvtx_attributes", lambda name, category: name)
    with pytest.raises(ValueError), stage("solve"), stage("verify"):
        assert open_ranges == ["solve", "verify"]
        raise ValueError
    assert open_ranges == []


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(KeyError, match="dinner"), stage("dinner"):
        pass


def test_nothing_is_recorded_unless_asked_and_recorders_nest() -> None:
    with stage("plan"), record_stages() as outer:
        with record_stages() as inner, stage("encode"):
            pass
        with stage("solve"):
            pass
    assert [e.name for e in inner] == ["encode"]
    assert [e.name for e in outer] == ["solve"]


def test_threads_do_not_see_each_other() -> None:
    def work() -> None:
        with stage("gradient"):
            pass

    with record_stages() as events:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert events == []


def test_a_solve_passes_through_its_stages_in_order() -> None:
    with record_stages() as events:
        qn.solve(np.diag([1.0, 2.0]), np.ones(2), solver="qsvt")
    top = [e.name for e in sorted(events, key=lambda e: e.start) if e.depth == 0]
    assert top == ["condition", "plan", "encode", "solve", "verify"]
    assert not any(e.failed for e in events)


def test_a_refused_solve_enters_no_stage() -> None:
    with record_stages() as events, pytest.raises(QNewtonError):
        qn.solve(np.ones((2, 3)), np.ones(3))
    assert events == []


class FakeClock:
    """A device whose queue advances by one second a mark, and that notes when somebody waits for it."""

    def __init__(self) -> None:
        self.marks = 0
        self.waited: list[tuple[int, int]] = []

    def mark(self) -> int:
        self.marks += 1
        return self.marks

    def seconds(self, first: int, last: int) -> float:
        self.waited.append((first, last))
        return float(last - first)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    fake = FakeClock()
    use_device_clock(fake)
    yield fake
    use_device_clock(None)


def test_the_device_is_waited_for_once_a_stage_and_only_at_the_end(clock: FakeClock) -> None:
    with record_stages() as events:
        with stage("solve"), stage("verify"):
            pass
        with stage("update"):
            pass
        assert clock.marks == 6 and clock.waited == []
        assert [e.device_seconds for e in events] == [None, None, None]
    assert [(e.name, e.device_seconds) for e in events] == [("verify", 1.0), ("solve", 3.0), ("update", 1.0)]
    assert clock.waited == [(2, 3), (1, 4), (5, 6)]


def test_a_failed_stage_asks_the_device_for_nothing(clock: FakeClock) -> None:
    with record_stages() as events:
        with pytest.raises(MemoryError), stage("solve"):
            raise MemoryError
        with stage("solve"):
            pass
    assert [(e.failed, e.device_seconds) for e in events] == [(True, None), (False, 1.0)]
    with pytest.raises(ValueError), record_stages() as events:
        with stage("encode"):
            pass
        raise ValueError
    assert [e.device_seconds for e in events] == [None] and clock.waited == [(2, 3)]


def test_without_a_recorder_the_device_is_left_alone(clock: FakeClock) -> None:
    with stage("solve"):
        pass
    assert clock.marks == 0


def test_without_a_device_clock_there_are_no_device_seconds() -> None:
    with record_stages() as events, stage("solve"):
        pass
    assert events[0].device_seconds is None and events[0].host_bytes == 0


def test_bytes_that_come_to_the_host_count_for_every_stage_around() -> None:
    before = host_bytes()
    with record_stages() as events:
        with stage("solve"):
            count_host_bytes(8)
            with stage("verify"):
                count_host_bytes(16)
        count_host_bytes(1)
        with stage("update"):
            pass
    assert [(e.name, e.host_bytes) for e in events] == [("verify", 16), ("solve", 24), ("update", 0)]
    assert host_bytes() - before == 25


def test_rehearsal_of_the_gpu_backend_marks_stages_and_counts_its_copies() -> None:
    with rehearse() as backend:
        with record_stages() as events:
            solution = qn.solve(np.diag([1.0, 2.0]), np.ones(2), solver="qsvt", mode="subspace", backend=backend)
            inside = host_bytes()
            with stage("update"):
                backend.to_numpy(backend.xp.zeros(3))
        assert solution.solved and host_bytes() - inside == 24
    assert all(e.device_seconds is not None and e.device_seconds >= 0 for e in events)
    assert events[-1].host_bytes == 24 and sum(e.host_bytes for e in events if e.name == "solve") > 0


def test_a_nested_stage_has_the_category_of_the_one_around_unless_given() -> None:
    with record_stages() as events:
        with stage("solve", category="layer1"), stage("verify"), stage("encode", category="layer2"), stage("plan"):
            pass
        with stage("update"):
            pass
    categories = {e.name: e.category for e in events}
    assert categories == {"solve": "layer1", "verify": "layer1", "encode": "layer2", "plan": "layer2", "update": None}


def test_an_annotation_is_open_for_as_long_as_its_stage() -> None:
    seen: list[str] = []

    @contextmanager
    def annotate(name: str) -> Iterator[None]:
        seen.append(f"open {name}")
        yield
        seen.append(f"close {name}")

    with record_stages(annotate), pytest.raises(ValueError), stage("solve"), stage("verify"):
        raise ValueError
    assert seen == ["open qnewton:solve", "open qnewton:verify", "close qnewton:verify", "close qnewton:solve"]
    with record_stages(), stage("plan"):
        pass
    assert len(seen) == 4


def test_a_stage_costs_microseconds() -> None:
    """About 1 us was measured without a tool; the bound leaves room for a busy machine, not for an import a stage."""
    from timeit import repeat

    def one() -> None:
        with stage("solve", category="layer1", payload=63):
            pass

    one()  # the import of nvtx
    assert min(repeat(one, number=1000, repeat=10)) / 1000 < 10e-6
