"""Amplitude amplification of a QSVT circuit, simulated gate by gate: what the cost model's repetitions stand for.

A takes |0> to sqrt(p)|success> + sqrt(1 - p)|failure>, success where all flag qubits are |0>. Then
    Q = -A (1 - 2|0><0|) A^dagger (1 - 2 Pi),   Pi the projector on success,
turns by 2 theta, sin^2 theta = p, in the plane of the two: Q^m A|0> succeeds with probability sin^2((2m + 1) theta) and
leaves the same |success>. It runs A or A^dagger 2m + 1 times. Source: Brassard, Hoyer, Mosca, Tapp, quant-ph/0005055.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .backends import select_backend
from .backends.base import Backend
from .circuit import Circuit, MatrixGate, qsvt_circuit
from .costs.model import repetitions
from .encodings.base import GateEncoding
from .errors import ParameterError, ShapeError


@dataclass(frozen=True)
class Amplified:
    """What is left after the rounds, read exactly."""

    amplitudes: np.ndarray
    """Of the system where all flags are |0>, (N,): sin((2m + 1) theta) times the unit vector of success."""
    success_probability: float
    rounds: int
    runs: int
    """Of A and A^dagger: 2m + 1."""
    queries: int


def amplification_circuit(program: Circuit, flags: Sequence[int], rounds: int) -> Circuit:
    """Q^m A for A = `program` and success where every qubit of `flags` is |0>.

    The sign of Q is left out: it is a global phase. Raises ParameterError.

    >>> program = Circuit(1)
    >>> program.rz(0.3, 0)
    >>> [gate.label for gate in amplification_circuit(program, [0], 1)]
    ['rz', 'reflection', 'rz', 'reflection', 'rz']
    """
    if not (isinstance(rounds, int) and rounds >= 0):
        raise ParameterError("rounds", f"{rounds!r} is not an integer >= 0", "Use for example 1")
    if not flags:
        raise ParameterError("flags", "no qubit says whether a run succeeded", "Name the qubits that must be |0>")
    amplified, back = Circuit(program.num_qubits), program.inverse()
    amplified.extend(program)
    for _ in range(rounds):
        amplified.append(_minus_one_where_zero(flags))
        amplified.extend(back)
        amplified.append(_minus_one_where_zero(range(program.num_qubits)))
        amplified.extend(program)
    return amplified


def _minus_one_where_zero(qubits: Sequence[int]) -> MatrixGate:
    target, *others = qubits
    return MatrixGate("reflection", np.diag([-1.0, 1.0]), (target,), tuple(others), (0,) * len(others))


def amplify(
    encoding: GateEncoding,
    phases: np.ndarray,
    rhs: np.ndarray,
    rounds: int | None = None,
    backend: str | Backend = "auto",
) -> Amplified:
    """Run the QSVT circuit of reflection phases phi_0..phi_d on rhs/||rhs||, (N,), with amplitude amplification.

    A is the gate program that prepares rhs from |0> and applies the sequence, on 2^qubits amplitudes. rounds=None takes
    m = round(pi/(4 theta) - 1/2), found from one run without amplification. For small cases: gates and time grow with
    (2m + 1) d. Raises ShapeError, ParameterError.

    >>> import numpy as np
    >>> from qnewton_gpu.backends import select_backend
    >>> from qnewton_gpu.encodings import encode
    >>> from qnewton_gpu.operators import as_operator
    >>> from qnewton_gpu.polynomials import inverse_polynomial, phase_factors
    >>> H, cpu = np.array([[2.0, 1.0], [1.0, -1.0]]), select_backend("cpu")
    >>> phases = phase_factors(inverse_polynomial(6.0, 1e-2)).reflection
    >>> encoding = encode(as_operator(H, cpu), cpu, "matching")
    >>> plain, amplified = (amplify(encoding, phases, np.array([1.0, 2.0]), m, cpu) for m in (0, None))
    >>> print(f"{plain.success_probability:.3f} {amplified.success_probability:.3f} {amplified.runs}")
    0.076 0.971 5
    """
    size, chosen = encoding.shape[0], select_backend(backend)
    b = np.asarray(rhs, dtype=float)
    if b.shape != (size,):
        raise ShapeError("rhs", f"has shape {b.shape}", f"Give a vector of length {size}")
    norm = float(np.linalg.norm(b))
    if not 0 < norm < math.inf:
        raise ParameterError("rhs", f"its norm is {norm}, so it is no state", "Give a finite vector that is not zero")
    block, system = encoding.circuit(), encoding.system_qubits
    program = Circuit(block.num_qubits + 1)
    start = np.zeros(1 << system)
    start[encoding.places] = b / norm
    program.prepare(start, range(system))
    program.extend(qsvt_circuit(block, system, phases, encoding.excluded))
    flags = range(system, program.num_qubits)

    def run(rounds: int) -> Amplified:
        zero = chosen.xp.ones((1, 1))
        state = chosen.state_vector(zero, program.num_qubits)
        state.run(amplification_circuit(program, flags, rounds))
        runs = 2 * rounds + 1
        sign = (-1) ** rounds  # of Q
        found = sign * chosen.to_numpy(state.lowest(1 << system)[:, 0].real)[encoding.places]
        probability = float(chosen.to_numpy(state.probability(flags))[0])
        return Amplified(found, probability, rounds, runs, runs * (len(phases) - 1))

    if rounds is not None:
        return run(rounds)
    once = run(0)
    runs = repetitions(once.success_probability, amplification=True)
    return once if runs == 1 or math.isinf(runs) else run((int(runs) - 1) // 2)
