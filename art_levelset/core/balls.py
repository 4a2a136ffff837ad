"""
Where a search around points may go: boxes of valid points and balls of radius eps in L_inf, L_2 or L_1.

Steepest directions, projections and random points, for per-sample radii; a point is one row of the batch, whatever its
shape. In L_1 projection and steepest step respect the box as well, exactly. The box matters more there than for other
norms: most of an L_1 ball around an image is outside it, and the projection onto the ball followed by the one onto the
box is not the nearest point of the two.

| Paper link: https://arxiv.org/abs/2103.01208 (L_1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Box = tuple[float | Tensor, float | Tensor]

THREAT_MODELS = {"Linf": math.inf, "L2": 2.0, "L1": 1.0}
"""The norms by the name of the threat model."""

NAMES = {norm: name for name, norm in THREAT_MODELS.items()}
"""The threat models' names by their norm."""


def check_norm(norm: float, known: Sequence[float] = (math.inf, 2)) -> None:
    """
    Check that a norm is a known one.

    :param norm: The norm.
    :param known: Those that are, at least two.
    :raises ValueError: If it is another.
    """
    if norm not in known:
        *others, last = (f"{one:g}" for one in known)
        raise ValueError(f"norm must be {', '.join(others)} or {last}, got {norm}")


def walls(box: Box | None, points: Tensor) -> tuple[Tensor, Tensor]:
    """
    The two walls of a box.

    :param box: (low, high), numbers or tensors that broadcast to one point; None for all of space.
    :param points: (batch, ...): gives shape, dtype and device.
    :return: low and high.
    :raises ValueError: If a wall does not broadcast to a point or low exceeds high.
    """
    if box is not None and not (isinstance(box, (tuple, list)) and len(box) == 2):
        raise ValueError(f"box must be a pair (low, high), got {box!r}")
    low, high = (
        torch.as_tensor(wall, dtype=points.dtype, device=points.device) for wall in box or (-torch.inf, torch.inf)
    )
    shape = points.shape[1:]
    for wall in (low, high):
        if wall.dim() > len(shape) or any(a not in (1, b) for a, b in zip(wall.shape[::-1], shape[::-1], strict=False)):
            raise ValueError(f"box must broadcast to the shape {tuple(shape)} of a point, got {tuple(wall.shape)}")
    if not bool((low <= high).all()):
        raise ValueError("box: low must not exceed high")
    return low, high


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
