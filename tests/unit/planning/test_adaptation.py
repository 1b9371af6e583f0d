"""Corrections by what solves took: they converge, they are limited, and no choice wavers because of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.costs import Cost
from qnewton_gpu.errors import FileFormatError, ParameterError
from qnewton_gpu.planning.adaptation import Adaptation
from qnewton_gpu.planning.plan import weighed

INF = float("inf")
SECONDS = st.floats(1e-18, 1e6)
NAMES = ("qsvt", "lu", "cg")


def costs_of(**seconds: float) -> dict[str, Cost]:
    return {name: Cost(name, value, {"gate_time": 1e-9}) for name, value in seconds.items()}


def choose(adaptation: Adaptation, name: str, costs: dict[str, Cost], candidates: Sequence[str]) -> str:
    """What a plan does: the least cost with the handicaps, which is then remembered."""
    chosen = min(candidates, key=lambda c: weighed(costs, adaptation.handicaps(name, candidates), c))
    adaptation.took(name, chosen)
    return chosen


@given(SECONDS, st.floats(1 / 99, 99), st.floats(0.05, 1.0))
def test_a_correction_converges_to_the_true_ratio(predicted: float, ratio: float, weight: float) -> None:
    adaptation, logarithm = Adaptation(weight=weight), math.log(ratio)
    for count in range(1, 30):
        adaptation.observe("lu", predicted, predicted * ratio)
        left = abs(math.log(adaptation.correction("lu")) - logarithm)
        assert left == pytest.approx((1 - weight) ** count * abs(logarithm), abs=1e-9)
    assert adaptation.observations == {"lu": 29} and adaptation.correction("qsvt") == 1.0


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=20), st.floats(1, 1e3), st.floats(0.01, 1))
def test_no_correction_leaves_its_range(pairs: list[tuple[float, float]], limit: float, weight: float) -> None:
    adaptation = Adaptation(weight=weight, limit=limit)
    for predicted, actual in pairs:
        adaptation.observe("lu", predicted, actual)
        assert (1 - 1e-9) / limit <= adaptation.correction("lu") <= limit * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_noise_leaves_the_geometric_mean(ratio: float, seed: int) -> None:
    """400 ratios with a scatter of a factor 1.2: that of their mean is 1.2^sqrt(w/(2 - w)) = 1.04."""
    adaptation = Adaptation(weight=0.1)
    for scatter in np.random.default_rng(seed).normal(0, math.log(1.2), 400):
        adaptation.observe("lu", 1.0, ratio * math.exp(scatter))
    assert abs(math.log(adaptation.correction("lu") / ratio)) < 4 * math.log(1.2) * math.sqrt(0.1 / 1.9)


def test_corrected_costs_say_by_what_and_keep_the_rest() -> None:
    adaptation = Adaptation(weight=1.0)
    adaptation.observe("lu", 2.0, 3.0)
    given_costs = costs_of(lu=4.0, qsvt=5.0, cg=INF)
    corrected = adaptation.corrected(given_costs)
    assert {name: cost.seconds for name, cost in corrected.items()} == {
        "lu": pytest.approx(6.0),
        "qsvt": 5.0,
        "cg": INF,
    }
    assert corrected["lu"].factors == {"gate_time": 1e-9, "correction": pytest.approx(1.5)}
    assert corrected["qsvt"].factors["correction"] == 1.0 and corrected["lu"].solver == "lu"
    assert given_costs == costs_of(lu=4.0, qsvt=5.0, cg=INF), "what was given is left alone"


@given(st.lists(st.one_of(SECONDS, st.just(INF)), min_size=3, max_size=3))
def test_without_an_observation_the_first_choice_is_the_cheapest(seconds: list[float]) -> None:
    costs = costs_of(**dict(zip(NAMES, seconds, strict=True)))
    adaptation = Adaptation()
    corrected = adaptation.corrected(costs)
    assert [cost.seconds for cost in corrected.values()] == seconds
    expected = min(NAMES, key=lambda name: costs[name].seconds)
    assert adaptation.handicaps("layer1", NAMES) == {}
    assert choose(adaptation, "layer1", corrected, NAMES) == expected


@given(st.lists(st.floats(-0.08, 0.08), min_size=2, max_size=60), st.randoms(use_true_random=False))
def test_a_choice_never_wavers_between_nearly_equal_costs(noise: list[float], random: Any) -> None:
    """Predictions and solves scatter by 8 %: two costs are never a factor 1.2 apart, whatever is learnt."""
    adaptation, chosen = Adaptation(weight=random.uniform(0.05, 1)), []
    for here, there in zip(noise, reversed(noise), strict=True):
        costs = adaptation.corrected(costs_of(qsvt=1e-3 * math.exp(here / 2), lu=1e-3 * math.exp(there / 2)))
        solver = choose(adaptation, "network", costs, ("qsvt", "lu"))
        chosen.append(solver)
        adaptation.observe(solver, 1.0, math.exp(random.choice([here, there]) / 2))
    assert len(set(chosen)) == 1


@settings(max_examples=60)
@given(st.lists(st.tuples(SECONDS, st.floats(0.02, 50)), min_size=3, max_size=3), st.floats(0.1, 1))
def test_with_true_ratios_that_stay_choices_settle(truth: list[tuple[float, float]], weight: float) -> None:
    """Every solver that is tried is soon known, and each is left at most once for good."""
    predicted = {name: seconds for name, (seconds, _) in zip(NAMES, truth, strict=True)}
    ratios = {name: ratio for name, (_, ratio) in zip(NAMES, truth, strict=True)}
    adaptation, chosen = Adaptation(weight=weight), []
    for _ in range(300):
        solver = choose(adaptation, "network", adaptation.corrected(costs_of(**predicted)), NAMES)
        adaptation.observe(solver, predicted[solver], predicted[solver] * ratios[solver])
        chosen.append(solver)
    assert len(set(chosen[-100:])) == 1
    last, tried = chosen[-1], set(chosen)
    best = min(predicted[name] * ratios[name] for name in tried)
    assert predicted[last] * ratios[last] <= 1.2 * best * (1 + 1e-6), "no solver that was tried is clearly better"


def test_a_choice_changes_where_another_is_clearly_better_or_the_old_one_cannot() -> None:
    adaptation = Adaptation(margin=0.2)
    both = ("qsvt", "lu")
    assert choose(adaptation, "a", costs_of(qsvt=1.0, lu=2.0), both) == "qsvt"
    assert choose(adaptation, "a", costs_of(qsvt=1.19, lu=1.0), both) == "qsvt"
    ((other, handicap),) = adaptation.handicaps("a", both).items()
    assert other == "lu" and handicap.factor == 1.2 and handicap.why == "qsvt is kept, for nothing is better by 20%"
    assert choose(adaptation, "b", costs_of(qsvt=1.19, lu=1.0), both) == "lu", "of each system by itself"
    assert choose(adaptation, "a", costs_of(qsvt=1.21, lu=1.0), both) == "lu"
    assert choose(adaptation, "a", costs_of(qsvt=1.0, lu=INF), both) == "qsvt"
    assert adaptation.handicaps("a", ("lu",)) == {}, "what it was given to is no candidate any more"


def test_planning_twice_is_planning_once() -> None:
    adaptation, costs = Adaptation(), costs_of(qsvt=1.0, lu=1.1)
    choose(adaptation, "a", costs_of(qsvt=9.0, lu=1.1), ("qsvt", "lu"))
    first = choose(adaptation, "a", costs, ("qsvt", "lu"))
    assert first == choose(adaptation, "a", costs, ("qsvt", "lu")) == "lu"


@given(st.lists(st.tuples(st.sampled_from(NAMES), SECONDS, SECONDS), max_size=10))
def test_its_state_goes_through_json_and_goes_on_the_same(seen: list[tuple[str, float, float]]) -> None:
    one, other = Adaptation(), Adaptation()
    for solver, predicted, actual in seen:
        one.observe(solver, predicted, actual)
        choose(one, f"system {solver}", one.corrected(costs_of(qsvt=1.0, lu=1.1, cg=0.9)), NAMES)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert other.state_dict() == one.state_dict()
    for adaptation in (one, other):
        adaptation.observe("lu", 1.0, 3.0)
    assert other.corrected(costs_of(lu=1.0)) == one.corrected(costs_of(lu=1.0))
    equal = costs_of(qsvt=1.0, lu=1.0, cg=1.0)
    assert choose(other, "system lu", equal, NAMES) == choose(one, "system lu", equal, NAMES)


def test_a_pair_without_a_ratio_says_nothing() -> None:
    adaptation = Adaptation()
    for predicted, actual in ((0.0, 1.0), (1.0, 0.0), (INF, 1.0), (1.0, INF)):
        adaptation.observe("lu", predicted, actual)
    assert adaptation.state_dict() == {"log_corrections": {}, "observations": {}, "chosen": {}}


GOOD = {"log_corrections": {"lu": 0.5}, "observations": {"lu": 3}, "chosen": {"network": "lu"}}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "keys"),
        ({**GOOD, "more": {}}, "keys"),
        ({"chosen": {}}, "keys"),
        ({**GOOD, "chosen": ["lu"]}, "chosen is not a mapping"),
        ({**GOOD, "chosen": {"network": 3}}, "no name of a solver"),
        ({**GOOD, "log_corrections": {"lu": float("nan")}}, "lu is nan"),
        ({**GOOD, "log_corrections": {"lu": 99.0}}, "beyond"),
        ({**GOOD, "log_corrections": {"lu": "0.5"}}, "'0.5'"),
        ({**GOOD, "observations": {}}, "same solvers"),
        ({**GOOD, "observations": {"lu": 0}}, "no count"),
        ({**GOOD, "observations": {"lu": True}}, "no count"),
    ],
)
def test_a_state_that_is_none_is_refused_and_changes_nothing(state: Any, said: str) -> None:
    adaptation = Adaptation()
    adaptation.load_state_dict(GOOD)
    with pytest.raises(FileFormatError, match=said):
        adaptation.load_state_dict(state)
    assert adaptation.state_dict() == GOOD


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Adaptation(weight=0.0),
        lambda: Adaptation(weight=1.5),
        lambda: Adaptation(limit=0.5),
        lambda: Adaptation(limit=INF),
        lambda: Adaptation(margin=-0.1),
        lambda: Adaptation(margin=float("nan")),
        lambda: Adaptation().observe("lu", float("nan"), 1.0),
        lambda: Adaptation().observe("lu", 1.0, -1.0),
    ],
)
def test_bad_input_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ParameterError):
        wrong()
