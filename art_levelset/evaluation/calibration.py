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
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from torch import Tensor
from torch.nn import functional

from art_levelset.attacks.inputs import Array, check_classes, class_logits
from art_levelset.attacks.subject import Subject
from art_levelset.checks import check_count
from art_levelset.core.fields import label_margin
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.fields import Checked, NotNegative, Number, Positive, Share, ordered

_TOLERANCE = 1e-12
"""Relative error of the temperature."""


class Bin(Checked, frozen=True):
    """
    The predictions of similar confidence.

    :param above: What their confidences are above.
    :param up_to: The largest confidence of the bin.
    :param count: Predictions in it, >= 1.
    :param confidence: Their mean confidence.
    :param accuracy: The fraction of them that is right.
    :raises ValueError: If a value is out of range.
    """

    above: Share
    up_to: Share
    count: Positive
    confidence: Share
    accuracy: Share


class Calibration(Checked, frozen=True):
    """
    How calibrated a network is, and the scale of its logits.

    :param accuracy: The fraction of samples classified right.
    :param confidence: The mean confidence.
    :param ece: The expected calibration error, in [0, 1]: the mean of |accuracy - confidence| over bins of equal width,
           weighted by their counts.
    :param adaptive_ece: The same over bins of equal mass; predictions of one confidence share a bin.
    :param brier: The Brier score, in [0, 2]: the mean of sum_k (p_k - [y = k])^2.
    :param nll: The mean negative log-likelihood, in nats.
    :param temperature: The T > 0 by which dividing the logits of these samples minimises it; 0 if it falls all the way
           to T = 0, as where every sample is classified right, and None if it falls as T goes to infinity.
    :param tempered_nll: The negative log-likelihood at that temperature.
    :param tempered_ece: The expected calibration error (equal width) at that temperature.
    :param margin: The median of the label margins f_y - max_{i != y} f_i.
    :param large_margin: Their 95th percentile.
    :param logit_norm: The median L_2 norm of the logits.
    :param bins: The bins of equal width, without the empty ones.
    :raises ValueError: If a value is out of range.
    """

    accuracy: Share
    confidence: Share
    ece: Share
    adaptive_ece: Share
    brier: Annotated[Number, Field(ge=0, le=2)]
    nll: NotNegative
    temperature: NotNegative | None
    tempered_nll: NotNegative
    tempered_ece: Share
    margin: Number
    large_margin: Number
    logit_norm: NotNegative
    bins: Annotated[tuple[Bin, ...], BeforeValidator(ordered)]

    def text(self) -> str:
        """
        The metrics as text.

        :return: Two lines.
        """
        temperature = "infinity" if self.temperature is None else f"{self.temperature:.4g}"
        return (
            f"Calibration: ECE {self.ece:.2%} (equal mass {self.adaptive_ece:.2%}), confidence {self.confidence:.2%}, "
            f"Brier {self.brier:.4f}, NLL {self.nll:.4f};\n"
            f"at temperature {temperature} ECE {self.tempered_ece:.2%}, NLL {self.tempered_nll:.4f}. "
            f"Logit margin {self.margin:.4g} (95%: {self.large_margin:.4g}), norm {self.logit_norm:.4g}"
        )


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

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    >>> found = calibration(torch.nn.Identity(), logits, torch.tensor([0, 1, 1]))
    >>> round(found.accuracy, 3), round(found.confidence, 3), round(found.ece, 3)
    (0.667, 0.881, 0.214)
    """
    check_count("bins", bins)
    check_count("batch_size", batch_size)
    return calibration_of(Subject.of(model, x, y), bins, batch_size=batch_size)


def calibration_of(subject: Subject, bins: int = 15, *, batch_size: int) -> Calibration:
    """
    :func:`calibration` of a checked subject.

    :param subject: The network, samples and labels.
    :param bins: Bins of the calibration errors, >= 1.
    :param batch_size: Samples in one forward pass, >= 1.
    :return: The calibration.
    :raises ValueError: If there is no sample, the network returns no logits for the labels, or one is not finite.
    """
    targets, logits = subject.y, _logits(subject, batch_size)
    probabilities, wanted = logits.softmax(dim=1), functional.one_hot(targets, logits.shape[1])
    confidences, right = _predictions(probabilities, targets)
    ends = np.linspace(0, 1, bins + 1)[1:]
    equal_width = _bins(confidences, right, ends)
    equal_mass = _bins(confidences, right, np.unique(np.quantile(confidences, ends, method="inverted_cdf")))
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
        tempered_ece=_expected_error(_bins(*_predictions(tempered.exp(), targets), ends)),
        margin=float(np.median(margins)),
        large_margin=float(np.quantile(margins, 0.95)),
        logit_norm=float(np.median(logits.norm(dim=1).numpy())),
        bins=tuple(equal_width),
    )


def _logits(subject: Subject, batch_size: int) -> Tensor:
    if not len(subject):
        raise ValueError("x holds no sample: a calibration needs at least one")
    with torch.no_grad(), evaluating(subject.network):
        outputs = [
            class_logits(subject.network(part.inputs()), len(part)).cpu().double()
            for first in range(0, len(subject), batch_size)
            for part in [subject.select(slice(first, first + batch_size))]
        ]
    logits = torch.cat(outputs)
    check_classes(subject.y, logits.shape[1])
    bad = int((~logits.isfinite()).any(dim=1).sum())
    if bad:
        raise ValueError(f"model: the logits are not finite for {bad} of {len(logits)} samples")
    return logits


def _predictions(probabilities: Tensor, y: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    confidences, predicted = probabilities.max(dim=1)
    return confidences.clamp(max=1.0).numpy(), (predicted == y).numpy()


def _bins(confidences: NDArray[np.float64], right: NDArray[np.bool_], ends: NDArray[np.float64]) -> list[Bin]:
    """The bins that are not empty: each is what lies above the end before (at first 0), up to its own."""
    indices = np.searchsorted(ends, confidences)
    return [
        Bin(
            above=ends[index - 1] if index else 0.0,
            up_to=ends[index],
            count=int(inside.sum()),
            confidence=confidences[inside].mean(),
            accuracy=right[inside].mean(),
        )
        for index in np.unique(indices)
        for inside in [indices == index]
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
