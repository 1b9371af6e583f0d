"""A Kronecker product of symmetric matrices, known by its factors (K-FAC: A (x) G for each layer)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, reduce
from typing import Any

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import DataTypeError, ParameterError
from .base import MatrixOperator
from .door import as_symmetric


def along(product: Callable[[Any], Any], v: Any, sizes: Sequence[int], place: int, xp: Any) -> Any:
    """I (x) product (x) I on v of shape (prod(sizes), k), product on the index of length sizes[place]."""
    columns, before = v.shape[1], math.prod(sizes[:place])
    moved = xp.moveaxis(v.reshape(before, sizes[place], -1), 1, 0)
    image = product(moved.reshape(sizes[place], -1))
    return xp.moveaxis(image.reshape(len(image), before, -1), 0, 1).reshape(-1, columns)


class FactorOperator:
    """I (x) A_i (x) I: one factor of a Kronecker product, on all of its space."""

    symmetric = True

    def __init__(self, factors: Sequence[MatrixOperator], place: int, backend: Backend) -> None:
        self.sizes = tuple(factor.shape[0] for factor in factors)
        self.factors, self.place, self.backend = tuple(factors), place, backend
        size = math.prod(self.sizes)
        self.shape: tuple[int, int] = (size, size)

    @property
    def _copies(self) -> int:
        return self.shape[0] // self.sizes[self.place]

    @property
    def nonzeros(self) -> int:
        return self.factors[self.place].nonzeros * self._copies

    @property
    def product_flops(self) -> float:
        return self.factors[self.place].product_flops * self._copies

    @property
    def product_bytes(self) -> float:
        """The factor is read once, the vector read and written."""
        return self.factors[self.place].product_bytes + 16.0 * self.shape[0]

    @property
    def assembly_flops(self) -> float:
        return 0.0

    def matvec(self, v: Any) -> Any:
        return along(self.factors[self.place].matvec, v, self.sizes, self.place, self.backend.xp)

    rmatvec = matvec

    def dense(self) -> Any:
        return self.matvec(self.backend.xp.eye(self.shape[0]))


class KroneckerOperator:
    """H = A_1 (x) A_2 (x) ..., for symmetric A_i; the index of the first factor is the most significant.

    Products go factor by factor, at 2 N sum_i nnz(A_i)/n_i operations; H is formed by `dense` alone. The factors are
    arrays or MatrixOperators. Raises ParameterError for no factor, DataTypeError for one that is no explicit matrix,
    and what `as_symmetric` raises.

    >>> import numpy as np
    >>> H = KroneckerOperator([np.diag([1.0, 2.0]), np.array([[3.0, 1.0], [1.0, 3.0]])])
    >>> H.matvec(np.ones((4, 1))).ravel().tolist()
    [4.0, 4.0, 8.0, 8.0]
    """

    symmetric = True

    def __init__(self, factors: Sequence[Any], backend: Backend | str = "auto") -> None:
        self.backend = select_backend(backend)
        operators = [as_symmetric(factor, self.backend) for factor in factors]
        if not operators:
            raise ParameterError("factors", "are none", "Pass at least one symmetric matrix")
        self.factors: tuple[MatrixOperator, ...] = tuple(o for o in operators if isinstance(o, MatrixOperator))
        if len(self.factors) < len(operators):
            raise DataTypeError("factors", "hold an operator that is no explicit matrix", "Pass arrays")
        size = math.prod(factor.shape[0] for factor in self.factors)
        self.shape: tuple[int, int] = (size, size)

    @cached_property
    def parts(self) -> tuple[FactorOperator, ...]:
        """I (x) A_i (x) I for each i: they commute, and H is their product."""
        return tuple(FactorOperator(self.factors, place, self.backend) for place in range(len(self.factors)))

    @property
    def nonzeros(self) -> int:
        return math.prod(factor.nonzeros for factor in self.factors)

    @property
    def product_flops(self) -> float:
        return sum(part.product_flops for part in self.parts)

    @property
    def product_bytes(self) -> float:
        return sum(part.product_bytes for part in self.parts)

    @property
    def assembly_flops(self) -> float:
        """One multiplication for each entry, while the product grows factor by factor."""
        entries, total = float(self.factors[0].shape[0] ** 2), 0.0
        for factor in self.factors[1:]:
            entries *= factor.shape[0] ** 2
            total += entries
        return total

    def matvec(self, v: Any) -> Any:
        return reduce(lambda image, part: part.matvec(image), self.parts, v)

    rmatvec = matvec

    def dense(self) -> Any:
        return reduce(self.backend.xp.kron, (factor.dense() for factor in self.factors))

    def largest_row_sum(self) -> float:
        """max_i sum_j |H_ij| >= ||H||_2: absolute row sums multiply, as do their maxima."""
        return math.prod(factor.largest_row_sum() for factor in self.factors)
