"""What a run folder shows: report.html for a reader, timeline.json for Perfetto, both from config.json and steps.jsonl.

Two clocks, never mixed: `simulated` seconds were measured on the machine of the run, `projected` seconds are those of
the stated machines. Steps are counted from 1, as `qnewton train` prints them; steps.jsonl counts from 0.
"""

from __future__ import annotations

import json

from ..runfolder import REPORT, TIMELINE, RunFolder, write_atomically
from .log import RunLog
from .page import page
from .timeline import timeline


def build_report(folder: RunFolder) -> None:
    """Write report.html and timeline.json of this run; whatever was logged so far is enough, even nothing.

    Raises RunFolderError where config.json cannot be read or is not one of this version.
    """
    log = RunLog.read(folder)
    write_atomically(folder.path / TIMELINE, json.dumps(timeline(log), allow_nan=False).encode())
    write_atomically(folder.path / REPORT, page(log).encode())


__all__ = ["build_report"]
