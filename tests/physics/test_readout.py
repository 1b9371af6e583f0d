"""Shots have the statistics of the experiment they stand for; seeds are fixed and bounds are five deviations wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from qnewton_gpu.backends import select_backend
from qnewton_gpu.circuit import qsvt_circuit
from qnewton_gpu.conditioning import SpectrumBounds
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.readout import Readout, generator_for, read_by_shots, runs_until, sample_program
from qnewton_gpu.simulation import run_sequence
from qnewton_gpu.solvers import LinearSystem, make_solver

CPU = select_backend("cpu")


def vector(n: int, norm: float, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(n)
    return norm / np.linalg.norm(x) * x


def consistent(observed: Any, expected: Any) -> bool:
    """Whether counts are those of their distribution, by a chi-square test at the level 1e-4."""
    return bool(stats.chisquare(observed, expected * (np.sum(observed) / np.sum(expected))).pvalue > 1e-4)


@pytest.mark.parametrize(("n", "low", "high"), [(64, 0.50, 0.66), (256, 0.53, 0.62), (1024, 0.55, 0.59)])
def test_the_error_goes_like_the_root_of_unknowns_over_shots(n: int, low: float, high: float) -> None:
    errors = {}
    for shots_per_unknown in (100, 1600):
        readout = Readout("shots", shots_per_unknown)
        x = np.stack([vector(n, 0.2, seed) for seed in range(20)], axis=1)
        reading = readout.read(x, (x * x).sum(axis=0), readout.generator(n), CPU)
        errors[shots_per_unknown] = np.mean(np.linalg.norm(reading.amplitudes - x, axis=0)) / 0.2
    assert low < errors[100] * np.sqrt(100) < high
    assert 0.8 * readout.error < errors[1600] < 1.1 * readout.error
    assert 3.7 < errors[100] / errors[1600] < 4.8


@pytest.mark.parametrize("p", [0.9, 0.05, 1e-4])
def test_runs_are_negative_binomial(p: float) -> None:
    generator, successes, repeats = generator_for(1), 50, 4000
    runs = np.array([runs_until(successes, p, generator) for _ in range(repeats)])
    expected = stats.nbinom(successes, p)
    failures = np.unique(expected.ppf(np.linspace(0, 1, 9)[1:-1]))
    observed = np.histogram(runs - successes, [-np.inf, *(failures + 0.5), np.inf])[0]
    assert consistent(observed, np.diff([0, *expected.cdf(failures), 1]))


def test_the_norm_is_an_estimate_with_its_own_error() -> None:
    x, shots, p = vector(32, 0.3), 3200, 0.09
    norms = [np.linalg.norm(read_by_shots(x, p, shots, generator_for(2, k))[0]) for k in range(400)]
    deviation = 0.5 * np.sqrt((1 - p) / shots)  # of ||x||, relative
    assert abs(np.mean(norms) / 0.3 - 1) < 5 * deviation / np.sqrt(400)
    assert 0.8 * deviation < np.std(norms) / 0.3 < 1.2 * deviation


def test_magnitudes_are_multinomial() -> None:
    x, shots = vector(24, 0.5), 20_000
    read, _ = read_by_shots(x, 0.25, shots, generator_for(3))
    counts = read**2 / (read**2).sum() * shots
    assert consistent(counts, x * x)


def test_signs_are_right_wherever_a_few_shots_found_the_index() -> None:
    x, shots = vector(500, 0.5), 50_000
    read, _ = read_by_shots(x, 0.25, shots, generator_for(4))
    often = x * x / 0.25 * shots > 30
    assert often.sum() > 250
    assert np.array_equal(np.sign(read[often]), np.sign(x[often]))
    assert (np.sign(read) != np.sign(x)).sum() > 0  # entries that a shot never finds cannot have a sign


@pytest.mark.parametrize("indefinite", [False, True])
def test_refinement_makes_shots_usable(indefinite: bool) -> None:
    """2 x 100 N shots a round leave 6 % of the error of x, whatever the matrix: 1e-10 after nine rounds."""
    n, kappa, random = 256, 50.0, np.random.default_rng(1)
    values = np.linspace(1 / kappa, 1, n) * (random.choice([-1, 1], n) if indefinite else 1)
    vectors = np.linalg.qr(random.standard_normal((n, n)))[0]
    A = (vectors * values) @ vectors.T
    x, b = np.zeros((n, 1)), random.standard_normal((n, 1))
    solution = np.linalg.solve(A, b)
    encoding = encode(as_operator((A + A.T) / 2, CPU), CPU, "dilation")
    phases = phase_factors(inverse_polynomial(kappa * encoding.alpha, 1e-2))
    readout, errors = Readout("shots"), [1.0]
    for k in range(9):
        residual = b - A @ x
        norm = np.linalg.norm(residual)
        outcome = run_sequence(encoding, phases.reflection, residual / norm, CPU)
        reading = readout.read(outcome.amplitudes, outcome.success_probability, readout.generator(k), CPU)
        x = x + norm * phases.sup_norm / phases.scale / encoding.alpha * reading.amplitudes
        errors.append(float(np.linalg.norm(x - solution) / np.linalg.norm(solution)))
    ratios = np.array(errors[1:]) / errors[:-1]
    assert np.all((ratios > 0.04) & (ratios < 0.075))
    assert errors[8] < 2e-10


def test_a_gate_program_that_is_sampled_and_post_selected_has_the_same_statistics() -> None:
    random = np.random.default_rng(5)
    H = random.standard_normal((4, 4))
    encoding = encode(as_operator(H + H.T, CPU), CPU, "matching")
    phases = random.uniform(-1, 1, 8)
    start = vector(4, 1.0)[:, None]
    x = run_sequence(encoding, phases, start, CPU, mode="circuit").amplitudes[:, 0]
    p, shots = float(x @ x), 20_000
    assert 0.02 < p < 0.9
    program = qsvt_circuit(encoding.circuit(), encoding.system_qubits, phases)
    counts, runs = sample_program(program, start, encoding.system_qubits, shots, generator_for(6), CPU)
    assert counts.sum() == shots
    assert consistent(counts, x * x)
    assert abs(runs - shots / p) < 5 * np.sqrt(shots * (1 - p)) / p
    read, _ = read_by_shots(x, p, shots, generator_for(7))
    drawn = np.round(read**2 / (read**2).sum() * shots)
    assert stats.chi2_contingency([counts, drawn]).pvalue > 1e-4


@pytest.mark.parametrize("certified", [True, False])
def test_a_solver_refines_what_shots_give_to_any_tolerance(certified: bool) -> None:
    """An error of x grows by kappa on its way into the residual; that is no reason to cover a larger kappa."""
    n, kappa, random = 64, 200.0, np.random.default_rng(2)
    vectors = np.linalg.qr(random.standard_normal((n, n)))[0]
    A = (vectors * np.geomspace(1 / kappa, 1, n)) @ vectors.T
    b = vectors[:, -8:] @ random.standard_normal((8, 2))
    bounds = SpectrumBounds(1 / kappa, 1.0, certified=certified, matvecs=0, method="known")
    system = LinearSystem(as_operator((A + A.T) / 2, CPU), b, bounds, 1e-9, seed=5)
    solver: Any = make_solver("qsvt", encoding="dilation", readout=Readout("shots", 12))
    solution = solver.solve(system, CPU)
    assert solution.solved, solution.message
    assert np.linalg.norm(b - A @ solution.x, axis=0).max() < 1.1e-9 * np.linalg.norm(b)
    assert 10 <= len(solution.history) <= 20
    assert {entry["kappa"] for entry in solution.history} == {solution.history[0]["kappa"]}
    for entry in solution.history:
        assert entry["preparations"] == [2 * 12 * n] * 2
        p, runs = np.array(entry["success_probability"]), np.array(entry["runs"])
        assert np.all(np.abs(runs * p / (2 * 12 * n) - 1) < 0.2)
    again = solver.solve(LinearSystem(system.operator, b, bounds, 1e-9, seed=5), CPU)
    assert np.array_equal(again.x, solution.x)
    other = solver.solve(LinearSystem(system.operator, b, bounds, 1e-9, seed=6), CPU)
    assert other.solved and not np.array_equal(other.x, solution.x)
