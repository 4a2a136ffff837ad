from __future__ import annotations

import numpy as np
import pytest
import trimesh

from art_levelset.recon import compare
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.metrics import (
    compare_with_cloud,
    distances_to_surface,
    nearest_on_surface,
    sample_surface,
)


def square(height: float, side: float = 1.0) -> trimesh.Trimesh:
    corners = [[0, 0, height], [side, 0, height], [side, side, height], [0, side, height]]
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)


def test_parallel_squares() -> None:
    found = compare(square(0.0), square(0.25), samples=4000)
    assert found.chamfer_to_surface == pytest.approx(0.25, abs=1e-12)
    assert found.hausdorff_to_surface == pytest.approx(0.25, abs=1e-12)
    assert 0.25 < found.chamfer < 0.2525
    assert 0.25 < found.hausdorff < 0.26


def test_nearest_samples_of_one_surface_are_not_at_distance_zero() -> None:
    found = compare(square(0.0), square(0.0), samples=10_000)
    assert found.chamfer_to_surface == pytest.approx(0.0, abs=1e-12)
    assert found.chamfer == pytest.approx(0.5 / np.sqrt(10_000), rel=0.05)  # a Poisson process of that intensity


def test_concentric_spheres() -> None:
    inner, outer = (trimesh.creation.icosphere(subdivisions=4, radius=radius) for radius in (1.0, 1.5))
    found = compare(inner, outer, samples=2000)
    assert found.chamfer_to_surface == pytest.approx(0.5, abs=2e-3)
    assert found.hausdorff_to_surface == pytest.approx(0.5, abs=5e-3)


def test_both_directions_count() -> None:
    small, large = square(0.0), square(0.0, side=3.0)
    there, back = compare(small, large, samples=2000), compare(large, small, samples=2000)
    assert there.hausdorff_to_surface == pytest.approx(np.sqrt(8), rel=0.05)
    assert back.chamfer_to_surface == pytest.approx(there.chamfer_to_surface, rel=0.1)
    assert there.chamfer_to_surface > 0.3


def test_distances_to_surface_are_exact_for_slender_and_crowded_triangles() -> None:
    generator = np.random.default_rng(0)
    crowd = trimesh.creation.icosphere(subdivisions=3, radius=0.05)
    crowd.apply_translation([0.5, 0.5, 0.4])
    mesh = trimesh.util.concatenate([crowd, square(0.0, side=40.0), trimesh.creation.box((0.01, 5, 0.01))])
    points = generator.uniform(-1, 2, (200, 3))
    every = np.repeat(points, len(mesh.faces), axis=0)
    nearest = trimesh.triangles.closest_point(np.tile(mesh.triangles, (len(points), 1, 1)), every)
    expected = np.linalg.norm(nearest - every, axis=1).reshape(len(points), -1).min(axis=1)
    np.testing.assert_allclose(distances_to_surface(points, mesh), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3])
def test_distances_do_not_depend_on_the_unit(unit: float) -> None:
    """In metres the triangles of small objects are tiny."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    points = np.random.default_rng(0).normal(size=(200, 3))
    expected, _ = nearest_on_surface(points, ball)
    small = trimesh.Trimesh(unit * ball.vertices, ball.faces, process=False)
    np.testing.assert_allclose(nearest_on_surface(unit * points, small)[0], unit * expected, rtol=1e-6)


def test_triangles_that_are_segments_or_points_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = square(0.0)
    points = np.array([[0.1, 0.1, 0.3], [0.9, 0.1, -0.2], [-0.5, 0.5, 0.0]])
    collapsed = trimesh.Trimesh(flat.vertices, [[0, 0, 1], *flat.faces, [2, 2, 2], [3, 0, 3]], process=False)
    known = trimesh.triangles.closest_point

    def older(triangles: Points, queries: Points) -> Points:
        """What older trimesh finds on them: 0 / 0."""
        closest = known(triangles, queries)
        closest[(np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2) == 0).any(axis=1)] = np.nan
        return closest

    monkeypatch.setattr("trimesh.triangles.closest_point", older)
    assert distances_to_surface(points, collapsed) == pytest.approx(distances_to_surface(points, flat), abs=1e-12)


def test_samples_are_uniform_on_the_surface() -> None:
    mesh = trimesh.util.concatenate([square(0.0), square(1.0, side=3.0)])
    points = sample_surface(mesh, 20_000, np.random.default_rng(0))
    low = points[:, 2] == 0
    assert low.mean() == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(points[low].mean(axis=0), [0.5, 0.5, 0.0], atol=0.03)
    assert np.cov(points[low, 0], points[low, 1])[0, 1] == pytest.approx(0.0, abs=0.01)


def test_report() -> None:
    lines = compare(square(0.0), square(0.25), samples=100).report().splitlines()
    assert lines[0].startswith("nearest sample x 10^3: Chamfer ")
    assert lines[1] == "to the surface x 10^3: Chamfer 250, Hausdorff 250"
    numbers = "Chamfer L1 176.8, L2 176.8, 95% 176.8, Hausdorff 176.8"  # 0.25 / sqrt(2)
    assert lines[2] == f"to the surface / reference's diagonal x 10^3: {numbers}"
    assert lines[3] == "normal consistency 1.0000, F-score 0.0000 (within 1% of the diagonal)"


def test_squares_weigh_large_errors_more() -> None:
    half = trimesh.util.concatenate([square(0.0), square(0.0).apply_translation([5, 0, 0])])
    moved = trimesh.util.concatenate([square(0.0), square(0.5).apply_translation([5, 0, 0])])
    found = compare(half, moved, samples=4000)
    assert found.chamfer_to_surface == pytest.approx(0.25, abs=0.01)
    assert found.chamfer_l2_to_surface == pytest.approx(np.sqrt(0.5 * 0.5**2), abs=0.01)
    assert found.within_95 == pytest.approx(0.5, abs=1e-9)
    assert found.diagonal == pytest.approx(np.sqrt(6**2 + 1 + 0.5**2))
    assert found.f_score == pytest.approx(0.5, abs=0.02)
    assert found.relative()["chamfer_to_surface"] == pytest.approx(1e3 * found.chamfer_to_surface / found.diagonal)


def test_normals_of_surfaces_that_cross() -> None:
    tilted = square(0.0).apply_transform(trimesh.transformations.rotation_matrix(np.pi / 3, [1, 0, 0]))
    assert compare(square(0.0), tilted, samples=500).normal_consistency == pytest.approx(0.5)
    tilted.invert()  # which side is outside does not matter
    assert compare(square(0.0), tilted, samples=500).normal_consistency == pytest.approx(0.5)


def test_the_nearest_triangle_is_one_of_the_mesh() -> None:
    mesh = square(0.0, side=40.0)  # divided for the search
    _, faces = nearest_on_surface(np.array([[30.0, 10.0, 1.0], [10.0, 30.0, 1.0]]), mesh)
    assert faces.tolist() == [0, 1]


def test_bad_input() -> None:
    flat = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], process=False)
    with pytest.raises(ValueError, match="mesh: a surface without area"):
        compare(square(0.0), flat)
    with pytest.raises(ValueError, match="samples must be an integer >= 1, got 0"):
        compare(square(0.0), square(1.0), samples=0)


def test_the_distance_to_a_cloud_counts_both_ways() -> None:
    generator = np.random.default_rng(0)
    cloud = np.concatenate([generator.random((20_000, 2)), np.full((20_000, 1), 0.25)], axis=1)
    found = compare_with_cloud(square(0.0), cloud, samples=4000)
    assert found.chamfer == pytest.approx(0.25, rel=2e-3)
    assert found.diagonal == pytest.approx(np.sqrt(2))
    assert found.relative() == pytest.approx(1e3 * found.chamfer / np.sqrt(2))
    half = compare_with_cloud(square(0.25), cloud[cloud[:, 0] < 0.5], samples=4000)
    assert half.chamfer == pytest.approx((0 + 0.5 / 4) / 2, rel=0.05)  # on average 1/4 for half of the square
    with pytest.raises(ValueError, match="samples must be an integer >= 1, got 0"):
        compare_with_cloud(square(0.0), cloud, samples=0)


def test_outliers_do_not_count_in_the_distance_to_a_cloud() -> None:
    generator = np.random.default_rng(0)
    cloud = np.concatenate([generator.random((5000, 2)), np.full((5000, 1), 0.25)], axis=1)
    strays = generator.uniform(50, 90, (20, 3))
    found = compare_with_cloud(square(0.0), np.concatenate([cloud, strays]), samples=2000)
    assert found.outliers == 20
    assert found.chamfer == pytest.approx(0.25, rel=2e-3)
    assert compare_with_cloud(square(0.0), cloud, samples=2000).outliers == 0


def test_means_count_as_their_points_in_the_distance_to_a_cloud() -> None:
    generator = np.random.default_rng(0)
    low, high, strays = (
        np.column_stack([generator.random((count, 2)), np.full(count, height)])
        for count, height in ((2000, 0.1), (2000, 0.3), (3, 50.0))
    )
    cloud = np.concatenate([low, high, strays])
    counts = np.concatenate([np.full(2000, 99), np.full(2000, 1), [5, 6, 7]])
    found = compare_with_cloud(square(0.0), cloud, counts=counts, samples=4000)
    assert found.outliers == 18
    assert found.chamfer == pytest.approx((0.1 + 0.102) / 2, rel=0.02)
