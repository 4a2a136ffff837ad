from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.recon.cloud.division import divide
from art_levelset.recon.patchwork import Patchwork

INFINITE = float("inf")


class Affine(nn.Module):
    """a . x + b, as a block sees it in its own frame."""

    def __init__(self, slope: Tensor, offset: float, frame: list[float]) -> None:
        super().__init__()
        self.slope, self.offset = slope, offset
        self.centre, self.scale = torch.tensor(frame[:3]), frame[3]

    def forward(self, points: Tensor) -> Tensor:
        own = self.scale * points + self.centre
        values: Tensor = (own @ self.slope[:, None] + self.offset) / self.scale
        return values


def patchwork(number: int = 5, overlap: float = 0.1, seed: int = 0) -> Patchwork:
    """That of a cloud in [-1, 1]^3."""
    cloud = np.random.default_rng(seed).uniform(-1, 1, (300, 3))
    low, high = divide(cloud, number)
    boxes = np.hstack([np.maximum(low - overlap, -1.1), np.minimum(high + overlap, 1.1)])
    middles, scales = (boxes[:, :3] + boxes[:, 3:]) / 2, (boxes[:, 3:] - boxes[:, :3]).max(axis=1) / 2.2
    frames = np.hstack([middles, scales[:, None]])
    generator = torch.Generator().manual_seed(seed)
    return Patchwork(np.hstack([low, high]).tolist(), boxes.tolist(), frames.tolist(), overlap, generator)


def replaced(whole: Patchwork, network: Callable[[list[float]], nn.Module]) -> Patchwork:
    whole.networks = nn.ModuleList(network(frame) for frame in whole.settings["frames"])
    return whole


def places(count: int, reach: float = 1.0, seed: int = 1) -> Tensor:
    return reach * (2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1)


def test_affine_functions_are_reproduced() -> None:
    slope = torch.tensor([0.3, -1.2, 0.7])
    whole = replaced(patchwork(), lambda frame: Affine(slope, 0.25, frame))
    points = places(500, 1.05)
    torch.testing.assert_close(whole(points)[:, 0], points @ slope + 0.25, atol=2e-6, rtol=0)


@given(number=st.integers(1, 9), overlap=st.floats(0.01, 2.0), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_weights_are_shares(number: int, overlap: float, seed: int) -> None:
    whole = patchwork(number, overlap, seed)
    points = places(200, 3.0, seed)
    weights = whole.weights(points)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(200))
    inside = ((points[:, None] >= whole.low) & (points[:, None] < whole.high)).all(dim=2)
    assert (weights[inside] > 0).all()
    beyond = ((points[:, None] < whole.low - overlap) | (points[:, None] > whole.high + overlap)).any(dim=2)
    assert (weights[beyond] == 0).all()


def test_a_block_alone_has_all_the_say_far_from_its_faces() -> None:
    whole = patchwork(2)
    place = float(whole.low[1].max())
    axis = int(whole.low[1].argmax())
    points = torch.zeros(3, 3)
    points[:, axis] = torch.tensor([place - 0.1001, place, place + 0.1001])
    torch.testing.assert_close(whole.weights(points), torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))


def test_weights_have_no_corners() -> None:
    whole = patchwork(4, 0.3).double()
    points = places(40).double().requires_grad_()
    assert torch.autograd.gradcheck(whole.weights, (points,), eps=1e-6, atol=1e-4)
    step = 1e-4
    line = torch.zeros(20_001, 3, dtype=torch.float64)
    line[:, 0] = torch.linspace(-1, 1, len(line), dtype=torch.float64)
    slopes = torch.diff(whole.weights(line), dim=0) / step
    assert torch.diff(slopes, dim=0).abs().max() < 40 * step / 0.3**2  # no jump: second derivatives are finite


def test_networks_are_asked_where_they_have_a_say_only() -> None:
    class Counting(nn.Module):
        seen = 0

        def forward(self, points: Tensor) -> Tensor:
            self.seen += len(points)
            return points[:, :1]

    whole = replaced(patchwork(4, 0.05), lambda _: Counting())
    points = places(1000)
    whole(points)
    counts = [network.seen for network in whole.networks]
    assert counts == (whole.weights(points) > 0).sum(dim=0).tolist()
    assert sum(counts) < 1300


def test_beyond_its_box_a_block_goes_on_as_at_its_wall() -> None:
    whole = patchwork(1)
    points = places(50, 5.0)
    torch.testing.assert_close(whole(points), whole(points.clamp(-1.1, 1.1)))


def test_gradients_reach_points_and_weights() -> None:
    whole = patchwork(3)
    points = places(30).requires_grad_()
    whole(points).sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()
    assert all(weights.grad is not None for weights in whole.parameters())


def test_it_is_built_again_from_its_settings() -> None:
    whole = patchwork(3)
    again = Patchwork(**whole.settings)
    again.load_state_dict(whole.state_dict())
    points = places(30)
    torch.testing.assert_close(again(points), whole(points), rtol=0, atol=0)


CELL, BOX, FRAME = [-INFINITE] * 3 + [INFINITE] * 3, [-1.0] * 3 + [1.0] * 3, [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cells": []}, "cells must have the shape"),
        ({"boxes": []}, "cells must have the shape"),
        ({"frames": [FRAME[:3]]}, r"frames must have the shape \(n, 4\)"),
        ({"cells": [CELL[::-1]]}, "cells: the smallest coordinates"),
        ({"boxes": [[float("nan")] * 6]}, "boxes: the smallest coordinates"),
        ({"boxes": [CELL]}, "boxes and frames must be finite"),
        ({"frames": [[0.0, 0.0, 0.0, 0.0]]}, "scales positive"),
        ({"overlap": 0.0}, "overlap must be a finite number > 0"),
    ],
)
def test_numbers_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Patchwork(**{"cells": [CELL], "boxes": [BOX], "frames": [FRAME], "overlap": 0.1, **given})
