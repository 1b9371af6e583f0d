"""Numerical honesty: random systems of any kind, conditioned or not, held to what their status says.

Residuals are recomputed here in extended precision, from the arrays that the solver was given.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import qnewton_gpu as qn
from qnewton_gpu import Status
from qnewton_gpu.solvers import QUANTUM

EPSILON = float(np.finfo(np.float64).eps)
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10)
KINDS = ("spd", "indefinite", "general", "tall", "wide", "damped", "hermitian", "complex", "complex tall")
SQUARE = ("spd", "indefinite", "general", "hermitian", "complex")
SYMMETRIC = ("spd", "indefinite", "hermitian")


@dataclass
class Case:
    """One system, and what is known of it because of how it was made."""

    kind: str
    A: np.ndarray
    b: np.ndarray
    kappa: float
    """Of the nonzero singular values, of [A; d I] where there is damping."""
    singular: bool
    consistent: bool
    tolerance: float
    damping: float
    sparse: bool


def unitary(n: int, random: np.random.Generator, complex_entries: bool) -> np.ndarray:
    entries = random.standard_normal((n, n)) + (1j * random.standard_normal((n, n)) if complex_entries else 0)
    return np.linalg.qr(entries)[0]


def spectrum(n: int, kappa: float, random: np.random.Generator) -> np.ndarray:
    """Magnitudes from 1/kappa to 1: spread evenly in their logarithm, or two clusters, or one far below the others."""
    shape = random.integers(3)
    if shape == 0:
        values = kappa ** -random.random(n)
    elif shape == 1:
        values = np.where(random.random(n) < 0.5, 1.0, 1 / kappa)
    else:
        values = 0.5 + random.random(n) / 2
    values[-1] = 1.0
    values[0] = 1 / kappa
    return values


def make_case(seed: int) -> Case:
    random = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    large = seed % 40 == 7  # where bounds are estimates
    m = n = int(random.integers(101, 140) if large else random.integers(1, 17))
    longer = int(random.integers(0 if kind == "damped" else 1, 12))
    if kind in ("tall", "complex tall") or (kind == "damped" and random.random() < 0.5):
        m += longer
    elif kind in ("wide", "damped"):
        n += longer
    complex_entries = kind in ("hermitian", "complex", "complex tall") or (kind == "damped" and random.random() < 0.3)
    kappa = 1.0 if min(m, n) == 1 else 10 ** random.uniform(0, random.choice([3, 12]))
    values = spectrum(min(m, n), kappa, random)
    zeros = int(random.integers(1, 3)) if random.random() < 0.35 and min(m, n) > 4 else 0
    values[1 : 1 + zeros] = 0
    if kind in ("indefinite", "hermitian"):
        values *= random.choice([-1, 1], len(values))
    U = unitary(m, random, complex_entries)[:, : len(values)]
    V = U if kind in SYMMETRIC else unitary(n, random, complex_entries)[:, : len(values)]
    A = (U * values) @ V.conj().T
    A *= 10.0 ** random.integers(-50, 51)
    if kind in SYMMETRIC:
        A = (A + A.conj().T) / 2
    consistent = random.random() < 0.5
    columns = (m,) if random.random() < 0.7 else (m, 2)
    b = random.standard_normal(columns)
    if random.random() < 0.2:
        b = b + 1j * random.standard_normal(columns)
    b = b * 10.0 ** random.integers(-50, 51)
    if consistent:
        b = U[:, values != 0] @ (U[:, values != 0].conj().T @ b)
    norm = float(np.linalg.norm(A, 2))
    damping = norm * 10 ** random.uniform(-8, 4) if kind == "damped" else 0.0
    if damping:
        smallest = 0.0 if zeros or m < n else norm / kappa
        kappa = float(np.hypot(norm, damping) / np.hypot(smallest, damping))
    tolerance = float(random.choice(TOLERANCES))
    return Case(kind, A, b, kappa, zeros > 0, consistent, tolerance, damping, bool(random.random() < 0.25))


def solvers_for(case: Case) -> list[str]:
    """What may be asked for such a system. Not saddle_free, which solves another one: |A| x = b."""
    names = ["auto", "qsvt", "cg", "qr"]
    if case.kind in SQUARE:
        names += ["lu", *(name for name in QUANTUM if name not in ("qsvt", "saddle_free"))]
    if case.kind in SYMMETRIC:
        names += ["cholesky"]
    return names


def true_residual(case: Case, x: np.ndarray, least_squares: bool = False) -> tuple[float, float]:
    """The relative residual that `qn.solve` promises, in extended precision, and what rounding adds to it in FP64."""
    A, b, y = (array.astype(np.clongdouble) for array in (case.A, case.b, x))
    r = b - A @ y
    scale, size = np.linalg.norm(case.b, axis=0), np.linalg.norm(x, axis=0)
    norm = np.linalg.norm(case.A, 2)
    missed = norm * size + scale
    if least_squares or case.damping or case.A.shape[0] != case.A.shape[1]:
        r = A.conj().T @ r - case.damping**2 * y
        missed = norm * missed + case.damping**2 * size
        scale = np.linalg.norm((A.conj().T @ b).astype(complex), axis=0)
    scale = np.where(scale > 0, scale, 1)
    return (
        float((np.sqrt((abs(r) ** 2).sum(axis=0)) / scale).max()),
        float(max(case.A.shape) * EPSILON * (missed / scale).max()),
    )


def hold(seed: int, max_queries: int) -> tuple[str, qn.Solution]:
    """Solve a case, and hold the solution to its status."""
    case = make_case(seed)
    names = solvers_for(case)
    name = names[seed // len(KINDS) % len(names)]
    A: Any = sp.csr_array(case.A) if case.sparse else case.A
    solution = qn.solve(A, case.b, solver=name, tolerance=case.tolerance, damping=case.damping, max_queries=max_queries)
    where = f"seed {seed}, {case.kind}, {name}, {solution.status.name}: {solution.message}"
    x = solution.x
    assert x.shape == (case.A.shape[1], *case.b.shape[1:]), where
    assert np.isfinite(x).all() and np.iscomplexobj(x) == (np.iscomplexobj(case.A) or np.iscomplexobj(case.b)), where
    residual, missed = true_residual(case, x, least_squares=name == "qsvt_pseudo_inverse")
    assert residual <= solution.relative_residual * (1 + 1e-6) + 4 * missed, f"{where} {residual}"
    message = solution.message
    assert len(message.split()) >= 5 and message[0].isalnum() and message[-1] in ".)", where
    if solution.solved:
        assert residual <= 1.001 * case.tolerance, f"{where} {residual} {missed}"
        assert missed <= case.tolerance * max(case.A.shape) * 10, where  # rounding does not decide
    if solution.status is Status.SINGULAR:
        assert case.singular or case.kappa > 1e9, where
    if solution.status is Status.TOO_ILL_CONDITIONED:
        assert case.kappa * EPSILON > 1e-3 * case.tolerance or case.singular, where
    if solution.status is Status.TOO_MANY_QUERIES:
        assert name in ("auto", *QUANTUM), where
    if name in ("lu", "qr") and not case.singular and 1e3 * case.kappa * EPSILON < case.tolerance:
        assert solution.solved, where
    return f"{name if name in QUANTUM or name == 'auto' else 'classical'}", solution


def run(seeds: range, max_queries: int) -> Counter[tuple[str, str]]:
    counts = Counter()
    for seed in seeds:
        name, solution = hold(seed, max_queries)
        counts[name, solution.status.name] += 1
    print(f"\n{sum(counts.values())} systems:")
    for (name, status), count in sorted(counts.items()):
        print(f"  {name:20s} {status:20s} {count:5d}")
    return counts


def test_no_status_is_wrong_on_a_few_systems_of_every_kind() -> None:
    counts = run(range(180), max_queries=1000)
    assert {status for _, status in counts} >= {"SOLVED", "SINGULAR", "TOO_ILL_CONDITIONED", "TOO_MANY_QUERIES"}


@pytest.mark.slow
def test_no_status_is_wrong_on_two_thousand_systems() -> None:
    counts = run(range(2000), max_queries=5000)
    assert {status for _, status in counts} >= {"SOLVED", "SINGULAR", "TOO_ILL_CONDITIONED", "TOO_MANY_QUERIES"}
