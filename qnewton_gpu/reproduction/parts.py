"""The whole reproduction: trains, sweeps, writes tables and figures, and sets the paper's claims beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..costs import ClassicalMachine
from ..errors import CombinationError, ParameterError, UnknownNameError
from . import sweeps
from .claims import write_claims
from .figures import draw
from .runs import FIRST_ORDER, NEWTON, STEPS, Problem, Row, Run, Tell, load_problem, silent, train
from .tables import Folder

PARTS = ("time", "conditioning", "pruning", "regularisation", "width")
SWEEPS: dict[str, Callable[[Problem, int, ClassicalMachine], Iterator[Row]]] = {
    "pruning": sweeps.pruning_table,
    "regularisation": sweeps.regularisation_table,
    "width": sweeps.width_table,
}


def reproduce(
    part: str,
    out: Path,
    *,
    data: str = "digits",
    steps: int | None = None,
    seed: int = 0,
    machine: str = "reference",
    tell: Tell = silent,
) -> Folder:
    """Run one part of PARTS or "all" and fill the folder `out`: CSV tables, PNG figures, settings.json, claims.md.

    `steps` are those of every Newton training; None: 60 on digits and 28 (two epochs, as released) on MNIST, in sweeps
    fewer (SWEEP_STEPS). Each part is on disk when the next begins, and so are the claims that it decides. "all" leaves
    pruning out where the data make layers too large to be formed. Raises UnknownNameError, ParameterError,
    RunFolderError where `out` is not empty, what `load_data` raises, and CombinationError for such a pruning.
    """
    if part not in (*PARTS, "all"):
        raise UnknownNameError.among("part", part, (*PARTS, "all"))
    if steps is not None and not 1 <= steps <= 100_000:
        raise ParameterError("steps", f"{steps!r} is not between 1 and 100000", "Use for example 20")
    classical = ClassicalMachine.load(machine)
    problem = load_problem(data, seed)
    names = [name for name in PARTS if part in (name, "all")]
    if "pruning" in names:
        try:
            sweeps.check_pruning(problem)
        except CombinationError as error:
            if part == "pruning":
                raise
            tell(f"pruning: left out ({error.problem})")
            names.remove("pruning")
    kind = "digits" if data == "digits" else "mnist"
    folder = Folder.create(out)
    folder.write_json("settings", sweeps.settings(problem, steps or STEPS[kind], classical))
    runs: dict[str, Run] = {}
    for name in names:
        try:
            if name in SWEEPS:
                rows = SWEEPS[name](problem, steps or sweeps.SWEEP_STEPS[kind][name], classical)
                folder.write(name, told(name, rows, tell))
            else:
                _train_all(name, problem, steps or STEPS[kind], runs, folder, tell)
                table = sweeps.time_table(runs, classical) if name == "time" else sweeps.conditioning_table(runs)
                folder.write(name, list(table))
                if name == "conditioning":
                    folder.write("estimator", sweeps.estimator_table(problem))
        except BaseException:
            write_claims(folder, unfinished=name)  # of what is there
            raise
        write_claims(folder)
        tell(f"{name}: {', '.join(draw(name, folder))}")
    return folder


def _train_all(name: str, problem: Problem, steps: int, runs: dict[str, Run], folder: Folder, tell: Tell) -> None:
    """The trainings that a part needs and that are not there yet."""
    for method in (*NEWTON, *FIRST_ORDER) if name == "time" else ("newton-hessian", "newton-fisher"):
        if method not in runs:
            runs[method] = run = train(method, problem, steps, tell)
            folder.write("steps", run.steps)
            folder.write("systems", run.systems)
            accuracy = run.steps[-1]["test_accuracy"] if run.steps else float("nan")
            tell(f"{name}: {method}, {len(run.steps)} steps, test accuracy {accuracy:.4f}")


def told(name: str, rows: Iterable[Row], tell: Tell) -> Iterator[Row]:
    """The same rows, each with a line of progress once it is taken."""
    for row in rows:
        yield row
        first, second = list(row.items())[:2]
        accuracy = math.nan if row["test_accuracy"] is None else row["test_accuracy"]
        tell(
            f"{name}: {first[0]} {first[1]}, {second[0]} {second[1]:g}, kappa {row['kappa_first']:.3g} to "
            f"{row['kappa_last']:.3g}, test accuracy {accuracy:.4f}"
        )
