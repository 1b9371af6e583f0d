"""A block of parameters in a Newton step: the linear systems that it needs, and the step that their solutions give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .backends.base import Backend
from .curvature.kronecker import KroneckerLayer
from .operators import MatrixOperator
from .solvers import LinearSystem, Solution

Tensor = torch.Tensor
RANK_CUTOFF = 1e-12
"""A layer's gradient has the rank of its singular values above this share of the largest: what is below is rounding."""


@dataclass
class ConditionedSystem:
    """One linear system of a step and what conditioning did to it: x = scale y for the y that solves it."""

    system: LinearSystem
    record: list[str] = field(default_factory=list)
    scale: Any | None = None

    def restore(self, y: Any) -> Any:
        """x in the scale that was meant, (n, k)."""
        return y if self.scale is None else self.scale * y

    @property
    def row_sparsity(self) -> int:
        """d: the most entries in a row (N where the matrix is not explicit)."""
        H = self.system.operator
        if isinstance(H, MatrixOperator) and H.sparse:
            return int(np.diff(H.matrix.indptr).max())
        return self.system.size


@dataclass
class Block(ABC):
    """(C + (damping + weight decay) I) x = g for the parameters at `places`, posed as the linear systems `parts`.

    `damping` is what was added to the curvature's diagonal besides weight decay.
    """

    parts: tuple[ConditionedSystem, ...]
    places: tuple[slice, ...]
    damping: float
    backend: Backend

    @abstractmethod
    def write_step(self, solutions: Sequence[Solution], direction: Tensor) -> None:
        """Write -x to its places in a flat vector (n,), given the solution of each part."""

    @abstractmethod
    def certificate(self, solutions: Sequence[Solution]) -> dict[str, Any]:
        """`relative_residual` of x, ||(C + damping + weight decay) x - g||/||g||, and its `tolerance`."""

    def penalty(self, direction: Tensor) -> float:
        """d.(damping d), for the block's part d of a flat vector."""
        return self.damping * sum(float(direction[place] @ direction[place]) for place in self.places)


class DirectBlock(Block):
    """One system, whose solution is the step."""

    def write_step(self, solutions: Sequence[Solution], direction: Tensor) -> None:
        (part,), (solution,), (place,) = self.parts, solutions, self.places
        x = part.restore(solution.x)[:, 0]
        direction[place] = -self.backend.to_torch(x).to(direction.device)

    def certificate(self, solutions: Sequence[Solution]) -> dict[str, Any]:
        return {"relative_residual": solutions[0].relative_residual, "tolerance": self.parts[0].system.tolerance}


@dataclass
class KroneckerBlock(Block):
    """A layer whose block is G' (x) A': the step follows from one small system for each factor, whatever their product.

    The gradient matrix W = U diag(s) V^t, (o, i), is a state of two sites, outputs and inputs, joined by a bond of
    dimension r = rank W <= min(o, i), and without weight decay at most the places of the batch where the layer is used;
    the inverse acts on each site alone:
        G' Y = U,  A' Z = V,  X = Y diag(s) Z^t,  (G' (x) A') vec(X) = vec(W)  (rows first).
    Where every column is solved to a relative residual of epsilon, then because U and V are orthonormal
        ||G' X A' - W||_F <= (2 epsilon + c epsilon^2) ||W||_F,  c = ||W||_*/||W||_F <= sqrt(min(o, i)),
    so epsilon = tau/(1 + sqrt(1 + c tau)) keeps it within tau: see `factor_tolerance`. Where the factors were scaled
    W is the scaled gradient. Source: Martens and Grosse, arXiv 1503.05671, section 4.2.
    """

    layer: KroneckerLayer
    gradient: Any
    singular_values: Any
    tolerance: float

    def write_step(self, solutions: Sequence[Solution], direction: Tensor) -> None:
        Y, Z = (part.restore(solution.x) for part, solution in zip(self.parts, solutions, strict=True))
        X = self.backend.to_torch((Y * self.singular_values) @ Z.T)
        self.layer.scatter(-X.to(direction.device), direction)

    def certificate(self, solutions: Sequence[Solution]) -> dict[str, Any]:
        outputs, inputs = (
            part.system.operator.matvec(solution.x) for part, solution in zip(self.parts, solutions, strict=True)
        )
        xp, W = self.backend.xp, self.gradient
        norm = float(xp.linalg.norm(W)) or 1.0
        residual = float(xp.linalg.norm((outputs * self.singular_values) @ inputs.T - W)) / norm
        rank = len(self.singular_values)
        return {"size": W.size, "rank": rank, "relative_residual": residual, "tolerance": self.tolerance}


def factor_tolerance(tolerance: float, shape: tuple[int, int]) -> float:
    """epsilon of both factors, of shapes (o, o) and (i, i), that keeps their Kronecker system within `tolerance`.

    The positive root of c epsilon^2 + 2 epsilon = tolerance, c = sqrt(min(o, i)); it depends on the layer alone, so
    that phase factors are made once.

    >>> round(factor_tolerance(1e-2, (16, 65)), 6)
    0.004951
    """
    c = min(shape) ** 0.5
    return tolerance / (1 + (1 + c * tolerance) ** 0.5)
