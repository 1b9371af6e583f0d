"""`qnewton train`: the main job, with a live bar on a terminal and one plain line a step in a file.

SIGTERM or SIGUSR1 lets the step that runs come to its end, with its checkpoint, and then ends the run with status 75
(EX_TEMPFAIL: the same run with --resume goes on). Another one, more than a second later, ends the process at once, as
does one before this command has begun; nothing is lost then but the step that ran.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import INTERRUPTED, USAGE_ERROR
from .interrupts import StopRequest, end_at_once_when_interrupted, stop_requests
from .machines import (
    SOLVER_HELP,
    add_machine_arguments,
    add_readout_arguments,
    add_simulation_arguments,
    budget_from,
    computes_on,
    cost_model_from,
    describe,
    readout_from,
)
from .run_text import step_text, summary

if TYPE_CHECKING:
    from ..training import TrainConfig, Training

NO_PROGRESS = 1
STOPPED = os.EX_TEMPFAIL
MOST_THREADS = 256
DAMPING = 0.1


def _widths(text: str) -> tuple[int, ...]:
    """16,16 -> (16, 16); 0 is a network without hidden layer."""
    try:
        return () if text == "0" else tuple(int(width) for width in text.split(","))
    except ValueError:
        problem = f"{text!r} is not a list of widths. Use for example 16,16, or 0 for no hidden layer."
        raise argparse.ArgumentTypeError(problem) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", default="digits", help="digits, mnist, or mnist:PATH")
    add("--hidden", type=_widths, default="16", metavar="16,16", help="widths of the hidden layers; 0 for none")
    add("--curvature", default="ggn", help="ggn, hessian, fisher, or kfac: two small systems for each layer")
    add("--partition", default=None, help="network (one system; the default) or layer (one for each; kfac's only one)")
    add("--solver", default="auto", help=SOLVER_HELP)
    add(
        "--encoding",
        default="auto",
        help="block encoding of the quantum solver: auto, gram, walk, dilation or matching; with kfac of every factor",
    )
    add("--steps", type=int, default=None, help="10 if not given; with --resume, the new total")
    add(
        "--batch-size", type=int, default=None, metavar="B", help="examples a step; the whole training set if not given"
    )
    add("--seed", type=int, default=0, help="of the weights and of the batches")
    add("--damping", type=float, default=DAMPING, help="Levenberg-Marquardt damping of the first step")
    add("--damping-rule", default="lm", help="lm (adapted to each step's success), or paper: 5e-3 max|C| a block")
    add(
        "--damping-floor", type=float, default=None, help="least damping; 1e-8 for the full batch, 0.03 for minibatches"
    )
    add("--weight-decay", type=float, default=1e-4)
    add("--lr", type=float, default=1.0, help="length of a step")
    add("--tolerance", type=float, default=1e-2, help="relative residual of every block of the step")
    add("--density", type=float, default=1.0, help="prune each matrix to this fraction of entries a row")
    add("--compensate", default="diagonal", help="repair after pruning: diagonal, shift or none")
    add("--scaling", default="none", help="none, jacobi, or auto: Jacobi where it lowers kappa")
    add("--max-queries", type=int, default=10**6, help="of one quantum solve")
    add(
        "--cross-check",
        type=float,
        default=0.0,
        metavar="FRACTION",
        help="solve this fraction of the quantum systems in a second mode too, and log the difference",
    )
    add(
        "--schedule",
        default="makespan",
        help="of the systems of a step on the two machines: makespan (the step ends soonest) or paper (each system to "
        "its faster machine)",
    )
    add(
        "--adapt",
        action="store_true",
        help="correct predictions by what solves took, with --calibrate; such a run does not resume bit by bit",
    )
    add("--threads", type=int, default=None, help="CPU threads; all cores if not given")
    add("--out", type=Path, default=None, metavar="RUN", help="run folder; a new one in runs/ if not given")
    add(
        "--resume",
        type=Path,
        default=None,
        metavar="RUN",
        help="continue the run in this folder; its config.json decides",
    )
    add_simulation_arguments(parser)
    add_readout_arguments(parser)
    add_machine_arguments(parser)
    parser.epilog = (
        "Exit status: 0 done, 1 no step was accepted, 2 wrong input or a loss that is not finite, 130 interrupted, "
        f"{STOPPED} stopped by SIGTERM or SIGUSR1: continue with --resume."
    )


def run(options: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads triple the time on a busy machine
    with stop_requests() as stop:
        with end_at_once_when_interrupted():
            training = _prepare(options)
        _introduce(training)
        return _train(training, stop)


def _train(training: Training, stop: StopRequest) -> int:
    """Train, report, and say how to go on where the run is not at its end; returns the exit status."""
    from ..errors import NonFiniteLossError

    problem, status = None, 0
    try:
        _train_with_progress(training, stop)
        if stop() and training.step < training.config.steps:
            problem, status = f"stopped by {stop.signal_name}", STOPPED
    except KeyboardInterrupt:
        problem, status = "interrupted", INTERRUPTED
    except NonFiniteLossError as error:
        problem, status = str(error), USAGE_ERROR
    lines = training.folder.steps()
    _finish(training, lines)
    if problem is None:
        return 0 if any(line["accepted"] for line in lines) else NO_PROGRESS
    print(f"{problem}; nothing is lost: qnewton train --resume {training.folder.path}", file=sys.stderr)
    return status


def _prepare(options: argparse.Namespace) -> Training:
    """Everything before the first step: imports, data, and the run folder or what a former run left in it."""
    import torch

    from ..errors import ParameterError
    from ..runfolder import RunFolder
    from ..training import Training

    if options.threads is not None:
        if not 1 <= options.threads <= MOST_THREADS:
            problem = f"{options.threads} is not from 1 to {MOST_THREADS}"
            raise ParameterError("threads", problem, "Use the cores you have")
        torch.set_num_threads(options.threads)
    elif options.resume is not None:
        # the same number of threads sums in the same order: what makes a resumed run bit-identical
        torch.set_num_threads(int(RunFolder.open(options.resume).config.get("threads", torch.get_num_threads())))
    if options.resume is None:
        return Training(config_from(options), None, options.out)
    _check_resumed(options)
    training = Training.resume(options.resume, options.steps)
    print(f"resumed {training.folder.path} at step {training.step} of {training.config.steps}")
    return training


def _check_resumed(options: argparse.Namespace) -> None:
    """A resumed run is decided by its config.json: only the number of steps may be changed, and the threads."""
    from ..errors import CombinationError

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args([]))
    free = {"resume", "steps", "threads"}
    changed = [name for name, value in defaults.items() if name not in free and getattr(options, name) != value]
    if changed:
        given = ", ".join("--" + name.replace("_", "-") for name in changed)
        raise CombinationError("--resume", f"does not go with {given}", "Leave them out; --steps extends the run")


def config_from(options: argparse.Namespace) -> TrainConfig:
    from ..errors import CombinationError
    from ..training import TrainConfig

    floor = options.damping_floor
    if options.damping_rule == "paper" and (floor is not None or options.damping != DAMPING):
        problem = "paper chooses the damping of every block, so --damping and --damping-floor would do nothing"
        raise CombinationError("--damping-rule", problem, "Leave them out, or use --damping-rule lm")
    if floor is None:
        floor = 1e-8 if options.batch_size is None else 0.03
    model = cost_model_from(options)
    return TrainConfig(
        data=options.data,
        hidden=options.hidden,
        curvature=options.curvature,
        partition=options.partition,
        solver=options.solver,
        encoding=options.encoding,
        mode=options.mode,
        backend=options.backend,
        density=options.density,
        compensate=options.compensate,
        scaling=options.scaling,
        damping=options.damping,
        damping_rule=options.damping_rule,
        damping_floor=floor,
        weight_decay=options.weight_decay,
        lr=options.lr,
        tolerance=options.tolerance,
        max_queries=options.max_queries,
        register_budget=budget_from(options),
        precision=options.precision,
        readout=readout_from(options, options.seed),
        steps=10 if options.steps is None else options.steps,
        batch_size=options.batch_size,
        seed=options.seed,
        cross_check=options.cross_check,
        comparison=model.comparison,
        schedule=options.schedule,
        adapt=options.adapt,
        hardware=model.hardware,
        classical=model.classical,
    )


def _introduce(training: Training) -> None:
    config = training.config
    widths = [training.data.train_inputs.shape[1], *config.hidden, training.data.classes]
    print(
        f"{config.data}: {len(training.data.train_inputs)} training, {len(training.data.test_inputs)} test examples, "
        f"network {'-'.join(map(str, widths))}, {config.curvature}, seed {config.seed}"
    )
    print(computes_on(training.optimizer.scheduler.backend, config.backend))
    print(describe(config.model))
    if config.adapt:
        print("adapts: predictions are corrected by what solves took, so this run is not bit-identical when resumed")
    if not config.readout.exact:
        shots = config.readout.shots_per_unknown
        print(f"readout by shots: {shots} N for magnitudes and {shots} N for signs in every round, charged as they are")
    sys.stdout.flush()


def _train_with_progress(training: Training, stop: StopRequest) -> None:
    if not sys.stdout.isatty():
        training.run(lambda line: print(step_text(line), flush=True), stop)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("first step", total=training.config.steps, completed=training.step)

        def show(line: dict[str, Any]) -> None:
            progress.console.print(step_text(line, brief=True), highlight=False, soft_wrap=True)
            system = max(line["systems"], key=lambda s: s["kappa"] or float("inf"))
            progress.update(
                task,
                advance=1,
                description=f"loss {line['loss']:.4f}  accuracy {line['accuracy']:.4f}  "
                f"kappa {system['kappa'] or float('inf'):.0f}  {system['solver']}",
            )

        training.run(show, stop)


def _finish(training: Training, lines: list[dict[str, Any]]) -> None:
    from ..report import build_report

    build_report(training.folder)
    print(summary(lines, training.config.cross_check))
    print(f"run folder: {training.folder.path}  (report.html, timeline.json, steps.jsonl, checkpoint.pt)")
