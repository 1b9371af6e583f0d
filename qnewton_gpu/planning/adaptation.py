"""What `--adapt` does to plans: costs corrected by what solves really took, and choices that do not waver.

Per solver, m <- m + w (log(actual/predicted) - m) from m = 0, each logarithm limited to +-log(limit), and the predicted
seconds are multiplied by exp(m): an exponentially weighted geometric mean of the ratios, 1 before anything was seen.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ..costs import Cost
from ..errors import FileFormatError, ParameterError
from .plan import Handicap

STATE = ("log_corrections", "observations", "chosen")


class Adaptation:
    """Corrections of each solver's predictions, and for each system by name the candidate that it was given to last.

    weight is w above: a ratio that stays the same is known to (1 - w)^n of its logarithm after n solves. No correction
    is above `limit` or below 1/limit. A system goes to another solver only if that is predicted to take less than
    1/(1 + margin) of what its present one would. A solver that is never run is never corrected: where the model is too
    pessimistic about one, nothing here finds out. Raises ParameterError.

    >>> adaptation = Adaptation(weight=0.5)
    >>> adaptation.observe("lu", predicted=1.0, actual=4.0)
    >>> adaptation.corrected({"lu": Cost("lu", 3.0)})["lu"].seconds
    6.0
    """

    def __init__(self, weight: float = 0.3, limit: float = 100.0, margin: float = 0.2) -> None:
        if not 0 < weight <= 1:
            raise ParameterError("weight", f"{weight!r} is not in (0, 1]", "Give the weight of the newest solve")
        if not 1 <= limit < math.inf:
            raise ParameterError("limit", f"{limit!r} is not a factor >= 1", "Give the largest correction, such as 100")
        if not 0 <= margin < math.inf:
            raise ParameterError("margin", f"{margin!r} is negative or infinite", "Give a fraction such as 0.2")
        self.weight, self.limit, self.margin = weight, limit, margin
        self.observations: dict[str, int] = {}
        self._logarithms: dict[str, float] = {}
        self._chosen: dict[str, str] = {}

    def correction(self, solver: str) -> float:
        """The factor on the predicted seconds of this solver; 1 for one that was never observed."""
        return math.exp(self._logarithms.get(solver, 0.0))

    def observe(self, solver: str, predicted: float, actual: float) -> None:
        """Learn from one solve: the seconds that the model predicted, not corrected, and those that it took.

        Both on one clock. A pair without a ratio, for one of them is zero or infinite, says nothing and is left out.
        Raises ParameterError for NaN and negative seconds.
        """
        for argument, seconds in (("predicted", predicted), ("actual", actual)):
            if not seconds >= 0:
                raise ParameterError(argument, f"{seconds!r} is no time of {solver}", "Give seconds >= 0")
        if not (0 < predicted < math.inf and 0 < actual < math.inf):
            return
        most = math.log(self.limit)
        seen = min(max(math.log(actual) - math.log(predicted), -most), most)
        before = self._logarithms.get(solver, 0.0)
        self._logarithms[solver] = before + self.weight * (seen - before)
        self.observations[solver] = self.observations.get(solver, 0) + 1

    def corrected(self, costs: Mapping[str, Cost]) -> dict[str, Cost]:
        """The model's own costs times the corrections, which are kept as `factors["correction"]`."""
        return {name: self._corrected(name, cost) for name, cost in costs.items()}

    def _corrected(self, name: str, cost: Cost) -> Cost:
        if not cost.finite:
            return cost
        factor = self.correction(name)
        return replace(cost, seconds=cost.seconds * factor, factors={**cost.factors, "correction": factor})

    def handicaps(self, name: str, candidates: Collection[str]) -> dict[str, Handicap]:
        """What the others carry where the system of this name was given to one of the candidates before."""
        last = self._chosen.get(name)
        why = f"{last} is kept, for nothing is better by {self.margin:.0%}"
        others = [candidate for candidate in candidates if candidate != last] if last in candidates else []
        return {candidate: Handicap(1 + self.margin, why) for candidate in others}

    def took(self, name: str, candidate: str) -> None:
        """Remember which candidate the system of this name was given to."""
        self._chosen[name] = candidate

    def state_dict(self) -> dict[str, Any]:
        """All that was learnt, as plain data that JSON can hold; the three settings are not in it."""
        return {
            "log_corrections": dict(self._logarithms),
            "observations": dict(self.observations),
            "chosen": dict(self._chosen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. Raises FileFormatError, and nothing is changed then."""
        if not isinstance(state, Mapping) or set(state) != set(STATE):
            raise _unusable(f"it is not a mapping with the keys {', '.join(STATE)}")
        for key in STATE:
            if not isinstance(state[key], Mapping) or not all(isinstance(name, str) for name in state[key]):
                raise _unusable(f"{key} is not a mapping from names")
        logarithms, observations, chosen = (dict(state[key]) for key in STATE)
        most = math.log(self.limit)
        for solver, value in logarithms.items():
            if not (_is_number(value) and abs(value) <= most * (1 + 1e-12)):
                raise _unusable(f"the logarithm of the correction of {solver} is {value!r}, beyond +-{most:.3g}")
        if set(observations) != set(logarithms):
            raise _unusable("observations and log_corrections are not of the same solvers")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in observations.values()):
            raise _unusable("observations holds what is no count")
        if not all(isinstance(solver, str) for solver in chosen.values()):
            raise _unusable("chosen holds what is no name of a solver")
        self._logarithms = {solver: float(value) for solver, value in logarithms.items()}
        self.observations, self._chosen = observations, chosen


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _unusable(problem: str) -> FileFormatError:
    return FileFormatError("state", f"it is no state of an adaptation: {problem}", "Give what state_dict() returned")


__all__ = ["Adaptation"]
