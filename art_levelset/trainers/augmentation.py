"""
Augmentations: random changes of images that a network shall not mind, drawn anew for each batch.

What is remembered of an image from one visit to the next has to follow those that move its entries, such as crops,
turns and flips. Where each entry comes from is found by giving the augmentation the numbers of the entries for an
image, with the same random numbers; whether it has done nothing else, by moving the image in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Augmentation: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""Called as `augmentation(x, generator) -> x` with a batch of raw inputs on the device, which it must not change."""

_MOST_ENTRIES = 2**24
"""Numbers up to here are exact in float32."""

_FEW = 16

PADDING = 4
"""Pixels by which a cropped image moves at most, in both directions."""


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """
    Move each image by up to :data:`PADDING` pixels, filling up with zeros.

    :param x: Images, (batch, channels, height, width).
    :param generator: The source of randomness, on their device.
    :return: Images of the same shape.
    """
    return _moved(x, PADDING, generator)


def shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """
    Move each image by at most one pixel in both directions, filling up with zeros: digits lose nothing.

    :param x: Images, (batch, channels, height, width).
    :param generator: The source of randomness, on their device.
    :return: Images of the same shape.
    """
    return _moved(x, 1, generator)


def _moved(x: Tensor, farthest: int, generator: torch.Generator) -> Tensor:
    height, width = x.shape[2:]
    padded = functional.pad(x, (farthest,) * 4)
    tops, lefts = torch.randint(2 * farthest + 1, (2, len(x)), generator=generator, device=x.device)
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


@dataclass(frozen=True, eq=False)
class Moves:
    """
    Where the entries of augmented samples come from.

    :param sources: For each entry of a sample the number, from 1 on, of the one that it was, and 0 where it was none,
           (batch, entries), integers.
    :param known: Whether that, with zeros where there was none, is all that the augmentation did, (batch,).
    """

    sources: Tensor
    known: Tensor

    def select(self, rows: slice) -> Moves:
        """
        Those of a part of the batch.

        :param rows: The part.
        :return: The moves.
        """
        return Moves(self.sources[rows], self.known[rows])

    def there(self, values: Tensor) -> Tensor:
        """
        Move what belongs to the entries of samples to where they are now.

        :param values: A value for each entry, (batch, ...).
        :return: The same shape, with zeros for entries that come from nowhere.
        """
        flat = values.flatten(1)
        return torch.cat([flat.new_zeros(len(flat), 1), flat], dim=1).gather(1, self.sources).reshape(values.shape)

    def back(self, values: Tensor, kept: Tensor) -> Tensor:
        """
        Move it back.

        :param values: A value for each entry where it is now, (batch, ...).
        :param kept: The values of the entries that have gone, in their old places, (batch, ...).
        :return: The same shape, in the old places.
        """
        flat = torch.cat([kept.new_zeros(len(kept), 1), kept.flatten(1)], dim=1)
        return flat.scatter(1, self.sources, values.flatten(1))[:, 1:].reshape(kept.shape)


def followed(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> tuple[Tensor, Moves]:
    """
    Apply an augmentation, and find out what it moves.

    :param x: Raw inputs, (batch, ...), of less than 2^24 entries each.
    :param augmentation: The augmentation.
    :param generator: Its source of randomness.
    :return: The augmented inputs, and the moves.
    :raises ValueError: If it returns anything else than a tensor of the same shape.
    """
    before = generator.get_state()
    changed = augmented(x, augmentation, generator)
    after = generator.get_state()
    entries = x[0].numel()
    numbers = torch.arange(1, entries + 1, dtype=torch.float32, device=x.device).reshape(x.shape[1:])
    generator.set_state(before)
    found = augmented(numbers.expand(x.shape).contiguous(), augmentation, generator).flatten(1)
    generator.set_state(after)
    sources = found.clamp(0, entries).long()
    moves = Moves(sources, (found == sources).all(dim=1))
    return changed, Moves(sources, moves.known & (moves.there(x) == changed).flatten(1).all(dim=1))


def only_moves(augmentation: Augmentation, shape: tuple[int, ...], device: torch.device) -> bool:
    """
    Whether an augmentation does nothing but move the entries of samples, by a trial.

    :param augmentation: The augmentation.
    :param shape: The shape of a sample.
    :param device: Where.
    :return: Whether it did nothing else to any of a few random samples.
    :raises ValueError: If it returns anything else than a tensor of the same shape.
    """
    generator = torch.Generator(device).manual_seed(0)
    x = torch.rand(_FEW, *shape, generator=generator, device=device)
    return x[0].numel() < _MOST_ENTRIES and bool(followed(x, augmentation, generator)[1].known.all())
