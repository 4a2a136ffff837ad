from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from art_levelset.recon import reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.orientation import REACH
from art_levelset.recon.cloud.planes import Planes, fit_planes
from art_levelset.recon.cloud.sheets import NODES, indicator_below, turned_up, upward
from art_levelset.recon.meshing.topology import topology

from ..conftest import medium, sphere_cloud

CPU = torch.device("cpu")


def scattered(count: int, seed: int = 0) -> Points:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (count, 2))


def relief(count: int) -> Points:
    """Hills as steep as 42 degrees."""
    x, y = scattered(count).T
    return np.stack([x, y, 0.15 * np.sin(3 * x) * np.cos(2 * y) + 0.05 * np.sin(9 * x + 4 * y)], axis=1)


def plate(count: int, thickness: float) -> Points:
    """Two faces, `thickness` usual distances of points apart."""
    height = thickness * 1.8 / np.sqrt(count)
    return np.hstack([scattered(2 * count), np.repeat([[0.0], [height]], count, axis=0)])


def sheet(up: Points, planes: int = 900) -> Planes:
    """Planes of one plane through the origin, with normals of any sign."""
    first = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    first /= np.linalg.norm(first)
    level = scattered(planes)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (planes, 1))
    return Planes(level @ np.stack([first, np.cross(up, first)]), signs * up, 0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_plane_is_seen_from_above_however_it_lies(seed: int) -> None:
    normal = Rotation.random(random_state=seed).as_matrix()[2]
    planes = sheet(normal)
    up = upward(planes)
    assert up is not None
    np.testing.assert_allclose(np.abs(up @ normal), 1)
    assert up[2] > 0 or abs(up[2]) <= 0.1
    np.testing.assert_allclose(turned_up(planes, up).normals, np.tile(up, (len(planes), 1)), atol=1e-12)


def test_facades_have_a_side_too() -> None:
    for axis in range(2):
        np.testing.assert_allclose(upward(sheet(np.eye(3)[axis])), np.eye(3)[axis], atol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_reliefs_are_seen_from_above(noise: float) -> None:
    cloud = relief(5000)
    cloud[:, 2] += noise * np.random.default_rng(2).standard_normal(len(cloud))
    up = upward(fit_planes(cloud))
    assert up is not None
    assert up[2] > 0.99


@pytest.mark.parametrize("thickness", [2, 3, 6])
def test_the_faces_of_a_plate_are_no_sheet(thickness: float) -> None:
    assert upward(fit_planes(plate(2500, thickness))) is None


def test_solids_and_domes_are_no_sheets() -> None:
    ball = sphere_cloud(5000)
    for cloud in (ball, ball[ball[:, 2] > 0], ball * [1, 1, 0.2]):
        assert upward(fit_planes(cloud)) is None


def test_a_single_plane_is_no_sheet() -> None:
    assert upward(sheet(np.array([0.0, 0, 1]), planes=1)) is None
    assert upward(sheet(np.array([0.0, 0, 1]), planes=2)) is not None


def test_below_a_plane_is_inside() -> None:
    up = np.array([2.0, -1.0, 2.0]) / 3
    planes = turned_up(sheet(up), up)
    points = np.random.default_rng(3).uniform(-1, 1, (500, 3))
    found = indicator_below(planes, up, CPU)(torch.as_tensor(points, dtype=torch.float32)).numpy()
    heights, width = points @ up, 4 * 2 * REACH / NODES
    expected = np.clip(0.5 - heights / width, 0, 1)
    inner = np.abs(heights) < width / 2 - 2 * REACH / NODES * 2  # where it is linear between all the nodes around
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)
    np.testing.assert_allclose(found[np.abs(heights) > width], (heights < 0)[np.abs(heights) > width], atol=1e-4)


def test_beside_a_slope_the_sheet_goes_on_level() -> None:
    """The slope z = x ends at x = 0.5."""
    level = scattered(2000) * 0.5 / 0.9
    planes = Planes(np.hstack([level, level[:, :1]]), np.tile([-np.sqrt(0.5), 0, np.sqrt(0.5)], (2000, 1)), 0.05)
    found = indicator_below(planes, np.array([0.0, 0, 1]), CPU)
    beside = torch.tensor([[1.0, 0.0, 0.4], [1.0, 0.0, 0.75], [0.0, 0.0, -0.15], [0.0, 0.0, 0.15]])
    assert found(beside).tolist() == pytest.approx([1, 0, 1, 0], abs=1e-4)


def test_a_grid_of_a_plane_becomes_an_open_sheet() -> None:
    """Its normals cannot be told by Gauss's integral, which is 0 on it."""
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    tilted = np.stack([x, y, 0.3 * x], axis=-1).reshape(-1, 3) + np.array([50.0, 0, 0])
    result = reconstruct(tilted, network=medium(), steps=120, batch_size=512, verbose=False)
    assert result.rejected is None
    mesh = result.mesh(40)
    found = topology(mesh)
    assert (found.parts, found.boundaries, found.genus) == (1, 1, 0)
    inside = (np.abs(mesh.vertices - [50, 0, 0])[:, :2] < 0.9).all(axis=1)
    heights = mesh.vertices[:, 2] - 0.3 * (mesh.vertices[:, 0] - 50)
    assert np.quantile(np.abs(heights[inside]), 0.95) < 0.005
    assert (mesh.face_normals[:, 2] > 0).mean() > 0.95
    assert result.is_sheet
    ended = result.mesh(40, trim=result.open_trim)
    assert 4 * np.sqrt(1 + 0.3**2) < ended.area < mesh.area


def test_given_normals_decide_which_side_of_a_sheet_is_outside() -> None:
    cloud = relief(1500)
    result = reconstruct(
        cloud, normals=np.tile([0.0, 0, -1], (1500, 1)), network=medium(), steps=5, batch_size=64, verbose=False
    )
    assert (result.planes.normals[:, 2] < 0).mean() > 0.99
