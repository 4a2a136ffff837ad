"""
What is known where the sensor of each point is: the way from it to the point is free.

Let s_i be where y_i was seen from. A surface shows its outer side to what sees it, so (s_i - y_i) . n > 0 for the
outward normal n: the directions to the sensors vote on the sides of planes as given normals do
(:func:`art_levelset.recon.cloud.orientation.votes_of_normals`). And no surface crosses the segment from s_i to y_i, so
all of it but its end, where noise has a say, is outside:

    {s_i + t (y_i - s_i) / L_i : 0 <= t <= L_i - h},      L_i = |y_i - s_i|,      h the reach of the planes.

The segments are drawn into the grid of the indicator function. A node is free if it and its 26 neighbours are passed
more often than a single segment passes them, which may be that of a stray point; and there the indicator function is
0. So holes that were seen through stay open, and what bulges over an unseen side ends where the view begins. In a
room, seen from within, the surface encloses the sensors: where the indicator function says so of most free nodes it is
1 there.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.orientation import Indicator

logger = logging.getLogger(__name__)

PASSES = 10
"""A node is free if segments pass it and its neighbours so often: one segment does so at most seven times."""

MOST_SEGMENTS = 100_000
"""Of more points a random part is drawn."""

BATCH = 1 << 12
"""Segments that are drawn together."""


def check_sensors(sensors: object, count: int) -> Points:
    """
    Check that an array has one position for all points, or one for each.

    :param sensors: The positions, (3,) or (count, 3), an array or a tensor of numbers.
    :param count: Number of points.
    :return: One for each point in float64, (count, 3); NaN for those that are NaN or infinite.
    :raises ValueError: If the shape is wrong, or none can be used.
    """
    try:
        positions = np.asarray(sensors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sensors must be an array of numbers, (3,) or (n, 3): {error}") from error
    if positions.shape not in ((3,), (count, 3)):
        raise ValueError(f"sensors must have the shape (3,) or that of the points, ({count}, 3), got {positions.shape}")
    each = np.broadcast_to(positions, (count, 3))
    known = np.isfinite(each).all(axis=1, keepdims=True)
    if not known.any():
        raise ValueError("sensors: all are NaN or infinite")
    return np.where(known, each, np.nan)


def directions_to(points: Points, sensors: Points) -> Points:
    """
    The unit vectors from points to what has seen them.

    :param points: (n, 3).
    :param sensors: Where each was seen from, (n, 3); NaN where that is not known.
    :return: (n, 3); zero where it is not known, or where the sensor is.
    """
    ways = np.nan_to_num(sensors - points, nan=0.0)
    lengths = np.linalg.norm(ways, axis=1, keepdims=True)
    units: Points = ways / np.where(lengths > 0, lengths, 1.0)
    return units


def free_nodes(
    points: Points, sensors: Points, shape: tuple[int, int, int], cell: float, margin: float
) -> NDArray[np.bool_]:
    """
    Which nodes of the indicator function's grid segments from the sensors to the points pass by.

    :param points: (n, 3), in the unit frame.
    :param sensors: Where each was seen from, (n, 3), in the unit frame; NaN where that is not known.
    :param shape: Numbers of nodes along the axes, (a, b, c); that in the middle, (a / 2, b / 2, c / 2), is the origin.
    :param cell: The distance between nodes.
    :param margin: How far from its point a segment ends, h >= 0.
    :return: (a, b, c).
    """
    known = np.isfinite(sensors).all(axis=1)
    points, sensors = points[known], sensors[known]
    if len(points) > MOST_SEGMENTS:
        rows = np.random.default_rng(0).choice(len(points), MOST_SEGMENTS, replace=False)
        points, sensors = points[rows], sensors[rows]
    passes = np.zeros(math.prod(shape), dtype=np.int32)
    for first in range(0, len(points), BATCH):
        part = slice(first, first + BATCH)
        np.add.at(passes, _passed(points[part], sensors[part], shape, cell, margin), 1)
    counts = passes.reshape(shape)
    for axis in range(3):
        counts = ndimage.correlate1d(counts, np.ones(3, dtype=np.int32), axis=axis, mode="constant")
    free: NDArray[np.bool_] = counts >= PASSES
    return free


def _passed(
    points: Points, sensors: Points, shape: tuple[int, int, int], cell: float, margin: float
) -> NDArray[np.int64]:
    """The nodes nearest to points of the segments that are half a cell apart, each once a segment."""
    last = np.array(shape) - 1
    middle = (last + 1) / 2
    ways = points - sensors
    lengths = np.linalg.norm(ways, axis=1)
    ways = ways / np.where(lengths > 0, lengths, 1.0)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # where a segment enters and leaves the grid
        walls = np.stack([(wall - sensors) / ways for wall in (-middle * cell, (last - middle) * cell)])
    enter = np.nan_to_num(walls.min(axis=0), nan=-np.inf).max(axis=1).clip(min=0)
    leave = np.minimum(np.nan_to_num(walls.max(axis=0), nan=np.inf).min(axis=1), lengths - margin)
    steps = np.arange(0, max(float((leave - enter).max(initial=0)), 0) + cell, cell / 2)
    along = enter[:, None] + steps
    used = along <= leave[:, None]
    rows = np.nonzero(used)[0]
    places = sensors[rows] + along[used][:, None] * ways[rows]
    x, y, z = np.rint(places / cell + middle).astype(np.int64).clip(0, last).T
    visited = (x * shape[1] + y) * shape[2] + z
    again = (visited[1:] == visited[:-1]) & (rows[1:] == rows[:-1])
    once: NDArray[np.int64] = visited[np.concatenate([np.ones(min(len(visited), 1), dtype=bool), ~again])]
    return once


def carved(indicator: Indicator, points: Points, sensors: Points, margin: float) -> Indicator:
    """
    An indicator function that knows what is free.

    :param indicator: The indicator function.
    :param points: (n, 3), in the unit frame.
    :param sensors: Where each was seen from, (n, 3), in the unit frame; NaN where that is not known.
    :param margin: How far from its point a segment ends, h >= 0.
    :return: The same, but 0 where it is free, or 1 where most of that is inside.
    """
    chi = indicator.nodes
    a, b, c = chi.shape
    free = torch.as_tensor(free_nodes(points, sensors, (a, b, c), indicator.cell, margin), device=chi.device)
    if not bool(free.any()):
        return indicator
    inside = bool(chi[free].median() > 0.5)
    logger.info(
        "%.0f%% of the box is seen to be free, and %s; the indicator function said otherwise of %.1f%% of that",
        100 * float(free.double().mean()),
        "inside" if inside else "outside",
        100 * float(((chi[free] > 0.5) != inside).double().mean()),
    )
    value = torch.maximum(chi, chi.new_ones(())) if inside else torch.minimum(chi, chi.new_zeros(()))
    nodes: Tensor = torch.where(free, value, chi)
    return Indicator(nodes, indicator.cell)
