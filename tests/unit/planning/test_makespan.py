"""Schedules of many systems: examples that can be checked by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qnewton_gpu.errors import NonFiniteError, ParameterError, QNewtonError, ShapeError
from qnewton_gpu.planning import makespan as module
from qnewton_gpu.planning.makespan import minimum_makespan, paper_rule

INF = float("inf")


def test_a_system_goes_to_its_slower_machine_where_the_faster_one_is_busy() -> None:
    seconds = [[3.0, 4.0], [2.0, 4.0], [2.0, 4.0]]
    assert (rule := paper_rule(seconds)).machines == (0, 0, 0) and rule.seconds == 7.0
    best = minimum_makespan(seconds)
    assert best.machines == (1, 0, 0) and best.seconds == 4.0 and best.method == "exact"
    assert 3.0 <= best.lower_bound <= 4.0


def test_one_system_goes_to_its_fastest_machine_and_the_first_of_equal_ones() -> None:
    assert minimum_makespan([[2.0, 1.0]]).machines == paper_rule([[2.0, 1.0]]).machines == (1,)
    assert minimum_makespan([[1.0, 1.0]]).machines == paper_rule([[1.0, 1.0]]).machines == (0,)


def test_where_the_papers_rule_is_optimal_it_is_kept() -> None:
    """Two schedules end at 2; the one of least work is taken."""
    best = minimum_makespan([[2.0, 9.0], [9.0, 1.0], [9.0, 1.0]])
    assert best.machines == (0, 1, 1) and best.seconds == 2.0


def test_a_machine_that_serves_nothing_is_left_idle() -> None:
    best = minimum_makespan([[1.0, INF], [2.0, INF], [4.0, INF]])
    assert best.machines == (0, 0, 0) and best.seconds == best.lower_bound == 7.0 and best.method == "exact"


def test_no_systems_and_no_work_end_at_once() -> None:
    nothing = minimum_makespan(np.empty((0, 2)))
    assert nothing.machines == () and nothing.seconds == nothing.lower_bound == 0.0
    assert paper_rule(np.empty((0, 2))).machines == ()
    free = minimum_makespan([[0.0, 1.0], [5.0, 0.0]])
    assert free.machines == (0, 1) and free.seconds == free.lower_bound == 0.0


def test_a_larger_instance_is_bounded_and_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise AssertionError("branch and bound was asked")

    monkeypatch.setattr(module, "_branch_and_bound", refuse)
    seconds = np.random.default_rng(0).uniform(1, 2, (module.MOST_EXACT + 1, 2))
    best = minimum_makespan(seconds)
    assert best.method == "bounded" and best.lower_bound < best.seconds <= 1.5 * best.lower_bound
    with pytest.raises(AssertionError, match="branch"):
        minimum_makespan(seconds[1:])


@pytest.mark.parametrize("status", [1, 4])
def test_where_branch_and_bound_gives_nothing_the_bounded_schedule_stays(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    import scipy.optimize

    seconds = np.random.default_rng(1).uniform(1, 2, (9, 2))
    failed = scipy.optimize.OptimizeResult(x=None, fun=None, status=status)
    exact = minimum_makespan(seconds)
    monkeypatch.setattr(scipy.optimize, "milp", lambda *arguments, **options: failed)
    best = minimum_makespan(seconds)
    assert best.method == "bounded" and exact.seconds <= best.seconds <= 1.5 * exact.seconds


def test_a_claim_that_the_schedule_does_not_keep_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.optimize

    def lie(cost: np.ndarray, **options: Any) -> Any:
        """Everything to the first machine it may go to, and a makespan of nothing."""
        return scipy.optimize.OptimizeResult(x=np.zeros(len(cost)), fun=0.0, status=0)

    seconds = np.random.default_rng(2).uniform(1, 2, (9, 2))
    monkeypatch.setattr(scipy.optimize, "milp", lie)
    best = minimum_makespan(seconds)
    assert best.method == "bounded" and best.seconds <= paper_rule(seconds).seconds


@pytest.mark.parametrize(
    ("seconds", "error", "said"),
    [
        ([1.0, 2.0], ShapeError, "shape"),
        (np.empty((3, 0)), ShapeError, "shape"),
        ([[1.0, float("nan")]], NonFiniteError, "NaN"),
        ([[1.0, -2.0]], ParameterError, "negative"),
        ([[1.0, 2.0], [INF, INF]], ParameterError, "no machine serves system 1"),
    ],
)
@pytest.mark.parametrize("schedule", [minimum_makespan, paper_rule])
def test_bad_input_is_refused(schedule: Any, seconds: Any, error: type[QNewtonError], said: str) -> None:
    with pytest.raises(error, match=said):
        schedule(seconds)
