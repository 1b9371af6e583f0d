"""`qnewton reproduce`: the experiments of the Q-Newton paper (arXiv 2405.00252), with its claims beside the results."""

from __future__ import annotations

import argparse
from pathlib import Path

from .interrupts import end_at_once_when_interrupted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "part",
        nargs="?",
        default="all",
        metavar="PART",
        help="time (gate times of 1 ns to 1 as), conditioning (kappa and row mass along training), pruning, "
        "regularisation, width, or all",
    )
    add("--data", default="digits", help="digits, mnist, or mnist:PATH with IDX files")
    add("--steps", type=int, help="of every Newton training; without it 60 on digits, 28 on MNIST, fewer in sweeps")
    add("--seed", type=int, default=0, help="of weights and batches")
    add(
        "--machine", default="reference", help="classical machine of the projected clock: a shipped name or a JSON file"
    )
    add("--out", type=Path, metavar="FOLDER", help="new or empty folder; without it runs/reproduce-PART-DATA")


def run(options: argparse.Namespace) -> int:
    with end_at_once_when_interrupted():
        from ..reproduction import reproduce

    out = options.out or Path("runs", f"reproduce-{options.part}-{options.data.split(':')[0]}")
    folder = reproduce(
        options.part,
        out,
        data=options.data,
        steps=options.steps,
        seed=options.seed,
        machine=options.machine,
        tell=lambda line: print(line, flush=True),
    )
    print()
    for claim in folder.read("claims"):
        print(f"{claim['verdict']}: {claim['claim']}\n    {claim['measured']}")
    print(f"\ntables, figures and claims.md are in {folder.path}")
    return 0
