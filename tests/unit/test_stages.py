"""Stages nest, are closed whatever happens, and are recorded for whoever asked."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu.errors import QNewtonError
from qnewton_gpu.stages import STAGES, record_stages, stage


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
    monkeypatch.setattr(stages, "_nvtx_attributes", lambda name: name)
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
        qn.solve(np.ones((2, 3)), np.ones(2))
    assert events == []
