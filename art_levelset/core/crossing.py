"""
The search for a sign change: a point near each given one where a scalar F - c has the other sign.

Signed (L_inf) or normalised (L_2) gradient steps on F toward the other sign from a random or given start in the
eps-ball, as a projected-gradient attack on the margin makes them. A sample that has crossed stops, and costs nothing
more. The segment from the given point to the one found is what :func:`art_levelset.core.bracketing.false_position`
wants.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from art_levelset.core.balls import column, random_in_ball, steepest, to_ball
from art_levelset.core.fields import FieldLike, as_field, values_and_jacobians
from art_levelset.core.modes import evaluating
from art_levelset.core.norms import check_norm
from art_levelset.core.projection import Box, check_points, walls


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
    if max_iter < 0:
        raise ValueError(f"max_iter must be >= 0, got {max_iter}")
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
