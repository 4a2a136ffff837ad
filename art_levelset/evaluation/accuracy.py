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

from art_levelset.attacks.inputs import Array, check_classes, class_logits, home, labels, network_of, samples
from art_levelset.attacks.protocol import Attack
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
    right = classified_right(model, x, y, batch_size=batch_size)
    points = samples(x)[right]
    targets = labels(y, len(right))[right]
    if len(points):
        attacked = attack(model, points, targets)
        if attacked.shape != points.shape:
            raise ValueError(f"attack must return the shape {tuple(points.shape)}, got {tuple(attacked.shape)}")
        right[right.clone()] = classified_right(model, attacked, targets, batch_size=batch_size)
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
    model = network_of(model)
    check_count("batch_size", batch_size)
    points = samples(x)
    targets = labels(y, len(points))
    device, dtype = home(model)
    right = torch.zeros(len(points), dtype=torch.bool)
    with torch.no_grad(), evaluating(model):
        for start in range(0, len(points), batch_size):
            rows = slice(start, start + batch_size)
            logits = class_logits(model(points[rows].to(device, dtype, copy=True)), len(targets[rows]))
            check_classes(targets[rows], logits.shape[1])
            hit = (logits.argmax(dim=1) == targets[rows].to(device)) & ~logits.isnan().any(dim=1)
            right[rows] = hit.cpu()
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
