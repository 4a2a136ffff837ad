"""What saved files hold, checked before anything is made of it: networks of any size may be claimed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

MOST_LAYERS = 1000
"""A file's network has no more layers than this."""


def built(kind: Callable[..., nn.Module], settings: Any, weights: Any, path: str | Path) -> nn.Module:
    """
    The network that a file describes, if it has the weights for it: what the settings claim may be of any size.

    :param kind: What makes it.
    :param settings: Its arguments, as they are in the file.
    :param weights: Its state, as it is in the file.
    :param path: The file.
    :return: The network, with other weights.
    :raises ValueError: If they do not belong together.
    """
    wrong = f"network: {path} does not describe one whose weights it has"
    if not isinstance(settings, dict) or not isinstance(weights, dict):
        raise ValueError(wrong)
    if any(type(value) is int and value > MOST_LAYERS for name, value in settings.items() if name == "depth"):
        raise ValueError(wrong)
    try:
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in kind(**settings).state_dict().items()}
        if shapes != {name: value.shape for name, value in weights.items()}:
            raise ValueError(wrong)
        return kind(**settings)
    except Exception as error:  # what the file says may be anything
        raise ValueError(f"{wrong} ({type(error).__name__})") from error


def fill(network: nn.Module, weights: Any, path: str | Path) -> None:
    """
    Put a file's weights into a network.

    :param network: The network, changed in place.
    :param weights: Its state, as it is in the file.
    :param path: The file.
    :raises ValueError: If it is that of another network.
    """
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"network: the weights in {path} are those of another network") from error


def numbers(name: str, value: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """
    Check an array of a file.

    :param name: What it is.
    :param value: The array, or what stands in its place.
    :param shape: Its shape, None for sides of any length.
    :return: The same array.
    :raises ValueError: If it is none of floating point numbers, has another shape, or a number is not finite.
    """
    fits = isinstance(value, np.ndarray) and value.ndim == len(shape) and value.dtype.kind == "f"
    if not fits or any(side not in (None, given) for side, given in zip(shape, value.shape, strict=True)):
        raise ValueError(f"{name} must be numbers of the shape {shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite")
    found: NDArray[Any] = value
    return found
