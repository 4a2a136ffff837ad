"""
Closing open curves, and opening them again: the zero set of two smooth functions has no ends, so an open curve is
fitted as part of a loop, and what is traced of the loop is trimmed to the data.

From its ends the loop goes straight on, then by the way on which it stays as far as possible from all the curves: the
cheapest path on a grid where a step costs the inverse square of the distance to them. The loop's middle between the
ends is remembered; there the reconstruction is cut again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline, distance_to

WALL = 1.3
"""Everything happens in [-WALL, WALL]^3 of the unit frame."""

CELLS = 26
CLEARANCE = 0.05
WAY_SPACING = 0.04
STRAIGHT = 0.1
"""The network cannot turn at once: the loop goes straight on for at least this length, where there is room."""

SMOOTHINGS = 30

TARGET_SPACING = 0.01
FEWEST = 3
"""A line that is the nearest one to fewer points of the wanted curves, that far apart, is spurious."""


@dataclass(frozen=True, eq=False)
class Loop:
    """
    A closed curve that contains a piece of the reconstruction.

    :param line: The closed line.
    :param piece: The piece itself; the same line if that is closed.
    :param cut: A point of the loop that is not on the piece, (3,); None if the piece is closed.
    """

    line: Polyline
    piece: Polyline
    cut: Points | None


def close_pieces(pieces: Sequence[Polyline], radius: float) -> list[Loop]:
    """
    Make a loop of each piece.

    :param pieces: Closed and open lines in the unit frame.
    :param radius: How far an open line goes straight on beyond its ends, if that is more than :data:`STRAIGHT`.
    :return: The loops.
    """
    obstacles = list(pieces)
    loops = []
    for piece in pieces:
        if piece.closed:
            loops.append(Loop(piece, piece, None))
            continue
        way = _way(piece, obstacles, radius)
        obstacles.append(way)
        middle = way.at(np.array([way.length / 2]))[0]
        loops.append(Loop(Polyline(np.concatenate([piece.points, way.points[1:-1]]), True), piece, middle))
    return loops


def trim_to_data(
    lines: Sequence[Polyline], loops: Sequence[Loop], cloud: Points, reach: float
) -> tuple[list[Polyline], int]:
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
    owners = _nearest(lines, np.concatenate([loop.piece.resampled(TARGET_SPACING).points for loop in loops]))[1]
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


def match_loops(pieces: Sequence[Polyline], loops: Sequence[Loop], reach: float) -> bool:
    """
    Whether the pieces are those that were wanted.

    :param pieces: What :func:`trim_to_data` returned.
    :param loops: The loops.
    :param reach: Within this distance of the pieces should be the loops' own.
    :return: Whether there are as many open and closed ones as loops, and they cover the loops' pieces.
    """
    wanted, found = (sorted(line.closed for line in lines) for lines in ([loop.piece for loop in loops], pieces))
    return wanted == found and all(distance_to(loop.piece.points, pieces).max() <= reach for loop in loops)


def _way(piece: Polyline, obstacles: Sequence[Polyline], radius: float) -> Polyline:
    """From the last point of an open line to its first."""
    from skimage.graph import route_through_array

    first, last = piece.points[0], piece.points[-1]
    straight = min(max(radius, STRAIGHT), float(np.linalg.norm(first - last)) / 3, piece.length / 4)
    inner = piece.at(np.array([straight, piece.length - straight]))
    leave = last + straight * _unit(last - inner[1])
    arrive = first + straight * _unit(first - inner[0])
    axis = np.linspace(-WALL, WALL, CELLS + 1)
    nodes = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    clearance = np.maximum(distance_to(nodes.reshape(-1, 3), obstacles), CLEARANCE).reshape(nodes.shape[:3])
    # The walls count as obstacles, at some distance: the fit ends there.
    clearance = np.minimum(clearance, np.maximum(WALL - np.abs(nodes).max(axis=-1), CLEARANCE) + CLEARANCE)
    start, end = (tuple(np.round((p + WALL) / (2 * WALL) * CELLS).astype(int).clip(0, CELLS)) for p in (leave, arrive))
    indices, _ = route_through_array(clearance**-2, start, end, fully_connected=True, geometric=True)
    route = np.array([nodes[tuple(index)] for index in indices])
    line = Polyline(np.concatenate([[leave], route[1:-1], [arrive]]), False).resampled(WAY_SPACING)
    points = line.points.copy()
    for _ in range(SMOOTHINGS):
        points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
    return Polyline(np.concatenate([[last], points, [first]]), False)


def _unit(vector: Points) -> Points:
    length = np.linalg.norm(vector)
    return np.asarray(vector / max(float(length), 1e-300))


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
