"""
What attacks, trainers and evaluations accept: networks and ART classifiers, tensors and arrays, labels in any form that
ART takes, boxes of numbers and of arrays, and the logits that a network may return.

:class:`art_levelset.attacks.subject.Subject` checks all of it at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from art_levelset.core.balls import Box

Array: TypeAlias = "Tensor | npt.NDArray[Any]"
SameArray = TypeVar("SameArray", Tensor, npt.NDArray[Any])
ClipValues: TypeAlias = "tuple[float | Array, float | Array]"
"""Smallest and largest valid input: numbers, or arrays with a value for each feature or each channel."""

_ROUNDING = 1e-4
"""How far from 1 the sum of a sample's probabilities may be."""


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


def labels(y: Array, count: int, name: str = "y", classes: int | None = None) -> Tensor:
    """
    The labels as integers, from any form that ART takes.

    :param y: Labels >= 0, whole numbers (count,) or (count, 1), or one-hot rows (count, classes).
    :param count: Number of samples.
    :param name: What the caller calls them.
    :param classes: Number of classes, where it is known.
    :return: (count,), int64.
    :raises TypeError: If y is no tensor or array.
    :raises ValueError: If its shape or values are none of these.
    """
    tensor = _tensor(y, name)
    wide = "classes" if classes is None else str(classes)
    shape = tuple(tensor.shape)
    if tensor.dim() == 2 and shape[1] == 1:
        tensor = tensor.squeeze(1)
    if tensor.dim() not in (1, 2) or len(tensor) != count or (tensor.dim() == 2 and classes not in (None, shape[1])):
        raise ValueError(
            f"{name} must have the shape ({count},), ({count}, 1) or ({count}, {wide}), one label a sample, got {shape}"
        )
    if tensor.dim() == 2:
        if shape[1] < 2 or not (((tensor == 0) | (tensor == 1)).all() and (tensor.sum(dim=1) == 1).all()):
            raise ValueError(f"{name}: each row of two-dimensional labels must be one-hot")
        return tensor.long().argmax(dim=1)
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise ValueError(f"{name} must hold whole numbers, got {tensor.dtype}")
    whole = tensor.long()
    if (whole != tensor).any():  # as of numbers that are not finite
        raise ValueError(f"{name} must hold whole numbers, got others of {tensor.dtype}")
    if count and int(whole.min()) < 0:
        raise ValueError(f"{name} must not be negative, got {int(whole.min())}")
    if classes is not None:
        check_classes(whole, classes, name)
    return whole


def class_logits(outputs: Any, count: int, classes: int | None = None) -> Tensor:
    """
    What a network has returned, checked: logits of at least two classes.

    Probabilities are told by their values: all in [0, 1], not each 0 or 1, and those of each sample with the sum 1.

    :param outputs: What it has returned for the samples.
    :param count: Number of samples.
    :param classes: Number of classes, where it is known.
    :return: The outputs, (count, classes).
    :raises TypeError: If they are no tensor of floating-point numbers.
    :raises ValueError: If their shape is another, or they are probabilities.
    """
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"model must return one tensor of logits, (batch, classes), got {type(outputs).__name__}: "
            "wrap it in a module that returns the logits alone"
        )
    if not outputs.is_floating_point():
        raise TypeError(f"model must return floating-point logits, got {outputs.dtype}")
    wide = "classes >= 2" if classes is None else str(classes)
    if outputs.dim() != 2 or len(outputs) != count or outputs.shape[1] < 2 or classes not in (None, outputs.shape[1]):
        single = outputs.shape in ((count,), (count, 1)) and classes in (None, 2)
        remedy = "; one logit z is two as torch.cat([torch.zeros_like(z), z], dim=1), with z (batch, 1)"
        raise ValueError(
            f"model must return ({count}, {wide}) for {count} samples, got {tuple(outputs.shape)}"
            f"{remedy if single else ''}"
        )
    if count and are_probabilities(outputs.detach()):
        raise ValueError(
            "model must return logits, got probabilities (in [0, 1], with the sum 1 for each sample): "
            "leave out its softmax, or return their logarithm, torch.log"
        )
    return outputs


def are_probabilities(values: Tensor) -> bool:
    """
    Whether outputs are probabilities: all in [0, 1], not each 0 or 1, and those of each sample with the sum 1.

    :param values: The outputs, (batch, classes).
    :return: Whether they are.
    """
    if not (values >= 0).all() or not ((values.sum(dim=1) - 1).abs() <= _ROUNDING).all():
        return False
    return not ((values == 0) | (values == 1)).all()


def check_classes(y: Tensor, classes: int, name: str = "y") -> None:
    """
    Check labels against the number of classes.

    :param y: Labels, (batch,), integers >= 0.
    :param classes: Number of classes.
    :param name: What the caller calls them.
    :raises ValueError: If one is out of range.
    """
    if len(y) and int(y.max()) >= classes:
        raise ValueError(f"{name} must be in [0, {classes}), got {int(y.max())}")


def box_of(clip_values: ClipValues | None, shape: Sequence[int] | None = None) -> Box | None:
    """
    The box of valid inputs, in one form.

    :param clip_values: Smallest and largest valid input: numbers, or arrays with a value for each feature (of the
           shape of a sample, or flat), for each channel (channels,), or of a shape that broadcasts to a sample's. None
           where every value is valid.
    :param shape: The shape of a sample; by default arrays stay as they are, and are not compared with it.
    :return: (low, high): floats where a wall is the same everywhere, else tensors on the CPU, in double precision, that
             broadcast to a sample.
    :raises ValueError: If it is no pair, the box is empty, or an array does not belong to samples of that shape.
    """
    if clip_values is None:
        return None
    if not isinstance(clip_values, (tuple, list, np.ndarray, Tensor)) or len(clip_values) != 2:
        raise ValueError(f"clip_values must be a pair (low, high), got {clip_values!r}")
    low, high = (_wall(wall, shape) for wall in clip_values)
    if not bool((torch.as_tensor(low) < torch.as_tensor(high)).all()):
        shown = clip_values if isinstance(low, float) and isinstance(high, float) else "arrays for which it is not"
        raise ValueError(f"clip_values must be (low, high) with low < high, got {shown}")
    return low, high


def check_inside(points: Tensor, box: Box | None) -> None:
    """
    Check that samples are in the box.

    :param points: The samples, (batch, ...).
    :param box: The box, as :func:`box_of` returns it.
    :raises ValueError: If a sample is outside.
    """
    if box is None:
        return
    low, high = (wall.to(points) if isinstance(wall, Tensor) else wall for wall in box)
    if (points < low).any() or (points > high).any():
        shown = "of their features" if any(isinstance(wall, Tensor) for wall in box) else str(box)
        raise ValueError(
            f"x must lie within clip_values {shown}, got values in [{points.min():.4g}, {points.max():.4g}]"
        )


def clamped(points: Tensor, box: Box | None) -> Tensor:
    """
    Points moved into the box.

    :param points: (batch, ...).
    :param box: The box, as :func:`box_of` returns it.
    :return: (batch, ...); the points themselves without a box.
    """
    if box is None:
        return points
    low, high = box
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return points.clamp(torch.as_tensor(low).to(points), torch.as_tensor(high).to(points))
    return points.clamp(low, high)


def _wall(wall: Any, shape: Sequence[int] | None) -> float | Tensor:
    if isinstance(wall, (Tensor, np.ndarray)):
        values = _tensor(wall, "clip_values").double().cpu()
    else:
        try:
            values = torch.tensor(float(wall), dtype=torch.float64)
        except (TypeError, ValueError):
            raise ValueError(f"clip_values must hold numbers or arrays, got {wall!r}") from None
    if shape is not None and values.numel() != 1:
        values = _as_sample(values, tuple(shape))
    first = values.flatten()[:1]
    if values.numel() and bool((values == first).all()):
        return float(first)
    return values


def _as_sample(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A wall of more than one number, broadcastable to a sample."""
    if values.numel() == math.prod(shape):
        return values.reshape(shape)
    if len(shape) > 1 and values.shape == shape[:1]:
        return values.reshape(-1, *(1,) * (len(shape) - 1))
    if values.dim() != len(shape) or any(a not in (1, b) for a, b in zip(values.shape, shape, strict=True)):
        raise ValueError(
            f"clip_values: an array must have a value for each feature of a sample, {shape}, or for each channel, "
            f"got the shape {tuple(values.shape)}"
        )
    return values


def _tensor(values: Array, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        what = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"{name} must be a torch tensor or a numpy array of numbers, got {what}")
    return torch.from_numpy(np.ascontiguousarray(values) if values.flags.writeable else values.copy())
