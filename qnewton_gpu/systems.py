"""From curvature to linear systems: which matrices each block of parameters gives, damped, pruned, bounded.

A Gauss-Newton block stays a product with its Jacobian (gram) unless an explicit matrix is asked for; Hessian, Fisher
and pruned blocks are explicit; a layer of K-FAC gives its two factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from .backends.base import Backend
from .blocks import RANK_CUTOFF, Block, ConditionedSystem, DirectBlock, KroneckerBlock, factor_tolerance
from .conditioning import estimate_spectrum
from .conditioning.condition import Conditioned, check_conditioning, condition
from .conditioning.damping import paper_damping
from .curvature import Curvature, Objective
from .curvature.gauss_newton import GaussNewton
from .curvature.kronecker import SHARINGS, KroneckerFactored, KroneckerLayer
from .errors import CombinationError, ParameterError, UnknownNameError
from .operators import GramOperator, MatrixOperator, check_memory
from .solvers import LinearSystem
from .stages import stage

PARTITIONS = ("network", "layer")
DAMPING_RULES = ("lm", "paper")


@dataclass(frozen=True)
class SystemOptions:
    """How the linear systems of a step are made. `encoding` "auto" is gram wherever a factor is known.

    partition: None is "layer" for K-FAC, which knows no other, and "network" else.
    definite: whether an indefinite matrix is shifted until it is definite, or left to a solver of |H| x = b.
    damping_rule: "lm", the damping that the optimizer chose, or "paper", 5e-3 max|C_ij| of each block.
    sharing: how K-FAC counts the places that share a weight, "expand" or "reduce" (see `KroneckerFactored`).
    """

    curvature: str = "ggn"
    partition: str | None = None
    encoding: str = "auto"
    density: float = 1.0
    compensate: str | None = "diagonal"
    scaling: str = "none"
    tolerance: float = 1e-2
    definite: bool = True
    damping_rule: str = "lm"
    sharing: str = "expand"

    def __post_init__(self) -> None:
        object.__setattr__(self, "partition", partition_for(self.curvature, self.partition))
        if self.sharing not in SHARINGS:
            raise UnknownNameError.among("sharing", self.sharing, SHARINGS)
        if self.sharing != "expand" and self.curvature != "kfac":
            raise CombinationError("sharing", f"does nothing for {self.curvature}", "Use it with curvature='kfac'")
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
        if self.encoding == "kronecker" and self.curvature == "kfac":
            raise CombinationError(
                "encoding",
                "the two factors of a layer are systems of their own, and neither is a Kronecker product",
                "Use encoding='auto', or the one meant for every factor, 'walk' or 'matching'",
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


def partition_for(curvature: str, asked: str | None = None) -> str:
    """The partition asked for, or else what is natural; raises UnknownNameError, CombinationError."""
    if asked is None:
        return "layer" if curvature == "kfac" else "network"
    if asked not in PARTITIONS:
        raise UnknownNameError.among("partition", asked, PARTITIONS)
    if curvature == "kfac" and asked != "layer":
        problem = f"kfac has two systems for each layer, and none for the {asked}"
        raise CombinationError("partition", problem, "Leave it out, or use partition='layer'")
    return asked


def build_blocks(
    objective: Objective,
    theta: torch.Tensor,
    gradient: torch.Tensor,
    curvature: Curvature,
    damping: float,
    options: SystemOptions,
    backend: Backend,
) -> list[Block]:
    """(C + (damping + weight decay) I) x = g for every block of the partition, as linear systems.

    With the paper's rule `damping` is not used: each block has its own.
    """
    if isinstance(curvature, KroneckerFactored):
        decay = objective.weight_decay
        return [_kronecker_block(layer, gradient, damping, decay, options, backend) for layer in curvature.layers]
    whole = {"network": slice(0, theta.numel())}
    blocks = whole if options.partition == "network" else objective.parameters.layers()
    g = backend.asarray(gradient)
    if options.by_factor:
        return [
            _factor_block(name, block, objective, theta, g, curvature, damping, options, backend)
            for name, block in blocks.items()
        ]
    n = theta.numel()
    check_memory("curvature", 8.0 * 4 * n * n, backend, "Use --curvature ggn --density 1, which needs products only")
    with stage("curvature"):
        dense = backend.asarray(curvature.dense())
    made: list[Block] = []
    for name, block in blocks.items():
        C = dense[block, block]
        delta = paper_damping(MatrixOperator(C, backend)) if options.damping_rule == "paper" else damping
        conditioned = _conditioned(name, C, delta + objective.weight_decay, curvature.semidefinite, options, backend)
        part = _posed(name, conditioned, _scaled(conditioned, g[block, None]), options.tolerance)
        made.append(DirectBlock((part,), (block,), delta, backend))
    return made


def _factor_block(
    name: str,
    block: slice,
    objective: Objective,
    theta: torch.Tensor,
    g: Any,
    curvature: Curvature,
    damping: float,
    options: SystemOptions,
    backend: Backend,
) -> Block:
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
    return DirectBlock((ConditionedSystem(system),), (block,), damping, backend)


def _kronecker_block(
    layer: KroneckerLayer,
    gradient: torch.Tensor,
    damping: float,
    weight_decay: float,
    options: SystemOptions,
    backend: Backend,
) -> Block:
    """The layer's two factors, damped each by its share, with the singular vectors of its gradient on the right."""
    options = replace(options, definite=True)  # as both factors are but for pruning, and then |A| = A for any solver
    A, G, W = (backend.asarray(part) for part in (layer.inputs, layer.outputs, layer.gradient(gradient)))
    if options.damping_rule == "paper":  # max|G (x) A| = max|G| max|A|
        damping = paper_damping(MatrixOperator(A, backend), paper_damping(MatrixOperator(G, backend)))
    total = damping + weight_decay
    for_inputs, for_outputs = layer.shifts(total)
    names = f"{layer.name}.outputs", f"{layer.name}.inputs"
    outputs = _conditioned(names[0], G, for_outputs, True, options, backend)
    inputs = _conditioned(names[1], A, for_inputs, True, options, backend)
    W = _scaled(inputs, _scaled(outputs, W).T).T
    with stage("condition", category=layer.name):
        U, s, Vt = backend.xp.linalg.svd(W, full_matrices=False)
    s = s[: max(1, int((s > RANK_CUTOFF * s[0]).sum()))]
    # a layer without gradient has systems with b = 0, which nobody needs to solve
    U, V = (backend.xp.ascontiguousarray(vectors[:, : len(s)]) * (s > 0) for vectors in (U, Vt.T))
    epsilon = factor_tolerance(options.tolerance, layer.shape)
    split = f"d = {total:.4g}, pi = {(for_inputs / for_outputs) ** 0.5 if total else 1.0:.4g}"
    parts = (
        _posed(names[0], outputs, U, epsilon, f" = sqrt(d)/pi, {split}"),
        _posed(names[1], inputs, V, epsilon, f" = pi sqrt(d), {split}"),
    )
    places = tuple(place for place in (layer.weight, layer.bias) if place is not None)
    return KroneckerBlock(parts, places, damping, backend, layer, W, s, options.tolerance)


def _conditioned(
    name: str, C: Any, damping: float, semidefinite: bool, options: SystemOptions, backend: Backend
) -> Conditioned:
    with stage("condition", category=name):
        return condition(
            C,
            density=options.density,
            compensate=options.compensate,
            damping=damping,
            definite=options.definite,
            semidefinite=semidefinite,
            scaling=options.scaling,
            backend=backend,
        )


def _scaled(conditioned: Conditioned, rhs: Any) -> Any:
    """The right-hand sides s b, (n, k), of the scaled system s H s y = s b."""
    return rhs if conditioned.scale is None else conditioned.scale * rhs


def _posed(name: str, conditioned: Conditioned, rhs: Any, tolerance: float, damped: str = "") -> ConditionedSystem:
    """The conditioned system with this right-hand side, (n, k); `damped` goes on what the log says of its damping."""
    system = LinearSystem(conditioned.operator, rhs, conditioned.bounds, tolerance, name=name)
    record = [text + damped if text.startswith("damped") else text for text in conditioned.texts]
    return ConditionedSystem(system, record, conditioned.scale)
