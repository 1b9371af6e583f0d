"""Linear systems that are known by a few numbers: enough to predict what every solver would cost, not to solve them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backends import select_backend
from ..backends.base import Backend
from ..conditioning import SpectrumBounds
from ..errors import ParameterError
from ..solvers import LinearSystem

LARGEST = 1e15
"""A kappa beyond it is beyond FP64."""
DENSE_BYTES, SPARSE_BYTES = 8.0, 12.0
"""Of a stored entry: FP64, and in CSR with the 32-bit number of its column."""


@dataclass(frozen=True, eq=False)
class StatedOperator:
    """A definite matrix of order N with `nonzeros` entries that are not zero.

    Its products read `entry_bytes` of each; None: as CSR or dense in FP64, whichever is shorter.
    """

    size: int
    nonzeros: int
    entry_bytes: float | None
    backend: Backend
    symmetric: bool = True
    assembly_flops: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    @property
    def sparse(self) -> bool:
        """Whether it is stored as CSR."""
        return SPARSE_BYTES * self.nonzeros < DENSE_BYTES * self.size**2

    @property
    def product_flops(self) -> float:
        return 2.0 * self.nonzeros

    @property
    def product_bytes(self) -> float:
        if self.entry_bytes is not None:
            return self.entry_bytes * self.nonzeros
        return SPARSE_BYTES * self.nonzeros if self.sparse else DENSE_BYTES * self.size**2


@dataclass(frozen=True, eq=False)
class StatedEncoding:
    """A block encoding of which only the norm is known."""

    operator: StatedOperator
    alpha: float
    name: str = "stated"
    symmetric: bool = True
    epsilon: float = 0.0
    ancilla_qubits: int = 1

    @property
    def register_size(self) -> int:
        return self.operator.nonzeros

    @property
    def system_qubits(self) -> int:
        return math.ceil(math.log2(max(self.operator.size, 2)))


def stated_system(
    size: int,
    kappa: float,
    row_nonzeros: int | None = None,
    alpha: float = 1.0,
    tolerance: float = 1e-2,
    *,
    entry_bytes: float | None = None,
) -> LinearSystem:
    """A definite system of order N with ||H|| = 1, |lambda|_min = 1/kappa and ||x|| known, one right-hand side.

    `row_nonzeros` are its stored entries a row, None: all N. `alpha` is the norm of its block encoding over ||H||,
    `tolerance` the relative residual. `entry_bytes` are those that a product moves for each entry, None: 12 as CSR or
    8 N^2 in all, whichever is less. Predictions need no more; it cannot be solved. Raises ParameterError.

    >>> from qnewton_gpu.costs import CostModel
    >>> from qnewton_gpu.solvers import make_solver
    >>> system = stated_system(1024, kappa=100, row_nonzeros=8)
    >>> make_solver("qsvt").predict(system, CostModel(), system.operator.backend).factors["queries"]
    571.0
    """
    order = _whole("size", size)
    entries = order * (order if row_nonzeros is None else min(_whole("row_nonzeros", row_nonzeros), order))
    _between("kappa", kappa, 1, LARGEST)
    _between("alpha", alpha, 1, LARGEST)
    check_tolerance(tolerance)
    if entry_bytes is not None:
        _between("entry_bytes", entry_bytes, 1, 64)
    backend = select_backend("cpu")
    operator: Any = StatedOperator(order, entries, entry_bytes, backend)
    bounds = SpectrumBounds(1 / kappa, 1.0, certified=True, method="stated")
    encodings = {"auto": StatedEncoding(operator, alpha)}
    return LinearSystem(operator, backend.xp.ones((1, 1)), bounds, tolerance, encodings=encodings, expected_norm=1.0)


def check_tolerance(tolerance: Any) -> None:
    """Raise ParameterError unless FP64 can promise this relative residual."""
    _between("tolerance", tolerance, 1e-15, 1, strict=True)


def _whole(name: str, value: Any) -> int:
    _between(name, value, 1, LARGEST)
    if value != int(value):
        raise ParameterError(name, f"{value!r} is not a whole number", "Round it")
    return int(value)


def _between(name: str, value: Any, low: float, high: float, *, strict: bool = False) -> None:
    """Raise ParameterError unless low <= value <= high, below `high` where strict."""
    try:
        inside = low <= value <= high and not (strict and value == high)
    except (TypeError, ValueError):
        inside = False
    if not inside:
        problem = f"{value!r} is not a number between {low:g} and {high:g}"
        raise ParameterError(name, problem, "Give a number in that range")
