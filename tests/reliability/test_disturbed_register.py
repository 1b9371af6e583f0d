"""x and p come from the simulated register: disturb it, and both change, and the status with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu import Status
from qnewton_gpu.encodings.gram import ReducedGram
from qnewton_gpu.encodings.walk import WalkEncoding

RANDOM = np.random.default_rng(11)
H = np.diag(np.linspace(1, 5, 12)) + 0.1 * np.ones((12, 12))
b = RANDOM.standard_normal(12)


def disturb(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, size: float) -> None:
    """Add noise of relative `size`, another at every call, to what the method returns."""
    real: Callable[..., Any] = getattr(owner, method)
    random = np.random.default_rng(0)

    def noisy(self: Any, *args: Any) -> Any:
        result = real(self, *args)
        noise = random.standard_normal(result.shape)
        return result + size * np.linalg.norm(result) / np.linalg.norm(noise) * noise

    monkeypatch.setattr(owner, method, noisy)


CASES = [
    pytest.param(H, {"encoding": "walk", "mode": "fused"}, WalkEncoding, "reflect", id="fused, reflect"),
    pytest.param(H, {"encoding": "walk", "mode": "fused"}, WalkEncoding, "lower", id="fused, lower"),
    pytest.param(H, {"encoding": "walk", "mode": "fused"}, WalkEncoding, "lift", id="fused, lift"),
    pytest.param(H, {"encoding": "walk", "mode": "subspace"}, WalkEncoding, "matvec", id="subspace, product"),
    pytest.param(qn.GramOperator(H, 0.5), {}, ReducedGram, "rmatvec", id="gram, product"),
]


def solve(A: Any, options: dict[str, Any]) -> qn.Solution:
    return qn.solve(A, b, solver="qsvt", tolerance=1e-6, max_queries=2000, **options)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a register that blows up may overflow
@pytest.mark.parametrize(("A", "options", "owner", "method"), CASES)
def test_a_large_disturbance_changes_x_p_and_the_status(
    A: Any, options: dict[str, Any], owner: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = solve(A, options)
    assert clean.status is Status.SOLVED
    disturb(monkeypatch, owner, method, 0.3)
    disturbed = solve(A, options)
    assert disturbed.status is Status.NOT_CONVERGED, disturbed.message
    assert np.linalg.norm(disturbed.x - clean.x) > 1e-3 * np.linalg.norm(clean.x)
    assert disturbed.history[0]["success_probability"] != pytest.approx(
        clean.history[0]["success_probability"], rel=1e-3
    )
    dense = A.dense() if isinstance(A, qn.GramOperator) else A
    residual = np.linalg.norm(b - dense @ disturbed.x) / np.linalg.norm(b)
    assert disturbed.relative_residual == pytest.approx(residual, rel=1e-6)


@pytest.mark.parametrize(("A", "options", "owner", "method"), CASES)
def test_a_small_disturbance_is_seen_in_x_and_p_and_in_the_ledger(
    A: Any, options: dict[str, Any], owner: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = solve(A, options)
    disturb(monkeypatch, owner, method, 1e-9)
    disturbed = solve(A, options)
    assert not np.array_equal(disturbed.x, clean.x)
    assert disturbed.history[0]["success_probability"] != clean.history[0]["success_probability"]
    assert disturbed.ledger["arithmetic"] > 100 * clean.ledger["arithmetic"]
    assert disturbed.solved  # within tolerance, and the residual says so: that is not wrong


@pytest.mark.parametrize("mode", ["fused", "subspace"])
def test_a_wrong_phase_is_seen(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from qnewton_gpu import simulation

    real = simulation.RUN_IN[mode]

    def wrong(runs: Any, backend: Any) -> Any:
        (run,) = runs
        phases = run.phases.copy()
        phases[len(phases) // 2] += 0.5
        return real([replace(run, phases=phases)], backend)

    options = {"encoding": "walk", "mode": mode}
    clean = solve(H, options)
    monkeypatch.setitem(simulation.RUN_IN, mode, wrong)
    disturbed = solve(H, options)
    assert disturbed.history[0]["relative_residual"][0] > 10 * clean.history[0]["relative_residual"][0]
    assert disturbed.history[0]["success_probability"] != pytest.approx(
        clean.history[0]["success_probability"], rel=1e-3
    )
