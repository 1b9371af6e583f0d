"""The exact Hessian of the loss, by products that walk the graph of its gradient."""

from __future__ import annotations

import torch

from .base import Objective, batched_gradient

Tensor = torch.Tensor
COLUMNS_AT_ONCE = 32


class Hessian:
    """d^2 loss/d theta^2 at theta, (n, n), without weight decay; indefinite across layers.

    H v is the gradient of v.(grad loss): the graph of the gradient is kept and walked for each vector
    (Pearlmutter, Neural Computation 6 (1994)).
    """

    semidefinite = False

    def __init__(self, objective: Objective, theta: Tensor) -> None:
        self.size = theta.numel()
        self._leaf = theta.detach().clone().requires_grad_()
        with torch.enable_grad():
            loss = objective.loss.value(objective.outputs(self._leaf), objective.targets)
            (self._gradient,) = torch.autograd.grad(loss, self._leaf, create_graph=True)

    def product(self, vectors: Tensor) -> Tensor:
        """H V for V of shape (n, k)."""
        if not self._gradient.requires_grad:  # a loss that is linear in theta
            return torch.zeros_like(vectors)
        return batched_gradient(self._gradient, [self._leaf], vectors.T)[0].T

    def dense(self) -> Tensor:
        """H as a symmetric (n, n) tensor, 32 columns at a time."""
        identity = torch.eye(self.size, dtype=torch.float64, device=self._leaf.device)
        columns = torch.cat([self.product(part) for part in identity.split(COLUMNS_AT_ONCE, dim=1)], dim=1)
        return 0.5 * (columns + columns.T)
