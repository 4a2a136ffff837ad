"""Tracked offsets: kept to a 254th of the radius, in its units; shared between processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.distributed import World
from art_levelset.trainers.augmentation import Moves, crop_and_flip, followed
from art_levelset.trainers.tracking import Offsets


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.floats(1e-3, 10.0))
def test_what_is_stored_comes_back_and_grows_with_the_radius(seed: int, radius: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, rows = torch.rand(4, 3, 2, generator=generator), torch.randperm(9, generator=generator)[:4]
    eps = radius * (0.5 + torch.rand(4, generator=generator))
    ends = x + eps[:, None, None] * (2 * torch.rand(4, 3, 2, generator=generator) - 1)
    offsets = Offsets(9, (3, 2))
    otherwise = torch.full_like(x, 77.0)
    assert torch.equal(offsets.start(x, rows, eps, otherwise), otherwise)
    offsets.store(x, rows, ends, eps)
    error = (offsets.start(x, rows, eps, otherwise) - ends).abs() / eps[:, None, None]
    assert error.max() <= 1 / 254 + 1e-4
    grown = offsets.start(x, rows, 2 * eps, otherwise) - x
    torch.testing.assert_close(grown, 2 * (offsets.start(x, rows, eps, otherwise) - x), rtol=1e-3, atol=1e-3 * radius)


def test_offsets_follow_an_augmentation_and_come_back() -> None:
    x, rows, eps = torch.rand(3, 1, 6, 6), torch.tensor([4, 0, 2]), torch.ones(3)
    offsets = Offsets(5, (1, 6, 6))
    ends = x + torch.linspace(-1, 1, 36).reshape(1, 1, 6, 6)
    offsets.store(x, rows, ends, eps)
    before = offsets._offsets.clone()
    moved, moves = followed(x, crop_and_flip, torch.Generator().manual_seed(3))
    start = offsets.start(moved, rows, eps, moved, moves)
    torch.testing.assert_close(start - moved, moves.there(before[rows].float()) / 127, atol=1e-6, rtol=0)
    offsets.store(moved, rows, start, eps, moves)
    assert torch.equal(offsets._offsets, before), "entries that came nowhere stay, the others come back"
    changed = Moves(moves.sources, torch.tensor([True, False, True]))
    assert torch.equal(offsets.start(moved, rows, eps, moved + 9, changed)[1], moved[1] + 9)
    offsets.store(moved, rows, moved, eps, changed)
    assert torch.equal(offsets._offsets[0], before[0]), "nothing is kept of what cannot be followed"
    assert not torch.equal(offsets._offsets[2], before[2])


def test_processes_tell_each_other_what_they_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes in one: each sums what both bring."""
    both = [Offsets(6, (2,)), Offsets(6, (2,))]
    x, eps = torch.zeros(2, 2), torch.ones(2)
    for offsets in both:
        offsets.store(x, torch.tensor([0, 1]), x + 0.5, eps)
        offsets.merge(World())
    both[0].store(x, torch.tensor([1, 2]), x + 1.0, eps)
    both[1].store(x, torch.tensor([3, 4]), x - 1.0, eps)
    given = [[], []]
    for number, offsets in enumerate(both):
        trial = Offsets(6, (2,))
        trial.__dict__.update({name: tensor.clone() for name, tensor in offsets.__dict__.items()})
        trial._offsets[~trial._fresh] = 0
        given[number] = [trial._fresh.to(torch.int8), trial._offsets]
    fresh = given[0][0] + given[1][0]
    answers = iter([fresh, (given[0][1] + given[1][1])[fresh.bool()]] * 2)
    monkeypatch.setattr(World, "sum", lambda self, values: next(answers))
    for number, offsets in enumerate(both):
        offsets.merge(World(number, 2))
    assert torch.equal(both[0]._offsets, both[1]._offsets)
    assert both[0]._offsets[:, 0].tolist() == [64, 127, 127, -127, -127, 0]
    assert both[0]._known.tolist() == both[1]._known.tolist() == [True] * 5 + [False]


@pytest.mark.parametrize("mapped", [False, True])
def test_a_state_goes_on(tmp_path: Path, mapped: bool) -> None:
    folder = tmp_path if mapped else None
    first, second = Offsets(3, (2,), folder), Offsets(3, (2,), folder)
    assert list(tmp_path.iterdir()) == [], "the file has no name"
    x, rows, eps = torch.rand(2, 2), torch.tensor([2, 0]), torch.ones(2)
    first.store(x, rows, x + 0.3, eps)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.start(x, rows, eps, x), second.start(x, rows, eps, x))
    assert first.fits(3, (2,))
    assert not first.fits(4, (2,))
