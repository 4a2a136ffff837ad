"""
Planes moved to where the points are beside the fitted surface: Tukey's twicing.

A quadric takes the mean height of the points over a tangent plane, at the same tangential coordinates. Where the
surface bends that is too little: of noisy points those nearer to the centre of curvature are denser there, and in
normal noise of the variance v the mean lies by v times the sum of both principal curvatures inside of the surface. F,
fitted to the quadrics, inherits it, and what they smooth away as well. The mean of the signed distances of the points
to the surface itself, F / |D_xF|, is zero in such noise. So the surface is estimated once more, above the foot x of
each plane's centre c on the zero level set, at the height

    m = sum_i w_i F(x_i) / |D_xF(x_i)| / sum_i w_i

over the points of the same side whose own feet are nearest, with weights that fall with the distance between the feet
and with the residual, and with the standard error s. Only what stands out of the noise is followed, as James and Stein
do: along its normal n the plane is moved by

    d (1 - mean s^2 / mean d^2)_+,        d = m + n . (x - c),

the means over the planes nearby.

| Paper link: https://projecteuclid.org/euclid.bsmsp/1200512173 (James, Stein, 1961)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn

from art_levelset.core.fields import values_and_jacobians
from art_levelset.core.modes import evaluating
from art_levelset.recon.cloud.clouds import Points, neighbours
from art_levelset.recon.cloud.consistency import AGREEING, TURN
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.quadrics import NEARBY, REWEIGHTINGS, Floats, Means
from art_levelset.recon.threads import mapped, parts_of

COUNT = 96
"""The mean is over so many points."""

FLATTEST = 0.3
"""|D_xF| counts as at least this: F is nearly a distance."""

NEWTON_STEPS = 2
CHUNK = 1 << 14


def apply_twicing(cloud: Points, planes: Planes, surface: nn.Module, means: Means | None = None) -> Planes:
    """
    Move planes to where the points are beside the fitted surface.

    :param cloud: The cloud that the planes were fitted to, (n, 3).
    :param planes: The planes, with outward normals.
    :param surface: F, (batch, 3) -> (batch, 1), fitted to them, positive outside.
    :param means: What the points are the means of, n of them; None if they are points.
    :return: The same planes, moved along their normals; those stay that the zero level set misses by half of their
             reach, or has the other way round.
    """
    distances, directions = _distances(surface, cloud)
    below = cloud - distances[:, None] * directions  # neighbours in space would be those of the smallest distances
    feet = planes.centres
    for _ in range(NEWTON_STEPS):
        steps, normals = _distances(surface, feet)
        feet = feet - steps[:, None] * normals
    normals = _distances(surface, feet)[1]
    width = TURN * planes.reach
    keys = np.hstack([feet, width * normals])
    tree = cKDTree(np.hstack([below, width * directions]))
    heights, errors = np.empty(len(planes)), np.empty(len(planes))

    def measure(rows: slice) -> None:
        found = neighbours(tree, keys[rows], min(COUNT, len(cloud)))[1]
        reach = np.linalg.norm(below[found] - feet[rows, None], axis=2)
        heights[rows], errors[rows] = _robust_means(
            distances[found], reach, 1.0 if means is None else means.counts[found]
        )

    mapped(measure, parts_of(len(planes), CHUNK))
    gaps = feet - planes.centres
    moves = np.einsum("ni,ni->n", gaps, planes.normals) + heights
    nearby = neighbours(cKDTree(keys), keys, min(NEARBY, len(planes)))[1]
    signal, noise = (moves**2)[nearby].mean(axis=1), (errors**2)[nearby].mean(axis=1)
    moves *= (1 - noise / np.maximum(signal, 1e-300)).clip(min=0)
    met = np.maximum(np.linalg.norm(gaps, axis=1), np.abs(heights)) < planes.reach / 2
    met &= np.einsum("ni,ni->n", normals, planes.normals) > AGREEING
    return replace(planes, centres=planes.centres + np.where(met, moves, 0.0)[:, None] * planes.normals)


def _robust_means(values: Floats, reach: Floats, counts: Floats | float) -> tuple[Floats, Floats]:
    """Weighted means of values at some distances, (n, k), as of a quadric's points, and their standard errors, (n,)."""
    near = np.exp(-2 * (reach / np.maximum(reach.max(axis=1, keepdims=True), 1e-300)) ** 2) * counts
    weights = near
    for round_ in range(1 + REWEIGHTINGS):
        means = (weights * values).sum(axis=1) / weights.sum(axis=1)
        residuals = values - means[:, None]
        if round_ == 0:
            sigma = np.sqrt((weights * residuals**2).sum(axis=1) / weights.sum(axis=1))[:, None]
        if round_ < REWEIGHTINGS:
            weights = near / (1 + (residuals / np.maximum(sigma, 1e-12)) ** 2)
    return means, sigma[:, 0] * np.sqrt((weights**2 / counts).sum(axis=1)) / weights.sum(axis=1)


def _distances(surface: nn.Module, points: Points) -> tuple[Floats, Points]:
    """F / |D_xF| and D_xF / |D_xF| at points, (n,) and (n, 3)."""
    device = next(surface.parameters()).device
    distances, directions = np.empty(len(points)), np.empty_like(points)

    def measure(rows: slice) -> None:
        part = torch.as_tensor(points[rows], dtype=torch.float32, device=device)
        values, jacobians = values_and_jacobians(surface, part)
        lengths = torch.linalg.vector_norm(jacobians.squeeze(1), dim=1).clamp_min(FLATTEST)
        distances[rows] = (values.squeeze(1) / lengths).cpu().numpy()
        directions[rows] = torch.nn.functional.normalize(jacobians.squeeze(1), dim=1).cpu().numpy()

    with evaluating(surface):
        mapped(measure, parts_of(len(points), CHUNK))
    return distances, directions
