"""A training objective as a function of one flat FP64 vector of parameters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import DataTypeError, NonFiniteLossError, ShapeError, UnsupportedModelError
from .losses import Loss, as_loss

Tensor = torch.Tensor
EXAMPLES_AT_ONCE = 256
_ONE_AT_A_TIME = threading.Lock()


class ParameterVector:
    """The trainable parameters of a model, in the order of `named_parameters`, as one FP64 vector of length n."""

    def __init__(self, model: torch.nn.Module) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise UnsupportedModelError(
                "model", "has no trainable parameters", "Pass a model with requires_grad parameters"
            )
        self.names = [name for name, _ in named]
        self.tensors = [p for _, p in named]
        self._sizes = [p.numel() for p in self.tensors]
        self.size = sum(self._sizes)

    def vector(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1).to(torch.float64) for p in self.tensors])

    @torch.no_grad()
    def assign(self, theta: Tensor) -> None:
        """Write theta back, in each parameter's own dtype."""
        for p, values in zip(self.tensors, theta.split(self._sizes), strict=True):
            p.copy_(values.view_as(p))

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        parts = theta.split(self._sizes)
        return {name: part.view(p.shape) for name, part, p in zip(self.names, parts, self.tensors, strict=True)}

    def slices(self) -> dict[str, slice]:
        """Where each named parameter lies in the vector."""
        stops = list(accumulate(self._sizes))
        return {n: slice(stop - size, stop) for n, size, stop in zip(self.names, self._sizes, stops, strict=True)}

    def layers(self) -> dict[str, slice]:
        """The slice of each module that owns parameters itself; a module's parameters are neighbours in the vector."""
        blocks: dict[str, slice] = {}
        for name, part in self.slices().items():
            owner = name.rpartition(".")[0] or "model"
            blocks[owner] = slice(blocks.get(owner, part).start, part.stop)
        return blocks


def check_model(model: torch.nn.Module) -> None:
    """Refuse layers whose output for one example depends on the others, or on chance."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if module.training and isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            raise UnsupportedModelError(
                "model",
                f"layer {name!r} ({kind}) mixes the examples of a batch",
                "Call .eval() on it, or use LayerNorm or GroupNorm",
            )
        if module.training and isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p > 0:
            raise UnsupportedModelError(
                "model",
                f"layer {name!r} ({kind}) is random, so a step has no fixed loss to compare",
                "Remove it or call .eval() on it",
            )


def check_batch(inputs: Any, targets: Any) -> None:
    """Refuse what is no batch: both tensors, with one target for each of at least one example."""
    for name, value in (("inputs", inputs), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise DataTypeError(name, f"is a {type(value).__name__}, no tensor", "Convert it with torch.as_tensor")
        if value.dim() == 0 or len(value) == 0:
            raise ShapeError(name, f"is empty, of shape {tuple(value.shape)}", "Pass at least one example")
    if len(inputs) != len(targets):
        raise ShapeError(
            "targets", f"has {len(targets)} examples, inputs has {len(inputs)}", "Pass one target for each"
        )


class Objective:
    """F(theta) = loss(model(inputs; theta), targets) + (weight_decay/2) ||theta||^2, evaluated in FP64."""

    def __init__(
        self, model: torch.nn.Module, loss: Any, inputs: Tensor, targets: Tensor, weight_decay: float = 0.0
    ) -> None:
        check_model(model)
        check_batch(inputs, targets)
        self.model, self.weight_decay = model, weight_decay
        self.parameters = ParameterVector(model)
        self.inputs = inputs.to(torch.float64) if inputs.is_floating_point() else inputs
        self.targets = targets
        self.loss: Loss = as_loss(loss)
        self._constants = {
            name: value.detach().to(torch.float64) if value.is_floating_point() else value
            for name, value in [
                *model.named_buffers(),
                *((n, p) for n, p in model.named_parameters() if not p.requires_grad),
            ]
        }

    def outputs(self, theta: Tensor, inputs: Tensor | None = None) -> Tensor:
        """The network's outputs, (B, C)."""
        inputs = self.inputs if inputs is None else inputs
        # functional_call puts the parameters into the model for a moment, which no other thread may see;
        # the other attention kernels have no second derivative
        with _ONE_AT_A_TIME, sdpa_kernel(SDPBackend.MATH):
            result = functional_call(self.model, {**self._constants, **self.parameters.unflatten(theta)}, (inputs,))
        if not isinstance(result, Tensor):
            kind = type(result).__name__
            raise UnsupportedModelError(
                "model", f"returns a {kind}, not one tensor", "Wrap it so that it returns logits"
            )
        return result.reshape(result.shape[0], -1)

    def check_deterministic(self, theta: Tensor) -> None:
        """Raise UnsupportedModelError where the same parameters give other outputs: random layers."""
        with torch.no_grad():
            if not torch.equal(self.outputs(theta), self.outputs(theta)):
                raise UnsupportedModelError(
                    "model", "gives other outputs each time it is called", "Call .eval() on it: a step compares losses"
                )

    def outputs_and_calls(
        self,
        theta: Tensor,
        kinds: type[torch.nn.Module] | tuple[type[torch.nn.Module], ...] = torch.nn.Linear,
        inputs: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, list[tuple[Tensor, Tensor]]]]:
        """The outputs, and (input, output) of every call of every layer of these kinds on the way, by its name."""
        calls: dict[str, list[tuple[Tensor, Tensor]]] = {}

        def remember(name: str) -> Callable[..., Tensor]:
            def hook(module: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor:
                calls.setdefault(name, []).append((args[0] if args else named["input"], output))
                return output.clone()  # what is remembered stays as it is where an activation works in place

            return hook

        handles = [
            module.register_forward_hook(remember(name), with_kwargs=True)
            for name, module in self.model.named_modules()
            if isinstance(module, kinds)
        ]
        try:
            return self.outputs(theta, inputs), calls
        finally:
            for handle in handles:
                handle.remove()

    def value(self, theta: Tensor) -> Tensor:
        return self._value_of(self.outputs(theta), theta)

    def _value_of(self, outputs: Tensor, theta: Tensor) -> Tensor:
        return self.loss.value(outputs, self.targets) + 0.5 * self.weight_decay * theta.dot(theta)

    def value_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """F and its gradient; raises NonFiniteLossError where either is NaN or infinite."""
        leaf = theta.detach().clone().requires_grad_()
        with torch.enable_grad():
            outputs = self.outputs(leaf)
            self.loss.check(outputs.detach(), self.targets)
            value = self._value_of(outputs, leaf)
            (gradient,) = torch.autograd.grad(value, leaf)
        if not (torch.isfinite(value) and torch.isfinite(gradient).all()):
            raise NonFiniteLossError(
                "loss",
                f"the loss is {value.item()} or its gradient is not finite",
                "Check the inputs; the parameters are unchanged",
            )
        return value.item(), gradient

    def example_chunks(self) -> Iterator[tuple[Tensor, slice]]:
        """The inputs, a few examples at a time, and which they are."""
        for start in range(0, self.inputs.shape[0], EXAMPLES_AT_ONCE):
            part = slice(start, min(start + EXAMPLES_AT_ONCE, self.inputs.shape[0]))
            yield self.inputs[part], part


class Curvature(Protocol):
    """A symmetric matrix C of shape (n, n) that stands for the second derivative of the objective."""

    size: int
    semidefinite: bool

    def product(self, vectors: Tensor) -> Tensor:
        """C V for V of shape (n, k)."""
        ...

    def dense(self) -> Tensor: ...


def batched_gradient(outputs: Tensor, inputs: list[Tensor], directions: Tensor) -> list[Tensor]:
    """Gradients of directions[i].outputs by each input, stacked over i: all at once, or one by one.

    Some layers have no batching rule in torch (recurrent ones, some normalisations): these go one by one.
    """
    try:
        return list(torch.autograd.grad(outputs, inputs, directions, is_grads_batched=True, retain_graph=True))
    except RuntimeError:
        rows = [torch.autograd.grad(outputs, inputs, direction, retain_graph=True) for direction in directions]
        return [torch.stack(parts) for parts in zip(*rows, strict=True)]
