"""Which assumption decides: who wins a comparison, by how much, and what would flip that, one assumption at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..costs import Cost, CostModel, Hardware
from ..operators import GramOperator
from ..operators.kronecker import KroneckerOperator
from ..solvers import CLASSICAL, QUANTUM, LinearSystem, Predictor, make_predictor
from ..solvers.quantum import DILATED
from .plan import predict_all
from .stated import LARGEST

OF_HARDWARE: dict[str, tuple[str, dict[Any, str]]] = {
    "access": ("access", {"qram": "log2(N)^2 gates a query (QRAM)", "qrom": "a gate for each stored entry (QROM)"}),
    "readout": (
        "readout",
        {"none": "free", "copies": "0.65 N/eps^2 preparations", "inverse": "N/eps preparations (inverse access)"},
    ),
    "state preparation": ("state_preparation", {False: "free", True: "charged"}),
    "failures": ("amplification", {True: "amplified", False: "repeated"}),
    "gates": ("level", {"logical": "logical", "physical": "physical, of the same time (surface code)"}),
    "T factories": ("factories", {None: "never waited for", 1: "one"}),
    "processors": ("parallel", {1: "one", 10**12: "one for every independent run"}),
}
"""Of each named assumption: the field of `Hardware`, and what its values mean."""
OPPONENTS = {"LU alone": ("lu",), "every classical solver": CLASSICAL}
QUERY_COUNTS = ("qsvt", "kernel_reflection", "jennings")
"""Two of circuits that are simulated here, and the formula of arXiv 2305.11352 v1."""
TIGHTEST, LOOSEST = 1e-14, 0.5
"""Of the tolerances that are looked at."""
BISECTIONS = 16
NOBODY = "nobody"


@dataclass(frozen=True)
class Verdict:
    """The cheapest candidate and what the others cost over it, as ratios of projected seconds.

    `margin` is that of the second best candidate, `lead` that of `rival`, the best one on the other kind of machine;
    infinite where that cannot serve the system.
    """

    winner: str
    seconds: float
    second: str
    margin: float
    rival: str
    lead: float


@dataclass(frozen=True)
class Finding:
    """What one assumption, changed alone, does to a comparison.

    `flips` says whether the system then belongs to the other kind of machine, `winner` to which candidate, and `lead`
    by how much (see `Verdict`). For an assumption that is a number `value` is where the flip happens, nearest to the
    stated one, and `lead` is 1; where no value flips it, `value` is None.
    """

    assumption: str
    changed: str
    stated: str
    flips: bool
    winner: str
    lead: float
    value: float | None = None

    @property
    def said(self) -> str:
        """In words: `readout: N/eps preparations instead of free -> cg wins by 3.1e5`."""
        if self.value is not None:
            outcome = f"from there on {self.winner} wins"
        elif math.isinf(self.lead):
            outcome = "nobody can" if self.winner == NOBODY else f"only {self.winner} can"
        else:
            outcome = f"{self.winner} {'wins' if self.flips else 'still wins'} by {ratio(self.lead)}"
        instead = f" instead of {self.stated}" if self.stated else ""
        return f"{self.assumption}: {self.changed}{instead} -> {outcome}"


@dataclass(frozen=True)
class Sensitivity:
    """The verdict of a comparison, and a finding for every named assumption."""

    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def flips(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.flips)


def judge(costs: Mapping[str, Cost], quantum: Sequence[str], classical: Sequence[str]) -> Verdict | None:
    """Who wins among these candidates; None where none of them can serve the system."""
    ranked = sorted((*quantum, *classical), key=lambda name: costs[name].seconds)
    winner, second = ranked[0], ranked[1]
    seconds = costs[winner].seconds
    if not math.isfinite(seconds):
        return None
    others = classical if winner in quantum else quantum
    rival = next(name for name in ranked if name in others)
    return Verdict(winner, seconds, second, costs[second].seconds / seconds, rival, costs[rival].seconds / seconds)


def sensitivity(
    system: LinearSystem, model: CostModel, costs: Mapping[str, Cost], encoding: str = "auto"
) -> Sensitivity | None:
    """What decides between the candidates of `model`, whose predicted `costs` are given.

    Each assumption is changed alone: gate time and the classical machine's speed (the factor at which both kinds take
    equally long), access, readout, state preparation, amplification and success probability, the opponents, the query
    count, kappa and tolerance (the nearest value that flips it). None where no candidate can serve the system.
    """
    verdict = judge(costs, model.quantum_candidates, model.classical_candidates)
    if verdict is None:
        return None
    return Sensitivity(verdict, tuple(_Examination(system, model, costs, verdict, encoding).findings()))


def ratio(value: float) -> str:
    """Three digits: 91.2, 1.38e4."""
    return f"{value:.3g}".replace("e+0", "e").replace("e+", "e")


class _Examination:
    def __init__(
        self, system: LinearSystem, model: CostModel, costs: Mapping[str, Cost], verdict: Verdict, encoding: str
    ) -> None:
        self.system, self.model, self.costs, self.verdict = system, model, costs, verdict
        self.quantum, self.classical = model.quantum_candidates, model.classical_candidates
        self.won_by_quantum = verdict.winner in self.quantum
        names = (*self.quantum, *self.classical, *QUERY_COUNTS, *CLASSICAL)
        self.predictors: dict[str, Predictor] = {name: make_predictor(name, encoding=encoding) for name in names}

    def findings(self) -> Iterator[Finding]:
        if math.isfinite(self.verdict.lead):
            yield from self._rates()
        hardware = self.model.hardware
        for assumption, (field, options) in OF_HARDWARE.items():
            stated = getattr(hardware, field)
            for option, said in options.items():
                if option != stated:
                    changed = replace(hardware, **{field: option})
                    yield self._changed(assumption, said, options.get(stated, f"{stated}"), hardware=changed)
        planned = self._planned_success()
        if planned:
            surely = replace(self.system, expected_success=dict.fromkeys(QUANTUM, 1.0))
            yield self._changed("success probability", "1", planned, system=surely)
        for said, opponents in OPPONENTS.items():
            if set(opponents) != set(self.classical):
                yield self._changed("opponents", said, ", ".join(self.classical), classical=opponents)
        for name in QUERY_COUNTS:
            if self.quantum != (name,):
                stated = f"that of {', '.join(self.quantum)}"
                yield self._changed("query count", f"that of {name}", stated, quantum=(name,))
        yield from self._numbers()

    def _rates(self) -> Iterator[Finding]:
        """Both costs are proportional to one rate: the flip is at their ratio."""
        lead, rival = self.verdict.lead, self.verdict.rival
        stated = self.model.hardware.gate_time
        quantum = self.verdict.winner if self.won_by_quantum else rival
        opponent = rival if self.won_by_quantum else self.verdict.winner
        value = self.model.break_even_gate_time(self.costs[quantum], self.costs[opponent].seconds)
        yield Finding("gate time", f"{value:.3g} s", f"{stated:.3g} s", True, rival, 1.0, value)
        changed = f"{ratio(lead)} times {'faster' if self.won_by_quantum else 'slower'} than stated"
        yield Finding("classical machine", changed, "", True, rival, 1.0, lead)

    def _numbers(self) -> Iterator[Finding]:
        bounds, tolerance = self.system.bounds, self.system.tolerance
        # of a matrix known by factors kappa is that of the factors
        if math.isfinite(bounds.kappa) and not isinstance(self.system.operator, (GramOperator, KroneckerOperator)):
            yield self._number("kappa", bounds.kappa, 1.0, LARGEST, 2.0, self._with_kappa)
        yield self._number("tolerance", tolerance, TIGHTEST, LOOSEST, math.sqrt(10), self._with_tolerance)

    def _with_kappa(self, kappa: float) -> LinearSystem:
        bounds = replace(self.system.bounds, lower=self.system.bounds.upper / kappa, smallest_nonzero=None)
        return self._but(bounds=bounds)

    def _with_tolerance(self, tolerance: float) -> LinearSystem:
        return self._but(tolerance=tolerance)

    def _but(self, **changes: Any) -> LinearSystem:
        """The system with other numbers and the encodings that it has."""
        encodings = dict(self.system.encodings)
        if DILATED in encodings:
            dilated = encodings[DILATED]
            bounds = replace(changes.get("bounds", dilated.bounds), negative=True)
            encodings[DILATED] = replace(dilated, **{**changes, "bounds": bounds})
        return replace(self.system, encodings=encodings, **changes)

    def _verdict(
        self,
        system: LinearSystem | None = None,
        hardware: Hardware | None = None,
        quantum: Sequence[str] | None = None,
        classical: Sequence[str] | None = None,
    ) -> Verdict | None:
        system, quantum, classical = system or self.system, quantum or self.quantum, classical or self.classical
        # "ideal" is the comparison that takes any quantum machine as it is
        circuits = replace(self.model, hardware=hardware or self.model.hardware, comparison="ideal")
        costs: dict[str, Cost] = {}
        for names, model in ((quantum, circuits), (classical, self.model)):
            predictors = {name: self.predictors[name] for name in names}
            costs |= predict_all(system, model, self.system.operator.backend, predictors)
        return judge(costs, quantum, classical)

    def _flipped(self, verdict: Verdict | None) -> bool:
        return verdict is not None and (verdict.winner not in CLASSICAL) != self.won_by_quantum

    def _changed(self, assumption: str, said: str, stated: str, **changed: Any) -> Finding:
        verdict = self._verdict(**changed)
        if verdict is None:  # who won cannot serve the changed system, nor can anybody else
            return Finding(assumption, said, stated, False, NOBODY, math.inf)
        return Finding(assumption, said, stated, self._flipped(verdict), verdict.winner, verdict.lead)

    def _number(
        self, name: str, stated: float, low: float, high: float, step: float, system: Callable[[float], LinearSystem]
    ) -> Finding:
        """The nearest flip on either side: steps of a constant ratio outwards, then bisection of the logarithm."""
        found = [self._first_flip(stated, end, step, system) for end in (low, high)]
        flips = [value for value in found if value is not None]
        if not flips:
            looked_at = f"anything from {ratio(low)} to {ratio(high)}"
            return Finding(name, looked_at, ratio(stated), False, self.verdict.winner, self.verdict.lead)
        value = min(flips, key=lambda flip: abs(math.log(flip / stated)))
        verdict = self._verdict(system(value))
        winner = verdict.winner if verdict else self.verdict.rival
        return Finding(name, ratio(value), ratio(stated), True, winner, 1.0, value)

    def _first_flip(
        self, stated: float, end: float, step: float, system: Callable[[float], LinearSystem]
    ) -> float | None:
        outwards = step if end > stated else 1 / step
        same, value = stated, stated
        while value != end:
            value = min(value * outwards, end) if outwards > 1 else max(value * outwards, end)
            if self._flipped(self._verdict(system(value))):
                break
            same = value
        else:
            return None
        for _ in range(BISECTIONS):
            middle = math.sqrt(same * value)
            same, value = (same, middle) if self._flipped(self._verdict(system(middle))) else (middle, value)
        return value

    def _planned_success(self) -> str:
        """What the quantum candidates are planned with, where it is less than 1."""
        planned = {name: self.costs[name].factors.get("success_probability", 1.0) for name in self.quantum}
        return ", ".join(f"{p:.2g} ({name})" for name, p in planned.items() if p < 1)
