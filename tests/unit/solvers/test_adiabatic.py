"""The discrete adiabatic solver: its Hamiltonian, its null vector, its schedule, and what signs do to it."""

from __future__ import annotations

import numpy as np
import pytest

from qnewton_gpu import CostModel, LinearSystem, SpectrumBounds
from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import as_operator
from qnewton_gpu.solvers.adiabatic import (
    DELTA,
    Adiabatic,
    AdiabaticWalk,
    InterpolatedSpace,
    adiabatic_steps,
    schedule,
)
from qnewton_gpu.solvers.walks import TwoVectors, WholeRegister

CPU = select_backend("cpu")
RANDOM = np.random.default_rng(5)
VALUES = np.array([1.0, 0.7, 0.4, 0.2])
BASIS = np.linalg.qr(RANDOM.standard_normal((4, 4)))[0]
B = RANDOM.standard_normal((4, 1))
B /= np.linalg.norm(B)


def matrix(definite: bool) -> np.ndarray:
    signed = VALUES if definite else VALUES * [1, -1, 1, -1]
    made = (BASIS * signed) @ BASIS.T
    return (made + made.T) / 2


def hamiltonian(M: np.ndarray, f: float, definite: bool) -> np.ndarray:
    """H(f) of the module's formula, index (a, c, system) written out with Kronecker products."""
    b = B[:, 0]
    if definite:
        A = (1 - f) * np.eye(4) + f * M
    else:
        b = np.kron([1, 1], b) / np.sqrt(2)
        A = (1 - f) * np.kron(np.diag([1, -1]), np.eye(4)) + f * np.kron([[0, 1], [1, 0]], M)
    Q = np.eye(len(b)) - np.outer(b, b)
    return np.block([[0 * A, A @ Q], [Q @ A, 0 * A]])


@pytest.mark.parametrize("name", ["walk", "matching", "dilation"])
@pytest.mark.parametrize("definite", [True, False])
@pytest.mark.parametrize("kept", ["whole register", "two vectors"])
def test_the_space_encodes_the_hamiltonian_exactly(name: str, definite: bool, kept: str) -> None:
    encoding = encode(as_operator(matrix(definite), CPU), CPU, name)
    inner = WholeRegister(encoding) if kept == "whole register" else TwoVectors(encoding, CPU)
    space = InterpolatedSpace(inner, B, definite, CPU)
    flags = 2 if definite else 4

    def put_in(unit: np.ndarray) -> np.ndarray:
        return unit.reshape(flags, 4).T.copy()

    for f in (0.0, 0.3, 1.0):
        space.f = f
        columns = []
        for unit in np.eye(4 * flags):
            psi = space.lift(put_in(unit))
            np.testing.assert_allclose(space.lower(psi), put_in(unit), atol=1e-14)  # T^t T = 1
            np.testing.assert_allclose(space.norms_squared(psi), 1.0, atol=1e-14)
            turned = space.reflect(psi)
            np.testing.assert_allclose(space.reflect(turned), psi, atol=1e-14)  # S S = 1
            np.testing.assert_allclose(space.norms_squared(turned), 1.0, atol=1e-14)
            columns.append(space.lower(turned).T.reshape(-1))
        expected = hamiltonian(matrix(definite) / encoding.alpha, f, definite)
        np.testing.assert_allclose(np.array(columns).T, expected, atol=1e-13)


def test_the_schedule_goes_from_zero_to_one_and_slows_down() -> None:
    s = np.linspace(0, 1, 101)
    f = np.array([schedule(value, 50.0) for value in s])
    assert f[0] == 0 and f[-1] == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(f) > 0).all() and (np.diff(f, 2) < 0).all()


@pytest.mark.parametrize("kappa", [1.0, 3.0, 77.7])
def test_steps_are_even(kappa: float) -> None:
    for definite in (True, False):
        assert adiabatic_steps(kappa, definite) % 2 == 0
        assert adiabatic_steps(kappa, definite) >= (1.84 if definite else 3) * kappa / DELTA


def system(M: np.ndarray, bounds: SpectrumBounds, tolerance: float = 1e-6) -> LinearSystem:
    return LinearSystem(as_operator(M, CPU), np.hstack([B, -B]), bounds, tolerance)


def test_scale_and_sign_come_from_least_squares() -> None:
    """A direction has neither: b and -b start the same walk up to a sign, and x has to tell them apart."""
    solution = Adiabatic().solve(system(matrix(True), SpectrumBounds(0.2, 1.0, True, method="exact")), CPU)
    assert solution.solved and len(solution.history) == 1
    np.testing.assert_allclose(solution.x[:, 0], np.linalg.solve(matrix(True), B[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(solution.x[:, 1], -solution.x[:, 0], rtol=1e-12)


def test_a_definite_matrix_takes_fewer_steps_but_only_where_it_is_known_to_be_definite() -> None:
    def method(bounds: SpectrumBounds) -> AdiabaticWalk:
        return Adiabatic().method(system(matrix(True), bounds), CPU).program(1e-2, B)

    assert method(SpectrumBounds(0.2, 1.0, method="lanczos")).definite
    assert not method(SpectrumBounds(0.2, 1.0, method="lanczos", negative=True)).definite
    assert not method(SpectrumBounds(0.2, 1.0)).definite


def test_a_wrong_promise_of_definiteness_is_found_out() -> None:
    """The bounds say nothing of negative eigenvalues: the first round fails, and those after it use the flag."""
    wrong = SpectrumBounds(0.2, 1.0, method="lanczos")
    solution = Adiabatic(encoding="dilation").solve(system(matrix(False), wrong), CPU)
    assert solution.solved, solution.message
    assert (
        len(solution.history) > 1
        and solution.history[1]["relative_residual"] < solution.history[0]["relative_residual"]
    )


def test_the_filter_leaves_nothing_but_the_solution() -> None:
    encoding = encode(as_operator(matrix(False), CPU), CPU, "walk")
    kappa = encoding.alpha / 0.2
    program = AdiabaticWalk(encoding, B, "subspace", kappa, 1e-6, False)
    assert np.abs(program.coefficients).sum() == pytest.approx(1.0, abs=1e-12)
    amplitudes = program.execute(CPU).amplitudes[:, 0]
    x = np.linalg.solve(matrix(False), B[:, 0])
    direction, exact = amplitudes / np.linalg.norm(amplitudes), x / np.linalg.norm(x)
    assert min(np.linalg.norm(direction - exact), np.linalg.norm(direction + exact)) <= 1e-6
    assert amplitudes @ amplitudes >= 1 - DELTA**2


@pytest.mark.parametrize("definite", [True, False])
@pytest.mark.parametrize("kappa", [1.01, 1.6, 2.5, 4.0])
def test_the_constant_of_the_steps_holds_for_small_kappa(kappa: float, definite: bool) -> None:
    """The larger ones are in tests/physics/test_textbook_solvers.py."""
    sizes = [np.where(np.arange(8) < 4, 1 / kappa, 1.0), np.linspace(1 / kappa, 1, 8), np.geomspace(1 / kappa, 1, 8)]
    for values in sizes if definite else [-sizes[0], sizes[1], sizes[2] * np.where(np.arange(8) % 2, -1, 1)]:
        b = np.stack([np.ones(8), np.abs(values), 1 / np.abs(values)], axis=1)
        b /= np.linalg.norm(b, axis=0)
        x = b / values[:, None]
        x /= np.linalg.norm(x, axis=0)
        encoding = encode(as_operator(np.diag(values), CPU), CPU, "dilation")
        space, psi = AdiabaticWalk(encoding, b, "subspace", kappa, 1e-2, definite).turned(CPU)
        reached = space.lower(psi).reshape(8, 2, space.c, 3)[:, 0].sum(axis=1) / np.sqrt(space.c)
        assert (1 - (reached * x).sum(axis=0) ** 2 <= DELTA**2).all()


def test_prediction_uses_the_promised_success_probability() -> None:
    cost = Adiabatic().predict(system(matrix(True), SpectrumBounds(0.2, 1.0, True)), CostModel(), CPU)
    assert 0.9 * (1 - DELTA**2) <= cost.factors["success_probability"] <= 1 - DELTA**2
