"""
Planes near sharp edges, put back to the face that they belong to: the quietest windows.

A plane beside an edge is fitted to points of both faces, so its normal is one between theirs. Further away planes are
of one face only. In the manner of Kuwahara's filter, each plane takes what a window of neighbouring planes says that
varies little and has the plane near its surface; windows over the edge vary much, and nobody takes theirs.

A window is the nearest planes around a plane j. Its normals are fitted by n(u, v) = a + B (u, v), over the tangential
offsets in reaches of the planes, with a ridge on B: on a bend, whose normals change evenly, they leave no residuals,
on an edge they do. Plane i takes, of the windows j around it, the one of the least

    r_j^2 + D |c_i - c_j|^2 + M (|h| - T - 2 s)_+^2 + L (1 - n . n_i),

where r_j^2 is the mean square of the residuals, h the height of its centre over the window's surface, as spheres have
it (:class:`art_levelset.recon.cloud.planes.PlaneDistance`), s the planes' standard error, n the window's normal
there, and lengths are in reaches. Its normal becomes n, and its centre moves by h to the surface. This is done a few
times.

| Paper link: https://doi.org/10.1007/978-1-4684-0769-3_8 (Kuwahara, Hachimura, Eiho, Kinoshita, 1976)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.cloud.planes import Planes, axes_across
from art_levelset.recon.cloud.quadrics import Floats

WINDOW = 10
TRIED = 24
"""Planes in a window, and windows that a plane chooses from."""

ROUNDS = 3
RIDGE = 1.0
DISTANCE, MISS, TURN = 0.01, 10.0, 0.1
"""D, M and L."""

INSIDE = 0.2
"""T: how far planes beside an edge may lie inside of it."""


def with_quiet_normals(planes: Planes) -> Planes:
    """
    Put planes beside sharp edges back to their faces.

    :param planes: The planes, with outward normals.
    :return: As many, in the same order; planes on a smooth surface hardly change.
    """
    count = min(TRIED, len(planes))
    found = neighbours(cKDTree(planes.centres), planes.centres, count)[1]
    for _ in range(ROUNDS):
        planes = _of_quietest_windows(planes, found, found[:, : min(WINDOW, count)])
    return planes


def unit(vectors: Points) -> Points:
    """
    Vectors of length 1.

    :param vectors: (..., 3).
    :return: (..., 3); zero where they are.
    """
    scaled: Points = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return scaled


def heights_over(offsets: Points, normals: Points, others: Points) -> Floats:
    """
    How high points are over planes, as on a sphere: with the mean of both normals, at right angles to the chord.

    :param offsets: From the planes' centres to the points, (..., 3).
    :param normals: The planes' normals, (..., 3).
    :param others: The surface's normals at the points, (..., 3).
    :return: (...).
    """
    high: Floats = ((normals + others) * offsets).sum(axis=-1) / np.maximum(1 + (normals * others).sum(axis=-1), 1e-3)
    return high


def _of_quietest_windows(planes: Planes, found: NDArray[np.int64], members: NDArray[np.int64]) -> Planes:
    """One round, with the windows around the found neighbours, (n, k), and the members of each window, (n, m)."""
    reach, rows = planes.reach, np.arange(len(planes))
    centres, normals = planes.centres / reach, planes.normals
    own = normals[members]
    first, second = axes_across(unit(own.mean(axis=1)))
    offsets = centres[members] - centres[:, None]
    u, v = (np.einsum("nki,ni->nk", offsets, axis) for axis in (first, second))
    design = np.stack([np.ones_like(u), u, v], axis=2)
    weights = np.exp(-(u**2 + v**2))
    total = weights.sum(axis=1)
    matrices = np.einsum("nki,nk,nkj->nij", design, weights, design)
    matrices += RIDGE * total[:, None, None] * np.diag([1e-9, 1.0, 1.0])
    model = np.linalg.solve(matrices, np.einsum("nki,nk,nkj->nij", design, weights, own))
    residuals = ((design @ model - own) ** 2).sum(axis=2)
    noise = (weights * residuals).sum(axis=1) / total
    middle = unit(model[:, 0])
    over = (weights * heights_over(-offsets, own, middle[:, None])).sum(axis=1) / total
    feet = centres - over[:, None] * middle
    away = centres[:, None] - feet[found]
    at = [np.ones(found.shape), *(np.einsum("nki,nki->nk", away, axis[found]) for axis in (first, second))]
    there = unit(np.einsum("jnk,nkji->nki", np.stack(at), model[found]))
    high = heights_over(away, middle[found], there)
    missed = np.maximum(np.abs(high) - INSIDE - 2 * planes.error / reach, 0)
    turned = 1 - np.einsum("nki,ni->nk", there, normals)
    costs = noise[found] + DISTANCE * (away**2).sum(axis=2) + MISS * missed**2 + TURN * turned
    best = costs.argmin(axis=1)
    new = there[rows, best]
    return replace(planes, centres=planes.centres - reach * high[rows, best, None] * new, normals=new)
