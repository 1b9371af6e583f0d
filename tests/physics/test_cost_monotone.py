"""Costs are monotone: a worse conditioned, larger system or a slower gate is never predicted to cost less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import CostModel, Hardware
from qnewton_gpu.costs import COMPARISONS, Cost
from qnewton_gpu.planning.plan import predict_all
from qnewton_gpu.planning.stated import stated_system
from qnewton_gpu.solvers import FORMULAS, QUANTUM, SOLVERS, Predictor, make_predictor

SLOW = ("qsvt_pseudo_inverse", "saddle_free")
"""Their polynomials are found by a search, which takes a tenth of a second."""
PREDICTORS = {name: make_predictor(name) for name in (*SOLVERS, *FORMULAS)}
QUICK = {name: predictor for name, predictor in PREDICTORS.items() if name not in SLOW}
ROUNDING = 1 + 1e-12
SYSTEMS = st.fixed_dictionaries(
    {
        "size": st.integers(1, 10**7),
        "kappa": st.floats(1, 1e7),
        "row_nonzeros": st.none() | st.integers(1, 1000),
        "alpha": st.floats(1, 1e3),
        "tolerance": st.floats(1e-10, 0.2),
    }
)
HARDWARE = st.builds(
    Hardware,
    gate_time=st.floats(1e-18, 1e-3),
    access=st.sampled_from(["qram", "qrom"]),
    readout=st.sampled_from(["none", "copies", "inverse"]),
    amplification=st.booleans(),
    state_preparation=st.booleans(),
    level=st.sampled_from(["logical", "physical"]),
    factories=st.none() | st.integers(1, 100),
)
GROWTH = st.floats(1, 100)


def in_every_comparison(test: Callable[..., None]) -> Callable[..., None]:
    """Systems, hardware and growth at random, 120 of each comparison."""
    varied = settings(max_examples=120)(given(stated=SYSTEMS, hardware=HARDWARE, growth=GROWTH)(test))
    return pytest.mark.parametrize("comparison", COMPARISONS)(varied)


def costs(stated: dict[str, Any], model: CostModel, predictors: dict[str, Predictor] = QUICK) -> dict[str, Cost]:
    system = stated_system(**stated)
    return predict_all(system, model, system.operator.backend, predictors)


def never_less(small: dict[str, Cost], large: dict[str, Cost]) -> None:
    for name in small:
        assert small[name].seconds <= large[name].seconds * ROUNDING, name


@in_every_comparison
def test_costs_never_fall_with_kappa(
    comparison: str, stated: dict[str, Any], hardware: Hardware, growth: float
) -> None:
    """On a grid of kappa, so that they may stay the same."""
    model = CostModel(hardware).under(comparison)
    never_less(costs(stated, model), costs({**stated, "kappa": stated["kappa"] * growth}, model))


@in_every_comparison
def test_costs_never_fall_with_the_order(
    comparison: str, stated: dict[str, Any], hardware: Hardware, growth: float
) -> None:
    model = CostModel(hardware).under(comparison)
    larger = {**stated, "size": int(stated["size"] * growth)}
    never_less(costs(stated, model), costs(larger, model))


@in_every_comparison
def test_costs_of_circuits_are_proportional_to_the_gate_time(
    comparison: str, stated: dict[str, Any], hardware: Hardware, growth: float
) -> None:
    model = CostModel(hardware).under(comparison)
    slower = replace(model, hardware=replace(model.hardware, gate_time=model.hardware.gate_time * growth))
    fast, slow = costs(stated, model), costs(stated, slower)
    for name in fast:
        factor = growth if name in QUANTUM or name in FORMULAS else 1
        assert slow[name].seconds == pytest.approx(factor * fast[name].seconds, rel=1e-12)


@in_every_comparison
def test_costs_never_fall_with_the_norm_of_the_encoding_or_the_entries_of_a_row(
    comparison: str, stated: dict[str, Any], hardware: Hardware, growth: float
) -> None:
    model = CostModel(hardware).under(comparison)
    base = costs(stated, model)
    never_less(base, costs({**stated, "alpha": stated["alpha"] * growth}, model))
    if stated["row_nonzeros"] is not None:
        fuller = {**stated, "row_nonzeros": int(stated["row_nonzeros"] * growth)}
        never_less(base, costs(fuller, model))


@settings(max_examples=120)
@given(stated=SYSTEMS, hardware=HARDWARE)
def test_charging_more_never_costs_less(stated: dict[str, Any], hardware: Hardware) -> None:
    """The honest comparison charges all that the others charge, of the same machines."""
    model = CostModel(hardware)
    never_less(costs(stated, model.under("ideal")), costs(stated, model.honest()))


@pytest.mark.slow
@settings(max_examples=10)
@given(stated=SYSTEMS, hardware=HARDWARE, growth=GROWTH)
def test_so_are_those_whose_polynomials_are_searched_for(
    stated: dict[str, Any], hardware: Hardware, growth: float
) -> None:
    model, predictors = CostModel(hardware).honest(), {name: PREDICTORS[name] for name in SLOW}
    base = costs(stated, model, predictors)
    for name in ("kappa", "alpha", "size"):
        value = stated[name] * growth
        never_less(base, costs({**stated, name: int(value) if name == "size" else value}, model, predictors))
