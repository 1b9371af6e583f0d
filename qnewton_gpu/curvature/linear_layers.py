"""The Gauss-Newton factor of Linear layers in closed form: every row of G is an outer product, delta x h."""

from __future__ import annotations

from dataclasses import dataclass

import torch

Tensor = torch.Tensor
LARGEST_TABLE = 1 << 24  # entries of the products of inputs that are held at once


@dataclass(frozen=True)
class LinearLayer:
    """inputs h, (B, in), with a one for the bias; delta, (B, C, out), G at the layer's output; index of (out, in)."""

    inputs: Tensor
    delta: Tensor
    index: Tensor
    """Place in the block's vector of the parameter (o, i), flat."""

    @classmethod
    def of(cls, h: Tensor, delta: Tensor, weight: slice | None, bias: slice | None) -> LinearLayer:
        """From the input and delta of a layer, and where its weight and bias lie, if they are trained."""
        out = delta.shape[2]
        inputs, index = [], []
        if weight is not None:
            inputs.append(h)
            index.append(torch.arange(weight.start, weight.stop).view(out, -1))
        if bias is not None:
            inputs.append(torch.ones_like(h[:, :1]))
            index.append(torch.arange(bias.start, bias.stop).view(out, 1))
        return cls(torch.cat(inputs, dim=1), delta.contiguous(), torch.cat(index, dim=1).reshape(-1).to(h.device))

    def rows(self) -> Tensor:
        """This layer's columns of G, (B C, out * in)."""
        return (self.delta[..., None] * self.inputs[:, None, None, :]).flatten(0, 1).flatten(1)

    def pull(self, rows: Tensor) -> Tensor:
        """This layer's part of G^t U, (out * in, k), for U of shape (B, C, k)."""
        (batch, fan_in), out, k = self.inputs.shape, self.delta.shape[2], rows.shape[2]
        weighted = (self.delta.transpose(1, 2) @ rows).reshape(batch, out * k)
        return (self.inputs.T @ weighted).view(fan_in, out, k).transpose(0, 1).reshape(-1, k)


class LinearLayers:
    """G, (m, n) with m = B C, of all the layers of a block."""

    def __init__(self, layers: list[LinearLayer], size: int) -> None:
        self.layers, self.size = layers, size

    def pull(self, vectors: Tensor) -> Tensor:
        """G^t U, (n, k), for U of shape (m, k)."""
        batch, classes, _ = self.layers[0].delta.shape
        rows = vectors.reshape(batch, classes, -1)
        result = torch.empty(self.size, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
        for layer in self.layers:
            result[layer.index] = layer.pull(rows)
        return result

    def rows(self) -> Tensor:
        """G, (m, n)."""
        batch, classes, _ = self.layers[0].delta.shape
        result = self.layers[0].delta.new_empty(batch * classes, self.size)
        for layer in self.layers:
            result[:, layer.index] = layer.rows()
        return result

    @property
    def frobenius_squared(self) -> float:
        """sum_l sum_b ||h_l||^2 ||delta_l||^2, the bias counted in h."""
        return sum(float((x.inputs**2).sum(-1) @ (x.delta**2).sum(dim=(1, 2))) for x in self.layers)

    def gram(self) -> Tensor:
        """G^t G, (n, n), pair by pair of layers."""
        total = torch.empty(self.size, self.size, dtype=torch.float64, device=self.layers[0].inputs.device)
        for i, first in enumerate(self.layers):
            for second in self.layers[: i + 1]:
                block = _pair(first, second)
                total[first.index[:, None], second.index] = block
                total[second.index[:, None], first.index] = block.T
        return total

    @property
    def gram_flops(self) -> float:
        """2 B (out out') (in in') for every pair of layers: (out in) parameters times (out' in')."""
        pairs = ((a, b) for i, a in enumerate(self.layers) for b in self.layers[: i + 1])
        return sum(2.0 * len(a.inputs) * len(a.index) * len(b.index) for a, b in pairs)

    @property
    def gram_bytes(self) -> float:
        """Written by `gram`: B (out out' + in in') products of deltas and inputs a pair, and the matrix twice."""
        pairs = ((a, b) for i, a in enumerate(self.layers) for b in self.layers[: i + 1])
        entries = sum(
            len(a.inputs) * (a.inputs.shape[1] * b.inputs.shape[1] + a.delta.shape[2] * b.delta.shape[2])
            for a, b in pairs
        )
        return 8.0 * (entries + 2 * self.size**2)


def _pair(first: LinearLayer, second: LinearLayer) -> Tensor:
    """sum_b (sum_c delta delta'^t)_b x (h h'^t)_b: the Kronecker structure makes it one product over the examples."""
    outs, ins = (first.delta.shape[2], second.delta.shape[2]), (first.inputs.shape[1], second.inputs.shape[1])
    total = torch.zeros(outs[0] * outs[1], ins[0] * ins[1], dtype=torch.float64, device=first.inputs.device)
    at_once = max(1, LARGEST_TABLE // (ins[0] * ins[1]))
    for start in range(0, len(first.inputs), at_once):
        part = slice(start, start + at_once)
        deltas = (first.delta[part].transpose(1, 2) @ second.delta[part]).flatten(1)
        inputs = (first.inputs[part, :, None] * second.inputs[part, None, :]).flatten(1)
        total.addmm_(deltas.T, inputs)
    return total.view(*outs, *ins).permute(0, 2, 1, 3).reshape(outs[0] * ins[0], outs[1] * ins[1])
