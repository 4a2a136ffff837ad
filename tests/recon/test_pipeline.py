from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_levelset.recon import GridNetwork, Reconstruction, compare, pipeline, reconstruct
from art_levelset.recon.cloud.cells import condense
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.orientation import Indicator, indicator_of, orient
from art_levelset.recon.cloud.planes import Planes, fit_planes
from art_levelset.recon.cloud.quadrics import Means
from art_levelset.recon.fitting.samples import Samples
from art_levelset.recon.network import REACH

from ..nursing import Nursery


def test_a_sphere_far_from_the_origin(sphere: Reconstruction, far_away: Points) -> None:
    mesh = sphere.mesh(48)
    radii = np.linalg.norm(mesh.vertices - far_away, axis=1)
    assert abs(radii.mean() - 5) < 0.02
    assert np.abs(radii - 5).max() < 0.15
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.02)  # positive: the normals point outwards


def test_the_points_are_kept_for_sharp_edges(sphere: Reconstruction, far_away: Points) -> None:
    assert 2900 < len(sphere.points) <= 3000
    np.testing.assert_array_equal(sphere.points, np.float32(sphere.points))
    radii = np.linalg.norm(sphere.frame.from_unit(sphere.points) - far_away, axis=1)
    assert radii.mean() == pytest.approx(5, rel=2e-3)
    assert radii.std() == pytest.approx(0.05, rel=0.1)


RANKS = """
import numpy as np
from torch import distributed
from art_levelset.recon import reconstruct

distributed.init_process_group("gloo")
directions = np.random.default_rng(0).standard_normal((300, 3))
sphere = directions / np.linalg.norm(directions, axis=1, keepdims=True)
made = reconstruct(sphere, blocks=2, steps=2, verbose=False)
both = [None, None]
distributed.all_gather_object(both, (made.points, made.planes.centres, made.planes.normals))
assert len(both[0][0]) > 250
for one, other in zip(*both, strict=True):
    np.testing.assert_array_equal(one, other)
distributed.destroy_process_group()
"""


def test_all_ranks_have_the_points_and_the_planes(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(RANKS)
    done = nursery.torchrun(["--nproc-per-node", "2", "program.py"], tmp_path)
    assert done.status == 0, done.err


def test_the_signed_distance_of_a_sphere(sphere: Reconstruction, far_away: Points) -> None:
    distances = np.array([-1.0, -0.3, 0.0, 0.3, 1.0])
    for direction in np.eye(3):
        places = far_away + (5 + distances[:, None]) * direction
        np.testing.assert_allclose(sphere.sdf(places), distances, atol=0.15)


def test_a_torus_has_its_hole(torus: Reconstruction) -> None:
    mesh = torus.mesh(64)
    ring = np.hypot(mesh.vertices[:, 0], mesh.vertices[:, 1]) - 1
    errors = np.hypot(ring, mesh.vertices[:, 2]) - 0.35
    assert np.abs(errors).mean() < 0.006
    assert np.abs(errors).max() < 0.05
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.body_count == 1
    assert mesh.volume > 0


def test_normals_of_the_planes_point_outwards(torus: Reconstruction) -> None:
    centres = torus.frame.from_unit(torus.planes.centres)
    ring = centres * [1, 1, 0]
    ring /= np.linalg.norm(ring, axis=1, keepdims=True)
    outward = (torus.planes.normals * (centres - ring)).sum(axis=1)
    assert (outward > 0).mean() > 0.999


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_determines_the_result(seed: int, few_points: Points) -> None:
    def values() -> Any:
        torch.rand(1)  # the global generator has no say
        return reconstruct(few_points, steps=4, batch_size=64, seed=seed, verbose=False).sdf(few_points)

    np.testing.assert_array_equal(values(), values())


def test_seeds_differ(few_points: Points) -> None:
    results = [
        reconstruct(few_points, steps=4, batch_size=64, seed=seed, verbose=False).sdf(few_points) for seed in (0, 1)
    ]
    assert not np.allclose(*results)


def test_moving_and_scaling_the_scan_moves_and_scales_the_result(few_points: Points) -> None:
    factor, offset = 1024.0, np.array([2.0**20, 0.0, -(2.0**21)])
    rounded = few_points.astype(np.float32).astype(np.float64)
    here = reconstruct(rounded, steps=4, batch_size=64, verbose=False)
    there = reconstruct(rounded * factor + offset, steps=4, batch_size=64, verbose=False)
    np.testing.assert_allclose(there.sdf(rounded * factor + offset), factor * here.sdf(rounded), rtol=1e-3, atol=1e-2)


def test_outliers_change_little(sphere_points: Points) -> None:
    outliers = np.random.default_rng(1).uniform(-2, 2, (60, 3))
    outliers = outliers[np.abs(np.linalg.norm(outliers, axis=1) - 1) > 0.6]
    cloud = np.concatenate([sphere_points[:1500], outliers])
    result = reconstruct(cloud, steps=60, batch_size=1024, verbose=False)
    mesh = result.mesh(32)
    assert len(outliers) > 20
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).max() < 0.06
    assert mesh.euler_number == 2


def test_a_network_of_ones_own(sphere_points: Points) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 32), torch.nn.Softplus(10), torch.nn.Linear(32, 1))
    result = reconstruct(sphere_points, network=network, steps=200, batch_size=512, learning_rate=1e-2, verbose=False)
    assert result.network is network
    assert np.abs(np.linalg.norm(result.mesh(32).vertices, axis=1) - 1).mean() < 0.05


def test_the_network_starts_as_a_sphere() -> None:
    network = GridNetwork(radius=0.6, generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(torch.randn(500, 3), dim=1)
    with torch.no_grad():
        for radius in (0.2, 0.6, 1.0):
            assert network(radius * directions).mean() == pytest.approx(radius - 0.6, abs=0.15)


def test_it_becomes_the_interpolation_of_a_function() -> None:
    """Exactly so for a linear one; for a sphere to the square of the finest cells, near the surface."""
    network = GridNetwork((8, 16, 32, 64), (2, 3, 2, 2), width=16, generator=torch.Generator().manual_seed(0))
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1)).clamp(-1.1, 1.1)
    slope = torch.tensor([0.5, -1.0, 2.0])
    network.interpolate(lambda places: places @ slope - 0.3)
    with torch.no_grad():
        torch.testing.assert_close(network(points).squeeze(1), points @ slope - 0.3, atol=1e-4, rtol=0)
        network.interpolate(lambda places: torch.linalg.vector_norm(places, dim=1) - 0.7)
        radii = torch.linalg.vector_norm(points, dim=1)
        errors = (network(points).squeeze(1) - (radii - 0.7)).abs()
    cell = 2 * REACH / 63
    assert errors[(radii - 0.7).abs() < 2 * cell].max() < 3 * cell**2 / (8 * 0.6)
    assert errors[radii > 0.2].max() < 0.01
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_samples_know_the_signed_distance(sphere_points: Points) -> None:
    planes = fit_planes(sphere_points)
    planes = orient(planes, torch.device("cpu"))
    indicator = indicator_of(planes, torch.device("cpu"))
    samples = Samples(sphere_points, planes, indicator, 8, torch.Generator().manual_seed(0), torch.device("cpu"))
    radii = torch.tensor([0.2, 0.5, 0.8, 0.95, 1.0, 1.05, 1.2])
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(2)), dim=1)
    for radius in radii:
        found = samples.signed_distance(radius * directions)
        assert (found - (radius - 1)).abs().mean() < 0.03, radius
    assert samples.signed_distance(torch.zeros(0, 3)).shape == (0,)


def test_means_are_drawn_as_often_as_their_points(sphere_points: Points) -> None:
    planes = Planes(sphere_points[:100], sphere_points[:100], 0.1)
    indicator = Indicator(torch.zeros(4, 4, 4), 0.6)
    heavy = Means(np.where(sphere_points[:, 0] > 0, 9.0, 1.0), 0.1)
    generator = torch.Generator().manual_seed(0)
    samples = Samples(sphere_points, planes, indicator, 4000, generator, torch.device("cpu"), heavy)
    assert (samples.of_cloud()[:, 0] > 0).double().mean() == pytest.approx(0.9, abs=0.03)


def test_means_stand_for_too_many_points(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As if they had been given, with their counts; what points out of a sphere's inside turns it inside out."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(pipeline, "MOST_POINTS", 4000)
    generator = np.random.default_rng(0)
    outward = generator.standard_normal((30_000, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    points = [5e5, 4e6, 100] + 2 * outward * (1 + 0.02 * generator.standard_normal((30_000, 1)))
    options = {"quality": "draft", "steps": 3, "batch_size": 64, "verbose": False}
    result = reconstruct(points, **options)
    assert "30,000 points in" in caplog.text
    batches = [{"points": points}]
    means, counts = condense(batches, 4000)
    same = reconstruct(means["points"], counts=counts, **options)
    probes = points[:50] + 0.2 * outward[:50]
    np.testing.assert_allclose(same.sdf(probes), result.sdf(probes), atol=1e-3)
    radii = np.linalg.norm(result.mesh(32).vertices - [5e5, 4e6, 100], axis=1)
    assert np.abs(radii - 2).mean() < 0.016  # the noise is 0.04
    assert (reconstruct(points, normals=3 * outward, **options).sdf(probes) > 0).all()
    seen = reconstruct(points, sensors=points + 9 * outward, **options)
    assert (seen.sdf(probes) > 0).all()


@pytest.mark.parametrize("count", [600, 1500])
def test_a_cube_along_the_axes_is_a_cube(count: int) -> None:
    generator = np.random.default_rng(0)
    points = generator.uniform(-0.5, 0.5, (count, 3))
    points[np.arange(count), generator.integers(0, 3, count)] = generator.choice([-0.5, 0.5], count)
    points += 0.003 * generator.standard_normal(points.shape)
    cube = reconstruct(points, quality="draft", verbose=False)
    mesh = cube.mesh(48)
    assert cube.sdf([[0.0, 0.0, 0.0]])[0] == pytest.approx(-0.5, abs=0.06)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_its_own_affair(mode: Any, few_points: Points) -> None:
    options: dict[str, Any] = {"steps": 3, "batch_size": 64, "verbose": False}
    wanted = reconstruct(few_points, **options).sdf(few_points)
    with mode():
        found = reconstruct(torch.tensor(few_points, requires_grad=True), **options)
        np.testing.assert_array_equal(found.sdf(few_points), wanted)
    np.testing.assert_array_equal(found.sdf(torch.tensor(few_points, requires_grad=True)), wanted)


def test_bad_counts(sphere_points: Points) -> None:
    with pytest.raises(ValueError, match="counts must have one number for each point"):
        reconstruct(sphere_points, counts=[1, 2])


def test_the_quality_is_standard_but_for_a_network_of_ones_own(sphere_points: Points) -> None:
    def places(**options: Any) -> Any:
        options = {"steps": 2, "batch_size": 64, "verbose": False} | options
        return reconstruct(sphere_points, **options).sdf(sphere_points[:20])

    np.testing.assert_array_equal(places(), places(quality="standard"))
    own = {"network": GridNetwork((8,), (2,), width=8, generator=torch.Generator().manual_seed(0))}
    again = {"network": GridNetwork((8,), (2,), width=8, generator=torch.Generator().manual_seed(0))}
    np.testing.assert_array_equal(places(**own), places(quality="fine", **again))


@pytest.mark.parametrize("quality", ["draft", "standard"])
def test_a_fit_from_the_planes_needs_few_steps(sphere_points: Points, quality: str) -> None:
    result = reconstruct(sphere_points, quality=quality, steps=3, batch_size=64, verbose=False)
    mesh = result.mesh(32)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).mean() < 0.02
    assert mesh.euler_number == 2
    slower = reconstruct(sphere_points, quality="fine", steps=3, batch_size=64, verbose=False).mesh(32)
    assert np.abs(np.linalg.norm(slower.vertices, axis=1) - 1).mean() > 0.05, "from a sphere of another radius"


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((20, 2)), r"points must have the shape \(n, 3\), got \(20, 2\)"),
        (np.zeros(20), r"points must have the shape \(n, 3\), got \(20,\)"),
        (np.ones((20, 3)), "points: all points are equal"),
        (np.eye(3), "points: need at least 10, got 3"),
        (np.tile(np.eye(3), (5, 1)), "points: need at least 10 distinct ones, got 3"),
        ([[0, 0, float("nan")]] * 20, "points: 20 of 20 have NaN or infinite coordinates"),
        ([[0, 0, float("inf")]] * 20, "points: 20 of 20 have NaN or infinite coordinates"),
        ("cloud", "points must be an array of numbers"),
        ([[1, 2, 3], [4]], "points must be an array of numbers"),
    ],
)
def test_bad_points(points: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(points)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quality": "best"}, "quality must be one of draft, standard, fine, got 'best'"),
        (
            {"quality": "draft", "network": GridNetwork((8,), (2,), width=8)},
            "quality must be fine for a network of one",
        ),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"batch_size": 7}, "batch_size must be an integer >= 8, got 7"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number > 0, got nan"),
        ({"eikonal": -0.1}, "eikonal must be a finite number >= 0, got -0.1"),
        ({"curvature": float("nan")}, "curvature must be a finite number >= 0, got nan"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
    ],
)
def test_bad_numbers(arguments: dict[str, Any], message: str, sphere_points: Points) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(sphere_points, **arguments)


def test_bad_queries(sphere: Reconstruction) -> None:
    with pytest.raises(ValueError, match=r"points must have the shape \(n, 3\), got \(3,\)"):
        sphere.sdf([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="resolution must be an integer >= 8, got 7"):
        sphere.mesh(7)


def test_an_empty_level_set_is_an_error(sphere: Reconstruction) -> None:
    always = torch.nn.Linear(3, 1)
    with torch.no_grad():
        always.weight.zero_()
        always.bias.fill_(1.0)
    with pytest.raises(ValueError, match="the reconstruction is empty"):
        Reconstruction(always, sphere.frame, sphere.planes).mesh(16)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "every"), [("bunny", 5), ("body_a", 2)])
def test_scans(name: str, every: int, data_dir: Any) -> None:
    """Of a part of the points, in fewer steps than by default."""
    import trimesh

    from art_levelset.recon import read_points

    points = read_points(data_dir / "scans" / f"{name}_raw.ply")[::every]
    mesh = reconstruct(points, steps=120, verbose=False).mesh(128)
    reference = trimesh.load(data_dir / "scans" / f"{name}_reference.ply", force="mesh")
    diagonal = float(np.linalg.norm(np.ptp(reference.vertices, axis=0)))
    assert mesh.body_count == 1
    assert mesh.is_watertight
    assert compare(mesh, reference).chamfer_to_surface < 0.6e-3 * diagonal
