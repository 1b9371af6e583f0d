"""A run folder that keeps its log in memory."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from qnewton_gpu.runfolder import RunFolder


class Discarded(RunFolder):
    """Keeps the log in memory: these tests are about the training, not about files."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.lines: list[dict[str, Any]] = []

    def append(self, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def steps(self) -> list[dict[str, Any]]:
        return self.lines

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        self.state = state

    def locked(self):  # type: ignore[no-untyped-def]
        return nullcontext()
