"""
Open sheets that are nowhere steep: planes, reliefs, terrain.

They enclose nothing, so the indicator function of :mod:`art_levelset.recon.cloud.orientation` means nothing: on a flat
sheet Gauss's integral is 0 and not 1/2, however the normals are turned. What has an inside and an outside is the graph
of a height, and a cloud is one if there is a direction u, up, with

- n . u >= 1/2 for nearly all planes, up to the signs of their normals n, and
- one height: of planes that are neighbours when seen from above, each passes by the centre of the other.

The two faces of a thin plate fulfil the first, but not the second. Normals are then turned upwards, and inside is what
lies below. Beyond its edges the sheet is thought to go on level.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.cloud.consistency import BEND
from art_levelset.recon.cloud.orientation import REACH, Indicator
from art_levelset.recon.cloud.planes import Planes

STEEPEST = 0.5
"""The least n . u: the cosine of 60 degrees."""

NEARLY_ALL = 0.97
"""So many of the planes must be no steeper: in much noise some are, of a flat sheet."""

MOST_PAIRS = 0.95
"""So many of neighbours must be at one height: on the faces of a plate half of them are not."""

NEIGHBOURS = 8

NODES = 96
"""Of the grid of the indicator function, along an axis."""


def upward(planes: Planes) -> Points | None:
    """
    The direction from which a cloud is a graph.

    :param planes: Its planes, with normals of any sign.
    :return: u, (3,), a unit vector whose last component that is not small is positive; None if there is none.
    """
    moments = planes.normals.T @ planes.normals
    up = np.asarray(np.linalg.eigh(moments)[1][:, -1])
    up *= 1 if up[np.flatnonzero(np.abs(up) > 0.1)[-1]] > 0 else -1
    slopes = np.abs(planes.normals @ up)
    if len(planes) < 2 or (slopes >= STEEPEST).mean() < NEARLY_ALL:
        return None
    level, heights = _seen_from(up, planes.centres)
    distances, found = neighbours(cKDTree(level), level, min(NEIGHBOURS + 1, len(planes)))
    offsets = planes.centres[found[:, 1:]] - planes.centres[:, None]
    misses = np.abs(np.einsum("nki,ni->nk", offsets, planes.normals))
    lengths = np.hypot(distances[:, 1:], heights[found[:, 1:]] - heights[:, None])
    allowed = BEND * np.minimum(lengths, distances[:, 1:] / STEEPEST) + 3 * planes.error
    return up if (misses <= allowed).mean() >= MOST_PAIRS else None


def turned_up(planes: Planes, up: Points) -> Planes:
    """
    Turn normals upwards.

    :param planes: The planes.
    :param up: The direction, (3,).
    :return: The same planes, some of them turned round.
    """
    return planes.flipped(planes.normals @ up < 0)


def indicator_below(planes: Planes, up: Points, device: torch.device) -> Indicator:
    """
    Tell below from above.

    :param planes: The planes of a graph.
    :param up: The direction from which it is one, (3,).
    :param device: Where the indicator lives.
    :return: 1 below and 0 above; on the sheet and near it it goes from one to the other.
    """
    cell = 2 * REACH / NODES
    ticks = cell * np.arange(NODES) - REACH
    nodes = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    level, _ = _seen_from(up, planes.centres)
    nearest = neighbours(cKDTree(level), _seen_from(up, nodes)[0], 1)[1][:, 0]
    offsets, normals = nodes - planes.centres[nearest], planes.normals[nearest]
    heights = offsets @ up
    across = offsets - heights[:, None] * up
    across *= np.minimum(1, planes.reach / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12))
    slopes = normals @ up
    slopes = np.where(np.abs(slopes) < STEEPEST, np.copysign(STEEPEST, slopes), slopes)
    heights += np.einsum("ni,ni->n", normals, across) / slopes
    inside = np.clip(0.5 - heights / (4 * cell), 0, 1).reshape(NODES, NODES, NODES)
    return Indicator(torch.as_tensor(inside, dtype=torch.float32, device=device), cell)


def _seen_from(up: Points, points: Points) -> tuple[Points, Points]:
    """Points seen from above, (n, 2), and their heights, (n,)."""
    first = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    first /= np.linalg.norm(first)
    return points @ np.stack([first, np.cross(up, first)], axis=1), points @ up
