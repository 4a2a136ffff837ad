"""
Accuracy, accuracy under one attack, and how sure a fraction is.

An attack is anything called as `attack(model, x, y) -> x_adv`, for instance
`functools.partial(pgd, eps=0.3, eps_step=0.01, loss="margin")`.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor, nn

from art_levelset.attacks.inputs import Array, check_classes, class_logits
from art_levelset.attacks.protocol import Attack
from art_levelset.attacks.subject import Subject
from art_levelset.checks import check_count
from art_levelset.core.modes import evaluating


def accuracy(model: nn.Module, x: Array, y: Array, *, batch_size: int = 500) -> float:
    """
    The fraction of samples that the network classifies right, in evaluation mode.

    :param model: A classifier (batch, ...) -> (batch, classes).
    :param x: Samples, (batch, ...).
    :param y: Labels, (batch,) integers or (batch, classes) one-hot.
    :param batch_size: Samples in one forward pass.
    :return: In [0, 1].
    :raises ValueError: If there is no sample, or a shape, label or number is out of range.
    :raises TypeError: If an argument is of another type.
    """
    return _fraction(classified_right(model, x, y, batch_size=batch_size))


def robust_accuracy(model: nn.Module, x: Array, y: Array, attack: Attack, *, batch_size: int = 500) -> float:
    """
    The fraction of samples that the network classifies right both as they are and after the attack.

    Samples that are misclassified as they are count as broken and are not attacked.

    :param model: A classifier (batch, ...) -> (batch, classes).
    :param x: Samples, (batch, ...).
    :param y: Labels, (batch,) integers or (batch, classes) one-hot.
    :param attack: Called once as `attack(model, x, y)` with the samples that are classified right; returns as many.
    :param batch_size: Samples in one forward pass of the scoring; the attack has its own.
    :return: In [0, 1].
    :raises ValueError: If there is no sample, a shape, label or number is out of range, or the attack returns another
            shape than it was given.
    :raises TypeError: If an argument is of another type.
    """
    check_count("batch_size", batch_size)
    subject = Subject.of(model, x, y)
    right = correct(subject, batch_size=batch_size)
    left = subject.select(right)
    if len(left):
        attacked = attack(model, left.x, left.y)
        right[right.clone()] = correct(left.at(attacked), batch_size=batch_size)
    return _fraction(right)


def classified_right(model: nn.Module, x: Array, y: Array, *, batch_size: int = 500) -> Tensor:
    """
    Whether the network classifies each sample right, in evaluation mode.

    :param model: A classifier (batch, ...) -> (batch, classes).
    :param x: Samples, (batch, ...).
    :param y: Labels, (batch,) integers or (batch, classes) one-hot.
    :param batch_size: Samples in one forward pass.
    :return: (batch,), bool, on the CPU. A sample with a logit that is not a number is not classified right.
    :raises ValueError: If a shape, label or number is out of range.
    :raises TypeError: If an argument is of another type.
    """
    check_count("batch_size", batch_size)
    return correct(Subject.of(model, x, y), batch_size=batch_size)


def correct(subject: Subject, *, batch_size: int) -> Tensor:
    """
    Whether the network of a checked subject classifies each of its samples right, in evaluation mode.

    :param subject: The network, samples and labels.
    :param batch_size: Samples in one forward pass, >= 1.
    :return: (n,), bool, on the CPU. A sample with a logit that is not a number is not classified right.
    :raises ValueError: If the network does not return logits for the labels.
    """
    right = torch.zeros(len(subject), dtype=torch.bool)
    with torch.no_grad(), evaluating(subject.network):
        for start in range(0, len(subject), batch_size):
            batch = subject.select(slice(start, start + batch_size))
            logits = class_logits(batch.network(batch.inputs()), len(batch))
            check_classes(batch.y, logits.shape[1])
            hit = (logits.argmax(dim=1) == batch.y.to(logits.device)) & ~logits.isnan().any(dim=1)
            right[start : start + batch_size] = hit.cpu()
    return right


def wilson(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """
    The Wilson score interval of a fraction.

    | Paper link: https://doi.org/10.1080/01621459.1927.10502953

    :param successes: How many of n, in [0, n]; the mean over repeats may be no whole number.
    :param n: The number of trials, >= 1.
    :param confidence: The interval's confidence, in (0, 1).
    :return: Its ends, in [0, 1].
    :raises ValueError: If a number is out of range.
    """
    check_count("n", n)
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, {n}], got {successes}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    fraction = successes / n
    middle = (fraction + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - reach, fraction)), min(1.0, max(middle + reach, fraction))


def _fraction(right: Tensor) -> float:
    if not len(right):
        raise ValueError("x holds no sample: an accuracy needs at least one")
    return right.double().mean().item()
