"""
What trainers accept, checked before the first step: optimizers, networks, and data that is within the clip values.

A message names what the caller has given: `classifier`, `x`, `validation_data: x`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.attacks.art_classifier import AttackedNetwork
from art_levelset.attacks.inputs import box_of, check_inside, home, labels
from art_levelset.core.balls import Box
from art_levelset.core.modes import evaluating

_CHUNK = 1000
"""Samples that are checked at a time."""


class CopyingNetwork(AttackedNetwork):
    """A classifier's network as its attacker sees it. It is given copies: a model may write to its input."""

    def forward(self, x: Tensor) -> Tensor:
        """
        The model's outputs on raw inputs.

        :param x: Raw inputs, (batch, ...), which stay as they are.
        :return: Outputs, (batch, classes).
        """
        return super().forward(x.clone())


def box_of_classifier(classifier: PyTorchClassifier) -> Box | None:
    """
    The box that a classifier's inputs are in.

    :param classifier: The classifier, with clip values for all inputs, or for each feature or channel.
    :return: (low, high), numbers or float32 tensors that broadcast to an input; None where every value is valid.
    :raises ValueError: If the clip values do not fit its inputs.
    """
    box = box_of(classifier.clip_values, tuple(classifier.input_shape))
    if box is None:
        return None
    low, high = (wall.to(classifier.device, torch.float32) if isinstance(wall, Tensor) else wall for wall in box)
    return low, high


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """
    Check that an optimizer makes a step from one gradient.

    :param optimizer: The classifier's.
    :raises ValueError: If it does not, as LBFGS.
    """
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"classifier: its optimizer {type(optimizer).__name__} computes the loss several times a step, and "
            "training gives it one gradient; take another, such as Adam"
        )


def check_network(network: nn.Module, x: Tensor, check: Callable[[Any, int], None]) -> None:
    """
    Check what a network returns, by one pass in evaluation mode that changes nothing, random generators included.

    :param network: The network.
    :param x: Some raw inputs, (batch, ...), float32, on its device.
    :param check: Called with its outputs and the number of inputs; raises an error that begins with "model".
    :raises TypeError: If the check does; the message names the classifier.
    :raises ValueError: If the check does, or the network does not compute in float32.
    """
    dtype = home(network)[1]
    if dtype != torch.float32:
        raise ValueError(f"classifier: its model computes in {dtype}, and training in torch.float32; use model.float()")
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.no_grad(), evaluating(network), torch.random.fork_rng(devices):
        outputs = network(x)
    try:
        check(outputs, len(x))
    except (TypeError, ValueError) as error:
        raise type(error)(f"classifier: its {error}") from None


def checked_labels(y: Any, count: int, nb_classes: int, name: str = "y") -> NDArray[np.int64]:
    """
    Labels as integers.

    :param y: Labels in any form that ART takes, see :func:`art_levelset.attacks.inputs.labels`.
    :param count: n, the number of inputs that they belong to.
    :param nb_classes: The number of classes.
    :param name: What the caller calls them.
    :return: Labels in [0, nb_classes), (n,).
    :raises TypeError: If they are not numbers.
    :raises ValueError: If their number, shape or range is another.
    """
    given = np.asarray(y)
    integers = labels(given.astype(np.int64) if given.dtype == bool else given, count, name, nb_classes)
    return integers.numpy()


def check_in_box(x: NDArray[Any], box: Box | None, name: str = "x") -> None:
    """
    Check that raw inputs, rounded to float32, are in the box.

    :param x: Raw inputs, (n, ...).
    :param box: The box.
    :param name: What the caller calls them.
    :raises ValueError: If one is outside.
    """
    for first in range(0, len(x), _CHUNK):
        try:
            check_inside(torch.tensor(x[first : first + _CHUNK], dtype=torch.float32), box)
        except ValueError as error:
            raise ValueError(f"{name}{str(error).removeprefix('x')}") from None


def check_inputs(x: Any, input_shape: tuple[int, ...], name: str = "x") -> NDArray[Any]:
    """
    Check the inputs of a classifier.

    :param x: Inputs, (n, *input_shape), n >= 1, real numbers, all finite.
    :param input_shape: The shape of one input.
    :param name: What the caller calls them.
    :return: The inputs as an array, not copied where they are one that torch takes.
    :raises TypeError: If they are not numbers.
    :raises ValueError: If the shape is another or a number is not finite.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or array.shape[1:] != tuple(input_shape) or len(array) == 0:
        raise ValueError(f"{name} must have the shape (n >= 1, {', '.join(map(str, input_shape))}), got {array.shape}")
    parts = (array[first : first + _CHUNK] for first in range(0, len(array), _CHUNK))
    if array.dtype.kind == "f" and not all(np.isfinite(part).all() for part in parts):
        raise ValueError(f"{name} has values that are not finite")
    return array.copy() if any(stride < 0 for stride in array.strides) else array
