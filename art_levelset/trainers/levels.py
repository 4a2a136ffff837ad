"""
The loss of levels (`distance="logit"`): eq. 12 for the level set on which each sample's search ends.

p_j is where the search ends, on the level set {F_j = c_j} that passes there, and the loss is

    1/N sum_j lambda_j log(1 + exp(-F_j(p_j))):

:func:`logistic_margin_loss`. Its gradient moves that level set away from the sample, as eq. 12 moves the zero level set
(eq. 8 does not ask for c = 0), with two differences: the weight |D_xF_j|_q of MMA in place of 1, and a smooth hinge, so
every sample takes part in every step and the logits keep a scale. Search and loss share their passes, and the backward
pass of the loss gives a search that is remembered one more step for nothing.

A search of few long steps can be made to miss what is there, by values that bend along the step. Against that

    beta / N sum_j (F_j(p_j) - F_j(s_j))^2

can be added, s_j where the search begins, with the gradient of both values (after FGSM-PGI, which has all logits in
place of F_j): level sets of values far apart shall not lie within a step of each other. A random quarter of the batch
stands for all of it, at a quarter of the passes.

Most samples lie deep inside their level set after a while, and weigh next to nothing in the loss. A search that begins
anew can be halved: after some steps only the half of the batch goes on whose F is lowest, and those that the first
halving leaves out have no part in the loss.

| Paper link: https://arxiv.org/abs/2207.08859
"""

from __future__ import annotations

from torch import Tensor

from art_levelset.core.balls import column
from art_levelset.core.losses import logistic_margin_loss
from art_levelset.core.modes import evaluating
from art_levelset.trainers.search import Loss, Search

EVERY = 4
"""Of so many samples one stands for all."""


def level_loss(search: Search, consistency: float = 0.0) -> Loss:
    """
    The logistic loss at the ends of the searches.

    :param search: The batch's search.
    :param consistency: beta, >= 0, the weight of the penalty, which a search with samples that are watched has.
    :return: The loss, and the metrics `robust_accuracy`, `crossed` and `margin`, of the ends; with a penalty also
             `change`, its mean without the weight.
    """
    if search.halvings:
        return _loss_of_some(search)
    with evaluating(search.field.module):
        ends = search.lowest()
        values = search.trained(ends.requires_grad_(search.remember is not None)).squeeze(1)
    if search.remember is not None:
        _remember(search, ends, values)
    loss, metrics = logistic_margin_loss(values, search.weights), _metrics(values.detach())
    if search.watched is None:
        return loss, metrics
    change = mean_change(search, search.watched, values)
    return loss + consistency * change, {**metrics, "change": change.item()}


def _loss_of_some(search: Search) -> Loss:
    with evaluating(search.field.module):
        ends, rows, last = search.lowest_of_some()
        if not len(rows):  # of the share of one process
            return None, _metrics(last)
        values = search.trained.select(rows)(ends).squeeze(1)
    last[rows] = values.detach()
    return logistic_margin_loss(values, search.weights[rows], total=len(last)), _metrics(last)


def _metrics(values: Tensor) -> dict[str, float]:
    survivors = (values > 0).float().mean().item()
    return {"robust_accuracy": survivors, "crossed": 1.0 - survivors, "margin": values.mean().item()}


def mean_change(search: Search, watched: Tensor, values: Tensor) -> Tensor:
    """
    The mean of (F_j(p_j) - F_j(s_j))^2 over the batch, estimated from the samples that are watched.

    :param search: The batch's search.
    :param watched: What the samples count, (batch,), 0 for those that do not stand for others.
    :param values: F_j(p_j), (batch,), with their graph.
    :return: A scalar, 0 where all count nothing.
    """
    rows = watched.nonzero().squeeze(1)
    if not len(rows):  # of the share of one process; networks need not know what to do with no samples
        return values.new_zeros(())
    with evaluating(search.field.module):
        before = search.trained.select(rows)(search.beginnings()[rows]).squeeze(1)
    return (watched[rows] * (values[rows] - before).square()).sum() / len(values)


def _remember(search: Search, ends: Tensor, values: Tensor) -> None:
    """Remember the ends, one step further down F, which a penalty may have the loss fall with or rise with."""
    signs: list[Tensor] = []
    values.register_hook(lambda slopes: signs.append(slopes.sign()))  # type: ignore[no-untyped-call]
    ends.register_hook(  # type: ignore[no-untyped-call]
        lambda slopes: search.remember_further(ends, -column(signs.pop(), ends) * slopes)
    )
