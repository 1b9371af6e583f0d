"""Second moments of what enters a Linear or Conv2d layer and of the gradients at its output, summed over examples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from ..errors import UnsupportedModelError
from .base import Objective

Tensor = torch.Tensor
KINDS = (torch.nn.Linear, torch.nn.Conv2d)


def unsupported(parameter: str, problem: str) -> UnsupportedModelError:
    remedy = "Use curvature='ggn', which takes any model, or freeze it with requires_grad_(False)"
    return UnsupportedModelError("model", f"parameter {parameter!r} {problem}", remedy)


class LayerSums:
    """A layer W x_(b,t) at places t: sums of x x^t, (k, i, i), and g g^t, (k, o, o), for each of its k groups.

    The last column of x is 1 where a bias is trained. Of the gradients g one more set, a probe's, gives
    sum_(b,t) g x^t, (k, o, i): its gradient by the weight, if the layer does what is assumed here.
    """

    def __init__(self, name: str, module: torch.nn.Linear | torch.nn.Conv2d, places: dict[str, slice]) -> None:
        self.name, self.module = name, module
        self.weight, self.bias = (places.get(f"{name}.{kind}".lstrip(".")) for kind in ("weight", "bias"))
        self.groups = module.groups if isinstance(module, torch.nn.Conv2d) else 1
        self.width = module.weight[0].numel() * (self.weight is not None) + (self.bias is not None)
        self.height = module.weight.shape[0] // self.groups
        zeros = module.weight.new_zeros
        k, o, i = self.groups, self.height, self.width
        self.inputs, self.outputs, self.probe = (
            zeros(k, *shape, dtype=torch.float64, requires_grad=False) for shape in ((i, i), (o, o), (o, i))
        )

    @property
    def trained(self) -> list[str]:
        """The names of its trained parameters."""
        parts = {"weight": self.weight, "bias": self.bias}
        return [f"{self.name}.{kind}".lstrip(".") for kind, part in parts.items() if part is not None]

    def entries(self, output: Tensor, directions: int) -> int:
        """That `add` holds at once for an output of this shape and so many gradients at it."""
        places = output.numel() // (self.groups * self.height)
        return self.groups * places * (self.width + directions * self.height)

    def add(self, inputs: Tensor, gradients: Tensor, sharing: str) -> None:
        """Add some examples: the layer's inputs, and the gradients at its output, of which the last is the probe's."""
        x, g = self._uses(inputs), self._uses_of_outputs(gradients)
        self.probe += torch.einsum("btko,btki->koi", g[-1], x)
        g = g[:-1]
        if sharing == "reduce":
            x, g = x.mean(dim=1, keepdim=True), g.sum(dim=2, keepdim=True)
        share = 1 / x.shape[1]
        x, g = x.flatten(0, 1).transpose(0, 1), g.flatten(0, 2).transpose(0, 1)
        self.inputs.baddbmm_(x.mT, x, alpha=share)
        self.outputs.baddbmm_(g.mT, g)

    def _uses(self, inputs: Tensor) -> Tensor:
        """x: the vectors that the weights of each group multiply, (B, T, k, i)."""
        parts, module = [], self.module
        if isinstance(module, torch.nn.Conv2d):
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            padded = F.pad(inputs, module._reversed_padding_repeated_twice, mode)
            x = F.unfold(padded, module.kernel_size, module.dilation, 0, module.stride).mT
        else:
            x = inputs.flatten(1, -2) if inputs.dim() > 2 else inputs[:, None]
        x = x.unflatten(-1, (self.groups, -1))
        if self.weight is not None:
            parts.append(x)
        if self.bias is not None:
            parts.append(torch.ones_like(x[..., :1]))
        return torch.cat(parts, dim=-1)

    def _uses_of_outputs(self, gradients: Tensor) -> Tensor:
        """g at the outputs of each group, (C, B, T, k, o)."""
        if isinstance(self.module, torch.nn.Conv2d):
            g = gradients.flatten(3).mT
        else:
            g = gradients.flatten(2, -2) if gradients.dim() > 3 else gradients[:, :, None]
        return g.unflatten(-1, (self.groups, -1))

    def means(self, examples: int) -> Iterator[tuple[str, Tensor, Tensor, slice | None, slice | None]]:
        """For each group its name, A, G (see KroneckerFactored), and where its weight and bias lie."""
        for k in range(self.groups):
            name = (self.name or "model") + (f"[{k}]" if self.groups > 1 else "")
            A, G = self.inputs[k] / examples, self.outputs[k]  # the mean over examples is in the loss root already
            yield name, (A + A.T) / 2, (G + G.T) / 2, self._part(self.weight, k), self._part(self.bias, k)

    def _part(self, whole: slice | None, group: int) -> slice | None:
        if whole is None:
            return None
        size = (whole.stop - whole.start) // self.groups
        return slice(whole.start + group * size, whole.start + (group + 1) * size)


def owned_layers(objective: Objective) -> list[LayerSums]:
    """The layers with trained parameters; raises UnsupportedModelError where one belongs to no layer, or to two."""
    model, places = objective.model, objective.parameters.slices()
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if names.setdefault(id(parameter), name) != name and parameter.requires_grad:
            raise unsupported(names[id(parameter)], f"is the same tensor as {name!r}")
    layers = [LayerSums(name, module, places) for name, module in model.named_modules() if isinstance(module, KINDS)]
    layers = [layer for layer in layers if layer.trained]
    owned = {name for layer in layers for name in layer.trained}
    for name in places:
        if name not in owned:
            owner = type(model.get_submodule(name.rpartition(".")[0])).__name__
            raise unsupported(name, f"is in a layer of type {owner}, and only Linear and Conv2d have Kronecker factors")
    return layers
