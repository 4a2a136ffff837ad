"""Small smooth networks, the tools to look into them, and the settings of the property tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import settings
from torch import Tensor, nn

from art_levelset import Field

properties = settings(deadline=None, max_examples=20, derandomize=True, database=None)

KINDS = ("mlp", "convnet")


def mlp(inputs: int, outputs: int, activation: type[nn.Module] = nn.Tanh, width: int = 16) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, outputs)
    ).double()


def convnet(outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.Softplus(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, outputs)
    ).double()


def smooth(kind: str, outputs: int, batch: int = 5) -> tuple[nn.Sequential, Tensor]:
    """A smooth network of l = `outputs` values and points that it takes, float64."""
    if kind == "mlp":
        return mlp(4, outputs, nn.Softplus), torch.randn(batch, 4, dtype=torch.float64)
    return convnet(outputs), torch.randn(batch, 2, 5, 5, dtype=torch.float64)


def affine(weight: Tensor, bias: Tensor) -> nn.Linear:
    """F(x) = A x + b as a network."""
    module = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    module.load_state_dict({"weight": weight, "bias": bias})
    return module


def full_jacobians(module: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """D_xF one sample at a time, (batch, l, ...)."""
    return torch.stack([torch.func.jacrev(lambda x: module(x.unsqueeze(0)).squeeze(0))(point) for point in points])


def parameter_jacobians(outputs: Tensor, module: nn.Module) -> Tensor:
    """The derivative of each entry of `outputs`, (batch, ...), by all parameters, (batch, entries of one row, m)."""
    parameters = list(module.parameters())
    entries = outputs.flatten()
    rows = torch.autograd.grad(
        entries, parameters, torch.eye(len(entries), dtype=outputs.dtype), retain_graph=True, is_grads_batched=True
    )
    return torch.cat([row.flatten(1) for row in rows], dim=1).reshape(len(outputs), outputs[0].numel(), -1)


class Recorded:
    """A field that keeps the points of every pass through it."""

    def __init__(self, field: Callable[[Tensor], Tensor]) -> None:
        self.passes: list[Tensor] = []

        def function(points: Tensor) -> Tensor:
            self.passes.append(points.detach().clone())
            return field(points)

        self.field = Field(function)

    @property
    def rows(self) -> list[int]:
        """The number of points in each pass."""
        return [len(points) for points in self.passes]
