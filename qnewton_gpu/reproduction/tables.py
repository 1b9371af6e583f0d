"""The output folder: each row is in its CSV file as soon as it is known, and can be read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, RunFolderError

Row = dict[str, Any]


class Folder:
    """Tables as CSV files with one header line; numbers are written with 10 digits, None as an empty field."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, list[Row]] = {}

    @classmethod
    def create(cls, path: Path) -> Folder:
        """A new or empty folder; raises RunFolderError where there is something else."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunFolderError("--out", f"{path} exists and is not an empty folder", "Choose another folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunFolderError("--out", f"{path} cannot be made ({problem})", "Choose another folder") from None
        return cls(path)

    def write(self, name: str, rows: Iterable[Row]) -> list[Row]:
        """Append rows to a table as they come, each flushed; returns them."""
        written = []
        self._read.pop(name, None)
        file = self.path / f"{name}.csv"
        fields: list[str] | None = None
        if file.is_file():
            with file.open(newline="", encoding="utf-8") as earlier:
                fields = next(csv.reader(earlier), None)
        with file.open("a", newline="", encoding="utf-8") as target:
            for row in rows:
                new, fields = fields is None, fields or list(row)
                writer = csv.DictWriter(target, fields, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow({key: _shown(value) for key, value in row.items()})
                target.flush()
                written.append(row)
        return written

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        (self.path / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def read(self, name: str) -> list[Row]:
        """The rows of a table, [] where there is none; numbers as float, empty fields as None."""
        if name not in self._read:
            self._read[name] = self._rows_of(self.path / f"{name}.csv")
        return self._read[name]

    @staticmethod
    def _rows_of(file: Path) -> list[Row]:
        if not file.is_file():
            return []
        with file.open(newline="", encoding="utf-8") as source:
            rows = list(csv.DictReader(source))
        if any(None in row for row in rows):
            raise FileFormatError("folder", f"{file} has rows longer than its header", "Make it again")
        return [{key: _value(text) for key, text in row.items()} for row in rows]

    def read_json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.path / f"{name}.json").read_text(encoding="utf-8"))
        return content


def _shown(value: Any) -> Any:
    return f"{value:.10g}" if isinstance(value, float) else value


def _value(text: str) -> Any:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text
