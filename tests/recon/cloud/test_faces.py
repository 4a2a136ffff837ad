"""Points put on the faces that they belong to, and how loud edges are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from art_levelset.recon.cloud.clouds import Points, unit
from art_levelset.recon.cloud.faces import enough_points, heights_over, points_on_faces
from art_levelset.recon.cloud.planes import Planes

REACH = 0.2


def cube(count: int, noise: float, seed: int = 0) -> tuple[Points, Points]:
    """Points of a cube of side 2, and the normals of their faces."""
    draw = np.random.default_rng(seed)
    axis, sign = draw.integers(0, 3, count), draw.choice([-1.0, 1.0], count)
    normals = np.zeros((count, 3))
    normals[np.arange(count), axis] = sign
    points = np.where(normals == 0, draw.uniform(-1, 1, (count, 3)), normals)
    return points + noise * draw.standard_normal((count, 3)), normals


def ball(count: int, noise: float, seed: int = 0) -> Points:
    draw = np.random.default_rng(seed)
    return unit(draw.standard_normal((count, 3))) + noise * draw.standard_normal((count, 3))


def outwards(points: Points) -> Planes:
    """Planes that say nothing but which side is outside."""
    return Planes(points, unit(points), REACH)


def angles(normals: Points, right: Points) -> Points:
    return np.degrees(np.arccos(np.einsum("ni,ni->n", normals, right).clip(-1, 1)))


def test_heights_over_planes_of_a_sphere_are_exact() -> None:
    on = np.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]])
    assert heights_over(on[1] - on[0], on[0], on[1]) == pytest.approx(0.0, abs=1e-12)
    assert heights_over(np.array([0.3, 0.1, 0.2]), on[0], on[0]) == pytest.approx(0.2)


@pytest.mark.parametrize(("noise", "share"), [(0.0, 0.97), (0.1, 0.97), (0.3, 0.94)])
def test_points_beside_edges_are_put_on_their_faces(noise: float, share: float) -> None:
    spacing = np.sqrt(24 / 6000)
    points, normals = cube(6000, noise * spacing)
    faces = points_on_faces(points, Planes(points, normals, REACH)).planes
    assert faces.reach == REACH
    np.testing.assert_allclose(np.linalg.norm(faces.normals, axis=1), 1)
    distances, own = cKDTree(points).query(faces.centres)
    assert distances.max() < 3 * spacing
    depth = 1 - np.sort(np.abs(points), axis=1)[:, 1]
    assert (
        cKDTree(faces.centres).query(points[depth < 2 * spacing])[0].max() < 2 * spacing
    )  # all that are beside an edge
    points, normals = points[own], normals[own]
    edge = np.sort(np.abs(points), axis=1)[:, 1] > 1 - 2 * spacing
    corner = np.sort(np.abs(points), axis=1)[:, 0] > 1 - 2 * spacing
    # What is nearer to an edge than the noise may be of either face.
    found = np.degrees(np.arccos(np.abs(faces.normals).max(axis=1).clip(max=1)))
    assert (found[edge & ~corner] < 10).mean() > share
    assert np.quantile(angles(faces.normals, normals)[~edge], 0.99) < 10
    heights = np.abs(np.einsum("ni,ni->n", faces.centres, normals) - 1)
    assert np.median(heights[~edge]) <= 0.3 * noise * spacing + 1e-4 * spacing


def test_edges_are_loud_and_bends_are_not() -> None:
    points, normals = cube(6000, 0.1 * np.sqrt(24 / 6000))
    faces = points_on_faces(points, Planes(points, normals, REACH))
    loudness, depth = faces.loudness, 1 - np.sort(np.abs(faces.planes.centres), axis=1)[:, 1]
    assert loudness[depth < 0.05].mean() > 3
    assert loudness[depth > 0.4].mean() == pytest.approx(1, abs=0.2)
    round_ = ball(3000, 0.1 * np.sqrt(4 * np.pi / 3000))
    assert len(points_on_faces(round_, outwards(round_)).loudness) == 0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.integers(1000, 3000))
def test_turned_and_scaled_points_have_turned_and_scaled_faces(seed: int, scale: float, count: int) -> None:
    spacing = np.sqrt(24 / count)
    points, normals = cube(count, 0.1 * spacing, seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    faces = points_on_faces(points, Planes(points, normals, 2 * spacing))
    other = points_on_faces(scale * points @ turn, Planes(scale * points @ turn, normals @ turn, 2 * spacing * scale))
    assert len(faces.planes) > 0.3 * count
    distances, same = cKDTree(scale * faces.planes.centres @ turn).query(other.planes.centres)
    # Sums of float32 differ in their last digits, and a tie between two windows may go either way.
    alike = np.abs(other.planes.normals - (faces.planes.normals @ turn)[same]).max(axis=1) < 1e-3
    assert (alike & (distances < 1e-3 * spacing * scale)).mean() > 0.9
    np.testing.assert_allclose(other.loudness.mean(), faces.loudness.mean(), rtol=1e-2)


def test_a_plane_has_no_edges() -> None:
    draw = np.random.default_rng(0)
    points = np.concatenate([draw.uniform(-1, 1, (500, 2)), np.zeros((500, 1))], axis=1)
    assert len(points_on_faces(points, Planes(points, np.tile([0.0, 0.0, 1.0], (500, 1)), REACH)).planes) == 0


def test_points_that_coincide_nearly() -> None:
    points = np.repeat(ball(40, 0.0), 20, axis=0) + 1e-9 * np.random.default_rng(0).standard_normal((800, 3))
    found = points_on_faces(points, outwards(points))
    assert np.isfinite(found.planes.centres).all()
    assert np.isfinite(found.planes.normals).all()
    assert np.isfinite(found.loudness).all()


def test_dense_points_are_thinned() -> None:
    points = ball(20_000, 0.0)
    kept = enough_points(points, 0.2)
    assert 0.3 * len(points) > len(kept) > 4 * np.pi / (0.25 * 0.2) ** 2
    np.testing.assert_array_equal(enough_points(points, 0.03), np.float32(points))
    np.testing.assert_array_equal(kept, np.float32(kept))
