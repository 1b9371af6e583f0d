"""A plan never picks a solver that leaves more than the tolerance: its certificate, recomputed here, says so."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import CostModel, GramOperator, Hardware, LinearSystem, Scheduler, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import COMPARISONS
from qnewton_gpu.operators import as_operator

CPU = select_backend("cpu")
KINDS = ("definite", "indefinite", "sparse", "gram")


def made(kind: str, kappa: float, size: int, random: np.random.Generator) -> tuple[object, np.ndarray]:
    """An operator with |eigenvalues| from 1/kappa to 1, and its dense matrix."""
    values = np.geomspace(1 / kappa, 1.0, size)
    if kind == "gram":  # G^t G + damping
        basis = np.linalg.qr(random.standard_normal((size, size)))[0]
        G = np.sqrt(values - 0.99 / kappa)[:, None] * basis.T
        operator = GramOperator(G, 0.99 / kappa, CPU)
        return operator, operator.dense()
    if kind == "indefinite":
        values[::2] *= -1
    if kind == "sparse":
        return as_operator(sp.diags_array(values).tocsr(), CPU), np.diag(values)
    basis = np.linalg.qr(random.standard_normal((size, size)))[0]
    H = (basis * values) @ basis.T
    H = (H + H.T) / 2
    return as_operator(H, CPU), H


@pytest.mark.parametrize("comparison", COMPARISONS)
@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    kappa=st.floats(0.1, 5).map(lambda exponent: 10.0**exponent),
    tolerance=st.floats(-9, -1).map(lambda exponent: 10.0**exponent),
    gate_time=st.floats(-18, -6).map(lambda exponent: 10.0**exponent),
    size=st.integers(2, 40),
    max_queries=st.sampled_from([50, 1000, 10**5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_planned_solver_solves_within_the_tolerance(
    comparison: str, kind: str, kappa: float, tolerance: float, gate_time: float, size: int, max_queries: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    operator, H = made(kind, kappa, size, random)
    b = random.standard_normal((size, 1))
    magnitudes = abs(np.linalg.eigvalsh(H))
    bounds = SpectrumBounds(0.99 * magnitudes.min(), 1.01 * magnitudes.max(), True, negative=kind == "indefinite")
    scheduler = Scheduler(CostModel(Hardware(gate_time), comparison=comparison), max_queries=max_queries, backend=CPU)
    solution, plan = scheduler.solve(LinearSystem(operator, b, bounds, tolerance))
    assert plan.fallbacks == [] and solution.solver == plan.solver, plan.fallbacks
    assert solution.solved, solution.message
    assert np.linalg.norm(b - H @ solution.x) <= tolerance * np.linalg.norm(b)
    assert solution.queries <= max_queries
