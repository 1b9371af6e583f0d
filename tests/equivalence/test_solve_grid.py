"""qn.solve against numpy.linalg.solve over size, condition number, definiteness, tolerance, encoding and solver."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn

KINDS = ("definite", "indefinite")
KAPPAS = (1, 10, 50, 200)
TOLERANCES = (1e-2, 1e-6, 1e-10)
SPARSE_FROM = 256
ROW = 8


def _rotated(eigenvalues: np.ndarray, random: np.random.Generator) -> np.ndarray:
    n = len(eigenvalues)
    Q, _ = np.linalg.qr(random.standard_normal((n, n)))
    H = (Q * eigenvalues) @ Q.T
    return (H + H.T) / 2


def _magnitudes(n: int, kappa: float, random: np.random.Generator) -> np.ndarray:
    """n magnitudes in [1/kappa, 1], both ends taken."""
    values = kappa ** -random.random(n)
    values[0], values[-1] = 1.0, 1 / kappa
    return values


def _sparse_definite(n: int, kappa: float, random: np.random.Generator) -> sp.csr_array:
    """Seven random perfect matchings and the diagonal, shifted so that the condition number is exactly kappa."""
    if kappa == 1:
        return sp.eye_array(n, format="csr")
    H = sp.csr_array((n, n))
    for _ in range(ROW - 1):
        pairs = random.permutation(n).reshape(-1, 2)
        values = random.standard_normal(n // 2)
        H = H + sp.coo_array((np.tile(values, 2), np.hstack([pairs.T, pairs.T[::-1]])), shape=(n, n)).tocsr()
    values = np.linalg.eigvalsh(H.toarray())
    shift = (values[-1] - kappa * values[0]) / (kappa - 1)
    return (H + shift * sp.eye_array(n)).tocsr()


def _sparse_indefinite(n: int, kappa: float, random: np.random.Generator) -> sp.csr_array:
    """[[0, S], [S, 0]] has the eigenvalues of S with both signs; permuted."""
    S = _sparse_definite(n // 2, kappa, random)
    order = random.permutation(n)
    return sp.csr_array(sp.csr_array(sp.block_array([[None, S], [S, None]]))[order][:, order])


def build(kind: str, n: int, kappa: float, seed: int = 0) -> Any:
    random = np.random.default_rng([n, int(kappa), seed])
    if n >= SPARSE_FROM:
        return (_sparse_definite if kind == "definite" else _sparse_indefinite)(n, kappa, random)
    signs = np.ones(n) if kind == "definite" else np.where(np.arange(n) % 2, 1.0, -1.0)
    return _rotated(3.0 * signs * _magnitudes(n, kappa, random), random)


def array(H: Any) -> np.ndarray:
    return H.toarray() if sp.issparse(H) else H


def run_cells(
    n: int, kappas: tuple[int, ...], tolerances: tuple[float, ...], kinds: tuple[str, ...] = KINDS, **options: Any
) -> None:
    """Solve every system, print how many ended in which status, and hold each to its residual and its error."""
    counts: Counter[str] = Counter()
    failures = []
    # a 1x1 matrix has the condition number 1 only
    systems = [(kind, kappa) for kind in kinds for kappa in kappas if n > 1 or kappa == 1]
    for kind, kappa in systems:
        H = build(kind, n, kappa)
        b = np.random.default_rng(n).standard_normal(n)
        exact = np.linalg.solve(array(H), b)
        for tolerance in tolerances:
            solution = qn.solve(H, b, tolerance=tolerance, **options)
            counts[solution.status.name] += 1
            residual = np.linalg.norm(b - H @ solution.x) / np.linalg.norm(b)
            error = np.linalg.norm(solution.x - exact) / np.linalg.norm(exact)
            honest = solution.relative_residual == pytest.approx(residual, rel=1e-3, abs=1e-14)
            if not (solution.solved and honest and residual <= tolerance and error <= kappa * tolerance):
                failures.append((kind, kappa, tolerance, solution.message, residual, error))
    print(f"N = {n}, {options}: {dict(counts)}")
    assert not failures
    assert counts == {"SOLVED": len(systems) * len(tolerances)}


@pytest.mark.parametrize("kind", ["definite", "indefinite"])
@pytest.mark.parametrize("n", [1, 2, 7, 16, 64, 256, 1000])
def test_the_systems_are_what_they_are_called(kind: str, n: int) -> None:
    for kappa in KAPPAS if n > 1 else (1,):
        H = build(kind, n, kappa)
        values = np.linalg.eigvalsh(array(H))
        assert np.abs(values).max() / np.abs(values).min() == pytest.approx(kappa, rel=0.01)
        assert (values.min() > 0) == (kind == "definite")
        if n >= SPARSE_FROM:
            assert np.diff(H.indptr).max() <= ROW


@pytest.mark.parametrize("n", [1, 2, 7, 16, 64, 256, 1000])
def test_qsvt_with_walk_solves_every_system(n: int) -> None:
    run_cells(n, KAPPAS, TOLERANCES, solver="qsvt", encoding="walk")


@pytest.mark.parametrize("n", [1, 2, 7, 16, 64])
def test_qsvt_with_dilation_solves_every_system(n: int) -> None:
    run_cells(n, KAPPAS, TOLERANCES, solver="qsvt", encoding="dilation")


@pytest.mark.parametrize("n", [1, 7, 64])
def test_qsvt_on_the_whole_register_solves_every_system(n: int) -> None:
    run_cells(n, (1, 10), (1e-2, 1e-6), solver="qsvt", encoding="walk", mode="fused")


@pytest.mark.parametrize("n", [1, 7, 256, 1000])
def test_lu_solves_every_system(n: int) -> None:
    run_cells(n, (1, 50), TOLERANCES, solver="lu")


@pytest.mark.parametrize("n", [1, 7, 256, 1000])
def test_auto_solves_every_system(n: int) -> None:
    run_cells(n, (1, 50), TOLERANCES)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
@pytest.mark.parametrize("n", [1, 7, 256, 1000])
def test_cholesky_and_cg_solve_the_definite_ones(n: int, solver: str) -> None:
    run_cells(n, (1, 50), TOLERANCES, ("definite",), solver=solver)


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("n", [1, 2, 7, 64, 256])
def test_qsvt_with_gram_solves_every_damped_factor(n: int, kappa: int) -> None:
    random = np.random.default_rng([n, kappa])
    G = random.standard_normal((max(1, n // 2), n))  # rank n/2 at most: the damping alone decides lambda_min
    G /= np.linalg.norm(G, 2)
    H = qn.GramOperator(G, 1 / kappa)
    b = random.standard_normal(n)
    exact = np.linalg.solve(H.dense(), b)
    for tolerance in TOLERANCES:
        solution = qn.solve(H, b, solver="qsvt", tolerance=tolerance)
        assert solution.solved, solution.message
        assert np.linalg.norm(b - H.dense() @ solution.x) <= tolerance * np.linalg.norm(b)
        assert np.linalg.norm(solution.x - exact) <= (kappa + 1) * tolerance * np.linalg.norm(exact)
