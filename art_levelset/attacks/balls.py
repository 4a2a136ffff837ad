"""Where an attack may go: balls around samples, in L_inf, L_2 or L_1, each intersected with the box of valid inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from art_levelset.core.balls import Box, random_in_ball, sparse_step, steepest, to_ball, to_l1_ball


@dataclass(frozen=True, eq=False)
class Balls:
    """
    The balls around a batch within a box.

    The radii are smaller than asked for (:func:`shrunk_radii`). For L_inf the walls are those of ball and box at once.

    :param centres: (batch, ...).
    :param radii: (batch,).
    :param low: The lower walls, (batch, ...).
    :param high: The upper ones.
    :param norm: `math.inf`, 2 or 1.
    """

    centres: Tensor
    radii: Tensor
    low: Tensor
    high: Tensor
    norm: float

    @classmethod
    def around(
        cls,
        x: Tensor,
        eps: float,
        norm: float,
        box: Box | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> Balls:
        """
        The balls of radius eps around samples.

        :param x: (batch, ...), in a dtype of its own: points of the balls stay inside when they are rounded to it.
        :param eps: The radius, >= 0.
        :param norm: `math.inf`, 2 or 1.
        :param box: The box, numbers or tensors that broadcast to a sample; None for all values.
        :param device: Where to compute.
        :param dtype: In what.
        :return: The balls.
        """
        centres = x.to(device, dtype)
        rounding = max(torch.finfo(x.dtype).eps, torch.finfo(dtype).eps)
        radii = shrunk_radii(centres, eps, norm, rounding)
        low, high = (
            torch.as_tensor(wall, device=device, dtype=dtype).expand_as(centres)
            for wall in box or (-math.inf, math.inf)
        )
        balls = cls(centres, radii, low, high, norm)
        if norm != math.inf:
            return balls
        reach = radii.reshape(-1, *(1,) * (x.dim() - 1))
        return replace(balls, low=torch.maximum(centres - reach, low), high=torch.minimum(centres + reach, high))

    def select(self, rows: Tensor) -> Balls:
        """
        Those of a part of the batch.

        :param rows: Indices or a boolean mask.
        :return: The balls.
        """
        return Balls(self.centres[rows], self.radii[rows], self.low[rows], self.high[rows], self.norm)

    def random(self, generator: torch.Generator) -> Tensor:
        """
        A point of each: one uniformly distributed in the ball, moved into the box.

        :param generator: The source of randomness, on the device.
        :return: (batch, ...).
        """
        return self.project(random_in_ball(self.centres, self.radii, self.norm, generator))

    def project(self, points: Tensor) -> Tensor:
        """
        Points moved into ball and box; to the nearest point of the two for L_inf and L_1.

        :param points: (batch, ...).
        :return: (batch, ...).
        """
        if self.norm == 1:
            points = to_l1_ball(points, self.centres, self.radii, self.low, self.high)
        elif self.norm == 2:
            points = to_ball(points, self.centres, self.radii, 2)
        return torch.clamp(points, self.low, self.high)

    def step(self, points: Tensor, gradients: Tensor, length: float) -> Tensor:
        """
        Points moved in the steepest direction, and back into ball and box.

        :param points: (batch, ...), inside.
        :param gradients: Of what is to grow, (batch, ...).
        :param length: The step's length, in the norm.
        :return: (batch, ...).
        """
        if self.norm == 1:
            return self.project(points + sparse_step(gradients, points, length, self.low, self.high))
        return self.project(torch.add(points, steepest(gradients, self.norm), alpha=length))


def shrunk_radii(centres: Tensor, eps: float, norm: float, rounding: float) -> Tensor:
    """
    Radii that are smaller by what rounding may add to the distance of a point that is computed as x plus an offset.

    :param centres: The samples x, (batch, ...).
    :param eps: The radius asked for, >= 0.
    :param norm: `math.inf`, 2 or 1.
    :param rounding: The relative rounding error.
    :return: (batch,), >= 0.
    """
    sizes = torch.linalg.vector_norm(centres.flatten(1), norm, dim=1)
    radii: Tensor = eps - rounding * (sizes + 16 * eps)
    return radii.clamp(min=0)
