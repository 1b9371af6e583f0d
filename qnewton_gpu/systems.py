"""From curvature to linear systems: which matrix each block of parameters gives, damped, pruned, bounded.

A Gauss-Newton block stays a product with its Jacobian (gram) unless an explicit matrix is asked for; Hessian, Fisher
and pruned blocks are explicit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .backends.base import Backend
from .conditioning import estimate_spectrum
from .conditioning.condition import check_conditioning, condition
from .conditioning.damping import paper_damping
from .curvature import Curvature, Objective
from .curvature.gauss_newton import GaussNewton
from .errors import CombinationError, ParameterError, UnknownNameError
from .operators import GramOperator, MatrixOperator, check_memory
from .solvers import LinearSystem
from .stages import stage

PARTITIONS = ("network", "layer")
DAMPING_RULES = ("lm", "paper")


@dataclass(frozen=True)
class SystemOptions:
    """How the linear systems of a step are made. `encoding` "auto" is gram wherever a factor is known.

    definite: whether an indefinite matrix is shifted until it is definite, or left to a solver of |H| x = b.
    damping_rule: "lm", the damping that the optimizer chose, or "paper", 5e-3 max|C_ij| of each block.
    """

    curvature: str = "ggn"
    partition: str = "network"
    encoding: str = "auto"
    density: float = 1.0
    compensate: str | None = "diagonal"
    scaling: str = "none"
    tolerance: float = 1e-2
    definite: bool = True
    damping_rule: str = "lm"

    def __post_init__(self) -> None:
        if self.partition not in PARTITIONS:
            raise UnknownNameError.among("partition", self.partition, PARTITIONS)
        if self.damping_rule not in DAMPING_RULES:
            raise UnknownNameError.among("damping_rule", self.damping_rule, DAMPING_RULES)
        check_conditioning(self.density, self.compensate, self.scaling)
        if not 0 < self.tolerance < 1:
            raise ParameterError("tolerance", f"{self.tolerance!r} is not between 0 and 1", "The default is 1e-2")
        if self.encoding == "gram" and not self.by_factor:
            raise CombinationError(
                "encoding",
                "gram needs the factor of an unpruned, unscaled Gauss-Newton matrix",
                "Use curvature='ggn' with density=1, or encoding='walk'",
            )
        if self.damping_rule == "paper" and self.by_factor:
            raise CombinationError(
                "damping_rule",
                "'paper' is a share of max|C_ij|, which a matrix known only by its products does not have",
                "Use encoding='walk', which makes the matrix explicit, or damping_rule='lm'",
            )

    @property
    def by_factor(self) -> bool:
        """Whether the matrix is only known by products with its Jacobian."""
        gauss_newton = self.curvature == "ggn" and self.density == 1 and self.scaling == "none"
        return gauss_newton and self.encoding in ("auto", "gram")


class TorchFactor:
    """G of a Gauss-Newton block as a `Factor` on the backend's arrays; complex columns are pairs of real ones."""

    def __init__(self, curvature: GaussNewton, backend: Backend) -> None:
        self.curvature, self.backend = curvature, backend
        self.shape = curvature.shape

    @property
    def frobenius_squared(self) -> float:
        return self.curvature.frobenius_squared

    @property
    def product_flops(self) -> float:
        return self.curvature.product_flops

    @property
    def product_bytes(self) -> float:
        return self.curvature.product_bytes

    @property
    def gram_flops(self) -> float:
        return self.curvature.dense_flops

    @property
    def gram_bytes(self) -> float:
        return self.curvature.dense_bytes

    def _through_torch(self, function: Callable[[torch.Tensor], torch.Tensor], vectors: Any) -> Any:
        xp, columns = self.backend.xp, vectors.shape[1]
        pairs = xp.iscomplexobj(vectors)
        if pairs:
            vectors = xp.ascontiguousarray(vectors).view(xp.float64).reshape(len(vectors), 2 * columns)
        tensor = self.backend.to_torch(vectors).to(self.curvature.theta.device)
        result = xp.ascontiguousarray(self.backend.asarray(function(tensor)))
        return result.view(xp.complex128).reshape(len(result), columns) if pairs else result

    def matvec(self, v: Any) -> Any:
        return self._through_torch(self.curvature.push, v)

    def rmatvec(self, u: Any) -> Any:
        return self._through_torch(self.curvature.pull, u)

    def normal_matvec(self, v: Any) -> Any:
        return self._through_torch(self.curvature.product, v)

    def gram(self) -> Any:
        return self.backend.asarray(self.curvature.dense())

    def rows(self) -> Any:
        return self.backend.asarray(self.curvature.rows())


@dataclass
class BlockSystem:
    """One linear system of a step, the slice of parameters it belongs to, and what conditioning did to it.

    `damping` is what was added to the curvature's diagonal besides weight decay.
    """

    system: LinearSystem
    block: slice
    damping: float
    record: list[str] = field(default_factory=list)
    scale: Any | None = None

    def solution_vector(self, x: Any) -> Any:
        """The system's x in the parameters' own scale, (n,)."""
        return (x if self.scale is None else self.scale * x)[:, 0]

    @property
    def row_sparsity(self) -> int:
        """d: the most entries in a row (N where the matrix is not explicit)."""
        H = self.system.operator
        if isinstance(H, MatrixOperator) and H.sparse:
            return int(np.diff(H.matrix.indptr).max())
        return self.system.size


def build_systems(
    objective: Objective,
    theta: torch.Tensor,
    gradient: torch.Tensor,
    curvature: Curvature,
    damping: float,
    options: SystemOptions,
    backend: Backend,
) -> list[BlockSystem]:
    """(C_block + (damping + weight decay) I) x = g_block for every block of the partition.

    With the paper's rule `damping` is not used: each block has its own.
    """
    whole = {"network": slice(0, theta.numel())}
    blocks = whole if options.partition == "network" else objective.parameters.layers()
    g = backend.asarray(gradient)
    if options.by_factor:
        return [
            _factor_system(name, block, objective, theta, g, curvature, damping, options, backend)
            for name, block in blocks.items()
        ]
    n = theta.numel()
    check_memory("curvature", 8.0 * 4 * n * n, backend, "Use --curvature ggn --density 1, which needs products only")
    with stage("curvature"):
        dense = backend.asarray(curvature.dense())
    systems = []
    for name, block in blocks.items():
        C = dense[block, block]
        delta = paper_damping(MatrixOperator(C, backend)) if options.damping_rule == "paper" else damping
        decay = objective.weight_decay
        systems.append(_explicit_system(name, block, C, g, curvature.semidefinite, delta, decay, options, backend))
    return systems


def _factor_system(
    name: str,
    block: slice,
    objective: Objective,
    theta: torch.Tensor,
    g: Any,
    curvature: Curvature,
    damping: float,
    options: SystemOptions,
    backend: Backend,
) -> BlockSystem:
    total = damping + objective.weight_decay
    with stage("curvature", category=name):
        assert isinstance(curvature, GaussNewton)
        whole = block == slice(0, theta.numel())
        part = curvature if whole else GaussNewton(objective, theta, block)
        operator = GramOperator(TorchFactor(part, backend), total, backend)
        # flag rows of the preimage: sqrt(delta) * (wd theta/sqrt(delta)) = wd theta
        decay = objective.weight_decay * theta[block] / total**0.5
        preimage = backend.asarray(torch.cat([part.residual(), decay]))[:, None]
    with stage("condition", category=name):
        bounds = estimate_spectrum(operator, backend=backend)
    system = LinearSystem(operator, g[block, None], bounds, options.tolerance, preimage, name=name)
    return BlockSystem(system, block, damping)


def _explicit_system(
    name: str,
    block: slice,
    C: Any,
    g: Any,
    semidefinite: bool,
    damping: float,
    weight_decay: float,
    options: SystemOptions,
    backend: Backend,
) -> BlockSystem:
    with stage("condition", category=name):
        conditioned = condition(
            C,
            density=options.density,
            compensate=options.compensate,
            damping=damping + weight_decay,
            definite=options.definite,
            semidefinite=semidefinite,
            scaling=options.scaling,
            backend=backend,
        )
    rhs = g[block, None] if conditioned.scale is None else conditioned.scale * g[block, None]
    system = LinearSystem(conditioned.operator, rhs, conditioned.bounds, options.tolerance, name=name)
    return BlockSystem(system, block, damping, conditioned.texts, conditioned.scale)
