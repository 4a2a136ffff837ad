from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
import trimesh

from art_levelset.experiments import atlas
from art_levelset.experiments.atlas import chamfer, fit_atlas
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.metrics import distances_to_surface

quick = partial(fit_atlas, batch_size=500, learning_rate=5e-3, verbose=False)


@pytest.fixture(scope="module")
def ball() -> Points:
    """2,000 points of a sphere of radius 3 around (10, 20, 30)."""
    directions = np.random.default_rng(0).standard_normal((2000, 3))
    return 3 * directions / np.linalg.norm(directions, axis=1, keepdims=True) + [10, 20, 30]


def test_the_loss_of_known_points() -> None:
    one = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    other = torch.tensor([[0.0, 1.0, 0.0], [4.0, 0.0, 2.0], [4.0, 0.0, 5.0]])
    assert float(chamfer(one, other)) == pytest.approx((1 + 4) / 2 + (1 + 4 + 25) / 3)
    assert float(chamfer(one, one)) == 0


def test_the_gradient_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (
        torch.randn(count, 3, generator=generator, dtype=torch.float64, requires_grad=True) for count in (7, 11)
    )
    assert torch.autograd.gradcheck(chamfer, (one, other))


def test_the_charts_are_the_networks_that_they_stand_for() -> None:
    charts = atlas.Charts(2, "square", torch.Generator().manual_seed(0))
    inputs = torch.rand(2, 5, 2)
    for each, images in enumerate(charts(inputs)):
        values = inputs[each]
        for layer, (weight, bias) in enumerate(zip(charts.weights, charts.biases, strict=True)):
            values = (torch.relu(values) if layer else values) @ weight[each] + bias[each]
        torch.testing.assert_close(images, values)


def test_a_patch_fits_a_rectangle() -> None:
    sides = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    generator = np.random.default_rng(0)
    mesh = quick(generator.random((3000, 2)) @ sides + 5, charts=1, steps=200)
    normal = np.cross(*sides)
    heights = (mesh.vertices - 5) @ normal / np.linalg.norm(normal)
    assert np.abs(heights).max() < 0.05
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) @ sides + 5
    assert distances_to_surface(corners, mesh).max() < 0.15
    assert mesh.area == pytest.approx(np.linalg.norm(normal), rel=0.15)
    assert mesh.euler_number == 1


def test_a_sphere_fits_a_sphere_wherever_it_is(ball: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas, "SUBDIVISIONS", 3)
    mesh = quick(ball, charts=1, domain="sphere", steps=200)
    radii = np.linalg.norm(mesh.vertices - [10, 20, 30], axis=1)
    assert np.abs(radii - 3).mean() < 0.1
    assert mesh.euler_number == 2
    assert mesh.is_watertight


def test_patches_cover_a_sphere(ball: Points) -> None:
    mesh = quick(ball, charts=4, steps=200)
    assert mesh.body_count == 4
    assert len(mesh.vertices) == pytest.approx(atlas.VERTICES, rel=0.01)
    assert distances_to_surface(ball, mesh).mean() < 0.1
    assert np.abs(np.linalg.norm(mesh.vertices - [10, 20, 30], axis=1) - 3).mean() < 0.1


@pytest.mark.parametrize("domain", ["square", "sphere"])
def test_the_meshes_of_the_domains(domain: atlas.Domain) -> None:
    places, triangles = atlas._template(domain, 25)
    flat = np.pad(places, ((0, 0), (0, 3 - places.shape[1])))
    mesh = trimesh.Trimesh(flat, triangles, process=False)
    assert mesh.is_winding_consistent
    assert mesh.area == pytest.approx(1 if domain == "square" else 4 * np.pi, rel=1e-3)
    drawn = atlas._uniform(domain, 2, 1000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), places.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=(0, 1)), places.std(axis=0), atol=0.05)


def test_the_seed_and_the_clock(ball: Points) -> None:
    one, same, other = (quick(ball, charts=2, steps=3, seed=seed).vertices for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    clock = itertools.count()  # a second for every look at it
    quick(ball, charts=2, time_budget=20.0, clock=lambda: float(next(clock)))
    assert 20 <= next(clock) <= 23


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"charts": 0}, "charts must be at least 1, got 0"),
        ({"charts": 600}, "batch_size must be at least 600, got 500"),
        ({"domain": "torus"}, "domain must be one of square, sphere, got 'torus'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"time_budget": 0.0}, "time_budget must be positive, got 0.0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_bad_input(options: dict[str, object], message: str, ball: Points) -> None:
    with pytest.raises(ValueError, match=message):
        quick(ball, **options)
    with pytest.raises(ValueError, match="points: 1 of 2000 have NaN"):
        quick(np.where(np.arange(6000).reshape(-1, 3) == 5, np.nan, ball))
