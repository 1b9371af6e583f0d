"""Signals on the command line: Ctrl-C while modules are being imported, and SIGTERM or SIGUSR1 that stop a run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
SAME_REQUEST_SECONDS = 1.0  # a batch system signals each process of a job, and the job script forwards what it got


@contextmanager
def end_at_once_when_interrupted() -> Iterator[None]:
    """An interrupt inside here ends the process silently: raised in an import, it would leave half-loaded modules."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class StopRequest:
    """Whether a stop signal has arrived, and which; called, it is the `stop` of `Training.run`."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._arrived = 0.0

    def __call__(self) -> bool:
        return self.signal_name is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler: the first signal is a request; a later one has its default effect, which ends the process."""
        now = time.monotonic()
        if self.signal_name is None:
            self.signal_name, self._arrived = signal.Signals(number).name, now
            os.write(2, f"{self.signal_name}: ends after this step; once more ends at once\n".encode())
        elif now - self._arrived > SAME_REQUEST_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Inside here SIGTERM and SIGUSR1 are requests to stop; outside the main thread, which alone may, none is taken."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.note) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
