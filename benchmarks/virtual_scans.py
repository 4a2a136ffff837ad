"""
Scans of solids: points spread evenly, or seen by virtual depth cameras, which do not see what something is in front of.

The rays of a camera step along by the solid's function until it is nearly zero (sphere tracing): the function is
nowhere steeper than 1, so no step passes the surface.

| Paper link: https://doi.org/10.1007/s003710050084 (Hart, 1996)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import trimesh
from made_shapes import Shape
from scipy.spatial import cKDTree
from solids import Solid

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.inspect.metrics import sample_surface

SCANS = ("even", "cameras")

FEWEST_CAMERAS, MOST_CAMERAS = 6, 12

AWAY = 2.5
"""How far cameras are from the middle, in radii of the shape."""

STEPS = 200
CLOSE = 1e-5
"""A ray has arrived where the function is below this part of the shape's radius."""

GRAZING = math.cos(math.radians(78.0))
"""Surfaces that are seen at a flatter angle than this give no point."""

TRIED = 40
"""Rays along a side of a camera's picture that tell which part of them meets the shape."""

LOOKED_AT = 20_000
"""At so many points of the surface the distance to the scan is measured."""


@dataclass(frozen=True)
class Scan:
    """
    A cloud and the surface that it is of.

    :param points: The cloud, (n, 3).
    :param reference: The surface.
    :param spacing: How far the points would be apart if they were spread evenly over all of it.
    :param noise: The standard deviation of their noise.
    :param unseen: How far from the cloud a place of the surface is at most.
    """

    points: Points
    reference: trimesh.Trimesh
    spacing: float
    noise: float
    unseen: float


def scanned(shape: Shape, kind: str, noise: float, seed: int) -> Scan:
    """
    Scan a shape, turned at random.

    :param shape: The shape.
    :param kind: One of :data:`SCANS`.
    :param noise: The standard deviation of the noise, in spacings, >= 0: in each coordinate, or along the rays.
    :param seed: Seed of the turn, the cameras and the noise, >= 0.
    :return: The scan.
    :raises ValueError: If there is no such kind.
    """
    if kind not in SCANS:
        raise ValueError(f"kind must be one of {', '.join(SCANS)}, got {kind!r}")
    draw = np.random.default_rng([seed, SCANS.index(kind)])
    reference = shape.mesh()
    count = shape.count(reference.area)
    spacing = math.sqrt(reference.area / count)
    if kind == "even":
        points = sample_surface(reference, count, draw) + noise * spacing * draw.standard_normal((count, 3))
    else:
        points = seen(shape, count, noise * spacing, draw)
    places = sample_surface(reference, LOOKED_AT, draw)
    unseen = float(neighbours(cKDTree(points), places, 1)[0].max())
    turn = rotation(draw)
    turned = trimesh.Trimesh(reference.vertices @ turn.T, reference.faces, process=False)
    return Scan(points @ turn.T, turned, spacing, noise * spacing, unseen)


def seen(shape: Shape, count: int, noise: float, draw: np.random.Generator) -> Points:
    """
    What virtual cameras around a shape see of it.

    :param shape: The shape.
    :param count: Number of points.
    :param noise: The standard deviation of the depths.
    :param draw: Source of randomness, of the number of the cameras as well.
    :return: (count, 3).
    """
    radius = math.hypot(*shape.half)
    eyes = AWAY * radius * directions(int(draw.integers(FEWEST_CAMERAS, MOST_CAMERAS + 1))) @ rotation(draw).T
    tried = sum(len(depths(shape.solid, eye, radius, TRIED)[0]) for eye in eyes)
    side = TRIED * math.sqrt(1.1 * count / max(tried, 1))
    while True:
        found = [depths(shape.solid, eye, radius, math.ceil(side)) for eye in eyes]
        starts = np.concatenate([np.broadcast_to(eye, rays.shape) for eye, (_, rays) in zip(eyes, found, strict=True)])
        far, rays = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if len(far) >= count:
            break
        side *= 1.1
    chosen = draw.permutation(len(far))[:count]
    far = far[chosen] + noise * draw.standard_normal(count)
    return np.asarray(starts[chosen] + far[:, None] * rays[chosen])


def depths(solid: Solid, eye: Points, radius: float, side: int) -> tuple[Points, Points]:
    """
    The picture of a depth camera that looks at the origin.

    :param solid: The function of what it sees.
    :param eye: Where it is, (3,).
    :param radius: That of a ball around the origin which holds the solid.
    :param side: Rays along a side of the picture.
    :return: The lengths of the rays that arrive, (n,), and their directions, (n, 3).
    """
    distance = float(np.linalg.norm(eye))
    ahead = -eye / distance
    right = np.cross(ahead, np.eye(3)[np.abs(ahead).argmin()])
    right /= np.linalg.norm(right)
    wide = radius / math.sqrt(distance**2 - radius**2)
    ticks = wide * ((np.arange(side) + 0.5) / side * 2 - 1)
    across = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    rays = ahead + across[:, :1] * right + across[:, 1:] * np.cross(ahead, right)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    far, going = np.full(len(rays), distance - radius), np.arange(len(rays))
    arrived = []
    for _ in range(STEPS):
        value = solid(eye + far[going, None] * rays[going])
        far[going] += value
        close = value < CLOSE * radius
        arrived.append(going[close])
        going = going[~close & (far[going] < distance + radius)]
        if not len(going):
            break
    hits = np.sort(np.concatenate(arrived))
    hits = hits[np.abs(np.einsum("ni,ni->n", normals(solid, eye + far[hits, None] * rays[hits]), rays[hits])) > GRAZING]
    return far[hits], rays[hits]


def normals(solid: Solid, points: Points, step: float = 1e-4) -> Points:
    """
    Unit normals of a solid, by differences.

    :param solid: Its function.
    :param points: (n, 3).
    :param step: Half of the distance between what is compared.
    :return: (n, 3).
    """
    steps = step * np.eye(3)
    slopes = np.stack([solid(points + one) - solid(points - one) for one in steps], axis=1)
    return np.asarray(slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-300))


def directions(count: int) -> Points:
    """
    Directions that are spread evenly, on a spiral.

    :param count: How many.
    :return: Unit vectors, (count, 3).
    """
    places = np.arange(count) + 0.5
    height, angle = 1 - 2 * places / count, math.pi * (1 + math.sqrt(5)) * places
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)


def rotation(draw: np.random.Generator) -> Points:
    """
    A rotation, all alike likely.

    :param draw: Source of randomness.
    :return: (3, 3).
    """
    turn, triangle = np.linalg.qr(draw.standard_normal((3, 3)))
    turn = turn * np.sign(np.diag(triangle))
    return np.asarray(turn * np.sign(np.linalg.det(turn)))
