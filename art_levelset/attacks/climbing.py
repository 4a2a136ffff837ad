"""
Steps of steepest ascent of a loss within balls: what PGD and the stages of the guided ensemble are made of.

    x_{k+1} = Proj_B(x_k + length_k * v_k),    v_k = argmax_{|v| <= 1} <v, grad L(x_k)>

(:meth:`art_levelset.attacks.balls.Balls.step`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from art_levelset.attacks.balls import Balls
from art_levelset.attacks.inputs import check_classes, class_logits
from art_levelset.attacks.losses import LOSSES, RANKS, lead_limited


class Climbable(Protocol):
    """What is to happen to samples, as functions of their logits, (batch, classes), and of what is known of them."""

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        """
        Whether it has happened.

        :param logits: (batch, classes).
        :param y: (batch, ...): labels first.
        :return: (batch,), bool.
        """

    def values(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """
        What to raise.

        :param logits: (batch, classes).
        :param y: (batch, ...): labels first.
        :return: The values, (batch,), and for which samples the logits were scaled down, (batch,), bool.
        """


@dataclass(frozen=True)
class Goal:
    """
    That samples are misclassified, or classified as y, by raising a loss.

    :param loss: One of :data:`art_levelset.attacks.losses.LOSSES`.
    :param targeted: Whether y are the classes to reach, rather than the labels.
    :param rescale: Whether to divide the logits where the label leads by much
           (:func:`art_levelset.attacks.losses.lead_limited`).
    """

    loss: str
    targeted: bool = False
    rescale: bool = False

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        """
        Whether samples are broken.

        :param logits: (batch, classes).
        :param y: (batch,).
        :return: (batch,), bool.
        """
        return (logits.argmax(dim=1) == y) == self.targeted

    def values(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """
        The loss.

        :param logits: (batch, classes).
        :param y: (batch,).
        :return: The values, (batch,), and for which samples the logits were scaled down, (batch,), bool.
        """
        if not self.rescale:
            return LOSSES[self.loss](logits, y, self.targeted), torch.zeros_like(y, dtype=torch.bool)
        logits, scales = lead_limited(logits, y)
        return LOSSES[self.loss](logits, y, self.targeted), scales > 1

    def ranks(self, logits: Tensor, y: Tensor) -> Tensor:
        """
        What tells the better of two examples.

        :param logits: (batch, classes).
        :param y: (batch,).
        :return: (batch,).
        """
        return RANKS[self.loss](logits, y, self.targeted)


def climb(
    network: nn.Module,
    goal: Climbable,
    balls: Balls,
    y: Tensor,
    start: Tensor,
    lengths: Sequence[float],
    *,
    stop_when_broken: bool,
    layout: torch.memory_format = torch.contiguous_format,
) -> tuple[Tensor, Tensor]:
    """
    Make steps, one of each length.

    :param network: A classifier (batch, ...) -> (batch, classes), in evaluation mode.
    :param goal: What is to happen.
    :param balls: Where points may be.
    :param y: What is known of the samples, (batch, ...): labels first.
    :param start: Where to begin, (batch, ...), in the balls.
    :param lengths: Of the steps, > 0, in the norm of the balls.
    :param stop_when_broken: Whether a sample stays where it reaches the goal, and costs nothing more.
    :param layout: In which the network is fastest.
    :return: The last points, (batch, ...), and for which samples logits were scaled down, (batch,), bool.
    :raises ValueError: If the network's logits or gradients are not finite, or are none of the labels' classes.
    """
    points, found = start, start.clone()
    rescaled = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    rows = torch.arange(len(y), device=y.device)
    for step, length in enumerate(lengths):
        leaves = points.clone(memory_format=layout).requires_grad_()
        logits = logits_of(network, leaves, y if step == 0 else None)
        surviving = ~goal.reached(logits, y) if stop_when_broken else torch.ones_like(rescaled[rows])
        if not surviving.any():
            break
        values, scaled = goal.values(logits[surviving], y[surviving])
        gradients = _gradients(values, leaves)
        if not surviving.all():
            found[rows] = points
            rows, points, y = rows[surviving], points[surviving], y[surviving]
            gradients, balls = gradients[surviving], balls.select(surviving)
        rescaled[rows] |= scaled
        points = balls.step(points, gradients, length)
    found[rows] = points
    return found, rescaled


def logits_of(network: nn.Module, points: Tensor, y: Tensor | None) -> Tensor:
    """
    The network's logits, refused where they are not finite.

    :param network: The network.
    :param points: (batch, ...); not changed.
    :param y: Labels, (batch, ...), that the logits must have classes for; None where that is known.
    :return: (batch, classes).
    :raises TypeError: If the network returns no tensor of floating-point numbers.
    :raises ValueError: If a logit is not finite, or they are not those of the labels' classes.
    """
    logits: Tensor = network(points.clone())  # a copy, as networks may write to their input
    if y is not None:
        check_classes(y, class_logits(logits, len(y)).shape[1])
    finite = logits.isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(f"model: the logits are not finite for {int((~finite).sum())} of {len(points)} samples")
    return logits


def _gradients(values: Tensor, points: Tensor) -> Tensor:
    if not values.requires_grad:
        raise ValueError("model: no gradient flows from the logits to the samples")
    (gradients,) = torch.autograd.grad(values.sum(), points)
    finite = gradients.flatten(1).isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(f"model: the gradient is not finite for {int((~finite).sum())} of {len(points)} samples")
    return gradients
