"""K-FAC: for every Linear or Conv2d layer a Kronecker product G (x) A that stands for its Gauss-Newton block."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import UnknownNameError, UnsupportedModelError
from .base import Objective, batched_gradient
from .gauss_newton import GaussNewton
from .layer_sums import KINDS, LayerSums, owned_layers, unsupported

Tensor = torch.Tensor
SHARINGS = ("expand", "reduce")
LARGEST_TABLE = 1 << 24  # entries of inputs and output gradients that are held at once
LARGEST_RATIO = 1e8


@dataclass(frozen=True)
class KroneckerLayer:
    """The factors of one layer: its block of the curvature, in the order (o, i) of the flat weight, is G (x) A.

    A, (i, i), is `inputs` and G, (o, o), is `outputs`: both symmetric, positive semidefinite, FP64. Where the layer has
    a trained bias, it is the last of the i columns, of the constant input 1. `weight` and `bias` say where they lie in
    the flat parameter vector; None where they are not trained.
    """

    name: str
    inputs: Tensor
    outputs: Tensor
    weight: slice | None
    bias: slice | None

    @property
    def shape(self) -> tuple[int, int]:
        """(o, i), the bias counted as an input."""
        return self.outputs.shape[0], self.inputs.shape[0]

    def gradient(self, g: Tensor) -> Tensor:
        """This layer's part of a flat vector (n,) as an (o, i) matrix."""
        return torch.cat([g[part].view(self.shape[0], -1) for part in (self.weight, self.bias) if part], dim=1)

    def scatter(self, matrix: Tensor, into: Tensor) -> None:
        """Write an (o, i) matrix to this layer's place in a flat vector (n,): the inverse of `gradient`."""
        if self.weight:
            into[self.weight] = matrix[:, : self.shape[1] - bool(self.bias)].reshape(-1)
        if self.bias:
            into[self.bias] = matrix[:, -1]

    def shifts(self, damping: float) -> tuple[float, float]:
        """(pi sqrt(damping), sqrt(damping)/pi): what `damped` adds to the diagonals of A and of G.

        pi^2 = (tr A/i)/(tr G/o), so that both factors are damped in proportion to their mean eigenvalue; it is kept
        between 1e-8 and 1e8, and is 1 where both factors are zero, so that a dead layer (G = 0) has a definite block,
        too. As A and G are semidefinite, each shift is a lower bound on the eigenvalues of its damped factor.
        Source: Martens and Grosse, arXiv 1503.05671, section 6.3.
        """
        A, G = (float(factor.diagonal().mean()) for factor in (self.inputs, self.outputs))
        ratio = 1.0 if A == G else LARGEST_RATIO if G == 0 else (A / G) ** 0.5
        ratio = min(max(ratio, 1 / LARGEST_RATIO), LARGEST_RATIO)
        return ratio * damping**0.5, damping**0.5 / ratio

    def damped(self, damping: float) -> tuple[Tensor, Tensor]:
        """(A + pi sqrt(damping) I, G + sqrt(damping)/pi I), for a damping > 0 that includes weight decay: see `shifts`.

        Their product is G (x) A + damping I and two cross terms, which are semidefinite.
        """
        A, G = self.inputs.clone(), self.outputs.clone()
        for factor, shift in zip((A, G), self.shifts(damping), strict=True):
            factor.diagonal().add_(shift)
        return A, G


class KroneckerFactored:
    """K-FAC at theta: `layers` hold the factors, `product` and `dense` are those of the exact Gauss-Newton matrix.

    A layer with weight W maps inputs x_(b,t) to W x_(b,t) at T places t of each of B examples (T = 1 for vectors, the
    positions of a sequence or an image else). With g_(b,c,t), the gradient at its output of column c of the root L of
    the loss's Hessian (L L^t = Hessian, so that all classes count exactly: "type 2"),
        expand: A = 1/(B T) sum_(b,t) x x^t,           G = 1/B sum_(b,c,t) g g^t,
        reduce: A = 1/B sum_b (mean_t x)(mean_t x)^t,  G = 1/B sum_(b,c) (sum_t g)(sum_t g)^t.
    G (x) A is the Gauss-Newton block itself for T = 1 if there is one example, or if g does not depend on the example
    (a linear network with squared error). Each group of a grouped convolution is a layer of its own.

    Every trained parameter has to belong to one Linear or Conv2d layer that is called once in a forward pass, with the
    batch as first axis; anything else raises UnsupportedModelError. Examples are taken a few at a time, 2^24 entries.
    Source: Martens and Grosse, arXiv 1503.05671; Eschenhagen et al., arXiv 2311.00636 (expand and reduce).
    """

    semidefinite = True

    def __init__(self, objective: Objective, theta: Tensor, sharing: str = "expand") -> None:
        if sharing not in SHARINGS:
            raise UnknownNameError.among("sharing", sharing, SHARINGS)
        self.objective, self.sharing = objective, sharing
        sums = owned_layers(objective)
        self.network = GaussNewton(objective, theta)
        self.size = self.network.size
        self._add_examples(sums)
        self.layers = [KroneckerLayer(*parts) for one in sums for parts in one.means(self.network.batch)]
        self._check([probe for one in sums for probe in one.probe])

    def _add_examples(self, sums: list[LayerSums]) -> None:
        """Every example into the sums, with a random direction u beside the columns of the loss root: the probe."""
        leaf = self.network.theta.detach().clone().requires_grad_()
        u, _ = self.network.probe
        batch, classes = self.network.batch, self.network.classes
        unit = torch.eye(classes, dtype=torch.float64, device=leaf.device)[:, None, :]
        at_once = max(1, LARGEST_TABLE // self._entries_of_one(leaf, sums))
        for start in range(0, batch, at_once):
            which = slice(start, min(start + at_once, batch))
            columns = torch.cat([unit.expand(-1, which.stop - start, -1), u.view(1, batch, classes)[:, which]])
            directions = self.network.root.part(which).apply(columns)
            with torch.enable_grad():
                outputs, calls = self.objective.outputs_and_calls(leaf, KINDS, self.objective.inputs[which])
                gradients = batched_gradient(outputs, [calls[one.name][0][1] for one in sums], directions)
            for one, g in zip(sums, gradients, strict=True):
                one.add(calls[one.name][0][0].detach(), g.detach(), self.sharing)

    def _check(self, probes: list[Tensor]) -> None:
        """Raise UnsupportedModelError where the gradient along u by the layers is not that of the whole network."""
        _, expected = self.network.probe
        found = torch.zeros_like(expected[:, 0])
        for layer, probe in zip(self.layers, probes, strict=True):
            layer.scatter(probe, found)
        same = torch.isclose(found, expected[:, 0], rtol=1e-9, atol=1e-11 * float(expected.abs().max()))
        for name, part in self.objective.parameters.slices().items():
            if not same[part].all():
                raise unsupported(name, "is used outside its layer's own call")

    def _entries_of_one(self, leaf: Tensor, sums: list[LayerSums]) -> int:
        """Entries that one example puts into the tables; raises UnsupportedModelError where they would be wrong."""
        with torch.enable_grad():
            outputs, calls = self.objective.outputs_and_calls(leaf, KINDS, self.objective.inputs[:1])
            ends = []
            for one in sums:
                seen = calls.get(one.name, [])
                if len(seen) != 1:
                    raise unsupported(one.trained[0], f"is in a layer that is called {len(seen)} times a forward pass")
                if seen[0][0].dim() == 1 or len(seen[0][0]) != 1:
                    raise unsupported(
                        one.trained[0], "is in a layer whose inputs have another first axis than the batch"
                    )
                ends.append(seen[0][1])
            alone, among = outputs.detach(), self.network.outputs[:1].detach()
            if (alone - among).abs().max() > 1e-7 * among.abs().max():
                raise UnsupportedModelError("model", "mixes the examples of a batch", "Use layers that do not")
            slopes = torch.autograd.grad(outputs.sum(), ends, allow_unused=True)
        for one, slope in zip(sums, slopes, strict=True):
            if slope is None:
                raise unsupported(one.trained[0], "does not enter the outputs")
        return sum(one.entries(end, self.network.classes + 1) for one, end in zip(sums, ends, strict=True))

    def product(self, vectors: Tensor) -> Tensor:
        """GGN V, (n, k), for V of shape (n, k)."""
        return self.network.product(vectors)

    def dense(self) -> Tensor:
        """GGN as an (n, n) tensor."""
        return self.network.dense()

    def block_dense(self) -> Tensor:
        """What K-FAC puts in the place of GGN, (n, n): G (x) A for each layer, and zero between layers."""
        total = torch.zeros(self.size, self.size, dtype=torch.float64, device=self.network.theta.device)
        for layer in self.layers:
            index = layer.gradient(torch.arange(self.size, device=total.device)).reshape(-1)
            total[index[:, None], index] = torch.kron(layer.outputs, layer.inputs)
        return total
