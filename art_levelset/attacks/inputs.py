"""What attacks and evaluations accept: networks and ART classifiers, tensors and arrays, integer and one-hot labels."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array: TypeAlias = "Tensor | npt.NDArray[Any]"
SameArray = TypeVar("SameArray", Tensor, npt.NDArray[Any])


def network_of(model: Any) -> nn.Module:
    """
    The network that an attacker faces.

    :param model: A network, or an ART PyTorchClassifier.
    :return: The network itself; for a classifier its model behind its preprocessing, one differentiable network.
    :raises TypeError: If it is neither.
    :raises ValueError: If the classifier changes its model's outputs by postprocessing defences.
    """
    if isinstance(model, nn.Module):
        return model
    if "art" in sys.modules:  # without it, nobody has a classifier
        from art_levelset.attacks.art_classifier import AttackedNetwork, is_classifier

        if is_classifier(model):
            return AttackedNetwork(model)
    raise TypeError(f"model must be an nn.Module or an ART PyTorchClassifier, got {type(model).__name__}")


def home(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """
    Where a network computes.

    :param model: The network.
    :return: Device and dtype of its first floating-point parameter; the CPU and PyTorch's default dtype without one.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    return torch.device("cpu"), torch.get_default_dtype()


def samples(x: Array) -> Tensor:
    """
    The samples as a detached tensor, sharing the caller's memory: not to be written to.

    :param x: (batch, ...), floating point, finite.
    :return: The same values.
    :raises TypeError: If x is no tensor or array of floating-point numbers.
    :raises ValueError: If x has no batch dimension or a value that is not finite.
    """
    tensor = _tensor(x, "x")
    if not tensor.is_floating_point():
        raise TypeError(f"x must hold floating-point numbers, got {tensor.dtype}")
    if tensor.dim() < 2:
        raise ValueError(f"x must be of shape (batch, ...), got {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise ValueError("x holds values that are not finite")
    return tensor


def labels(y: Array, count: int) -> Tensor:
    """
    The labels as integers.

    :param y: Labels, (count,) integers >= 0, or one-hot rows, (count, classes).
    :param count: Number of samples.
    :return: (count,), int64.
    :raises TypeError: If y is no tensor or array.
    :raises ValueError: If its shape or values are none of these.
    """
    tensor = _tensor(y, "y")
    if tensor.dim() not in (1, 2) or len(tensor) != count:
        raise ValueError(
            f"y must be of shape ({count},) or ({count}, classes), as x has {count} rows, got {tuple(tensor.shape)}"
        )
    if tensor.dim() == 2:
        if tensor.shape[1] < 2 or not (((tensor == 0) | (tensor == 1)).all() and (tensor.sum(dim=1) == 1).all()):
            raise ValueError("y: each row of two-dimensional labels must be one-hot")
        return tensor.long().argmax(dim=1)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"y must hold integers, got {tensor.dtype}")
    if count and int(tensor.min()) < 0:
        raise ValueError(f"y must not be negative, got {int(tensor.min())}")
    return tensor.long()


def check_logits(logits: Tensor, y: Tensor) -> None:
    """
    Check a network's output against the labels.

    :param logits: The network's output for the samples.
    :param y: Their labels, (batch,), integers >= 0.
    :raises ValueError: If the output is not (batch, classes) with at least two classes, or a label is out of range.
    """
    if logits.dim() != 2 or len(logits) != len(y) or logits.shape[1] < 2:
        raise ValueError(f"model must return ({len(y)}, classes >= 2) for {len(y)} samples, got {tuple(logits.shape)}")
    if len(y) and int(y.max()) >= logits.shape[1]:
        raise ValueError(f"y must be in [0, {logits.shape[1]}), got {int(y.max())}")


def check_box(clip_values: tuple[float, float] | None, points: Tensor | None = None) -> None:
    """
    Check the box of valid inputs, and that samples are in it.

    :param clip_values: Smallest and largest valid input; None where every value is valid.
    :param points: The samples.
    :raises ValueError: If the box is empty, or a sample is outside.
    """
    if clip_values is None:
        return
    low, high = clip_values
    if not low < high:
        raise ValueError(f"clip_values must be (low, high) with low < high, got {clip_values}")
    if points is not None and ((points < low).any() or (points > high).any()):
        raise ValueError(
            f"x must lie within clip_values {clip_values}, got values in [{points.min():.4g}, {points.max():.4g}]"
        )


def _tensor(values: Array, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        what = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"{name} must be a torch tensor or a numpy array of numbers, got {what}")
    return torch.from_numpy(np.ascontiguousarray(values) if values.flags.writeable else values.copy())
