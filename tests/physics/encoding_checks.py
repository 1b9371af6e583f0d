"""What every block encoding has to satisfy, whatever it is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from qnewton_gpu.backends import select_backend
from qnewton_gpu.backends.cpu import apply_gate
from qnewton_gpu.simulation import run_sequence

CPU = select_backend("cpu")


def check_contract(encoding: Any, A: np.ndarray) -> None:
    """Two isometries, an involution, the block A/alpha to 1e-13, the products, and alpha >= ||A||."""
    random = np.random.default_rng(0)
    size = encoding.register_size
    assert encoding.shape == A.shape
    psi, phi = random.standard_normal((2, size, 2)) + 1j * random.standard_normal((2, size, 2))
    scale = np.sqrt(size)
    dimension = {"left": A.shape[0], "right": A.shape[1]}
    lifted = {}
    for side, n in dimension.items():
        T = lifted[side] = encoding.lift(np.eye(n), side)
        assert T.shape == (size, n)
        assert np.allclose(encoding.lower(T, side), np.eye(n), rtol=0, atol=1e-13)
        assert np.allclose(encoding.lower(psi, side), T.T @ psi, rtol=0, atol=1e-14 * scale)
        x = random.standard_normal((n, 2)) + 1j * random.standard_normal((n, 2))
        assert np.allclose(encoding.inner(x, 2 * x, side), 2 * np.linalg.norm(x, axis=0) ** 2)
    reflected = encoding.reflect(psi)
    assert np.allclose(encoding.reflect(reflected), psi, rtol=0, atol=1e-13 * scale)
    assert abs(np.vdot(phi, reflected) - np.vdot(encoding.reflect(phi), psi)) <= 1e-13 * size
    block = encoding.lower(encoding.reflect(lifted["right"]), "left")
    assert np.allclose(block, A / encoding.alpha, rtol=0, atol=1e-13)
    assert np.allclose(encoding.matvec(np.eye(A.shape[1])), A / encoding.alpha, rtol=0, atol=1e-14)
    assert np.allclose(encoding.rmatvec(np.eye(A.shape[0])), A.T / encoding.alpha, rtol=0, atol=1e-14)
    assert encoding.alpha >= np.linalg.norm(A, 2) * (1 - 1e-13)
    assert 0 <= encoding.epsilon <= 1e-12 * encoding.alpha
    if encoding.symmetric:
        assert np.array_equal(lifted["left"], lifted["right"])


def check_modes(encoding: Any, queries: int, mode: str = "fused") -> None:
    """A random phase sequence does the same in `mode` as in subspace, and keeps the norm."""
    random = np.random.default_rng(queries)
    start = random.standard_normal((encoding.shape[1], 2))
    start /= np.linalg.norm(start, axis=0)
    phases = random.uniform(-np.pi, np.pi, queries + 1)
    one, two = (run_sequence(encoding, phases, start, CPU, mode=m) for m in ("subspace", mode))
    for part in ("amplitudes", "success_probability", "register_norm"):
        assert np.allclose(getattr(one, part), getattr(two, part), rtol=0, atol=1e-12), part
    assert np.allclose(two.register_norm, 1, rtol=0, atol=1e-12)


def check_gate_program(encoding: Any, A: np.ndarray) -> None:
    """A Hermitian unitary with the block A/alpha, zero rows where N is padded."""
    program, n, size = encoding.circuit(), len(A), 1 << encoding.system_qubits
    assert program.num_qubits == encoding.system_qubits + encoding.ancilla_qubits
    U = np.eye(1 << program.num_qubits, dtype=complex)
    for gate in program.gates:
        U = apply_gate(gate, U)
    assert np.allclose(U @ U, np.eye(len(U)), rtol=0, atol=1e-12)
    assert np.allclose(U, U.conj().T, rtol=0, atol=1e-12)
    assert np.allclose(U[:n, :n], A / encoding.alpha, rtol=0, atol=1e-13)
    assert np.allclose(U[n:size, :n], 0, rtol=0, atol=1e-13)
