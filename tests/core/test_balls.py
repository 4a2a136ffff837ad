"""Balls: steepest directions maximise linear functions, projection is the nearest point, random points are uniform."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from art_levelset.core.balls import check_norm, column, random_in_ball, steepest, to_ball, walls

from .networks import properties

DOUBLE = torch.float64
NORMS = [2, math.inf]


@properties
@given(st.integers(0, 10**6), st.sampled_from(NORMS))
def test_the_steepest_direction_attains_the_dual_norm(seed: int, norm: float) -> None:
    gradients = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    directions = steepest(gradients, norm).flatten(1)
    torch.testing.assert_close(torch.linalg.vector_norm(directions, norm, dim=1), torch.ones(5, dtype=DOUBLE))
    dual = torch.linalg.vector_norm(gradients.flatten(1), 1 if norm == math.inf else 2, dim=1)
    torch.testing.assert_close((directions * gradients.flatten(1)).sum(1), dual)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1e-44, 1e-30, 1.0, 1e30, 3e38])
def test_the_steepest_direction_of_a_gradient_of_any_size(norm: float, size: float) -> None:
    direction = steepest(torch.full((1, 4), size), norm)
    torch.testing.assert_close(direction, torch.full((1, 4), 0.5 if norm == 2 else 1.0))


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_has_the_direction_zero(norm: float) -> None:
    assert torch.equal(steepest(torch.zeros(2, 3), norm), torch.zeros(2, 3))


@properties
@given(st.integers(0, 10**6), st.sampled_from(NORMS))
def test_the_projection_is_the_nearest_point_of_the_ball(seed: int, norm: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres, points = (torch.randn(6, 4, generator=generator, dtype=DOUBLE) for _ in range(2))
    eps = 2 * torch.rand(6, generator=generator, dtype=DOUBLE)
    nearest = to_ball(points, centres, eps, norm)
    reach = torch.linalg.vector_norm(nearest - centres, norm, dim=1)
    assert (reach <= eps * (1 + 1e-14) + 1e-15).all()  # the coordinates are rounded as well
    inside = torch.linalg.vector_norm(points - centres, norm, dim=1) <= eps
    torch.testing.assert_close(nearest[inside], points[inside])
    # For every y of a convex set (p - p*) . (y - p*) <= 0 at the nearest point p*.
    for _ in range(20):
        other = random_in_ball(centres, eps, norm, generator)
        assert (((points - nearest) * (other - nearest)).sum(1) <= 1e-12).all()


@pytest.mark.parametrize("norm", NORMS)
def test_an_empty_ball_is_its_centre(norm: float) -> None:
    centres = torch.randn(4, 3)
    assert torch.equal(to_ball(torch.randn(4, 3), centres, torch.zeros(4), norm), centres)
    assert torch.equal(random_in_ball(centres, torch.zeros(4), norm), centres)


@pytest.mark.parametrize("norm", [*NORMS, 1])
@pytest.mark.parametrize("shape", [(1,), (2,), (3, 2)])
def test_random_points_are_uniform(norm: float, shape: tuple[int, ...]) -> None:
    # For a uniform point of a d-ball of radius eps, (|x| / eps)^d is uniform on [0, 1].
    count, size = 20_000, math.prod(shape)
    eps = torch.linspace(0.5, 3.0, count, dtype=DOUBLE)
    centres = torch.randn(count, *shape, dtype=DOUBLE)
    offsets = (random_in_ball(centres, eps, norm) - centres).flatten(1)
    lengths = torch.linalg.vector_norm(offsets, norm, dim=1) / eps
    assert (lengths <= 1 + 1e-12).all()
    ordered = (lengths**size).sort().values
    kolmogorov = (ordered - torch.linspace(0, 1, count, dtype=DOUBLE)).abs().max()
    assert kolmogorov < 1.95 / math.sqrt(count)  # a chance of one in a thousand
    assert (offsets.mean(0).abs() < 5 * offsets.std(0) / math.sqrt(count)).all()


@pytest.mark.parametrize("norm", [*NORMS, 1])
def test_a_generator_decides_the_random_points(norm: float) -> None:
    centres, eps = torch.zeros(5, 3), torch.ones(5)
    first, second, other = (
        random_in_ball(centres, eps, norm, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("norm", [1, 0, 3.0, math.nan, -math.inf])
def test_other_norms_are_refused(norm: float) -> None:
    with pytest.raises(ValueError, match=f"norm must be inf or 2, got {norm}"):
        check_norm(norm)


def test_the_known_norms_are_named() -> None:
    check_norm(1, (math.inf, 2, 1))
    with pytest.raises(ValueError, match="norm must be inf, 2 or 1, got 3"):
        check_norm(3, (math.inf, 2, 1))


def test_a_column_broadcasts_against_the_samples() -> None:
    assert column(torch.ones(3), torch.ones(3, 4, 5)).shape == (3, 1, 1)
    for norm in NORMS:
        check_norm(norm)
        assert random_in_ball(torch.zeros(0, 2), torch.zeros(0), norm).shape == (0, 2)


def test_walls_broadcast_to_a_point_with_several_dimensions() -> None:
    points = torch.zeros(5, 2, 3)
    for shape in ((), (3,), (1, 3), (2, 1), (2, 3)):
        low, high = walls((torch.zeros(shape), torch.ones(shape)), points)
        assert (low + points).shape == (high + points).shape == points.shape
    for shape in ((2,), (3, 2), (3, 1), (5, 2, 3)):
        with pytest.raises(ValueError, match="box"):
            walls((torch.zeros(shape), torch.ones(shape)), points)
