"""Screened Poisson on grids that no state vector holds, by QSVT on matrix-product states: writes results/tensornet.md.

    python benchmarks/bench_tensornet.py [--quick]

Every row is one `qn.solve` of H x = b, b a matrix-product state. x is checked against the closed-form solution at
sampled entries, and by ||b - H x||/||b|| computed in the network without truncation, both here and not by the solver.
Beside it the same circuit on a state vector (mode="circuit"), until that no longer fits or exceeds --limit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from common import machine

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import NotEnoughMemoryError
from qnewton_gpu.operators import ToeplitzOperator, screened_poisson
from qnewton_gpu.operators.closed_forms import constant_solution, point_solution, sine_solution
from qnewton_gpu.tensor_networks import MatrixProductState
from qnewton_gpu.tensor_networks.functions import constant, delta, sine_mode

RESULTS = Path(__file__).parent / "results" / "tensornet.md"
QUBITS = (12, 16, 20, 24, 28, 32, 36, 40)
QUICK_QUBITS = (12, 20, 40)
KAPPAS = (10.0, 100.0)
SAMPLES = 200
HEADER = (
    "n", "grid", "kappa", "b", "status", "degree", "queries", "bond", "truncation", "entry error", "at walls",
    "residual", "simulated s", "memory", "state vector, simulated s", "state vector, memory",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One right-hand side, and the exact solution at any indices."""

    operator: ToeplitzOperator
    kappa: float
    name: str
    b: MatrixProductState
    exact: Callable[[np.ndarray], np.ndarray] | None
    """None where no closed form is known, and the residual alone tells."""
    indices: np.ndarray
    """Where x is read: at random, and where it is large."""

    @property
    def kind(self) -> tuple[int, float, str]:
        """What a further row of the table shares with this one but for n."""
        return len(self.operator.qubits), self.kappa, self.name


def cases(qubits: int, kappa: float) -> Iterator[Case]:
    """1-D: a point source, a constant, sine modes of low, middle and high frequency; 2-D: three products of sines.

    And a point source in 2-D, at kappa 10: it fills every bond that it is given, so that kappa 100 takes minutes.
    """
    size = 1 << qubits
    everywhere = np.random.default_rng(qubits).integers(0, size, SAMPLES, dtype=np.int64)
    line = screened_poisson([qubits], kappa)
    source = size // 3
    near = np.clip(source + np.arange(-SAMPLES // 2, SAMPLES // 2), 0, size - 1)
    yield Case(
        line, kappa, "point", delta(qubits, source),
        lambda j: point_solution(line, source, j), np.concatenate([everywhere, near]),
    )  # fmt: skip
    yield Case(line, kappa, "constant", constant(qubits), lambda j: constant_solution(line, j), everywhere)
    modes = {(1 + round(part * size),): amplitude for part, amplitude in ((0.0, 1.0), (0.3, -0.7), (0.8, 0.5))}
    yield Case(line, kappa, "3 sines", sines(line, modes), lambda j: sine_solution(line, modes, j), everywhere)
    half = qubits // 2
    plane, side = screened_poisson([half, qubits - half], kappa), 1 << half
    pairs = {(1, 2): 1.0, (1 + round(0.3 * side), 3): -0.7, (5, 1 + round(0.8 * side)): 0.5}
    yield Case(plane, kappa, "3 sines", sines(plane, pairs), lambda j: sine_solution(plane, pairs, j), everywhere)
    if kappa <= 10:
        middle = delta(half, side // 3).kron(delta(qubits - half, side // 3))
        yield Case(plane, kappa, "point", middle, None, everywhere)


def sines(operator: ToeplitzOperator, amplitudes: dict[Any, float]) -> MatrixProductState:
    """sum_m amplitudes[m] s_m, a product of one sine mode an axis."""
    terms = (a * reduce(MatrixProductState.kron, map(sine_mode, operator.qubits, m)) for m, a in amplitudes.items())
    return reduce(MatrixProductState.__add__, terms).compressed()[0]


def chain_cells(case: Case, options: argparse.Namespace) -> list[str]:
    """The solve by matrix-product states and how good it is."""
    began = time.perf_counter()
    solution = qn.solve(
        case.operator, case.b, solver="qsvt", tolerance=options.tolerance, backend=f"tensornet:{options.bond}"
    )
    seconds = time.perf_counter() - began
    shown, errors = solution.resources, ["-", "-"]
    if case.exact is not None:
        size, largest = case.operator.shape[0], abs(case.exact(case.indices)).max()
        walls = np.array([0, 1, 2, size - 3, size - 2, size - 1])
        errors = [f"{abs(solution.x.entries(at) - case.exact(at)).max() / largest:.1e}" for at in (case.indices, walls)]
    left = (case.b - case.operator.as_mpo() @ solution.x).moved(0).norm() / case.b.moved(0).norm()
    return [
        solution.status.value, str(shown["degree"]), str(solution.queries), str(shown["bond_dimension"]),
        f"{shown['truncation_error']:.1e}", *errors, f"{left:.1e}", f"{seconds:.1f}",
        size_of(shown["bytes"]),
    ]  # fmt: skip


class StateVector:
    """The same circuit on all amplitudes; what is beyond the limit at one size is predicted for the next."""

    def __init__(self, tolerance: float, limit: float) -> None:
        self.tolerance, self.limit = tolerance, limit
        self.cpu = select_backend("cpu")
        self.known: dict[tuple[int, float, str], tuple[int, float]] = {}
        """(n, seconds) of the last run of each kind."""

    def cells(self, case: Case) -> list[str]:
        n, encoding = sum(case.operator.qubits), encode(case.operator, self.cpu, "toeplitz")
        needed = 16 << (encoding.system_qubits + encoding.ancilla_qubits)
        memory = size_of(needed)
        if needed > self.cpu.available_bytes():
            return ["does not fit", memory]
        before, seconds = self.known.get(case.kind, (n, 0.0))
        predicted = seconds * 2.0 ** (n - before)
        if predicted > self.limit:
            return [f"not run: {predicted:.3g} predicted", memory]
        runs: list[float] = []
        while sum(runs) < min(1.0, self.limit) and len(runs) < 3:  # short runs are noisy, and predictions rest on them
            began = time.perf_counter()
            try:
                solution = qn.solve(
                    case.operator, case.b.vector(),
                    solver="qsvt", mode="circuit", tolerance=self.tolerance, backend="cpu",
                )  # fmt: skip
            except NotEnoughMemoryError:  # tables and copies take their share, too
                return ["does not fit", memory]
            if not solution.solved:
                return [solution.status.value, memory]
            runs.append(time.perf_counter() - began)
        self.known[case.kind] = n, min(runs)
        return [f"{min(runs):.2g}", memory]


def explain(options: argparse.Namespace) -> str:
    free = size_of(select_backend("cpu").available_bytes())
    return f"""# Screened Poisson beyond any state vector

Made by `make bench-tensornet`, {machine()}. H = c I - sum of the shifts by one point along each axis, Dirichlet walls,
c such that kappa(H) is as stated; QSVT to the relative residual {options.tolerance:g} on matrix-product states of bond
dimension at most {options.bond}, encoding `toeplitz`. `bond` is the largest that the register reached, `truncation` the
sum of the 2-norms dropped from it, `memory` what it took at most. `entry error` is max |x - exact| over max |exact| at
{SAMPLES} random entries and around a point source, `at walls` the same at the six entries next to both ends; the exact
x is a closed form, but for a point source in 2-D, which fills every bond: there the residual alone tells, and it
certifies x although truncation was not small. What is within the tolerance in 2-norm may be off at walls: of a constant
b the layer there has about 2^(-n/2) of the norm, and is dropped once that is below the truncation. `residual` is
||b - H x||/||b|| in the network. Seconds are on the simulated clock, one run each; the first row of a kappa makes its
phase factors. Beside it the same circuit on a state vector, 16 bytes an amplitude (below a second the fastest of up to
3), up to {options.limit:g} s (predicted from the smaller grid) and as long as it fits into the {free} that are free.
"""


def size_of(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three sizes and 10 s for a state vector; writes no file")
    parser.add_argument("--n", type=int, nargs="*", help=f"qubits of the grids (default {QUBITS})")
    parser.add_argument("--kappa", type=float, nargs="*", default=KAPPAS)
    parser.add_argument("--bond", type=int, default=64, help="largest bond dimension (default 64)")
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--limit", type=float, help="seconds a state vector may take (default 300, or 10)")
    parser.add_argument("--output", type=Path, help="where the table is written as markdown")
    options = parser.parse_args(arguments)
    options.n = options.n or (QUICK_QUBITS if options.quick else QUBITS)
    options.limit = options.limit or (10.0 if options.quick else 300.0)
    options.output = options.output or (None if options.quick else RESULTS)
    return options


def main() -> None:
    options = options_of()
    vector, lines = StateVector(options.tolerance, options.limit), [explain(options)]
    for cells in (HEADER, ("---:",) * len(HEADER)):
        lines.append("| " + " | ".join(cells) + " |")
    print("\n".join(lines), flush=True)
    for kappa in options.kappa:
        for n in options.n:
            for case in cases(n, kappa):
                grid = " x ".join(f"2^{axis}" for axis in case.operator.qubits)
                cells = [str(n), grid, f"{kappa:g}", case.name, *chain_cells(case, options), *vector.cells(case)]
                lines.append("| " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
                if options.output:  # a run that is cut off leaves its rows
                    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:  # the user's own cache neither helps nor grows
        os.environ["QNEWTON_CACHE_DIR"] = folder
        main()
