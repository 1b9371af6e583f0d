"""The quantum solver leans on no classical one: every factorisation of order > 100 raises, and it still solves."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.linalg.lapack
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch

import qnewton_gpu as qn

LARGEST = 100
N = 1000
NUMPY = """cholesky eig eigh eigvals eigvalsh inv lstsq pinv qr slogdet det solve svd svdvals tensorinv tensorsolve
    cond matrix_rank"""
SCIPY = """cho_factor cho_solve cholesky cholesky_banded cossin det eig eig_banded eigh eigh_tridiagonal eigvals
    eigvals_banded eigvalsh eigvalsh_tridiagonal expm hessenberg inv ldl logm lstsq lu lu_factor lu_solve null_space
    orth pinv pinvh polar qr qr_multiply qz rq schur solve solve_banded solveh_banded sqrtm svd svdvals
    solve_toeplitz"""
TORCH = """cholesky cholesky_ex cond det eig eigh eigvals eigvalsh inv inv_ex ldl_factor ldl_factor_ex ldl_solve lstsq
    lu lu_factor lu_factor_ex lu_solve matrix_rank pinv qr slogdet solve solve_ex svd svdvals tensorinv
    tensorsolve"""
TOP_TORCH = "cholesky cholesky_inverse cholesky_solve det inverse logdet lu_solve pinverse qr slogdet svd"
SPARSE = "eigs eigsh expm factorized inv lobpcg spilu splu spsolve spsolve_triangular svds lsmr lsqr"
SHORTCUTS = "cg bicgstab gmres minres"


class DenseSolve(AssertionError):
    pass


def order_of(value: Any) -> int:
    shape = tuple(getattr(value, "shape", ()))
    return min(shape[-2:]) if len(shape) >= 2 else 0


def forbid(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, always: bool = False) -> None:
    real: Callable[..., Any] = getattr(module, name)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if always or any(order_of(value) > LARGEST for value in (*args, *kwargs.values())):
            raise DenseSolve(f"{module.__name__}.{name}")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, guarded)


@pytest.fixture
def no_dense_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in ((np.linalg, NUMPY), (scipy.linalg, SCIPY), (torch.linalg, TORCH), (torch, TOP_TORCH)):
        for name in names.split():
            forbid(monkeypatch, module, name)
    lapack = [
        name for name in dir(scipy.linalg.lapack) if name[0] in "sdcz" and callable(getattr(scipy.linalg.lapack, name))
    ]
    for name in lapack:
        forbid(monkeypatch, scipy.linalg.lapack, name)
    for name in SPARSE.split():
        forbid(monkeypatch, spla, name)
    for name in SHORTCUTS.split():
        forbid(monkeypatch, spla, name, always=True)


def sparse_system() -> sp.csr_array:
    return sp.diags_array([-np.ones(N - 1), np.full(N, 2.1), -np.ones(N - 1)], offsets=[-1, 0, 1]).tocsr()


def indefinite_system() -> sp.csr_array:
    return sp.csr_array(sp.block_array([[None, sparse_system()[:500, :500]], [sparse_system()[:500, :500], None]]))


def gram_system() -> qn.GramOperator:
    return qn.GramOperator(np.random.default_rng(1).standard_normal((200, N)) / 40, 0.05)


@pytest.mark.parametrize("build", [sparse_system, indefinite_system, gram_system])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-8])
def test_qsvt_solves_a_thousand_unknowns_without_one(
    build: Callable[[], Any], tolerance: float, no_dense_solves: None
) -> None:
    A = build()
    b = np.random.default_rng(2).standard_normal(N)
    solution = qn.solve(A, b, solver="qsvt", tolerance=tolerance)
    assert solution.solved, solution.message
    assert solution.resources["encoding"] == ("gram" if isinstance(A, qn.GramOperator) else "walk")
    product = A.matvec(solution.x[:, None])[:, 0] if isinstance(A, qn.GramOperator) else A @ solution.x
    assert np.linalg.norm(b - product) <= tolerance * np.linalg.norm(b)


@pytest.mark.parametrize("solver", ["cholesky", "lu", "cg"])
def test_the_guard_does_catch_the_classical_solvers(solver: str, no_dense_solves: None) -> None:
    for A in (sparse_system(), gram_system()):
        with pytest.raises(DenseSolve):
            qn.solve(A, np.ones(N), solver=solver)


def test_the_guard_does_catch_a_dilation(no_dense_solves: None) -> None:
    with pytest.raises(DenseSolve, match="eigh"):
        qn.solve(sparse_system(), np.ones(N), solver="qsvt", encoding="dilation")
