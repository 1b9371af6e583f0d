"""Every encoding on every backend: the registers are those of the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from qnewton_gpu.backends import select_backend
from qnewton_gpu.encodings import encode
from qnewton_gpu.encodings.composition import block_diagonal, extended, linear_combination, product, scaled
from qnewton_gpu.operators import GeneralMatrix, KroneckerOperator, ToeplitzOperator, as_operator
from qnewton_gpu.simulation import run_sequence

CPU = select_backend("cpu")
RANDOM = np.random.default_rng(4)
A = RANDOM.standard_normal((6, 4))
H = np.triu(np.tril(RANDOM.standard_normal((6, 6)), 2))
H = H + H.T


def made(kind: str, backend: Any) -> Any:
    """Each encoding, and each composition, made on a backend."""
    if kind == "kronecker":
        return encode(KroneckerOperator([H[:2, :2], sp.csr_array(H[:3, :3])], backend), backend)
    if kind == "toeplitz":
        return encode(ToeplitzOperator([2, 2], 0.5, [{1: -1.0, 3: 2.0}, {2: 0.3}], backend), backend)
    if kind == "kronecker factor":
        return made("kronecker", backend).factor(1)
    if kind.startswith("two_sided"):
        matrix = sp.csr_array(A) if kind.endswith("sparse") else backend.asarray(A)
        return encode(GeneralMatrix(matrix, backend), backend)
    compositions = {
        "block_diagonal": lambda e: block_diagonal([e, scaled(e, 2.0), made("two_sided", backend)]),
        "inflated": lambda e: block_diagonal([e, scaled(e, 2.0)]),
        "product": lambda e: product(e, made("two_sided", backend)),
        "linear_combination": lambda e: linear_combination([1.0, -2.0], [e, made("banded", backend)]),
        "extended": lambda e: extended(e, np.array([0.1, -0.2])),
    }
    if kind in compositions:
        return compositions[kind](made("dilation", backend))
    return encode(as_operator(H, backend), backend, kind)


KINDS = ["banded", "toeplitz", "pauli", "sparse_access", "dilation", "kronecker", "kronecker factor", "two_sided",
         "two_sided sparse", "block_diagonal", "inflated", "product", "linear_combination", "extended"]  # fmt: skip


@pytest.mark.parametrize("mode", ["subspace", "fused"])
@pytest.mark.parametrize("kind", KINDS)
def test_registers_are_those_of_the_cpu(backend: Any, kind: str, mode: str) -> None:
    expected, encoding = made(kind, CPU), made(kind, backend)
    assert encoding.alpha == pytest.approx(expected.alpha, rel=1e-14)
    assert encoding.register_size == expected.register_size
    random = np.random.default_rng(0)
    start = random.standard_normal((expected.shape[1], 2))
    start /= np.linalg.norm(start, axis=0)
    phases = random.uniform(-3, 3, 5)
    one = run_sequence(expected, phases, start, CPU, mode=mode)
    two = run_sequence(encoding, phases, backend.asarray(start), backend, mode=mode)
    for part in ("amplitudes", "success_probability", "register_norm"):
        found = backend.to_numpy(getattr(two, part))
        assert np.allclose(found, getattr(one, part), rtol=0, atol=1e-12), part
    # near |lambda| = alpha a dilation's sqrt(1 - lambda^2) has the square root of the rounding error
    assert np.allclose(backend.to_numpy(two.register()), one.register(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["banded", "pauli", "dilation"])
def test_gate_programs_are_those_of_the_cpu(backend: Any, kind: str) -> None:
    expected, found = made(kind, CPU).circuit(), made(kind, backend).circuit()
    assert [gate.label for gate in found.gates] == [gate.label for gate in expected.gates]
    for one, two in zip(expected.gates, found.gates, strict=True):
        assert one.targets == two.targets
        if hasattr(one, "matrix"):
            assert np.allclose(one.matrix, two.matrix, rtol=0, atol=1e-12)
