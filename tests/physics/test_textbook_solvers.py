"""HHL, CKS and the discrete adiabatic solver: every one in every mode against x, its own count and its theorem."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import GramOperator, LinearSystem, SpectrumBounds, Status, estimate_spectrum
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.counting import CountingEncoding
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import CombinationError, NotEnoughMemoryError
from qnewton_gpu.operators import as_operator
from qnewton_gpu.readout import Readout
from qnewton_gpu.solvers.adiabatic import CONSTANT, DELTA, Adiabatic, AdiabaticWalk
from qnewton_gpu.solvers.cks import CKS
from qnewton_gpu.solvers.hhl import HHL, PhaseEstimation

CPU = select_backend("cpu")
SOLVERS = [CKS, HHL, Adiabatic]
ENCODINGS = ["dilation", "walk", "matching"]


def matrix(eigenvalues: np.ndarray, seed: int = 0) -> np.ndarray:
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    made = (basis * eigenvalues) @ basis.T
    return (made + made.T) / 2


def spectrum(size: int, kappa: float, indefinite: bool) -> np.ndarray:
    return np.geomspace(1 / kappa, 1, size) * np.where(np.arange(size) % 2 * indefinite, -1, 1)


def system(
    size: int, kappa: float, indefinite: bool, tolerance: float, columns: int = 2, seed: int = 0, backend: Any = CPU
) -> LinearSystem:
    rhs = backend.asarray(np.random.default_rng(seed + 1).standard_normal((size, columns)))
    bounds = SpectrumBounds(1 / kappa, 1.0, True, method="exact", negative=indefinite)
    return LinearSystem(as_operator(matrix(spectrum(size, kappa, indefinite), seed), backend), rhs, bounds, tolerance)


def counted(method: Any, epsilon: float) -> int:
    """Queries that the whole-register program of one round really makes."""
    counter = CountingEncoding(method.encoding)
    program = replace(method.program(epsilon, np.ones((1, 1))), encoding=counter, mode="fused")
    outcome = program.execute(CPU)
    assert outcome.queries == counter.queries
    return counter.queries


@pytest.mark.parametrize("indefinite", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_x_is_within_the_tolerance_and_every_query_is_counted(solver: Any, encoding: str, indefinite: bool) -> None:
    problem = system(16, 8.0, indefinite, 1e-4)
    options = solver(encoding=encoding)
    solution = options.solve(problem, CPU)
    assert solution.solved, solution.message
    exact = np.linalg.solve(problem.operator.dense(), problem.rhs)
    error = np.linalg.norm(solution.x - exact, axis=0) / np.linalg.norm(exact, axis=0)
    assert error.max() <= 8 * 1e-4
    assert solution.ledger["arithmetic"] < 1e-9
    epsilon, rounds = options.split(problem.tolerance)
    method = options.method(problem, CPU)
    assert {entry["queries"] for entry in solution.history} == {method.queries(epsilon)} == {counted(method, epsilon)}
    assert solution.queries == len(solution.history) * method.queries(epsilon) and len(solution.history) <= rounds


@pytest.mark.parametrize("indefinite", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_whole_register_agrees_with_the_shortcut(solver: Any, encoding: str, indefinite: bool) -> None:
    problem = system(4, 3.0, indefinite, 0.1)
    fused, subspace = (solver(encoding=encoding, mode=mode).solve(problem, CPU) for mode in ("fused", "subspace"))
    np.testing.assert_allclose(fused.x, subspace.x, atol=1e-12)
    np.testing.assert_allclose(
        fused.history[0]["success_probability"], subspace.history[0]["success_probability"], atol=1e-12
    )
    assert fused.queries == subspace.queries
    assert max(fused.ledger["arithmetic"], subspace.ledger["arithmetic"]) < 1e-11


@pytest.mark.parametrize("mode", ["auto", "fused"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_backend_gives_the_same(solver: Any, mode: str, backend: Any) -> None:
    here, there = (system(4, 3.0, True, 0.1, backend=one) for one in (CPU, backend))
    expected = solver(encoding="walk", mode=mode).solve(here, CPU)
    solution = solver(encoding="walk", mode=mode).solve(there, backend)
    np.testing.assert_allclose(backend.to_numpy(solution.x), expected.x, atol=1e-12)
    assert solution.queries == expected.queries
    assert solution.resources["mode"] == ("subspace" if mode == "auto" else mode)


@pytest.mark.parametrize("solver", SOLVERS)
def test_columns_are_runs_of_their_own(solver: Any) -> None:
    problem = system(6, 4.0, True, 1e-2, columns=3)
    problem.rhs[:, 1] = 0.0
    together = solver().solve(problem, CPU)
    assert together.solved and not together.x[:, 1].any()
    rounds = len(together.history)
    for column in (0, 2):
        alone = solver().solve(replace(problem, rhs=problem.rhs[:, [column]], encodings={}), CPU)
        if len(alone.history) == rounds:  # together all columns go on until the last one is done
            np.testing.assert_allclose(alone.x[:, 0], together.x[:, column], atol=1e-12)
        np.testing.assert_allclose(
            alone.history[0]["success_probability"][0],
            together.history[0]["success_probability"][column // 2],
            atol=1e-12,
        )


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_cannot_be_run_is_refused_at_the_door(solver: Any) -> None:
    with pytest.raises(CombinationError, match="'subspace' or 'fused'"):
        solver(mode="circuit")
    gram = GramOperator(np.eye(3), 0.1)
    with pytest.raises(CombinationError, match="symmetric block encoding"):
        solver().solve(LinearSystem(gram, np.ones((3, 1)), estimate_spectrum(gram), 1e-2), CPU)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_register_that_does_not_fit_is_refused_before_it_is_made(solver: Any) -> None:
    problem = system(64, 1e4, False, 1e-2)
    program = solver(encoding="walk", mode="fused").method(problem, CPU).program(1e-3, problem.rhs)
    assert program.bytes_needed("fused", CPU) > CPU.available_bytes()
    with pytest.raises(NotEnoughMemoryError, match="mode='subspace' needs"):
        program.execute(CPU)


@pytest.mark.parametrize("solver", SOLVERS)
def test_refinement_works_around_a_readout_by_shots(solver: Any) -> None:
    solution = solver(readout=Readout("shots", 1000)).solve(system(16, 10.0, True, 1e-4), CPU)
    assert solution.solved, solution.message
    assert all(min(entry["runs"]) > 2 * 1000 * 16 for entry in solution.history)  # the failed runs count


def with_right_hand_side(kappa: float, eigenvalues: np.ndarray, weights: np.ndarray) -> tuple[Any, np.ndarray]:
    """The encoding with alpha = ||A||, and the unit b with these weights on the eigenvectors."""
    M = np.diag(eigenvalues)
    b = (weights / np.linalg.norm(weights))[:, None]
    return encode(as_operator(M, CPU), CPU, "dilation"), b


def test_hhl_scales_as_stated() -> None:
    """One round at epsilon: 2 pi kappa/epsilon queries, and kappa^2/epsilon with amplification where ||A^-1 b|| = 1."""
    epsilon, table = 0.1, []
    for kappa in (10.0, 20.0, 50.0, 100.0, 200.0):
        eigenvalues = spectrum(16, kappa, True)
        worst = 0.0
        for weights in (np.ones(16), eigenvalues):
            encoding, b = with_right_hand_side(kappa, eigenvalues, weights)
            program = PhaseEstimation(encoding, b, "subspace", kappa, epsilon)
            x = kappa * program.execute(CPU).amplitudes
            exact = b / eigenvalues[:, None]
            worst = max(worst, float(np.linalg.norm(x - exact) / np.linalg.norm(exact)))
        assert worst <= epsilon
        encoding, top = with_right_hand_side(kappa, eigenvalues, np.eye(16)[-1])
        p = float(PhaseEstimation(encoding, top, "subspace", kappa, epsilon).execute(CPU).success_probability[0])
        counter = CountingEncoding(encoding)
        replace(program, encoding=counter, start=np.ones((1, 1)), mode="fused").execute(CPU)
        total = counter.queries / math.sqrt(p)
        table.append((kappa, counter.queries, worst, p, total))
        assert counter.queries == pytest.approx(2 * math.pi * kappa / epsilon, rel=0.2)
        assert total == pytest.approx(2 * math.pi * kappa**2 / epsilon, rel=0.2)
    print("\nkappa  queries  error  success  queries x repetitions  / (2 pi kappa^2/epsilon)")
    for kappa, queries, error, p, total in table:
        stated = 2 * math.pi * kappa**2 / epsilon
        print(f"{kappa:5.0f} {queries:8d} {error:6.3f} {p:8.1e} {total:12.3e} {total / stated:8.3f}")


@pytest.mark.parametrize(
    "kappas", [(10.0, 50.0, 200.0), pytest.param((5.0, 20.0, 100.0, 500.0), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("definite", [True, False])
def test_the_adiabatic_solver_scales_as_stated(definite: bool, kappas: tuple[float, ...]) -> None:
    """One c for all kappa: 1 - overlap^2 <= Delta^2 after c kappa/Delta steps, and kappa ln(2/delta) for the filter."""
    delta, rows = 1e-4, []
    signs = [np.ones(16)] if definite else [np.where(np.arange(16) % 2, -1, 1), -np.ones(16)]
    for kappa in kappas:
        overlap, success = np.ones(1), np.ones(1)
        # the spectra that were found worst: half of it at each end, and evenly spread in the logarithm
        for size in (np.where(np.arange(16) < 8, 1 / kappa, 1.0), spectrum(16, kappa, False)):
            for sign in signs:
                b = np.stack([np.full(16, 0.25), size / np.linalg.norm(size)], axis=1)  # and flat x
                x = b / (size * sign)[:, None]
                x /= np.linalg.norm(x, axis=0)
                encoding = encode(as_operator(np.diag(size * sign), CPU), CPU, "dilation")
                program = AdiabaticWalk(encoding, b, "subspace", kappa, delta, definite)
                space, psi = program.turned(CPU)
                reached = space.lower(psi).reshape(16, 2, space.c, 2)[:, 0].sum(axis=1) / math.sqrt(space.c)
                overlap = np.minimum(overlap, np.abs((reached * x).sum(axis=0)).min())
                outcome = program.execute(CPU)
                success = np.minimum(success, outcome.success_probability.min())
                direction = outcome.amplitudes / np.sqrt(outcome.success_probability)
                sine = np.linalg.norm(direction - x * (direction * x).sum(axis=0), axis=0)
                assert sine.max() <= delta
        counter = CountingEncoding(encoding)
        replace(program, encoding=counter, start=np.ones((1, 1)), mode="fused").execute(CPU)
        stated = (CONSTANT[definite] * kappa / DELTA + kappa * math.log(2 / delta)) / (1 - DELTA**2)
        rows.append((kappa, counter.queries, 1 - overlap[0] ** 2, success[0], counter.queries / success[0] / stated))
    print(f"\nc = {CONSTANT[definite]}, Delta^2 = {DELTA**2:.2f}")
    print("kappa  queries  1 - overlap^2  success  queries/success over stated")
    for kappa, queries, lost, least, ratio in rows:
        print(f"{kappa:5.0f} {queries:8d} {lost:14.4f} {least:8.3f} {ratio:12.3f}")
        assert lost <= DELTA**2 and least >= 1 - DELTA**2
        assert ratio == pytest.approx(1.0, rel=0.2)


@given(
    solver=st.sampled_from(SOLVERS),
    size=st.integers(1, 10),
    decades=st.floats(0, 1.3),
    indefinite=st.booleans(),
    tolerance=st.sampled_from([0.3, 1e-2, 1e-5]),
    seed=st.integers(0, 100),
)
@settings(max_examples=20)
def test_every_system_is_solved(
    solver: Any, size: int, decades: float, indefinite: bool, tolerance: float, seed: int
) -> None:
    """With bounds that are estimated, not given."""
    operator = as_operator(matrix(spectrum(size, 10**decades, indefinite), seed), CPU)
    rhs = np.random.default_rng(seed).standard_normal((size, 2))
    solution = solver().solve(LinearSystem(operator, rhs, estimate_spectrum(operator), tolerance), CPU)
    assert solution.solved, solution.message
    residual = np.linalg.norm(rhs - operator.dense() @ solution.x, axis=0) / np.linalg.norm(rhs, axis=0)
    assert residual.max() <= tolerance * (1 + 1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("tolerance", [0.3, 1e-3])
def test_a_system_without_a_solution_ends_with_a_reason(solver: Any, tolerance: float) -> None:
    eigenvalues = spectrum(8, 5.0, True)
    eigenvalues[2] = 0.0
    operator = as_operator(matrix(eigenvalues), CPU)
    problem = LinearSystem(operator, np.ones((8, 1)), estimate_spectrum(operator), tolerance)
    solution = solver(max_queries=20_000).solve(problem, CPU)
    if solution.solved:  # most of b lies in the range
        assert solution.relative_residual <= tolerance == 0.3
    else:
        assert solution.status in (Status.SINGULAR, Status.TOO_MANY_QUERIES, Status.NOT_CONVERGED)
        assert solution.relative_residual > tolerance and len(solution.message) > 60


@pytest.mark.parametrize("solver", SOLVERS)
def test_too_many_queries_are_refused_before_they_are_made(solver: Any) -> None:
    solution = solver(max_queries=50).solve(system(8, 100.0, True, 1e-3), CPU)
    assert solution.status is Status.TOO_MANY_QUERIES and solution.queries == 0
