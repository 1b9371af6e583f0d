"""The run folder: config.json, steps.jsonl, checkpoint.pt, and the two files made from them.

checkpoint.pt is the truth: on resume, log lines of later steps and torn lines are dropped. Whatever moment a process
is killed at, each of these files is either whole or absent.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import RunFolderError

CONFIG, STEPS, CHECKPOINT = "config.json", "steps.jsonl", "checkpoint.pt"
REPORT, TIMELINE = "report.html", "timeline.json"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path` and rename it: a reader sees the old file or the new one, never a half."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes private files
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON for logs and scripts: infinities and NaN, which JSON lacks, become null."""
    return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


class RunFolder:
    """One training run on disk. Use `create` for a new one and `open` for one that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunFolder:
        """Make the folder, or take an empty one: a run is there from the moment that its config.json is.

        Raises RunFolderError where something is there already, or where nothing can be written.
        """
        try:
            if path.exists() and not path.is_dir():
                raise RunFolderError("out", f"{path} is a file", "Choose another name for the run folder")
            if path.exists() and any(not entry.name.startswith(f".{CONFIG}.") for entry in path.iterdir()):
                remedy = "Choose another folder"
                if (path / CONFIG).is_file():
                    remedy += f", or continue the run with --resume {path}"
                raise RunFolderError("out", f"{path} exists already", remedy)
            path.mkdir(parents=True, exist_ok=True)
            folder = cls(path)
            folder.clear_leftovers()
            folder.save_config(config)
        except OSError as problem:
            what = f"{path} cannot be made ({problem})"
            raise RunFolderError("out", what, "Choose a folder that can be written") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in `path`; raises RunFolderError where there is none."""
        if not (path / CONFIG).is_file():
            raise RunFolderError(
                "run", f"{path} holds no {CONFIG}", "Pass the folder that `qnewton train` printed at its end"
            )
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        try:
            config: dict[str, Any] = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it holds no object")
        except (OSError, ValueError) as problem:
            raise RunFolderError(
                "run", f"{self.path / CONFIG} cannot be read ({problem})", "Start the run again"
            ) from None
        if config.get("comparison") == "paper" and "schedule" not in config:
            config["comparison"] = "ideal"  # what `paper` was called before the paper's formula had a name
        return config

    def save_config(self, config: dict[str, Any]) -> None:
        write_atomically(self.path / CONFIG, json.dumps(config, indent=2).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; raises RunFolderError while another one trains in it."""
        descriptor = os.open(self.path, os.O_RDONLY)  # the folder: config.json may be replaced
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunFolderError(
                    "run", f"another process trains in {self.path}", "Wait for it or stop it"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def append(self, line: dict[str, Any]) -> None:
        with (self.path / STEPS).open("a", encoding="utf-8") as file:
            file.write(to_json(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def steps(self) -> list[dict[str, Any]]:
        """The logged steps, in order, up to the first line that is torn or no step."""
        lines = []
        if (self.path / STEPS).is_file():
            for text in (self.path / STEPS).read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    break
                if not (isinstance(line, dict) and isinstance(line.get("step"), int)):
                    break
                lines.append(line)
        return lines

    def keep_steps_before(self, step: int) -> None:
        """Drop the log lines of `step` and later, and torn ones."""
        kept = [line for line in self.steps() if line["step"] < step]
        write_atomically(self.path / STEPS, "".join(to_json(line) + "\n" for line in kept).encode())

    def clear_leftovers(self) -> None:
        """Temporary files of a process that was killed while it wrote them."""
        for name in (CONFIG, STEPS, CHECKPOINT):
            for leftover in self.path.glob(f".{name}.*"):
                leftover.unlink(missing_ok=True)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        import io

        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.path / CHECKPOINT, buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint, or None before the first; loaded with weights_only."""
        import torch

        path = self.path / CHECKPOINT
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as problem:  # torch raises many kinds for a damaged file
            raise RunFolderError("run", f"{path} is damaged ({problem})", "Start the run again") from None
        return state


def default_path(name: str) -> Path:
    """runs/<name>-<date and time>, with a number behind it where that is taken."""
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path
