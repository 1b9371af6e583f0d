"""Readout: exact amplitudes stay where they are, shots are counted and repeat bit for bit, bad options are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qnewton_gpu.backends import select_backend
from qnewton_gpu.circuit import Circuit
from qnewton_gpu.errors import ParameterError, UnknownNameError
from qnewton_gpu.readout import Readout, generator_for, sample_program

CPU = select_backend("cpu")
SHOTS = Readout("shots", shots_per_unknown=50, seed=3)


def amplitudes(n: int, norms: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Columns of these norms, and their success probabilities."""
    x = np.random.default_rng(n).standard_normal((n, len(norms)))
    x *= np.array(norms) / np.linalg.norm(x, axis=0)
    return x, (x * x).sum(axis=0)


def test_exact_readout_returns_the_very_array_and_counts_nothing(backend: Any) -> None:
    x = backend.asarray(amplitudes(5, (0.3,))[0])
    reading = Readout().read(x, (x * x).sum(axis=0), generator_for(0), backend)
    assert reading.amplitudes is x
    assert reading.runs is None and reading.preparations is None
    assert Readout().exact and Readout().error == 0.0


def test_shots_return_an_array_of_the_backend(backend: Any) -> None:
    x, p = amplitudes(8, (0.3, 0.9))
    reading = SHOTS.read(backend.asarray(x), backend.asarray(p), SHOTS.generator(1), backend)
    assert type(reading.amplitudes) is type(backend.asarray(x))
    here = SHOTS.read(x, p, SHOTS.generator(1), CPU)
    assert np.array_equal(backend.to_numpy(reading.amplitudes), here.amplitudes)
    assert reading.runs.tolist() == here.runs.tolist()


def test_the_same_place_gives_the_same_shots_and_another_place_others() -> None:
    x, p = amplitudes(20, (0.2,))
    here = ("step", 4, "fc1", 2)
    first, again = (SHOTS.read(x, p, SHOTS.generator(*here), CPU).amplitudes for _ in range(2))
    assert np.array_equal(first, again)
    others = [("step", 5, "fc1", 2), ("step", 4, "fc2", 2), ("step", 4, "fc1", 3)]
    generators = [SHOTS.generator(*path) for path in others] + [Readout("shots", 50, seed=4).generator(*here)]
    assert not any(np.array_equal(first, SHOTS.read(x, p, g, CPU).amplitudes) for g in generators)


def test_preparations_and_runs_are_counted() -> None:
    x, p = amplitudes(16, (0.1, 0.5))
    reading = SHOTS.read(x, p, generator_for(0), CPU)
    assert reading.preparations.tolist() == [2 * 50 * 16] * 2
    assert np.all(reading.runs > reading.preparations)
    # a count c is an amplitude sqrt(c/runs), and there are 50 * 16 of them for magnitudes
    ratio = (reading.amplitudes[:, 0] / np.abs(reading.amplitudes[:, 0]).max()) ** 2
    counts = ratio * (800 / ratio.sum())
    assert np.allclose(counts, np.round(counts), atol=1e-9)


def test_certain_success_takes_no_more_runs_than_shots_for_magnitudes() -> None:
    reading = SHOTS.read(np.array([[1.0], [0.0]]), np.ones(1), generator_for(0), CPU)
    assert reading.runs.tolist() == reading.preparations.tolist() == [200]
    assert reading.amplitudes.tolist() == [[1.0], [0.0]]


def test_a_zero_column_is_read_as_zero_without_runs() -> None:
    reading = SHOTS.read(np.array([[0.0, 0.3], [0.0, -0.4]]), np.array([0.0, 0.25]), generator_for(0), CPU)
    assert reading.amplitudes[:, 0].tolist() == [0.0, 0.0]
    assert reading.runs[0] == reading.preparations[0] == 0 < reading.runs[1]


def test_what_is_no_number_is_not_read_as_one() -> None:
    reading = SHOTS.read(np.array([[np.nan], [1.0]]), np.array([np.nan]), generator_for(0), CPU)
    assert np.isnan(reading.amplitudes[0, 0])


@pytest.mark.parametrize("p", [1e-6, 1e-13, 1e-30, 1e-280])
def test_a_tiny_success_probability_takes_many_runs_and_no_overflow(p: float) -> None:
    x = np.sqrt(p) * np.array([[0.6], [-0.8]])
    reading = SHOTS.read(x, np.array([p]), generator_for(0), CPU)
    assert reading.runs[0] > min(50 / p, 1e18)
    assert np.isfinite(reading.amplitudes).all()


def test_a_success_probability_that_rounding_left_above_one_is_one() -> None:
    reading = SHOTS.read(np.array([[1.0]]), np.array([1 + 1e-15]), generator_for(0), CPU)
    assert reading.runs.tolist() == [100]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"kind": "shot"}, UnknownNameError, "readout"),
        ({"shots_per_unknown": 0}, ParameterError, "shots_per_unknown"),
        ({"shots_per_unknown": 2.5}, ParameterError, "shots_per_unknown"),
        ({"shots_per_unknown": True}, ParameterError, "shots_per_unknown"),
        ({"seed": -1}, ParameterError, "seed"),
    ],
)
def test_bad_options_are_refused_by_name(arguments: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=f"^{named}: "):
        Readout(**arguments)


def test_a_program_that_cannot_succeed_is_refused() -> None:
    program = Circuit(2)
    program.permute(np.array([1, 0]), (1,), "x")  # the flag is certainly |1>
    with pytest.raises(ParameterError, match="succeeds with probability 0"):
        sample_program(program, np.array([[1.0], [0.0]]), 1, 10, generator_for(0), CPU)
