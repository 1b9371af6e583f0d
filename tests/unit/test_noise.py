"""Noise: none at all changes nothing, the same seed gives the same run on every backend, bad options are refused."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import CombinationError, ParameterError
from qnewton_gpu.noise import Noise, run_with_noise, some_errors
from qnewton_gpu.operators import as_operator
from qnewton_gpu.readout import generator_for
from qnewton_gpu.simulation import Chain, Run, run_sequence

CPU = select_backend("cpu")
H = np.random.default_rng(0).standard_normal((5, 5))
H = H + H.T
PHASES = np.random.default_rng(1).uniform(-1, 1, 8)
START = np.linalg.qr(np.random.default_rng(2).standard_normal((5, 2)))[0]
NOISE = Noise(phase_error=0.1, phase_bias=0.02, depolarising=0.2, trajectories=6)


def circuit(mode: str, backend: Any = CPU, name: str = "matching") -> Run:
    encoding = encode(as_operator(backend.asarray(H), backend), backend, name)
    return Run(encoding, PHASES, backend.asarray(START), "right", mode)


@pytest.mark.parametrize("mode", ["subspace", "fused", "circuit"])
def test_no_noise_is_the_noiseless_outcome_bit_for_bit(mode: str) -> None:
    run = circuit(mode)
    plain = run_sequence(run.encoding, PHASES, START, CPU, mode=mode)
    outcome = run_with_noise(run, Noise(trajectories=3), CPU, generator_for(0))
    for field in ("amplitudes", "success_probability", "register_norm"):
        assert np.array_equal(getattr(outcome, field), getattr(plain, field)), field
    assert np.array_equal(outcome.register(), plain.register())
    assert outcome.queries == plain.queries == 7


@pytest.mark.parametrize("mode", ["fused", "circuit"])
def test_rare_errors_change_the_outcome_by_what_they_weigh(mode: str) -> None:
    """However few trajectories there are: p 1e-6 is seen, and nothing near it happens by chance."""
    run = circuit(mode)
    outcome = run_with_noise(run, Noise(depolarising=1e-6, trajectories=2), CPU, generator_for(0))
    plain = run_sequence(run.encoding, PHASES, START, CPU, mode=mode)
    change = np.abs(outcome.amplitudes**2 - plain.amplitudes**2).max()
    assert 1e-9 < change < 7 * 1e-6


@pytest.mark.parametrize("p", [1e-9, 0.02, 0.5, 1.0])
def test_errors_given_that_there_is_one(p: float) -> None:
    generator, queries, count = generator_for(3), 40, 3000
    drawn = [some_errors(queries, Noise(depolarising=p), generator) for _ in range(count)]
    assert all(len(errors) >= 1 and len({*errors.tolist()}) == len(errors) for errors in drawn)
    assert min(errors.min() for errors in drawn) == 0 and max(errors.max() for errors in drawn) == queries - 1
    some = -np.expm1(queries * np.log1p(-p)) if p < 1 else 1.0
    each = np.bincount(np.concatenate(drawn), minlength=queries) / count
    deviation = np.sqrt(p / some * (1 - p / some) / count) + 1e-12
    assert np.abs(each - p / some).max() < 5 * deviation


@pytest.mark.parametrize(("mode", "name"), [("fused", "walk"), ("fused", "matching"), ("circuit", "matching")])
def test_every_backend_meets_the_same_errors(mode: str, name: str, backend: Any) -> None:
    outcome = run_with_noise(circuit(mode, backend, name), NOISE, backend, generator_for(1))
    here = run_with_noise(circuit(mode, CPU, name), NOISE, CPU, generator_for(1))
    for field in ("amplitudes", "success_probability", "register_norm"):
        found = backend.to_numpy(getattr(outcome, field))
        assert np.allclose(found, getattr(here, field), rtol=0, atol=1e-12), field
    clean = run_sequence(circuit(mode, CPU, name).encoding, PHASES, START, CPU).amplitudes
    assert not np.allclose(here.amplitudes, clean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("mode", ["fused", "circuit"])
def test_the_seed_decides(mode: str) -> None:
    run = circuit(mode)
    one, same, another = (run_with_noise(run, NOISE, CPU, generator_for(s)).amplitudes for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, another)


@pytest.mark.parametrize("solver", ["qsvt", "kernel_reflection"])
@pytest.mark.parametrize("noise", [Noise(phase_error=2e-3), Noise(phase_bias=1e-3), Noise(depolarising=1e-5)])
def test_refinement_works_around_a_little_noise(solver: str, noise: Noise) -> None:
    A, b = H @ H + np.eye(5), START[:, 0]
    solution = qn.solve(A, b, solver=solver, encoding="walk", noise=noise, tolerance=1e-6)
    assert solution.solved, solution.message
    assert np.linalg.norm(b - A @ solution.x) < 1.1e-6 * np.linalg.norm(b)
    clean = qn.solve(A, b, solver=solver, encoding="walk", tolerance=1e-2)
    assert clean.history[0]["success_probability"] != solution.history[0]["success_probability"]


def test_too_much_noise_is_said_and_nothing_is_called_solved() -> None:
    solution = qn.solve(H @ H + np.eye(5), START[:, 0], solver="qsvt", encoding="walk", noise=Noise(depolarising=0.3))
    assert solution.status is qn.Status.NOT_CONVERGED and "noise" in solution.message
    with pytest.raises(CombinationError, match=r"^noise: .*qsvt"):
        qn.solve(H, START[:, 0], solver="cks", noise=Noise(phase_error=1e-3))


def test_magnitudes_are_those_of_the_success_probability() -> None:
    outcome = run_with_noise(circuit("fused"), NOISE, CPU, generator_for(0))
    assert np.allclose((outcome.amplitudes**2).sum(axis=0), outcome.success_probability, rtol=1e-13)


def test_subspace_has_phases_but_no_register_to_depolarise() -> None:
    with pytest.raises(CombinationError, match=r"^mode: .*register.*fused"):
        run_with_noise(circuit("subspace"), NOISE, CPU, generator_for(0))
    wrong = run_with_noise(circuit("subspace"), Noise(phase_bias=0.1), CPU, generator_for(0)).amplitudes
    fused = run_with_noise(circuit("fused"), Noise(phase_bias=0.1), CPU, generator_for(0)).amplitudes
    assert np.allclose(wrong, fused, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"phase_error": -0.1},
        {"phase_error": np.inf},
        {"phase_bias": np.nan},
        {"depolarising": 1.1},
        {"depolarising": np.nan},
        {"trajectories": 0},
        {"trajectories": 2.0},
        {"seed": -1},
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=f"^{next(iter(options))}: "):
        Noise(**options)


def test_noise_is_true_where_there_is_any() -> None:
    assert not Noise() and not Noise(trajectories=4, seed=2)
    assert Noise(phase_error=1e-3).random and Noise(depolarising=1e-3).random
    assert Noise(phase_bias=-1e-3) and not Noise(phase_bias=-1e-3).random


def test_a_chain_of_circuits_is_disturbed_in_each_of_them() -> None:
    run = circuit("fused")
    chain = Chain([run, run])
    plain = chain.execute(CPU)
    clean = run_with_noise(chain, Noise(), CPU, generator_for(0))
    assert np.array_equal(clean.amplitudes, plain.amplitudes) and clean.queries == plain.queries == 14
    biased = Chain([replace(run, phases=PHASES + 0.1)] * 2).execute(CPU)
    assert np.array_equal(
        run_with_noise(chain, Noise(phase_bias=0.1), CPU, generator_for(0)).amplitudes, biased.amplitudes
    )
    noisy = run_with_noise(chain, NOISE, CPU, generator_for(0))
    assert not np.allclose(noisy.amplitudes, plain.amplitudes, rtol=0, atol=1e-3)
    with pytest.raises(CombinationError, match=r"^mode: "):
        run_with_noise(Chain([run, circuit("subspace")]), NOISE, CPU, generator_for(0))


def test_the_example_prints_and_draws_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(__file__).parents[2] / "examples" / "how_much_noise_can_a_solver_bear.py"
    example = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("example", file))
    monkeypatch.setitem(sys.modules, "example", example)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "KAPPAS", (3, 4))
    monkeypatch.setattr(example, "PHASE_ERRORS", (1e-4, 1.0))
    monkeypatch.setattr(example, "DEPOLARISING", (1e-6,))
    found = example.trials(trajectories=2, seed=0)
    assert [trial.solution.solved for trial in found if trial.size < 1] == [True] * 8
    assert found[1].first_residual > 10 * found[0].first_residual
    lines = example.table(found).splitlines()
    assert len(lines) == 17 and lines[0] == "error of every phase, rad, kappa 3" and "1e-06 in 3 rounds" in lines[2]
    example.plot(found, str(tmp_path / "noise.png"))
    assert (tmp_path / "noise.png").read_bytes().startswith(b"\x89PNG")
