"""The projected clock of a recorded training: what its steps would take on stated machines at a given gate time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..costs import FIRST_SUCCESS_PROBABILITY, ClassicalMachine, Cost, CostModel, Hardware, jennings_queries
from ..costs.jennings import LEAST_KAPPA
from ..polynomials.inverse import inverse_degree

Row = Mapping[str, Any]
GATE_TIMES = tuple(float(f"1e-{k}") for k in range(9, 19))
"""From 1 ns to 1 as."""


def least_alpha(system: Row) -> float:
    """1: no block encoding of H has a norm below ||H||."""
    return 1.0


def gram_alpha(system: Row) -> float:
    """tr(H) over ||H||: of the encoding that this package has for a Gauss-Newton block, alpha = ||G||_F^2 + delta."""
    return float((system["trace"] + system["damping"]) / (system["largest_eigenvalue"] + system["damping"]))


def sparse_access_alpha(system: Row) -> float:
    """d max|H| over ||H||, of the textbook access to d = N entries a row (arXiv 1806.01838, Lemma 48)."""
    entry, norm = system["largest_entry"] + system["damping"], system["largest_eigenvalue"] + system["damping"]
    return max(1.0, float(system["size"] * entry / norm))


ALPHAS: dict[str, Callable[[Row], float]] = {
    "least alpha": least_alpha,
    "gram": gram_alpha,
    "sparse access": sparse_access_alpha,
}


@dataclass(frozen=True)
class Clock:
    """Projected seconds on one classical machine and on a quantum one with this gate time in seconds.

    `epsilon` is the relative error of a solution.
    """

    gate_time: float
    machine: ClassicalMachine
    epsilon: float = 1e-2

    @cached_property
    def paper(self) -> CostModel:
        return CostModel(Hardware(gate_time=self.gate_time), self.machine).under("paper")

    @cached_property
    def honest(self) -> CostModel:
        return self.paper.under("honest")

    def gradient(self, step: Row) -> float:
        return self.machine.product_seconds(step["gradient_flops"], step["gradient_bytes"])

    def assembly(self, system: Row) -> float:
        """Of the layer's matrix, which the paper's comparison does not charge."""
        return float(system["dense_flops"]) / self.machine.lu_flops

    def lu(self, system: Row) -> float:
        return self.paper.factorisation("lu", system["size"]).seconds

    def jennings(self, system: Row, alpha: Callable[[Row], float]) -> Cost:
        """The paper's quantum solver: the query count of arXiv 2305.11352 v1, repetitions included."""
        queries = jennings_queries(max(system["kappa"], LEAST_KAPPA), alpha(system), self.epsilon)
        return self._quantum(self.paper, "jennings", queries, 1.0, system)

    def gram(self, system: Row) -> Cost:
        """The least that our quantum side takes in the honest comparison: QSVT on the factor of the layer's matrix.

        Queries go like kappa_eff = sqrt((tr(H) + delta)/delta), because ||G||_F^2 = tr(H).
        """
        kappa = math.sqrt((system["trace"] + system["damping"]) / system["damping"])
        queries = inverse_degree(kappa, self.epsilon, "even")
        return self._quantum(self.honest, "qsvt", queries, FIRST_SUCCESS_PROBABILITY, system)

    def classical(self, system: Row) -> Cost:
        """The best of Cholesky and LU, with assembly, and of conjugate gradients, which need products only."""
        model, size = self.honest, system["size"]
        direct = [model.factorisation(name, size, system["dense_flops"]) for name in ("cholesky", "lu")]
        gradients = model.conjugate_gradients(
            kappa=system["kappa"],
            epsilon=self.epsilon,
            product_flops=system["product_flops"],
            product_bytes=system["product_bytes"],
        )
        return min((*direct, gradients), key=lambda cost: cost.seconds)

    def _quantum(self, model: CostModel, name: str, queries: float, success: float, system: Row) -> Cost:
        return model.quantum(
            name,
            queries=queries,
            rounds=1,
            success_probability=success,
            size=system["size"],
            nonzeros=system["size"] ** 2,
            epsilon=self.epsilon,
        )


Choice = Callable[[Clock, Row], tuple[float, bool]]
"""Projected seconds of a system under a rule, and whether the quantum computer has it."""


def _always_lu(clock: Clock, system: Row) -> tuple[float, bool]:
    return clock.lu(system), False


def _best_classical(clock: Clock, system: Row) -> tuple[float, bool]:
    return clock.classical(system).seconds, False


def _faster(quantum: Callable[[Clock, Row], Cost], classical: Choice) -> Choice:
    def choose(clock: Clock, system: Row) -> tuple[float, bool]:
        other, own = classical(clock, system)[0], quantum(clock, system).seconds
        return (own, True) if own < other else (other, False)

    return choose


def _paper(alpha: Callable[[Row], float]) -> Choice:
    return _faster(lambda clock, system: clock.jennings(system, alpha), _always_lu)


RULES: dict[str, Choice] = {
    "classical Newton": _always_lu,
    **{f"Q-Newton, {name}": _paper(alpha) for name, alpha in ALPHAS.items()},
    "honest classical": _best_classical,
    "honest Q-Newton": _faster(Clock.gram, _best_classical),
}
"""Each layer's inversion to the faster side (the paper's rule), by who competes and what is charged."""


def step_seconds(
    clock: Clock, rule: str | None, steps: Sequence[Row], systems: Sequence[Row]
) -> list[dict[str, float]]:
    """Projected seconds of each step: its gradient, then its systems one after the other by a rule of RULES.

    `assembly` is what forming every matrix would add; the solves hold it only where the rule charges it. `quantum`
    of the `systems` went to the quantum computer. rule None is for first-order methods.
    """
    found = [
        {"gradients": clock.gradient(step), "solves": 0.0, "assembly": 0.0, "systems": 0.0, "quantum": 0.0}
        for step in steps
    ]
    place = {step["step"]: entry for step, entry in zip(steps, found, strict=True)}
    for system in systems if rule else ():
        seconds, quantum = RULES[rule or ""](clock, system)
        entry = place[system["step"]]
        entry["solves"] += seconds
        entry["assembly"] += clock.assembly(system)
        entry["systems"] += 1
        entry["quantum"] += quantum
    return found


def training_seconds(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Projected seconds of a training, the sum over its `step_seconds`; `total` is gradients and solves."""
    keys = ("gradients", "solves", "assembly", "systems", "quantum")
    sums = {key: sum(step[key] for step in steps) for key in keys}
    share = sums.pop("quantum") / (sums.pop("systems") or 1.0)
    return {"total": sums["gradients"] + sums["solves"], **sums, "quantum_share": share}


def kappa_at_break_even(clock: Clock, size: int, alpha: float = 1.0) -> float:
    """The kappa above which LU is the faster one for a system of order `size`, by bisection; 0 where it always is."""
    system = {"size": size, "kappa": LEAST_KAPPA}
    lu = clock.lu(system)

    def quantum_wins(kappa: float) -> bool:
        return clock.jennings(system | {"kappa": kappa}, lambda _: alpha).seconds < lu

    if not quantum_wins(LEAST_KAPPA):
        return 0.0
    low, high = math.log(LEAST_KAPPA), math.log(1e30)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if quantum_wins(math.exp(middle)) else (low, middle)
    return math.exp(low)
