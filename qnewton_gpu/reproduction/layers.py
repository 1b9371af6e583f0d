"""The curvature of each Linear layer on its own, matrix-free or as a matrix, and the exact solution of its system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch

from ..curvature.base import Objective, batched_gradient
from ..curvature.linear_layers import LinearLayer, LinearLayers
from ..errors import UnknownNameError, UnsupportedModelError

Tensor = torch.Tensor
CURVATURES = ("hessian", "fisher")
ROW_SHARES = (0.5, 0.75, 0.9, 0.95)
"""Of a row's absolute sum: the released code of the paper counts the entries that carry these."""


@dataclass(frozen=True, eq=False)
class LayerCurvature:
    """H = (1/B) sum_b M_b x (h_b h_b^t), (n, n), of the weight and bias of one Linear layer, positive semidefinite.

    h_b is the layer's input with a one appended for the bias, M_b = D_b^t D_b, (out, out). For the Hessian D_b is
    L_b^t d outputs/d layer output, (C, out), with L_b L_b^t the Hessian of the loss by the outputs: in a network of
    Linear layers and ReLU the outputs are piecewise linear in the parameters of one layer, so that the Gauss-Newton
    block is the Hessian block wherever the Hessian exists. For the empirical Fisher D_b is the gradient of the
    example's loss by the layer's output, one row.
    """

    name: str
    place: slice
    factor: LinearLayer = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.factor.index)

    @cached_property
    def _coupling(self) -> Tensor:
        """M, (B, out, out)."""
        return self.factor.delta.transpose(1, 2) @ self.factor.delta

    @property
    def _shape(self) -> tuple[int, int]:
        """(out, inputs of the layer and the bias)."""
        return self.factor.delta.shape[2], self.factor.inputs.shape[1]

    def product(self, vectors: Tensor) -> Tensor:
        """H V, (n, k), for V of shape (n, k)."""
        (out, fan_in), k, h = self._shape, vectors.shape[1], self.factor.inputs
        by_input = vectors[self.factor.index].view(out, fan_in, k).transpose(0, 1).reshape(fan_in, out * k)
        middle = self._coupling @ (h @ by_input).view(len(h), out, k)
        result = torch.empty_like(vectors)
        result[self.factor.index] = (
            (h.T @ middle.reshape(len(h), out * k)).view(fan_in, out, k).transpose(0, 1).reshape(-1, k)
        )
        return result

    @property
    def product_flops(self) -> float:
        """Of one product: two products of B x inputs x out, and the coupling of the outputs between them."""
        out, fan_in = self._shape
        return 2.0 * len(self.factor.inputs) * out * (2 * fan_in + out)

    def dense(self) -> Tensor:
        """H as an (n, n) matrix."""
        return self._layers.gram()

    @property
    def dense_flops(self) -> float:
        return self._layers.gram_flops

    @property
    def _layers(self) -> LinearLayers:
        return LinearLayers([self.factor], self.size)

    @cached_property
    def diagonal(self) -> Tensor:
        """The n diagonal entries; the largest of them is max|H|, because |H_ij|^2 <= H_ii H_jj."""
        coupling = torch.diagonal(self._coupling, dim1=1, dim2=2)
        result = torch.empty(self.size, dtype=torch.float64)
        result[self.factor.index] = (coupling.T @ self.factor.inputs**2).reshape(-1)
        return result

    @cached_property
    def largest_entry(self) -> float:
        return float(self.diagonal.max())

    @cached_property
    def largest_eigenvalue(self) -> float:
        """lambda_max: subspace iteration with 6 columns until the Ritz value stands still to 1e-7."""
        q = torch.randn(self.size, min(6, self.size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        ritz = 0.0
        for _ in range(500):
            q = torch.linalg.qr(q).Q
            image = self.product(q)
            before, ritz = ritz, float(torch.linalg.eigvalsh(q.T @ image)[-1])
            if ritz - before <= 1e-7 * ritz:
                break
            q = image
        return ritz

    def rows(self, indices: Tensor) -> Tensor:
        """Rows of H, (len(indices), n), by products."""
        unit = torch.zeros(self.size, len(indices), dtype=torch.float64)
        unit[indices, torch.arange(len(indices))] = 1.0
        return self.product(unit).T

    def kronecker_inverse(self, damping: float) -> Callable[[Tensor], Tensor]:
        """v -> (S x A + damping I)^-1 v, S = (1/B) sum_b M_b, A = (1/B) sum_b h_b h_b^t: K-FAC's approximation of H.

        Source: Martens and Grosse, arXiv 1503.05671.
        """
        h, index = self.factor.inputs, self.factor.index
        a, inner = torch.linalg.eigh(h.T @ h / len(h))
        s, outer = torch.linalg.eigh(self._coupling.sum(dim=0))  # the factor already carries the 1/B
        scale = 1 / (s.clamp(min=0)[:, None] * a.clamp(min=0) + damping)

        def apply(vector: Tensor) -> Tensor:
            rotated = outer.T @ vector[index].view(self._shape) @ inner
            result = torch.empty_like(vector)
            result[index] = (outer @ (rotated * scale) @ inner.T).reshape(-1)
            return result

        return apply

    def solve(self, rhs: Tensor, damping: float, tolerance: float = 1e-8) -> tuple[Tensor, float]:
        """x of (H + damping I) x = rhs and its relative residual: conjugate gradients, K-FAC as the preconditioner."""

        def product(vector: Tensor) -> Tensor:
            return self.product(vector[:, None])[:, 0] + damping * vector

        return conjugate_gradients(product, rhs, self.kronecker_inverse(damping), tolerance)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    rhs: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tolerance: float,
    most: int = 20_000,
) -> tuple[Tensor, float]:
    """x with ||rhs - A x||/||rhs|| <= tolerance, and that residual, recomputed, after at most `most` products.

    Source: Hestenes and Stiefel (1952).
    """
    x, r = torch.zeros_like(rhs), rhs.clone()
    z = precondition(r)
    p, rz = z, r.dot(z)
    for _ in range(most):
        if r.norm() <= tolerance * rhs.norm():
            break
        image = product(p)
        length = rz / p.dot(image)
        x, r = x + length * p, r - length * image
        z = precondition(r)
        before, rz = rz, r.dot(z)
        p = z + rz / before * p
    return x, float((rhs - product(x)).norm() / rhs.norm().clamp(min=torch.finfo(rhs.dtype).tiny))


def layer_curvatures(objective: Objective, theta: Tensor, kind: str) -> list[LayerCurvature]:
    """The Hessian or empirical Fisher block of every layer at theta; raises UnknownNameError, UnsupportedModelError."""
    if kind not in CURVATURES:
        raise UnknownNameError.among("kind", kind, CURVATURES)
    with torch.enable_grad():
        outputs, calls = objective.outputs_and_calls(theta.detach().clone().requires_grad_())
        if set(calls) != set(objective.parameters.layers()):
            raise UnsupportedModelError("model", "has layers other than Linear", "Pass a network of Linear layers")
        if kind == "hessian":
            root = objective.loss.root(outputs.detach(), objective.targets)
            unit = torch.eye(outputs.shape[1], dtype=torch.float64)
            directions = root.apply(unit[:, None, :].expand(-1, len(outputs), -1))
        else:
            (slope,) = torch.autograd.grad(objective.loss.value(outputs, objective.targets), outputs, retain_graph=True)
            directions = slope[None] * len(outputs) ** 0.5  # the mean's slopes are 1/B of the examples'
        deltas = batched_gradient(outputs, [seen[0][1] for seen in calls.values()], directions)
    slices, layers = objective.parameters.slices(), objective.parameters.layers()

    def local(layer: str, kind: str) -> slice:
        part, start = slices[f"{layer}.{kind}"], layers[layer].start
        return slice(part.start - start, part.stop - start)

    return [
        LayerCurvature(
            name,
            layers[name],
            LinearLayer.of(
                seen[0][0].detach(), delta.transpose(0, 1).detach(), local(name, "weight"), local(name, "bias")
            ),
        )
        for (name, seen), delta in zip(calls.items(), deltas, strict=True)
    ]


def row_mass(rows: Tensor) -> dict[float, float]:
    """Mean over the rows of the fraction of their n entries that carries 50, 75, 90, 95 % of their absolute sum.

    Rows of zeros (pixels that are never lit) are left out: they carry nothing. rows: (k, n). {} where all are zero.
    """
    magnitudes = rows.abs()[rows.abs().sum(1) > 0].sort(dim=1, descending=True).values
    if not len(magnitudes):
        return {}
    reached = magnitudes.cumsum(1) / magnitudes.sum(1, keepdim=True)
    # rounding must not push the last entry below its share
    return {q: float(((reached < q - 1e-12).sum(1) + 1).double().mean()) / rows.shape[1] for q in ROW_SHARES}
