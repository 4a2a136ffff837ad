from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from matplotlib.image import imread

from art_levelset.recon import draw
from art_levelset.recon.inspect.preview import PIXELS, _rotation, draw_beside, mesh_picture


def test_a_picture_is_written(tmp_path: Path) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=4.0).apply_translation([100, 0, 0])
    draw(tmp_path / "a.png", mesh, np.asarray(mesh.vertices), title="a sphere")
    picture = imread(tmp_path / "a.png")[..., :3]
    assert picture.shape[1] > picture.shape[0] > 400
    blue = picture[..., 2] - picture[..., 0] > 0.1
    assert 0.05 < blue[picture.shape[0] // 2 :].mean() < 0.6  # meshes below,
    assert blue[: picture.shape[0] // 2].mean() < 0.001  # clouds above


def test_clouds_and_meshes_side_by_side(tmp_path: Path) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=4.0).apply_translation([100, 0, 0])
    row = {"cloud": np.asarray(mesh.vertices), "mesh": mesh}
    draw_beside(tmp_path / "a.png", [row, {"small": mesh.copy().apply_scale(1e-3)}])
    picture = imread(tmp_path / "a.png")[..., :3]
    blue = picture[..., 2] - picture[..., 0] > 0.1
    height, width = blue.shape[0] // 2, blue.shape[1] // 2
    shares = [blue[rows, columns].mean() for rows in np.s_[:height, height:] for columns in np.s_[:width, width:]]
    assert shares[0] == shares[3] == 0
    assert shares[1] == pytest.approx(shares[2], rel=0.05)
    assert 0.1 < shares[1] < 0.9


def test_nearer_faces_hide_others_and_backs_are_red() -> None:
    near = np.array([[-0.5, -0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.6, 0.5]])
    far = near * [2, 2, -1]
    for order in ([near, far], [far, near]):
        vertices = np.concatenate(order)
        picture = mesh_picture(vertices, np.array([[0, 1, 2], [3, 4, 5]]))
        assert picture[PIXELS // 2, PIXELS // 2, 2] > picture[PIXELS // 2, PIXELS // 2, 0]
    backwards = mesh_picture(near, np.array([[0, 2, 1]]))
    assert backwards[PIXELS // 2, PIXELS // 2, 0] > backwards[PIXELS // 2, PIXELS // 2, 2]
    assert (backwards[0, 0] == 1).all()


def test_vertex_colours_are_drawn(tmp_path: Path) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.visual.vertex_colors = [250, 240, 0, 255]
    draw(tmp_path / "a.png", mesh, np.asarray(mesh.vertices))
    picture = imread(tmp_path / "a.png")[..., :3]
    yellow = picture[picture.shape[0] // 2 :, :, 1] - picture[picture.shape[0] // 2 :, :, 2] > 0.15
    assert 0.05 < yellow.mean() < 0.6


def test_large_triangles_have_no_gaps() -> None:
    corners = np.array([[-0.7, -0.7, 0.0], [0.7, -0.7, 0.0], [0.7, 0.7, 0.0], [-0.7, 0.7, 0.0]])
    picture = mesh_picture(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    middle = slice(int(0.2 * PIXELS), int(0.8 * PIXELS))
    assert (picture[middle, middle] < 1).any(axis=2).all()


@pytest.mark.parametrize("upright", [1, 2])
def test_views_are_rotations_with_the_upright_axis_up(upright: int) -> None:
    for azimuth, elevation in ((0.0, 0.0), (130.0, 40.0)):
        turn = _rotation(azimuth, elevation, upright)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)
        assert turn[1, upright] > 0.7
