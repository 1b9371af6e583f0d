"""How large is kappa, and what does it cost to know?

Trains 64-16-10 on digits and asks every estimator for kappa of the curvature matrices on the way: Gauss-Newton with the
step's damping, for the network and for its layers, the empirical Fisher matrix, the full Hessian, which is indefinite,
and where MNIST is on this machine the layer blocks of 784-16-10. Beside each stand the true kappa (from all
eigenvalues), the vectors that were multiplied, the O(N^3) factorisations, the simulated seconds of this machine, the
side on which it errs, and whether a proof stands behind it.

    python examples/how_large_is_kappa.py
    python examples/how_large_is_kappa.py --plot kappa.png
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import qnewton_gpu as qn
from qnewton_gpu.conditioning import KappaEstimate, kappa_estimates
from qnewton_gpu.conditioning.kappa import ESTIMATORS, NEED_ARRAY, NEED_SEMIDEFINITE
from qnewton_gpu.curvature import Objective, make_curvature
from qnewton_gpu.curvature.gauss_newton import GaussNewton
from qnewton_gpu.data import load_data
from qnewton_gpu.errors import MissingDataError
from qnewton_gpu.systems import TorchFactor

BACKEND = qn.select_backend("cpu")
LARGEST_ARRAY = 4000
MNIST_EXAMPLES = 200  # so that the first layer's kappa follows from the m x m matrix G G^t


@dataclass(frozen=True)
class Matrix:
    """A damped curvature matrix H + damping I, and its true kappa."""

    name: str
    operator: Any
    damping: float
    semidefinite: bool
    truth: float

    @property
    def options(self) -> dict[str, Any]:
        """What `kappa_estimates` has to be told; a Gram operator brings its own damping."""
        if isinstance(self.operator, qn.GramOperator):
            return {}
        return {"damping": self.damping, "semidefinite": self.semidefinite}


def kappa_of(H: np.ndarray, damping: float) -> float:
    magnitudes = np.abs(np.linalg.eigvalsh(H) + damping)
    return float(magnitudes.max() / magnitudes.min())


def gauss_newton(name: str, objective: Objective, theta: torch.Tensor, block: slice, damping: float) -> Matrix:
    """A block of the Gauss-Newton matrix by products; its true kappa from the smaller one of G^t G and G G^t."""
    factor = GaussNewton(objective, theta, block)
    m, n = factor.shape
    if m < n:
        rows = factor.rows()
        truth = 1 + float(torch.linalg.eigvalsh(rows @ rows.T)[-1]) / damping  # G^t G is singular
    else:
        truth = kappa_of(factor.dense().numpy(), damping)
    operator = qn.GramOperator(TorchFactor(factor, BACKEND), damping, BACKEND)
    return Matrix(f"{name}, N = {n}", operator, damping, True, truth)


def network(inputs: int) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(inputs, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))


def digits(steps: tuple[int, ...]) -> Iterator[Matrix]:
    data = load_data("digits")
    model, loss = network(64), torch.nn.CrossEntropyLoss()
    optimizer = qn.QNewton(model, loss, scheduler=qn.Scheduler(solver="cholesky", backend="cpu"))
    for step in range(max(steps) + 1):
        if step in steps:
            objective = Objective(model, loss, data.train_inputs, data.train_targets)
            theta, damping = objective.parameters.vector(), optimizer.param_groups[0]["damping"]
            where = f"digits, step {step}, damping {damping:.3g}: "
            yield gauss_newton(where + "GGN of the network", objective, theta, slice(0, theta.numel()), damping)
            if step == max(steps):
                for name, block in objective.parameters.layers().items():
                    yield gauss_newton(where + f"GGN of layer {name}", objective, theta, block, damping)
                for name, semidefinite in (("fisher", True), ("hessian", False)):
                    H = make_curvature(name, objective, theta).dense().detach().numpy()
                    title = {"fisher": "empirical Fisher", "hessian": "Hessian, indefinite"}[name]
                    yield Matrix(f"{where}{title}, N = {len(H)}", H, damping, semidefinite, kappa_of(H, damping))
        optimizer.step(data.train_inputs, data.train_targets)


def mnist() -> Iterator[Matrix]:
    """Layer blocks of 784-16-10 at the start; the first one is a matrix of 12,560 rows that is never formed."""
    data = load_data("mnist")
    part = slice(0, MNIST_EXAMPLES)
    model = network(784)
    objective = Objective(model, torch.nn.CrossEntropyLoss(), data.train_inputs[part], data.train_targets[part])
    theta = objective.parameters.vector()
    for name, block in objective.parameters.layers().items():
        yield gauss_newton(f"MNIST, start, damping 0.1: GGN of layer {name}", objective, theta, block, 0.1)


def matrices(steps: tuple[int, ...]) -> Iterator[Matrix]:
    yield from digits(steps)
    try:
        yield from mnist()
    except MissingDataError as missing:
        print(f"\nMNIST is left out: {missing}")


def estimates(matrix: Matrix) -> Iterator[tuple[KappaEstimate, float]]:
    """Every estimate that applies, and the simulated seconds it took; of a large matrix those that need no array."""
    for name in ESTIMATORS:
        too_large = name in NEED_ARRAY and matrix.operator.shape[0] > LARGEST_ARRAY
        if too_large or (name in NEED_SEMIDEFINITE and not matrix.semidefinite):
            continue
        began = time.perf_counter()
        (found,) = kappa_estimates(matrix.operator, methods=[name], backend=BACKEND, **matrix.options)
        yield found, time.perf_counter() - began


def power_of_ten(exponent: float) -> str:
    return f"{10**exponent:.4g}" if exponent < 6 else f"1e{exponent:.1f}"


def line(found: KappaEstimate, seconds: float, truth: float) -> str:
    ratio = power_of_ten(found.log10_kappa - math.log10(truth))
    work = f"{found.matvecs:9d}" + (f" + {found.factorisations} LU" if found.factorisations else "     ")
    proof = "-"
    if found.certified:
        proof = (
            f"certified, wrong with P < {found.failure_probability:.0e}" if found.failure_probability else "certified"
        )
    return (
        f"  {found.method:22s}{power_of_ten(found.log10_kappa):>10s}{ratio:>12s}{work}{seconds:10.3f}"
        f"   {found.errs:7s}  {proof}"
    )


def marker(certified: bool, semidefinite: bool) -> dict[str, Any]:
    colour = "tab:blue" if certified else "tab:orange"
    return {
        "marker": "o" if semidefinite else "s",
        "linestyle": "",
        "color": colour,
        "markerfacecolor": colour if certified else "white",
    }


def plot(found: list[tuple[Matrix, KappaEstimate]], file: str) -> None:
    """log10(estimate/true kappa): a row for each estimator, a marker for each matrix, filled where it is certified."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(9, 4.6), layout="constrained")
    names = [name for name in ESTIMATORS if name in {estimate.method for _, estimate in found}]
    largest = 2.5  # decades: what lies beyond is written at the edge
    for row, name in enumerate(reversed(names)):
        mine = sorted(
            (e.log10_kappa - math.log10(matrix.truth), e.certified, matrix.semidefinite)
            for matrix, e in found
            if e.method == name
        )
        for place, (decades, certified, semidefinite) in enumerate(mine):
            if decades <= largest:
                height = row + 0.4 * (place / max(len(mine) - 1, 1) - 0.5)
                panel.plot(decades, height, **marker(certified, semidefinite))
        beyond = [decades for decades, _, _ in mine if decades > largest]
        if beyond:
            text = f"{len(beyond)} beyond: $10^{{{min(beyond):.0f}}}$ to $10^{{{max(beyond):.0f}}} \\rightarrow$ "
            panel.text(largest, row, text, ha="right", va="center")
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in reversed(names)])
    panel.set_xlim(min(e.log10_kappa - math.log10(matrix.truth) for matrix, e in found) - 0.3, largest)
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.set_xlabel("decades above the true kappa (left of 0: too small, the unsafe side)")
    panel.grid(True, axis="x", alpha=0.3)
    for kind, label in (((True, True), "certified"), ((False, True), "no proof"), ((False, False), "indefinite H")):
        panel.plot([], [], label=label, **marker(*kind))
    panel.legend(frameon=False, loc="lower left")
    panel.set_title("Estimates of kappa of damped curvature matrices against the truth")
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="FILE", help="draw estimate/truth into this file, kappa.png for example")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 2, 6], help="of the training, where to look")
    options = parser.parse_args()
    torch.set_num_threads(1)  # products this small gain nothing from a second one, and wait for it on a busy machine
    head = "estimator                  kappa    /truth         products   seconds   errs     proof (seconds: simulated)"
    found = []
    for matrix in matrices(tuple(options.steps)):
        print(f"\n{matrix.name}: true kappa {matrix.truth:.6g}\n  {head}")
        for estimate, seconds in estimates(matrix):
            print(line(estimate, seconds, matrix.truth), flush=True)
            found.append((matrix, estimate))
    if options.plot:
        plot(found, options.plot)
        print(f"\n{options.plot} written")


if __name__ == "__main__":
    main()
