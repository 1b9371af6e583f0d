"""Tasks side by side: they overlap, they all end, and what they give and record is what it was one after the other."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu.concurrency import side_by_side
from qnewton_gpu.stages import count_host_bytes, host_bytes, record_stages, stage

CPU = qn.select_backend("cpu")
PATIENCE = 20.0  # seconds after which a barrier that somebody did not reach is broken


def test_results_come_in_the_order_of_the_tasks() -> None:
    assert side_by_side([], CPU) == []
    assert side_by_side([lambda: 7], CPU) == [7]
    assert side_by_side([lambda i=i: i for i in range(5)], CPU) == [0, 1, 2, 3, 4]  # type: ignore[misc]


def test_the_tasks_are_under_way_at_the_same_time() -> None:
    """Each waits for the others in the middle: one after the other none would ever end."""
    middle = threading.Barrier(3, timeout=PATIENCE)
    assert sorted(side_by_side([middle.wait] * 3, CPU)) == [0, 1, 2]


def test_the_first_task_runs_in_the_thread_of_the_caller_and_one_task_needs_no_other() -> None:
    here = threading.get_ident()
    first, second = side_by_side([threading.get_ident, threading.get_ident], CPU)
    assert first == here != second
    assert side_by_side([threading.get_ident], CPU) == [here]


@pytest.mark.parametrize("failing", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_the_first_exception_is_raised_after_all_have_ended(
    failing: tuple[int, ...], kind: type[BaseException]
) -> None:
    middle, ended = threading.Barrier(3, timeout=PATIENCE), []

    def task(number: int) -> None:
        middle.wait()
        if number in failing:
            raise kind(number)
        ended.append(number)

    with pytest.raises(kind) as caught:
        side_by_side([lambda i=i: task(i) for i in range(3)], CPU)  # type: ignore[misc]
    assert caught.value.args == (failing[0],)
    assert sorted(ended) == [i for i in range(3) if i not in failing]


def test_an_interrupt_while_waiting_is_raised_after_all_have_ended() -> None:
    interrupted, ended = threading.Event(), []

    def long() -> None:
        assert interrupted.wait(PATIENCE)
        ended.append("long")

    def handler(*_: Any) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side([lambda: None, long, interrupt], CPU)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["long"]


def test_stages_are_recorded_on_tracks_inside_the_stage_that_was_open() -> None:
    middle = threading.Barrier(2, timeout=PATIENCE)

    def task(name: str) -> None:
        with stage(name):
            middle.wait()
            with stage("verify"):
                pass

    with record_stages() as events:
        with stage("update", category="layer1"):
            side_by_side([lambda: task("solve"), lambda: task("encode")], CPU)
        with stage("plan"):
            pass
    found = {(e.track, e.depth, e.name, e.category) for e in events}
    assert found == {
        (0, 0, "update", "layer1"), (0, 0, "plan", None),
        (0, 1, "solve", "layer1"), (0, 2, "verify", "layer1"),
        (1, 1, "encode", "layer1"), (1, 2, "verify", "layer1"),
    }  # fmt: skip
    solve, encode = (next(e for e in events if e.name == name) for name in ("solve", "encode"))
    assert max(solve.start, encode.start) < min(solve.start + solve.seconds, encode.start + encode.seconds)


def test_bytes_that_come_to_the_host_reach_the_caller_also_when_a_task_fails() -> None:
    def fail() -> None:
        count_host_bytes(4)
        raise ValueError

    before = host_bytes()
    with record_stages() as events, stage("solve"):
        side_by_side([lambda: count_host_bytes(1), lambda: count_host_bytes(2)], CPU)
    assert host_bytes() - before == 3 and events[0].host_bytes == 3
    with pytest.raises(ValueError):
        side_by_side([lambda: count_host_bytes(1), fail], CPU)
    assert host_bytes() - before == 8


def solves(backend: Any, mode: str) -> list[Callable[[], Any]]:
    """A simulated quantum solve and a classical one, of systems of their own."""
    random = np.random.default_rng(3)
    factors = [random.normal(size=(12, 12)) for _ in range(2)]
    first, second = (factor @ factor.T + 12 * np.eye(12) for factor in factors)
    b = random.normal(size=12)
    return [
        lambda: qn.solve(second, b, solver="lu", backend=backend),
        lambda: qn.solve(first, b, solver="qsvt", encoding="matching", mode=mode, tolerance=1e-6, backend=backend),
    ]


@pytest.mark.parametrize("mode", ["subspace", "fused", "circuit"])
def test_solves_are_bit_identical_to_those_one_after_the_other(mode: str) -> None:
    alone = [task() for task in solves(CPU, mode)]
    together = side_by_side(solves(CPU, mode), CPU)
    for a, b in zip(alone, together, strict=True):
        assert a.solved and b.solved and np.array_equal(a.x, b.x)
        assert (a.queries, a.success_probability) == (b.queries, b.success_probability)
