"""Bounds of a spectrum from products alone, and what is certain about them.

A Rayleigh quotient bounds lambda_max from below and lambda_min from above, so it underestimates kappa: the unsafe
side. `certified` is True only where a proof, or a stated failure probability, stands behind both ends.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import CombinationError, UnknownNameError
from ..operators import ExplicitMatrix, GramOperator, MatrixOperator, Operator, ToeplitzOperator, as_operator
from ..operators.arrays import check_magnitude, check_memory
from ..operators.kronecker import KroneckerOperator
from .bidiagonal import golub_kahan
from .block_power import block_power
from .bounds import FAILURE_PROBABILITY, FP64_EPSILON, SAFETY, SpectrumBounds, check_damping, rounding
from .lanczos import lanczos
from .lobpcg import lobpcg
from .ritz import Ritz, eigenvalues_lie_within

__all__ = [
    "FP64_EPSILON",
    "LANCZOS_STEPS",
    "METHODS",
    "SpectrumBounds",
    "both_ends",
    "by_lobpcg",
    "estimate_spectrum",
    "norm_bound",
    "semidefinite_bounds",
    "smallest_eigenvalue",
]

GRAM_STEPS = 24
LANCZOS_STEPS = 100
# 4 columns share each reading of H; with 10 products bound/lambda_max is 1.43 at worst for N = 1210, and 1 with a gap
POWER_COLUMNS, POWER_PRODUCTS = 4, 10
METHODS = ("auto", "lanczos", "power", "lobpcg")
_RITZ: WeakKeyDictionary[Operator, dict[int, Ritz]] = WeakKeyDictionary()


def estimate_spectrum(
    operator: Any, *, backend: str | Backend = "auto", damping: float = 0.0, seed: int = 0, method: str = "auto"
) -> SpectrumBounds:
    """Bounds of |eigenvalue| of H + damping I, or of the singular values of an A that is not symmetric.

    A Gram operator is certified: lambda_min >= its damping by construction, and lambda_max is below both ||G||_F^2 +
    damping and what the residuals of Ritz values leave possible, wrong with probability < 1e-6 over the random start
    (`ritz.py`, `block_power.py`). The Ritz values are of "lanczos", 24 products, or of the block iteration "power", 40
    products, which brings nothing to the host before its end; "auto" is Lanczos where arrays are on the host already.

    Any other matrix gets Lanczos at both ends, 100 products, and where H is indefinite Golub and Kahan's
    bidiagonalisation of H, 200 more. For N <= 100 that gives all eigenvalues, up to rounding: certified without chance.
    Beyond, both ends are certified with the same probability where the smallest |eigenvalue| is resolved to 10 %, and
    get a safety factor of 0.9, uncertified, where it is not. A general A gets the same by bidiagonalisation, a
    Kronecker product the products of its factors' bounds, a definite Toeplitz operator its closed form, certified; of a
    complex A the real embedding is estimated, which has the same values twice and twice the size.

    "lobpcg" finds the small end of a symmetric H by LOBPCG: an estimate, never certified (`lobpcg.py`).

    All bounds are widened by 8 N epsilon ||H|| for rounding, of a G of m > N rows by 8 m epsilon ||H||; but for the
    lower one of a Gram operator, which needs no arithmetic. `seed` draws the start: the failure probability is that of
    a start that is independent of H.

    Raises what `qn.solve` raises for a bad matrix, ParameterError for a negative damping, UnknownNameError, and
    CombinationError for "power" on a matrix that is not a Gram operator (it says nothing of the smallest |eigenvalue|),
    for "lobpcg" on one that is not symmetric, and for a damping of a general matrix.

    >>> import numpy as np
    >>> bounds = estimate_spectrum(np.diag([1.0, 2.0, 8.0]))
    >>> bounds.lower < 1.0 and bounds.upper >= 8.0
    True
    """
    check_damping(damping)
    _check_method(method)
    backend = backend_of(operator, backend)
    H = as_operator(operator, backend)
    if method == "lobpcg" and not H.symmetric:
        remedy = 'Use "lanczos", which bidiagonalises A'
        raise CombinationError("method", '"lobpcg" finds eigenvalues of a symmetric matrix, which this is not', remedy)
    if damping and not isinstance(H, (MatrixOperator, GramOperator)):
        problem = "is added to the diagonal of an explicit symmetric matrix, which this is not"
        raise CombinationError("damping", problem, "Use 0: qn.solve(A, b, damping=) takes the bounds of A itself")
    if method == "lobpcg":
        return by_lobpcg(H, damping, backend, seed)
    if isinstance(H, GramOperator):
        bounds = semidefinite_bounds(H, H.damping, norm_bound(H), backend, seed, method)
        return replace(bounds, lower=bounds.lower + damping, upper=bounds.upper + damping)
    if method == "power":
        raise CombinationError(
            "method",
            '"power" bounds lambda_max alone, and the smallest |eigenvalue| of a general matrix is not known',
            'Use "lanczos", or pass a GramOperator, whose damping is its lower bound',
        )
    if isinstance(H, KroneckerOperator):
        return _product_of([estimate_spectrum(factor, backend=backend, seed=seed) for factor in H.factors])
    if isinstance(H, ToeplitzOperator):
        low, high = H.eigenvalue_range
        if low > 0 or high < 0:
            lower, upper = sorted((abs(low), abs(high)))
            return SpectrumBounds(lower, upper, True, 0, "closed form", negative=high < 0, errs="above")
        needed = 8.0 * LANCZOS_STEPS * H.shape[0]
        check_memory("A", needed, backend, "Bounds of a definite Toeplitz operator need no vectors")
    return both_ends(H, damping, backend, seed) if H.symmetric else _general_bounds(H, backend, seed)


def semidefinite_bounds(
    H: Operator, floor: float, norm_bound: float, backend: Backend, seed: int = 0, method: str = "auto"
) -> SpectrumBounds:
    """Certified bounds of an H with H - floor I positive semidefinite and ||H|| <= norm_bound, both proven.

    `floor` >= 0; of an explicit H its proof may have been lost to rounding, by which `lower` is then less, or which
    takes the certificate away. `method` is "auto", "lanczos" or "power". Raises UnknownNameError.
    """
    _check_method(method)
    n, terms = H.shape[0], _terms(H)
    # Lanczos reads two scalars a step, which is free only where arrays are NumPy's
    if method == "power" or (method == "auto" and backend.xp is not np):
        found = block_power(H.matvec, n, POWER_COLUMNS, POWER_PRODUCTS, backend, seed)
        upper, matvecs, name = found.upper_bound(terms=terms), found.matvecs, "block power iteration"
    else:
        ritz = lanczos(H.matvec, n, GRAM_STEPS, backend, seed)
        upper = float(ritz.values[-1])
        if not ritz.complete:
            _, upper = eigenvalues_lie_within(ritz.values, ritz.off_diagonals, n, FAILURE_PROBABILITY)
        matvecs, name = ritz.steps, "Lanczos"
    upper = max(min(norm_bound, upper) * (1 + rounding(terms, 1.0)), floor)
    lost = rounding(n, upper) if isinstance(H, ExplicitMatrix) else 0.0
    lower, certified = (floor - lost, True) if lost <= floor / 2 else (floor, False)
    return SpectrumBounds(
        lower,
        upper,
        certified,
        matvecs,
        f"known damping, {name} lambda_max",
        errs="above" if certified else "either",
        failure_probability=FAILURE_PROBABILITY,
    )


def smallest_eigenvalue(H: Operator, backend: Backend, seed: int = 0) -> float:
    """The algebraically smallest Ritz value less its residual, an estimate where N > 100: at most 100 products."""
    ritz = _ritz_of(H, backend, seed)
    return float(ritz.values[0] - ritz.residuals[0])


def norm_bound(H: Any) -> float:
    """At least ||H|| but for rounding: of a Gram operator ||G||_F^2 + damping, else the largest row sum.

    Raises ParameterError where the square of a Gram operator's leaves the range of FP64: no one looked at its factor.
    """
    if not isinstance(H, GramOperator):
        return float(H.largest_row_sum())
    norm = float(H.factor.frobenius_squared) + H.damping
    check_magnitude(norm, "operator")
    return norm


def _terms(H: Operator) -> int:
    """The most terms of a sum in a product with H, which its rounding grows with."""
    return max(H.factor.shape) if isinstance(H, GramOperator) else H.shape[0]


def both_ends(H: Any, damping: float, backend: Backend, seed: int) -> SpectrumBounds:
    """Bounds of |eigenvalue| of a symmetric H + damping I of which nothing else is known."""
    n = H.shape[0]
    ritz = _ritz_of(H, backend, seed)
    values, ends = ritz.values + damping, FAILURE_PROBABILITY / 3  # of up to three ends
    low, high = values[0], values[-1]
    if not ritz.complete:
        low, high = eigenvalues_lie_within(values, ritz.off_diagonals, n, ends)
    magnitudes, matvecs, method = np.abs(values), ritz.steps, "Lanczos both ends"
    smallest = max(low, -high)
    if ritz.complete:
        smallest = magnitudes.min()
    elif values[0] < 0 < values[-1]:  # the small end is inside

        def product(v: Any) -> Any:
            return H.matvec(v) + damping * v

        inner = golub_kahan(product, product, (n, n), LANCZOS_STEPS, backend, seed)
        smallest = math.sqrt(max(eigenvalues_lie_within(inner.values**2, inner.off_diagonals, n, ends)[0], 0.0))
        magnitudes = np.array([min(inner.values.min(), magnitudes.min()), magnitudes.max()])
        matvecs, method = matvecs + 2 * inner.steps, "Lanczos, and Golub-Kahan for the small end"
    bounds = _of_magnitudes(magnitudes, (smallest, max(high, -low)), ritz, _terms(H), norm_bound(H) + damping)
    negative = bool(values[0] < -rounding(_terms(H), magnitudes.max()))
    return replace(bounds, matvecs=matvecs, method=method, negative=negative)


def by_lobpcg(H: Any, damping: float, backend: Backend, seed: int) -> SpectrumBounds:
    """An estimate of a symmetric H + damping I: Lanczos, and LOBPCG for the small end, on H^2 if H is indefinite.

    A Rayleigh value less its residual is near some eigenvalue: nothing proves that it is the smallest one.
    """
    n = H.shape[0]

    def product(v: Any) -> Any:
        return H.matvec(v) + damping * v

    norm = norm_bound(H) + damping
    outer = lanczos(product, n, GRAM_STEPS, backend, seed)
    low, high = float(outer.values[0]), float(outer.values[-1])
    if not outer.complete:
        low, high = eigenvalues_lie_within(outer.values, outer.off_diagonals, n, FAILURE_PROBABILITY)
    upper = min(max(high, -low), norm) * (1 + rounding(_terms(H), 1.0))
    noise, matvecs = rounding(_terms(H), upper), outer.steps
    diagonal = H.matrix.diagonal() + damping if isinstance(H, MatrixOperator) else np.ones(1)
    scale = backend.asarray(1 / diagonal)[:, None] if bool((diagonal > 0).all()) else 1.0
    found = lobpcg(product, n, backend, noise=noise, seed=seed, precondition=lambda v: scale * v)
    matvecs += found.matvecs
    negative = bool(found.values[0] < -noise)
    if negative:
        noise *= upper
        found = lobpcg(lambda v: product(product(v)), n, backend, noise=noise, seed=seed)
        matvecs += 2 * found.matvecs
    values = np.where(found.values > noise, np.maximum(found.values - found.residuals, SAFETY * found.values), 0.0)
    values = np.sqrt(values) if negative else values
    if isinstance(H, GramOperator):
        values = np.maximum(values, H.damping + damping)
    nonzero = values[values > 0]
    return SpectrumBounds(
        float(values[0]),
        upper,
        matvecs=matvecs,
        method="LOBPCG lambda_min, Lanczos lambda_max" + ("" if found.converged else ", not converged"),
        smallest_nonzero=float(nonzero.min()) if len(nonzero) else None,
        negative=negative,
    )


def backend_of(operator: Any, backend: str | Backend) -> Backend:
    """The backend asked for; "auto" is that of an operator which was made on one already."""
    return select_backend(operator.backend if backend == "auto" and isinstance(operator, Operator) else backend)


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise UnknownNameError.among("method", method, METHODS)


def _ritz_of(H: Operator, backend: Backend, seed: int) -> Ritz:
    """Lanczos on H, once for each seed: H + s I has the same Krylov space, and its Ritz values moved by s."""
    known = _RITZ.setdefault(H, {})
    if seed not in known:
        known[seed] = lanczos(H.matvec, H.shape[0], LANCZOS_STEPS, backend, seed)
    return known[seed]


def _of_magnitudes(
    magnitudes: np.ndarray, proven: tuple[float, float], ritz: Ritz, size: int, norm_bound: float
) -> SpectrumBounds:
    """Bounds from magnitudes of Ritz values, and from what is proven of both ends but for rounding."""
    largest = float(magnitudes.max())
    lost = rounding(size, largest)
    nonzero = magnitudes[magnitudes > lost]
    found_zero = len(nonzero) < len(magnitudes)
    upper = min(norm_bound * (1 + rounding(size, 1.0)), proven[1] + lost)
    lower = 0.0 if found_zero else proven[0] - lost
    # a proof that costs more queries than the safety factor would is not used
    certified = not found_zero and (ritz.complete or bool(lower >= SAFETY * magnitudes.min()))
    shrink = 1.0 if certified or ritz.closed else SAFETY
    if not (certified or found_zero):
        lower = float(magnitudes.min()) * shrink
    smallest_nonzero = float(nonzero.min()) * shrink if len(nonzero) else None
    errs = "above" if certified or found_zero else "either"
    chance = FAILURE_PROBABILITY if certified else 0.0
    if ritz.complete:
        errs, chance = "exact", 0.0
    return SpectrumBounds(
        float(lower), float(upper), certified, smallest_nonzero=smallest_nonzero, errs=errs, failure_probability=chance
    )


def _general_bounds(A: Any, backend: Backend, seed: int) -> SpectrumBounds:
    m, n = A.shape
    products, shape = (A.matvec, A.rmatvec), (m, n)
    if m < n:  # it starts on the smaller side
        products, shape = (A.rmatvec, A.matvec), (n, m)
    ritz = golub_kahan(*products, shape, LANCZOS_STEPS, backend, seed)
    proven = (float(ritz.values.min()), float(ritz.values.max()))
    if not ritz.complete:
        low, high = eigenvalues_lie_within(ritz.values**2, ritz.off_diagonals, min(m, n), FAILURE_PROBABILITY / 2)
        proven = (math.sqrt(max(low, 0.0)), math.sqrt(high))
    norm_bound = math.sqrt(A.largest_row_sum() * A.largest_column_sum())
    bounds = _of_magnitudes(ritz.values, proven, ritz, max(m, n), norm_bound)
    return replace(bounds, matvecs=2 * ritz.steps, method="Golub-Kahan")


def _product_of(factors: list[SpectrumBounds]) -> SpectrumBounds:
    """Bounds of a Kronecker product: its eigenvalues are the products of the factors' eigenvalues."""
    nonzero = [f.smallest_nonzero for f in factors if f.smallest_nonzero is not None]
    sides = {f.errs for f in factors} - {"exact"}
    return SpectrumBounds(
        lower=math.prod(f.lower for f in factors),
        upper=math.prod(f.upper for f in factors),
        certified=all(f.certified for f in factors),
        matvecs=sum(f.matvecs for f in factors),
        method=f"products of {len(factors)} factors' bounds",
        smallest_nonzero=math.prod(nonzero) if len(nonzero) == len(factors) else None,
        negative=any(f.negative for f in factors),  # of an even number of negative definite factors, too
        errs=sides.pop() if len(sides) == 1 else "either" if sides else "exact",
        failure_probability=sum(f.failure_probability for f in factors),
    )
