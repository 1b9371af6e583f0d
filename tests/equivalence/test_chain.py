"""QSVT circuits on matrix-product states of unlimited bond dimension are the circuits on a state vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn
from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.cpu import NumpyStateVector
from qnewton_gpu.backends.tensornet_chain import ChainStateVector
from qnewton_gpu.circuit import branch_gates
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import as_operator
from qnewton_gpu.operators.toeplitz import screened_poisson

CPU = select_backend("cpu")


def symmetric(n: int, seed: int) -> np.ndarray:
    A = np.random.default_rng(seed).normal(size=(n, n))
    return A + A.T


def tridiagonal(n: int) -> Any:
    return sp.csr_array(sp.diags([[2.1] * n, [-1.0] * (n - 1), [-1.0] * (n - 1)], [0, 1, -1]))


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
