"""What the tests of surfaces share: quick fits, and two balls that need no fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from art_levelset.cli.main import main as command_line
from art_levelset.recon.cloud.clouds import Points

QUICK = ["--steps", "40", "--resolution", "32"]

OneError = Callable[[Callable[[list[str]], int], list[str]], str]


def main(argv: list[str]) -> int:
    return command_line(["recon", *argv])


class Balls(torch.nn.Module):
    """The signed distance to two balls, in the unit frame of :func:`two_balls`."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = torch.nn.Parameter(torch.tensor([[-0.5, 0.0, 0.0], [0.7, 0.0, 0.0]]))
        self.radii = torch.nn.Parameter(torch.tensor([0.5, 0.3]))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        distances: torch.Tensor = torch.cdist(points, self.centres) - self.radii
        return distances.min(dim=1, keepdim=True).values


def two_balls(sphere_points: Points) -> Points:
    return np.concatenate([0.5 * sphere_points - [0.5, 0, 0], 0.3 * sphere_points[:1500] + [0.7, 0, 0]])
