"""The empirical Fisher matrix: the mean of the outer products of the examples' gradients."""

from __future__ import annotations

from functools import cached_property

import torch
from torch.func import grad, vmap

from .base import Objective

Tensor = torch.Tensor


class EmpiricalFisher:
    """F = (1/B) sum_b g_b g_b^t at theta, (n, n), positive semidefinite, g_b the gradient of example b's loss."""

    semidefinite = True

    def __init__(self, objective: Objective, theta: Tensor) -> None:
        self.objective, self.theta, self.size = objective, theta, theta.numel()

    @cached_property
    def factor(self) -> Tensor:
        """G of shape (B, n) with F = G^t G."""
        objective = self.objective

        def example_loss(theta: Tensor, example: Tensor, target: Tensor) -> Tensor:
            return objective.loss.each(objective.outputs(theta, example[None])[0], target)

        gradients = vmap(grad(example_loss), in_dims=(None, 0, 0))
        rows = [gradients(self.theta, inputs, objective.targets[which]) for inputs, which in objective.example_chunks()]
        return torch.cat(rows).detach() / objective.inputs.shape[0] ** 0.5

    def product(self, vectors: Tensor) -> Tensor:
        """F V for V of shape (n, k)."""
        return self.factor.T @ (self.factor @ vectors)

    def dense(self) -> Tensor:
        return self.factor.T @ self.factor
