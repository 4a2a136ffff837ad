"""
Distances of points x to level-set samples p, and to the level set of F linearised at x with its nearest point.

The first are L_p, and the coordinate distance rho of Section 3.2. A linearised F is at most c in a half-space, whose
point in a box nearest to x, <g, z - x> <= -depth, is

    z_i = x_i - sign(g_i) min(t s_i, room_i),     s_i = 1 (L_inf) or |g_i| (L_2),

with room_i the way from x_i to the wall ahead of it and t >= 0 the smallest number that goes deep enough. How deep it
goes is piecewise linear in t and bends where a coordinate meets its wall, so t follows from the sorted bends exactly.
Without walls and with g = D_xF(x), depth = F(x) this is the step of eq. 5 (L_2), or its counterpart in L_inf.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from art_levelset.core.balls import Box, check_norm, walls
from art_levelset.core.samples import check_points


def lp_distance(x: Tensor, p: Tensor, norm: float = 2) -> Tensor:
    """
    |x - p|_norm of each sample. Where x = p the (sub)gradient is zero.

    :param x: (batch, ...).
    :param p: (batch, ...), usually p(theta).
    :param norm: In [1, inf].
    :return: (batch,).
    :raises ValueError: If the shapes differ or `norm` is below 1.
    """
    _check_pair(x, p)
    if not norm >= 1:
        raise ValueError(f"norm must be in [1, inf], got {norm}")
    distance: Tensor = torch.linalg.vector_norm((x - p).flatten(1), ord=norm, dim=1)
    return distance


def rho(x: Tensor, p: Tensor, jacobians: Tensor) -> Tensor:
    """
    rho(x, p) = |x^i* - p^i*|, i* = argmax_i |D_xF(p)|_i: the distance along the axis in which p(theta) moves fastest.

    It is the distance of eq. 12 in the paper. rho <= L_inf, so holding rho above eps pushes the level set
    out of the L_inf ball of radius eps along that axis.

    :param x: (batch, ...).
    :param p: (batch, ...), usually p(theta).
    :param jacobians: D_xF(p) of a scalar F, (batch, 1, ...).
    :return: (batch,).
    :raises ValueError: If the shapes do not belong together.
    """
    _check_pair(x, p)
    if jacobians.shape != (len(p), 1, *p.shape[1:]):
        raise ValueError(f"jacobians must have the shape {(len(p), 1, *p.shape[1:])}, got {tuple(jacobians.shape)}")
    axis = jacobians.flatten(1).abs().argmax(dim=1, keepdim=True)
    return (x - p).flatten(1).gather(1, axis).squeeze(1).abs()


def linearised_distance(values: Tensor, jacobians: Tensor, norm: float = 2, floor: float = 0.0) -> Tensor:
    """
    The distance |F(x)| / |D_xF(x)|_q, 1/norm + 1/q = 1, from x to the zero level set of F linearised at x (Elsayed et
    al.).

    For norm = 2 it is the length of one generalized Newton step (eq. 5), DeepFool's step; for an affine F it is
    exact.

    :param values: F(x) of a scalar F, (batch,) or (batch, 1), differentiable in theta.
    :param jacobians: D_xF(x), (batch, 1, ...), taken as constant.
    :param norm: The norm of the distance, in [1, inf].
    :param floor: The least |D_xF|_q reckoned with, >= 0, so that nearly flat points have a bounded weight.
    :return: (batch,); where the Jacobian (and `floor`) is zero, infinite, or not a number if F is zero too.
    :raises ValueError: If the shapes do not belong together or `norm` is below 1.

    | Paper link: https://arxiv.org/abs/1803.05598
    """
    if values.dim() == 2 and values.shape[1] == 1:
        values = values.squeeze(1)
    if values.dim() != 1 or jacobians.dim() < 3 or jacobians.shape[:2] != (len(values), 1):
        raise ValueError(
            f"values (batch,) and jacobians (batch, 1, ...) do not belong together: "
            f"{tuple(values.shape)} and {tuple(jacobians.shape)}"
        )
    speed: Tensor = torch.linalg.vector_norm(jacobians.detach().flatten(1), ord=dual_norm(norm), dim=1)
    return values.abs() / speed.clamp(min=floor)


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


def dual_norm(norm: float) -> float:
    """
    The exponent q with 1/norm + 1/q = 1: |g|_q is the speed at which F grows per unit of L_norm.

    :param norm: In [1, inf].
    :return: q.
    :raises ValueError: If `norm` is below 1.
    """
    if not norm >= 1:
        raise ValueError(f"norm must be in [1, inf], got {norm}")
    if norm == 1:
        return math.inf
    return 1.0 if norm == math.inf else norm / (norm - 1)


def _check_pair(x: Tensor, p: Tensor) -> None:
    if x.shape != p.shape or x.dim() < 2:
        raise ValueError(f"x and p must have one shape (batch, ...), got {tuple(x.shape)} and {tuple(p.shape)}")
