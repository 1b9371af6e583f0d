"""The exact Hessian of the loss, by forward-over-reverse products."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch.func import grad, vmap

from .base import Objective, linearize

Tensor = torch.Tensor
COLUMNS_AT_ONCE = 32


class Hessian:
    """d^2 loss/d theta^2 at theta, (n, n), without weight decay; indefinite across layers.

    H v = d/dt grad loss(theta + t v): the gradient is linearised once and applied to each vector
    (Pearlmutter, Neural Computation 6 (1994)).
    """

    semidefinite = False

    def __init__(self, objective: Objective, theta: Tensor) -> None:
        self.objective, self.theta, self.size = objective, theta, theta.numel()

    @cached_property
    def _push(self) -> Callable[[Tensor], Tensor]:
        objective = self.objective

        def loss(theta: Tensor) -> Tensor:
            return objective.loss.value(objective.outputs(theta), objective.targets)

        return linearize(grad(loss), self.theta)[1]

    def product(self, vectors: Tensor) -> Tensor:
        """H V for V of shape (n, k)."""
        return vmap(self._push, in_dims=1, out_dims=1)(vectors)

    def dense(self) -> Tensor:
        """H as a symmetric (n, n) tensor, 32 columns at a time."""
        identity = torch.eye(self.size, dtype=torch.float64, device=self.theta.device)
        columns = torch.cat([self.product(part) for part in identity.split(COLUMNS_AT_ONCE, dim=1)], dim=1)
        return 0.5 * (columns + columns.T)
