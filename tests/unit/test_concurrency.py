"""Tasks side by side: they overlap, they all end, and what they give and record is what it was one after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from standins import cupy_standin
from standins.rehearsal import rehearse

import qnewton_gpu as qn
from qnewton_gpu.concurrency import side_by_side
from qnewton_gpu.curvature.base import Objective
from qnewton_gpu.curvature.gauss_newton import GaussNewton
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


def test_the_tasks_have_the_grad_mode_of_the_caller() -> None:
    for mode in (False, True):
        with torch.set_grad_enabled(mode):
            assert side_by_side([torch.is_grad_enabled] * 3, CPU) == [mode] * 3


def test_no_two_threads_are_inside_the_model() -> None:
    """torch puts other parameters into it for as long as a product without a closed form takes its outputs."""
    meeting = threading.Barrier(2)

    class Watched(torch.nn.Conv1d):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if watching:
                with contextlib.suppress(threading.BrokenBarrierError):
                    meeting.wait(0.05)  # for a second thread, which must not come
                    met.append(True)
                meeting.reset()
            return super().forward(inputs)

    watching, met = False, []
    model = torch.nn.Sequential(Watched(1, 2, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(8, 3)).double()
    inputs, targets = torch.rand(5, 1, 6, dtype=torch.float64), torch.arange(5) % 3
    objective = Objective(model, torch.nn.CrossEntropyLoss(), inputs, targets)
    theta = objective.parameters.vector()
    blocks = [GaussNewton(objective, theta, slice(0, 8)) for _ in range(2)]
    alone = blocks[0].dense()
    watching = True
    together = side_by_side([block.dense for block in blocks], CPU)
    watching = False
    assert not met and all(torch.equal(matrix, alone) for matrix in together)
    assert torch.equal(objective.parameters.vector(), theta)


def test_a_training_step_overlaps_its_two_machines_and_is_bit_identical_to_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 20, generator=generator, dtype=torch.float64)
    targets = torch.randint(5, (64,), generator=generator)

    def step() -> tuple[list[str], torch.Tensor, set[int]]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Linear(20, 12), torch.nn.Tanh(), torch.nn.Linear(12, 5)).double()
        scheduler = qn.Scheduler(qn.CostModel(qn.Hardware(gate_time=3e-9)), backend="cpu")
        optimizer = qn.QNewton(model, torch.nn.CrossEntropyLoss(), partition="layer", scheduler=scheduler, damping=1.0)
        with record_stages() as events:
            report = optimizer.step(inputs, targets)
        parameters = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        return [s["solver"] for s in report.systems], parameters, {e.track for e in events if e.name == "solve"}

    solvers, together, tracks = step()
    assert set(solvers) == {"qsvt", "lu"} and tracks == {0, 1}
    monkeypatch.setattr("qnewton_gpu.scheduler.side_by_side", lambda tasks, backend: [task() for task in tasks])
    same_solvers, alone, tracks = step()
    assert solvers == same_solvers and tracks == {0} and torch.equal(together, alone)


# --- on a GPU


def test_rehearsal_of_streams_each_task_has_its_own_after_what_was_asked_before_and_before_what_comes() -> None:
    middle = threading.Barrier(3, timeout=PATIENCE)

    def where() -> tuple[int, int]:
        middle.wait()  # a stream that is free again may go to the next task
        return backend.xp.cuda.get_current_stream().ptr, backend.stream.ptr

    with rehearse() as backend:
        common = backend.stream.ptr
        log = cupy_standin.Stream.log
        log.clear()
        here, *others = side_by_side([where] * 3, backend)
        again = side_by_side([where] * 3, backend)[1:]
        after = backend.xp.cuda.get_current_stream().ptr, backend.stream.ptr
    assert here == after == (common, common)
    own = {used for used, _ in others}
    assert len(own) == 2 and common not in own and all(used == ours for used, ours in others)
    assert {used for used, _ in again} == own, "streams are used again"
    # both begin behind what the caller had asked for when it called, not behind what its own task asks
    assert [entry[:2] for entry in log[:2]] == [("record", common)] * 2
    for stream in own:
        mine = [place for place, (_, on, _) in enumerate(log) if on == stream][:2]
        assert [log[place][0] for place in mine] == ["wait", "record"]
        begins, ends = (log[place][2] for place in mine)
        assert ("record", common, begins) in log[:2] and ("wait", common, ends) in log[mine[1] :]


@pytest.mark.parametrize("mode", ["subspace", "fused", "circuit"])
def test_rehearsal_of_solves_on_streams_of_their_own(mode: str) -> None:
    """The quantum solve in the second thread: its kernels, its graphs and its gates are on the second stream."""
    with rehearse() as backend:
        alone = [task() for task in solves(backend, mode)]
        with record_stages() as events:
            together = side_by_side(solves(backend, mode), backend)
        handles = [stream.custatevec for stream in (backend._common_stream, *backend._idle_streams)]
    for a, b in zip(alone, together, strict=True):
        assert a.solved and b.solved and np.array_equal(a.x, b.x)
    assert {e.track for e in events if e.name == "solve"} == {0, 1}
    assert all(e.device_seconds is not None for e in events)
    if mode == "circuit":
        assert len({handle for _, handle in handles}) == 2, "a handle for each stream"


def test_rehearsal_of_a_recorded_graph_leaves_cupy_on_the_stream_of_torch() -> None:
    """Also where torch is not on the default stream: the stand-ins refuse to compute on two streams."""
    H, b = np.diag(np.linspace(0.02, 1.0, 8)), np.ones(8)
    with rehearse() as default, torch.cuda.stream(torch.cuda.Stream()):
        backend = type(default)(0)
        solution = qn.solve(H, b, solver="qsvt", mode="subspace", backend=backend)
        assert solution.solved and solution.queries > 64  # long enough for a graph
        assert backend.xp.cuda.get_current_stream().ptr == torch.cuda.current_stream().cuda_stream != 0
        backend.xp.cuda.Stream.null.use()


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["subspace", "fused", "circuit"])
def test_solves_on_streams_of_their_own_are_those_one_after_the_other(gpu: Any, mode: str) -> None:
    alone = [task() for task in solves(gpu, mode)]
    together = side_by_side(solves(gpu, mode), gpu)
    for a, b in zip(alone, together, strict=True):
        assert a.solved and b.solved and np.allclose(a.x, b.x, rtol=1e-12, atol=1e-14)


@pytest.mark.gpu
def test_kernels_of_two_tasks_are_on_two_streams_of_the_device(gpu: Any) -> None:
    streams = side_by_side([lambda: torch.cuda.current_stream().cuda_stream] * 2, gpu)
    assert streams[0] == gpu.stream.ptr != streams[1]
    doubled = side_by_side([lambda: gpu.xp.ones(1000) * 2, lambda: gpu.xp.ones(1000) * 3], gpu)
    assert float((doubled[0] + doubled[1]).sum()) == 5000.0
