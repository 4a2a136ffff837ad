"""Small networks for digits."""

from __future__ import annotations

import torch
from torch import nn


def affine(weight: list[list[float]], bias: list[float]) -> nn.Sequential:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(weight))
        module[1].bias.copy_(torch.tensor(bias))
    return module


def convnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10)
    )
