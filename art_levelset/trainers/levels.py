"""
The loss of levels (`distance="logit"`): eq. 12 for the level set on which each sample's search ends.

p_j is where the search ends, on the level set {F_j = c_j} that passes there, and the loss is

    1/N sum_j lambda_j log(1 + exp(-F_j(p_j))):

:func:`logistic_margin_loss`. Its gradient moves that level set away from the sample, as eq. 12 moves the zero level set
(eq. 8 does not ask for c = 0), with two differences: the weight |D_xF_j|_q of MMA in place of 1, and a smooth hinge, so
every sample takes part in every step and the logits keep a scale. Search and loss share their passes, and the backward
pass of the loss gives a search that is remembered one more step for nothing.
"""

from __future__ import annotations

from functools import partial

from art_levelset.core.losses import logistic_margin_loss
from art_levelset.core.modes import evaluating
from art_levelset.trainers.search import Loss, Search


def level_loss(search: Search) -> Loss:
    """
    The logistic loss at the ends of the searches.

    :param search: The batch's search.
    :return: The loss, and the metrics `robust_accuracy`, `crossed` and `margin`, of the ends.
    """
    with evaluating(search.field.module):
        ends = search.lowest()
        if search.remember is not None:
            ends.requires_grad_().register_hook(partial(search.remember_further, ends))  # type: ignore[no-untyped-call]
        values = search.trained(ends).squeeze(1)
    survivors = (values.detach() > 0).float().mean().item()
    metrics = {"robust_accuracy": survivors, "crossed": 1.0 - survivors, "margin": values.detach().mean().item()}
    return logistic_margin_loss(values, search.weights), metrics
