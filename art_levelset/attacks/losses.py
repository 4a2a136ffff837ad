"""
What an attack by gradients raises: losses of logits (batch, classes) and classes (batch,), one value a sample.

Untargeted, the classes are the labels to get away from; targeted, the classes to reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from art_levelset.core.fields import label_margin

AttackLoss: TypeAlias = Callable[[Tensor, Tensor, bool], Tensor]

LEAD = 10.0
"""The lead of the label above which float32 loses digits of the cross-entropy's gradient: 1e-3 of it at this lead."""


def cross_entropy(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """
    -log p_y, p being the softmax of the logits; log p_y if targeted.

    In float32 its gradient loses the term of the label where that leads by more than about 16, and all terms above
    about 100; see :func:`lead_limited`.

    :param logits: (batch, classes).
    :param y: (batch,).
    :param targeted: Whether y are the classes to reach.
    :return: (batch,).
    """
    values = functional.cross_entropy(logits, y, reduction="none")
    return -values if targeted else values


def margin(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """
    max_{i != y} f_i - f_y, the field of eq. 1 with its sign turned; f_y - max_{i != y} f_i if targeted.

    :param logits: (batch, classes).
    :param y: (batch,).
    :param targeted: Whether y are the classes to reach.
    :return: (batch,); the attack has succeeded where it is positive.
    """
    values = label_margin(logits, y)
    return values if targeted else -values


def dlr(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """
    The difference of logits ratio, which neither shifting nor scaling the logits changes.

    With the logits z in decreasing order z_1 >= z_2 >= ..., it is (max_{i != y} z_i - z_y) / (z_1 - z_3), and if
    targeted (z_y - max_{i != y} z_i) / (z_1 - (z_3 + z_4) / 2): of the classes other than the target the strongest
    stands where the paper has the label. Where the denominator is zero, it is 1.

    :param logits: (batch, classes).
    :param y: (batch,).
    :param targeted: Whether y are the classes to reach.
    :return: (batch,); the attack has succeeded where it is positive.
    :raises ValueError: If there are fewer than three classes, or four if targeted.

    | Paper link: https://arxiv.org/abs/2003.01690
    """
    needed = 4 if targeted else 3
    if logits.shape[1] < needed:
        kind = "targeted dlr" if targeted else "dlr"
        raise ValueError(f"loss: {kind} needs at least {needed} classes, the model has {logits.shape[1]}")
    ordered = logits.topk(needed, dim=1).values
    spread = ordered[:, 0] - ordered[:, 2:].mean(dim=1)
    return margin(logits, y, targeted) / torch.where(spread > 0, spread, 1.0)


def log_odds(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """
    log((1 - p_y) / p_y), p being the softmax of the logits; its negative if targeted.

    It grows as :func:`cross_entropy` does and, unlike that, does not round to zero: the one to compare samples by.

    :param logits: (batch, classes).
    :param y: (batch,).
    :param targeted: Whether y are the classes to reach.
    :return: (batch,).
    """
    own = y.unsqueeze(1)
    values = logits.scatter(1, own, -torch.inf).logsumexp(dim=1) - logits.gather(1, own).squeeze(1)
    return -values if targeted else values


def lead_limited(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """
    The logits of each sample, divided by the least constant >= 1 for which the label's lead is at most `LEAD`.

    Without it the float32 cross-entropy of a sample that is classified right with a large lead has no gradient.

    :param logits: (batch, classes).
    :param y: The labels, (batch,).
    :return: The logits, (batch, classes), and the constants, (batch,), which no gradient passes through.
    """
    scales = (label_margin(logits.detach(), y) / LEAD).clamp(min=1)
    return logits / scales.unsqueeze(1), scales


LOSSES: dict[str, AttackLoss] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
"""What an attack raises, by name."""

RANKS: dict[str, AttackLoss] = {**LOSSES, "cross_entropy": log_odds}
"""What tells the better of two examples: the loss, or what grows with it."""
