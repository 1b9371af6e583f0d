"""Bounds of a spectrum from products alone: Lanczos, block power iteration, and what is certain about the rest.

A Rayleigh quotient bounds lambda_max from below and lambda_min from above, so it underestimates kappa: the unsafe
side. `certified` is True only where a proof, or a stated failure probability, stands behind both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import CombinationError, ParameterError, UnknownNameError
from ..operators import GramOperator, MatrixOperator, Operator, as_operator
from ..operators.kronecker import KroneckerOperator
from .bidiagonal import Ritz, golub_kahan

FP64_EPSILON = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)
FAILURE_PROBABILITY = 1e-6
SAFETY = 0.9
_GRAM_STEPS = 24
LANCZOS_STEPS = 100
_RITZ: WeakKeyDictionary[Operator, dict[int, Ritz]] = WeakKeyDictionary()
# 8 columns share each reading of H; 16 products with them give e = 0.18 at N = 1210 and 0.33 at N = 10^6
_POWER_COLUMNS, _POWER_PRODUCTS = 8, 16
METHODS = ("auto", "lanczos", "power")


@dataclass(frozen=True)
class SpectrumBounds:
    """lower <= |lambda| <= upper for every eigenvalue lambda; `lower` is 0 where a zero mode was found.

    Of a matrix that is not symmetric the min(m, n) singular values are meant instead.

    `smallest_nonzero` is then the smallest magnitude above rounding. `matvecs` vectors were multiplied. `negative`
    says that an eigenvalue below zero was found, which a negative Rayleigh quotient proves.
    """

    lower: float
    upper: float
    certified: bool = False
    matvecs: int = 0
    method: str = "given"
    smallest_nonzero: float | None = None
    negative: bool = False

    @property
    def kappa(self) -> float:
        return self.upper / self.lower if self.lower > 0 else math.inf


def lanczos(product: Callable[[Any], Any], size: int, steps: int, backend: Backend, seed: int) -> Ritz:
    """Lanczos on a symmetric `product` from a random start, at most `steps` steps of O(size * steps) work."""
    xp = backend.xp
    start = np.random.default_rng(seed).standard_normal((size, 1))
    v = backend.asarray(start / np.linalg.norm(start))
    steps = min(steps, size)
    basis = xp.empty((steps, size))
    diagonal, off = [], []
    largest = 0.0
    for k in range(steps):
        basis[k] = v[:, 0]
        w = product(v)
        along = (v * w).sum()
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            w = w - basis[: k + 1].T @ (basis[: k + 1] @ w)
        # the two numbers of a step come to the host together
        alpha, norm = backend.to_numpy(xp.stack([along, xp.sqrt((w * w).sum())])).tolist()
        largest = max(largest, abs(alpha), norm)
        diagonal.append(alpha)
        off.append(norm)
        if norm <= size * FP64_EPSILON * largest:
            break
        v = w / norm
    count = len(diagonal)
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off[: count - 1], 1) + np.diag(off[: count - 1], -1))
    complete = off[-1] <= size * FP64_EPSILON * largest or count == size
    residuals = np.zeros(count) if complete else off[-1] * np.abs(vectors[-1])
    return Ritz(values, residuals, count, complete)


def block_power(
    product: Callable[[Any], Any], size: int, columns: int, iterations: int, backend: Backend, seed: int
) -> float:
    """The largest Ritz value theta <= lambda_max of a positive semidefinite H in the span of H^(iterations - 1) V.

    V is Gaussian, (N, columns); `iterations` products with it are spent, the last for the Rayleigh quotient, and
    columns^2 numbers come to the host at the end.
    """
    xp = backend.xp
    columns = min(columns, size)
    v = backend.asarray(np.random.default_rng(seed).standard_normal((size, columns)))  # the same start everywhere
    for _ in range(iterations - 1):
        w = product(v)
        v = w / xp.maximum(abs(w).max(), _TINY)
    # one QR is enough, however parallel the columns grow: of the combination nearest to the top eigenvector a product
    # loses FP64_EPSILON/cos(angle at the start), 1e-12 at N = 10^6
    q = xp.linalg.qr(v)[0]
    return float(np.linalg.eigvalsh(backend.to_numpy(q.T @ product(q)))[-1])


def estimate_spectrum(
    operator: Any, *, backend: str | Backend = "auto", damping: float = 0.0, seed: int = 0, method: str = "auto"
) -> SpectrumBounds:
    """Bounds of |eigenvalue| of H + damping I, or of the singular values of an A that is not symmetric.

    A Gram operator is certified: lambda_min >= its damping by construction, and lambda_max is below both ||G||_F^2 +
    damping and a Ritz value over 1 - e, wrong with probability < 1e-6 (Kuczynski and Wozniakowski 1992). The Ritz
    value is of "lanczos", or of the block iteration "power", which brings nothing to the host before its end;
    "auto" is Lanczos where arrays are on the host already. Any other matrix gets Lanczos at both ends: exact and
    certified where the Krylov space closes (always for N <= 100), else, on H^2 where H is indefinite, with a safety
    factor and uncertified. A general A gets the same from Golub and Kahan's bidiagonalisation, exact where min(m, n)
    <= 100; a Kronecker product the products of its factors' bounds; of a complex A the real embedding is
    estimated, which has the same values twice and twice the size.

    Raises what `qn.solve` raises for a bad matrix, ParameterError for a negative damping, UnknownNameError, and
    CombinationError for "power" on a matrix that is not a Gram operator (it says nothing of the smallest |eigenvalue|)
    and for a damping of a general matrix.

    >>> import numpy as np
    >>> bounds = estimate_spectrum(np.diag([1.0, 2.0, 8.0]))
    >>> bounds.lower < 1.0 and bounds.upper >= 8.0
    True
    """
    if not (math.isfinite(damping) and damping >= 0):
        raise ParameterError("damping", f"{damping!r} is not a finite number >= 0", "Use 0 for none")
    _check_method(method)
    backend = select_backend(backend)
    H = as_operator(operator, backend)
    if isinstance(H, GramOperator):
        return _gram_bounds(H, damping, backend, seed, method)
    if method == "power":
        raise CombinationError(
            "method",
            '"power" bounds lambda_max alone, and the smallest |eigenvalue| of a general matrix is not known',
            'Use "lanczos", or pass a GramOperator, whose damping is its lower bound',
        )
    if damping and not isinstance(H, MatrixOperator):
        problem = "is added to the diagonal of an explicit symmetric matrix, which this is not"
        raise CombinationError("damping", problem, "Use 0: qn.solve(A, b, damping=) takes the bounds of A itself")
    if isinstance(H, KroneckerOperator):
        return _product_of([estimate_spectrum(factor, backend=backend, seed=seed) for factor in H.factors])
    return _matrix_bounds(H, damping, backend, seed) if H.symmetric else _general_bounds(H, backend, seed)


def lanczos_relative_error(size: int, steps: int) -> float:
    """e with lambda_max <= theta/(1 - e) but with probability < 1e-6: 1.648 sqrt(N) exp(-sqrt(e) (2k - 1))."""
    return (math.log(1.648 * math.sqrt(size) / FAILURE_PROBABILITY) / (2 * steps - 1)) ** 2


def block_power_relative_error(
    size: int, columns: int, iterations: int, failure_probability: float = FAILURE_PROBABILITY
) -> float:
    """e with lambda_max <= theta/(1 - e) but with probability < failure_probability, for theta of `block_power`.

    Take q products and k columns. Theta is no less than the Rayleigh quotient of H^(q-1) y for the y of span V that is
    nearest to an eigenvector of lambda_max, and that is below (1 - e) lambda_max only if the tan^2 of their angle
    exceeds e/(c (1 - e)^(2q-1)), c = max t^(2q-2) (1 - t) over 0 <= t <= 1. A Gaussian span is uniformly distributed,
    so cos^2 of the angle has the law Beta(k/2, (N - k)/2). For k = 1 that is about 0.34 sqrt(N/(e q)) (1 - e)^(q-1/2),
    the form of Kuczynski and Wozniakowski (1992); k columns together fail less often than all of k single ones.
    It is sharp: where every other eigenvalue is (1 - e) (2q - 2)/(2q - 1) lambda_max, the probability is attained.
    For whole block Krylov spaces see Tropp (arXiv 2110.00649).
    """
    if columns >= size:
        return 64 * FP64_EPSILON  # the span is the whole space
    from scipy.special import betaincinv

    cos_squared = float(betaincinv(columns / 2, (size - columns) / 2, failure_probability))
    power = 2 * iterations - 1
    c = (1 - 1 / power) ** (power - 1) / power
    sought = math.log(cos_squared / (1 - cos_squared) / c)
    low, high = 0.0, 1.0
    for _ in range(50):  # bisection of a falling function; `high` stays on the safe side
        e = (low + high) / 2
        low, high = (e, high) if power * math.log1p(-e) - math.log(e) > sought else (low, e)
    return high


def semidefinite_bounds(
    H: Operator, floor: float, norm_bound: float, backend: Backend, seed: int = 0, method: str = "auto"
) -> SpectrumBounds:
    """Certified bounds of an H with H - floor I positive semidefinite and ||H|| <= norm_bound, both proven.

    `floor` >= 0; `method` as in `estimate_spectrum`. Raises UnknownNameError.
    """
    _check_method(method)
    n = H.shape[0]
    # Lanczos reads two scalars a step, which is free only where arrays are NumPy's
    if method == "power" or (method == "auto" and backend.xp is not np):
        columns = min(_POWER_COLUMNS, n)
        theta = block_power(H.matvec, n, columns, _POWER_PRODUCTS, backend, seed)
        error = block_power_relative_error(n, columns, _POWER_PRODUCTS)
        matvecs, name = columns * _POWER_PRODUCTS, "block power iteration"
    else:
        ritz = lanczos(H.matvec, n, _GRAM_STEPS, backend, seed)
        theta = float(ritz.values[-1])
        error = 64 * FP64_EPSILON if ritz.complete else lanczos_relative_error(n, ritz.steps)
        matvecs, name = ritz.steps, "Lanczos"
    upper = min(norm_bound, theta / (1 - error)) if error < 1 else norm_bound
    return SpectrumBounds(floor, max(upper, floor), True, matvecs, f"known damping, {name} lambda_max")


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise UnknownNameError.among("method", method, METHODS)


def _gram_bounds(H: GramOperator, damping: float, backend: Backend, seed: int, method: str) -> SpectrumBounds:
    bounds = semidefinite_bounds(H, H.damping, H.factor.frobenius_squared + H.damping, backend, seed, method)
    return replace(bounds, lower=bounds.lower + damping, upper=bounds.upper + damping)


def _ritz_of(H: Operator, backend: Backend, seed: int) -> Ritz:
    """Lanczos on H, once for each seed: H + s I has the same Krylov space, and its Ritz values moved by s."""
    known = _RITZ.setdefault(H, {})
    if seed not in known:
        known[seed] = lanczos(H.matvec, H.shape[0], LANCZOS_STEPS, backend, seed)
    return known[seed]


def smallest_eigenvalue(H: Operator, backend: Backend, seed: int = 0) -> float:
    """The algebraically smallest eigenvalue less its Ritz residual: Lanczos, at most 100 products."""
    ritz = _ritz_of(H, backend, seed)
    return float(ritz.values[0] - ritz.residuals[0])


def _matrix_bounds(H: Any, damping: float, backend: Backend, seed: int) -> SpectrumBounds:
    n = H.shape[0]

    def product(v: Any) -> Any:
        return H.matvec(v) + damping * v

    ritz = _ritz_of(H, backend, seed)
    ritz = replace(ritz, values=ritz.values + damping)
    magnitudes, matvecs, method = np.abs(ritz.values), ritz.steps, "Lanczos both ends"
    largest = float(magnitudes.max())
    norm_bound = H.largest_row_sum() + damping
    if ritz.values[0] < 0 < ritz.values[-1] and not ritz.complete:
        squared = lanczos(lambda v: product(product(v)), n, LANCZOS_STEPS, backend, seed)
        smallest = min(float(np.sqrt(np.maximum(squared.values, 0)).min()), float(magnitudes.min()))
        magnitudes = np.array([smallest, largest])
        matvecs, method = matvecs + 2 * squared.steps, "Lanczos on H and H^2"
    negative = bool(ritz.values[0] < -_rounding(n, largest))
    bounds = _of_magnitudes(magnitudes, ritz.complete, n, norm_bound)
    return replace(bounds, matvecs=matvecs, method=method, negative=negative)


def _rounding(size: int, largest: float) -> float:
    """Below it a Ritz value is zero; also what a Krylov space that closed may have left out."""
    return 8 * size * FP64_EPSILON * largest


def _of_magnitudes(magnitudes: np.ndarray, complete: bool, size: int, norm_bound: float) -> SpectrumBounds:
    """Bounds from the magnitudes of Ritz values: with a safety factor unless they are all there are."""
    largest = float(magnitudes.max())
    rounding = _rounding(size, largest)
    nonzero = magnitudes[magnitudes > rounding]
    if complete:  # every one is known, up to rounding
        shrink, upper = 1.0, largest + rounding
    else:
        shrink, upper = SAFETY, min(norm_bound, largest / SAFETY)
    smallest_nonzero = float(nonzero.min()) * shrink if len(nonzero) else None
    found_zero = len(nonzero) < len(magnitudes)
    lower = 0.0 if found_zero else float(magnitudes.min()) * shrink - rounding * complete
    return SpectrumBounds(lower, upper, complete and not found_zero, smallest_nonzero=smallest_nonzero)


def _general_bounds(A: Any, backend: Backend, seed: int) -> SpectrumBounds:
    m, n = A.shape
    if m >= n:  # it starts on the smaller side
        ritz = golub_kahan(A.matvec, A.rmatvec, (m, n), LANCZOS_STEPS, backend, seed)
    else:
        ritz = golub_kahan(A.rmatvec, A.matvec, (n, m), LANCZOS_STEPS, backend, seed)
    norm_bound = math.sqrt(A.largest_row_sum() * A.largest_column_sum())
    bounds = _of_magnitudes(ritz.values, ritz.complete, max(m, n), norm_bound)
    return replace(bounds, matvecs=2 * ritz.steps, method="Golub-Kahan")


def _product_of(factors: list[SpectrumBounds]) -> SpectrumBounds:
    """Bounds of a Kronecker product: its eigenvalues are the products of the factors' eigenvalues."""
    nonzero = [f.smallest_nonzero for f in factors if f.smallest_nonzero is not None]
    return SpectrumBounds(
        lower=math.prod(f.lower for f in factors),
        upper=math.prod(f.upper for f in factors),
        certified=all(f.certified for f in factors),
        matvecs=sum(f.matvecs for f in factors),
        method=f"products of {len(factors)} factors' bounds",
        smallest_nonzero=math.prod(nonzero) if len(nonzero) == len(factors) else None,
        negative=any(f.negative for f in factors),  # of an even number of negative definite factors, too
    )
