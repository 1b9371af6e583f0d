"""Break-even gate times: the published oracle, and maps that hold what single predictions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qnewton_gpu import ClassicalMachine, CostModel, Hardware
from qnewton_gpu.errors import ParameterError, ShapeError
from qnewton_gpu.planning.break_even import break_even_map
from qnewton_gpu.planning.plan import predict_all
from qnewton_gpu.planning.stated import stated_system
from qnewton_gpu.solvers import make_predictor


@pytest.mark.parametrize(
    ("opponent", "readout", "expected"),
    [("lu", "none", 3.3e-6), ("cg", "none", 8.5e-8), ("cg", "inverse", 6.8e-14), ("cg", "copies", 1.0e-15)],
)
def test_the_oracle_of_the_papers_formula_at_784_16(opponent: str, readout: str, expected: float) -> None:
    """Jennings v1, eps 1e-2, 20 GFLOP/s, dense FP32 products at 10 GB/s, N = 12544, kappa 100, alpha 2."""
    machine = ClassicalMachine("oracle", cholesky_flops=20e9, lu_flops=20e9, bandwidth=10e9)
    model = CostModel(Hardware(readout=readout), machine)
    system = stated_system(12544, kappa=100, alpha=2, tolerance=1e-2, entry_bytes=4)
    names = ("jennings", opponent)
    costs = predict_all(system, model, system.operator.backend, {name: make_predictor(name) for name in names})
    found = model.break_even_gate_time(costs["jennings"], costs[opponent].seconds)
    assert found == pytest.approx(expected, rel=0.1)
    # what break-even means: on that hardware both take equally long
    there = replace(model, hardware=replace(model.hardware, gate_time=found))
    tie = make_predictor("jennings").predict(system, there, system.operator.backend)
    assert tie.seconds == pytest.approx(costs[opponent].seconds)


@pytest.mark.parametrize("comparison", ["ideal", "paper", "released-code", "honest"])
@pytest.mark.parametrize("row_nonzeros", [None, 16])
def test_a_map_holds_the_gate_times_at_which_the_best_of_both_kinds_tie(
    comparison: str, row_nonzeros: int | None
) -> None:
    sizes, kappas = [64, 1000, 10**6], [2.0, 300.0]
    model = CostModel(comparison="ideal").under(comparison)
    found = break_even_map(sizes, kappas, model, row_nonzeros=row_nonzeros, alpha=1.5, tolerance=1e-3)
    assert found.gate_times.shape == (2, 3) and (found.gate_times > 0).all()
    for i, kappa in enumerate(kappas):
        for j, size in enumerate(sizes):
            there = replace(model, hardware=replace(model.hardware, gate_time=found.gate_times[i, j]))
            system = stated_system(size, kappa, row_nonzeros, 1.5, 1e-3)
            predictors = {name: make_predictor(name) for name in model.candidates}
            costs = predict_all(system, there, system.operator.backend, predictors)
            best = [min(costs[name].seconds for name in names)
                    for names in (model.quantum_candidates, model.classical_candidates)]  # fmt: skip
            assert best[0] == pytest.approx(best[1])


def test_a_map_falls_with_kappa_and_the_honest_one_lies_below() -> None:
    sizes, kappas = np.geomspace(16, 2**20, 6).astype(int), np.geomspace(1, 1e6, 7)
    ideal, honest = (break_even_map(sizes, kappas, CostModel().under(name)) for name in ("ideal", "honest"))
    assert (np.diff(ideal.gate_times, axis=0) <= 0).all()
    assert (honest.gate_times < ideal.gate_times).all()


@pytest.mark.parametrize(("sizes", "kappas"), [([], [1.0]), ([[1, 2]], [1.0]), (4, [1.0]), ([4], [])])
def test_axes_that_are_no_sequences_are_refused(sizes: object, kappas: object) -> None:
    with pytest.raises(ShapeError):
        break_even_map(sizes, kappas, CostModel())  # type: ignore[arg-type]


def test_impossible_systems_are_refused() -> None:
    with pytest.raises(ParameterError, match="kappa"):
        break_even_map([4], [0.5], CostModel())
    with pytest.raises(ParameterError, match="size"):
        break_even_map([4.5], [2.0], CostModel())
