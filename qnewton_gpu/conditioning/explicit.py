"""Estimates of kappa that need the entries of a matrix: for comparison with what products alone can tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.base import Backend
from .bounds import FP64_EPSILON, rounding

HAGER_ITERATIONS = 5
LARGEST_LOG = math.log(float(np.finfo(np.float64).max))


def hager_higham(matrix: Any, backend: Backend) -> float:
    """An estimate of kappa_1 = ||A||_1 ||A^-1||_1 from one LU factorisation and at most 11 solves: never above it.

    ||A^-1||_1 is the maximum of the convex ||A^-1 x||_1 over ||x||_1 <= 1, which is climbed from vertex to vertex; a
    vector of alternating signs guards against the matrices that deceive the climb. For symmetric A,
    kappa_2 <= kappa_1 <= N kappa_2, and in general kappa_2/N <= kappa_1 <= N kappa_2: as an estimate of kappa_2 it
    mostly lies above, by up to N, and nothing forbids that it lies below. inf where A is exactly singular.
    Sources: Hager, SIAM J. Sci. Stat. Comput. 5 (1984) 311; Higham, ACM Trans. Math. Softw. 14 (1988) 381.
    """
    solve = _lu_solver(matrix, backend)
    norm = float(abs(matrix).sum(axis=0).max())
    return norm * _inverse_norm(solve, matrix.shape[0], backend) if solve else math.inf


def _lu_solver(matrix: Any, backend: Backend) -> Callable[[Any, bool], Any] | None:
    """(b, transposed) -> A^-1 b or A^-t b by one factorisation; None where a pivot is zero."""
    import torch  # its LU runs where the arrays are, and keeps its factors

    factors, pivots, info = torch.linalg.lu_factor_ex(backend.to_torch(matrix))
    if int(info):
        return None

    def solve(b: Any, transposed: bool) -> Any:
        x = torch.linalg.lu_solve(factors, pivots, backend.to_torch(b), adjoint=transposed)
        return backend.asarray(x)

    return solve


def _inverse_norm(solve: Callable[[Any, bool], Any], size: int, backend: Backend) -> float:
    xp = backend.xp
    x = xp.full((size, 1), 1 / size)
    estimate, signs = 0.0, None
    for _ in range(HAGER_ITERATIONS):
        y = solve(x, False)
        found, new_signs = float(abs(y).sum()), xp.where(y >= 0, 1.0, -1.0)
        stays = signs is not None and bool((new_signs == signs).all())
        rises = found > estimate
        estimate, signs = max(found, estimate), new_signs
        if stays or not rises or size == 1:
            break
        z = abs(solve(signs, True))
        best = int(z.argmax())
        if float(z[best, 0]) <= float((z * x).sum()) * (1 + FP64_EPSILON):
            break
        x = xp.zeros((size, 1))
        x[best] = 1.0
    place = xp.arange(size)
    alternating = (1 - 2 * (place % 2)) * (1 + place / max(size - 1, 1))
    return max(estimate, 2 * float(abs(solve(alternating[:, None], False)).sum()) / (3 * size))


def frobenius_bound(matrix: Any, damping: float) -> float:
    """kappa <= 1 + ||H||_F/delta of `matrix` = H + delta I, for a positive semidefinite H and delta > 0: a proof.

    lambda_min >= delta and lambda_max <= ||H||_F + delta. It lies above by at most ||H||_F/||H|| <= sqrt(rank H).
    Widened for the rounding of the entries: inf where that hides delta.
    """
    size = matrix.shape[0]
    raw = matrix.copy()
    raw.reshape(-1)[:: size + 1] -= damping  # sums of squares with delta in them would lose an H that is far smaller
    norm = _frobenius_norm(raw)
    lost = rounding(size, norm + math.sqrt(size) * damping)
    return 1 + (norm + 2 * lost) / (damping - lost) if damping > lost else math.inf


def _frobenius_norm(matrix: Any) -> float:
    return float((matrix * matrix).sum()) ** 0.5


def norm_determinant_bound(matrix: Any, backend: Backend) -> tuple[float, float]:
    """(kappa, log10 kappa) of the bound by norm and determinant, kappa <= sqrt((1 + t)/(1 - t)), for a square A.

    t = sqrt(1 - (N/||A||_F^2)^N det(A)^2). In logarithms and with ||A||_F^2 = N: w = 2 ln|det A| <= 0 by the
    inequality of the arithmetic and geometric means of the squared singular values, t = sqrt(1 - e^w), and
    ln kappa <= ln(1 + t) - w/2, because 1 - t^2 = e^w; w is lowered by 16 N^2 epsilon, which rounding may have added
    (near kappa = 1 the root makes it visible). The kappa is inf beyond FP64; its logarithm only for a singular A.
    Equality for N = 2; beyond, every small singular value counts, not the smallest alone.
    Source: Merikoski, Urpala, Virtanen, Tam and Uhlig, Linear Algebra Appl. 254 (1997) 355, who prove it best possible.

    >>> import numpy as np
    >>> from qnewton_gpu import select_backend
    >>> kappa, _ = norm_determinant_bound(np.array([[1.0, 2.0], [3.0, 4.0]]), select_backend("cpu"))
    >>> print(f"{kappa:.2f}")
    14.93
    """
    size, norm = matrix.shape[0], _frobenius_norm(matrix)
    if norm == 0:
        return math.inf, math.inf
    # scaled first: logarithms of far larger numbers would cancel
    _, log_determinant = backend.xp.linalg.slogdet(matrix * (math.sqrt(size) / norm))
    if float(log_determinant) == -math.inf:
        return math.inf, math.inf
    w = min(2 * float(log_determinant), 0.0) - 16 * size**2 * FP64_EPSILON
    log_kappa = math.log1p(math.sqrt(-math.expm1(w))) - w / 2
    return (math.exp(log_kappa) if log_kappa < LARGEST_LOG else math.inf), log_kappa / math.log(10)


def widened_for_rounding(kappa: float, size: int) -> float:
    """A bound of kappa(A) from a bound of kappa(A + E), ||E|| <= r ||A + E|| with r of `rounding`; inf if kappa r >= 1.

    sigma_min(A) >= sigma_min(A + E) - ||E|| and ||A|| <= ||A + E|| + ||E||. A backward stable factorisation is that of
    an A + E.
    """
    r = rounding(size, 1.0)
    return kappa * (1 + r) / (1 - kappa * r) if kappa * r < 1 else math.inf
