"""What decides a comparison: every finding is checked by predicting the changed world from the start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qnewton_gpu import ClassicalMachine, CostModel, Hardware, LinearSystem, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.costs import COMPARISONS
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.planning.estimate import estimate, estimate_all, solver_costs
from qnewton_gpu.planning.plan import predict_all
from qnewton_gpu.planning.sensitivity import Finding, Sensitivity, Verdict, judge, sensitivity
from qnewton_gpu.planning.stated import stated_system
from qnewton_gpu.solvers import CLASSICAL, QUANTUM, make_predictor

CPU = select_backend("cpu")
SYSTEMS = {
    "sparse": lambda: stated_system(12544, 100, 64),
    "dense": lambda: stated_system(1210, 40, None, 1.3, 1e-2),
    "tight": lambda: stated_system(4096, 1e4, 9, 2.0, 1e-9),
}
GATE_TIMES = (1e-7, 1e-10)


def general() -> LinearSystem:
    """A matrix that is not symmetric: some circuits run on [[0, A], [A^t, 0]]."""
    A = np.diag(np.linspace(1.0, 3.0, 64)) + 0.3 * np.eye(64, k=1)
    bounds = SpectrumBounds(0.7, 3.4, certified=True, method="made so")
    return LinearSystem(as_operator(A, CPU), np.ones((64, 1)), bounds, 1e-3)


def examined(system: LinearSystem, model: CostModel) -> Sensitivity:
    found = estimate(system, model).sensitivity
    assert found is not None
    return found


def kind(name: str) -> str:
    return "classical" if name in CLASSICAL else "quantum"


def verdict(
    system: LinearSystem,
    model: CostModel,
    quantum: Sequence[str] = (),
    classical: Sequence[str] = (),
    hardware: Hardware | None = None,
) -> Verdict:
    """Predicted from the start; `hardware` as it is, also where a comparison would not have it."""
    quantum, classical = quantum or model.quantum_candidates, classical or model.classical_candidates
    costs = predict_all(system, model, CPU, {name: make_predictor(name) for name in classical})
    circuits = CostModel(hardware or model.hardware, model.classical, "ideal")
    costs |= predict_all(system, circuits, CPU, {name: make_predictor(name) for name in quantum})
    found = judge(costs, quantum, classical)
    assert found is not None
    return found


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("gate_time", GATE_TIMES)
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_every_number_that_flips_does_so_there_and_nowhere_nearer(name: str, gate_time: float, comparison: str) -> None:
    system, model = SYSTEMS[name](), CostModel(Hardware(gate_time)).under(comparison)
    found = examined(system, model)
    numbers = {finding.assumption: finding for finding in found.findings if finding.value is not None}
    assert {"gate time", "classical machine"} <= set(numbers)

    def winner(assumption: str, value: float) -> str:
        changed, on = system, model
        if assumption == "gate time":
            on = replace(model, hardware=replace(model.hardware, gate_time=value))
        elif assumption == "classical machine":
            rate = value if kind(found.verdict.winner) == "quantum" else 1 / value
            c = model.classical
            on = replace(model, classical=replace(
                c, cholesky_flops=rate * c.cholesky_flops, lu_flops=rate * c.lu_flops, bandwidth=rate * c.bandwidth
            ))  # fmt: skip
        elif assumption == "kappa":
            changed = replace(system, bounds=replace(system.bounds, lower=system.bounds.upper / value))
        else:
            changed = replace(system, tolerance=value)
        return verdict(changed, on).winner

    for assumption, finding in numbers.items():
        assert finding.value is not None
        stated = {"gate time": gate_time, "classical machine": 1.0, "kappa": system.kappa}.get(
            assumption, system.tolerance
        )
        outwards = 1.001 if finding.value > stated else 1 / 1.001
        beyond, before = (winner(assumption, finding.value * outwards**power) for power in (1, -1))
        assert kind(before) == kind(found.verdict.winner) != kind(beyond), assumption
        assert beyond == finding.winner and finding.flips


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("gate_time", GATE_TIMES)
def test_every_other_assumption_is_changed_alone(gate_time: float, comparison: str) -> None:
    system, model = stated_system(12544, 100, 64), CostModel(Hardware(gate_time)).under(comparison)
    found = examined(system, model)
    hardware = {
        ("access", "a gate for"): {"access": "qrom"}, ("access", "log2"): {"access": "qram"},
        ("readout", "free"): {"readout": "none"}, ("readout", "0.65"): {"readout": "copies"},
        ("readout", "N/eps"): {"readout": "inverse"}, ("state preparation", "free"): {"state_preparation": False},
        ("state preparation", "charged"): {"state_preparation": True},
        ("failures", "repeated"): {"amplification": False},
        ("gates", "physical"): {"level": "physical"}, ("T factories", "one"): {"factories": 1},
        ("processors", "one for every"): {"parallel": 10**12},
    }  # fmt: skip
    checked = set()
    for finding in found.findings:
        changes = [fields for (name, said), fields in hardware.items()
                   if name == finding.assumption and finding.changed.startswith(said)]  # fmt: skip
        if changes:
            expected = verdict(system, model, hardware=replace(model.hardware, **changes[0]))
        elif finding.assumption == "opponents":
            opponents = {"LU alone": ("lu",), "every classical solver": CLASSICAL}[finding.changed]
            expected = verdict(system, model, classical=opponents)
        elif finding.assumption == "query count":
            expected = verdict(system, model, quantum=(finding.changed.removeprefix("that of "),))
        elif finding.assumption == "success probability":
            expected = verdict(replace(system, expected_success=dict.fromkeys(QUANTUM, 1.0)), model)
        else:
            continue
        assert (finding.winner, finding.lead) == (expected.winner, pytest.approx(expected.lead)), finding.said
        assert finding.flips == (kind(expected.winner) != kind(found.verdict.winner))
        checked.add(finding.assumption)
    assert {"access", "readout", "state preparation", "failures", "opponents", "query count", "gates"} <= checked


def test_a_verdict_is_the_argmin_with_its_margins() -> None:
    system, model = stated_system(12544, 100, 64), CostModel().honest()
    costs = solver_costs(system, model)
    found = verdict(system, model)
    seconds = sorted(costs[name].seconds for name in model.candidates)
    assert found.seconds == seconds[0] == costs[found.winner].seconds
    assert found.margin == seconds[1] / seconds[0] == costs[found.second].seconds / found.seconds
    assert found.lead == min(costs[name].seconds for name in model.quantum_candidates) / found.seconds
    assert kind(found.winner) != kind(found.rival)


def test_kappa_and_tolerance_of_a_dilated_system_are_those_asked_about() -> None:
    """Circuits on [[0, A], [A^t, 0]] keep that system with the encodings: its bounds must not go stale."""
    (gate_time,) = (f.value for f in examined(general(), CostModel().honest()).findings if f.assumption == "gate time")
    assert gate_time is not None
    model = CostModel(Hardware(gate_time / 2)).honest()  # the circuits win, but not at every kappa
    system = general()
    found = {finding.assumption: finding for finding in examined(system, model).findings}
    flip = found["kappa"]
    assert flip.value is not None
    for factor in (1.01, 1 / 1.01):
        fresh = general()
        fresh.bounds = replace(fresh.bounds, lower=fresh.bounds.upper / (flip.value * factor), smallest_nonzero=None)
        beyond = (factor > 1) == (flip.value > system.kappa)
        assert (kind(verdict(fresh, model).winner) == kind(flip.winner)) == beyond
    assert system.bounds == general().bounds


def test_kappa_of_a_matrix_known_by_a_factor_is_not_varied() -> None:
    operator = GramOperator(np.random.default_rng(0).standard_normal((20, 8)), 0.1, CPU)
    system = LinearSystem(operator, np.ones((8, 1)), SpectrumBounds(0.1, 60.0, certified=True), 1e-2)
    names = {finding.assumption for finding in examined(system, CostModel()).findings}
    assert "kappa" not in names and "tolerance" in names


def test_where_no_candidate_can_serve_nothing_decides() -> None:
    A = np.random.default_rng(0).standard_normal((16, 5))
    bounds = SpectrumBounds(1.0, 8.0, certified=True)
    tall = LinearSystem(as_operator(A, CPU), np.ones((16, 1)), bounds, 1e-2)
    found = estimate_all(tall, CostModel())
    assert found["paper"].sensitivity is None and found["paper"].winner is None
    alone = found["ideal"].sensitivity
    assert alone is not None and alone.verdict.winner == "qsvt" and math.isinf(alone.verdict.lead)
    by_assumption = {finding.assumption: finding for finding in alone.findings}
    assert by_assumption["opponents"].flips and by_assumption["opponents"].winner in ("qr", "cg")
    assert "gate time" not in by_assumption  # no gate time would make LU serve it
    jennings = [finding for finding in alone.findings if finding.changed == "that of jennings"]
    assert jennings[0].said.endswith("-> nobody can") and not jennings[0].flips


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (Finding("readout", "paid", "free", True, "cg", 3.1e5), "readout: paid instead of free -> cg wins by 3.1e5"),
        (Finding("access", "qrom", "qram", False, "lu", 12.0), "access: qrom instead of qram -> lu still wins by 12"),
        (Finding("kappa", "300", "100", True, "lu", 1.0, 300.0), "kappa: 300 instead of 100 -> from there on lu wins"),
        (Finding("opponents", "lu", "", True, "qsvt", math.inf), "opponents: lu -> only qsvt can"),
    ],
)  # fmt: skip
def test_findings_are_said_in_words(finding: Finding, said: str) -> None:
    assert finding.said == said


def test_costs_are_taken_as_given() -> None:
    """What was predicted before is judged, not predicted again."""
    system, model = stated_system(1024, 50, 16), CostModel(classical=ClassicalMachine("slow", 1e3, 1e3, 1e3))
    costs: dict[str, Any] = solver_costs(system, model)
    assert costs["lu"].seconds > costs["qsvt"].seconds
    costs["lu"] = replace(costs["lu"], seconds=costs["qsvt"].seconds / 2)
    found = sensitivity(system, model, costs)
    assert found is not None and found.verdict.winner == "lu" and found.verdict.lead == pytest.approx(2)
