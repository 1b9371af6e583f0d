"""Schedules against brute force, against the paper's rule, and against what must not change them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.planning import makespan as module
from qnewton_gpu.planning.makespan import MOST_EXACT, minimum_makespan, paper_rule

ROUNDING = 1e-9


def brute_force(seconds: np.ndarray) -> float:
    systems, machines = seconds.shape
    every = np.array(list(itertools.product(range(machines), repeat=systems)))
    chosen = seconds[np.arange(systems), every]
    loads = [np.where(every == i, chosen, 0.0).sum(axis=1) for i in range(machines)]
    return float(np.max(loads, axis=0).min())


@st.composite
def instances(draw: st.DrawFn, most: int = 7) -> np.ndarray:
    """Times over many orders of magnitude, or small integers with many ties; some are infinite."""
    systems, machines = draw(st.integers(1, most)), draw(st.integers(1, 3))
    times = st.integers(0, 4).map(float) if draw(st.booleans()) else st.floats(1e-9, 1e9)
    one = st.one_of(times, times, times, st.just(np.inf))
    seconds = np.array(draw(st.lists(st.lists(one, min_size=machines, max_size=machines),
                                     min_size=systems, max_size=systems)))  # fmt: skip
    lost = np.isinf(seconds).all(axis=1)
    seconds[lost, 0] = draw(times)
    return seconds * draw(st.sampled_from([1e-18, 1.0, 1e6]))


def ends(seconds: np.ndarray, machines: tuple[int, ...]) -> float:
    loads = [0.0] * seconds.shape[1]
    for system, machine in enumerate(machines):
        loads[machine] += seconds[system, machine]
    return max(loads)


@settings(max_examples=150, deadline=None)
@given(instances())
def test_it_equals_brute_force_and_is_never_above_the_papers_rule(seconds: np.ndarray) -> None:
    best, rule, least = minimum_makespan(seconds), paper_rule(seconds), brute_force(seconds)
    assert best.seconds <= rule.seconds
    assert best.seconds == pytest.approx(ends(seconds, best.machines), rel=ROUNDING)
    assert rule.seconds == pytest.approx(ends(seconds, rule.machines), rel=ROUNDING)
    assert best.lower_bound <= least * (1 + ROUNDING) and rule.lower_bound <= least * (1 + ROUNDING)
    assert best.method == "exact" and least * (1 - ROUNDING) <= best.seconds <= least * (1 + module.SAME)


@settings(max_examples=150, deadline=None)
@given(instances())
def test_without_branch_and_bound_it_keeps_its_proven_factor(seconds: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_EXACT", 0)
        best = minimum_makespan(seconds)
    least = brute_force(seconds)
    factor = {1: 1.0, 2: 1.5, 3: 2.0}[seconds.shape[1]]
    assert least * (1 - ROUNDING) <= best.seconds <= factor * least * (1 + ROUNDING)
    assert best.seconds <= paper_rule(seconds).seconds and best.lower_bound <= least * (1 + ROUNDING)


@settings(max_examples=60, deadline=None)
@given(instances(), st.randoms(use_true_random=False))
def test_the_order_of_the_systems_does_not_matter(seconds: np.ndarray, random: object) -> None:
    order = list(range(len(seconds)))
    random.shuffle(order)  # type: ignore[attr-defined]
    here, there = minimum_makespan(seconds), minimum_makespan(seconds[order])
    assert there.seconds == pytest.approx(here.seconds, rel=ROUNDING) and there.method == here.method
    assert there.lower_bound == pytest.approx(here.lower_bound, rel=ROUNDING)


@settings(max_examples=60, deadline=None)
@given(instances(), st.integers(-40, 40))
def test_another_unit_of_time_gives_the_same_schedule(seconds: np.ndarray, power: int) -> None:
    """Of powers of two, which leave every mantissa as it is: the schedule itself, not just its length, is the same."""
    here, there = minimum_makespan(seconds), minimum_makespan(seconds * 2.0**power)
    assert there.machines == here.machines and there.seconds == here.seconds * 2.0**power
    assert minimum_makespan(seconds) == here


@pytest.mark.parametrize("systems", [MOST_EXACT, MOST_EXACT + 1, 400])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_large_instances_stay_within_their_factor_of_the_lower_bound(systems: int, spread: float) -> None:
    random = np.random.default_rng([systems, round(10 * spread)])
    for machines, factor in ((2, 1.5), (3, 2.0), (5, 2.0)):
        seconds = 1e-12 * np.exp(spread * random.normal(size=(systems, machines)))
        seconds[random.random(seconds.shape) < 0.1] = np.inf
        seconds[:, 0] = np.minimum(seconds[:, 0], 1e-11)
        best = minimum_makespan(seconds)
        assert best.lower_bound <= best.seconds <= paper_rule(seconds).seconds
        assert best.seconds <= factor * best.lower_bound * (1 + ROUNDING)


def test_the_worst_case_of_the_papers_rule_is_the_number_of_machines() -> None:
    """Systems that one machine does a little faster than the others all wait for it."""
    seconds = np.full((12, 3), 1.0)
    seconds[:, 1] = 0.999
    assert paper_rule(seconds).seconds == pytest.approx(12 * 0.999)
    assert minimum_makespan(seconds).seconds == pytest.approx(4.0)
