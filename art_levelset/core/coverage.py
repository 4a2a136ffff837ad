"""
How far a level set can be from samples, guaranteed: a search through cells, in two or three dimensions (or a few more).

Let S = {x in the box : F(x) = c}, let p_1, ..., p_n be samples, and let an enclosure
(:mod:`art_levelset.core.enclosures`) give bounds of F over cells. The box is cut into cells, and these into halves
along every axis. A cell with centre m and half diagonal h

* is *empty* if c is not within its bounds: then it has no point of S;
* is *covered* if min_j |m - p_j| + h <= R: then all its points are within R of a sample;
* is divided again otherwise.

When no cell is left, every point of S is in a covered cell, so sup_{x in S} min_j |x - p_j| <= R. If the search is cut
short, by the number of cells or because h is a sixteenth of R, the largest min_j |m - p_j| + h of all cells that
are not empty bounds it instead: `Certificate.radius` is always a valid bound, and small where the samples are good.

What is assumed: that the enclosure is one, up to rounding. Nothing is assumed about S: components that no sample has
reached are found, and so are those that are smaller than any cell, or only touch c. Samples lie on S as far as their
status says so, |F - c| <= tol.

`cover` makes the samples. In each round it projects the centres of the cells that are small enough and not covered and,
of the points that arrive, takes farthest ones until all are within R / 2 of a sample; so samples are more than R / 2
apart, and there are at most as many as balls of radius R / 4 fit beside each other along S. A cell next to S of half
diagonal h with its projection within R / 2 - h is then covered.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from art_levelset.checks import check_count, check_positive
from art_levelset.core.balls import Box
from art_levelset.core.enclosures import Enclosure
from art_levelset.core.fields import FieldLike
from art_levelset.core.projection import project
from art_levelset.core.samples import LevelSetSamples, check_points
from art_levelset.core.spreading import box_walls, farthest_points, nearest

FINEST = 1 / 16
"""Cells whose half diagonal is this part of the radius, or less, are not divided again."""

MAX_CELLS = 200_000


@dataclass(frozen=True, eq=False)
class Certificate:
    """
    What a search through cells has proved.

    :param radius: No point of the level set in the box is farther than this from every sample. Infinite where there is
           a cell that may hold one and no sample; 0 where there is no level set in the box.
    :param doubtful: The centres of the cells that may hold points farther than the radius asked for, (n, d).
    :param nb_cells: How many cells were enclosed.
    """

    radius: float
    doubtful: Tensor
    nb_cells: int

    @property
    def reached(self) -> bool:
        """Whether the radius asked for is proved."""
        return not len(self.doubtful)


@dataclass(frozen=True, eq=False)
class Cover:
    """
    Samples that cover a level set.

    :param samples: The samples, all converged.
    :param certificate: How far the level set can be from them.
    """

    samples: LevelSetSamples
    certificate: Certificate


def certify(
    enclosure: Enclosure,
    points: Tensor,
    box: Box,
    radius: float,
    *,
    level: float = 0.0,
    max_cells: int = MAX_CELLS,
) -> Certificate:
    """
    Bound the distance from the level set in a box to the nearest of given points, however these were made.

    :param enclosure: Bounds of F over cells (:mod:`art_levelset.core.enclosures`).
    :param points: The samples, (n, d), floating point; n = 0 is allowed.
    :param box: (low, high), finite, numbers or tensors that broadcast to one point.
    :param radius: The radius to prove, > 0. A much smaller one than the points have costs many cells.
    :param level: The level c.
    :param max_cells: The most cells to enclose, >= 1.
    :return: The certificate.
    :raises ValueError: If a shape, dtype or number is out of range.

    >>> import torch
    >>> from art_levelset.core.enclosures import lipschitz_enclosure
    >>> circle = lipschitz_enclosure(lambda x: torch.linalg.vector_norm(x, dim=1) - 1, 1.0)
    >>> angles = torch.arange(8) * torch.pi / 4
    >>> found = certify(circle, torch.stack([angles.cos(), angles.sin()], dim=1), (-2.0, 2.0), radius=0.5)
    >>> found.reached, 0.39 < found.radius <= 0.5  # 2 sin(pi / 16) = 0.39
    (True, True)
    """
    check_points(points)
    search = _Search(enclosure, points.flatten(1), box, radius, level, max_cells)
    while search.divide():
        search.settle(points.flatten(1))
    return search.certificate(points.flatten(1))


def cover(
    field: FieldLike,
    enclosure: Enclosure,
    box: Box,
    radius: float,
    *,
    like: Tensor,
    level: float = 0.0,
    max_cells: int = MAX_CELLS,
    max_iter: int = 20,
    tol: float = 1e-5,
) -> Cover:
    """
    Samples such that no point of the level set in a box is farther than a radius from all of them.

    :param field: F, scalar (l = 1).
    :param enclosure: Bounds of F over cells (:mod:`art_levelset.core.enclosures`).
    :param box: (low, high), finite, numbers or tensors that broadcast to one point.
    :param radius: R, > 0.
    :param like: A tensor with the dtype, the device and, in its last dimension, the dimension d of the points.
    :param level: The level c.
    :param max_cells: The most cells to enclose, >= 1. Where they do not suffice the certificate says so.
    :param max_iter: The largest number of steps of a projection, >= 0.
    :param tol: The largest |F - c| of a sample, >= 0.
    :return: The samples, more than R / 2 apart, and the certificate.
    :raises ValueError: If a shape, dtype or number is out of range.

    >>> import torch
    >>> from art_levelset.core.enclosures import lipschitz_enclosure
    >>> circle = lambda x: torch.linalg.vector_norm(x, dim=1) - 1
    >>> found = cover(circle, lipschitz_enclosure(circle, 1.0), (-2.0, 2.0), radius=0.2, like=torch.zeros(2))
    >>> found.certificate.reached, found.certificate.radius <= 0.2, 16 <= len(found.samples) <= 62
    (True, True, True)
    """
    low, high = box_walls(box, like)
    search = _Search(enclosure, low.new_zeros(0, len(low)), box, radius, level, max_cells)
    samples = project(field, search.centres[:0], level, max_iter=max_iter, tol=tol)
    while search.divide():
        if search.reach <= radius / 4:
            search.settle(samples.points)
            found = project(field, search.centres, level, max_iter=max_iter, tol=tol, box=(low, high))
            found = found.select(found.converged)
            if len(found):
                rows = farthest_points(found.points, len(found), chosen=samples.points, apart=radius / 2)
                samples = _joined(samples, found.select(rows))
            search.settle(samples.points)
    return Cover(samples, search.certificate(samples.points))


class _Search:
    """
    The cells that are neither empty nor covered, and the largest bound of the covered ones.

    :param enclosure: Bounds of F over cells.
    :param like: (..., d).
    :param box: What the cells fill.
    :param radius: R.
    :param level: c.
    :param max_cells: The most cells to enclose.
    """

    def __init__(
        self, enclosure: Enclosure, like: Tensor, box: Box, radius: float, level: float, max_cells: int
    ) -> None:
        check_positive("radius", radius)
        check_count("max_cells", max_cells)
        low, high = box_walls(box, like)
        self.enclosure, self.radius, self.level, self.max_cells = enclosure, radius, level, max_cells
        # Cells that are nearly cubes: as many along each axis as the shortest edge goes into it.
        counts = torch.round((high - low) / (high - low).min()).long()
        self.half = (high - low) / counts / 2
        steps = [torch.arange(int(count), device=low.device) for count in counts]
        self.centres = low + self.half * (2 * torch.cartesian_prod(*steps).reshape(-1, len(low)) + 1)
        self.signs = torch.tensor(list(itertools.product((-1, 1), repeat=len(low))), device=low.device)
        self.nb_cells, self.largest, self._divided = 0, 0.0, False

    @property
    def reach(self) -> float:
        """The cells' half diagonal."""
        return float(torch.linalg.vector_norm(self.half))

    def divide(self) -> bool:
        """Divide the cells and leave out the empty ones; False where that is not to be done any more."""
        parts = len(self.signs) if self._divided else 1
        if not len(self.centres) or self.nb_cells + parts * len(self.centres) > self.max_cells:
            return False
        if self._divided:
            if self.reach <= FINEST * self.radius:
                return False
            self.half = self.half / 2
            self.centres = (self.centres[:, None] + self.half * self.signs).flatten(0, 1)
        self._divided = True
        low, high = self.enclosure(self.centres, self.half)
        self.nb_cells += len(self.centres)
        self.centres = self.centres[~((low > self.level) | (high < self.level))]  # keeps what is not a number
        return True

    def settle(self, points: Tensor) -> None:
        """Leave out the cells that the points cover."""
        bounds = self._bounds(points)
        covered = bounds <= self.radius
        if bool(covered.any()):
            self.largest = max(self.largest, float(bounds[covered].max()))
            self.centres = self.centres[~covered]

    def certificate(self, points: Tensor) -> Certificate:
        """What is proved of these points."""
        self.settle(points)
        left = float(self._bounds(points).max()) if len(self.centres) else 0.0
        return Certificate(max(self.largest, left), self.centres, self.nb_cells)

    def _bounds(self, points: Tensor) -> Tensor:
        if not len(points):
            return torch.full((len(self.centres),), torch.inf, dtype=self.half.dtype, device=self.half.device)
        return nearest(self.centres, points)[0] + self.reach


def _joined(one: LevelSetSamples, other: LevelSetSamples) -> LevelSetSamples:
    """The samples of both."""
    return LevelSetSamples(
        *(
            torch.cat([getattr(one, name), getattr(other, name)])
            for name in ("points", "values", "jacobians", "status", "iterations")
        )
    )
