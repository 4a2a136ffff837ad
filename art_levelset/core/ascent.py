"""
Steepest ascent in a ball: towards the points around each sample where a function is large.

    z_{k+1} = Proj(z_k + step * v_k),    v_k = argmax_{|v| <= 1} <v, D_x g(z_k)>,

Proj on to the ball of radius eps around the sample and the box of valid points. No step is undone: it is the inner
search of robust training, cheap and without guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from art_levelset.core.balls import column, steepest, to_ball
from art_levelset.core.norms import check_norm
from art_levelset.core.projection import Box, walls


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
    :param step: Lengths of a step in the same norm, (batch,).
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

    stride = column(step, points)
    current = inside(points if start is None else start.detach())
    for _ in range(max_iter):
        with torch.enable_grad():
            leaves = current.detach().requires_grad_()
            # With respect to the points only: the gradients of the parameters are not computed.
            (gradients,) = torch.autograd.grad(function(leaves).sum(), leaves)
        current = inside(current + stride * steepest(gradients, norm))
    return current.detach()
