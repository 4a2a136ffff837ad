"""
The fully connected networks of Table B1: FC-1 (2-D classification, curves) and FC-2 (surfaces).

| Paper link: https://arxiv.org/abs/1905.11911
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from art_levelset.checks import check_count, check_positive


def fc_1(in_features: int = 2, out_features: int = 1, width: int = 512) -> nn.Sequential:
    """
    FC-1: three hidden ReLU layers and one linear layer.

    :param in_features: Dimension d of the input space.
    :param out_features: Number l of outputs: 1 for a binary classifier, 2 for a curve in space.
    :param width: Units of a hidden layer; 512 in the paper.
    :return: The network, (batch, in_features) -> (batch, out_features), with PyTorch's default initialisation.
    :raises ValueError: If a size is not positive.
    """
    check_count("in_features", in_features)
    check_count("out_features", out_features)
    check_count("width", width)
    return nn.Sequential(
        nn.Linear(in_features, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, out_features),
    )


def fc_2(in_features: int = 3, width: int = 512, radius: float = 1.0) -> SkipMLP:
    """
    FC-2: eight hidden ReLU layers, the input joined in again half-way; it starts as the distance to a sphere.

    :param in_features: Dimension d of the input space.
    :param width: Units of a hidden layer; 512 in the paper.
    :param radius: Radius of the sphere that is the initial zero level set, > 0.
    :return: The network, (batch, in_features) -> (batch, 1), initialised geometrically (:class:`SkipMLP`).
    :raises ValueError: If a size or the radius is not positive, or the width does not exceed the dimension.
    """
    return SkipMLP(in_features, width, radius)


class SkipMLP(nn.Module):
    """
    Eight hidden ReLU layers of equal width with a skip connection from the input, and one linear output.

    The fourth layer has `width - in_features` units, to which the input is appended; the sum of the two halves' squared
    norms is kept by a factor 1 / sqrt(2). With hidden weights N(0, 2 / units), biases 0, a ReLU layer keeps the norm of
    its input (in expectation) and its units have the mean |x| / sqrt(pi * units); the output weights
    sqrt(pi / width) and the bias -radius therefore make the network start near

        F(x) = |x| - radius,

    the signed distance to a sphere.

    :param in_features: Dimension d of the input space.
    :param width: Units of a hidden layer, more than `in_features`.
    :param radius: Radius of the initial zero level set, > 0.
    """

    def __init__(self, in_features: int = 3, width: int = 512, radius: float = 1.0) -> None:
        super().__init__()
        check_count("in_features", in_features)
        check_count("width", width)
        if width <= in_features:
            raise ValueError(f"width must exceed in_features ({in_features}), got {width}")
        check_positive("radius", radius)
        self.first = nn.ModuleList(
            nn.Linear(before, after)
            for before, after in [
                (in_features, width),
                (width, width),
                (width, width),
                (width, width - in_features),
            ]
        )
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.output = nn.Linear(width, 1)
        self._initialise(radius)

    def forward(self, points: Tensor) -> Tensor:
        """
        Evaluate the network.

        :param points: (batch, in_features).
        :return: (batch, 1).
        """
        hidden = points
        for layer in self.first:
            hidden = torch.relu(layer(hidden))
        hidden = torch.cat([hidden, points], dim=1) / math.sqrt(2)
        for layer in self.second:
            hidden = torch.relu(layer(hidden))
        output: Tensor = self.output(hidden)
        return output

    def _initialise(self, radius: float) -> None:
        for layer in (*self.first, *self.second):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.out_features))
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.output.weight, mean=math.sqrt(math.pi / self.output.in_features), std=1e-4)
        nn.init.constant_(self.output.bias, -radius)
