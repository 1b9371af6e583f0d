"""The matching encoding: H as a sum of coloured matchings, each a permutation and a rotation; it has a gate program.

Edges (j, k) of H are coloured greedily in order of falling |H_jk|, so that large entries share a colour; the diagonal
is a colour of its own. Colour l has an involution P_l, a maximum m_l and cosines c_lj = H_{j, P_l j}/m_l (0 where
P_l j = j off the diagonal), and
    alpha = sum_l m_l,   T|j> = sum_l sqrt(m_l/alpha) |l>|0>|j>
    S|l>|a>|j> = |l> [[c, s], [s, -c]] |a> |P_l j>,   c = c_lj,  s = sqrt(1 - c^2)
so that T^t S T = H/alpha. Index order: colour, then a, then j.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..circuit import Circuit
from ..operators import MatrixOperator, Operator
from .base import ExplicitSymmetric, Side, positive_or_one, qubits

PROGRAM_BYTES = 80.0
"""Taken by the tables of the gate program and by its fusion, for each amplitude of its qubits."""


@dataclass(frozen=True)
class MatchingRegister:
    """T and S colour by colour, for L colours: what the queries on the whole register read."""

    partner: Any
    """P_l j, (L, N) int32."""
    cosine: Any
    """c_lj, (L, N)."""
    amplitude: Any
    """sqrt(m_l/alpha), (L,)."""


class ColouredEncoding(ExplicitSymmetric, ABC):
    """H/alpha for coloured involutions P_l, however these are known; alpha is the sum of the colours' maxima."""

    select: str
    """Label of the gate that permutes by P_l."""
    partner: Any
    """P_l j on the host, (L, N)."""

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        self.value = self._colour()
        self.maxima = np.abs(self.value).max(axis=1)
        self.alpha = positive_or_one(float(self.maxima.sum()))
        # T; a zero matrix may start anywhere
        self.amplitude = np.sqrt(self.maxima / self.alpha) if self.maxima.any() else np.ones(1)
        self.cosine = self.value / np.where(self.maxima > 0, self.maxima, 1.0)[:, None]
        colours, n = self.value.shape
        self.system_qubits = qubits(n)
        self.ancilla_qubits = qubits(colours) + 1
        self.register_size = 2 * colours * n
        self.gate_bytes = PROGRAM_BYTES * 2.0 ** (self.system_qubits + self.ancilla_qubits)

    @abstractmethod
    def _colour(self) -> np.ndarray:
        """H_{j, P_l j} for each colour l, (L, N)."""

    @abstractmethod
    def _involutions(self) -> Any:
        """P_l j on the device, (L, N)."""

    @cached_property
    def _tables(self) -> tuple[Any, Any]:
        """Cosines (L, N) and amplitudes (L,) on the device."""
        return self.backend.asarray(self.cosine), self.backend.asarray(self.amplitude)

    def lift(self, v: Any, side: Side = "right") -> Any:
        pair = self.backend.xp.stack([v, self.backend.xp.zeros_like(v)])
        return (self._tables[1][:, None, None, None] * pair).reshape(self.register_size, -1)

    def lower(self, psi: Any, side: Side = "right") -> Any:
        colours, n = self.value.shape
        return (self._tables[1][:, None, None] * psi.reshape(colours, 2, n, -1)[:, 0]).sum(axis=0)

    def reflect(self, psi: Any) -> Any:
        xp, c, partner = self.backend.xp, self._tables[0][..., None], self._involutions()[..., None]
        psi = psi.reshape(*self.value.shape[:1], 2, self.value.shape[1], -1)
        s = xp.sqrt(xp.maximum(1 - c * c, 0.0))
        a = xp.take_along_axis(psi[:, 0], partner, axis=1)
        b = xp.take_along_axis(psi[:, 1], partner, axis=1)
        return xp.stack([c * a + s * b, s * a - c * b], axis=1).reshape(self.register_size, -1)

    def circuit(self) -> Circuit:
        """PREP^t SELECT PREP on system_qubits + ancilla_qubits; N is padded to a power of two with zero rows of H.

        Qubits, from the least significant: system, the rotated one, colour.
        """
        n, system = self.value.shape[1], self.system_qubits
        colour_qubits = self.ancilla_qubits - 1
        colours, size = 1 << colour_qubits, 1 << system
        rotated, colour = system, tuple(range(system + 1, system + 1 + colour_qubits))

        amplitude = np.zeros(colours)
        amplitude[: len(self.amplitude)] = self.amplitude
        partner = np.tile(np.arange(size), (colours, 1))
        partner[: len(self.maxima), :n] = self.partner
        cosine = np.zeros((colours, size))
        cosine[: len(self.maxima), :n] = self.cosine

        program = Circuit(system + self.ancilla_qubits)
        program.prepare(amplitude, colour)
        program.multiplexed_reflection(np.arccos(np.clip(cosine, -1, 1)), rotated, controls=(*range(system), *colour))
        # the colour l permutes the system by P_l
        both = partner + size * np.arange(colours)[:, None]
        program.permute(both.reshape(-1), targets=(*range(system), *colour), label=self.select)
        program.prepare(amplitude, colour)  # PREP is its own inverse
        return program


class MatchingEncoding(ColouredEncoding):
    """H/alpha for an explicit symmetric H, its edges coloured greedily in order of falling magnitude."""

    name = "matching"
    select = "select"

    def _colour(self) -> np.ndarray:
        self.partner, value = colour_edges(self.operator)
        return value

    @cached_property
    def register(self) -> MatchingRegister:
        """The tables of T and S."""
        return MatchingRegister(self.backend.asarray(self.partner.astype(np.int32)), *self._tables)

    def _involutions(self) -> Any:
        return self.register.partner


def colour_edges(operator: MatrixOperator) -> tuple[np.ndarray, np.ndarray]:
    """partner (L, N) and value (L, N): colour l pairs j with partner[l, j], and H_{j, partner} = value[l, j].

    The last colour is the diagonal, if there is one. Greedy: at most 2d - 1 colours for d entries a row.
    """
    import scipy.sparse as sp

    H = sp.coo_array(operator.host)
    n = H.shape[0]
    upper = (H.coords[0] < H.coords[1]) & (H.data != 0)
    rows, columns, values = H.coords[0][upper], H.coords[1][upper], H.data[upper]
    order = np.lexsort((columns, rows, -np.abs(values)))
    used = [0] * n  # bit l: colour l is taken at this row
    colour = np.empty(len(order), dtype=np.int64)
    for edge in order:
        j, k = rows[edge], columns[edge]
        taken = used[j] | used[k]
        bit = ~taken & (taken + 1)  # the lowest colour that is free at both ends
        used[j] |= bit
        used[k] |= bit
        colour[edge] = bit.bit_length() - 1
    diagonal = operator.host.diagonal()
    count = int(colour.max(initial=-1)) + 1
    total = max(count + bool(np.any(diagonal)), 1)
    partner = np.tile(np.arange(n), (total, 1))
    value = np.zeros((total, n))
    partner[colour, rows], partner[colour, columns] = columns, rows
    value[colour, rows] = value[colour, columns] = values
    if np.any(diagonal):
        value[count] = diagonal
    return partner, value
