"""From the traced zero set to the pieces of the reconstruction: the wanted lines, cut where they were open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.closing import Loop
from art_levelset.recon.curves.polylines import Polyline
from art_levelset.recon.curves.solid_angle import distance_to

SPACING = 0.01
FEWEST = 3
"""A line that is the nearest one to fewer points of the wanted curves, that far apart, is spurious."""


def trim(lines: Sequence[Polyline], loops: Sequence[Loop], cloud: Points, reach: float) -> tuple[list[Polyline], int]:
    """
    Leave out lines that no wanted curve is near to; cut the others where their loop is cut, back to the last data.

    :param lines: The traced zero set.
    :param loops: The loops that it was made for.
    :param cloud: (n, 3).
    :param reach: Points of the cloud further than that from every line do not count.
    :return: The pieces, and the number of lines that were left out.
    """
    if not lines:
        return [], 0
    owners = _nearest(lines, np.concatenate([loop.piece.resampled(SPACING).points for loop in loops]))[1]
    real = [line for index, line in enumerate(lines) if np.count_nonzero(owners == index) >= FEWEST]
    spurious = len(lines) - len(real)
    lines = real
    parameters, owners, distances = _nearest(lines, cloud)
    cuts: list[list[float]] = [[] for _ in lines]
    for loop in loops:
        if loop.cut is not None:
            parameter, owner, _ = _nearest(lines, loop.cut[None])
            cuts[owner[0]].append(float(parameter[0]))
    pieces = []
    for index, line in enumerate(lines):
        if line.closed and not cuts[index]:
            pieces.append(line)
        else:
            pieces += _between(line, sorted(cuts[index]), parameters[(owners == index) & (distances <= reach)])
    return pieces, spurious


def holds(pieces: Sequence[Polyline], loops: Sequence[Loop], reach: float) -> bool:
    """
    Whether the pieces are those that were wanted.

    :param pieces: What :func:`trim` returned.
    :param loops: The loops.
    :param reach: Within this distance of the pieces should be the loops' own.
    :return: Whether there are as many open and closed ones as loops, and they cover the loops' pieces.
    """
    wanted, found = (sorted(line.closed for line in lines) for lines in ([loop.piece for loop in loops], pieces))
    return wanted == found and all(distance_to(loop.piece.points, pieces).max() <= reach for loop in loops)


def _nearest(
    lines: Sequence[Polyline], points: Points
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """The nearest point of several lines: its parameter, its line and its distance, (n,) each."""
    parameters, distances = (np.stack(rows) for rows in zip(*(line.project(points) for line in lines), strict=True))
    owners = distances.argmin(axis=0)
    every = np.arange(len(points))
    return parameters[owners, every], owners, distances[owners, every]


def _between(line: Polyline, cuts: list[float], supported: NDArray[np.float64]) -> list[Polyline]:
    """The parts of a line between cuts, from the first to the last point of the data on each."""
    if line.closed:
        supported = cuts[0] + np.mod(supported - cuts[0], line.length)
        borders = [*cuts, cuts[0] + line.length]
    else:
        borders = [0.0, *cuts, line.length]
    parts = []
    for low, high in pairwise(borders):
        inside = supported[(supported >= low) & (supported <= high)]
        if len(inside) >= FEWEST and inside.max() > inside.min():
            parts.append(line.part(float(inside.min()), float(inside.max())))
    return parts
