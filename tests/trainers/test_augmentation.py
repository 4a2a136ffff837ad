from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from art_levelset.trainers.augmentation import PADDING, crop, crop_and_flip


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_each_image_is_one_of_its_crops(batch: int, channels: int, height: int, width: int, seed: int) -> None:
    x = torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(seed)) + 0.1
    before = x.clone()
    moved = crop(x, torch.Generator().manual_seed(seed))
    assert moved.shape == x.shape
    assert torch.equal(x, before)
    padded = functional.pad(x, (PADDING,) * 4)
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
    shifts = {tuple(image.flatten().tolist()) for image in found}
    assert len(shifts) > 100, "all 81 moves, turned or not"


def test_the_generator_decides() -> None:
    x = torch.rand(8, 3, 6, 6)
    first, again, other = (crop_and_flip(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
