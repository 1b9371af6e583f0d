"""The damped Gram matrix H = G^t G + damping I, known by its factor G."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..backends import select_backend
from ..backends.base import Backend
from ..errors import ParameterError
from .arrays import is_sparse, is_torch, real_matrix


@runtime_checkable
class Factor(Protocol):
    """G of shape (m, n). Its products are all that is used, but for the whole gram register, which reads its rows."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def frobenius_squared(self) -> float:
        """||G||_F^2, exactly: block encodings need a bound, not an estimate."""
        ...

    @property
    def product_flops(self) -> float:
        """Floating-point operations of one product G^t G v."""
        ...

    @property
    def product_bytes(self) -> float: ...
    @property
    def gram_flops(self) -> float:
        """Floating-point operations of `gram`."""
        ...

    def matvec(self, v: Any) -> Any:
        """G v for v of shape (n, k)."""
        ...

    def rmatvec(self, u: Any) -> Any:
        """G^t u for u of shape (m, k)."""
        ...

    def normal_matvec(self, v: Any) -> Any:
        """G^t G v for real or complex v of shape (n, k)."""
        ...

    def gram(self) -> Any:
        """G^t G as an array of shape (n, n)."""
        ...

    def rows(self) -> Any:
        """G itself as an array of shape (m, n)."""
        ...


class MatrixFactor:
    """A factor G that is an explicit dense or CSR matrix."""

    def __init__(self, matrix: Any, backend: Backend) -> None:
        self.backend = backend
        self.shape: tuple[int, int] = matrix.shape
        dense = isinstance(matrix, backend.xp.ndarray)
        self.matrix = matrix if dense else backend.csr(matrix)
        self._transposed = self.matrix.T if dense else self.matrix.T.tocsr()

    @property
    def _stored(self) -> Any:
        return self.matrix if isinstance(self.matrix, self.backend.xp.ndarray) else self.matrix.data

    @cached_property
    def frobenius_squared(self) -> float:
        return float((self._stored**2).sum())

    @property
    def product_flops(self) -> float:
        return 4.0 * self._stored.size

    @property
    def product_bytes(self) -> float:
        return 16.0 * self._stored.size

    @property
    def gram_flops(self) -> float:
        m, n = self.shape
        return float(m) * n * n

    def matvec(self, v: Any) -> Any:
        return self.backend.real_product(self.matrix, v)

    def rmatvec(self, u: Any) -> Any:
        return self.backend.real_product(self._transposed, u)

    def normal_matvec(self, v: Any) -> Any:
        return self.rmatvec(self.matvec(v))

    def gram(self) -> Any:
        return self._array(self._transposed @ self.matrix)

    def rows(self) -> Any:
        return self._array(self.matrix)

    def _array(self, matrix: Any) -> Any:
        return matrix if isinstance(matrix, self.backend.xp.ndarray) else matrix.toarray()


class GramOperator:
    """H = G^t G + damping I, for an array G or any `Factor` (for a network: products with its Jacobian).

    Positive definite by construction: lambda_min >= damping > 0, which is the certificate that solvers use.

    >>> import numpy as np
    >>> from qnewton_gpu import GramOperator
    >>> H = GramOperator(np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), damping=0.5)
    >>> H.dense().tolist()
    [[2.5, 1.0], [1.0, 5.5]]
    """

    symmetric = True

    def __init__(self, factor: Any, damping: float, backend: Backend | str = "auto") -> None:
        if not (isinstance(damping, (int, float, np.floating)) and math.isfinite(damping) and damping > 0):
            raise ParameterError(
                "damping", f"{damping!r} is not a finite number > 0", "A Gram operator needs some damping"
            )
        self.backend = select_backend(backend)
        self.damping = float(damping)
        is_array = isinstance(factor, (np.ndarray, list)) or is_sparse(factor) or is_torch(factor)
        if is_array or not isinstance(factor, Factor):
            matrix = real_matrix(factor, "factor", self.backend)
            factor = MatrixFactor(matrix, self.backend)
        self.factor: Factor = factor
        self.shape: tuple[int, int] = (factor.shape[1], factor.shape[1])

    @property
    def nonzeros(self) -> int:
        return self.shape[0] ** 2

    @property
    def product_flops(self) -> float:
        return self.factor.product_flops

    @property
    def product_bytes(self) -> float:
        return self.factor.product_bytes

    @property
    def assembly_flops(self) -> float:
        return self.factor.gram_flops

    @property
    def assembly_bytes(self) -> float:
        """Bytes that `dense` writes beside its arithmetic, where the factor says so."""
        return getattr(self.factor, "gram_bytes", 0.0)

    def matvec(self, v: Any) -> Any:
        return self.factor.normal_matvec(v) + self.damping * v

    def rmatvec(self, u: Any) -> Any:
        return self.matvec(u)

    @cached_property
    def _dense(self) -> Any:
        matrix = self.factor.gram().copy()
        diagonal = self.backend.xp.arange(matrix.shape[0])
        matrix[diagonal, diagonal] += self.damping
        return matrix

    def dense(self) -> Any:
        return self._dense
