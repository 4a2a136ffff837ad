"""Augmentations, and what they move."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from art_levelset.trainers.augmentation import PADDING, Augmentation, crop, crop_and_flip, followed, only_moves, shift


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.sampled_from([(crop, PADDING), (shift, 1)]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 1000),
)
def test_each_image_is_one_of_its_crops(
    way: tuple[Augmentation, int], batch: int, channels: int, height: int, width: int, seed: int
) -> None:
    x = torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(seed)) + 0.1
    before = x.clone()
    moved = way[0](x, torch.Generator().manual_seed(seed))
    assert moved.shape == x.shape
    assert torch.equal(x, before)
    padded = functional.pad(x, (way[1],) * 4)
    for image, found in zip(padded, moved, strict=True):
        crops = image.unfold(1, height, 1).unfold(2, width, 1).flatten(1, 2).movedim(1, 0)
        assert bool((crops == found).flatten(1).all(dim=1).any())


def test_about_half_of_the_images_are_turned() -> None:
    x = torch.arange(1.0, 26).reshape(1, 1, 5, 5).expand(4000, 1, 5, 5)
    found = crop_and_flip(x, torch.Generator().manual_seed(0))
    middle = found[:, 0, 2]
    falling = ((middle[:, 1:] < middle[:, :-1]) & (middle[:, 1:] > 0) & (middle[:, :-1] > 0)).any(dim=1)
    rising = ((middle[:, 1:] > middle[:, :-1]) & (middle[:, 1:] > 0) & (middle[:, :-1] > 0)).any(dim=1)
    assert not bool((falling & rising).any())
    assert abs(falling.sum() / (falling | rising).sum() - 0.5) < 0.04
    assert len(different(found)) > 100, "all 81 moves, turned or not"


def test_a_shift_is_one_of_nine() -> None:
    x = torch.zeros(200, 1, 5, 5)
    x[:, :, 2, 2] = 1
    found = different(shift(x, torch.Generator().manual_seed(0)))
    assert len(found) == 9
    assert all(sum(image) == 1 for image in found), "nothing of the middle is lost"


def different(images: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(image.flatten().tolist()) for image in images}


def test_the_generator_decides() -> None:
    x = torch.rand(8, 3, 6, 6)
    first, again, other = (crop_and_flip(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from([crop, crop_and_flip, shift]), st.integers(1, 3), st.integers(2, 9), st.integers(0, 1000))
def test_what_is_followed_moves_as_the_images_do(augmentation, channels: int, size: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, values = torch.rand(2, 5, channels, size, size, generator=random)
    changed, moves = followed(x, augmentation, torch.Generator().manual_seed(seed))
    assert torch.equal(changed, augmentation(x, torch.Generator().manual_seed(seed)))
    assert moves.known.all()
    there = moves.there(values)
    assert torch.equal(there, augmentation(values, torch.Generator().manual_seed(seed))), "augmentations are linear"
    assert torch.equal(moves.back(there, values), values)
    returned = moves.back(there, torch.zeros_like(values))
    assert bool(((returned == values) | (returned == 0)).all())


def test_the_generator_goes_on_as_without_following() -> None:
    x, first, second = torch.rand(4, 1, 5, 5), *(torch.Generator().manual_seed(1) for _ in range(2))
    followed(x, crop, first)
    crop(x, second)
    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=second))


def test_what_does_more_is_not_followed() -> None:
    def dim_some(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.where(torch.arange(len(x))[:, None, None, None] % 2 == 0, x, x / 2)

    def noise(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return x + 0.1 * torch.rand(x.shape, generator=generator)

    x = torch.rand(4, 1, 5, 5) + 0.1
    generator = torch.Generator().manual_seed(0)
    assert followed(x, dim_some, generator)[1].known.tolist() == [True, False, True, False]
    assert not followed(x, noise, generator)[1].known.any()
    assert not followed(x, lambda batch, _: torch.ones_like(batch), generator)[1].known.any(), "whole numbers, too"
    here = torch.device("cpu")
    assert only_moves(crop_and_flip, (1, 8, 8), here)
    assert only_moves(lambda batch, _: batch.roll(1, 2), (3, 8, 8), here)
    assert not only_moves(dim_some, (1, 8, 8), here)
    assert not only_moves(noise, (1, 8, 8), here)
    with pytest.raises(ValueError, match="augmentation must return a tensor of shape"):
        only_moves(lambda batch, _: batch[:, :, 1:], (1, 8, 8), here)
