"""QSVT circuits on matrix-product states of unlimited bond dimension are the circuits on a state vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.cpu import NumpyStateVector
from qnewton_gpu.backends.tensornet import TensornetBackend
from qnewton_gpu.backends.tensornet_chain import ChainStateVector
from qnewton_gpu.circuit import branch_gates
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import as_operator
from qnewton_gpu.operators.toeplitz import screened_poisson

CPU = select_backend("cpu")


def symmetric(n: int, seed: int) -> np.ndarray:
    A = np.random.default_rng(seed).normal(size=(n, n))
    return A + A.T


def tridiagonal(n: int, diagonal: float = 2.1) -> Any:
    return sp.csr_array(sp.diags([[diagonal] * n, [-1.0] * (n - 1), [-1.0] * (n - 1)], [0, 1, -1]))


CASES = {
    "matching": ("matching", as_operator(symmetric(7, 0), CPU)),
    "banded": ("banded", as_operator(tridiagonal(32), CPU)),
    "dilation": ("dilation", as_operator(symmetric(8, 1), CPU)),
    "pauli": ("pauli", as_operator(symmetric(4, 2), CPU)),
    "kronecker": ("kronecker", qn.KroneckerOperator([symmetric(2, 3), symmetric(4, 4)])),
    "toeplitz-1d": ("toeplitz", screened_poisson([4], 10.0)),
    "toeplitz-2d": ("toeplitz", screened_poisson([2, 3], 10.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_chain_without_limit_is_the_state_vector(case: str) -> None:
    name, operator = CASES[case]
    encoding: Any = encode(operator, CPU, name)
    block, system = encoding.circuit(), encoding.system_qubits
    random = np.random.default_rng(5)
    start = random.normal(size=(1 << system, 2))
    start /= np.linalg.norm(start, axis=0)
    phases = random.uniform(-np.pi, np.pi, 12)
    exact, chain = NumpyStateVector(start, block.num_qubits), ChainStateVector(start, block.num_qubits)
    for state in (exact, chain):
        state.run(branch_gates(state.fuse(block), block.num_qubits, system, phases))
    assert np.abs(chain.amplitudes - exact.amplitudes).max() < 1e-10
    assert np.abs(chain.lowest(1 << system) - exact.amplitudes[: 1 << system]).max() < 1e-10
    assert np.abs(chain.norms() - 1).max() <= chain.truncation_error.max() + 1e-12
    assert chain.truncation_error.max() < 1e-10


@pytest.mark.parametrize("bond", [2, 4, 6])
def test_the_error_of_a_short_bond_is_bounded_along_a_circuit(bond: int) -> None:
    name, operator = CASES["banded"]
    encoding: Any = encode(operator, CPU, name)
    block, system = encoding.circuit(), encoding.system_qubits
    start = np.exp(-((np.arange(1 << system) - 12.3) ** 2) / 8)[:, None]
    start /= np.linalg.norm(start)
    phases = np.random.default_rng(6).uniform(-np.pi, np.pi, 6)
    exact, chain = NumpyStateVector(start, block.num_qubits), ChainStateVector(start, block.num_qubits, bond)
    for state in (exact, chain):
        state.run(branch_gates(state.fuse(block), block.num_qubits, system, phases))
    distance = np.linalg.norm(chain.amplitudes - exact.amplitudes)
    assert 1e-8 < distance <= chain.truncation_error[0]
    assert abs(chain.norms()[0] - 1) <= chain.truncation_error[0]


def solve(b: np.ndarray, bond: int, cutoff: float = 1e-12, solver: str = "qsvt") -> Any:
    A = tridiagonal(len(b), diagonal=3.0)
    backend = TensornetBackend(CPU, bond, cutoff)
    solution = qn.solve(A, b, solver=solver, encoding="banded", tolerance=1e-7, backend=backend)
    residual = np.linalg.norm(b - A @ solution.x, axis=0) / np.linalg.norm(b, axis=0)
    assert solution.relative_residual == pytest.approx(residual.max(), rel=1e-6, abs=1e-15)
    assert solution.resources["mode"] == "circuit"
    return solution


@pytest.mark.parametrize("solver", ["qsvt", "kernel_reflection"])
def test_a_solve_reports_what_truncation_did(solver: str) -> None:
    solution = solve(np.random.default_rng(7).normal(size=(16, 2)), 32, solver=solver)
    assert solution.status is qn.Status.SOLVED
    assert 4 <= solution.resources["bond_dimension"] <= 32
    assert 0 < solution.resources["truncation_error"] < 1e-9
    assert all(entry["truncation_error"] <= solution.resources["truncation_error"] for entry in solution.history)


def test_too_small_a_bond_is_named_as_the_cause() -> None:
    solution = solve(np.random.default_rng(7).normal(size=(32, 1)), 3)
    assert solution.status is qn.Status.NOT_CONVERGED
    assert "bond dimension 3" in solution.message and "tensornet:6" in solution.message
    assert "isometry" not in solution.message
    assert solution.resources["bond_dimension"] == 3 and solution.resources["truncation_error"] > 1e-3


def test_refinement_mends_a_moderate_truncation() -> None:
    """The register's norm is off by more than an exact simulation may be, and the rounds converge all the same."""
    solution = solve(np.exp(-((np.arange(64) - 29.3) ** 2) / 40), 32, cutoff=1e-4)
    assert solution.resources["truncation_error"] > 1e-3
    assert solution.status is qn.Status.SOLVED, solution.message


def test_state_vectors_report_no_truncation() -> None:
    solution = qn.solve(tridiagonal(8), np.ones(8), solver="qsvt", encoding="banded", mode="circuit", backend="cpu")
    assert not {"truncation_error", "bond_dimension"} & {*solution.resources, *solution.history[0]}
