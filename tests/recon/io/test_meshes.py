"""Meshes keep their detail on the way to a file, wherever in space they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from art_levelset.recon.io.meshes import read_mesh, write_mesh

NEAR = trimesh.creation.icosphere(subdivisions=2, radius=0.1)
FAR = trimesh.Trimesh(NEAR.vertices + np.array([4e6, -5e5, 300.0]), NEAR.faces, process=False)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".off"])
@pytest.mark.parametrize("mesh", [NEAR, FAR], ids=["near", "far"])
def test_coordinates_come_back_to_a_hundredth_of_a_millimetre(
    tmp_path: Path, mesh: trimesh.Trimesh, suffix: str
) -> None:
    path = tmp_path / f"mesh{suffix}"
    write_mesh(mesh, path)
    back = trimesh.load(path, process=False)
    np.testing.assert_allclose(back.vertices, mesh.vertices, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(back.faces, mesh.faces)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".off", ".stl"])
@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e6])
def test_the_unit_does_not_matter(tmp_path: Path, size: float, suffix: str) -> None:
    mesh = trimesh.Trimesh(size * NEAR.vertices, NEAR.faces, process=False)
    path = tmp_path / f"mesh{suffix}"
    write_mesh(mesh, path)
    back = read_mesh(path, "mesh")
    assert back.is_watertight
    assert len(back.vertices) == len(mesh.vertices)
    corners = (np.sort(np.asarray(one.vertices), axis=0) for one in (back, mesh))
    np.testing.assert_allclose(*corners, rtol=0, atol=1e-6 * size)


def test_a_mesh_near_the_origin_has_a_small_file(tmp_path: Path) -> None:
    write_mesh(NEAR, tmp_path / "near.ply")
    write_mesh(FAR, tmp_path / "far.ply")
    doubles = 4 * NEAR.vertices.size
    assert (tmp_path / "far.ply").stat().st_size - (tmp_path / "near.ply").stat().st_size > doubles / 2


@pytest.mark.parametrize("suffix", [".stl", ".glb"])
def test_formats_that_round_are_written_near_the_origin(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_mesh(NEAR, tmp_path / f"mesh{suffix}")
    assert not caplog.text
    before = FAR.vertices.copy()
    write_mesh(FAR, tmp_path / f"mesh{suffix}")
    assert "it is written without (4000000, -500000, 300); or use .ply" in caplog.text
    back = trimesh.load(tmp_path / f"mesh{suffix}", force="mesh", process=False)
    corners = (np.sort(np.asarray(mesh.triangles).reshape(-1, 3), axis=0) for mesh in (back, NEAR))
    np.testing.assert_allclose(*corners, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(FAR.vertices, before)
