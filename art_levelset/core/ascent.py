"""
Steps of steepest ascent and descent in the ball of radius eps around each sample.

    z_{k+1} = Proj(z_k + step * v_k),    v_k = argmax_{|v| <= 1} <v, D_x g(z_k)>,

Proj on to the ball around the sample and the box of valid points. No step is undone: it is cheap and without guarantee.
:func:`ascend` goes towards the points where a function is large, the inner search of robust training.
:func:`seek_crossing` goes down a scalar F - c where it is positive at the sample and up where it is negative, until its
sign has changed, as a projected-gradient attack on the margin does; a sample that has crossed stops, and costs nothing
more. The segment from the given point to the one found is what
:func:`art_levelset.core.bracketing.false_position` wants.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from art_levelset.checks import check_count
from art_levelset.core.balls import Box, check_norm, column, random_in_ball, steepest, to_ball, walls
from art_levelset.core.fields import FieldLike, as_field, values_and_jacobians
from art_levelset.core.modes import evaluating
from art_levelset.core.samples import check_points


def ascend(
    function: Callable[[Tensor], Tensor],
    points: Tensor,
    *,
    eps: Tensor,
    step: Tensor,
    max_iter: int,
    norm: float = math.inf,
    box: Box | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """
    Where steepest ascent ends.

    :param function: g, (batch, ...) -> (batch,): one number a sample, which depends on that sample's point alone.
    :param points: The samples, (batch, ...), the centres of the balls.
    :param eps: Radii, (batch,), >= 0.
    :param step: Lengths of a step in the same norm, (batch,), or of each step, (max_iter, batch).
    :param max_iter: Number of steps, >= 0.
    :param norm: `math.inf` or 2.
    :param box: (low, high) that no point leaves: numbers or tensors that broadcast to one point.
    :param start: Where to begin, (batch, ...), brought into ball and box; None for the samples.
    :return: The last points, (batch, ...), detached, in ball and box.
    :raises ValueError: If the norm is another.
    """
    check_norm(norm)
    low, high = walls(box, points)
    if norm == math.inf:  # the walls of ball and box at once
        radius = column(eps, points)
        low, high = torch.maximum(points - radius, low), torch.minimum(points + radius, high)

    def inside(moved: Tensor) -> Tensor:
        return torch.clamp(moved if norm == math.inf else to_ball(moved, points, eps, norm), low, high)

    current = inside(points if start is None else start.detach())
    for lengths in step.expand(max_iter, len(points)):
        with torch.enable_grad():
            leaves = current.detach().requires_grad_()
            # With respect to the points only: the gradients of the parameters are not computed.
            (gradients,) = torch.autograd.grad(function(leaves).sum(), leaves)
        current = inside(current + column(lengths, points) * steepest(gradients, norm))
    return current.detach()


def seek_crossing(
    field: FieldLike,
    points: Tensor,
    *,
    eps: float | Tensor,
    step: float | Tensor,
    max_iter: int = 40,
    norm: float = math.inf,
    box: Box | None = None,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """
    Look for a sign change of F within the eps-ball around each point.

    :param field: F, scalar (l = 1).
    :param points: x, (batch, ...), floating point.
    :param eps: The radius of the ball: a number or one a sample, (batch,), > 0.
    :param step: The length of a step in the same norm: a number or one a sample, (batch,), > 0.
    :param max_iter: The largest number of steps, >= 0.
    :param norm: `math.inf` or 2.
    :param box: (low, high) that no point leaves: numbers or tensors that broadcast to one point.
    :param start: Where the searches begin, (batch, ...), brought into the ball and the box; None for random points.
    :param generator: The source of random starts; None for torch's default one.
    :return: The last point of each search, (batch, ...), and whether F has another sign there than at x, (batch,),
           bool.
    :raises TypeError: If `points` is no tensor.
    :raises ValueError: If a shape, dtype or number is out of range; the message names the argument.
    """
    field = as_field(field)
    check_points(points)
    check_norm(norm)
    check_count("max_iter", max_iter, least=0)
    if start is not None and (start.shape != points.shape or start.dtype != points.dtype):
        raise ValueError(
            f"start must be shaped and typed like points, {tuple(points.shape)} {points.dtype}, "
            f"got {tuple(start.shape)} {start.dtype}"
        )
    radius, stride = per_sample(eps, points, "eps"), per_sample(step, points, "step")
    low, high = walls(box, points)
    with torch.no_grad():
        with evaluating(field.module):
            values = field(points)
        if values.shape[1] != 1:
            raise ValueError(f"field must be scalar (l = 1) to change its sign, got l = {values.shape[1]}")
        side = values.squeeze(1).sign()
        first = (
            random_in_ball(points, radius, norm, generator) if start is None else to_ball(start, points, radius, norm)
        )
        current = torch.clamp(first, low, high)
        found, crossed = current.clone(), torch.zeros(len(points), dtype=torch.bool, device=points.device)
        rows = torch.arange(len(points), device=points.device)
        centres = points
        for iteration in range(max_iter + 1):
            if iteration < max_iter:
                values, jacobians = values_and_jacobians(field, current)
            else:
                with evaluating(field.module):
                    values = field(current)
            over = values.squeeze(1).sign() * side < 0
            found[rows], crossed[rows] = current, over
            left = ~over
            if iteration == max_iter or not bool(left.any()):
                break
            if bool(over.any()):
                rows, current, centres, jacobians = rows[left], current[left], centres[left], jacobians[left]
                side, radius, stride, field = side[left], radius[left], stride[left], field.select(left)
            current = current - column(side * stride, current) * steepest(jacobians.squeeze(1), norm)
            current = torch.clamp(to_ball(current, centres, radius, norm), low, high)
        return found, crossed


def per_sample(value: float | Tensor, points: Tensor, name: str) -> Tensor:
    """
    A positive number a sample.

    :param value: A number or a tensor (batch,).
    :param points: (batch, ...): gives count, dtype and device.
    :param name: What the caller calls the value.
    :return: (batch,).
    :raises ValueError: If it has another shape or is not positive and finite.
    """
    rows = torch.as_tensor(value, dtype=points.dtype, device=points.device)
    if rows.dim() > 1 or (rows.dim() == 1 and len(rows) != len(points)):
        raise ValueError(f"{name} must be a number or have the shape ({len(points)},), got {tuple(rows.shape)}")
    if not bool(((rows > 0) & torch.isfinite(rows)).all()):
        raise ValueError(f"{name} must be positive and finite")
    return rows.expand(len(points))
