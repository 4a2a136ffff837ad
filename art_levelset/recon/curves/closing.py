"""
Closing open curves: the zero set of two smooth functions has no ends, so an open curve is fitted as part of a loop.

From its ends the loop goes straight on, then by the way on which it stays as far as possible from all the curves: the
cheapest path on a grid where a step costs the inverse square of the distance to them. The loop's middle between the
ends is remembered; there the reconstruction is cut again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline
from art_levelset.recon.curves.solid_angle import distance_to

WALL = 1.3
"""Everything happens in [-WALL, WALL]^3 of the unit frame."""

CELLS = 26
NEAREST = 0.05
SPACING = 0.04
STRAIGHT = 0.1
"""The network cannot turn at once: the loop goes straight on for at least this length, where there is room."""

SMOOTHINGS = 30


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


def close(pieces: Sequence[Polyline], radius: float) -> list[Loop]:
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
    clearance = np.maximum(distance_to(nodes.reshape(-1, 3), obstacles), NEAREST).reshape(nodes.shape[:3])
    # The walls count as obstacles, at some distance: the fit ends there.
    clearance = np.minimum(clearance, np.maximum(WALL - np.abs(nodes).max(axis=-1), NEAREST) + NEAREST)
    start, end = (tuple(np.round((p + WALL) / (2 * WALL) * CELLS).astype(int).clip(0, CELLS)) for p in (leave, arrive))
    indices, _ = route_through_array(clearance**-2, start, end, fully_connected=True, geometric=True)
    route = np.array([nodes[tuple(index)] for index in indices])
    line = Polyline(np.concatenate([[leave], route[1:-1], [arrive]]), False).resampled(SPACING)
    points = line.points.copy()
    for _ in range(SMOOTHINGS):
        points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
    return Polyline(np.concatenate([[last], points, [first]]), False)


def _unit(vector: Points) -> Points:
    length = np.linalg.norm(vector)
    return np.asarray(vector / max(float(length), 1e-300))
