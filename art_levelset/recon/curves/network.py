"""The implicit network of a curve: F: R^3 -> R^2, small, with sines as its activations."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class CurveNetwork(nn.Module):
    """
    A sinusoidal network: h_1 = sin(f (A_1 x + b_1)), h_(k+1) = sin(f (A_(k+1) h_k + b_(k+1))), F = A h + b.

    It is smooth, and so is its zero set. The weights of the first layer are uniform in [-1/3, 1/3], those of the others
    in [-sqrt(6 / width) / f, sqrt(6 / width) / f], which keeps the activations' distribution from layer to layer.

    | Paper link: https://arxiv.org/abs/2006.09661

    :param width: Units of a hidden layer, >= 1.
    :param depth: Number of hidden layers, >= 1.
    :param frequency: f, > 0: how fast F can change in the unit frame [-1, 1]^3.
    :param generator: Source of the random initial weights; None for torch's default one.
    :raises ValueError: If a number is out of range.
    """

    def __init__(
        self, width: int = 96, depth: int = 3, frequency: float = 8.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if width < 1 or depth < 1:
            raise ValueError(f"width and depth must be at least 1, got {width} and {depth}")
        if not (math.isfinite(frequency) and frequency > 0):
            raise ValueError(f"frequency must be positive, got {frequency}")
        self.width, self.depth, self.frequency = width, depth, frequency
        sizes = [3, *[width] * depth, 2]
        layers = [nn.Linear(before, after) for before, after in pairwise(sizes)]
        for index, layer in enumerate(layers):
            bound = 1 / 3 if index == 0 else math.sqrt(6 / width) / frequency
            shift = (1 if index == 0 else 1 / frequency) / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -shift, shift, generator=generator)
        self.layers = nn.ModuleList(layers)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate F.

        :param points: (batch, 3), in the unit frame.
        :return: (batch, 2).
        """
        hidden = points
        for layer in self.layers[:-1]:
            hidden = torch.sin(self.frequency * layer(hidden))
        values: Tensor = self.layers[-1](hidden)
        return values
