"""Matrix-product operators: matrices over many sites as one small tensor (left, out, in, right) a site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from .chain import Chain
from .decompositions import Array, array_module, compress, independent_columns
from .states import ROUNDING, MatrixProductState


class MatrixProductOperator(Chain):
    """M[o, i] = W_0[:, o_0, i_0, :] ... W_(n-1)[:, o_(n-1), i_(n-1), :], site 0 least significant.

    A product costs bonds: those of M psi are at most those of M times those of psi.
    """

    axes = ("left", "out", "in", "right")

    @classmethod
    def identity(cls, dims: Sequence[int]) -> MatrixProductOperator:
        return cls([np.eye(d).reshape(1, d, d, 1) for d in dims])

    @classmethod
    def shift(cls, num_qubits: int, amount: int, cyclic: bool = True) -> MatrixProductOperator:
        """|j> -> |j + amount>, bond 2 (the carry): modulo 2^n if cyclic, else what leaves 0..2^n - 1 is lost."""
        if not cyclic and amount < 0:
            return cls.shift(num_qubits, -amount, cyclic=False).adjoint()
        tensors = []
        for k in range(num_qubits):
            tensor = np.zeros((2, 2, 2, 2))
            for carry in range(2):
                for digit in range(2):
                    total = carry + digit + (amount >> k & 1)
                    tensor[carry, total & 1, digit, total >> 1] = 1
            tensors.append(tensor)
        tensors[0] = tensors[0][:1]
        last = tensors[-1]
        tensors[-1] = last.sum(axis=3, keepdims=True) if cyclic else last[..., :1] * (amount >> num_qubits == 0)
        return cls(tensors)

    @classmethod
    def from_matrix(cls, matrix: Array, dims: Sequence[int], cutoff: float = ROUNDING) -> MatrixProductOperator:
        """A dense matrix (prod(dims), prod(dims)), by singular values down to cutoff ||matrix||_F at every bond."""
        n, size = len(dims), int(np.prod(dims))
        if matrix.shape != (size, size):
            raise ShapeError("matrix", f"has shape {matrix.shape} for sites {tuple(dims)}", "Give a square matrix")
        # digits of rows and columns side by side: site k has dimension d_k^2
        axes = [axis for k in range(n) for axis in (k, n + k)]
        legs = matrix.reshape(*tuple(dims)[::-1], *tuple(dims)[::-1]).transpose(axes).reshape(-1)
        state = MatrixProductState.from_vector(legs, [d * d for d in dims], cutoff)
        return cls([t.reshape(t.shape[0], d, d, t.shape[2]) for t, d in zip(state.tensors, dims, strict=True)])

    def matrix(self) -> Array:
        """All entries; raises NotEnoughMemoryError above 2^28 of them."""
        outs, ins = self.dims, tuple(t.shape[2] for t in self.tensors)
        vector = self._as_state().vector()
        legs = vector.reshape([d for pair in zip(outs[::-1], ins[::-1], strict=True) for d in pair])
        n = len(self)
        order = [2 * k for k in range(n)] + [2 * k + 1 for k in range(n)]
        return legs.transpose(order).reshape(int(np.prod(outs)), int(np.prod(ins)))

    def _as_state(self) -> MatrixProductState:
        return MatrixProductState([t.reshape(t.shape[0], -1, t.shape[3]) for t in self.tensors])

    def _of_state(self, state: MatrixProductState) -> MatrixProductOperator:
        pairs = zip(state.tensors, self.tensors, strict=True)
        return MatrixProductOperator([t.reshape(t.shape[0], *w.shape[1:3], t.shape[2]) for t, w in pairs])

    def __add__(self, other: MatrixProductOperator) -> MatrixProductOperator:
        """The sum; bonds add."""
        return self._of_state(self._as_state() + other._as_state())

    def __mul__(self, factor: Any) -> MatrixProductOperator:
        return MatrixProductOperator([self.tensors[0] * factor, *self.tensors[1:]])

    __rmul__ = __mul__

    def __sub__(self, other: MatrixProductOperator) -> MatrixProductOperator:
        return self + other * -1.0

    def adjoint(self) -> MatrixProductOperator:
        return MatrixProductOperator([t.conj().swapaxes(1, 2) for t in self.tensors])

    def kron(self, other: MatrixProductOperator) -> MatrixProductOperator:
        """other x self: `other` on the following sites."""
        return MatrixProductOperator([*self.tensors, *other.tensors])

    def __matmul__(self, other: Any) -> Any:
        """The product with an operator or a state, exact: bonds multiply."""
        if isinstance(other, MatrixProductState):
            return MatrixProductState([site_product(w, a) for w, a in self._pairs(other.tensors)])
        return MatrixProductOperator([site_product(v, w) for v, w in self._pairs(other.tensors)])

    def _pairs(self, tensors: Sequence[Array]) -> list[tuple[Array, Array]]:
        if [w.shape[2] for w in self.tensors] != [t.shape[1] for t in tensors]:
            raise ShapeError(
                "operator",
                f"acts on sites {tuple(w.shape[2] for w in self.tensors)}, not {tuple(t.shape[1] for t in tensors)}",
                "Give an operator over the sites of the state",
            )
        return list(zip(self.tensors, tensors, strict=True))

    def reduced(self) -> MatrixProductOperator:
        """The same operator without bond values that depend linearly on others, exact up to rounding (NumPy only).

        No norm of the whole operator enters, which hides what acts on few of 2^n states: for long chains of gates,
        where singular values in the Frobenius norm would not see a phase under fifty controls.
        """
        tensors = list(self.tensors)
        for k in range(len(tensors) - 1):
            kept, combinations = independent_columns(tensors[k].reshape(-1, tensors[k].shape[3]))
            tensors[k] = kept.reshape(*tensors[k].shape[:3], -1)
            tensors[k + 1] = np.tensordot(combinations, tensors[k + 1], (1, 0))
        for k in range(len(tensors) - 1, 0, -1):
            kept, combinations = independent_columns(tensors[k].reshape(tensors[k].shape[0], -1).T)
            tensors[k] = kept.T.reshape(-1, *tensors[k].shape[1:])
            tensors[k - 1] = np.tensordot(tensors[k - 1], combinations, (3, 1))
        return MatrixProductOperator(tensors)

    def compressed(
        self, bond_dimension: int | None = None, cutoff: float = ROUNDING
    ) -> tuple[MatrixProductOperator, float]:
        """(the operator on smaller bonds, Frobenius norm of the difference); cutoff relative to ||M||_F."""
        state, error = self._as_state().compressed(bond_dimension, cutoff)
        return self._of_state(state), error

    def apply(
        self, state: MatrixProductState, bond_dimension: int | None = None, cutoff: float = ROUNDING, first: int = 0
    ) -> tuple[MatrixProductState, float]:
        """(M psi on smaller bonds, ||M psi - that||), M on the sites from `first` on.

        The product is never written out. The bound is exact (see `decompositions.compress`); the norm that the cutoff
        refers to is that of M psi. On a part of the chain, only that part is swept.
        """
        last = first + len(self) - 1
        whole = len(self) == len(state)
        if not whole:
            near = min(max(state.center if state.center is not None else first, first), last)
            state = state.moved(near)
        sites = [_SiteProduct(w, a) for w, a in self._pairs(state.tensors[first : last + 1])]
        xp = array_module(state.tensors[first])
        dtype = np.result_type(self.dtype, state.dtype)
        left, right = (
            xp.eye(a.shape[axis], dtype=dtype) for a, axis in ((state.tensors[first], 0), (state.tensors[last], 2))
        )
        tensors, error = compress(sites, left, right, bond_dimension, cutoff)
        return MatrixProductState([*state.tensors[:first], *tensors, *state.tensors[last + 1 :]], center=first), error


class _SiteProduct:
    """One site of M psi, W (w, o, i, w') times A (a, i, a'), between products from its left and from its right."""

    def __init__(self, w: Array, a: Array) -> None:
        self.w, self.a = w, a

    def from_left(self, rows: Array) -> Array:
        """(n, w a) to (n, o, w' a')."""
        w, a = self.w, self.a
        half = rows.reshape(-1, a.shape[0]) @ a.reshape(a.shape[0], -1)  # (n w, i a')
        half = half.reshape(len(rows), -1, a.shape[2])  # (n, w i, a')
        both = w.transpose(1, 3, 0, 2).reshape(-1, half.shape[1]) @ half  # (n, o w', a')
        return both.reshape(len(rows), w.shape[1], -1)

    def from_right(self, columns: Array) -> Array:
        """(w' a', s) to (w a, o, s)."""
        w, a = self.w, self.a
        half = a.reshape(-1, a.shape[2]) @ columns.reshape(w.shape[3], a.shape[2], -1)  # (w', a i, s)
        half = half.reshape(w.shape[3], a.shape[0], a.shape[1], -1).transpose(1, 0, 2, 3)
        both = w.transpose(0, 1, 3, 2).reshape(w.shape[0] * w.shape[1], -1) @ half.reshape(
            a.shape[0], -1, half.shape[3]
        )  # (a, w o, s)
        both = both.reshape(a.shape[0], w.shape[0], w.shape[1], -1).swapaxes(0, 1)
        return both.reshape(-1, *both.shape[2:])


def site_product(w: Array, a: Array) -> Array:
    """W (l, o, i, r) times a tensor (l', i, ..., r'): bonds (l l'), (r r')."""
    xp = array_module(a)
    both = xp.tensordot(w, a, (2, 1))  # (l, o, r, l', ..., r')
    both = xp.moveaxis(xp.moveaxis(both, 3, 1), 3, -2)  # (l, l', o, ..., r, r')
    return both.reshape(w.shape[0] * a.shape[0], *both.shape[2:-2], w.shape[3] * a.shape[-1])
