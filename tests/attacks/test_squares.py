from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from art_levelset.attacks.balls import Balls
from art_levelset.attacks.squares import descend_by_squares, striped

SHAPES = [(3,), (6, 7), (1, 6, 6), (3, 5, 4)]


def balls(shape: tuple[int, ...], count: int, eps: float, norm: float, seed: int = 0) -> Balls:
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    return Balls.around(x, eps, norm, (0.0, 1.0), torch.device("cpu"), torch.float32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_of_a_plane_it_is_the_corner_of_least_margin() -> None:
    places = balls((1, 3, 3), 5, 0.2, math.inf)
    weights = torch.randn(9, generator=generator(1))

    def margin(points: Tensor, rows: Tensor) -> Tensor:
        return points.flatten(1) @ weights + 10

    points, lowest = descend_by_squares(margin, places, places.centres, queries=400, area=0.3, generator=generator())
    corners = torch.where(weights.reshape(1, 3, 3) > 0, places.low, places.high)
    torch.testing.assert_close(points, corners)
    torch.testing.assert_close(lowest, corners.flatten(1) @ weights + 10)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    shape=st.sampled_from(SHAPES),
    norm=st.sampled_from([math.inf, 2.0]),
    eps=st.floats(0.01, 3),
    area=st.floats(0.01, 1),
    seed=st.integers(0, 2**31),
)
def test_points_stay_in_ball_and_box_and_margins_never_rise(
    shape: tuple[int, ...], norm: float, eps: float, area: float, seed: int
) -> None:
    places = balls(shape, 4, eps, norm, seed)
    weights = torch.randn(math.prod(shape), generator=generator(seed))

    def margin(points: Tensor, rows: Tensor) -> Tensor:
        return (points.flatten(1) @ weights).sin() + 2

    for start in (places.centres, striped(places, generator(seed))):
        before = margin(start, torch.arange(4))
        points, lowest = descend_by_squares(margin, places, start, queries=10, area=area, generator=generator(seed))
        for end in (start, points):
            assert (end >= 0).all()
            assert (end <= 1).all()
            far = torch.linalg.vector_norm((end - places.centres).double().flatten(1), norm, dim=1)
            assert (far <= eps * (1 + 1e-6)).all()
        assert (lowest <= before).all()
        torch.testing.assert_close(margin(points, torch.arange(4)), lowest)


def test_a_broken_sample_costs_nothing_more_and_the_far_half_stops() -> None:
    places, asked = balls((1, 4, 4), 8, 0.3, math.inf), [0] * 8
    falls = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])

    def margin(points: Tensor, rows: Tensor) -> Tensor:
        for row in rows.tolist():
            asked[row] += 1
        moved = (points != places.centres[rows]).flatten(1).any(dim=1)
        fallen = torch.where(rows == 7, -1.0, 1 - falls[rows])
        return torch.where(moved, fallen, 1.0)

    descend_by_squares(margin, places, places.centres, queries=9, area=0.5, generator=generator(), halvings=(3, 6))
    asked = [count - 2 for count in asked]  # at the start and at the centre
    assert asked == [3, 3, 3, 6, 6, 9, 9, 1]  # of seven four go on, and of these two


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", [math.inf, 2])
def test_stripes_are_as_far_as_the_box_lets_them(shape: tuple[int, ...], norm: float) -> None:
    places = balls(shape, 3, 0.1, norm)
    offsets = striped(places, generator()) - places.centres
    assert (offsets.flatten(1).norm(dim=1) > 0).all()
    if norm == math.inf:
        at_walls = (places.centres + offsets == places.low) | (places.centres + offsets == places.high)
        assert at_walls.all()
    if len(shape) > 1:
        signs = offsets.sign()
        assert ((signs == signs[..., :1, :]) | (offsets == 0)).all()


def test_no_sample() -> None:
    places = balls((1, 4, 4), 0, 0.3, math.inf)
    points, lowest = descend_by_squares(
        lambda points, rows: points.flatten(1).sum(dim=1),
        places,
        striped(places, generator()),
        queries=3,
        area=0.5,
        generator=generator(),
    )
    assert points.shape == (0, 1, 4, 4)
    assert lowest.shape == (0,)
