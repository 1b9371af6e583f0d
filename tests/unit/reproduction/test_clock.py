"""The projected clock of a recorded training: formulas by hand, and what must hold whatever the numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import ClassicalMachine, jennings_queries
from qnewton_gpu.planning.stated import stated_system
from qnewton_gpu.reproduction.clock import (
    ALPHAS,
    GATE_TIMES,
    RULES,
    Clock,
    gram_alpha,
    kappa_at_break_even,
    least_alpha,
    sparse_access_alpha,
    step_seconds,
    training_seconds,
)
from qnewton_gpu.solvers import make_predictor

MACHINE = ClassicalMachine.load()
STEP = {"step": 1, "gradient_flops": 2e9, "gradient_bytes": 1e9}


def system(size: int = 1024, kappa: float = 500.0, entry_share: float = 0.1) -> dict[str, float]:
    """lambda_max = 1; max|H| lies between 1/N and 1."""
    return {
        "step": 1,
        "size": size,
        "kappa": kappa,
        "damping": 1 / (kappa - 1),
        "largest_eigenvalue": 1.0,
        "largest_entry": max(1 / size, entry_share),
        "trace": 3.0,
        "dense_flops": 2.0 * 1000 * size**2,
        "product_flops": 4.0 * 1000 * size,
        "product_bytes": 8.0 * 1000 * 100,
    }


def seconds_of(clock: Clock, rule: str | None, steps: list[dict], systems: list[dict]) -> dict[str, float]:
    return training_seconds(step_seconds(clock, rule, steps, systems))


systems = st.builds(
    system,
    size=st.integers(2, 20_000),
    kappa=st.floats(1.5, 1e9),
    entry_share=st.floats(0, 1),
)


def test_the_papers_two_solvers_by_hand() -> None:
    clock, one = Clock(1e-9, MACHINE), system()
    assert clock.lu(one) == pytest.approx(2 / 3 * 1024**3 / MACHINE.lu_flops)
    assert clock.jennings(one, lambda _: 2.0).seconds == pytest.approx(jennings_queries(500, 2.0, 1e-2) * 10**2 * 1e-9)
    assert clock.gradient(STEP) == pytest.approx(max(2e9 / MACHINE.lu_flops, 1e9 / MACHINE.bandwidth))
    assert clock.assembly(one) == pytest.approx(one["dense_flops"] / MACHINE.lu_flops)


def test_the_papers_quantum_solver_is_that_of_the_planner() -> None:
    stated = stated_system(1024, kappa=500, alpha=3.0)
    planned = make_predictor("jennings").predict(stated, Clock(1e-12, MACHINE).paper, select_backend("cpu"))
    own = Clock(1e-12, MACHINE).jennings(system(1024, 500), lambda _: 3.0)
    assert 1 <= planned.seconds / own.seconds < 1.11  # the planner rounds kappa up to its grid


def test_three_norms_of_a_block_encoding() -> None:
    one = system(entry_share=0.1)
    damping = one["damping"]
    assert least_alpha(one) == 1
    assert gram_alpha(one) == pytest.approx((3 + damping) / (1 + damping))
    assert sparse_access_alpha(one) == pytest.approx(1024 * (0.1 + damping) / (1 + damping))


@given(systems, st.sampled_from(sorted(RULES)))
@settings(max_examples=60, deadline=None)
def test_faster_gates_never_take_longer(one: dict[str, float], rule: str) -> None:
    seconds = [seconds_of(Clock(gate, MACHINE), rule, [STEP], [one])["total"] for gate in GATE_TIMES]
    assert seconds == sorted(seconds, reverse=True)


@given(st.lists(systems, min_size=1, max_size=4), st.sampled_from(GATE_TIMES))
@settings(max_examples=60, deadline=None)
def test_q_newton_is_never_slower_than_classical_newton_under_its_own_rule(
    some: list[dict[str, float]], gate: float
) -> None:
    clock = Clock(gate, MACHINE)
    totals = {rule: seconds_of(clock, rule, [STEP], some) for rule in RULES}
    for alpha in ALPHAS:
        assert totals[f"Q-Newton, {alpha}"]["total"] <= totals["classical Newton"]["total"]
        if totals[f"Q-Newton, {alpha}"]["quantum_share"] == 0:
            assert totals[f"Q-Newton, {alpha}"]["total"] == totals["classical Newton"]["total"]
    assert totals["honest Q-Newton"]["total"] <= totals["honest classical"]["total"]
    assert totals["Q-Newton, least alpha"]["total"] <= totals["Q-Newton, sparse access"]["total"]


def test_slow_gates_leave_all_to_lu_and_fast_ones_nothing_but_gradients() -> None:
    some = [system(), system(size=170, kappa=50)]
    slow = seconds_of(Clock(1.0, MACHINE), "Q-Newton, gram", [STEP], some)
    assert slow["quantum_share"] == 0
    assert slow["solves"] == pytest.approx(sum(Clock(1.0, MACHINE).lu(one) for one in some))
    fast = seconds_of(Clock(1e-24, MACHINE), "Q-Newton, gram", [STEP], some)
    assert fast["quantum_share"] == 1
    assert fast["total"] == pytest.approx(fast["gradients"])
    first_order = seconds_of(Clock(1e-24, MACHINE), None, [STEP, STEP | {"step": 2}], [])
    assert first_order["total"] == pytest.approx(2 * fast["gradients"])
    assert first_order["assembly"] == 0


@pytest.mark.parametrize("gate", [1e-9, 1e-12, 1e-15])
def test_lu_is_as_fast_where_kappa_is_at_break_even(gate: float) -> None:
    clock = Clock(gate, MACHINE)
    kappa = kappa_at_break_even(clock, 12560)
    assert clock.jennings(system(12560, kappa), least_alpha).seconds == pytest.approx(clock.lu(system(12560)), rel=1e-9)


def test_where_lu_always_wins_no_kappa_is_at_break_even() -> None:
    assert kappa_at_break_even(Clock(1.0, MACHINE), 100) == 0


def test_a_kappa_below_the_formulas_range_is_raised_to_it() -> None:
    clock = Clock(1e-12, MACHINE)
    assert (
        clock.jennings(system(kappa=1.5), least_alpha).seconds
        == clock.jennings(system(kappa=math.sqrt(12)), least_alpha).seconds
    )
