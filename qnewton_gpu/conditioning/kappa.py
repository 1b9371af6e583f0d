"""Estimates of kappa side by side: what each costs, on which side of the truth it errs, and whether that is certain."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..backends.base import Backend
from ..errors import CombinationError, UnknownNameError
from ..operators import GramOperator, MatrixOperator, Operator, as_symmetric, check_memory
from .block_power import block_power
from .bounds import SpectrumBounds, check_damping, rounding
from .damping import add_to_diagonal
from .explicit import frobenius_bound, hager_higham, norm_determinant_bound, widened_for_rounding
from .spectrum import backend_of, both_ends, by_lobpcg, norm_bound, semidefinite_bounds

SHIFTED_POWER_COLUMNS, SHIFTED_POWER_PRODUCTS = 8, 100


@dataclass(frozen=True)
class KappaEstimate:
    """One estimate of kappa = max |lambda|/min |lambda|, and what stands behind it.

    `log10_kappa` is finite where kappa is beyond FP64. `matvecs` vectors were multiplied, `factorisations` O(N^3)
    factorisations made. `errs`, `certified` and `failure_probability` are as in SpectrumBounds: a certified estimate is
    at least the truth but with that probability.
    """

    method: str
    kappa: float
    log10_kappa: float
    matvecs: int
    factorisations: int
    errs: str
    certified: bool
    failure_probability: float
    note: str


@dataclass(frozen=True)
class _Damped:
    """H with all of its damping in it, and delta > 0 with H - delta I known to be semidefinite, or None."""

    H: Operator
    floor: float | None
    backend: Backend
    seed: int

    @property
    def size(self) -> int:
        return self.H.shape[0]

    def dense(self) -> Any:
        check_memory("operator", 16.0 * self.size**2, self.backend, "Leave out the estimators that need an array")
        return self.H.dense()


def _of_bounds(method: str, bounds: SpectrumBounds, note: str) -> KappaEstimate:
    kappa = bounds.kappa
    return KappaEstimate(
        method, kappa, math.log10(kappa) if kappa < math.inf else math.inf, bounds.matvecs, 0, bounds.errs,
        bounds.certified, bounds.failure_probability, note,
    )  # fmt: skip


def _lanczos_known_damping(p: _Damped) -> KappaEstimate:
    assert p.floor is not None
    bounds = semidefinite_bounds(p.H, p.floor, norm_bound(p.H), p.backend, p.seed, "lanczos")
    return _of_bounds("lanczos_known_damping", bounds, "lambda_max by Lanczos, lambda_min >= damping")


def _power_known_damping(p: _Damped) -> KappaEstimate:
    assert p.floor is not None
    bounds = semidefinite_bounds(p.H, p.floor, norm_bound(p.H), p.backend, p.seed, "power")
    return _of_bounds("power_known_damping", bounds, "lambda_max by randomised block power, lambda_min >= damping")


def _lanczos_both_ends(p: _Damped) -> KappaEstimate:
    bounds = both_ends(p.H, 0.0, p.backend, p.seed)
    return _of_bounds("lanczos_both_ends", bounds, bounds.method)


def _lobpcg(p: _Damped) -> KappaEstimate:
    bounds = by_lobpcg(p.H, 0.0, p.backend, p.seed)
    return _of_bounds("lobpcg", bounds, bounds.method)


def _shifted_power(p: _Damped) -> KappaEstimate:
    """Two Rayleigh values: of H, at most lambda_max, and of theta I - H, which gives one of at least lambda_min."""
    columns, products = SHIFTED_POWER_COLUMNS, SHIFTED_POWER_PRODUCTS
    large = block_power(p.H.matvec, p.size, columns, products, p.backend, p.seed)
    theta = large.theta
    shifted = block_power(lambda v: theta * v - p.H.matvec(v), p.size, columns, products, p.backend, p.seed + 1)
    small = theta - shifted.theta
    kappa = theta / small if small > rounding(p.size, theta) else math.inf
    errs = "below" if kappa < math.inf else "above"
    return KappaEstimate(
        "shifted_power", kappa, math.log10(kappa), large.matvecs + shifted.matvecs, 0, errs, False, 0.0,
        "block power on H and on lambda_max I - H: two Rayleigh quotients, the paper's way",
    )  # fmt: skip


def _hager_higham(p: _Damped) -> KappaEstimate:
    kappa = hager_higham(p.dense(), p.backend)
    note = "never above kappa_1, which is kappa_2 to N kappa_2: against kappa_2 mostly above"
    return KappaEstimate("hager_higham", kappa, math.log10(kappa), 0, 1, "either", False, 0.0, note)


def _frobenius(p: _Damped) -> KappaEstimate:
    assert p.floor is not None
    kappa = frobenius_bound(p.dense(), p.floor)
    note = "1 + ||H||_F/damping"
    return KappaEstimate("frobenius", kappa, math.log10(kappa), 0, 0, "above", kappa < math.inf, 0.0, note)


def _norm_determinant(p: _Damped) -> KappaEstimate:
    kappa, log10_kappa = norm_determinant_bound(p.dense(), p.backend)
    widened = widened_for_rounding(kappa, p.size)
    certified = widened < math.inf
    note = "the paper's bound by ||H||_F and det H"
    if certified:
        kappa, log10_kappa = widened, math.log10(widened)
    else:
        note += "; beyond 1/(8 N epsilon) rounding of the determinant leaves no proof"
    return KappaEstimate("norm_determinant", kappa, log10_kappa, 0, 1, "above", certified, 0.0, note)


ESTIMATORS: dict[str, Callable[[_Damped], KappaEstimate]] = {
    "lanczos_known_damping": _lanczos_known_damping,
    "power_known_damping": _power_known_damping,
    "frobenius": _frobenius,
    "lanczos_both_ends": _lanczos_both_ends,
    "lobpcg": _lobpcg,
    "shifted_power": _shifted_power,
    "hager_higham": _hager_higham,
    "norm_determinant": _norm_determinant,
}
NEED_DAMPING = ("lanczos_known_damping", "power_known_damping", "frobenius")
NEED_SEMIDEFINITE = (*NEED_DAMPING, "shifted_power")
NEED_ARRAY = ("frobenius", "hager_higham", "norm_determinant")


def kappa_estimates(
    operator: Any,
    *,
    damping: float = 0.0,
    semidefinite: bool = False,
    methods: Iterable[str] | None = None,
    backend: str | Backend = "auto",
    seed: int = 0,
) -> list[KappaEstimate]:
    """Every estimate of kappa(H + damping I) that can be made of a symmetric H, in the order of ESTIMATORS.

    `semidefinite` says that an explicit H is known to be positive semidefinite, so that `damping` bounds lambda_min; a
    Gram operator is, and its own damping counts. `methods` are names of ESTIMATORS, None for all that apply: those of
    known damping need one, and "shifted_power" a semidefinite H. "frobenius", "hager_higham" and "norm_determinant"
    form H as an array: O(N^2) memory and, but the first, O(N^3) work.

    Raises UnknownNameError; CombinationError for a method that does not apply; ParameterError for a negative damping;
    NotEnoughMemoryError; and what `qn.condition` raises for a bad matrix.

    >>> import numpy as np
    >>> for e in kappa_estimates(np.diag([0.0, 1.0, 3.0]), damping=1.0, semidefinite=True, methods=["frobenius"]):
    ...     print(f"{e.kappa:.3f} errs {e.errs}, certified {e.certified}")
    4.162 errs above, certified True
    """
    check_damping(damping)
    backend = backend_of(operator, backend)
    H = as_symmetric(operator, backend)
    floor = damping if semidefinite else None
    if isinstance(H, GramOperator):
        floor = damping + H.damping
        H = GramOperator(H.factor, floor, backend)
    elif damping:
        explicit = H if isinstance(H, MatrixOperator) else MatrixOperator(H.dense(), backend)
        H = add_to_diagonal(explicit, damping, backend)
    excluded = () if floor else NEED_DAMPING if floor == 0 else NEED_SEMIDEFINITE
    chosen = [name for name in ESTIMATORS if name not in excluded] if methods is None else list(methods)
    for name in chosen:
        if name not in ESTIMATORS:
            raise UnknownNameError.among("methods", name, ESTIMATORS)
        if name in excluded:
            problem = f"{name} needs a positive semidefinite H" + (" with damping" if name in NEED_DAMPING else "")
            raise CombinationError("methods", problem, "Say semidefinite=True and damping=, or pass a GramOperator")
    damped = _Damped(H, floor, backend, seed)
    return [ESTIMATORS[name](damped) for name in chosen]
