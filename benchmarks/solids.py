"""
Solids as functions: negative inside, positive outside, nowhere steeper than 1, and zero on the surface.

The parts are signed distances; a union is the smallest of them, and what is cut out of a solid makes it the largest of
its own function and the negative of the cut's. So a step as long as the function never passes the surface, which rays
of virtual cameras make use of, and marching cubes make a mesh of the solid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np
import trimesh
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points

Values = NDArray[np.float64]
Solid = Callable[[Points], Values]

OFF = 0.371
"""Where the first node of the grid lies, in cells: surfaces at round numbers do not pass through nodes."""

SLAB = 1 << 19
"""So many nodes are evaluated at once."""


def box(half: Sequence[float], centre: Sequence[float] = (0.0, 0.0, 0.0)) -> Solid:
    """
    A box with sharp edges.

    :param half: Half of its sides, (3,).
    :param centre: Its middle, (3,).
    :return: The signed distance.
    """

    def value(points: Points) -> Values:
        over = np.abs(points - np.asarray(centre)) - np.asarray(half)
        beside: Values = np.linalg.norm(np.maximum(over, 0), axis=1) + np.minimum(over.max(axis=1), 0)
        return beside

    return value


def cylinder(axis: int, radius: float, half: float, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> Solid:
    """
    A round cylinder along an axis.

    :param axis: 0, 1 or 2.
    :param radius: Its radius.
    :param half: Half of its length; infinite for what is drilled through.
    :param centre: Its middle, (3,).
    :return: The signed distance.
    """

    def value(points: Points) -> Values:
        offsets = points - np.asarray(centre)
        along = np.abs(offsets[:, axis]) - half
        across = np.linalg.norm(np.delete(offsets, axis, axis=1), axis=1) - radius
        if half == math.inf:
            return np.asarray(across)
        outside = np.hypot(np.maximum(along, 0), np.maximum(across, 0))
        return np.asarray(outside + np.minimum(np.maximum(along, across), 0))

    return value


def capsule(start: Sequence[float], end: Sequence[float], radius: float) -> Solid:
    """
    All points no further than a radius from a segment; a ball where its ends are the same.

    :param start: One end, (3,).
    :param end: The other end, (3,).
    :param radius: The radius.
    :return: The signed distance.
    """
    first, direction = np.asarray(start, dtype=float), np.subtract(end, start).astype(float)
    square = max(float(direction @ direction), 1e-300)

    def value(points: Points) -> Values:
        along = ((points - first) @ direction / square).clip(0, 1)
        return np.asarray(np.linalg.norm(points - first - along[:, None] * direction, axis=1) - radius)

    return value


def ball(radius: float, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> Solid:
    """
    A ball.

    :param radius: Its radius.
    :param centre: Its middle, (3,).
    :return: The signed distance.
    """
    return capsule(centre, centre, radius)


def torus(normal: int, around: float, about: float, centre: Sequence[float] = (0.0, 0.0, 0.0)) -> Solid:
    """
    A torus.

    :param normal: The axis that it turns around, 0, 1 or 2.
    :param around: The radius of the circle in its middle.
    :param about: The radius of its tube.
    :param centre: Its middle, (3,).
    :return: The signed distance.
    """

    def value(points: Points) -> Values:
        offsets = points - np.asarray(centre)
        from_circle = np.linalg.norm(np.delete(offsets, normal, axis=1), axis=1) - around
        return np.asarray(np.hypot(from_circle, offsets[:, normal]) - about)

    return value


def below(normal: Sequence[float], height: float) -> Solid:
    """
    A half-space.

    :param normal: Outwards, of any length, (3,).
    :param height: How far its border is from the origin, along the normal.
    :return: The signed distance.
    """
    unit = np.asarray(normal, dtype=float) / np.linalg.norm(normal)
    return lambda points: np.asarray(points @ unit - height)


def around_axis(part: Solid, count: int) -> Solid:
    """
    Copies of a solid, turned around the z-axis by equal angles.

    :param part: What is copied, symmetric to the plane y = 0 and beside the positive x-axis.
    :param count: How many there are.
    :return: Their union: of each point's sector the copy is the nearest one.
    """
    sector = 2 * math.pi / count

    def value(points: Points) -> Values:
        radius, angle = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
        angle -= sector * np.round(angle / sector)
        return part(np.stack([radius * np.cos(angle), radius * np.sin(angle), points[:, 2]], axis=1))

    return value


def union(*parts: Solid) -> Solid:
    """
    What is in one of several solids.

    :param parts: The solids.
    :return: The smallest of their functions.
    """
    return lambda points: reduce(np.minimum, (part(points) for part in parts))


def common(*parts: Solid) -> Solid:
    """
    What is in all of several solids.

    :param parts: The solids.
    :return: The largest of their functions.
    """
    return lambda points: reduce(np.maximum, (part(points) for part in parts))


def without(solid: Solid, *cuts: Solid) -> Solid:
    """
    What is left of a solid.

    :param solid: The solid.
    :param cuts: What is cut out of it.
    :return: The largest of its function and the negatives of the cuts'.
    """
    gone = union(*cuts)
    return lambda points: np.maximum(solid(points), -gone(points))


def meshed(solid: Solid, half: Sequence[float], cell: float) -> trimesh.Trimesh:
    """
    The surface of a solid, by marching cubes on a full grid.

    :param solid: Its function.
    :param half: Half of the sides of a box around the origin that holds it, (3,).
    :param cell: The edge of a grid cell, in the same units.
    :return: The mesh, with its normals outwards.
    """
    from skimage.measure import marching_cubes

    axes = [np.arange(-side - (1 + OFF) * cell, side + 2 * cell, cell) for side in half]
    rows = max(SLAB // (len(axes[1]) * len(axes[2])), 1)
    slabs = []
    for start in range(0, len(axes[0]), rows):
        nodes = np.stack(np.meshgrid(axes[0][start : start + rows], *axes[1:], indexing="ij"), axis=-1)
        slabs.append(solid(nodes.reshape(-1, 3)).astype(np.float32).reshape(nodes.shape[:3]))
    vertices, faces, _, _ = marching_cubes(np.concatenate(slabs), 0.0)
    vertices = vertices * cell + [side[0] for side in axes]
    return trimesh.Trimesh(vertices, faces, process=False)
