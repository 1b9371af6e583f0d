"""Banded Toeplitz operators on a grid of 2^n points: a few numbers that stand for matrices no vector of which fits.

On axes of N_i = 2^n_i points, axis 0 the least significant part of the index,
    H = c_0 I + sum_(i, k) c_ik (E_k + E_k^t),   E_k the shift by k along axis i, zeros entering (Dirichlet).
With one offset of 1 an axis its eigenvectors are products of sines, sin(pi m_i (j_i + 1)/(N_i + 1)), m_i = 1 ... N_i,
and its eigenvalues c_0 + sum_i 2 c_i cos(pi m_i/(N_i + 1)).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import ParameterError
from .arrays import check_magnitude, check_memory

if TYPE_CHECKING:
    from ..tensor_networks import MatrixProductOperator

SYMBOL_POINTS = 1 << 14
MOST_QUBITS = 1000
"""2^n is a double up to there."""


@dataclass(frozen=True)
class Offset:
    """c (E_k + E_k^t) along one axis."""

    axis: int
    amount: int
    coefficient: float


class ToeplitzOperator:
    """H = c_0 I + sum c_ik (E_k + E_k^t), of shape (2^n, 2^n) for n = sum of `qubits`; n = 40 is meant, too.

    `qubits`: n_i of each axis; `diagonal`: c_0; `offsets`: for each axis {k: c_ik}, 0 < k < 2^n_i. Only `matvec` and
    `dense` need vectors that fit. Raises ParameterError for axes and offsets that are none, or all zero.

    >>> import numpy as np
    >>> ToeplitzOperator([2], 2.0, [{1: -1.0}]).matvec(np.ones((4, 1))).ravel().tolist()
    [1.0, 0.0, 0.0, 1.0]
    """

    symmetric = True

    def __init__(
        self,
        qubits: Sequence[int],
        diagonal: float,
        offsets: Sequence[Mapping[int, float]],
        backend: Backend | str = "auto",
    ) -> None:
        self.backend = select_backend(backend)
        self.qubits = _axes(qubits)
        self.diagonal = _number("diagonal", diagonal)
        if not (isinstance(offsets, Sequence) and all(isinstance(one, Mapping) for one in offsets)):
            raise ParameterError("offsets", f"{offsets!r} are no dicts {{k: c_k}}", "Pass one dict an axis")
        if len(offsets) != len(self.qubits):
            raise ParameterError("offsets", f"are {len(offsets)} for {len(self.qubits)} axes", "Pass one dict an axis")
        for axis, (n, one) in enumerate(zip(self.qubits, offsets, strict=True)):
            bad = [k for k in one if not (isinstance(k, (int, np.integer)) and 0 < k < 1 << n)]
            if bad:
                problem = f"hold {bad[0]!r} on axis {axis} of 2^{n} points"
                raise ParameterError("offsets", problem, "Use integers k with 0 < k < 2^n")
        self.offsets = tuple(
            Offset(axis, int(k), c)
            for axis, one in enumerate(offsets)
            for k, c in sorted((k, _number("offsets", c)) for k, c in one.items())
            if c
        )
        values = [self.diagonal, *(offset.coefficient for offset in self.offsets)]
        if not all(math.isfinite(value) for value in values) or not any(values):
            raise ParameterError("offsets", f"and diagonal are {values}", "Pass finite numbers that are not all zero")
        check_magnitude(max(map(abs, values)), "offsets")
        size = 1 << sum(self.qubits)
        self.shape: tuple[int, int] = (size, size)

    def __repr__(self) -> str:
        return f"ToeplitzOperator({list(self.qubits)}, {self.diagonal:.6g}, {len(self.offsets)} offsets)"

    @property
    def nonzeros(self) -> int:
        entries = sum(2 * (self.shape[0] - (self.shape[0] >> self.qubits[o.axis]) * o.amount) for o in self.offsets)
        return entries + (self.shape[0] if self.diagonal else 0)

    @property
    def product_flops(self) -> float:
        return 2.0 * self.nonzeros

    @property
    def product_bytes(self) -> float:
        """The vector is read and written; the matrix is no array."""
        return 16.0 * self.shape[0]

    @property
    def assembly_flops(self) -> float:
        return 0.0

    @property
    def grid(self) -> tuple[int, ...]:
        """Points of each axis as the shape of an array, whose last axis is axis 0."""
        return tuple(1 << n for n in reversed(self.qubits))

    def matvec(self, v: Any) -> Any:
        """H v for v of shape (2^n, k)."""
        field = v.reshape(*self.grid, -1)
        image = self.diagonal * field
        for offset in self.offsets:
            place = len(self.qubits) - 1 - offset.axis
            lower: list[Any] = [slice(None)] * field.ndim
            upper = lower.copy()
            lower[place], upper[place] = slice(None, -offset.amount), slice(offset.amount, None)
            image[tuple(upper)] += offset.coefficient * field[tuple(lower)]
            image[tuple(lower)] += offset.coefficient * field[tuple(upper)]
        return image.reshape(v.shape)

    rmatvec = matvec

    def dense(self) -> Any:
        """H as an array; raises NotEnoughMemoryError where that does not fit."""
        largest = int(math.log2(max(self.backend.available_bytes() / 24, 1)) / 2)
        check_memory("A", 24.0 * self.shape[0] ** 2, self.backend, f"An array fits up to {largest} qubits")
        return self.matvec(self.backend.xp.eye(self.shape[0]))

    def largest_row_sum(self) -> float:
        """|c_0| + 2 sum |c_ik| >= ||H||_2."""
        return abs(self.diagonal) + 2 * sum(abs(offset.coefficient) for offset in self.offsets)

    @cached_property
    def eigenvalue_range(self) -> tuple[float, float]:
        """(low, high) with low <= every eigenvalue <= high: attained, but for rounding, where no axis has two offsets.

        E_k + E_k^t is a path of ceil(N/k) points, or of one less, for each remainder of j modulo k, so its eigenvalues
        reach +-2 cos(pi/(ceil(N/k) + 1)); of several offsets on an axis both the sum of these (Weyl) and the range of
        the symbol sum_k 2 c_k cos(k t) hold (Grenander and Szego), the latter from its values on a grid of spacing h
        and h^2/8 max|f''|. Widened by 8 epsilon of the norm for rounding.
        """
        low = high = self.diagonal
        for axis, n in enumerate(self.qubits):
            mine = [offset for offset in self.offsets if offset.axis == axis]
            reach = sum(abs(o.coefficient) * path_radius(-(-(1 << n) // o.amount)) for o in mine)
            bottom, top = -reach, reach
            if len(mine) > 1:
                least, most = _symbol_range(mine)
                bottom, top = max(bottom, least), min(top, most)
            low, high = low + bottom, high + top
        lost = 8 * float(np.finfo(np.float64).eps) * self.largest_row_sum()
        return low - lost, high + lost

    def eigenvalue(self, modes: Sequence[int]) -> float:
        """c_0 + sum_i 2 c_i cos(pi m_i/(N_i + 1)), of the product of sine modes m_i = 1 ... N_i.

        Raises ParameterError where an axis has an offset other than 1, whose eigenvectors are no sines.
        """
        steps = [offset for offset in self.offsets if offset.amount == 1]
        if len(steps) < len(self.offsets):
            raise ParameterError("modes", "are eigenvectors of tridiagonal axes only", "Use offsets of 1")
        if len(modes) != len(self.qubits):
            raise ParameterError("modes", f"are {len(modes)} for {len(self.qubits)} axes", "Pass one an axis")
        return self.diagonal + sum(
            2 * o.coefficient * math.cos(math.pi * modes[o.axis] / ((1 << self.qubits[o.axis]) + 1)) for o in steps
        )

    def as_mpo(self) -> MatrixProductOperator:
        """H as a matrix-product operator, a site for each qubit, 0 the least significant; bond <= 1 + 4 per offset."""
        from ..tensor_networks import MatrixProductOperator as Chain

        total = Chain.identity([2] * sum(self.qubits)) * self.diagonal
        for offset in self.offsets:
            below, n = sum(self.qubits[: offset.axis]), self.qubits[offset.axis]
            above = sum(self.qubits[offset.axis + 1 :])
            for amount in (offset.amount, -offset.amount):
                term = Chain.shift(n, amount, cyclic=False) * offset.coefficient
                if below:
                    term = Chain.identity([2] * below).kron(term)
                if above:
                    term = term.kron(Chain.identity([2] * above))
                total = total + term
        return total


def path_radius(points: int) -> float:
    """2 cos(pi/(N + 1)): the largest eigenvalue of the adjacency matrix of a path of N points."""
    return 2 * math.cos(math.pi / (points + 1))


def _symbol_range(offsets: Sequence[Offset]) -> tuple[float, float]:
    """Bounds of f(t) = sum_k 2 c_k cos(k t) from its values on a grid: f leaves them by at most h^2/8 max|f''|."""
    t = np.linspace(0.0, math.pi, SYMBOL_POINTS + 1)
    values = sum((2 * o.coefficient * np.cos(o.amount * t) for o in offsets), np.zeros_like(t))
    curvature = sum(2 * abs(o.coefficient) * float(o.amount) ** 2 for o in offsets)
    between = (math.pi / SYMBOL_POINTS) ** 2 / 8 * curvature
    return float(values.min()) - between, float(values.max()) + between


def _number(argument: str, value: Any) -> float:
    if not isinstance(value, Real):
        raise ParameterError(argument, f"{value!r} is not a real number", "Pass floats")
    return float(value)


def _axes(qubits: Sequence[int]) -> tuple[int, ...]:
    axes = tuple(qubits) if isinstance(qubits, Iterable) else ()
    if not axes or not all(isinstance(n, (int, np.integer)) and n >= 1 for n in axes):
        raise ParameterError("qubits", f"{qubits!r} are no axes", "Pass at least one integer >= 1, one an axis")
    if sum(axes) > MOST_QUBITS:
        problem = f"{qubits!r} are {sum(axes)} together, more than {MOST_QUBITS}"
        raise ParameterError("qubits", problem, "An axis of n qubits has 2^n points")
    return tuple(int(n) for n in axes)


def screened_poisson(qubits: Sequence[int], kappa: float, backend: Backend | str = "auto") -> ToeplitzOperator:
    """-Laplace + s on a grid of spacing 1 with Dirichlet walls, the screening s >= 0 such that kappa(H) = `kappa`.

    H = c_0 I - sum over axes of (E_1 + E_1^t), c_0 = 2 * axes + s = w (kappa + 1)/(kappa - 1) where w = sum_i
    2 cos(pi/(N_i + 1)) is the radius of what is subtracted. Raises ParameterError where kappa is not above 1, or is
    above that of Poisson's equation, (2 axes + w)/(2 axes - w), which no screening reaches.

    >>> H = screened_poisson([20, 20], kappa=100)
    >>> low, high = H.eigenvalue_range
    >>> round(high / low, 6)
    100.0
    """
    axes, kappa = _axes(qubits), _number("kappa", kappa)
    radius = sum(path_radius(1 << n) for n in axes)
    # 2 - 2 cos x = 4 sin^2(x/2), without cancellation
    gap = sum(4 * math.sin(0.5 * math.pi / ((1 << n) + 1)) ** 2 for n in axes)
    largest = (2 * len(axes) + radius) / gap
    if not 1 < kappa <= largest * (1 + 1e-12):
        problem = f"{kappa!r} is not in (1, {largest:.6g}]"
        raise ParameterError("kappa", problem, "Poisson's equation without screening has the largest on this grid")
    return ToeplitzOperator(axes, radius * (kappa + 1) / (kappa - 1), [{1: -1.0}] * len(axes), backend)
