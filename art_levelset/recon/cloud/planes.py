"""The cloud's local planes, and the distance d(x, X) of eq. 13 that they define."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from art_levelset.recon.cloud.clouds import Points, neighbours, thin
from art_levelset.recon.cloud.nearest import nearest
from art_levelset.recon.cloud.quadrics import Floats, Means, fit_quadrics, fit_surface, smallest_count

MOST_PLANES = 60_000
FINEST_SPACING = 0.006
COARSEST_SPACING = 0.02

CURVATURE = 3.0
"""The standard error of planes allows for a spacing l with curvature l^2 = error: nearer ones only repeat its noise."""

TRIED = 1000
"""At so many points planes are fitted first, to know their error."""

ENOUGH = 192
"""Larger neighbourhoods take half of the time, and are not needed to find out where the sides of planes are; then all
planes are fitted again (:mod:`art_levelset.recon.cloud.consistency`)."""

THIN = 3.0
"""Places are thin whose neighbourhoods are so many times as large as usual."""

FLAT_NEIGHBOURS = 24
FLAT = 0.02
"""There the quadrics around so many neighbours are believed that these deviate from by no more than this part of the
neighbourhood's radius: from those through strays it is four times as much and more."""

BETWEEN = 1.5
"""Planes are fitted as far from such places, in the usual distances between the points there."""

BLENDED = 8


@dataclass(frozen=True, eq=False)
class Planes:
    """
    Planes fitted to neighbourhoods of a cloud, in the unit frame.

    The nearest point of a noisy cloud is a bad measure of the distance to the surface: it is never zero and it follows
    every error of a single point. A plane through many points averages their errors.

    :param centres: A point on each plane, (n, 3).
    :param normals: Unit normals, (n, 3), of arbitrary sign unless oriented.
    :param reach: The radius within which a plane stands for the surface.
    :param error: The usual standard error of the planes' centres.
    """

    centres: Points
    normals: Points
    reach: float
    error: float = 0.0

    def __len__(self) -> int:
        return len(self.centres)

    def flipped(self, mask: NDArray[np.bool_]) -> Planes:
        """
        Turn some of the planes round.

        :param mask: Which ones, (n,).
        :return: The same planes with those normals negated.
        """
        return replace(self, normals=np.where(mask[:, None], -self.normals, self.normals))

    def chosen(self, mask: NDArray[np.bool_]) -> Planes:
        """
        Leave out the others.

        :param mask: Which ones to keep, (n,).
        :return: Those.
        """
        return replace(self, centres=self.centres[mask], normals=self.normals[mask])


def fit_planes(cloud: Points, means: Means | None = None, unit: float = 1.0) -> Planes:
    """
    The tangent planes of the surface behind a cloud, at each point of the thinned cloud.

    Planes stand for a surface no further than their reach, which is the same for all. Where the cloud is much thinner
    than usual they are fitted between the points as well, so that they are no further apart than that.

    :param cloud: (n, 3) in the unit frame, n >= 3.
    :param means: What the points are the means of, n of them; None if they are points.
    :param unit: The length of which the spacings are parts, in (0, 1].
    :return: At most about :data:`MOST_PLANES` / unit^2 planes, fewer of noisy points; where the cloud is much thinner
             than usual there are none unless quadrics fit well.
    """
    coarse = thin(cloud, COARSEST_SPACING * unit)
    area = len(coarse) * COARSEST_SPACING**2  # in squares of the unit
    error = float(np.median(fit_surface(cloud, coarse[:: len(coarse) // TRIED + 1], means=means).errors))
    spacing = np.sqrt(max(area * unit**2 / MOST_PLANES, error / unit / CURVATURE))
    spacing = unit * float(spacing.clip(FINEST_SPACING, COARSEST_SPACING))
    middles = thin(cloud, spacing)
    reach = neighbours(cKDTree(cloud), middles, smallest_count(cloud))[0][:, -1]
    dense = reach <= THIN * np.median(reach)
    fits = fit_surface(cloud, middles[dense], most=ENOUGH, means=means)
    usual_reach, error = float(np.median(reach[dense])), float(np.median(fits.errors))
    planes = Planes(fits.centres, fits.normals, max(usual_reach, 2 * spacing), error)
    return planes if dense.all() else _with_thin_places(cloud, planes, middles[~dense], means)


def axes_across(normals: Points) -> tuple[Points, Points]:
    """
    Two unit vectors at right angles to each normal and to each other.

    :param normals: Unit vectors, (n, 3).
    :return: Both, (n, 3) each.
    """
    first = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(normals, first)


def _with_thin_places(cloud: Points, planes: Planes, middles: Points, means: Means | None) -> Planes:
    """More planes around thin places, (n, 3), as far as quadrics fit well, about a reach from each other."""
    centres, normals, radius = _flat_quadrics(cloud, middles, means)
    if not len(centres):
        return planes
    apart = radius * np.sqrt(np.pi / FLAT_NEIGHBOURS)  # of points that are evenly spread
    most = np.ceil(BETWEEN * apart.max() / planes.reach)
    side = planes.reach * np.arange(-most, most + 1)
    steps = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    axes = np.stack(axes_across(normals), axis=1)
    near = np.linalg.norm(steps, axis=1) <= BETWEEN * apart[:, None]
    queries = thin((centres[:, None] + np.einsum("gk,nki->ngi", steps, axes))[near], planes.reach)
    queries = queries[neighbours(cKDTree(planes.centres), queries, 1)[0][:, 0] > planes.reach]
    centres, normals, _ = _flat_quadrics(cloud, queries, means)
    return replace(planes, centres=np.vstack([planes.centres, centres]), normals=np.vstack([planes.normals, normals]))


def _flat_quadrics(cloud: Points, queries: Points, means: Means | None) -> tuple[Points, Points, Floats]:
    """Of the quadrics around query points those that fit well: centres, normals, and the neighbourhoods' radii."""
    reach, found = neighbours(cKDTree(cloud), queries, min(FLAT_NEIGHBOURS, len(cloud)))
    fits = fit_quadrics(queries, cloud[found], reach, None if means is None else means[found])
    flat = fits.residuals <= FLAT * reach[:, -1]
    return fits.centres[flat], fits.normals[flat], reach[flat, -1]


class PlaneDistance:
    """
    d(x, X) of eq. 13 as a differentiable function of x, measured to the local planes.

    On the CPU a tree finds the nearest planes, elsewhere the device (:mod:`art_levelset.recon.cloud.nearest`).

    :param planes: The planes.
    :param device: Where the tensors are.
    """

    def __init__(self, planes: Planes, device: torch.device) -> None:
        self.reach = planes.reach
        self.centres = torch.as_tensor(planes.centres, dtype=torch.float32, device=device)
        self.normals = torch.as_tensor(planes.normals, dtype=torch.float32, device=device)
        self._tree = cKDTree(planes.centres) if device.type == "cpu" else None
        self._blended = min(BLENDED, len(planes))

    def neighbours(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """
        Find the planes that matter at some points.

        :param points: (n, 3).
        :return: The distances to the nearest centres, (n, k), ascending, and the indices of their planes, (n, k).
        """
        if self._tree is None:
            return nearest(points, self.centres, self._blended)
        distances, indices = neighbours(self._tree, points.detach().double().numpy(), self._blended)
        return (
            torch.as_tensor(distances, dtype=torch.float32, device=points.device),
            torch.as_tensor(indices, device=points.device),
        )

    def __call__(self, points: Tensor, levels: Tensor, reach: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """
        Measure the distance of samples x(theta) of the level sets {F = t}.

        Beside the data, d = sign(t) h is counted positive on the side where F should have the sign of t, so
        |d - |t|| is |h - t|, and a sample that has strayed to the other side of the surface is sent back instead of
        further away. The height h over the surface blends the nearest plane and those of its neighbours that face the
        same way, with weights w_i and n the normalised mean of their outward normals n_i:

            h = sum_i w_i (n_i + n) . (x - c_i) / sum_i w_i (1 + n_i . n).

        With n_i alone all the tangent planes of a convex surface would lie outside of it, and so would their mean; the
        mean of n_i and the normal at x is at right angles to the chord from c_i to x, exactly so on a sphere.
        Elsewhere (over holes, off edges) d is the distance to the nearest centre.

        :param points: x, (n, 3), differentiable in theta.
        :param levels: t, (n,).
        :param reach: The distances to the nearest centres, (n, k), from :meth:`neighbours`.
        :param found: The indices of their planes, (n, k).
        :return: d, (n,), differentiable in theta, and whether it was measured to the planes, (n,), bool.
        """
        centres, normals = self.centres[found], self.normals[found]
        weights = torch.exp(-2 * (reach / (reach[:, :1] + self.reach / 2)) ** 2)
        weights = weights * ((normals * normals[:, :1]).sum(dim=2) > 0)
        weights = (weights / weights.sum(dim=1, keepdim=True)).unsqueeze(2)
        blend = (weights * normals).sum(dim=1)
        length = torch.linalg.vector_norm(blend, dim=1, keepdim=True)
        middle = blend / length
        offset = (weights * (normals + middle.unsqueeze(1)) * centres).sum(dim=(1, 2))
        height = (((blend + middle) * points).sum(dim=1) - offset) / (1 + length[:, 0])
        to_plane = torch.where(levels < 0, -height, height)
        to_centre = torch.linalg.vector_norm(points - centres[:, 0], dim=1)
        beside = reach[:, 0] ** 2 - height.detach() ** 2 < self.reach**2
        return torch.where(beside, to_plane, to_centre), beside
