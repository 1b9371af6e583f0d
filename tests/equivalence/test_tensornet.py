"""backend="tensornet" against mode="circuit" on NumPy's state vectors: every encoding that has a gate program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.circuit import Circuit
from qnewton_gpu.encodings import encode
from qnewton_gpu.errors import ShapeError
from qnewton_gpu.operators import KroneckerOperator, as_operator
from qnewton_gpu.simulation import Run
from qnewton_gpu.solvers import LinearSystem

ENCODINGS = ("matching", "banded", "dilation", "pauli", "kronecker")
CPU = select_backend("cpu")
EXACT, CHAIN = TensornetBackend(CPU), TensornetBackend(CPU, bond_dimension=10**6, cutoff=0.0)
KINDS = {"exact": EXACT, "chain": CHAIN}
few = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def symmetric(size: int, random: np.random.Generator) -> np.ndarray:
    A = random.normal(size=(size, size))
    return A + A.T


def operator_for(name: str, random: np.random.Generator) -> Any:
    if name == "kronecker":
        return KroneckerOperator([as_operator(symmetric(n, random), CPU) for n in (int(random.integers(2, 4)), 2)], CPU)
    return as_operator(symmetric(int(random.integers(2, 7)), random), CPU)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ENCODINGS)
@few
@given(seed=seeds)
def test_a_run_is_that_of_the_state_vector(kind: str, name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    encoding = encode(operator_for(name, random), CPU, name)
    start = random.normal(size=(encoding.shape[1], 2))
    start /= np.linalg.norm(start, axis=0)
    run = Run(encoding, random.normal(size=int(random.integers(1, 7))), start, mode="circuit")
    expected, found = run.execute(CPU), run.execute(KINDS[kind])
    np.testing.assert_allclose(found.amplitudes, expected.amplitudes, atol=1e-10)
    np.testing.assert_allclose(found.success_probability, expected.success_probability, atol=1e-10)
    np.testing.assert_allclose(found.register_norm, expected.register_norm, atol=1e-10)
    np.testing.assert_allclose(found.register(), expected.register(), atol=1e-10)


@pytest.mark.parametrize("backend", ["tensornet", CHAIN], ids=["exact", "chain"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_a_solution_is_that_of_the_state_vector(backend: Any, name: str) -> None:
    random = np.random.default_rng(3)
    A: Any = np.diag([1.0, -1.5, 0.8]) + 0.1 * symmetric(3, random)
    if name == "kronecker":
        A = KroneckerOperator([as_operator(A, CPU), as_operator(np.array([[1.0, 0.2], [0.2, 0.9]]), CPU)], CPU)
    b = random.normal(size=(A.shape[0], 2))
    options = {"solver": "qsvt", "encoding": name, "tolerance": 1e-5}
    expected = qn.solve(A, b, mode="circuit", backend="cpu", **options)
    found = qn.solve(A, b, backend=backend, **options)
    assert expected.solved and found.solved, found.message
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-10, atol=1e-10)
    assert found.queries == expected.queries
    for mine, theirs in zip(found.history, expected.history, strict=True):
        np.testing.assert_allclose(mine["success_probability"], theirs["success_probability"], atol=1e-10)


@pytest.mark.parametrize("backend", ["tensornet", CHAIN], ids=["exact", "chain"])
@pytest.mark.parametrize("general", [False, True], ids=["symmetric", "general"])
def test_kernel_reflection_is_that_of_the_state_vector(backend: Any, general: bool) -> None:
    A, b = np.array([[2.0, 0.3], [0.3 + 0.2 * general, -1.5]]), np.array([[1.0, 0.2], [2.0, -1.0]])
    options = {"solver": "kernel_reflection", "tolerance": 1e-3}
    expected = qn.solve(A, b, mode="circuit", backend="cpu", **options)
    found = qn.solve(A, b, backend=backend, **options)
    assert found.solved and found.queries == expected.queries
    np.testing.assert_allclose(found.x, expected.x, atol=1e-10)


def test_auto_means_circuits_and_an_encoding_that_has_gates() -> None:
    A, b = np.array([[2.0, 1.0], [1.0, -1.0]]), np.array([1.0, 2.0])
    solution = qn.solve(A, b, solver="qsvt", backend="tensornet")
    np.testing.assert_allclose(A @ solution.x, b, atol=1e-5)
    assert "gates" in solution.resources
    factors = KroneckerOperator([as_operator(A, CPU), as_operator(np.eye(2), CPU)], CPU)
    assert qn.solve(factors, np.ones(4), solver="qsvt", backend="tensornet").solved
    assert qn.solve(A, b, solver="lu", backend="tensornet").solved


def test_the_environment_variable_may_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QNEWTON_BACKEND", "tensornet:4")
    backend: Any = select_backend("auto")
    assert backend.name == "tensornet" and backend.bond_dimension == 4 and backend.base.name in ("cpu", "gpu")


def test_cross_checks_compare_with_the_subspace() -> None:
    scheduler = qn.Scheduler(solver="qsvt", backend="tensornet")
    system = LinearSystem(
        as_operator(np.array([[2.0, 1.0], [1.0, -1.0]]), CPU), np.ones((2, 1)), qn.SpectrumBounds(1.0, 3.0), 1e-6
    )
    solution, _ = scheduler.solve(system)
    check = scheduler.compare_modes(system, solution)
    assert check["mode"] == "subspace" and check["relative_difference"] < 1e-10


def test_an_adder_on_sixty_qubits() -> None:
    circuit, backend = Circuit(60), select_backend("tensornet")
    circuit.hadamard(0)
    circuit.shift(2**59 - 1, range(60))
    state: Any = backend.state_vector(np.ones((1, 1)), 60)
    state.run(circuit)
    batch = backend.contract(state.network.entries([2**59 - 1, 2**59, 1]))
    np.testing.assert_allclose(batch[:, 0], [0.5**0.5, 0.5**0.5, 0], atol=1e-12)
    np.testing.assert_allclose(state.norms(), 1, atol=1e-12)
    np.testing.assert_allclose(state.probability([59]), 0.5, atol=1e-12)
    assert set(state.sample(50, seed=1).tolist()) == {2**59 - 1, 2**59}


@few
@given(seed=seeds)
def test_samples_and_postselection_are_those_of_the_state_vector(seed: int) -> None:
    random = np.random.default_rng(seed)
    start = random.normal(size=(8, 2))
    start /= np.linalg.norm(start, axis=0)
    circuit = Circuit(4)
    circuit.prepare(start[:4, 0] / np.linalg.norm(start[:4, 0]), (1, 3))
    circuit.shift(int(random.integers(1, 16)), range(4))
    states = [backend.state_vector(start, 4) for backend in (CPU, EXACT)]
    for state in states:
        state.run(circuit)
    drawn = [state.sample(100, seed=5, column=1) for state in states]
    np.testing.assert_array_equal(*drawn)
    np.testing.assert_allclose(states[1].probability([0, 3]), states[0].probability([0, 3]), atol=1e-12)
    np.testing.assert_allclose(*[state.postselect([2]) for state in states], atol=1e-12)
    for state in states:
        state.run(circuit)
    np.testing.assert_allclose(states[1].lowest(3), states[0].lowest(3), atol=1e-12)
    np.testing.assert_allclose(states[1].norms(), states[0].norms(), atol=1e-12)


def test_one_path_serves_other_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, random = TensornetBackend(CPU), np.random.default_rng(0)
    searched: list[Any] = []
    find = backend.engine.find_path
    monkeypatch.setattr(backend.engine, "find_path", lambda network: searched.append(network) or find(network))
    encoding = encode(as_operator(symmetric(4, random), CPU), CPU, "matching")
    run = Run(encoding, random.normal(size=9), np.eye(4)[:, :2], mode="circuit")
    first = run.execute(backend)
    paths = len(searched)
    other = replace(run, phases=random.normal(size=9))
    np.testing.assert_allclose(other.execute(backend).amplitudes, other.execute(CPU).amplitudes, atol=1e-12)
    assert abs(first.amplitudes - other.execute(CPU).amplitudes).max() > 1e-3
    assert len(searched) == paths


@pytest.mark.parametrize("name", ["tensornet", "tensornet:4"])
def test_indices_beyond_64_bits_are_not_drawn(name: str) -> None:
    register = select_backend(name).state_vector(np.ones((1, 1)), 64)
    with pytest.raises(ShapeError, match="state: has 64 "):
        register.sample(1, seed=0)


def test_the_log_of_a_training_has_the_truncation_of_each_system() -> None:
    torch.manual_seed(0)
    scheduler = qn.Scheduler(solver="qsvt", backend="tensornet:16")
    optimizer = qn.QNewton(torch.nn.Linear(2, 2), torch.nn.MSELoss(), curvature="kfac", scheduler=scheduler)
    for system in optimizer.step(torch.rand(6, 2), torch.rand(6, 2)).systems:
        assert 0 <= system["truncation_error"] < 1e-6 and 1 <= system["bond_dimension"] <= 16
