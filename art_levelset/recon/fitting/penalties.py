"""
What may be asked of F beside eq. 13: to be a distance, and to have zero level sets that bend little.

Both are measured by differences of F over short distances, since grids have no second derivatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from art_levelset.core.fields import Field

EIKONAL_REACH = 0.01
"""Half of the distance, in the unit frame, over which the slope of F is taken."""

CURVATURE_REACH = 0.02
"""The distance, in the unit frame, over which F's second differences are taken: about a cell of its finest grid."""


@dataclass(frozen=True)
class Penalties:
    """
    The weights of what is added to the loss.

    :param eikonal: Of :func:`eikonal_penalty`, on half of the samples of space, >= 0.
    :param curvature: Of :func:`curvature_penalty`, on half of the samples of the zero level set, >= 0.
    :raises ValueError: If a weight is negative or not finite.
    """

    eikonal: float
    curvature: float

    def __post_init__(self) -> None:
        for name, weight in (("eikonal", self.eikonal), ("curvature", self.curvature)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} must be >= 0, got {weight}")

    def added(self, loss: Tensor, field: Field, points: Tensor, gradients: Tensor, split: int) -> Tensor:
        """
        Add them to a loss.

        :param loss: The loss, a scalar.
        :param field: F.
        :param points: Samples of the zero level set and then of space, (n, 3).
        :param gradients: D_xF there, (n, 3).
        :param split: The number of the former.
        :return: The sum.
        """
        if self.eikonal:
            loss = loss + self.eikonal * eikonal_penalty(field, points[split::2], gradients[split::2])
        if self.curvature:
            loss = loss + self.curvature * curvature_penalty(field, points[:split:2], gradients[:split:2])
        return loss


def eikonal_penalty(field: Field, points: Tensor, gradients: Tensor) -> Tensor:
    """
    Mean (|D_xF| - 1)^2, with |D_xF| as a difference quotient along D_xF.

    :param field: F.
    :param points: (n, 3).
    :param gradients: D_xF there, (n, 3); their directions count.
    :return: The mean, differentiable in the parameters of F.
    """
    offsets = EIKONAL_REACH * functional.normalize(gradients, dim=1)
    ahead, behind = field(torch.cat([points + offsets, points - offsets])).squeeze(1).chunk(2)
    return (((ahead - behind) / (2 * EIKONAL_REACH) - 1) ** 2).mean()


def curvature_penalty(field: Field, points: Tensor, gradients: Tensor) -> Tensor:
    """
    Mean |kappa_1 + kappa_2| of the level sets of F: its second differences in two directions u, v of the tangent plane,

        kappa_1 + kappa_2 = (F(x + h u) + F(x - h u) + F(x + h v) + F(x - h v) - 4 F(x)) / (h^2 |D_xF|).

    The absolute value lets an edge bend in one place. Half of kappa_1 + kappa_2 is the mean curvature.

    :param field: F.
    :param points: x, (n, 3).
    :param gradients: D_xF there, (n, 3); samples where it is zero do not count.
    :return: The mean, in 1 / length, differentiable in the parameters of F.
    """
    slopes = torch.linalg.vector_norm(gradients, dim=1)
    counts = slopes > 0
    points, gradients, slopes = points[counts], gradients[counts], slopes[counts]
    smallest = functional.one_hot(gradients.abs().argmin(dim=1), 3).to(gradients)
    first = functional.normalize(torch.linalg.cross(gradients, smallest), dim=1)
    second = functional.normalize(torch.linalg.cross(gradients, first), dim=1)
    steps = [sign * CURVATURE_REACH * direction for direction in (first, second) for sign in (1, -1)]
    here, *around = field(torch.cat([points, *(points + step for step in steps)])).squeeze(1).chunk(5)
    bends = (torch.stack(around).sum(dim=0) - 4 * here) / (CURVATURE_REACH**2 * slopes)
    mean: Tensor = bends.abs().sum() / max(len(bends), 1)
    return mean
