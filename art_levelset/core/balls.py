"""
The L_inf and L_2 balls of radius eps around points: steepest directions, projection onto the ball, random points.

For both norms and per-sample radii; a point is one row of the batch, whatever its shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def steepest(gradients: Tensor, norm: float) -> Tensor:
    """
    The direction of unit norm along which a linear function grows fastest.

    :param gradients: Its gradients, (batch, ...).
    :param norm: `math.inf` (the sign) or 2 (the normalised gradient).
    :return: (batch, ...); zero where the gradient is zero.
    """
    if norm == math.inf:
        return gradients.sign()
    largest = gradients.flatten(1).abs().amax(dim=1)
    # Scaled by its largest entry, a gradient's length can neither overflow nor underflow.
    scaled = gradients / column(torch.where(largest > 0, largest, 1.0), gradients)
    lengths = torch.linalg.vector_norm(scaled.flatten(1), dim=1)
    return scaled / column(torch.where(largest > 0, lengths, 1.0), gradients)


def to_ball(points: Tensor, centres: Tensor, eps: Tensor, norm: float) -> Tensor:
    """
    The point of each ball nearest (in L_2) to the given one.

    :param points: (batch, ...).
    :param centres: (batch, ...).
    :param eps: Radii, (batch,), >= 0.
    :param norm: `math.inf` or 2.
    :return: (batch, ...).
    """
    radius = column(eps, points)
    if norm == math.inf:
        return torch.minimum(torch.maximum(points, centres - radius), centres + radius)
    offsets = points - centres
    lengths = column(torch.linalg.vector_norm(offsets.flatten(1), dim=1), points)
    return centres + offsets * torch.where(lengths > radius, radius / lengths, 1.0)


def random_in_ball(centres: Tensor, eps: Tensor, norm: float, generator: torch.Generator | None = None) -> Tensor:
    """
    One point a ball, uniformly distributed.

    :param centres: (batch, ...).
    :param eps: Radii, (batch,), >= 0.
    :param norm: `math.inf`, 2 or 1.
    :param generator: The source of randomness, on the points' device; None for torch's default one.
    :return: (batch, ...).
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=centres.dtype, device=centres.device)

    if norm == math.inf:
        return centres + column(eps, centres) * (2 * uniform(*centres.shape) - 1)
    reach = column(eps * uniform(len(centres)) ** (1.0 / max(centres[:1].numel(), 1)), centres)
    if norm == 1:  # on the simplex, and then in any orthant
        exponential = -torch.log1p(-uniform(*centres.shape))
        shares = exponential / column(exponential.flatten(1).sum(dim=1), centres)
        return centres + reach * torch.where(uniform(*centres.shape) < 0.5, -shares, shares)
    gaussian = torch.randn(centres.shape, generator=generator, dtype=centres.dtype, device=centres.device)
    return centres + reach * steepest(gaussian, 2)


def column(rows: Tensor, like: Tensor) -> Tensor:
    """
    One number a sample, shaped to broadcast against the samples.

    :param rows: (batch,).
    :param like: (batch, ...).
    :return: (batch, 1, ...).
    """
    return rows.reshape(-1, *(1,) * (like.dim() - 1))
