"""The textbook encoding of a sparse symmetric matrix, for comparison only: alpha = d max|H|.

d is the most entries in a row. Source: Gilyen et al., arXiv 1806.01838, lemma 48, which needs two oracles (where the
entries of a row stand, and what they are) and n + 3 ancillas; its register has 2 d^2 N amplitudes that can be reached.
The simulated register is the walk's with this larger alpha: what the oracles' rotations reject, the walk keeps as
slack. Block, success amplitude and norm are the same, so every result is.
"""

from __future__ import annotations

from ..backends.base import Backend
from ..operators import Operator
from .base import positive_or_one
from .walk import WalkEncoding


class SparseAccessEncoding(WalkEncoding):
    """H/alpha for an explicit symmetric H, alpha = d max|H| >= max_j sum_k |H_jk| >= ||H||_2."""

    name = "sparse_access"

    def __init__(self, operator: Operator, backend: Backend) -> None:
        super().__init__(operator, backend)
        matrix = self.operator.matrix
        most = int((matrix != 0).sum(axis=1).max())
        self.alpha = positive_or_one(most * float(abs(matrix).max()))
        self.ancilla_qubits = self.system_qubits + 3
