"""Trajectories average to the channels that they stand for; seeds are fixed and bounds are wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.noise import Noise, random_paulis, run_with_noise, trajectories
from qnewton_gpu.operators import GramOperator, as_operator
from qnewton_gpu.readout import generator_for
from qnewton_gpu.simulation import Run, run_sequence

CPU = select_backend("cpu")
RANDOM = np.random.default_rng(3)
QUERIES = 5
PHASES = RANDOM.uniform(-0.5, 0.5, QUERIES + 1)


def symmetric(n: int) -> np.ndarray:
    H = np.random.default_rng(n).standard_normal((n, n))
    return H + H.T


def circuit(encoding_name: str, mode: str, n: int = 3, columns: int = 2) -> Run:
    """A circuit on a tiny register, and one whose projectors are two for gram."""
    operator = GramOperator(symmetric(n)[:2], 0.4) if encoding_name == "gram" else as_operator(symmetric(n), CPU)
    start = np.random.default_rng(columns).standard_normal((n, columns))
    return Run(encode(operator, CPU, encoding_name), PHASES, start / np.linalg.norm(start, axis=0), "right", mode)


def outcomes_of(run: Run, noise: Noise, count: int, seed: int = 0) -> list[Any]:
    """Outcomes of single trajectories, which are all there is where nothing, or every query, meets an error."""
    assert noise.depolarising in (0, 1)
    generator = generator_for(seed)
    assert noise.trajectories == 1
    return [run_with_noise(run, noise, CPU, generator) for _ in range(count)]


def density(states: Any) -> np.ndarray:
    """The mean of |psi><psi| over states (count, d)."""
    states = np.asarray(states)
    return states.T @ states.conj() / len(states)


def exact_channel(run: Run, phase_error: float, p: float) -> np.ndarray:
    """The density matrix after the program, d x d, phase by phase and query by query without any randomness."""
    encoding, size, side = run.encoding, run.encoding.register_size, run.side
    start = encoding.lift(run.start[:, :1].astype(complex), side)
    rho = start @ start.conj().T
    reflection = encoding.reflect(np.eye(size))
    for k, phi in enumerate(run.phases[::-1]):
        if k:
            rho = reflection @ rho @ reflection.T
            rho = (1 - p) * rho + p * np.eye(size) / size
            side = side if encoding.symmetric else {"right": "left", "left": "right"}[side]
        projector = encoding.lift(encoding.lower(np.eye(size), side), side)
        # rho = Pi rho Pi + (1 - Pi) rho (1 - Pi) + coherences, which exp(i delta (2 Pi - 1)) turns by 2 delta
        inside = 2 * projector - np.eye(size)
        diagonal = (rho + inside @ rho @ inside) / 2
        rho = diagonal + np.exp(-2 * phase_error**2) * (rho - diagonal)
        turn = np.cos(phi) * np.eye(size) + 1j * np.sin(phi) * inside
        rho = turn @ rho @ turn.conj().T
    return rho


@pytest.mark.parametrize("encoding_name", ["walk", "matching", "gram"])
@pytest.mark.parametrize(("phase_error", "p"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.15), (0.3, 0.1), (0.0, 1.0)])
def test_trajectories_average_to_the_exact_channel(encoding_name: str, phase_error: float, p: float) -> None:
    run, count = circuit(encoding_name, "fused", columns=1), 500
    expected = exact_channel(run, phase_error, p)
    assert np.trace(expected) == pytest.approx(1, abs=1e-12)
    noise = Noise(phase_error, depolarising=p, trajectories=count)
    drawn = [(weight, one.execute(CPU).register()) for weight, one in trajectories(run, noise, generator_for(0))]
    assert sum(weight for weight, _ in drawn) == pytest.approx(1, abs=1e-12)
    found = sum(weight * psi @ psi.conj().T for weight, psi in drawn)
    # E ||found - expected||^2 = (1 - tr expected^2)/count without weights, and less with them
    deviation = np.sqrt(max(1 - np.trace(expected @ expected).real, 0.0) / count)
    assert np.linalg.norm(found - expected) < 3 * deviation + 1e-12
    if phase_error or p:
        assert np.linalg.norm(expected - exact_channel(run, 0.0, 0.0)) > 12 * deviation


@pytest.mark.parametrize(("encoding_name", "mode"), [("walk", "fused"), ("matching", "fused"), ("matching", "circuit")])
@pytest.mark.parametrize("p", [0.25, 1.0])
def test_depolarised_amplitudes_follow_the_closed_form_in_every_mode(encoding_name: str, mode: str, p: float) -> None:
    run = circuit(encoding_name, mode)
    encoding = run.encoding
    size = encoding.register_size if mode == "fused" else 1 << (encoding.system_qubits + encoding.ancilla_qubits)
    kept = (1 - p) ** QUERIES
    clean = run_with_noise(run, Noise(), CPU, generator_for(0)).amplitudes
    expected = kept * clean**2 + (1 - kept) / (2 * size)  # the qubit of the real part doubles the dimension
    repeats, noise = (16, Noise(depolarising=p, trajectories=25)) if mode == "circuit" else (24, Noise(0, 0, p, 50))
    outcomes = [run_with_noise(run, noise, CPU, generator_for(1, k)) for k in range(repeats)]
    squares = np.array([outcome.amplitudes**2 for outcome in outcomes])
    deviation = squares.std(axis=0) / np.sqrt(repeats)
    assert np.all(np.abs(squares.mean(axis=0) - expected) < 5 * deviation)
    assert np.any(np.abs(clean**2 - expected) > 6 * deviation)  # noise is seen, not lost in the scatter
    for outcome in outcomes:
        assert np.allclose(outcome.register_norm, 1, atol=1e-12)
        assert np.allclose((outcome.amplitudes**2).sum(axis=0), outcome.success_probability, atol=1e-14)


def test_complete_depolarising_leaves_every_amplitude_of_a_gate_program_alike() -> None:
    run = circuit("matching", "circuit", columns=1)
    states = np.array([o.register()[:, 0] for o in outcomes_of(run, Noise(depolarising=1.0, trajectories=1), 400)])
    size = states.shape[1]
    found = density(states)
    assert np.linalg.norm(found - np.eye(size) / size) < 3 * np.sqrt((1 - 1 / size) / len(states))
    assert np.abs(states.mean(axis=0)).max() < 5 / np.sqrt(len(states) * size)  # no coherence with the noiseless run


def test_the_average_of_random_paulis_is_complete_depolarising() -> None:
    generator, rho = generator_for(4), np.outer([0.8, 0.6j], [0.8, -0.6j])
    total, mean, count = np.zeros((2, 2), complex), np.zeros((2, 2), complex), 4000
    for _ in range(count):
        (gate,) = random_paulis(1, generator)
        total += gate.matrix @ rho @ gate.matrix.conj().T / count
        mean += gate.matrix / count
    assert np.abs(total - np.eye(2) / 2).max() < 5 / np.sqrt(count)
    assert np.abs(mean).max() < 5 / np.sqrt(count)


@pytest.mark.parametrize(("encoding_name", "mode"), [("walk", "subspace"), ("gram", "fused"), ("matching", "circuit")])
def test_wrong_phases_shrink_the_mean_amplitude(encoding_name: str, mode: str) -> None:
    """E exp(i delta Z) = exp(-s^2/2) for each of Q + 1 phases, whatever the encoding."""
    run, s, count = circuit(encoding_name, mode), 0.5, 300
    clean = run_with_noise(run, Noise(), CPU, generator_for(0)).amplitudes
    found = np.array([o.amplitudes for o in outcomes_of(run, Noise(s, trajectories=1), count)])
    expected = np.exp(-(QUERIES + 1) * s * s / 2) * clean
    deviation = found.std(axis=0) / np.sqrt(count)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 5 * deviation)
    assert np.any(np.abs(clean - expected) > 6 * deviation)  # the shrinking is seen, not lost in the scatter


@pytest.mark.parametrize("noise", [Noise(phase_bias=1e-4), Noise(phase_error=1e-4, trajectories=1)])
def test_one_trajectory_is_wrong_in_proportion_to_its_phases(noise: Noise) -> None:
    run = circuit("walk", "subspace")
    clean = run_sequence(run.encoding, PHASES, run.start, CPU).amplitudes

    def error(factor: float) -> Any:
        scaled = Noise(factor * noise.phase_error, factor * noise.phase_bias, trajectories=1)
        return run_with_noise(run, scaled, CPU, generator_for(5)).amplitudes - clean

    assert np.allclose(error(2.0), 2 * error(1.0), rtol=0.02, atol=1e-8)
    assert np.abs(error(1.0)).max() > 1e-6


def test_a_bias_is_the_circuit_of_the_biased_phases() -> None:
    run = circuit("walk", "fused")
    outcome = run_with_noise(run, Noise(phase_bias=0.1), CPU, generator_for(0))
    biased = run_sequence(run.encoding, PHASES + 0.1, run.start, CPU, mode="fused")
    assert np.array_equal(outcome.amplitudes, biased.amplitudes)
    assert np.array_equal(outcome.register(), biased.register())
