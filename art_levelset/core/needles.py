"""
Uniform samples of a level set in any dimension, its area, and how much of it samples leave out: by Buffon's needles.

The region is a ball of radius R, or a box and the smallest ball around it. A random line that meets the ball has a
direction u that is uniform on the sphere and passes through a point that is uniform in the (d - 1)-ball of radius R
orthogonal to u. Seen along u a piece dA of the hypersurface S = {F = c} with the unit normal n has the area
|<n, u>| dA, so, with the volume v of the unit (d - 1)-ball, a line meets it with probability a dA / (v R^(d-1)), where

    a = E |<n, u>| = Gamma(d/2) / (sqrt(pi) Gamma((d + 1)/2))

(Crofton's formula; a = 2/pi in the plane, 1/2 in space). The needle is one of the k equal pieces into which the ball
cuts each line, drawn at random. So

    P(the needle crosses dA) = a / (k v R^(d-1)) dA,

the same for all pieces of S: crossings are uniform with respect to area (length in the plane), and those of different
needles are independent. A needle is evaluated at its two ends; if F - c has two signs there its crossing is found by
false position. Crossings outside the box do not count, and needles outside of it cost nothing.

The number of crossings is binomial, and gives the area; so is the number of those that are farther than a radius from
all samples, and gives the part of S that they leave out. Both come with the exact confidence intervals of Clopper and
Pearson, which hold for any numbers, also where no crossing at all is uncovered.

The bias: a needle that crosses S an even number of times looks as if it did not, and one that crosses it three times as
if once. Of a circle or a sphere of radius r needles of a length s, at any place, miss the part s^2 / (24 r^2) or s^2 /
(12 r^2); of a component, or a gap between two, that is thinner than s nearly all. Needles are no longer than 2R/k, so k
decides what is seen. Where F jumps over c, a needle across the jump counts, with one of its points.

In high dimension chords are short by themselves, some R sqrt(8/d), and a hyperplane through the middle of the ball is
crossed with probability a / k, a = sqrt(2 / (pi d)): k = 1 may do. The region has to be a ball around data there, for a
box has nearly all of its volume far from its middle.

| Paper link: https://doi.org/10.1093/biomet/26.4.404
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.balls import Box
from art_levelset.core.bracketing import false_position
from art_levelset.core.fields import FieldLike, as_field
from art_levelset.core.modes import evaluating
from art_levelset.core.samples import Status, check_points
from art_levelset.core.spreading import box_walls, nearest

CHUNK = 1 << 14
"""Needles that are dropped at once."""

STEPS = 60
"""The most passes to find a crossing."""


@dataclass(frozen=True, eq=False)
class Ball:
    """
    A ball as the region of the needles.

    :param centre: (d,), floating point, d >= 2.
    :param radius: R, > 0.
    """

    centre: Tensor
    radius: float

    def __post_init__(self) -> None:
        if not isinstance(self.centre, Tensor) or not self.centre.is_floating_point() or self.centre.dim() != 1:
            raise ValueError(f"centre must be a floating-point tensor (d,), got {self.centre!r}")
        check_positive("radius", self.radius)


@dataclass(frozen=True, eq=False)
class Interval:
    """
    A number that was estimated, and its confidence interval.

    :param value: The estimate; not a number where there was nothing to estimate it from.
    :param low: The lower end.
    :param high: The upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Crossed:
    """
    Independent uniform samples of a level set in a region.

    :param points: The crossings, (k, d).
    :param nb_needles: How many needles were dropped.
    :param scale: The area of a level set that every needle crosses.
    :param nb_passes: Forward passes spent, counted in points.
    """

    points: Tensor
    nb_needles: int
    scale: float
    nb_passes: int

    def area(self, confidence: float = 0.95) -> Interval:
        """
        The area of the level set in the region; in the plane its length.

        :param confidence: Of the interval, in (0, 1).
        :return: The area and its interval.
        """
        low, high = binomial_interval(len(self.points), self.nb_needles, confidence)
        return Interval(self.scale * len(self.points) / self.nb_needles, self.scale * low, self.scale * high)

    def uncovered(self, samples: Tensor, radius: float, confidence: float = 0.95) -> Interval:
        """
        The part of the level set, by its area, that is farther from all samples than a radius.

        :param samples: (n, d). They must not be among these crossings, nor be made of them.
        :param radius: > 0, or 0.
        :param confidence: Of the interval, in (0, 1).
        :return: The fraction and its interval; (nan, 0, 1) if no needle crossed the level set.
        :raises ValueError: If a shape or a number is out of range.
        """
        check_points(samples, "samples")
        if not radius >= 0:
            raise ValueError(f"radius must be >= 0, got {radius}")
        count = len(self.points)
        if not count:
            return Interval(math.nan, 0.0, 1.0)
        missed = count
        if len(samples):
            missed = int((nearest(self.points, samples.flatten(1))[0] > radius).sum())
        return Interval(missed / count, *binomial_interval(missed, count, confidence))


def drop_needles(
    field: FieldLike,
    region: Box | Ball,
    nb_needles: int,
    *,
    like: Tensor | None = None,
    nb_pieces: int = 32,
    level: float = 0.0,
    tol: float = 1e-5,
    seed: int = 0,
) -> Crossed:
    """
    Uniform samples of a level set: where random needles cross it.

    :param field: F, scalar (l = 1).
    :param region: A box (low, high), finite, or a :class:`Ball`.
    :param nb_needles: How many needles to drop, >= 1.
    :param like: A tensor with the dtype, the device and, in its last dimension, the dimension d >= 2 of the points. A
           box needs it.
    :param nb_pieces: k: a needle is one of so many pieces of a chord, >= 1.
    :param level: The level c.
    :param tol: The largest |F - c| at a crossing, >= 0, as far as F is continuous and the dtype precise enough.
    :param seed: Seed of the needles, >= 0.
    :return: The crossings.
    :raises ValueError: If a shape, dtype or number is out of range, or F is not scalar.

    >>> import torch
    >>> circle = lambda x: torch.linalg.vector_norm(x, dim=1) - 1
    >>> crossed = drop_needles(circle, (-1.5, 1.5), 20_000, like=torch.zeros(2))
    >>> length = crossed.area()
    >>> length.low < 2 * torch.pi < length.high
    True
    >>> half = crossed.points[crossed.points[:, 0] > 0]
    >>> left_out = drop_needles(circle, (-1.5, 1.5), 20_000, like=torch.zeros(2), seed=1).uncovered(half, 0.1)
    >>> left_out.low < 0.5 - 0.1 / torch.pi < left_out.high
    True
    """
    field = as_field(field)
    check_count("nb_needles", nb_needles)
    check_count("nb_pieces", nb_pieces)
    check_seed(seed)
    ball, box = region, None
    if not isinstance(ball, Ball):
        if like is None:
            raise ValueError("like must be given with a box")
        box = low, high = box_walls(region, like)  # type: ignore[arg-type]
        ball = Ball((low + high) / 2, float(torch.linalg.vector_norm(high - low)) / 2)
    dimension = len(ball.centre)
    if dimension < 2:
        raise ValueError(f"region must have at least two dimensions, got {dimension}")
    generator = torch.Generator().manual_seed(seed)
    points, passes = [ball.centre.new_zeros(0, dimension)], 0
    for first in range(0, nb_needles, CHUNK):
        start, end = _needles(ball, min(CHUNK, nb_needles - first), nb_pieces, generator)
        if box is not None:
            within = ((torch.maximum(start, end) >= box[0]) & (torch.minimum(start, end) <= box[1])).all(dim=1)
            start, end = start[within], end[within]
        with torch.no_grad(), evaluating(field.module):
            values = [field(ends) - level for ends in (start, end)]
        if values[0].shape[1] != 1:
            raise ValueError(f"field must be scalar (l = 1), got l = {values[0].shape[1]}")
        opposite = ((values[0] < 0) != (values[1] < 0)).squeeze(1)
        found = false_position(field, start[opposite], end[opposite], level, max_iter=STEPS, tol=tol)
        passes += 2 * len(start) + int(found.iterations.sum()) + 2 * len(found)
        points.append(found.points[found.status != Status.NOT_FINITE])
        if box is not None:
            points[-1] = points[-1][((points[-1] >= box[0]) & (points[-1] <= box[1])).all(dim=1)]
    return Crossed(torch.cat(points), nb_needles, _scale(dimension, ball.radius, nb_pieces), passes)


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """
    Clopper and Pearson's interval of a probability: it contains it at least as often as the confidence says.

    :param successes: In [0, n].
    :param n: Independent trials, >= 1.
    :param confidence: In (0, 1).
    :return: Its ends, in [0, 1].
    :raises ValueError: If a number is out of range.

    >>> low, high = binomial_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.0362)
    """
    check_count("n", n)
    check_count("successes", successes, least=0)
    if successes > n:
        raise ValueError(f"successes must be in [0, {n}], got {successes}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    tail = (1 - confidence) / 2
    high = _upper_end(successes, n, tail)
    return 1 - _upper_end(n - successes, n, tail), high


def _upper_end(successes: int, n: int, tail: float) -> float:
    """The p with P(X <= successes) = tail, by bisection; 1 if there were only successes."""
    if successes == n:
        return 1.0
    k = torch.arange(successes + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    low, high = successes / n, 1.0
    for _ in range(60):
        p = (low + high) / 2
        terms = ways + k * math.log(p) + (n - k) * math.log1p(-p) if p < 1 else ways - math.inf
        low, high = (p, high) if float(terms.logsumexp(dim=0)) > math.log(tail) else (low, p)
    return high


def _needles(ball: Ball, count: int, nb_pieces: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The two ends of needles in a ball, (count, d) each."""
    dimension = len(ball.centre)
    direction, offset = torch.randn(2, count, dimension, generator=generator, dtype=torch.float64)
    direction = torch.nn.functional.normalize(direction, dim=1)
    offset = offset - (offset * direction).sum(dim=1, keepdim=True) * direction
    uniform, chance = torch.rand(2, count, 1, generator=generator, dtype=torch.float64)
    offset = uniform ** (1 / (dimension - 1)) * torch.nn.functional.normalize(offset, dim=1)
    reach = (1 - offset.square().sum(dim=1, keepdim=True)).clamp(min=0).sqrt()
    piece = (nb_pieces * chance).floor()
    ends = (offset + (2 * (piece + i) / nb_pieces - 1) * reach * direction for i in (0, 1))
    start, end = (ball.centre + ball.radius * unit.to(ball.centre) for unit in ends)
    return start, end


def _scale(dimension: int, radius: float, nb_pieces: int) -> float:
    """k v R^(d-1) / a; infinite or zero where that is beyond what a number can hold."""
    disc = (dimension - 1) / 2 * math.log(math.pi) - math.lgamma((dimension + 1) / 2)
    mean = math.lgamma(dimension / 2) - 0.5 * math.log(math.pi) - math.lgamma((dimension + 1) / 2)
    logarithm = math.log(nb_pieces) + disc + (dimension - 1) * math.log(radius) - mean
    return float(torch.tensor(logarithm, dtype=torch.float64).exp())
