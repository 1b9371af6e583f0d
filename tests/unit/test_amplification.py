"""Amplitude amplification on real gate programs: the probability of the theorem, the same output, the stated runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from qnewton_gpu.amplification import amplification_circuit, amplify
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.counting import count
from qnewton_gpu.circuit import Circuit, qsvt_circuit
from qnewton_gpu.costs.model import repetitions
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import ParameterError, ShapeError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
from qnewton_gpu.simulation import run_sequence

CPU = select_backend("cpu")


def case(n: int, kappa: float) -> tuple[Any, np.ndarray, np.ndarray]:
    random = np.random.default_rng(n)
    H = random.standard_normal((n, n))
    encoding = encode(as_operator(H + H.T + np.diag(np.where(np.arange(n) % 2, 5.0, -5.0)), CPU), CPU, "matching")
    return encoding, phase_factors(inverse_polynomial(kappa, 1e-1)).reflection, random.standard_normal(n)


@pytest.mark.parametrize(("n", "kappa"), [(2, 4.0), (3, 5.0), (4, 8.0)])
def test_the_probability_turns_by_two_theta_a_round_and_the_output_stays(n: int, kappa: float) -> None:
    encoding, phases, b = case(n, kappa)
    plain = run_sequence(encoding, phases, (b / np.linalg.norm(b))[:, None], CPU, mode="subspace")
    p = float(plain.success_probability[0])
    theta, direction = math.asin(math.sqrt(p)), plain.amplitudes[:, 0] / math.sqrt(p)
    for rounds in range(4):
        found = amplify(encoding, phases, b, rounds, CPU)
        assert found.success_probability == pytest.approx(math.sin((2 * rounds + 1) * theta) ** 2, abs=1e-11)
        assert np.allclose(found.amplitudes, math.sin((2 * rounds + 1) * theta) * direction, rtol=0, atol=1e-11)
        assert found.runs == 2 * rounds + 1 and found.queries == found.runs * (len(phases) - 1)


@pytest.mark.parametrize(("n", "kappa"), [(2, 4.0), (4, 8.0), (4, 16.0)])
def test_the_cost_model_accounts_for_what_is_run(n: int, kappa: float) -> None:
    encoding, phases, b = case(n, kappa)
    once, best = amplify(encoding, phases, b, 0, CPU), amplify(encoding, phases, b, backend=CPU)
    assert best.runs == repetitions(once.success_probability, amplification=True) > 1
    # after the best number of rounds the angle is within theta of a right angle
    assert best.success_probability >= 1 - once.success_probability - 1e-12
    assert best.runs < repetitions(once.success_probability, amplification=False)


def test_queries_counted_in_the_program_are_those_stated() -> None:
    encoding, phases, _ = case(3, 4.0)
    block = encoding.circuit()
    program = qsvt_circuit(block, encoding.system_qubits, phases)
    flags = range(encoding.system_qubits, program.num_qubits)
    amplified = amplification_circuit(program, flags, 2)
    assert count(amplified).queries == 5 * (len(phases) - 1)
    assert count(amplified).gates["reflection"] == 4


def test_every_run_that_succeeds_already_is_left_alone() -> None:
    encoding = encode(as_operator(np.eye(2), CPU), CPU, "matching")
    found = amplify(encoding, np.array([0.0, 0.0]), np.array([3.0, 4.0]), backend=CPU)
    assert found.runs == 1 and found.success_probability == pytest.approx(1)
    assert np.allclose(found.amplitudes, [0.6, 0.8])


def test_bad_input_is_refused() -> None:
    encoding, phases, b = case(2, 4.0)
    with pytest.raises(ShapeError, match="length 2"):
        amplify(encoding, phases, np.ones(3))
    for rhs in (0 * b, b * np.nan):
        with pytest.raises(ParameterError, match="no state"):
            amplify(encoding, phases, rhs)
    with pytest.raises(ParameterError, match="rounds"):
        amplify(encoding, phases, b, -1)
    with pytest.raises(ParameterError, match="flags"):
        amplification_circuit(Circuit(1), [], 1)
