from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.inspect.colours import colours_of_distances, heat_map, transfer_colours
from art_levelset.recon.io.meshes import vertex_colours, write_mesh

MESH = trimesh.creation.icosphere(subdivisions=3)


def smooth(points: Points) -> Points:
    """A colour that changes with the place."""
    return np.rint(127.5 + 120 * np.asarray(points))


def test_colours_follow_the_points(sphere_points: Points) -> None:
    painted = vertex_colours(transfer_colours(MESH, sphere_points, smooth(sphere_points).astype(np.uint8)))
    assert painted is not None
    assert np.abs(painted[:, :3] - smooth(MESH.vertices)).mean() < 3
    assert (painted[:, 3] == 255).all()
    assert MESH.visual.kind is None


def test_a_point_at_a_vertex_decides_alone() -> None:
    points = np.concatenate([MESH.vertices, 1.001 * MESH.vertices])
    colours = np.concatenate([smooth(MESH.vertices), np.zeros_like(MESH.vertices)])
    painted = vertex_colours(transfer_colours(MESH, points, colours))
    assert painted is not None
    np.testing.assert_array_equal(painted[:, :3], smooth(MESH.vertices))


def test_nearer_points_count_more() -> None:
    points = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 2.0]])
    triangle = trimesh.Trimesh(np.array([[0.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]), [[0, 1, 2]], process=False)
    painted = vertex_colours(transfer_colours(triangle, points, np.array([[250, 0, 0], [0, 250, 0]])))
    assert painted is not None
    assert painted[0].tolist() == [200, 50, 0, 255]


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_files_have_the_colours(suffix: str, offset: float, tmp_path: Path) -> None:
    mesh = transfer_colours(MESH, MESH.vertices, smooth(MESH.vertices))
    write_mesh(mesh.apply_translation([offset] * 3), tmp_path / f"a{suffix}")
    back = trimesh.load(tmp_path / f"a{suffix}", force="mesh", process=False)
    found = vertex_colours(back)
    assert found is not None
    assert back.visual.kind == "vertex"
    np.testing.assert_array_equal(found[:, :3], smooth(MESH.vertices))


def test_the_colours_are_the_distances() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.vertices *= 1 + 0.1 * np.maximum(mesh.vertices[:, 2:], 0)
    coloured, largest = heat_map(mesh, trimesh.creation.icosphere(subdivisions=3))
    assert mesh.visual.kind is None
    assert 0.07 < largest < 0.1
    np.testing.assert_array_equal(coloured.vertices, mesh.vertices)
    red, _, blue = np.asarray(coloured.visual.vertex_colors, dtype=float)[:, :3].T
    top, bottom = mesh.vertices[:, 2] > 1.0, mesh.vertices[:, 2] < -0.1
    assert (red[top] > blue[top]).all()
    assert np.ptp(red[bottom]) < 10
    assert (red[bottom] < 70).all()


def test_equal_surfaces_have_one_colour() -> None:
    np.testing.assert_array_equal(
        colours_of_distances(np.zeros(3), 0.0), np.tile(colours_of_distances(np.zeros(1), 1.0), (3, 1))
    )


def test_larger_distances_have_the_last_colour() -> None:
    first, last = colours_of_distances(np.array([2.0, 5.0]), 2.0)
    assert first == pytest.approx(last)
