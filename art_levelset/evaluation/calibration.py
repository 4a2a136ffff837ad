"""
Calibration: whether a network is right as often as its confidences say, and how large its logits are.

The confidence of a prediction is the largest probability of the softmax. A network is calibrated where a fraction c of
its predictions of confidence c are right. Networks whose logits are large have confidences of exactly 1, right or
wrong, and cross-entropy gradients that underflow.

| Paper link: https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from art_levelset.attacks.inputs import Array, check_classes, class_logits, home, labels, network_of, samples
from art_levelset.checks import check_count
from art_levelset.core.fields import label_margin
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.record import Bin, Calibration

_TOLERANCE = 1e-12
"""Relative error of the temperature."""


def calibration(model: Any, x: Array, y: Array, bins: int = 15, *, batch_size: int = 500) -> Calibration:
    """
    Measure a network's calibration on samples as they are; probabilities are computed in double precision.

    | Paper link: https://arxiv.org/abs/1706.04599 (ECE, temperature), https://arxiv.org/abs/1904.01685 (equal mass)

    :param model: A network (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
    :param x: Samples, (n, ...), floating point, n >= 1.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param bins: Bins of the calibration errors, >= 1.
    :param batch_size: Samples in one forward pass, >= 1.
    :return: The calibration.
    :raises ValueError: If there is no sample, a shape, label or number is out of range, or a logit is not finite.
    :raises TypeError: If an argument is of another type.
    """
    check_count("bins", bins)
    targets = labels(y, len(x))
    logits = _logits(model, x, targets, batch_size)
    probabilities, wanted = logits.softmax(dim=1), functional.one_hot(targets, logits.shape[1])
    confidences, right = _predictions(probabilities, targets)
    parts = np.linspace(0, 1, bins + 1)[1:]
    equal_width = _bins(confidences, right, parts)
    equal_mass = _bins(confidences, right, np.unique(np.quantile(confidences, parts, method="inverted_cdf")))
    temperature = _temperature(logits, targets)
    tempered = _tempered(logits, temperature)
    margins = label_margin(logits, targets).numpy()
    return Calibration(
        accuracy=float(right.mean()),
        confidence=float(confidences.mean()),
        ece=_expected_error(equal_width),
        adaptive_ece=_expected_error(equal_mass),
        brier=(probabilities - wanted).square().sum(dim=1).mean().item(),
        nll=_nll(logits.log_softmax(dim=1), targets),
        temperature=None if temperature == math.inf else temperature,
        tempered_nll=_nll(tempered, targets),
        tempered_ece=_expected_error(_bins(*_predictions(tempered.exp(), targets), parts)),
        margin=float(np.median(margins)),
        large_margin=float(np.quantile(margins, 0.95)),
        logit_norm=float(np.median(logits.norm(dim=1).numpy())),
        bins=tuple(equal_width),
    )


def _logits(model: Any, x: Array, y: Tensor, batch_size: int) -> Tensor:
    check_count("batch_size", batch_size)
    network, points = network_of(model), samples(x)
    if not len(points):
        raise ValueError("x holds no sample: a calibration needs at least one")
    device, dtype = home(network)
    with torch.no_grad(), evaluating(network):
        outputs = [
            class_logits(network(part.to(device, dtype, copy=True)), len(part)).cpu().double()
            for part in torch.split(points, batch_size)
        ]
    logits = torch.cat(outputs)
    check_classes(y, logits.shape[1])
    bad = int((~logits.isfinite()).any(dim=1).sum())
    if bad:
        raise ValueError(f"model: the logits are not finite for {bad} of {len(logits)} samples")
    return logits


def _predictions(probabilities: Tensor, y: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    confidences, predicted = probabilities.max(dim=1)
    return confidences.clamp(max=1.0).numpy(), (predicted == y).numpy()


def _bins(confidences: NDArray[np.float64], right: NDArray[np.bool_], ends: NDArray[np.float64]) -> list[Bin]:
    """The bins that are not empty: each is what lies above the end before (at first 0), up to its own."""
    places = np.searchsorted(ends, confidences)
    return [
        Bin(
            above=ends[place - 1] if place else 0.0,
            up_to=ends[place],
            count=int(inside.sum()),
            confidence=confidences[inside].mean(),
            accuracy=right[inside].mean(),
        )
        for place in np.unique(places)
        for inside in [places == place]
    ]


def _expected_error(bins: list[Bin]) -> float:
    total = sum(part.count for part in bins)
    return sum(part.count * abs(part.accuracy - part.confidence) for part in bins) / total


def _nll(log_probabilities: Tensor, y: Tensor) -> float:
    return -log_probabilities.gather(1, y.unsqueeze(1)).mean().item() + 0.0  # no negative zero


def _temperature(logits: Tensor, y: Tensor) -> float:
    """
    The T that minimises the mean negative log-likelihood of logits / T.

    It is convex in 1 / T, and its derivative the mean over samples of what p expects of the logits beyond the label's.
    """
    from scipy.optimize import brentq

    excess = logits - logits.gather(1, y.unsqueeze(1))
    largest = excess.abs().max().item()

    def derivative(inverse: float) -> float:
        return ((excess * inverse).softmax(dim=1) * excess).sum(dim=1).mean().item()

    if bool((excess <= 0).all()):
        return 0.0 if largest else 1.0
    if derivative(0.0) >= 0:
        return math.inf
    low = high = 1 / largest
    while derivative(low) >= 0:
        low, high = low / 2, low
    while derivative(high) < 0:
        low, high = high, 2 * high
    return 1 / float(brentq(derivative, low, high, xtol=sys.float_info.min, rtol=_TOLERANCE))


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    """The logarithms of the probabilities at a temperature, those of its limits among them."""
    if temperature == 0:
        ties = logits == logits.amax(dim=1, keepdim=True)
        return torch.where(ties, 0.0, -math.inf).double().log_softmax(dim=1)
    return (logits / temperature).log_softmax(dim=1)
