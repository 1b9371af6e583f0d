"""`qnewton report`: rebuild report.html and timeline.json of a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that qnewton train printed")


def run(options: argparse.Namespace) -> int:
    from ..report import build_report
    from ..runfolder import REPORT, TIMELINE, RunFolder

    folder = RunFolder.open(options.run_folder)
    build_report(folder)
    print(f"written: {folder.path / REPORT}\nwritten: {folder.path / TIMELINE}  (opens in Perfetto)")
    return 0
