"""
The L_1 ball of radius eps around a point, intersected with the box of valid inputs: projection, and steepest step.

Both are exact. The box matters more here than for other norms: most of an L_1 ball around an image is outside it, and
the projection onto the ball followed by the one onto the box is not the nearest point of the two.

| Paper link: https://arxiv.org/abs/2103.01208
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_l1_ball(points: Tensor, centres: Tensor, eps: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """
    The point nearest (in L_2) to the given one that is both in the L_1 ball and in the box.

    It is centre + sign(u) * clamp(|u| - t, 0, r), u being the offset of the given point, r the distances to the box's
    walls in its direction, and t >= 0 the least number for which the offset's length is at most eps. That length is
    piecewise linear in t, with corners at |u| and |u| - r.

    :param points: (batch, ...).
    :param centres: (batch, ...), within the box.
    :param eps: Radii, (batch,), >= 0.
    :param low: The box's lower walls, of a shape that broadcasts to that of the points.
    :param high: The upper ones.
    :return: (batch, ...).
    """
    offsets = (points - centres).flatten(1)
    sizes = offsets.abs()
    reach = torch.where(offsets > 0, (high - centres).flatten(1), (centres - low).flatten(1))
    corners, order = torch.cat([sizes, (sizes - reach).clamp(min=0)], dim=1).double().sort(dim=1, descending=True)
    slopes = torch.where(order < sizes.shape[1], 1.0, -1.0).to(corners)
    rates = slopes.cumsum(dim=1)
    lengths = (slopes * corners).cumsum(dim=1) - rates * corners  # at t = corner, growing along the row
    # The first corner where the length exceeds eps; before it, the length grows at the rate of the corner before.
    radii = eps.double().unsqueeze(1)
    first = (lengths <= radii).sum(dim=1, keepdim=True)
    before = (first - 1).clamp(min=0)
    excess = radii - lengths.gather(1, before)
    threshold = corners.gather(1, before) - excess / rates.gather(1, before).clamp(min=1)
    threshold = torch.where(first == corners.shape[1], 0.0, threshold).to(sizes)
    moved = torch.minimum((sizes - threshold).clamp(min=0), reach)
    return centres + (offsets.sign() * moved).reshape(points.shape)


def sparse_step(gradients: Tensor, points: Tensor, length: float, low: Tensor, high: Tensor) -> Tensor:
    """
    The step of an L_1 length, within the box, along which a linear function grows most.

    It moves the coordinate of the largest gradient as far as the box allows, then that of the second largest, and so
    on until the length is spent.

    :param gradients: The function's gradients, (batch, ...).
    :param points: (batch, ...), within the box.
    :param length: The step's L_1 length, >= 0.
    :param low: The box's lower walls, of a shape that broadcasts to that of the points.
    :param high: The upper ones.
    :return: (batch, ...); no component where the gradient is zero.
    """
    slopes = gradients.flatten(1)
    reach = torch.where(slopes > 0, (high - points).flatten(1), (points - low).flatten(1)).clamp(max=length)
    sizes, order = slopes.abs().sort(dim=1, descending=True)
    reach = torch.where(sizes > 0, reach.gather(1, order), 0.0)
    moved = torch.minimum((length - (reach.cumsum(dim=1) - reach)).clamp(min=0), reach)
    return (torch.zeros_like(slopes).scatter(1, order, moved) * slopes.sign()).reshape(points.shape)
