from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.quadrics import Means, fit_surface
from art_levelset.recon.meshing.twicing import apply_twicing

DIRECTIONS = np.random.default_rng(0).standard_normal((20_000, 3))
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)


class Ball(nn.Module):
    """F(x) = slope (|x| - radius)."""

    def __init__(self, radius: float, slope: float = 1.0) -> None:
        super().__init__()
        self.radius, self.slope = nn.Parameter(torch.tensor(radius)), slope

    def forward(self, points: Tensor) -> Tensor:
        return self.slope * (torch.linalg.vector_norm(points, dim=1, keepdim=True) - self.radius)


class Wall(nn.Module):
    """F = |z| - 0.01."""

    def __init__(self) -> None:
        super().__init__()
        self.thickness = nn.Parameter(torch.tensor(0.02))

    def forward(self, points: Tensor) -> Tensor:
        return points[:, 2:].abs() - self.thickness / 2


def on_sphere(count: int, radius: float = 0.5) -> Planes:
    return Planes(radius * DIRECTIONS[-count:], DIRECTIONS[-count:].copy(), 0.06)


def with_noise(deviation: float) -> Points:
    radii = 0.5 + deviation * np.random.default_rng(1).standard_normal((len(DIRECTIONS), 1))
    points: Points = radii * DIRECTIONS
    return points


def radii(planes: Planes) -> Points:
    return np.linalg.norm(planes.centres, axis=1)


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("radius", "of_planes"), [(0.49, 0.49), (0.5, 0.49), (0.5, 0.5), (0.51, 0.495)])
def test_exact_points_move_planes_onto_their_sphere(radius: float, of_planes: float, slope: float) -> None:
    moved = apply_twicing(with_noise(0.0), on_sphere(500, of_planes), Ball(radius, slope))
    np.testing.assert_allclose(radii(moved), 0.5, atol=1e-6)
    np.testing.assert_array_equal(moved.normals, on_sphere(500).normals)


def test_most_of_the_bias_of_quadrics_in_noise_at_curved_places_is_removed() -> None:
    cloud = with_noise(0.04)
    fits = fit_surface(cloud, 0.5 * DIRECTIONS[:500])
    quadrics = np.linalg.norm(fits.centres, axis=1).mean()
    bias = 0.5 - quadrics
    assert bias > 0.5 * 2 * 0.04**2 / 0.5  # v times the sum of the principal curvatures is in this order
    planes = Planes(quadrics * DIRECTIONS[:500], DIRECTIONS[:500], 0.06)
    assert abs(radii(apply_twicing(cloud, planes, Ball(float(quadrics)))).mean() - 0.5) < bias / 2


def test_what_does_not_stand_out_of_the_noise_is_not_followed() -> None:
    cloud = with_noise(0.01)
    moves = np.abs(radii(apply_twicing(cloud, on_sphere(2000), Ball(0.5))) - 0.5)
    assert np.median(moves) < 0.1 * 0.01 / np.sqrt(96)
    assert np.sqrt((moves**2).mean()) < 0.5 * 0.01 / np.sqrt(96)


def test_the_other_side_of_a_wall_does_not_count() -> None:
    generator = np.random.default_rng(0)
    grid = generator.uniform(-0.5, 0.5, (4000, 2))
    cloud = np.vstack([np.c_[grid, np.full(4000, 0.012)], np.c_[grid + 1e-3, np.full(4000, -0.01)]])
    centres = np.c_[generator.uniform(-0.3, 0.3, (200, 2)), np.full(200, 0.01)]
    moved = apply_twicing(cloud, Planes(centres, np.tile([0.0, 0.0, 1.0], (200, 1)), 0.05), Wall())
    np.testing.assert_allclose(moved.centres[:, 2], 0.012, atol=1e-6)


def test_planes_that_the_surface_misses_or_has_the_other_way_round_stay() -> None:
    planes = on_sphere(300)
    others = replace(
        planes,
        centres=np.vstack([planes.centres, 1.2 * planes.centres[:50], planes.centres[:50]]),
        normals=np.vstack([planes.normals, planes.normals[:50], -planes.normals[:50]]),
    )
    moved = apply_twicing(with_noise(0.0), others, Ball(0.49))
    np.testing.assert_allclose(radii(moved)[:300], 0.5, atol=1e-6)
    np.testing.assert_array_equal(moved.centres[300:], others.centres[300:])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_moves_turn_with_the_cloud(seed: int) -> None:
    turn = Rotation.random(random_state=seed).as_matrix()
    cloud, planes = with_noise(0.01)[:3000], on_sphere(100, 0.49)
    turned = replace(planes, centres=planes.centres @ turn.T, normals=planes.normals @ turn.T)
    expected = apply_twicing(cloud, planes, Ball(0.49)).centres @ turn.T
    np.testing.assert_allclose(apply_twicing(cloud @ turn.T, turned, Ball(0.49)).centres, expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 10])
def test_few_points_and_planes_are_enough(count: int) -> None:
    moved = apply_twicing(with_noise(0.0)[:count], on_sphere(count, 0.49), Ball(0.49))
    assert np.isfinite(moved.centres).all()


def test_a_surface_without_a_gradient_moves_nothing() -> None:
    planes = on_sphere(50)
    moved = apply_twicing(with_noise(0.0), planes, Ball(0.5, slope=0.0))
    np.testing.assert_array_equal(moved.centres, planes.centres)


def test_heavy_means_outweigh_light_ones() -> None:
    cloud = with_noise(0.0) * np.where(np.arange(len(DIRECTIONS)) % 2, 1.02, 0.98)[:, None]
    counts = np.where(np.arange(len(DIRECTIONS)) % 2, 1000.0, 1.0)
    moved = apply_twicing(cloud, on_sphere(500), Ball(0.5), Means(counts, 0.01))
    np.testing.assert_allclose(radii(moved), 0.51, atol=2e-4)
