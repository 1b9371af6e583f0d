"""One solver on one task, in a process of its own and within limits; and whether what it returned is right."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from .case import Case

BENCHMARKS = Path(__file__).parents[1]
IMPORT_SECONDS = 120
AGREEMENT = 1e-8
ENCODING = "encoding"
"""Stands for a solver in the rows that say how long our encoding alone takes."""


@dataclass(frozen=True)
class Solver:
    """A file of peers/ in the Python that has it; `own`: with its own encoding, polynomial and phases."""

    name: str
    module: str
    python: Path
    variants: tuple[str, ...]
    own: bool = False


@dataclass(frozen=True)
class Task:
    """n, kappa and epsilon of a system: N = 2^n."""

    exponent: int
    kappa: float
    epsilon: float

    def __str__(self) -> str:
        return f"n = {self.exponent}, kappa {self.kappa:g}, eps {self.epsilon:g}"

    def no_harder_than(self, other: Task) -> bool:
        return self.exponent <= other.exponent and self.kappa <= other.kappa and self.epsilon >= other.epsilon


@dataclass(frozen=True)
class Run:
    """How one solver in one variant fared on one task: seconds and x, or why there are none."""

    task: Task
    solver: str
    variant: str
    seconds: float | None
    status: str = ""
    residual: float = float("nan")
    version: str = ""
    x: np.ndarray | None = None

    @property
    def encoding(self) -> str:
        return self.variant.split(",")[0]

    @property
    def cell(self) -> str:
        return self.status if self.seconds is None else f"{self.seconds:.3g} s"


def run(solver: Solver, variant: str, task: Task, case: Path, limit: float, memory: int, threads: int) -> Run:
    """One solver on one case file in a process of its own, which neither a hang nor an exhausted memory outlives."""
    if not solver.python.exists():
        return Run(task, solver.name, variant, None, "not installed")
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.npz"
        arguments = [solver.module, variant, str(case), str(result), str(limit), str(memory)]
        process = subprocess.Popen(
            [str(solver.python), "-m", "peers.run_case", *arguments],
            cwd=BENCHMARKS,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            _, messages = process.communicate(timeout=IMPORT_SECONDS + 2 * limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Run(task, solver.name, variant, None, f"> {limit:g} s")
        if process.returncode:
            return Run(task, solver.name, variant, None, _why(process.returncode, messages, limit))
        with np.load(result, allow_pickle=False) as file:
            x, seconds, version = file["x"], float(file["seconds"]), str(file["version"])
    return Run(task, solver.name, variant, seconds, "", float("nan"), version, x)


def _why(code: int, messages: str, limit: float) -> str:
    if code == -signal.SIGALRM:
        return f"> {limit:g} s"
    if code in (-signal.SIGSEGV, -signal.SIGABRT) and "bad_alloc" not in messages:
        return f"crashed ({signal.Signals(-code).name})"
    if code == -signal.SIGKILL or any(word in messages for word in ("MemoryError", "bad_alloc", "nsufficient memory")):
        return "out of memory"
    lines = [line for line in messages.splitlines() if line.strip()] or [f"exit {code}"]
    missing = any("ModuleNotFoundError" in line for line in lines)
    return "not installed" if missing else f"failed: {lines[-1].strip()[:40]}"


def checked(runs: list[Run], case: Case) -> list[Run]:
    """The runs of one case with their residuals; a peer that used our phases has to return our x."""
    exact = sp.linalg.spsolve(case.matrix.tocsc(), case.b) if case.size <= 2**12 else None
    ours = {r.encoding: r.x for r in runs if r.solver == "ours" and r.x is not None}
    result = []
    for r in runs:
        if r.x is None:
            result.append(r)
            continue
        x = r.x * np.sign(exact) if r.solver == "Qrisp" and exact is not None else r.x  # it has magnitudes only
        residual = float(np.linalg.norm(case.matrix @ x - case.b) / np.linalg.norm(case.b))
        status = "" if residual <= case.epsilon else f"{r.cell}, but residual {residual:.0e}"
        reference = ours.get(r.encoding)
        if reference is not None:
            difference = float(np.linalg.norm(x - reference) / np.linalg.norm(reference))
            if not difference <= AGREEMENT:
                status = f"another x: {difference:.0e}"
        seconds = None if status else r.seconds
        result.append(replace(r, seconds=seconds, status=status, residual=residual, x=x))
    return result
