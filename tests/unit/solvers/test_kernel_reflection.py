"""Kernel reflection: its count, its success probability, its proven residual, the norm search and warm norms."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qnewton_gpu import LinearSystem, QNewton, Scheduler, SpectrumBounds, Status
from qnewton_gpu.backends import select_backend
from qnewton_gpu.operators import as_operator
from qnewton_gpu.polynomials import kernel_reflection_polynomial, phases_for
from qnewton_gpu.solvers import make_solver
from qnewton_gpu.solvers.kernel_reflection import CLOSE, VOTES, KernelReflection, KernelReflectionMethod
from qnewton_gpu.solvers.method import Round, count_round

CPU = select_backend("cpu")
SMALLEST_Q = 1 / (2 * math.sqrt(2))
"""From where on the theorem promises epsilon: 0.354."""


def matrix(eigenvalues: np.ndarray, seed: int = 0) -> np.ndarray:
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    made = (basis * eigenvalues) @ basis.T
    return (made + made.T) / 2


def spectrum(size: int, kappa: float, indefinite: bool) -> np.ndarray:
    return np.geomspace(1 / kappa, 1, size) * np.where(np.arange(size) % 2 * indefinite, -1, 1)


def system(
    kappa: float = 10.0, indefinite: bool = False, tolerance: float = 1e-4, *, size: int = 8, columns: int = 1,
    seed: int = 0, norm: float | None = None,
) -> LinearSystem:  # fmt: skip
    """norm: the guess of ||x|| over the true one of the first column."""
    H = matrix(spectrum(size, kappa, indefinite), seed)
    b = np.random.default_rng(seed + 1).standard_normal((size, columns))
    bounds = SpectrumBounds(1 / kappa, 1.0, True, negative=indefinite)
    expected = None if norm is None else norm * float(np.linalg.norm(np.linalg.solve(H, b[:, 0])))
    return LinearSystem(as_operator(H, CPU), b, bounds, tolerance, seed=seed, expected_norm=expected)


def method_of(problem: LinearSystem, **options: Any) -> KernelReflectionMethod:
    method = KernelReflection(**{"encoding": "dilation", **options}).method(problem, CPU)
    assert isinstance(method, KernelReflectionMethod)
    return method


def one_round(method: KernelReflectionMethod, epsilon: float) -> Round:
    """The first round, its circuits run as they are asked for."""
    circuits = method.round(method.system.zeros(), method.system.rhs, epsilon)
    try:
        program = next(circuits)
        while True:
            program = circuits.send(program.execute(CPU))
    except StopIteration as end:
        result: Round = end.value
        return result


def searched(method: KernelReflectionMethod, direction: np.ndarray) -> int:
    """The norm search alone, its circuits run and counted: how many probes it took."""
    circuits = method._search(direction)
    probes, program = 0, next(circuits)
    try:
        while True:
            assert program.repeats == VOTES and program.queries == method.probe().degree and not program.measured
            probes += 1
            program = circuits.send(program.execute(CPU))
    except StopIteration as end:
        assert end.value == probes <= method.most_probes()
        return probes


def residual_of(problem: LinearSystem, x: Any) -> np.ndarray:
    H = problem.operator.dense()
    errors: np.ndarray = np.linalg.norm(problem.rhs - H @ x, axis=0) / np.linalg.norm(problem.rhs, axis=0)
    return errors


@pytest.mark.parametrize(("kappa", "degree"), [(10.0, 104), (100.0, 1026), (1000.0, 10252)])
def test_the_count_with_a_known_norm_is_that_of_the_theorem(
    kappa: float, degree: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """METHODS section 5 at eps 1e-4: 2l, l = ceil(acosh(sqrt2/eps)/acosh((1 + a^2)/(1 - a^2))).

    A method takes half the filter error, so its 2 eps is their eps.
    """
    assert kernel_reflection_polynomial(kappa, 1e-4 / math.sqrt(2)).degree == degree
    monkeypatch.setattr("qnewton_gpu.solvers.kernel_reflection.round_up_to_grid", lambda value: value)
    method = method_of(system(kappa, size=4, norm=1.0))
    assert method.kappa == pytest.approx(kappa, rel=1e-12)
    method.kappa = kappa
    assert method.queries(2e-4) == degree


@pytest.mark.parametrize("epsilon", [1e-2, 1e-4])
@pytest.mark.parametrize("kappa", [2.0, 16.0, 2.0**6.5])
def test_the_count_on_the_grid_is_closed_form_and_what_is_made(kappa: float, epsilon: float) -> None:
    a = 1 / kappa
    degree = 2 * math.ceil(math.acosh(2 * math.sqrt(2) / epsilon) / math.acosh((1 + a * a) / (1 - a * a)))
    problem = system(kappa, size=4, norm=1.0)
    method = method_of(problem)
    assert method.queries(epsilon) == degree
    assert count_round(method, problem.zeros(), problem.rhs, epsilon) == degree
    assert one_round(method_of(problem), epsilon).queries == degree


@pytest.mark.parametrize("indefinite", [False, True])
@pytest.mark.parametrize("r", [1 / 4, 1 / 2, 1.0, 2.0, 4.0])
def test_success_depends_on_the_guess_as_in_the_theorem(r: float, indefinite: bool) -> None:
    """0.96 * 4 r^2/(1 + r^2)^2; the measured ||x|| is right whatever the guess."""
    problem = system(100.0, indefinite)
    values, basis = np.linalg.eigh(problem.operator.dense())
    problem.rhs = basis @ np.sqrt(abs(values))[:, None]  # ||x|| = sqrt(kappa) ||b||: r is within the limits of t
    problem.expected_norm = r * 10 * float(np.linalg.norm(problem.rhs))
    method = method_of(problem)
    result = one_round(method, 1e-5)
    assert float(result.outcome.success_probability[0]) == pytest.approx(0.98**2 * 4 * r**2 / (1 + r**2) ** 2, rel=1e-3)
    assert method.ratio[0] == pytest.approx(10.0, rel=1e-4)


@given(
    kappa=st.floats(1.5, 60.0),
    indefinite=st.booleans(),
    epsilon=st.floats(1e-6, 0.3),
    guess=st.floats(1 / 6, 6.0),
    size=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    encoding=st.sampled_from(["dilation", "walk"]),
)
@settings(max_examples=60)
def test_the_residual_is_within_the_proven_bound(
    kappa: float, indefinite: bool, epsilon: float, guess: float, size: int, seed: int, encoding: str
) -> None:
    """||b - H x|| <= e/q ||b|| for the filter error e = epsilon/(2 sqrt2): at most epsilon from q = 0.354 on."""
    problem = system(kappa, indefinite, size=size, seed=seed, norm=guess)
    method = method_of(problem, encoding=encoding)
    before = float(method._clipped(method.ratio)[0])
    result = one_round(method, epsilon)
    q = 1 / (1 + (float(method.ratio[0]) / before) ** 2)
    if result.again:  # the bound promises little, and the round only told the norm
        assert q < SMALLEST_Q and not result.x.any() and method.ratio[0] > before
        return
    residual = float(residual_of(problem, result.x)[0])
    assert residual <= epsilon * SMALLEST_Q / q * (1 + 1e-6) + 1e-11
    if q >= SMALLEST_Q:
        assert residual <= epsilon * (1 + 1e-6)


@pytest.mark.parametrize("indefinite", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_the_norm_search_finds_every_norm_and_its_queries_are_counted(seed: int, indefinite: bool) -> None:
    problem = system(200.0, indefinite, size=12, columns=3, seed=seed)
    values, basis = np.linalg.eigh(problem.operator.dense())
    order = np.argsort(abs(values))
    problem.rhs[:, 1] = basis[:, order[0]]  # ||x|| as large as it can be, and as small
    problem.rhs[:, 2] = 7 * basis[:, order[-1]]
    method = method_of(problem)
    probes = searched(method, problem.rhs / np.linalg.norm(problem.rhs, axis=0))
    x = np.linalg.solve(problem.operator.dense(), problem.rhs)
    off = method.ratio / (np.linalg.norm(x, axis=0) / np.linalg.norm(problem.rhs, axis=0))
    assert (np.maximum(off, 1 / off) <= CLOSE).all(), off
    assert method.ratio[1] > 5 * method.ratio[2]

    solution = KernelReflection(encoding="dilation").solve(problem, CPU)
    assert solution.solved, solution.message
    search = [entry["norm_search_queries"] for entry in solution.history]
    assert search[0] == probes * VOTES * method.probe().degree and not any(search[1:])
    assert solution.history[0]["queries"] == search[0] + solution.history[0]["degree"]
    cold = method_of(problem)
    assert count_round(cold, problem.zeros(), problem.rhs, 1e-4) == solution.history[0]["queries"]
    cold = method_of(problem)
    assert solution.history[0]["queries"] <= cold.queries(1e-4) + cold.search()[0]


def test_a_norm_search_rarely_ends_far_off() -> None:
    """400 searches for norms over all of the range: nearly all within a factor 4, none off by sqrt(kappa)."""
    kappa, columns = 1e3, 50
    b = np.ones((2, columns))
    # b = (cos, sin) on the eigenvectors of 1/kappa and 1: ||x||/||b|| = kappa cos to good accuracy
    b[0] = np.geomspace(1 / kappa, 1, columns)
    b /= np.linalg.norm(b, axis=0)
    H = np.diag([1 / kappa, 1.0])
    true = np.linalg.norm(np.linalg.solve(H, b), axis=0)
    factors = []
    for seed in range(8):
        problem = LinearSystem(as_operator(H, CPU), b, SpectrumBounds(1 / kappa, 1.0, True), 1e-2, seed=seed)
        method = method_of(problem)
        searched(method, b)
        factors.append(np.maximum(method.ratio / true, true / method.ratio))
    assert np.mean(np.array(factors) <= CLOSE) > 0.99
    assert np.max(factors) < math.sqrt(kappa) / 2


def test_the_same_seed_searches_in_the_same_way() -> None:
    first, second = (KernelReflection().solve(system(100.0, True, columns=2), CPU) for _ in range(2))
    assert np.array_equal(first.x, second.x) and first.history == second.history


def test_columns_of_very_different_norms_are_solved_together_and_a_zero_column_stays_zero() -> None:
    problem = system(50.0, True, 1e-6, columns=4, norm=1.0)
    problem.rhs[:, 1] *= 1e-9
    problem.rhs[:, 2] *= 1e6
    problem.rhs[:, 3] = 0.0
    for one in (problem, replace(problem, expected_norm=None, encodings={})):
        solution = KernelReflection(encoding="walk").solve(one, CPU)
        assert solution.solved, solution.message
        assert not solution.x[:, 3].any()
        H, rhs = one.operator.dense(), one.rhs[:, :3]
        assert (np.linalg.norm(rhs - H @ solution.x[:, :3], axis=0) <= 1.01e-6 * np.linalg.norm(rhs, axis=0)).all()


@pytest.mark.parametrize("norm", [None, 1.0, 1.3])
@pytest.mark.parametrize("indefinite", [False, True])
def test_refinement_reaches_a_tight_tolerance(indefinite: bool, norm: float | None) -> None:
    problem = system(30.0, indefinite, 1e-10, size=12, columns=2, norm=norm)
    solution = KernelReflection(encoding="walk").solve(problem, CPU)
    assert solution.solved, solution.message
    assert residual_of(problem, solution.x).max() <= 1e-10
    assert 2 <= len(solution.history) <= 3
    assert solution.ledger["arithmetic"] < 1e-10


@pytest.mark.parametrize("norm", [None, 1.0])
@pytest.mark.parametrize("encoding", ["walk", "matching", "dilation"])
def test_the_whole_register_agrees_with_the_shortcut(encoding: str, norm: float | None) -> None:
    fused, subspace = (
        KernelReflection(encoding=encoding, mode=mode).solve(system(8.0, True, columns=2, norm=norm), CPU)
        for mode in ("fused", "subspace")
    )
    assert (fused.resources["mode"], subspace.resources["mode"]) == ("fused", "subspace")
    np.testing.assert_allclose(fused.x, subspace.x, rtol=0, atol=1e-10)
    assert fused.queries == subspace.queries
    assert fused.success_probability == pytest.approx(subspace.success_probability, abs=1e-10)


@pytest.mark.parametrize("indefinite", [False, True])
@pytest.mark.parametrize("norm", [1e-3, 1e3])
def test_a_guess_that_is_wrong_by_a_thousand_is_mended_or_ends_with_a_reason(norm: float, indefinite: bool) -> None:
    problem = system(1000.0, indefinite, 1e-6, size=12, norm=norm)
    solution = KernelReflection(encoding="dilation").solve(problem, CPU)
    residual = float(residual_of(problem, solution.x).max())
    assert residual == pytest.approx(solution.relative_residual, rel=1e-3)
    assert solution.solved == (residual <= 1e-6)
    if not solution.solved:
        assert solution.status is Status.NOT_CONVERGED and len(solution.message.split()) > 8


def test_a_warm_norm_saves_the_search() -> None:
    cold, warm = system(100.0, True), system(100.0, True, norm=1.0)
    first, second = (KernelReflection(encoding="walk").solve(one, CPU) for one in (cold, warm))
    assert first.solved and second.solved
    assert first.history[0]["norm_search_queries"] > 0 == second.history[0]["norm_search_queries"]
    assert second.queries == first.queries - first.history[0]["norm_search_queries"]
    assert second.success_probability > 0.95


def problem_for_training() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    x = torch.randn(40, 3, dtype=torch.float64)
    return model, x, (x[:, 0] * x[:, 1] > 0).long()


def optimizer_for(model: torch.nn.Module, solver: str = "kernel_reflection") -> QNewton:
    return QNewton(
        model,
        torch.nn.CrossEntropyLoss(),
        partition="layer",
        scheduler=Scheduler(solver=solver, encoding="walk"),
    )


def test_training_keeps_the_norm_of_a_step_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = problem_for_training()
    optimizer = optimizer_for(model)
    guesses: list[float | None] = []
    solve_many = Scheduler.solve_many

    def recorded(self: Scheduler, systems: Any, plans: Any = None) -> Any:
        guesses.extend(one.expected_norm for one in systems)
        solved = solve_many(self, systems, plans)
        norms.append([float(np.linalg.norm(solution.x)) for solution, _ in solved])
        search.append([solution.history[0]["norm_search_queries"] for solution, _ in solved])
        return solved

    norms: list[list[float]] = []
    search: list[list[int]] = []
    monkeypatch.setattr(Scheduler, "solve_many", recorded)
    reports = [optimizer.step(x, y) for _ in range(3)]
    assert all(one["status"] == "solved" for report in reports for one in report.systems)
    assert guesses[:2] == [None, None] and guesses[2:] == pytest.approx([*norms[0], *norms[1]], rel=1e-12)
    assert all(search[0]) and not any(search[1] + search[2])


def test_a_resumed_run_knows_the_norms_and_goes_on_bit_by_bit() -> None:
    model, x, y = problem_for_training()
    optimizer = optimizer_for(model)
    for _ in range(2):
        optimizer.step(x, y)
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    assert set(saved["optimizer"]["newton"]["solution_norm"]) == {"0", "2"}
    resumed, _, _ = problem_for_training()
    resumed.load_state_dict(saved["model"])
    again = optimizer_for(resumed)
    again.load_state_dict(saved["optimizer"])
    there, here = optimizer.step(x, y), again.step(x, y)
    assert here.systems[0]["queries"] == there.systems[0]["queries"]
    for left, right in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_state_from_before_norms_were_kept_loads_and_searches() -> None:
    model, x, y = problem_for_training()
    optimizer = optimizer_for(model)
    optimizer.step(x, y)
    old, warm = optimizer.state_dict(), optimizer.step(x, y).systems[0]["queries"]
    del old["newton"]["solution_norm"]
    again_model, _, _ = problem_for_training()
    optimizer_for(again_model).step(x, y)
    again = optimizer_for(again_model)
    again.load_state_dict(old)
    assert again.state_dict()["newton"]["solution_norm"] == {}
    assert again.step(x, y).systems[0]["queries"] > warm


@pytest.mark.parametrize("solver", ["qsvt", "cholesky"])
def test_whatever_solver_found_x_its_norm_is_kept_for_the_next_plan(solver: str) -> None:
    model, x, y = problem_for_training()
    optimizer = QNewton(model, torch.nn.CrossEntropyLoss(), scheduler=Scheduler(solver=solver))
    before = torch.cat([p.detach().ravel() for p in model.parameters()])
    assert optimizer.step(x, y).accepted
    step = torch.cat([p.detach().ravel() for p in model.parameters()]) - before
    assert optimizer.state_dict()["newton"]["solution_norm"] == {"network": pytest.approx(float(step.norm()), rel=1e-9)}


def test_the_promised_success_is_what_a_prediction_uses() -> None:
    solver = make_solver("kernel_reflection")
    assert solver.expected_success(system(norm=1.0)) == 0.9
    assert solver.expected_success(system()) == 0.5


def test_the_phases_are_those_of_the_reflection() -> None:
    method = method_of(system(norm=1.0))
    polynomial = method.polynomial(1e-3)
    assert polynomial.parity == "even" and phases_for(polynomial).error < 1e-12
    assert float(polynomial(0.0)) == pytest.approx(1.0, abs=1e-14)
    assert np.abs(polynomial(np.linspace(1 / polynomial.kappa, 1, 999)) + 1).max() <= 2e-3 * SMALLEST_Q * (1 + 1e-9)
