"""The command line: `qnewton train | solve | estimate | report | reproduce | doctor`, one file a command.

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
        known = [name for action in command._actions for name in action.option_strings]
        command.set_defaults(run=module.run, known=known)
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; what is no option of the command ends with what may have been meant."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    mistyped = [word.partition("=")[0] for word in unknown if word.startswith("--")]
    if unknown:
        from difflib import get_close_matches  # not before somebody mistypes

        near = [match for word in mistyped for match in get_close_matches(word, options.known, n=1)]
        meant = f" (did you mean {', '.join(near)}?)" if near else ""
        problem = f"unrecognized arguments: {' '.join(unknown)}{meant}; see qnewton {options.command} --help"
        parser.exit(USAGE_ERROR, f"qnewton {options.command}: error: {problem}\n")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 done, 1 not solved, 2 wrong input, 130 interrupted, 141 the reader of the output went away; 75: `train` was
    stopped by SIGTERM or SIGUSR1, resume it.
    """
    options = _parse(arguments)
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
