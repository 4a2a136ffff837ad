"""What rounding leaves of a network's gradients: exact zeros, lost terms, and the logits behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.attacks.inputs import check_classes, class_logits
from art_levelset.attacks.network import seeded
from art_levelset.attacks.subject import Subject
from art_levelset.core.fields import label_margin
from art_levelset.core.modes import evaluating

SAME_LOGITS = 1e-3
"""Relative change of the logits between two passes that is put down to rounding: parallel sums differ in order."""


@dataclass(frozen=True, eq=False)
class Underflow:
    """
    What gradient attacks start from, sample by sample, in the network's own arithmetic.

    :param no_cross_entropy: Whether the input gradient of cross-entropy is exactly zero, (n,).
    :param no_margin: Whether that of the margin f_y - max f_i is, (n,).
    :param rounded: Whether 1 - p_y rounds to 0, so that cross-entropy loses the gradient of the label's logit, (n,).
    :param random: Whether a second pass gives other logits, (n,).
    :param margins: The margins, (n,).
    :param lost_beyond: The margin beyond which all of cross-entropy's gradient underflows.
    """

    no_cross_entropy: NDArray[np.bool_]
    no_margin: NDArray[np.bool_]
    rounded: NDArray[np.bool_]
    random: NDArray[np.bool_]
    margins: NDArray[np.float64]
    lost_beyond: float


def gradient_underflow(subject: Subject, *, batch_size: int, seed: int) -> Underflow:
    """
    Look at the gradients at the samples themselves, with two forward and two backward passes.

    :param subject: A classifier (batch, ...) -> (batch, classes) of logits, at least one sample, labels.
    :param batch_size: Samples in one pass, >= 1.
    :param seed: Seed of what a network draws that is random itself.
    :return: What was found.
    :raises ValueError: If the network does not return logits for the labels, or passes no gradient to the samples.
    """
    network = subject.network
    with torch.inference_mode(False), torch.enable_grad(), evaluating(network), seeded(seed, subject.device):
        batches = [
            _batch(network, batch.inputs(), batch.y.to(batch.device))
            for first in range(0, len(subject), batch_size)
            for batch in [subject.select(slice(first, first + batch_size))]
        ]
    no_cross_entropy, no_margin, rounded, random, margins = (
        torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True)
    )
    limits = torch.finfo(subject.dtype)
    lost_beyond = -math.log(limits.tiny) - math.log(limits.eps)  # of the smallest subnormal number
    return Underflow(no_cross_entropy, no_margin, rounded, random, margins.astype(np.float64), lost_beyond)


def _batch(network: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    points = x.clone().requires_grad_()
    logits, again = class_logits(network(points.clone()), len(y)), network(x.clone()).detach()
    check_classes(y, logits.shape[1])
    margins = label_margin(logits, y)
    by_margin = _gradients(margins.sum(), points)
    by_cross_entropy = _gradients(functional.cross_entropy(logits, y, reduction="sum"), points)
    logits = logits.detach()
    return (
        (by_cross_entropy == 0).flatten(1).all(dim=1),
        (by_margin == 0).flatten(1).all(dim=1),
        logits.softmax(dim=1).gather(1, y.unsqueeze(1)).squeeze(1) == 1,
        (logits - again).abs().amax(dim=1) > SAME_LOGITS * logits.abs().amax(dim=1),
        margins.detach(),
    )


def _gradients(total: Tensor, points: Tensor) -> Tensor:
    if not total.requires_grad:
        raise ValueError("model: no gradient flows from the logits to the samples")
    (gradients,) = torch.autograd.grad(total, points, retain_graph=True, materialize_grads=True)
    return gradients
