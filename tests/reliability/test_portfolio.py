"""What the portfolio of solvers reports of itself: bad guesses, charges of a readout by shots, hopeless readouts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu import CostModel, Readout, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.conditioning import estimate_spectrum
from qnewton_gpu.costs.model import query_depth, repetitions
from qnewton_gpu.costs.resources import T_GATES_OF_AND, solve_resources
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.kronecker import TensorEncoding
from qnewton_gpu.noise import Noise, trajectories
from qnewton_gpu.operators import GeneralMatrix, KroneckerOperator, as_operator
from qnewton_gpu.simulation import Chain, Outcome, Run
from qnewton_gpu.solvers import LinearSystem, make_solver
from qnewton_gpu.solvers.adiabatic import AdiabaticWalk
from qnewton_gpu.solvers.cks import ChebyshevSum
from qnewton_gpu.solvers.hhl import PhaseEstimation

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


def test_an_unlucky_norm_search_is_no_failure_at_a_coarse_tolerance() -> None:
    b = np.column_stack([BASIS[:, 0], BASIS[:, 5], 1e-8 * BASIS[:, 11], 0 * BASIS[:, 0]])
    bounds = estimate_spectrum(STRETCHED)
    for seed in range(5):
        system = LinearSystem(STRETCHED, b, bounds, 0.5, seed=seed)
        assert make_solver("kernel_reflection").solve(system, CPU).status is Status.SOLVED


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


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 4), (5, 3), (8, 8)])
def test_the_qubits_of_the_two_sided_walk_hold_its_register(shape: tuple[int, int]) -> None:
    encoding = encode(GeneralMatrix(1 + RANDOM.random(shape), CPU), CPU, "two_sided")
    assert encoding.register_size <= 2 ** (encoding.system_qubits + encoding.ancilla_qubits)


def test_the_error_of_a_tensor_product_is_scaled_by_the_other_factors() -> None:
    operator = KroneckerOperator([3.0 * np.eye(2), 5.0 * np.eye(2)], CPU)
    parts = [encode(factor, CPU, "walk") for factor in operator.factors]
    parts[0].epsilon, parts[1].epsilon = 0.01, 0.02
    assert TensorEncoding(operator, parts, (0, 1), CPU).epsilon == pytest.approx(0.01 * 5 + 0.02 * 3)


@pytest.mark.parametrize("queries", [1, 4])
def test_every_query_can_meet_an_error(queries: int) -> None:
    noise = Noise(depolarising=0.3, trajectories=5)
    run = Run(encode(STRETCHED, CPU, "walk"), np.zeros(queries + 1), BASIS[:, :1], mode="fused")
    weights = [weight for weight, _ in trajectories(run, noise, noise.generator())]
    assert weights[0] == pytest.approx(0.7**queries) and math.fsum(weights) == pytest.approx(1)


def test_sparse_access_looks_positions_and_values_up_and_forgets_them() -> None:
    encoding, bits = encode(STRETCHED, CPU, "sparse_access"), 34
    once, twice = (solve_resources(encoding, n, phases=0).t_count for n in (1, 2))
    assert twice - once == T_GATES_OF_AND * (4 * (144 - 1) + 2 * bits)


@pytest.mark.parametrize("certified", [True, False])
def test_estimated_bounds_do_not_decide_how_far_down_the_modulus_is_certified(certified: bool) -> None:
    bounds = qn.SpectrumBounds(1e-3, 1.0, certified)
    posed = make_solver("saddle_free", encoding="dilation").pose(LinearSystem(STRETCHED, BASIS[:, :1], bounds, 1e-2))
    assert posed.operator.kappa == pytest.approx(1000 if certified else 4000, rel=0.2)


def test_pauli_strings_that_were_dropped_are_its_error() -> None:
    encoding = encode(as_operator(np.array([[1.0, 1e-17], [1e-17, 1.0]]), CPU), CPU, "pauli")
    assert len(encoding.coefficients) == 1 and encoding.epsilon == pytest.approx(1e-17, abs=0)


def test_preparations_that_are_planned_are_those_that_are_taken() -> None:
    readout, x = Readout("shots", 10), BASIS[:, :2]
    reading = readout.read(x, (x * x).sum(axis=0), readout.generator(), CPU)
    assert reading.preparations.tolist() == 2 * [readout.preparations(12)] == [240, 240]


@pytest.mark.parametrize("program", [PhaseEstimation, ChebyshevSum])
def test_the_ledger_has_the_largest_error_of_the_series(program: type) -> None:
    made = program(None, None, "subspace", 8.0, 0.2)
    x = np.linspace(1 / 8, 1, 4001)
    values = np.polynomial.chebyshev.chebval(x, made.coefficients)
    scale = made.gain if program is PhaseEstimation else 1.0
    worst = float(np.abs(scale * x * values - 1).max())
    assert 0 < made.relative_error == pytest.approx(worst, rel=0.05)


def test_an_error_of_the_adiabatic_direction_counts_kappa_times() -> None:
    made = AdiabaticWalk(None, None, "subspace", 20.0, 1e-3 / 20, definite=True)
    assert 0.5e-3 < made.relative_error <= 1e-3


@pytest.mark.parametrize("damping", [0.05, 1.0, 5.0])
@pytest.mark.parametrize(("first", "outside"), [(1.0, 0.0), (1.0, 1e3), (0.0, 0.0)])
def test_a_damped_system_keeps_any_tolerance_in_its_one_round(damping: float, first: float, outside: float) -> None:
    A = BASIS[:, :4] * np.array([1.0, 0.7, 0.3, 1e-3])
    b = first * BASIS[:, 0] + BASIS[:, 3] + outside * BASIS[:, 8]  # the last is orthogonal to the range of A
    for tolerance in np.geomspace(1e-7, 0.3, 12):
        solution = qn.solve(A, b, solver="qsvt", damping=damping, tolerance=float(tolerance))
        assert solution.solved and len(solution.history) == 1, solution.message


def test_a_chain_says_the_worst_norm_of_its_registers_and_the_error_of_all_its_polynomials() -> None:
    factors = KroneckerOperator([np.diag([1.0, 0.5]), np.diag([1.0, 0.2])], CPU)
    b = np.ones((4, 1))
    solver = make_solver("qsvt")
    system = LinearSystem(factors, b, estimate_spectrum(factors), 1e-2)
    method = solver.method(system, CPU)
    errors = [polynomial.relative_error for polynomial in method.polynomials(1e-2)]
    assert len(errors) == 2 and solver.solve(system, CPU).ledger["polynomial"] == pytest.approx(sum(errors))
    for norms in ((1.0, 1.1), (0.8, 1.0), (0.9, 1.05)):
        outcome = Chain([Scripted(b, norm) for norm in norms]).execute(CPU)
        assert abs(outcome.register_norm[0] - 1) == pytest.approx(max(abs(norm - 1) for norm in norms))


@dataclass(frozen=True)
class Scripted:
    """A run that says which norm its register has."""

    start: np.ndarray
    norm: float
    queries: int = 1

    def execute(self, backend: object) -> Outcome:
        ones = np.ones(1)
        return Outcome(self.start, ones, self.norm * ones, 1, lambda: self.start)
