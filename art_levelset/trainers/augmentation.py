"""Augmentations: random changes of images that a network shall not mind, drawn anew for each batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

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
