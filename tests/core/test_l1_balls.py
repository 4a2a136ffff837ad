"""The L_1 ball within a box: the projection is the nearest point, the step the best one, both against definitions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from art_levelset.core.balls import sparse_step, to_l1_ball

from .networks import properties

DOUBLE = torch.float64


def boxes(shape: tuple[int, ...], bounded: bool) -> tuple[Tensor, Tensor]:
    walls = (0.0, 1.0) if bounded else (-math.inf, math.inf)
    low, high = (torch.tensor(wall, dtype=DOUBLE).expand(shape) for wall in walls)
    return low, high


@properties
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_projection_is_the_nearest_point_of_ball_and_box(seed: int, bounded: bool, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(8, 3, 2, generator=generator, dtype=DOUBLE)
    points = centres + size * torch.randn(8, 3, 2, generator=generator, dtype=DOUBLE)
    eps = 2 * torch.rand(8, generator=generator, dtype=DOUBLE)
    low, high = boxes(centres.shape, bounded)
    nearest = to_l1_ball(points, centres, eps, low, high)
    assert (nearest >= low).all()
    assert (nearest <= high).all()
    lengths = (nearest - centres).flatten(1).abs().sum(dim=1)
    assert (lengths <= eps * (1 + 1e-12)).all()
    # For every z of a convex set (p - p*) . (z - p*) <= 0 at the nearest point p*.
    for _ in range(30):
        others = (centres + torch.randn(8, 3, 2, generator=generator, dtype=DOUBLE)).clamp(low, high) - centres
        reach = others.flatten(1).abs().sum(dim=1)
        others = centres + others * torch.minimum(eps / reach, torch.ones_like(eps)).reshape(8, 1, 1)
        assert (((points - nearest) * (others - nearest)).flatten(1).sum(dim=1) <= 1e-12).all()


def test_projections_worked_out_by_hand() -> None:
    centres = torch.tensor([[0.5, 0.5, 0.5]], dtype=DOUBLE).expand(4, 3)
    low, high = boxes((4, 3), bounded=True)
    points = torch.tensor([[0.6, 0.5, 0.4], [1.5, 0.6, 0.5], [2.0, -1.0, 0.5], [0.9, 0.8, 0.5]], dtype=DOUBLE)
    eps = torch.tensor([0.3, 0.4, 0.6, 0.3], dtype=DOUBLE)
    expected = torch.tensor(
        [
            [0.6, 0.5, 0.4],  # inside already
            [0.9, 0.5, 0.5],  # all of it along the first axis
            [0.8, 0.2, 0.5],  # both as far beyond the wall, hence shared
            [0.7, 0.6, 0.5],  # each shortened by 0.2
        ],
        dtype=DOUBLE,
    )
    torch.testing.assert_close(to_l1_ball(points, centres, eps, low, high), expected)
    # The box keeps the first coordinate at 1: what is left of the ball goes to the second.
    boxed = to_l1_ball(points[2:3] + 1, centres[:1], torch.tensor([0.9], dtype=DOUBLE), low[:1], high[:1])
    torch.testing.assert_close(boxed, torch.tensor([[1.0, 0.5, 0.9]], dtype=DOUBLE))


def test_an_empty_ball_is_its_centre() -> None:
    centres = torch.rand(4, 3)
    low, high = torch.zeros(4, 3), torch.ones(4, 3)
    assert torch.equal(to_l1_ball(torch.randn(4, 3), centres, torch.zeros(4), low, high), centres)
    assert torch.equal(sparse_step(torch.randn(4, 3), centres, 0.0, low, high), torch.zeros(4, 3))


@properties
@given(st.integers(0, 10**6), st.booleans(), st.floats(0.01, 4))
def test_the_step_is_the_best_of_its_length_in_the_box(seed: int, bounded: bool, length: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(5, 3, generator=generator, dtype=DOUBLE)
    gradients = torch.randn(5, 3, generator=generator, dtype=DOUBLE)
    low, high = boxes(points.shape, bounded)
    step = sparse_step(gradients, points, length, low, high)
    assert (points + step >= low - 1e-15).all()
    assert (points + step <= high + 1e-15).all()
    assert (step.abs().sum(dim=1) <= length * (1 + 1e-12)).all()
    # A linear function is largest at a vertex: coordinates moved to their walls in some order, as far as it goes.
    walls = torch.where(gradients > 0, high - points, low - points)
    best = torch.zeros(5, dtype=DOUBLE)
    for order in itertools.permutations(range(3)):
        left, gain = torch.full((5,), length, dtype=DOUBLE), torch.zeros(5, dtype=DOUBLE)
        for axis in order:
            moved = torch.minimum(walls[:, axis].abs(), left)
            gain, left = gain + moved * gradients[:, axis].abs(), left - moved
        best = torch.maximum(best, gain)
    torch.testing.assert_close((gradients * step).sum(dim=1), best)


def test_the_step_leaves_coordinates_without_a_gradient() -> None:
    low, high = torch.zeros(1, 3), torch.ones(1, 3)
    step = sparse_step(torch.tensor([[0.0, 2.0, -1.0]]), torch.full((1, 3), 0.5), 10.0, low, high)
    torch.testing.assert_close(step, torch.tensor([[0.0, 0.5, -0.5]]))


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_gradients_of_any_size(size: float) -> None:
    low, high = torch.zeros(1, 3), torch.ones(1, 3)
    step = sparse_step(size * torch.tensor([[1.0, 3.0, -2.0]]), torch.full((1, 3), 0.5), 0.7, low, high)
    torch.testing.assert_close(step, torch.tensor([[0.0, 0.5, -0.2]]))
