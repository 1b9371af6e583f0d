"""Matrix-product states: vectors over many sites as one small tensor a site.

    psi[i_0, ..., i_(n-1)] = A_0[:, i_0, :] A_1[:, i_1, :] ... A_(n-1)[:, i_(n-1), :]
with A_k of shape (left, d_k, right) and outer bonds 1. Site 0 is the least significant digit of a vector index; of a
register, site k is qubit k. Every truncation returns the exact 2-norm of what it dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NotEnoughMemoryError, ParameterError, ShapeError
from .chain import Chain
from .decompositions import Array, Site, array_module, checked_norm, compress, kept_values, singular_values

if TYPE_CHECKING:
    from .operators import MatrixProductOperator

ROUNDING = 1e-15
"""Relative norm below which what an exact construction drops is rounding."""
MOST_ENTRIES = 1 << 28
"""Of a vector that is written out."""


class MatrixProductState(Chain):
    """A vector of prod(dims) entries as a chain of tensors (left, d, right), real or complex.

    The arrays are never written to: states share them. `center` is the site to whose left all tensors are
    left-isometric and to whose right all are right-isometric, or None where that is not known.
    """

    axes = ("left", "d", "right")

    def __init__(self, tensors: Sequence[Array], center: int | None = None) -> None:
        super().__init__(tensors)
        self.center = center

    @classmethod
    def product(cls, vectors: Sequence[Array]) -> MatrixProductState:
        """vectors[n-1] x ... x vectors[0], site k in vectors[k]: bond dimension 1."""
        arrays = (v if hasattr(v, "reshape") else np.asarray(v) for v in vectors)
        return cls([v.reshape(1, -1, 1) for v in arrays])

    @classmethod
    def from_vector(
        cls, vector: Array, dims: Sequence[int] | None = None, cutoff: float = ROUNDING
    ) -> MatrixProductState:
        """The chain of a vector (prod(dims),), exact up to `cutoff` ||vector|| in 2-norm at every bond.

        `dims` are those of the sites, least significant first; qubits where left out. The error is at most
        sqrt(n - 1) cutoff ||vector||.
        """
        if dims is None:
            dims = (2,) * max(1, (vector.size - 1).bit_length())
        if vector.ndim != 1 or vector.size != int(np.prod(dims)):
            raise ShapeError("vector", f"has shape {vector.shape} for sites {tuple(dims)}", "Give prod(dims) entries")
        n = len(dims)
        rest = vector.reshape(tuple(dims)[::-1]).transpose(range(n)[::-1]).reshape(1, -1)
        threshold, tensors = cutoff * checked_norm(vector), []
        for d in dims[:-1]:
            left = rest.shape[0]
            u, values, v = singular_values(rest.reshape(left * d, -1))
            rank, _ = kept_values(values, threshold, None)
            tensors.append(u[:, :rank].reshape(left, d, rank))
            rest = values[:rank, None] * v[:rank]
        tensors.append(rest.reshape(rest.shape[0], dims[-1], 1))
        return cls(tensors, center=n - 1)

    @property
    def size(self) -> int:
        """prod(dims): entries of the vector."""
        size = 1
        for d in self.dims:
            size *= d
        return size

    def vector(self) -> Array:
        """All entries, (prod(dims),); raises NotEnoughMemoryError above 2^28 of them."""
        if self.size > MOST_ENTRIES:
            raise NotEnoughMemoryError("state", f"has {self.size} entries", "Ask for `entries` of some indices")
        result = self.tensors[0][0]
        for tensor in self.tensors[1:]:
            # the new digit is more significant than those before
            result = (result @ tensor.reshape(tensor.shape[0], -1)).reshape(-1, *tensor.shape[1:])
            result = result.transpose(1, 0, 2).reshape(-1, tensor.shape[2])
        return result[:, 0]

    def entries(self, indices: Any) -> Array:
        """The entries at these vector indices, an array of their shape."""
        xp, index = array_module(self.tensors[0]), np.asarray(indices)
        left = index.reshape(-1).copy()
        if left.size and not (left.min() >= 0 and left.max() < self.size):
            raise ParameterError("indices", f"are not all in [0, {self.size})", "Give indices of the vector")
        rows = xp.ones((left.size, 1), dtype=self.dtype)
        for tensor in self.tensors:
            digit = (left % tensor.shape[1]).astype(np.int64)
            left = left // tensor.shape[1]
            following = xp.empty((len(rows), tensor.shape[2]), dtype=self.dtype)
            for value in range(tensor.shape[1]):
                chosen = xp.asarray(np.flatnonzero(digit == value))
                following[chosen] = rows[chosen] @ tensor[:, value]
            rows = following
        return rows[:, 0].reshape(index.shape)

    def entry(self, index: int) -> Any:
        """One entry of the vector."""
        return self.entries(np.array([index], dtype=object if index >> 62 else np.int64))[0]

    def overlap(self, other: MatrixProductState) -> Any:
        """<self|other>, this state conjugated."""
        self._check_sites(other)
        xp = array_module(self.tensors[0])
        environment = xp.ones((1, 1), dtype=np.result_type(self.dtype, other.dtype))
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            right = (environment @ theirs.reshape(theirs.shape[0], -1)).reshape(-1, theirs.shape[2])
            environment = mine.conj().reshape(-1, mine.shape[2]).T @ right
        return environment[0, 0]

    def norm(self) -> float:
        """||psi||: of the centre where one is known, else from <psi|psi> (half the digits of what is small)."""
        xp = array_module(self.tensors[0])
        if self.center is not None:
            return float(xp.linalg.norm(self.tensors[self.center].reshape(-1)))
        return float(xp.sqrt(abs(self.overlap(self))))

    def expectation(self, operator: MatrixProductOperator) -> Any:
        """<psi|operator|psi>, psi not scaled to norm one."""
        xp = array_module(self.tensors[0])
        environment = xp.ones((1, 1, 1), dtype=np.result_type(self.dtype, operator.dtype))
        for a, w in zip(self.tensors, operator.tensors, strict=True):
            right = xp.tensordot(environment, a, (2, 0))  # (bra, w, in, ket')
            right = xp.tensordot(right, w, ((1, 2), (0, 2)))  # (bra, ket', out, w')
            environment = xp.tensordot(a.conj(), right, ((0, 1), (0, 2))).transpose(0, 2, 1)
        return environment[0, 0, 0]

    def __add__(self, other: MatrixProductState) -> MatrixProductState:
        """The sum; bonds add, so that sums of many terms want `compressed` in between."""
        self._check_sites(other)
        if len(self) == 1:
            return MatrixProductState([self.tensors[0] + other.tensors[0]], center=0)
        xp = array_module(self.tensors[0])
        pairs = list(zip(self.tensors, other.tensors, strict=True))
        tensors = [xp.concatenate(pairs[0], axis=2)]
        for a, b in pairs[1:-1]:
            both = xp.zeros((a.shape[0] + b.shape[0], a.shape[1], a.shape[2] + b.shape[2]), np.result_type(a, b))
            both[: a.shape[0], :, : a.shape[2]] = a
            both[a.shape[0] :, :, a.shape[2] :] = b
            tensors.append(both)
        return MatrixProductState([*tensors, xp.concatenate(pairs[-1], axis=0)])

    def __mul__(self, factor: Any) -> MatrixProductState:
        """A scalar multiple; the factor goes into the centre, or into the first site."""
        place = self.center or 0
        tensors = list(self.tensors)
        tensors[place] = tensors[place] * factor
        return MatrixProductState(tensors, self.center)

    __rmul__ = __mul__

    def __neg__(self) -> MatrixProductState:
        return self * -1.0

    def __sub__(self, other: MatrixProductState) -> MatrixProductState:
        return self + other * -1.0

    def conj(self) -> MatrixProductState:
        return MatrixProductState([t.conj() for t in self.tensors], self.center)

    @property
    def real(self) -> MatrixProductState:
        """The real part, of twice the bond dimension: (psi + conj psi)/2 in real arithmetic."""
        return self._part(lambda z: z.real)

    @property
    def imag(self) -> MatrixProductState:
        """The imaginary part, of twice the bond dimension, in real arithmetic."""
        return self._part(lambda z: z.imag)

    def _part(self, part: Any) -> MatrixProductState:
        """Each bond as (real, imaginary): a product of complex numbers is one of matrices [[x, y], [-y, x]]."""
        xp = array_module(self.tensors[0])
        tensors = []
        for k, t in enumerate(self.tensors):
            x, y = t.real, t.imag
            rows = [xp.concatenate((x, y), axis=2), xp.concatenate((-y, x), axis=2)]
            if k == len(self) - 1:
                rows = [part(t), part(1j * t)]
            tensors.append(rows[0] if k == 0 else xp.concatenate(rows, axis=0))
        return MatrixProductState(tensors)

    def kron(self, other: MatrixProductState) -> MatrixProductState:
        """other x self: `other` on the following sites."""
        return MatrixProductState([*self.tensors, *other.tensors])

    def compressed(
        self, bond_dimension: int | None = None, cutoff: float = ROUNDING
    ) -> tuple[MatrixProductState, float]:
        """(the state on smaller bonds, ||psi - compressed||), centre at site 0; see `decompositions.compress`.

        A bond keeps at most `bond_dimension` singular values, and drops the smallest while their 2-norm is at most
        cutoff ||psi||.
        """
        xp = array_module(self.tensors[0])
        one = xp.ones((1, 1), dtype=self.dtype)

        tensors, error = compress([Site(t) for t in self.tensors], one, one, bond_dimension, cutoff)
        return MatrixProductState(tensors, center=0), error

    def moved(self, center: int) -> MatrixProductState:
        """The same state with its orthogonality centre at that site."""
        xp, tensors = array_module(self.tensors[0]), list(self.tensors)
        left, right = (0, len(self) - 1) if self.center is None else (self.center, self.center)
        for k in range(left, center):
            q, r = xp.linalg.qr(tensors[k].reshape(-1, tensors[k].shape[2]))
            tensors[k] = q.reshape(*tensors[k].shape[:2], -1)
            tensors[k + 1] = xp.tensordot(r, tensors[k + 1], (1, 0))
        for k in range(right, center, -1):
            q, r = xp.linalg.qr(tensors[k].reshape(tensors[k].shape[0], -1).conj().T)
            tensors[k] = q.conj().T.reshape(-1, *tensors[k].shape[1:])
            tensors[k - 1] = tensors[k - 1] @ r.conj().T
        return MatrixProductState(tensors, center)

    def marginal(self, sites: Sequence[int]) -> Array:
        """|psi|^2 summed over all other sites, (prod of the dims of `sites`,), the first site least significant."""
        xp, wanted = array_module(self.tensors[0]), set(sites)
        environment = xp.ones((1, 1, 1), dtype=self.dtype)  # (outcomes so far, bra, ket)
        for k, tensor in enumerate(self.tensors):
            right = xp.tensordot(environment, tensor, (2, 0))  # (outcomes, bra, d, ket')
            if k in wanted:
                environment = xp.einsum("adb,sadc->dsbc", tensor.conj(), right)
                environment = environment.reshape(-1, *environment.shape[2:])
            else:
                environment = xp.einsum("adb,sadc->sbc", tensor.conj(), right)
        ordered = sorted(wanted)
        dims = [self.dims[k] for k in ordered]
        table = environment[:, 0, 0].real.reshape(dims[::-1])  # the highest site first
        return table.transpose([len(ordered) - 1 - ordered.index(k) for k in reversed(sites)]).reshape(-1)

    def sample(self, shots: int, seed: int) -> np.ndarray:
        """Vector indices drawn with probabilities |psi|^2/||psi||^2, (shots,) int64 on the host.

        Site after site from the conditional distribution given the digits already drawn (arXiv 1201.3974).
        """
        if self.size > 1 << 62:
            raise ShapeError("state", f"has {len(self)} sites", "Indices of at most 2^62 are drawn")
        state = self.moved(0)
        if not state.norm() > 0:
            raise ParameterError("state", f"has the norm {state.norm()}", "Sample a state that is not zero")
        xp, generator = array_module(state.tensors[0]), np.random.default_rng(seed)
        rows = xp.ones((shots, 1), dtype=self.dtype)
        drawn, weight = np.zeros(shots, dtype=np.int64), 1
        for tensor in state.tensors:
            following = xp.tensordot(rows, tensor, (1, 0))  # (shots, d, right)
            heights = (abs(following) ** 2).sum(axis=2).cumsum(axis=1)
            host = heights.get() if hasattr(heights, "get") else heights
            digit = (generator.random(shots)[:, None] * host[:, -1:] >= host[:, :-1]).sum(axis=1)
            rows = following[xp.arange(shots), xp.asarray(digit)]
            rows = rows / xp.linalg.norm(rows, axis=1, keepdims=True)
            drawn += digit * weight
            weight *= tensor.shape[1]
        return drawn

    def _check_sites(self, other: MatrixProductState) -> None:
        if self.dims != other.dims:
            raise ShapeError("state", f"has sites {other.dims}, not {self.dims}", "Give states over the same sites")
