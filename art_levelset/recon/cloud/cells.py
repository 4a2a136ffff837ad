"""
Clouds of any number of points in bounded memory: the means of the points in the cells of a grid.

A cell keeps the sum of its points and their number, so no point is left out, and a mean has less noise than a point.
When there are too many cells the grid's side doubles. Sums add up and cells nest, so the result is as if the side had
been so from the beginning, and the order of the points matters for rounding only. Sums are those of offsets from an
origin amidst the cloud, in float64: large coordinates lose nothing.

In the end the cells, of which there may have been twice as many as are wanted, are grouped by their means in a grid
whose side is only as much larger as need be. Neighbourhoods of so many cells (:mod:`art_levelset.recon.cloud.quadrics`)
see a surface only if they are wider than the noise. Where it is not much smaller than the cells, quadrics of the 24
nearest means leave residuals as large as in a solid of cells, of nearly a side; then the side grows on, until it is
about 1.2 times the noise's deviation. Two sheets do so as well, but only if they are nearer to each other than three
sides. The same is asked of points that are not too many, as if they were the means of cells: there are means of noisy
ones as well (:func:`condense_noise`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points, drawn, spacings
from art_levelset.recon.cloud.quadrics import COUNTS, Means, fit_surface

logger = logging.getLogger(__name__)

Columns = dict[str, NDArray[Any]]
"""Points: `points` and what belongs to them, `normals`, `colours` and `sensors` for instance, each (n, 3)."""

MOST_POINTS = 1_000_000
"""No more points than this are kept as they are, and no more cells."""

FINEST = 1 << 12
"""So many cells are along the middle 98% of the points, in the beginning."""

SPARE = 2
"""So many times as many cells as are wanted are kept while points come in."""

STEP = 2**0.25
"""By this factor the side grows in the end."""

FARTHEST = 2.0**62
"""Cells are counted up to here from the origin; what is farther is in the last one."""

MIXERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)
"""Odd numbers that make one key of three: points of a cell are beside each other if they are sorted by it."""

ROUGH = 0.7
"""Residuals, in sides, from which on the noise is too wide for the cells."""

NOISY = 0.75
"""From which on means are better than the points: with less, neighbourhoods of more points reach through the noise."""

TRIED = 1000
"""At so many cells residuals are measured, drawn by the points in them."""

FEWEST_CELLS = 10_000
"""No fewer are left, however wide the noise is."""

EIGHTH = 1.27
"""How many sides away the eighth neighbour is of a mean in the cells of a grid, on a surface and in a solid."""

KEPT = ("sensors",)
"""What has no mean: a cell keeps that of its first point."""


def condense(batches: Iterable[Columns], most: int) -> tuple[Columns, NDArray[np.int64] | None]:
    """
    Points as they are, or, if there are too many, their means in the cells of a grid.

    Normals and colours have means as well, of a sensor's position that of one of the points is kept. Of columns that
    are not in all batches nothing is kept.

    :param batches: The points, in parts, without NaN and infinite coordinates.
    :param most: The largest number of points that stay as they are, and of cells, >= 8.
    :return: The points or means, and how many points each of these stands for, (m,), None where they stayed; empty if
             there are none.
    """
    cells: Cells | None = None
    waiting: list[Columns] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch["points"])
        if count > most:
            points = _joined(waiting)
            cells = _cells_around(points["points"], SPARE * most) if cells is None else cells
            cells.add(points)
            waiting, count = [], 0
    if cells is None:
        return _joined(waiting), None
    if count:
        cells.add(_joined(waiting))
    cells = _grouped(cells, most)
    logger.info("%s points in %s cells of side %.3g", f"{cells.counts.sum():,}", f"{len(cells):,}", cells.side)
    return cells.means(), cells.counts


def condense_noise(points: Columns) -> tuple[Columns, NDArray[np.int64] | None]:
    """
    Points as they are, or, where the noise is too wide for the nearest of them to show a surface, their means in cells.

    :param points: `points` and what belongs to them, as for :func:`condense`, in one part.
    :return: As of :func:`condense`: at least :data:`FEWEST_CELLS` means, and no more than there are points.
    """
    positions = points["points"]
    side = float(np.median(spacings(positions))) / EIGHTH if len(positions) > FEWEST_CELLS else 0.0
    if not side > 0:  # few points, or most of them several times
        return points, None
    cells = Cells(np.median(positions, axis=0), side, len(positions))
    cells.add(points)
    if len(cells) < FEWEST_CELLS or cells.roughness() <= NOISY:
        return points, None
    cells = _grouped(cells, len(cells))
    logger.info("%s noisy points in %s cells of side %.3g", f"{len(positions):,}", f"{len(cells):,}", cells.side)
    return cells.means(), cells.counts


def _grouped(fine: Cells, most: int) -> Cells:
    """No more cells than that, and larger ones than the noise."""
    cells, side = fine, fine.side
    while len(cells) > most:
        side *= STEP
        cells = fine.grouped(side)
    while len(cells) > FEWEST_CELLS and cells.roughness() > ROUGH:
        side *= STEP
        coarser = fine.grouped(side)
        if len(coarser) < FEWEST_CELLS:
            break
        cells = coarser
    return cells


def _joined(batches: list[Columns]) -> Columns:
    """The columns that all batches have."""
    names = [name for name in batches[0] if all(name in batch for batch in batches)] if batches else []
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def _cells_around(points: Points, most: int) -> Cells:
    """A grid that is fine enough for a cloud, and whose origin strays hardly move."""
    low, origin, high = np.quantile(points.astype(np.float64), (0.01, 0.5, 0.99), axis=0)
    longest = float((high - low).max()) or float(np.ptp(points, axis=0).max()) or 1.0
    return Cells(origin, longest / FINEST, most)


class Cells:
    """
    Sums over the points in the cells of a grid.

    :param origin: A corner of a cell, (3,).
    :param side: The side of the cells in the beginning, > 0.
    :param most: The side doubles until there are no more cells than this, >= 8: those around the origin stay apart.
    """

    def __init__(self, origin: Points, side: float, most: int) -> None:
        self.origin = origin
        self.side = side
        self.most = most
        self.counts = np.zeros(0, np.int64)
        self._places = np.zeros((0, 3), np.int64)
        self._columns: Columns = {}
        self._kinds: dict[str, np.dtype[Any]] = {}

    def __len__(self) -> int:
        return len(self.counts)

    def add(self, points: Columns) -> None:
        """
        Add points.

        :param points: `points`, (n, 3), n >= 1, and what belongs to them; what else earlier ones had is dropped. NaN
               and infinite numbers of it count as 0, but for those of :data:`KEPT`.
        """
        offsets = points["points"].astype(np.float64) - self.origin
        places = self._places_of(offsets)
        columns: Columns = {"points": offsets}
        for name in points.keys() - {"points"}:
            column = points[name].astype(np.float64)
            columns[name] = column if name in KEPT else np.nan_to_num(column, nan=0.0, posinf=0.0, neginf=0.0)
        counts = np.ones(len(offsets), np.int64)
        self._kinds = {name: np.result_type(self._kinds.get(name, points[name]), points[name]) for name in points}
        if len(self):
            places, counts = np.concatenate([self._places, places]), np.concatenate([self.counts, counts])
            columns = _joined([self._columns, columns])
        self._merge(places, counts, columns)
        while len(self) > self.most:
            self.side *= 2
            self._merge(self._places >> 1, self.counts, self._columns)

    def grouped(self, side: float) -> Cells:
        """
        Group the cells by their means.

        :param side: That of the cells of another grid, > 0.
        :return: The cells of that.
        """
        other = Cells(self.origin, side, self.most)
        other._kinds = self._kinds
        other._merge(other._places_of(self._columns["points"] / self.counts[:, None]), self.counts, self._columns)
        return other

    def means(self) -> Columns:
        """
        The means of the points in each cell, and of what belongs to them.

        :return: The columns, (m, 3), those of whole numbers rounded.
        """
        means = {name: column / self.counts[:, None] for name, column in self._columns.items() if name not in KEPT}
        means["points"] += self.origin
        for name, kind in self._kinds.items():
            if name in means and np.issubdtype(kind, np.integer):
                means[name] = np.rint(means[name]).astype(kind)
        return {**means, **{name: self._columns[name] for name in KEPT if name in self._columns}}

    def roughness(self) -> float:
        """
        How far the means are from quadrics through the nearest of them.

        :return: The usual deviation, in sides; of a surface without noise nearly 0, of a solid nearly 1.
        """
        means = self._columns["points"] / self.counts[:, None] / self.side
        some = drawn(self.counts, TRIED, np.random.default_rng(0))
        fits = fit_surface(means, means[some], most=COUNTS[1], means=Means(self.counts.astype(np.float64), 1.0))
        return float(np.median(fits.residuals))

    def _places_of(self, offsets: Points) -> NDArray[np.int64]:
        with np.errstate(over="ignore"):
            return np.floor(offsets / self.side).clip(-FARTHEST, FARTHEST).astype(np.int64)

    def _merge(self, places: NDArray[np.int64], counts: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> None:
        """Join the rows of the same cell. Cells of the same key stay apart, though perhaps not in one row each."""
        order = np.argsort((places.astype(np.uint64) * MIXERS).sum(axis=1), kind="stable")
        places = places[order]
        begins = np.flatnonzero(np.concatenate([[True], (places[1:] != places[:-1]).any(axis=1)]))
        self._places = places[begins]
        self.counts = np.add.reduceat(counts[order], begins)
        self._columns = {
            name: column[order[begins]] if name in KEPT else np.add.reduceat(column[order], begins)
            for name, column in columns.items()
        }
