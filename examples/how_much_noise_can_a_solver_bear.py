"""How much noise can a quantum linear solver bear?

Solves one positive definite system, kappa 10 and 50, on circuits whose phases are wrong by a random angle, or whose
register meets a depolarising error after every query. Shown are the residual after one round at accuracy 1e-2, and in
how many rounds refinement reaches 1e-6, if it does: it does while a round still removes more error than it adds.

    python examples/how_much_noise_can_a_solver_bear.py
    python examples/how_much_noise_can_a_solver_bear.py --plot noise.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

import qnewton_gpu as qn

SOLVERS = ("qsvt", "kernel_reflection")
KAPPAS = (10, 50)
PHASE_ERRORS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DEPOLARISING = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
TOLERANCE = 1e-6
KINDS = {"phase_error": "error of every phase, rad", "depolarising": "depolarising probability of a query"}


@dataclass(frozen=True)
class Trial:
    """One system, solved under noise of one kind and size."""

    solver: str
    kappa: int
    kind: str
    size: float
    solution: qn.Solution

    @property
    def first_residual(self) -> float:
        return max(self.solution.history[0]["relative_residual"])

    @property
    def success(self) -> float:
        return min(self.solution.history[0]["success_probability"])

    @property
    def outcome(self) -> str:
        if self.solution.solved:
            return f"{TOLERANCE:.0e} in {len(self.solution.history)} rounds"
        return f"stays at {self.solution.relative_residual:.0e}"


def system(kappa: float, size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A dense positive definite matrix with eigenvalues from 1/kappa to 1, and a right-hand side."""
    random = np.random.default_rng(seed)
    vectors = np.linalg.qr(random.standard_normal((size, size)))[0]
    A = (vectors * np.geomspace(1 / kappa, 1, size)) @ vectors.T
    return (A + A.T) / 2, random.standard_normal(size)


def trials(trajectories: int, seed: int) -> list[Trial]:
    found = []
    for kappa in KAPPAS:
        A, b = system(kappa)
        bounds = qn.SpectrumBounds(1 / kappa, 1.0, certified=True, matvecs=0, method="made so")
        for solver in SOLVERS:
            for kind, sizes in (("phase_error", PHASE_ERRORS), ("depolarising", DEPOLARISING)):
                for size in sizes:
                    noise = qn.Noise(**{kind: size}, trajectories=trajectories, seed=seed)
                    solution = qn.solve(
                        A, b, solver=solver, encoding="walk", noise=noise, tolerance=TOLERANCE, bounds=bounds
                    )
                    found.append(Trial(solver, kappa, kind, size, solution))
    return found


def table(found: list[Trial]) -> str:
    """For each kind and kappa a line for each size of the noise, the solvers side by side."""
    lines = []
    for kind, name in KINDS.items():
        for kappa in KAPPAS:
            mine = [trial for trial in found if (trial.kind, trial.kappa) == (kind, kappa)]
            heads = [f"{solver:>12.17s}: p   residual 1   refined" for solver in SOLVERS]
            lines += ["", f"{name}, kappa {kappa}", "   size   " + "   ".join(f"{head:45s}" for head in heads)]
            for size in dict.fromkeys(trial.size for trial in mine):
                cells = [
                    f"{trial.success:14.2f}   {trial.first_residual:10.1e}   {trial.outcome:18s}"
                    for trial in mine
                    if trial.size == size
                ]
                lines.append(f"{size:7.0e}   " + "   ".join(cells))
    return "\n".join(lines[1:])


def plot(found: list[Trial], file: str) -> None:
    """Residual of one round against the size of the noise; hollow markers are solves that never reached 1e-6."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True, layout="constrained")
    for panel, (kind, name) in zip(panels, KINDS.items(), strict=True):
        for solver, colour in zip(SOLVERS, ("tab:blue", "tab:orange"), strict=True):
            for kappa, (line, marker) in zip(KAPPAS, (("-", "o"), ("--", "s")), strict=True):
                mine = [t for t in found if (t.solver, t.kappa, t.kind) == (solver, kappa, kind)]
                x, y = [t.size for t in mine], [t.first_residual for t in mine]
                panel.loglog(x, y, line, color=colour, label=f"{solver}, kappa {kappa}")
                for t in mine:
                    fill = colour if t.solution.solved else "white"
                    panel.loglog(t.size, t.first_residual, marker, color=colour, markerfacecolor=fill, markersize=7)
        panel.set_xlabel(name)
        panel.grid(True, which="major", alpha=0.3)
    panels[0].set_ylabel("relative residual after one round")
    panels[0].legend(frameon=False)
    figure.suptitle(f"One round at accuracy 1e-2 under noise; hollow: refinement does not reach {TOLERANCE:.0e}")
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="FILE", help="draw the residuals into this file, noise.png for example")
    parser.add_argument("--trajectories", type=int, default=16, help="pure states that stand for a mixed one")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    options = parser.parse_args()
    found = trials(options.trajectories, options.seed)
    print(table(found))
    if options.plot:
        plot(found, options.plot)
        print(f"\n{options.plot} written")


if __name__ == "__main__":
    main()
