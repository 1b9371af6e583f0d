"""The discrete adiabatic solver: a walk whose Hamiltonian turns from one with null vector b into one with A^-1 b.

For a positive definite M = A/alpha and Q = 1 - b b^t (two values of a flag a, f from 0 to 1),
    H(f) = (1-f) X (x) Q + f (|0><1| (x) M Q + |1><0| (x) Q M),    H(f) |0> ((1-f) + f M)^-1 b = 0
has its other eigenvalues at least 1 - f + f/kappa from zero. H(f) is encoded exactly, with alpha 1 and one query S:
    T(f) = sqrt(1-f) T_0 + sqrt(f) T_1,  S(f) = S_0 (+) S_1,  S_0 = X (x) 1,  S_1 = X (x) S
    T_0 |0,v> = |0,v>,   T_0 |1,v> = |1,Qv> + <b,v> |slack>,   T_1 the same behind T;   S takes a slack to a second one
An indefinite M runs with one flag more (c, two values): 1 becomes Z (x) 1, M becomes X (x) M and b becomes |+> b, and
the gap is sqrt((1-f)^2 + (f/kappa)^2). The null vector is +-i of the walk: an even number of steps brings it back up to
a sign. With the schedule
    f(s) = kappa/(kappa-1) [1 - (1 + s (kappa^(p-1) - 1))^(1/(1-p))],  p = 1.6
taken at the middle of each step, c kappa/Delta steps leave 1 - overlap^2 <= Delta^2: proven with c = 2305, measured
with c = 1.84 (definite) and 3 (indefinite) for kappa from 1 to 500, Delta = 0.4. The eigenstate filter E, E(0) = 1, as
a sum of walk steps (|coefficients| add up to one) then removes the rest in about kappa ln(2/delta) queries.

The output is a direction; its scale and sign are the least-squares ones, <A x, r>/||A x||^2, from one FP64 product. An
error delta of the direction can be a relative residual of kappa delta: a round at epsilon takes delta = epsilon/kappa.
Source: Costa, An, Sanders, Su, Babbush, Berry, arXiv 2111.08152; the filter: Lin, Tong, arXiv 1910.14596.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..polynomials import round_up_to_grid
from ..polynomials.kernel import EigenstateFilterPolynomial, eigenstate_filter_polynomial
from .base import LinearSystem, divisors
from .walks import Space, WalkMethod, WalkProgram, WalkSolver, chebyshev_series, linear_combination, walk

DELTA = 0.4
CONSTANT = {True: 1.84, False: 3.0}
"""c of the steps, by whether A is positive definite: the largest measured ones, rounded up."""
P = 1.6
SMALLEST_KAPPA = 1.01  # kappa = 1 divides by zero


def adiabatic_steps(kappa: float, definite: bool) -> int:
    """The even number of steps from c kappa/Delta on.

    >>> adiabatic_steps(10, definite=True), adiabatic_steps(10, definite=False)
    (46, 76)
    """
    return 2 * math.ceil(CONSTANT[definite] * kappa / DELTA / 2)


def schedule(s: float, kappa: float) -> float:
    """f(s) of a step: slow where the gap is small."""
    turned: float = kappa / (kappa - 1) * (1 - (1 + s * (kappa ** (P - 1) - 1)) ** (1 / (1 - P)))
    return min(turned, 1.0)


class InterpolatedSpace:
    """T(f) and S of H(f) as a `Space` on that of A: rows of the plain system, of A's register, and of two slacks.

    Columns are (index of a sum of walks, a, c, k); a slack stands at c = 0, the second one at a = 0.
    """

    def __init__(self, inner: Space, b: Any, definite: bool, backend: Backend) -> None:
        self.inner, self.xp, self.f = inner, backend.xp, 0.0
        self.size, self.k = b.shape
        self.c = 1 if definite else 2
        self.b = (b / math.sqrt(self.c))[:, None, None, :]

    def _split(self, array: Any) -> Any:
        return array.reshape(len(array), -1, 2, self.c, self.k)

    def lift(self, v: Any) -> Any:
        v = self._split(v).copy()
        along = (self.b * v[:, :, 1]).sum(axis=(0, 2))
        v[:, :, 1] -= self.b * along[:, None, :]
        v = v.reshape(self.size, -1)
        slack = self._split(self.xp.zeros((2, v.shape[1]), dtype=v.dtype))
        near, far = math.sqrt(1 - self.f), math.sqrt(self.f)
        slack[0, :, 1, 0], slack[1, :, 1, 0] = near * along, far * along
        return self.xp.concatenate([near * v, self.inner.lift(far * v), slack.reshape(2, -1)])

    def lower(self, psi: Any) -> Any:
        near, far = math.sqrt(1 - self.f), math.sqrt(self.f)
        v = self._split(near * psi[: self.size] + far * self.inner.lower(psi[self.size : -2]))
        slack = self._split(psi[-2:])[:, :, 1, 0]
        along = near * slack[0] + far * slack[1] - (self.b * v[:, :, 1]).sum(axis=(0, 2))
        v[:, :, 1] += self.b * along[:, None, :]
        return v.reshape(self.size, -1)

    def reflect(self, psi: Any) -> Any:
        shape = psi[: self.size].shape
        plain = self._split(psi[: self.size])[:, :, ::-1]
        register = self._split(self.inner.reflect(psi[self.size : -2]))[:, :, ::-1, ::-1]
        slack = self._split(psi[-2:])[:, :, ::-1]
        if self.c == 2:
            plain = self.xp.concatenate([plain[:, :, :, :1], -plain[:, :, :, 1:]], axis=3)
        return self.xp.concatenate([part.reshape(-1, shape[1]) for part in (plain, register, slack)])

    def norms_squared(self, psi: Any) -> Any:
        """(k,): summed over flags and index."""
        outside = (psi[: self.size] ** 2).sum(axis=0) + (psi[-2:] ** 2).sum(axis=0)
        return (outside + self.inner.norms_squared(psi[self.size : -2])).reshape(-1, self.k).sum(axis=0)


@dataclass(frozen=True)
class AdiabaticWalk(WalkProgram):
    """The direction of A^-1 start, of norm sqrt(success probability)."""

    kappa: float
    delta: float
    definite: bool

    @property
    def steps(self) -> int:
        return adiabatic_steps(self.kappa, self.definite)

    @property
    def filter(self) -> EigenstateFilterPolynomial:
        return eigenstate_filter_polynomial(self.kappa, self.delta)

    @property
    def degree(self) -> int:
        """Of the filter."""
        return self.filter.degree

    @property
    def queries(self) -> int:
        return self.steps + self.degree

    @property
    def copies(self) -> int:
        flags = 2 if self.definite else 4
        return flags if self.mode == "subspace" else flags * (self.degree // 2 + 1)

    @property
    def gain(self) -> float:
        """In units of the relative residual."""
        return self.kappa

    @property
    def relative_error(self) -> float:
        return self.kappa * self.filter.relative_error

    @cached_property
    def coefficients(self) -> np.ndarray:
        """c_s of T_s, s = 0..degree."""
        coefficients = np.zeros(self.degree + 1)
        coefficients[::2] = self.filter.chebyshev
        return coefficients

    def turned(self, backend: Backend) -> tuple[InterpolatedSpace, Any]:
        """The space at f = 1 and the register after the adiabatic steps."""
        xp, b = backend.xp, self.start
        space = InterpolatedSpace(self.space(backend), b, self.definite, backend)
        parts = [b] if self.definite else [b / math.sqrt(2), -b / math.sqrt(2)]
        psi = space.lift(xp.concatenate([*parts, *(xp.zeros_like(b) for _ in parts)], axis=1))
        for step in range(self.steps):
            space.f = schedule((step + 0.5) / self.steps, self.kappa)
            psi, _ = walk(space, psi)
        space.f = 1.0
        return space, psi

    def run(self, backend: Backend) -> tuple[Any, Any, Any]:
        space, psi = self.turned(backend)
        v = space.lower(psi)
        lost = space.norms_squared(psi) - (v * v).reshape(-1, space.k).sum(axis=0)
        if self.mode == "subspace":
            filtered, psi = chebyshev_series(space, self.coefficients, v)
        else:
            filtered, psi = linear_combination(space, self.coefficients, v, backend)
        amplitudes = filtered.reshape(space.size, 2, space.c, space.k)[:, 0].sum(axis=1) / math.sqrt(space.c)
        return amplitudes, lost + space.norms_squared(psi), psi


class AdiabaticMethod(WalkMethod):
    def __init__(self, solver: Adiabatic, system: LinearSystem, encoding: Any, backend: Backend) -> None:
        # bounds that were given say nothing of signs
        self.definite = not system.bounds.negative and system.bounds.method != "given"
        super().__init__(solver, system, encoding, backend)

    def program(self, epsilon: float, start: Any) -> AdiabaticWalk:
        kappa = round_up_to_grid(max(self.kappa, SMALLEST_KAPPA))
        return AdiabaticWalk(self.encoding, start, self.mode, kappa, epsilon / kappa, self.definite)

    def scale(self, program: Any, amplitudes: Any, residual: Any, norms: Any) -> Any:
        """Least squares; a direction that is no solution shows that A is not positive definite after all."""
        product = self.system.operator.matvec(amplitudes)
        scale = (product * residual).sum(axis=0) / divisors((product * product).sum(axis=0), self.backend)
        left = residual - scale * product
        failed = (left * left).sum(axis=0) > program.delta * program.kappa * norms**2
        if self.definite and not self.solver.disturbed and bool(failed.any()):
            self.definite = False
        return scale


@dataclass(frozen=True)
class Adiabatic(WalkSolver):
    """The discrete adiabatic solver: c kappa/Delta + kappa ln(2 kappa/epsilon) queries, success above 1 - Delta^2."""

    name: str = "adiabatic"

    def method(self, system: LinearSystem, backend: Backend) -> AdiabaticMethod:
        return AdiabaticMethod(self, system, self.encode(system, backend), backend)

    def expected_success(self, system: LinearSystem) -> float | None:
        return 1 - DELTA**2
