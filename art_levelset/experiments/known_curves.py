"""Curves whose course is known, noisy clouds of them, and how far a reconstruction is from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.curves import Polyline

VERTICES = 4000
HELIX_TURN, HELIX_RISE, HELIX_RADIUS = np.deg2rad(100.0), 1.5, 2.3
RESIDUES = 14
HELIX_DISTANCE = 10.5
LOOP_HEIGHT = 4.0


def circle() -> Polyline:
    """The unit circle."""
    t = _angles()
    return Polyline(np.stack([np.cos(t), np.sin(t), 0 * t], axis=1), True)


def trefoil() -> Polyline:
    """The trefoil knot (sin t + 2 sin 2t, cos t - 2 cos 2t, -sin 3t)."""
    t = _angles()
    return Polyline(
        np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -np.sin(3 * t)], axis=1), True
    )


def figure_eight() -> Polyline:
    """The figure-eight knot."""
    t = _angles()
    ring = 2 + np.cos(2 * t)
    return Polyline(np.stack([ring * np.cos(3 * t), ring * np.sin(3 * t), np.sin(4 * t)], axis=1), True)


def torus_knot(p: int, q: int) -> Polyline:
    """
    The torus knot T(p, q) on the torus of radii 2 and 1.

    :param p: Number of rounds about the axis.
    :param q: Number of rounds about the core.
    """
    t = _angles()
    ring = 2 + np.cos(q * t)
    return Polyline(np.stack([ring * np.cos(p * t), ring * np.sin(p * t), -np.sin(q * t)], axis=1), True)


def through_points(seed: int, *, closed: bool = False) -> Polyline:
    """
    The cubic spline through six random points of a cube, as in the paper's Section 5.3.

    :param seed: Picks the points.
    :param closed: Whether it returns to the first point.
    :return: The curve.
    """
    return _spline(np.random.default_rng(seed).uniform(-1, 1, (6, 3)), closed)


def protein() -> Polyline:
    """A backbone: five alpha helices of 14 residues (3.6 a turn, rise 1.5, radius 2.3), joined by short loops."""
    residues = np.arange(RESIDUES)
    turn = HELIX_TURN * residues
    chain: list[Points] = []
    for helix in range(5):
        up = 1 if helix % 2 == 0 else -1
        local = np.stack(
            [HELIX_RADIUS * (np.cos(turn) - 1), HELIX_RADIUS * up * np.sin(turn), HELIX_RISE * up * residues], axis=1
        )
        start = np.array([helix % 3, helix // 3, 0]) * HELIX_DISTANCE
        start[2] = 0 if up > 0 else HELIX_RISE * (RESIDUES - 1)
        if chain:
            between = (chain[-1][-1] + local[0] + start) / 2
            between[2] -= LOOP_HEIGHT * up
            chain.append(between[None])
        chain.append(local + start)
    return _spline(np.concatenate(chain))


def sample(
    curve: Polyline, count: int, noise: float, generator: np.random.Generator, gap: tuple[float, float] = (0.0, 0.0)
) -> Points:
    """
    A cloud.

    :param curve: The curve.
    :param count: Number of points, uniform along the curve.
    :param noise: Standard deviation in each coordinate, in diagonals of the curve's bounding box.
    :param generator: Source of randomness.
    :param gap: A part of the curve without points: its beginning and end in lengths of the curve.
    :return: The points, (count, 3), unordered.
    """
    places = generator.uniform(gap[1] - 1, gap[0], count)
    points = Polyline(curve.points, curve.closed).at(np.mod(places, 1.0) * curve.length)
    noisy: Points = points + noise * diagonal(curve) * generator.standard_normal(points.shape)
    return noisy


def spread_out(points: Points, count: int) -> Points:
    """
    Farthest-point sampling: each point is the one that is farthest from all that are chosen before it.

    :param points: (n, 3); the first one is chosen first.
    :param count: How many are chosen, at most n.
    :return: (count, 3).
    """
    chosen = [0]
    distances = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < count:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


def diagonal(curve: Polyline) -> float:
    """
    The diagonal of a curve's bounding box.

    :param curve: The curve.
    :return: Its length.
    """
    return float(np.linalg.norm(np.ptp(curve.points, axis=0)))


class Errors(NamedTuple):
    """Distances between curves in diagonals of the truth, and the ratio of their lengths."""

    chamfer: float
    hausdorff: float
    length: float


def errors(lines: Sequence[Polyline], truth: Polyline) -> Errors:
    """
    Compare a reconstruction with the truth, by samples that are 1/4000 of the diagonal apart.

    :param lines: The reconstruction.
    :param truth: The truth.
    :return: The errors; infinite without a line.
    """
    if not lines:
        return Errors(np.inf, np.inf, 0.0)
    spacing = diagonal(truth) / 4000
    ours = np.concatenate([line.resampled(spacing).points for line in lines])
    theirs = truth.resampled(spacing).points
    there, back = neighbours(cKDTree(theirs), ours, 1)[0], neighbours(cKDTree(ours), theirs, 1)[0]
    scale = diagonal(truth)
    return Errors(
        float(there.mean() + back.mean()) / 2 / scale,
        float(max(there.max(), back.max())) / scale,
        sum(line.length for line in lines) / truth.length,
    )


def _angles() -> Points:
    return np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)


def _spline(points: Points, closed: bool = False) -> Polyline:
    """The cubic spline through points, by chord length."""
    knots = np.concatenate([points, points[:1]]) if closed else points
    chords = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    spline = CubicSpline(chords, knots, bc_type="periodic" if closed else "not-a-knot")
    return Polyline(spline(np.linspace(0, chords[-1], VERTICES, endpoint=not closed)), closed)
