"""Augmentations: random changes of images that a network shall not mind, drawn anew for each batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Augmentation: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""Called as `augmentation(x, generator) -> x` with a batch of raw inputs on the device, which it must not change."""

PADDING = 4
"""Pixels by which a cropped image moves at most, in both directions."""


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """
    Move each image by up to :data:`PADDING` pixels, filling up with zeros.

    :param x: Images, (batch, channels, height, width).
    :param generator: The source of randomness, on their device.
    :return: Images of the same shape.
    """
    height, width = x.shape[2:]
    padded = functional.pad(x, (PADDING,) * 4)
    tops, lefts = torch.randint(2 * PADDING + 1, (2, len(x)), generator=generator, device=x.device)
    samples = torch.arange(len(x), device=x.device)[:, None, None]
    rows = tops[:, None, None] + torch.arange(height, device=x.device)[:, None]
    columns = lefts[:, None, None] + torch.arange(width, device=x.device)
    return padded.movedim(1, -1)[samples, rows, columns].movedim(-1, 1).contiguous()


def crop_and_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """
    Move each image as :func:`crop` does, and turn every other one, at random, left to right.

    :param x: Images, (batch, channels, height, width).
    :param generator: The source of randomness, on their device.
    :return: Images of the same shape.
    """
    moved = crop(x, generator)
    turned = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(turned[:, None, None, None], moved.flip(3), moved)


def augmented(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """
    Apply an augmentation, and check what it returns.

    :param x: Raw inputs, (batch, ...).
    :param augmentation: The augmentation.
    :param generator: Its source of randomness.
    :return: A tensor of the same shape.
    :raises ValueError: If it returns anything else.
    """
    changed = augmentation(x, generator)
    if not isinstance(changed, Tensor) or changed.shape != x.shape:
        got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise ValueError(f"augmentation must return a tensor of shape {tuple(x.shape)}, got {got}")
    return changed
