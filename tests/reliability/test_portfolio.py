"""What the portfolio of solvers reports of itself: bad guesses, charges of a readout by shots, hopeless readouts."""

from __future__ import annotations

import math

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu import CostModel, Readout, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning import estimate_spectrum
from qnewton_gpu.costs.model import query_depth, repetitions
from qnewton_gpu.operators import as_operator
from qnewton_gpu.solvers import LinearSystem, make_solver

CPU = select_backend("cpu")
RANDOM = np.random.default_rng(4)
BASIS = np.linalg.qr(RANDOM.standard_normal((12, 12)))[0]
STRETCHED = as_operator((BASIS * np.geomspace(1e-3, 1, 12)) @ BASIS.T, CPU)


@pytest.mark.parametrize("too_small", [1e-4, 1e-2, 0.1])
def test_a_guess_of_the_norm_that_is_far_too_small_only_costs_a_round(too_small: float) -> None:
    norm = too_small * float(np.linalg.norm(np.linalg.solve(STRETCHED.dense(), BASIS[:, 0])))
    system = LinearSystem(STRETCHED, BASIS[:, :1], estimate_spectrum(STRETCHED), 1e-2, expected_norm=norm)
    solution = make_solver("kernel_reflection").solve(system, CPU)
    assert solution.solved and len(solution.history) == 2
    assert solution.history[0]["relative_residual"] == pytest.approx([1.0]) or too_small == 0.1


@pytest.mark.parametrize("tolerance", [0.5, 0.3])
def test_an_unlucky_norm_search_is_no_failure_at_a_coarse_tolerance(tolerance: float) -> None:
    b = np.column_stack([BASIS[:, 0], BASIS[:, 5], 1e-8 * BASIS[:, 11], 0 * BASIS[:, 0]])
    bounds = estimate_spectrum(STRETCHED)
    statuses = {
        make_solver("kernel_reflection").solve(LinearSystem(STRETCHED, b, bounds, tolerance, seed=seed), CPU).status
        for seed in range(20)
    }
    assert statuses == {Status.SOLVED}


@pytest.mark.parametrize("solver", ["qsvt", "hhl", "kernel_reflection"])
def test_the_charge_of_shots_is_that_of_the_circuits_that_were_run(solver: str) -> None:
    A, b = BASIS[:6, :6] + np.eye(6), np.ones(6)
    model = CostModel()
    shots = Readout("shots", 200)
    solution = qn.solve(A, b, solver=solver, encoding="walk", tolerance=0.1, readout=shots, hardware=model)
    seconds = 0.0
    for entry in solution.history:
        assert entry["preparations"][0] >= 2 * 200 * 12  # [0; x] of [[0, A], [A^t, 0]] is what was read
        searched = entry.get("norm_search_queries", 0)
        p = entry["success_probability"][0]
        made = repetitions(p, amplification=True) * entry["preparations"][0] * (entry["queries"] - searched)
        seconds += (made + searched) * query_depth("qram", 12, 0) * model.hardware.gate_time
    assert solution.history and solution.projected_seconds == pytest.approx(seconds)


def test_shots_of_a_circuit_that_hardly_ever_succeeds_end_with_a_status() -> None:
    solution = qn.solve(
        np.diag([1.0, 0.0, 0.5]), np.ones(3), solver="qsvt", tolerance=1e-3, readout=Readout("shots", 1000)
    )
    assert solution.status is not Status.SOLVED and math.isfinite(solution.relative_residual)
