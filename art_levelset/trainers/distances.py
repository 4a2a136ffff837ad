"""
The loss of distances (`distance="rho"` or `"lp"`): eq. 12 as the paper has it.

1. Where the search has found a sign change, :func:`false_position` (or :func:`project`) finds the boundary point p_j.
2. It is made differentiable in the parameters, p_j(theta) (:func:`attach`, eq. 9), and the loss is
   1/N sum_j lambda_j max(0, eps_j - sign(F_j) d(x_j, p_j(theta))).

A correctly classified sample without a sign change is far enough from the boundary: its term is zero. A *wrongly*
classified one without a sign change is the opposite, its term is the largest of all, but it has no boundary point to
be pulled by. Left out, training from scratch dies: within a few steps the network predicts one class everywhere, no
sample finds a sign change, and the loss is zero for ever. Here its distance is that to the linearised boundary, |F_j|
/ |D_xF_j|_q (one generalized Newton step for L_2; the step of the dual norm for others): the same equation, with the
distance to the nearest boundary point that is known. It needs no other loss to start from.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from art_levelset.core.bracketing import false_position
from art_levelset.core.distances import linearised_distance, lp_distance, rho
from art_levelset.core.fields import jacobians_of
from art_levelset.core.losses import margin_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.sample_network import attach
from art_levelset.core.samples import Status
from art_levelset.trainers.search import Loss, Search, values_of

LEAST_SPEED = 1e-3
"""The least |D_xF|_q of the linearised distance: the authors' bound on the gradient norm in their sample network."""


def distance_loss(
    search: Search,
    distance: Literal["rho", "lp"] = "rho",
    projection: Literal["false_position", "newton"] = "false_position",
) -> Loss:
    """
    Eq. 12, with distances to boundary points where there are some.

    :param search: The batch's search.
    :param distance: "rho", the coordinate distance of Section 3.2, or "lp", the distance in the search's norm.
    :param projection: How a boundary point is found: on the segment from the sample to the sign change, or by
           generalized Newton steps from the sign change.
    :return: The loss, None where no sample has a term with a gradient, and the metrics `accuracy`, `crossed` and
             `margin`, the signed distance as far as it is known.
    """
    values = values_of(search.field, search.x) if search.values is None else search.values
    correct = values > 0
    ends, crossed = search.crossing()
    margins = torch.where(correct, search.eps, 0.0)
    losses: list[Tensor] = []
    found = torch.nonzero(crossed).squeeze(1)
    if len(found):
        found, distances = boundary_distances(search, ends, found, distance, projection)
        _add(losses, margins, search, values, found, distances)
    found = torch.nonzero(~correct & ~crossed).squeeze(1)
    if len(found):
        found, distances = linearised_distances(search, found)
        _add(losses, margins, search, values, found, distances)
    metrics = {
        "accuracy": correct.float().mean().item(),
        "crossed": crossed.float().mean().item(),
        "margin": margins.mean().item(),
    }
    return (torch.stack(losses).sum() if losses else None), metrics


def boundary_distances(
    search: Search, ends: Tensor, rows: Tensor, distance: str, projection: str
) -> tuple[Tensor, Tensor]:
    """
    The distances of samples to their boundary points, as functions of the parameters.

    :param search: The batch's search.
    :param ends: Where it ended, (batch, ...).
    :param rows: The samples that crossed, (n,).
    :param distance: "rho" or "lp".
    :param projection: "false_position" or "newton".
    :return: Those of the samples whose boundary point was found, (m,), and d(x, p(theta)) of them, (m,).
    """
    field, x = search.field, search.x
    if projection == "newton":
        samples = project(field.select(rows), ends[rows], box=search.box)
        found, points = samples.converged, samples.points
    else:
        zeros = false_position(field.select(rows), x[rows], ends[rows])
        # A stalled one is bracketed to neighbouring floating-point numbers: nearer to the boundary than rounding.
        found, points = zeros.converged | (zeros.status == Status.STALLED), zeros.points
    rows = rows[found]
    moving, jacobians = attach(field.select(rows), points[found])
    if distance == "rho":
        return rows, rho(x[rows], moving, jacobians)
    return rows, lp_distance(x[rows], moving, search.norm)


def linearised_distances(search: Search, rows: Tensor) -> tuple[Tensor, Tensor]:
    """
    The distances of samples to their linearised boundaries, as functions of the parameters.

    :param search: The batch's search.
    :param rows: The wrongly classified samples that did not cross, (n,).
    :return: Those of the samples that have a gradient, (m,), and |F| / |D_xF|_q of them, (m,).
    """
    leaves = search.x[rows].requires_grad_()
    with torch.enable_grad(), evaluating(search.field.module):
        values = search.field.select(rows)(leaves)
        jacobians = jacobians_of(values, leaves, retain_graph=True)
    steep = (jacobians != 0).flatten(1).any(dim=1)
    return rows[steep], linearised_distance(values[steep], jacobians[steep], search.norm, floor=LEAST_SPEED)


def _add(
    losses: list[Tensor], margins: Tensor, search: Search, values: Tensor, rows: Tensor, distances: Tensor
) -> None:
    """The part of eq. 12 that some samples have, and their signed distances."""
    if not len(rows):
        return
    losses.append(margin_loss(values[rows], distances, search.eps[rows], search.weights[rows], total=len(search.x)))
    margins[rows] = values[rows].sign() * distances.detach()
