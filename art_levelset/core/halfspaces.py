"""
The nearest point of a half-space within a box: one generalized Newton step in any of the norms, and with walls.

The point of the box nearest to x with <g, z - x> <= -depth is

    z_i = x_i - sign(g_i) min(t s_i, room_i),     s_i = 1 (L_inf) or |g_i| (L_2),

with room_i the way from x_i to the wall ahead of it and t >= 0 the smallest number that goes deep enough. How deep it
goes is piecewise linear in t and bends where a coordinate meets its wall, so t follows from the sorted bends exactly.
Without walls and with g = D_xF(x), depth = F(x) this is the step of eq. 5 (L_2), or its counterpart in L_inf.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from art_levelset.core.norms import check_norm
from art_levelset.core.projection import Box, check_points, walls


def nearest_in_half_space(
    points: Tensor, normals: Tensor, depth: Tensor, *, norm: float = math.inf, box: Box | None = None
) -> tuple[Tensor, Tensor]:
    """
    The nearest points z of half-spaces, <g, z - x> <= -depth, within a box.

    :param points: x, (batch, ...), floating point, in the box.
    :param normals: g, shaped like the points.
    :param depth: (batch,); where it is not positive x itself is the nearest point.
    :param norm: The norm of the distance, `math.inf` or 2.
    :param box: (low, high), numbers or tensors that broadcast to one point; None for all of space.
    :return: z, (batch, ...), and whether it is in the half-space, (batch,), bool: where the box and the half-space do
             not meet z is the deepest point of the box.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If a shape or the norm is another.
    """
    check_points(points)
    check_norm(norm)
    if normals.shape != points.shape or depth.shape != points.shape[:1]:
        raise ValueError(
            f"normals and depth must have the shapes {tuple(points.shape)} and {tuple(points.shape[:1])}, "
            f"got {tuple(normals.shape)} and {tuple(depth.shape)}"
        )
    low, high = walls(box, points)
    room = torch.where(normals > 0, points - low, high - points).flatten(1).double().clamp(min=0)
    steep = normals.flatten(1).double().abs()
    wanted = depth.double().clamp(min=0)
    speed = torch.ones_like(steep) if norm == math.inf else steep
    bends = torch.where(steep > 0, room / speed, torch.inf)
    bends, order = bends.sort(dim=1)
    rates, full = (steep * speed).gather(1, order), (steep * room).gather(1, order)
    # Before each bend: the rate of those still moving, and how deep those at their walls have gone.
    moving = rates.flip(1).cumsum(1).flip(1)
    gone = torch.where(bends.isfinite(), full, 0.0).cumsum(1)
    gone = torch.cat([torch.zeros_like(gone[:, :1]), gone[:, :-1]], dim=1)
    enough = (gone + torch.where(moving > 0, bends * moving, 0.0)) >= wanted[:, None]
    reached, first = enough.any(dim=1), enough.to(torch.uint8).argmax(dim=1, keepdim=True)
    missing, rate = wanted - gone.gather(1, first).squeeze(1), moving.gather(1, first).squeeze(1)
    time = torch.where(missing > 0, missing / rate, 0.0)
    time = torch.where(reached, time, torch.inf)[:, None]
    way = torch.where(steep > 0, torch.minimum(time * speed, room), 0.0)
    moved = points - (normals.flatten(1).sign() * way.to(points.dtype)).reshape(points.shape)
    return (moved if box is None else torch.clamp(moved, low, high)), reached
