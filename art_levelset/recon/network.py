"""
The implicit network: a small fully connected network on features interpolated from grids.

It starts as a sphere, or as the interpolation of any function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from art_levelset.recon.trilinear import between_nodes

REACH = 1.15
"""The grids cover [-REACH, REACH]^3; beyond, their features are constant along the rays to the nearest wall."""


SLABS = 8

SHARPNESS = 100.0
"""Of the softplus: it is nearly max(x, 0)."""

BAND = 3.0
"""A function is interpolated on the nodes of a finer grid where the coarser ones are at most so many of its cells from
zero."""

ALL_NODES = 32
"""On grids of so many nodes along an axis, or fewer, it is interpolated everywhere."""


class Softplus(torch.autograd.Function):
    """
    log(1 + exp(b x)) / b as max(x, 0) + log(1 + exp(-b |x|)) / b, with b = :data:`SHARPNESS`.

    The logarithm is small, so its rounding does not matter, and log is much faster than PyTorch's log1p, which took
    most of the network's time. The derivative is the logistic function.
    """

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        """
        The values.

        :param context: Keeps the inputs.
        :param inputs: x, of any shape.
        :return: Of the same shape.
        """
        context.save_for_backward(inputs)
        outputs = inputs.abs().mul_(-SHARPNESS).exp_().add_(1).log_().div_(SHARPNESS)
        return outputs.add_(inputs.clamp_min(0))

    @staticmethod
    def backward(context: Any, gradients: Tensor) -> Tensor:
        """
        Its derivative, which can be derived again.

        :param context: Has the inputs.
        :param gradients: Those of the outputs.
        :return: Those of the inputs.
        """
        (inputs,) = context.saved_tensors
        return gradients * torch.sigmoid(SHARPNESS * inputs)


class GridNetwork(nn.Module):
    """
    F(x) = MLP(x, g_1(x), ..., g_k(x)): trilinear interpolation of learnable grids of growing resolution, then two
    hidden softplus layers.

    A gradient step changes F near its samples only, which is why this fits a scan in a fraction of the time that a
    fully connected network such as FC-2 takes. The grids start at zero, and the layers so that

        F(x) = |x| - radius

    approximately: hidden weights N(0, 2 / units), output weights sqrt(pi / width), biases 0 and -radius.

    >>> import torch
    >>> from art_levelset.recon import GridNetwork
    >>> network = GridNetwork(radius=0.5, generator=torch.Generator().manual_seed(0))
    >>> network(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])).sign().squeeze(1).tolist()
    [-1.0, 1.0]

    :param resolutions: Nodes of each grid along an axis, >= 2.
    :param channels: Number of features of each grid.
    :param width: Units of the hidden layers.
    :param radius: Radius of the sphere that is the initial zero level set, > 0.
    :param generator: Source of the random initial weights; None for torch's default one.
    """

    settings: dict[str, Any]
    """What it takes to build an equal network, for a file."""

    def __init__(
        self,
        resolutions: Sequence[int] = (16, 32, 64, 128),
        channels: Sequence[int] = (4, 4, 4, 2),
        width: int = 64,
        radius: float = 0.7,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.settings = {
            "resolutions": list(resolutions),
            "channels": list(channels),
            "width": width,
            "radius": float(radius),
        }
        self.grids = nn.ParameterList(
            nn.Parameter(torch.zeros(1, c, n, n, n)) for n, c in zip(resolutions, channels, strict=True)
        )
        self.first = nn.Linear(3 + sum(channels), width)
        self.second = nn.Linear(width, width)
        self.output = nn.Linear(width, 1)
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / width), generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.output.weight, math.sqrt(math.pi / width))
        nn.init.constant_(self.output.bias, -radius)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate F.

        :param points: (batch, 3), in the unit frame.
        :return: (batch, 1).
        """
        features = between_nodes(list(self.grids), points / REACH)
        hidden = Softplus.apply(self.first(torch.cat([points, features], dim=1)))
        values: Tensor = self.output(Softplus.apply(self.second(hidden)))
        return values

    @torch.no_grad()
    def interpolate(self, function: Callable[[Tensor], Tensor]) -> None:
        """
        Become the interpolation of a function between the nodes of the finest grid, as the sum of the first features

            F(x) = g_1(x)_1 + ... + g_k(x)_1,

        where all but the last are zero, for they would add their kinks, which are not at the finest nodes. Far from the
        zero level set these have what is interpolated between the nodes of coarser grids, which saves most evaluations.
        Two units of each hidden layer carry the sum f through the layers, as softplus(f) - softplus(-f) = f; the others
        stay as they are, and wait for the output layer to want them.

        :param function: Its values, (n,), at points of the unit frame, (n, 3).
        """
        total = None
        for grid in self.grids:
            nodes = grid.shape[2]
            ticks = torch.linspace(-REACH, REACH, nodes, device=grid.device)
            z, y, x = torch.meshgrid(ticks, ticks, ticks, indexing="ij")
            places = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
            if total is None:
                coarse = grid.new_zeros(nodes**3)
            else:
                size = (nodes, nodes, nodes)
                coarse = functional.interpolate(total, size, mode="trilinear", align_corners=True).reshape(-1)
            near = (coarse.abs() <= BAND * 2 * REACH / (nodes - 1)) | (nodes <= ALL_NODES)
            coarse[near] = function(places[near])
            total = coarse.reshape(1, 1, nodes, nodes, nodes)
            grid.zero_()
        self.grids[-1][:, :1] = total
        features = 3 + torch.tensor([0, *self.settings["channels"][:-1]]).cumsum(dim=0)
        carrier = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], device=self.output.weight.device)
        self.first.weight[:2] = 0
        self.first.weight[:2, features] = carrier[:, :1]
        self.second.weight[:2] = 0
        self.second.weight[:2, :2] = carrier
        self.output.weight.zero_()
        self.output.weight[0, :2] = carrier[0]
        self.output.bias.zero_()

    def add_smoothness_gradient(self, weight: float, generator: torch.Generator) -> None:
        """
        Add the gradient of the grids' Dirichlet energy, the sum of the squared differences of neighbouring nodes.

        It is estimated on a random slab, an eighth of each grid, in an eighth of the time.

        :param weight: Factor of the energy, >= 0.
        :param generator: Source of the choice of the slabs, on the CPU.
        """
        for grid in self.grids:
            nodes = grid.shape[2]
            layers = max(nodes // SLABS, 2)
            axis = 2 + int(torch.randint(3, (), generator=generator))
            first = int(torch.randint(nodes - layers + 1, (), generator=generator))
            if grid.grad is None:
                grid.grad = torch.zeros_like(grid)
            values = grid.detach().narrow(axis, first, layers)
            gradient = grid.grad.narrow(axis, first, layers)
            for along in (2, 3, 4):
                steps = torch.diff(values, dim=along).mul_(2 * weight * nodes / layers)
                gradient.narrow(along, 1, steps.shape[along]).add_(steps)
                gradient.narrow(along, 0, steps.shape[along]).sub_(steps)
