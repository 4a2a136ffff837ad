"""
A search without gradients, from a point that another search has found: random squares, as Square has them.

With m(z) = f_y(z) - max_{i != y} f_i(z) the margin (eq. 1) and B the ball around x within the box, each query changes a
square of pixels, takes the change where it lowers the margin, and leaves it otherwise:

    z' = Proj_B(z + bump),    z <- z' if m(z') < m(z).

For L_inf the bump puts the square's pixels on a corner of B, one sign a channel; for L_2 it adds a value to the square,
of a length that is a share of the radius. Squares shrink as Square's do. What such a search finds does not depend on
the gradients: it is the one to go on with where they mislead.

| Paper link: https://arxiv.org/abs/1912.00049
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from art_levelset.attacks.balls import Balls
from art_levelset.core.balls import column

HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""The shares of the queries after which the squares' area halves."""


def descend_by_squares(
    margin: Callable[[Tensor, Tensor], Tensor],
    balls: Balls,
    start: Tensor,
    *,
    queries: int,
    area: float,
    generator: torch.Generator,
    halvings: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """
    Lower the margin by random squares, each sample until it is broken; and, with halvings, those that come nearest to
    it for longest.

    :param margin: `margin(points, rows)`: the margins of points of the samples in `rows`, (k,).
    :param balls: Where points may be, (batch, ...); pixels are the last two axes of three, or all of a vector's axis.
    :param start: Where to begin, (batch, ...), in the balls.
    :param queries: Squares tried for each sample, >= 0.
    :param area: Share of the pixels in the first squares, in (0, 1].
    :param generator: The source of randomness, on the device.
    :param halvings: Numbers of queries after which only the half of the samples goes on whose margins have fallen to
           the smallest share of those at the centres.
    :return: The points of the least margin found, (batch, ...), and these margins, (batch,).
    """
    best, rows = start.clone(), torch.arange(len(start), device=start.device)
    if not len(start):
        return best, best.new_zeros(0)
    lowest, scales = margin(best, rows), margin(balls.centres, rows)
    for query in range(queries):
        rows = rows[lowest[rows] > 0]
        if query in halvings:
            order = (lowest[rows] / scales[rows]).argsort(stable=True)
            rows = rows[order[: (len(rows) + 1) // 2]].sort().values
        if not len(rows):
            break
        share = area * 0.5 ** sum(query > part * queries for part in HALVINGS)
        trial = _changed(best[rows], balls.select(rows), share, generator)
        reached = margin(trial, rows)
        better = reached < lowest[rows]
        best[rows[better]], lowest[rows[better]] = trial[better], reached[better]
    return best, lowest


def striped(balls: Balls, generator: torch.Generator) -> Tensor:
    """
    Points on corners of the balls in vertical stripes of one pixel, which images are sensitive to; on the sphere for
    L_2.

    :param balls: The balls, (batch, ...).
    :param generator: The source of randomness, on the device.
    :return: (batch, ...), in the balls.
    """
    images = _as_images(balls.centres)
    shape = (len(images), images.shape[1], 1, images.shape[3])
    signs = torch.randint(0, 2, shape, generator=generator, device=images.device).to(images) * 2 - 1
    stripes = signs.expand(images.shape).reshape(balls.centres.shape)
    return balls.step(balls.centres, stripes, float(balls.radii.max())) if len(images) else balls.centres


def _changed(points: Tensor, balls: Balls, share: float, generator: torch.Generator) -> Tensor:
    """The points, each with a square of pixels changed."""
    images = _as_images(points)
    count, channels, height, width = images.shape
    side = max(round(math.sqrt(share * height * width)), 1) if height > 1 else max(round(share * width), 1)
    mask = _band(height, side, count, generator).unsqueeze(2) & _band(width, side, count, generator).unsqueeze(1)
    signs = torch.randint(0, 2, (count, channels, 1, 1), generator=generator, device=points.device).to(points) * 2 - 1
    bump = (mask.unsqueeze(1) * signs).reshape(points.shape)
    if balls.norm == math.inf:
        return torch.where(bump > 0, balls.high, torch.where(bump < 0, balls.low, points))
    length = torch.linalg.vector_norm(bump.flatten(1), dim=1)
    return balls.project(points + bump * column(math.sqrt(share) * balls.radii / length, points))


def _as_images(points: Tensor) -> Tensor:
    """Inputs of any shape as (batch, channels, height, width)."""
    if points.dim() == 4:
        return points
    return (
        points.reshape(len(points), 1, *points.shape[1:])
        if points.dim() == 3
        else points.reshape(len(points), 1, 1, -1)
    )


def _band(length: int, side: int, count: int, generator: torch.Generator) -> Tensor:
    """Which of the pixels of a line are in a random interval of `side` pixels, (count, length)."""
    side = min(side, length)
    first = torch.randint(0, length - side + 1, (count, 1), generator=generator, device=generator.device)
    places = torch.arange(length, device=generator.device)
    return (places >= first) & (places < first + side)
