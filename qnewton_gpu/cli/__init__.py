"""The command line: `qnewton train | solve | estimate | report | doctor`, one file a command.

A command's file must import quickly; what is heavy is imported in its `run`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "train a network with Newton steps that a scheduler sends to classical or simulated quantum solvers",
    "solve": "solve one linear system from files",
    "estimate": "predict what every solver would cost, without solving",
    "report": "rebuild report.html and timeline.json of a run folder",
    "reproduce": "run the experiments of the Q-Newton paper again and set its claims beside what is measured",
    "doctor": "what this machine can run, and what installs the rest",
}
USAGE_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not that of an option whose help says what happens without it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qnewton", description="Newton's method with classical and simulated quantum linear solvers."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f".{name}", __name__)
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=_Formatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 done, 1 not solved, 2 wrong input, 130 interrupted, 141 the reader of the output went away; 75: `train` was
    stopped by SIGTERM or SIGUSR1, resume it.
    """
    options = build_parser().parse_args(arguments)
    from ..errors import QNewtonError

    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except QNewtonError as error:
        print(f"qnewton {options.command}: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print(f"qnewton {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # what a shell calls the end by SIGPIPE
        sys.stderr.close()
        return BROKEN_PIPE
    except OSError as problem:  # a full disk, say: what is on it already stays
        print(f"qnewton {options.command}: error: {problem}", file=sys.stderr)
        return USAGE_ERROR
