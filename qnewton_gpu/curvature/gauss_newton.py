"""The generalised Gauss-Newton matrix through its factor: GGN = G^t G, G = L^t J/sqrt(B), J the network's Jacobian."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch

from ..errors import UnsupportedModelError
from .base import Objective, batched_gradient
from .linear_layers import LinearLayer, LinearLayers

Tensor = torch.Tensor


class GaussNewton:
    """GGN at theta, (n, n), positive semidefinite, for all parameters or for one block of them (a layer).

    The factor G has shape (m, n) with m = B C rows, one for each output of each example. Everything is FP64. The
    graph of one forward and one backward pass is kept, and products walk it: J^t u backwards, J v as the derivative of
    v.(J^t u) by u. Where all trained layers are Linear, ||G||_F and G^t G have a closed form.
    Source: Schraudolph, Neural Computation 14 (2002).
    """

    semidefinite = True

    def __init__(self, objective: Objective, theta: Tensor, block: slice | None = None) -> None:
        self.objective, self.theta = objective, theta
        self.block = block or slice(0, theta.numel())
        self.size = self.block.stop - self.block.start
        self._leaf = theta[self.block].detach().clone().requires_grad_()
        with torch.enable_grad():
            self.outputs, self._calls = objective.outputs_and_calls(self._embed(self._leaf))
            self._dual = torch.zeros_like(self.outputs, requires_grad=True)
            (self._backward,) = torch.autograd.grad(self.outputs, self._leaf, self._dual, create_graph=True)
        self.root = objective.loss.root(self.outputs.detach(), objective.targets)
        self.batch, self.classes = self.outputs.shape
        self.shape = (self.batch * self.classes, self.size)

    def _embed(self, part: Tensor) -> Tensor:
        """theta with this block replaced."""
        if part.numel() == self.theta.numel():
            return part
        return torch.cat([self.theta[: self.block.start], part, self.theta[self.block.stop :]])

    def _jacobian(self, vectors: Tensor) -> Tensor:
        """J V, (k, B, C), for V of shape (n, k)."""
        return batched_gradient(self._backward, [self._dual], vectors.T)[0]

    def _transposed_jacobian(self, rows: Tensor) -> Tensor:
        """J^t U, (n, k), for U of shape (k, B, C)."""
        return batched_gradient(self.outputs, [self._leaf], rows)[0].T

    def push(self, vectors: Tensor) -> Tensor:
        """G V, (m, k), for V of shape (n, k)."""
        return self.root.transposed(self._jacobian(vectors)).reshape(vectors.shape[1], -1).T

    def pull(self, vectors: Tensor) -> Tensor:
        """G^t U, (n, k), for U of shape (m, k)."""
        return self._transposed_jacobian(self.root.apply(vectors.T.reshape(-1, self.batch, self.classes)))

    def product(self, vectors: Tensor) -> Tensor:
        """G^t G V, (n, k)."""
        return self._transposed_jacobian(self.root.apply(self.root.transposed(self._jacobian(vectors))))

    def residual(self) -> Tensor:
        """r, (m,), with G^t r = gradient of the loss (without weight decay)."""
        return self.root.residual().reshape(-1)

    @cached_property
    def frobenius_squared(self) -> float:
        """||G||_F^2 = tr(GGN), exact: from the closed form, else from every row of G."""
        if self._closed_form is not None:
            return self._closed_form.frobenius_squared
        return sum(float((rows**2).sum()) for rows in self._row_chunks())

    def dense(self) -> Tensor:
        """GGN as an (n, n) tensor."""
        if self._closed_form is not None:
            return self._closed_form.gram()
        total = torch.zeros(self.size, self.size, dtype=torch.float64, device=self.theta.device)
        for rows in self._row_chunks():
            total.addmm_(rows.T, rows)
        return total

    def rows(self) -> Tensor:
        """G as an (m, n) tensor."""
        if self._closed_form is not None:
            return self._closed_form.rows()
        return torch.cat(list(self._row_chunks()))

    @property
    def dense_flops(self) -> float:
        """Floating-point operations of `dense`."""
        return self._closed_form.gram_flops if self._closed_form is not None else float(self.shape[0]) * self.size**2

    @property
    def dense_bytes(self) -> float:
        """Written by `dense`: tables of the closed form or the rows of G, and the matrix twice."""
        if self._closed_form is not None:
            return self._closed_form.gram_bytes
        return 8.0 * (self.shape[0] * self.size + 2 * self.size**2)

    @property
    def product_flops(self) -> float:
        """Of one product with GGN: a forward and a backward pass at twice their usual cost, 8 B n for dense layers."""
        return 8.0 * self.batch * self.size

    @property
    def product_bytes(self) -> float:
        """Of one product with GGN: inputs, outputs and parameters are read in both passes."""
        return 16.0 * (self.objective.inputs.numel() + 2 * self.shape[0] + 2 * self.size)

    def _row_chunks(self) -> Iterator[Tensor]:
        """The rows of G, (examples * C, n), a few examples at a time; raises where they are not the batch's."""
        u, expected = self.probe
        image = torch.zeros_like(expected)
        for inputs, which in self.objective.example_chunks():
            rows = self._general_rows(inputs, which).reshape(-1, self.size)
            image += rows.T @ u[which.start * self.classes : which.stop * self.classes]
            yield rows
        if not self.close(image, expected):
            remedy = "Use layers that treat each example on its own, as LayerNorm does"
            raise UnsupportedModelError("model", "mixes the examples of a batch", remedy)

    def _general_rows(self, inputs: Tensor, which: slice) -> Tensor:
        part = self._leaf.detach()

        def outputs(p: Tensor, example: Tensor) -> Tensor:
            return self.objective.outputs(self._embed(p), example[None])[0]

        try:
            jacobians = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(None, 0))(part, inputs).detach()
        except RuntimeError:  # layers without a batching rule: one example at a time
            unit = torch.eye(self.classes, dtype=torch.float64, device=part.device)
            with torch.enable_grad():
                each = [batched_gradient(outputs(self._leaf, x), [self._leaf], unit)[0] for x in inputs]
            jacobians = torch.stack(each)
        return self.root.part(which).transposed(jacobians.permute(2, 0, 1)).permute(1, 2, 0)

    @cached_property
    def probe(self) -> tuple[Tensor, Tensor]:
        """A random u, (m, 1), and G^t u of the whole batch: what every other way to G has to give."""
        generator = torch.Generator().manual_seed(0)
        u = torch.randn(self.shape[0], 1, generator=generator, dtype=torch.float64).to(self.theta.device)
        return u, self.pull(u)

    @staticmethod
    def close(image: Tensor, expected: Tensor) -> bool:
        """Whether another way to G^t u gives the same up to rounding."""
        return torch.allclose(image, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))

    @cached_property
    def _closed_form(self) -> LinearLayers | None:
        """G in closed form, if every parameter of this block belongs to a Linear layer called once, on vectors."""
        slices = self.objective.parameters.slices()
        inside = {name: part for name, part in slices.items() if self.block.start <= part.start < self.block.stop}
        calls = {n: seen for n, seen in self._calls.items() if f"{n}.weight" in inside or f"{n}.bias" in inside}
        owned = {f"{name}.{kind}" for name in calls for kind in ("weight", "bias")}
        alone = all(len(seen) == 1 and seen[0][0].dim() == 2 for seen in calls.values())
        if not alone or not set(inside) <= owned:
            return None
        unit = torch.eye(self.classes, dtype=torch.float64, device=self.theta.device)
        directions = self.root.apply(unit[:, None, :].expand(-1, self.batch, -1))
        deltas = batched_gradient(self.outputs, [seen[0][1] for seen in calls.values()], directions)

        def local(name: str) -> slice | None:
            part = inside.get(name)
            return slice(part.start - self.block.start, part.stop - self.block.start) if part else None

        layers = [
            LinearLayer.of(seen[0][0].detach(), delta.transpose(0, 1), local(f"{name}.weight"), local(f"{name}.bias"))
            for (name, seen), delta in zip(calls.items(), deltas, strict=True)
        ]
        closed = LinearLayers(layers, self.size)
        u, expected = self.probe  # differs where a weight is also used outside its layer's own call
        return closed if self.close(closed.pull(u), expected) else None
