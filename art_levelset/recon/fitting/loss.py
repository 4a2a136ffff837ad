"""
The loss of a fit, eq. 13:

    loss(theta) = sum_t mean_{x in S_t} |d(x, X) - |t|| + lambda/N sum_j |F(x_j)|,

with the samples x = p(theta) of the level sets S_t attached to the parameters by the sample network (eq. 9).

T is {0} and the levels on which random points of space lie, near the surface and far from it, so the second set makes F
a signed distance. Eq. 13 sees |t| and d only, so it has no opinion about which side is inside, and alone it settles for
sheets with the wrong sign, pockets and domes. What decides is the cloud's indicator function chi
(:mod:`art_levelset.recon.cloud.orientation`). It turns the planes outwards to which d is measured, and it votes, by a
hinge on random points y whose side is beyond doubt,

    mean_y max(0, d(y, X) / 2 - s(y) F(y)),      s = 1 outside, -1 inside,

which is zero as soon as F has the right sign and half the right size. Where neither data nor votes say anything, a
small Dirichlet energy of the network's grids continues F smoothly; without it narrow gaps fill with tunnels
(:meth:`art_levelset.recon.network.GridNetwork.add_smoothness_gradient`).

Two penalties may be added: that F is a distance, and that its zero level set bends little. Both are measured by
differences of F over short distances, since grids have no second derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from art_levelset.checks import check_not_negative
from art_levelset.core.fields import Field, jacobians_of
from art_levelset.core.losses import reconstruction_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.pseudo_inverse import apply, pseudo_inverse
from art_levelset.recon.fitting.samples import WALL, Samples, join

LAMBDA = 1.0
VOTE_WEIGHT = 3.0

FLATTEST = 0.1
"""Samples with |D_xF| below this do not count: p(theta) moves arbitrarily fast there."""

EIKONAL_REACH = 0.01
"""Half of the distance, in the unit frame, over which the slope of F is taken."""

CURVATURE_REACH = 0.02
"""The distance, in the unit frame, over which F's second differences are taken: about a cell of its finest grid."""


def batch_loss(field: Field, samples: Samples, penalties: Penalties) -> Tensor:
    """
    The loss of this module on one batch of random samples.

    :param field: F.
    :param samples: Where they are drawn from.
    :param penalties: What is added.
    :return: A scalar, differentiable in the parameters of F.
    """
    on_zero = newton_step(field, samples.around_surface())
    space = join(samples.locate(on_zero), samples.elsewhere())
    cloud, split = samples.of_cloud(), len(on_zero)
    positions, values, gradients = attached(field, space.points, cloud)
    levels = values[: len(space.points)]
    distances, beside = samples.distance(positions, levels.detach(), space.reach, space.found)

    certain = samples.certain(space)
    wrong = certain & (space.inside * levels.detach() > 0)
    counts = (torch.linalg.vector_norm(gradients, dim=1) > FLATTEST) & ~wrong
    # Over a hole of the data nothing is known about where the zero set should be: its samples there do not count.
    counts[:split] &= beside[:split]
    rows = torch.arange(len(counts), device=counts.device)
    sets = [part for part in (rows[:split][counts[:split]], rows[split:][counts[split:]]) if len(part)]

    voters = split + torch.nonzero(certain[split:]).squeeze(1)
    missing = torch.relu(space.reach[voters, 0] / 2 + space.inside[voters].sign() * levels[voters])
    loss = VOTE_WEIGHT * missing.sum() / (len(counts) - split)
    if sets:
        level_sets = [distances[part] for part in sets], [levels[part].detach() for part in sets]
        loss = reconstruction_loss(*level_sets, values[len(space.points) :], LAMBDA) + loss
    return penalties.add_to(loss, field, space.points, gradients, split)


def newton_step(field: Field, points: Tensor) -> Tensor:
    """
    One generalized Newton step to the zero level set (eqs. 4, 5).

    :param field: F.
    :param points: (n, 3).
    :return: Where F would be zero if it were linear, kept in the box of the samples, (n, 3).
    """
    start = project(field, points, max_iter=0, box=(-WALL, WALL))
    moved = start.points - apply(pseudo_inverse(start.jacobians)[0], start.values)
    return torch.where(torch.isfinite(moved), moved, start.points).clamp(-WALL, WALL)


def attached(field: Field, points: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    The sample network (eq. 9), F and D_xF, all from one evaluation of F.

    :param field: F.
    :param points: p, (n, 3).
    :param others: More points at which F is needed, (m, 3).
    :return: p(theta), (n, 3), and F at the points and at the others, (n + m,), both differentiable in the parameters;
             D_xF at the points, (n, 3).
    """
    leaves = points.detach().clone().requires_grad_()
    with evaluating(field.module):
        values = field(torch.cat([leaves, others]))
    jacobians = jacobians_of(values, leaves, retain_graph=True)
    own = values[: len(points)]
    positions = points - apply(pseudo_inverse(jacobians)[0], own - own.detach())
    return positions, values.squeeze(1), jacobians.squeeze(1)


def eikonal_penalty(field: Field, points: Tensor, gradients: Tensor) -> Tensor:
    """
    Mean (|D_xF| - 1)^2, with |D_xF| as a difference quotient along D_xF.

    :param field: F.
    :param points: (n, 3).
    :param gradients: D_xF there, (n, 3); their directions count.
    :return: The mean, differentiable in the parameters of F.
    """
    offsets = EIKONAL_REACH * functional.normalize(gradients, dim=1)
    ahead, behind = field(torch.cat([points + offsets, points - offsets])).squeeze(1).chunk(2)
    return (((ahead - behind) / (2 * EIKONAL_REACH) - 1) ** 2).mean()


def curvature_penalty(field: Field, points: Tensor, gradients: Tensor) -> Tensor:
    """
    Mean |kappa_1 + kappa_2| of the level sets of F: its second differences in two directions u, v of the tangent plane,

        kappa_1 + kappa_2 = (F(x + h u) + F(x - h u) + F(x + h v) + F(x - h v) - 4 F(x)) / (h^2 |D_xF|).

    The absolute value lets an edge bend in one place. Half of kappa_1 + kappa_2 is the mean curvature, as
    :func:`art_levelset.core.curvature.mean_curvature` has it over a scale; here slopes and tangent planes are constant,
    which saves a second derivative: eq. 13 holds them.

    :param field: F.
    :param points: x, (n, 3).
    :param gradients: D_xF there, (n, 3); samples where it is zero do not count.
    :return: The mean, in 1 / length, differentiable in the parameters of F.
    """
    slopes = torch.linalg.vector_norm(gradients, dim=1)
    counts = slopes > 0
    points, gradients, slopes = points[counts], gradients[counts], slopes[counts]
    smallest = functional.one_hot(gradients.abs().argmin(dim=1), 3).to(gradients)
    first = functional.normalize(torch.linalg.cross(gradients, smallest), dim=1)
    second = functional.normalize(torch.linalg.cross(gradients, first), dim=1)
    steps = [sign * CURVATURE_REACH * direction for direction in (first, second) for sign in (1, -1)]
    here, *around = field(torch.cat([points, *(points + step for step in steps)])).squeeze(1).chunk(5)
    bends = (torch.stack(around).sum(dim=0) - 4 * here) / (CURVATURE_REACH**2 * slopes)
    mean: Tensor = bends.abs().sum() / max(len(bends), 1)
    return mean


@dataclass(frozen=True)
class Penalties:
    """
    The weights of what is added to the loss.

    :param eikonal: Of :func:`eikonal_penalty`, on half of the samples of space, >= 0.
    :param curvature: Of :func:`curvature_penalty`, on half of the samples of the zero level set, >= 0.
    :raises ValueError: If a weight is negative or not finite.
    """

    eikonal: float
    curvature: float

    def __post_init__(self) -> None:
        for name, weight in (("eikonal", self.eikonal), ("curvature", self.curvature)):
            check_not_negative(name, weight)

    def add_to(self, loss: Tensor, field: Field, points: Tensor, gradients: Tensor, split: int) -> Tensor:
        """
        Add them to a loss.

        :param loss: The loss, a scalar.
        :param field: F.
        :param points: Samples of the zero level set and then of space, (n, 3).
        :param gradients: D_xF there, (n, 3).
        :param split: The number of the former.
        :return: The sum.
        """
        if self.eikonal:
            loss = loss + self.eikonal * eikonal_penalty(field, points[split::2], gradients[split::2])
        if self.curvature:
            loss = loss + self.curvature * curvature_penalty(field, points[:split:2], gradients[:split:2])
        return loss
