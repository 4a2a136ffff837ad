"""
The loss of linearised distances (`distance="linearised"`): eq. 12 with the level set moved in the norm of the ball.

p_j is where the search ends. F_j linearised there has its zero level set at the signed distance

    d_j(theta) = |x_j - p_j| + F_j(p_j; theta) / |D_xF_j(p_j; theta_0)|_q

from the sample, q the dual exponent: exactly for an affine F_j whose lowest point in the ball is p_j, nearly where p_j
is near the nearest boundary point. The speed |D_xF_j|_q is a constant of the step, so

    D_theta d_j = D_theta F_j(p_j) / |D_xF_j(p_j)|_q,

which is how far eq. 8 moves the level set through p_j, in the norm of the ball in place of L_2. The loss is
:func:`smooth_margin_loss` of these distances. Unlike the loss of levels it weighs samples by distances alone, whatever
the scale of the logits; and unlike the loss of distances it needs no sign change, so every sample takes part.

It costs one backward pass to the inputs more than the loss of levels, which then gives the search a further step.
"""

from __future__ import annotations

import torch

from art_levelset.core.distances import dual_norm, lp_distance
from art_levelset.core.fields import jacobians_of
from art_levelset.core.losses import smooth_margin_loss
from art_levelset.core.modes import evaluating
from art_levelset.trainers.distances import LEAST_SPEED
from art_levelset.trainers.search import Loss, Search


def linearised_loss(search: Search, sharpness: float) -> Loss:
    """
    Eq. 12 with a smooth hinge, at the ends of the searches.

    :param search: The batch's search.
    :param sharpness: kappa, > 0, in units of one over a distance.
    :return: The loss, and the metrics `robust_accuracy` and `crossed` of the ends, and `margin`, the mean of d_j.
    """
    with torch.enable_grad(), evaluating(search.field.module):
        ends = search.lowest().requires_grad_()
        values = search.trained(ends)
        jacobians = jacobians_of(values, ends, retain_graph=True).squeeze(1)
    search.remember_further(ends, -jacobians)
    speeds = torch.linalg.vector_norm(jacobians.flatten(1), ord=dual_norm(search.norm), dim=1)
    values = values.squeeze(1)
    distances = lp_distance(search.x, ends.detach(), search.norm) + values / speeds.clamp(min=LEAST_SPEED)
    survivors = (values.detach() > 0).float().mean().item()
    metrics = {"robust_accuracy": survivors, "crossed": 1.0 - survivors, "margin": distances.detach().mean().item()}
    return smooth_margin_loss(distances, search.eps, sharpness, search.weights), metrics
