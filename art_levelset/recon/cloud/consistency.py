"""
What neighbouring planes say about each other once their normals have been turned outwards.

Two planes that pass by each other's centres belong to one sheet, on which normals point to one side. So where the
indicator function was too coarse to orient a part of a sheet, between fingers for instance, the rest of the sheet
outvotes it (:func:`turn_outvoted`).

Where two sheets are nearer to each other than the points to their neighbours, and along sharp edges, neighbourhoods in
space mix points of both sides. With outward normals, the two sheets of a wall are far from each other in
(x, w n), the position beside the normal times a length w, and so are the two faces of an edge: neighbourhoods in that
space have points of one side only, and the planes are fitted again to these (:func:`refit_planes`).

Planes that their neighbours contradict are left out: fitted to points of both sheets they lie between them, and fitted
to a few points they may have any direction. The few planes on the wall of a deep hole have most of their neighbours on
the faces around it. These speak for them as well: at an edge of a solid and on both sides of a thin wall, each of two
planes is behind the other, and across a groove or a gap each is in front of the other. A plane of any direction cuts
through its neighbours, and is in front of those that are behind it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.quadrics import Floats, Means, fit_surface

TURN = 2.0
"""The length w, in reaches of the planes."""

VOTERS = 3
"""The normal of a point is the mean of those of so many planes."""

NEAREST = 16
SUPPORT = 6.5
"""A plane needs this support of so many nearest ones: 1 of each that is of one sheet with it, and a half of each that
makes an edge, a wall or a gap with it."""

AGREEING = 0.5
"""The smallest cosine between the normals of planes of one sheet."""

CLEARLY = 2.0
"""Planes are in front of each other, or behind, by so many standard errors at least."""

BEND = 0.35
"""How far planes of one sheet may miss each other's centres, as a part of the distance between these; three standard
errors are added."""

AROUND = 24
SLIT = 0.5
"""The narrowest slit that is believed in, in reaches of the planes."""

NEIGHBOURS = 12
ROUNDS = 200
"""How often votes are handed on: they travel about as many planes as the root of this."""

FLATNESS = 4
"""Votes are handed on in proportion to this power of the cosine."""

TRUSTED = 2 / 3
"""Where the standard error is this part of the distances between planes, a plane's own vote counts as much as those of
all its neighbours: then noise hides which planes are of one sheet."""


def turn_outvoted(planes: Planes) -> Planes:
    """
    Turn round the planes that are outvoted by the rest of their sheet.

    Every plane's vote is +1, that it points outwards. In each round it becomes the weighted mean of those of its
    neighbours, negated for those that point to the other side, and of its own first one,

        m_i = (a + sum_j w_ij sign(n_i . n_j) m_j / sum_j w_ij) / (a + 1),

    with weights that fall with the angle and with the distance at which the planes pass by each other's centres. Who
    has a negative vote in the end is outvoted. In much noise it cannot be told which planes are of one sheet, so the
    own vote counts with the sixth power of their standard error, a = (error / :data:`TRUSTED` usual distances)^6.

    :param planes: The planes, most of them with outward normals.
    :return: The same planes, some of them turned round.
    """
    if len(planes) < 2:
        return planes
    distances, found, cosines, heights = _relations(planes, NEIGHBOURS)
    misses = np.abs(heights).max(axis=0)
    weights = np.abs(cosines) ** FLATNESS * np.maximum(1 - (misses / _most_missed(planes, distances)) ** 2, 0)
    own = (planes.error / (TRUSTED * float(np.median(distances[:, 0])))) ** 6
    rows = np.repeat(np.arange(len(planes)), found.shape[1])
    size = len(planes), len(planes)
    handed = csr_matrix(((weights * np.sign(cosines)).ravel(), (rows, found.ravel())), size)
    handed = handed + handed.T
    total = np.asarray(abs(handed).sum(axis=1)).ravel()
    alone = total == 0
    votes = np.ones(len(planes))
    for _ in range(ROUNDS):
        votes = np.where(alone, 1.0, (own + handed @ votes / np.where(alone, 1.0, total)) / (own + 1))
    return planes.flipped(votes < 0)


def refit_planes(cloud: Points, planes: Planes, means: Means | None = None) -> Planes:
    """
    Fit planes again to the points of their own side, and leave out those that their neighbours contradict.

    :param cloud: The cloud that they were fitted to, (n, 3).
    :param planes: The planes, with outward normals.
    :param means: What the points are the means of, n of them; None if they are points.
    :return: Planes with outward normals where these are, but for some that are left out.
    :raises ValueError: If none is left: the points are of no surface.
    """
    return drop_contradicted(_refitted(cloud, drop_contradicted(planes), means))


def drop_contradicted(planes: Planes) -> Planes:
    """
    Leave out the planes that their neighbours contradict.

    Two planes are of one sheet if their normals point the same way and each passes by the other's centre. They make an
    edge, a wall or a gap if their normals do not, and each centre is clearly behind the other plane, or in front of it.

    :param planes: The planes, with outward normals.
    :return: Those that have :data:`SUPPORT` of their :data:`NEAREST` nearest ones, or its share of fewer.
    :raises ValueError: If there are none: the points are of no surface.
    """
    distances, _, cosines, heights = _relations(planes, NEAREST)
    sheets = (cosines > AGREEING) & (np.abs(heights).max(axis=0) < _most_missed(planes, distances))
    clear = np.abs(heights).min(axis=0) > CLEARLY * planes.error
    edges = (cosines <= AGREEING) & clear & (heights[0] * heights[1] > 0)
    support = sheets.sum(axis=1) + edges.sum(axis=1) / 2
    kept = support >= SUPPORT * sheets.shape[1] / NEAREST
    if not kept.any():
        raise ValueError("points: they are of no surface, all planes fitted to neighbouring ones contradict each other")
    return planes.chosen(kept)


def in_narrow_slits(planes: Planes) -> NDArray[np.bool_]:
    """
    Which planes look at an opposite one, of those around them, across less than half of their reach.

    Where points are few, the faces of a thin wall may have been fitted to points of both, and then pass through each
    other: the wall looks like a slit.

    :param planes: The planes, with outward normals.
    :return: (n,).
    """
    _, found = neighbours(cKDTree(planes.centres), planes.centres, min(AROUND, len(planes)))
    opposite = np.einsum("nki,ni->nk", planes.normals[found], planes.normals) < -AGREEING
    ahead = np.einsum("nki,ni->nk", planes.centres[found] - planes.centres[:, None], planes.normals)
    slits: NDArray[np.bool_] = (opposite & (ahead > 0) & (ahead < SLIT * planes.reach)).any(axis=1)
    return slits


def _relations(planes: Planes, count: int) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """
    Of each plane to its nearest ones: the distances between the centres, their indices and the cosines between the
    normals, (n, k), and the heights of their centres over it and of its centre over them, (2, n, k).
    """
    count = min(count + 1, len(planes))
    distances, found = neighbours(cKDTree(planes.centres), planes.centres, count)
    distances, found = distances[:, 1:], found[:, 1:]
    normals, offsets = planes.normals[found], planes.centres[found] - planes.centres[:, None]
    cosines = np.einsum("nki,ni->nk", normals, planes.normals)
    heights = np.stack([np.einsum("nki,ni->nk", offsets, planes.normals), -np.einsum("nki,nki->nk", offsets, normals)])
    return distances, found, cosines, heights


def _most_missed(planes: Planes, distances: Floats) -> Floats:
    """How far planes of one sheet may pass by each other's centres."""
    return BEND * distances + 3 * planes.error


def _refitted(cloud: Points, planes: Planes, means: Means | None) -> Planes:
    """Planes near the same points, fitted to points of the same side."""
    distances, found = neighbours(cKDTree(planes.centres), cloud, min(VOTERS, len(planes)))
    heights = np.einsum("nki,nki->nk", cloud[:, None] - planes.centres[found], planes.normals[found])
    votes = np.exp(-2 * (distances / (distances[:, :1] + planes.reach / 2)) ** 2)
    votes /= 1 + (heights / _most_missed(planes, distances)) ** 4  # of another sheet
    normals = np.einsum("nk,nki->ni", votes, planes.normals[found])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    width = TURN * planes.reach
    keys = np.hstack([cloud, width * normals]), np.hstack([planes.centres, width * planes.normals])
    fits = fit_surface(cloud, planes.centres, keys, means=means)
    again = replace(planes, centres=fits.centres, normals=fits.normals, error=float(np.median(fits.errors)))
    return again.flipped(np.einsum("ni,ni->n", fits.normals, planes.normals) < 0)
