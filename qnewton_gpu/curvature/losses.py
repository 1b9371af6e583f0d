"""Losses that are convex in the network's outputs, with a root L of their Hessian: hessian = L L^t for each example."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F

from ..errors import NonFiniteLossError, ParameterError, ShapeError, UnsupportedModelError

Tensor = torch.Tensor


class Root(Protocol):
    """At given outputs (B, C): products with L/sqrt(B) and its transpose, and r with L r/sqrt(B) = dF/d outputs."""

    def apply(self, u: Tensor) -> Tensor:
        """L u for u of shape (..., B, C), scaled so that sum_b L L^t is the Hessian of the mean loss."""
        ...

    def transposed(self, u: Tensor) -> Tensor: ...

    def residual(self) -> Tensor: ...

    def part(self, examples: slice) -> Root:
        """The same root for some of the examples."""
        ...


class Loss(Protocol):
    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise ShapeError or ParameterError where the targets are none for these outputs."""
        ...

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor: ...
    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of one example, outputs (C,): the mean over examples is `value`."""
        ...

    def root(self, outputs: Tensor, targets: Tensor) -> Root: ...


class CrossEntropy:
    """Mean cross-entropy of softmax outputs: L = diag(sqrt p) - p sqrt(p)^t, as L L^t = diag(p) - p p^t."""

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[None], targets[None])

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        if targets.shape != outputs.shape[:1] or targets.dtype not in (torch.int64, torch.uint8):
            kind = f"have shape {tuple(targets.shape)} and dtype {targets.dtype}"
            raise ShapeError("targets", kind, "Cross-entropy needs one int64 class index for each example")
        smallest, largest = int(targets.min()), int(targets.max())
        if smallest < 0 or largest >= outputs.shape[1]:
            classes = f"classes {smallest} to {largest}, the network has {outputs.shape[1]} outputs"
            raise ParameterError("targets", f"hold {classes}", "Number the classes from 0")

    def root(self, outputs: Tensor, targets: Tensor) -> Root:
        return _SoftmaxRoot(F.log_softmax(outputs, dim=-1), targets, outputs.shape[0] ** -0.5)


class _SoftmaxRoot:
    def __init__(self, log_p: Tensor, targets: Tensor, scale: float) -> None:
        self.log_p, self.targets, self.scale = log_p, targets, scale
        self.p, self.root_p = log_p.exp(), (0.5 * log_p).exp()

    def part(self, examples: slice) -> Root:
        return _SoftmaxRoot(self.log_p[examples], self.targets[examples], self.scale)

    def apply(self, u: Tensor) -> Tensor:
        return self.scale * (self.root_p * u - self.p * (self.root_p * u).sum(-1, keepdim=True))

    def transposed(self, u: Tensor) -> Tensor:
        return self.scale * self.root_p * (u - (self.p * u).sum(-1, keepdim=True))

    def residual(self) -> Tensor:
        """sqrt p - y/sqrt p, from the log-softmax because p_y underflows for a confidently wrong example."""
        chosen = self.log_p.gather(1, self.targets[:, None])
        r = self.root_p.scatter_add(1, self.targets[:, None], -(-0.5 * chosen).exp())
        if not torch.isfinite(r).all():
            raise NonFiniteLossError(
                "loss",
                "an example has probability zero in FP64",
                "Lower the learning rate or raise the damping; the parameters are unchanged",
            )
        return self.scale * r


class MeanSquaredError:
    """Mean of (f - y)^2 over examples and outputs: L = sqrt(2/C) I."""

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - self._shaped(outputs, targets)) ** 2).mean()

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - targets.to(outputs.dtype).reshape(outputs.shape)) ** 2).mean()

    def root(self, outputs: Tensor, targets: Tensor) -> Root:
        return _ScaledIdentity(outputs - self._shaped(outputs, targets), (2 / outputs.numel()) ** 0.5)

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        self._shaped(outputs, targets)

    @staticmethod
    def _shaped(outputs: Tensor, targets: Tensor) -> Tensor:
        if len(targets) != len(outputs) or targets.numel() != outputs.numel():
            raise ShapeError(
                "targets",
                f"have shape {tuple(targets.shape)}, the outputs {tuple(outputs.shape)}",
                "Give one target for each output",
            )
        return targets.to(outputs.dtype).reshape(outputs.shape)


class _ScaledIdentity:
    def __init__(self, difference: Tensor, scale: float) -> None:
        self.difference, self.scale = difference, scale

    def part(self, examples: slice) -> Root:
        return _ScaledIdentity(self.difference[examples], self.scale)

    def apply(self, u: Tensor) -> Tensor:
        return self.scale * u

    transposed = apply

    def residual(self) -> Tensor:
        return self.scale * self.difference


def as_loss(loss: Any) -> Loss:
    """The Loss of a torch criterion: CrossEntropyLoss or MSELoss (mean), or the functions of the same meaning."""
    if isinstance(loss, torch.nn.CrossEntropyLoss) and (
        loss.reduction == "mean"
        and loss.weight is None
        and loss.label_smoothing == 0.0
        and loss.ignore_index == torch.nn.CrossEntropyLoss().ignore_index
    ):
        return CrossEntropy()
    if isinstance(loss, torch.nn.MSELoss) and loss.reduction == "mean":
        return MeanSquaredError()
    if loss is F.cross_entropy or loss == "cross_entropy":
        return CrossEntropy()
    if loss is F.mse_loss or loss == "mse":
        return MeanSquaredError()
    if isinstance(loss, (CrossEntropy, MeanSquaredError)):
        return loss
    raise UnsupportedModelError(
        "loss",
        f"{loss!r} with these options is not supported",
        "Use torch.nn.CrossEntropyLoss() or torch.nn.MSELoss() with reduction='mean' and no weights",
    )
