"""Tasks that run at the same time: a thread each, and on a GPU a stream each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from .backends.base import Backend
from .stages import Track

T = TypeVar("T")


def side_by_side(tasks: Sequence[Callable[[], T]], backend: Backend) -> list[T]:
    """The results of the tasks, in their order; the first task runs in the thread of the caller, on its stream.

    Each of the others has a thread and, on a GPU, a stream of its own, which follows what the caller has enqueued and
    is followed by what the caller enqueues afterwards; torch's grad mode is the caller's. Their stages are recorded
    with those of the caller, on tracks 1, 2, ... Tasks must not write what another of them reads. Where tasks raise,
    the exception of the first of them in this order is raised after all have ended, as is an interrupt; a second
    interrupt does not wait.

    >>> from qnewton_gpu import select_backend
    >>> side_by_side([lambda: "classical", lambda: "quantum"], select_backend("cpu"))
    ['classical', 'quantum']
    """
    if len(tasks) < 2:
        return [task() for task in tasks]
    tracks = [Track(number) for number in range(1, len(tasks))]
    streams = [backend.own_stream() for _ in tracks]  # asked for here: they follow what is enqueued so far
    try:
        with ThreadPoolExecutor(len(tracks)) as threads:
            others = [
                threads.submit(track.run, _on(stream, task))
                for track, stream, task in zip(tracks, streams, tasks[1:], strict=True)
            ]
            first = tasks[0]()
            wait(others)
    finally:
        for track in tracks:
            track.close()
    return [first, *(other.result() for other in others)]


def _on(stream: AbstractContextManager[None], task: Callable[[], T]) -> Callable[[], T]:
    torch = sys.modules.get("torch")
    grad = None if torch is None else torch.is_grad_enabled()  # of this thread: a new one begins with True

    def run() -> T:
        with stream, nullcontext() if torch is None else torch.set_grad_enabled(grad):
            return task()

    return run


__all__ = ["side_by_side"]
