"""How far meshes are simplified, and what stays: on a cube, on balls and on sheets."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing import refine
from art_levelset.recon.meshing.refine import simplify_within
from art_levelset.recon.meshing.topology import Faces, euler_number, open_edges


def arrays(mesh: trimesh.Trimesh) -> tuple[Points, Faces]:
    return np.array(mesh.vertices), np.array(mesh.faces, dtype=np.int32)


def cube(divisions: int) -> tuple[Points, Faces]:
    mesh = trimesh.creation.box()
    for _ in range(divisions):
        mesh = mesh.subdivide()
    return arrays(mesh)


def sheet(nodes: int) -> tuple[Points, Faces]:
    """A square of side 1 in the plane z = 0."""
    x, y = np.meshgrid(*2 * [np.linspace(0, 1, nodes)], indexing="ij")
    corner = np.arange(nodes * (nodes - 1)).reshape(nodes - 1, nodes)[:, :-1].ravel()
    halves = [corner, corner + nodes, corner + 1], [corner + nodes, corner + nodes + 1, corner + 1]
    triangles = np.concatenate([np.stack(half, axis=1) for half in halves]).astype(np.int32)
    return np.stack([x.ravel(), y.ravel(), np.zeros(nodes**2)], axis=1), triangles


def test_a_cube_keeps_its_corners_and_little_else() -> None:
    vertices, triangles = simplify_within(*cube(5), 1e-4)
    assert len(triangles) <= 24  # of 12288; 12 are the fewest
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_allclose(np.abs(mesh.bounds), 0.5, atol=1e-9)


@pytest.mark.parametrize("tolerance", [3e-2, 3e-3, 1e-3])
def test_a_ball_stays_within_the_tolerance(tolerance: float) -> None:
    whole = trimesh.creation.icosphere(subdivisions=5)
    vertices, triangles = simplify_within(*arrays(whole), tolerance)
    assert len(triangles) < 0.9 * len(whole.faces)
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    middles = mesh.triangles_center
    off = np.abs(np.linalg.norm(np.concatenate([vertices, middles]), axis=1) - 1)
    assert off.max() < tolerance
    assert (mesh.face_normals * middles).sum(axis=1).min() > 0.8 * np.linalg.norm(middles, axis=1).max()


def test_what_is_tolerated_is_a_length() -> None:
    vertices, triangles = arrays(trimesh.creation.icosphere(subdivisions=4))
    small, few = simplify_within(vertices, triangles, 1e-3)
    large, as_few = simplify_within(1000 * vertices, triangles, 1.0)
    np.testing.assert_array_equal(few, as_few)
    np.testing.assert_allclose(large, 1000 * small, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-3, 1e-2, 1e-1]), st.sampled_from(["torus", "ball", "two", "sheet"]))
def test_topology_and_borders_stay(seed: int, tolerance: float, kind: str) -> None:
    draw = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(subdivisions=3)
    meshes = {
        "torus": arrays(trimesh.creation.torus(1.0, 0.3)),
        "ball": arrays(ball),
        "two": arrays(trimesh.util.concatenate([ball, ball.copy().apply_translation([3, 0, 0])])),
        "sheet": sheet(16),
    }
    vertices, triangles = meshes[kind]
    vertices = vertices + draw.uniform(0, 0.02) * draw.standard_normal(vertices.shape)
    fewer, left = simplify_within(vertices, triangles, tolerance)
    assert len(left) <= len(triangles)
    assert euler_number(left, len(fewer)) == euler_number(triangles, len(vertices))
    assert open_edges(left, len(fewer)) == open_edges(triangles, len(vertices))
    assert len(np.unique(left)) == len(fewer)


def test_the_border_of_a_sheet_does_not_move() -> None:
    vertices, triangles = sheet(20)
    fewer, left = simplify_within(vertices, triangles, 0.5)
    assert len(left) < 0.3 * len(triangles)
    on_border = (vertices[:, :2] % 1 == 0).any(axis=1)
    np.testing.assert_allclose(fewer[(fewer[:, :2] % 1 == 0).any(axis=1)], vertices[on_border], atol=1e-12)
    assert trimesh.Trimesh(fewer, left, process=False).area == pytest.approx(1.0, abs=1e-9)


def test_a_mesh_stays_whole_if_a_collapse_would_tear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, triangles = cube(2)
    monkeypatch.setattr(refine, "_collapsed", lambda vertices, faces, **_: (vertices, faces[1:]))
    same, all_of_them = simplify_within(vertices, triangles, 0.1)
    assert same is vertices
    assert all_of_them is triangles


def test_a_mesh_stays_whole_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, triangles = cube(2)
    monkeypatch.setattr(refine, "available", lambda: refine.TRIANGLE * len(triangles) - 1)
    assert simplify_within(vertices, triangles, 0.1)[1] is triangles
    monkeypatch.setattr(refine, "available", lambda: refine.TRIANGLE * len(triangles))
    assert len(simplify_within(vertices, triangles, 0.1)[1]) < len(triangles)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_tolerances(tolerance: float) -> None:
    with pytest.raises(ValueError, match=f"tolerance must be a finite number > 0, got {tolerance}"):
        simplify_within(*cube(1), tolerance)


def test_a_smaller_tolerance_is_tried_where_the_topology_would_change(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = trimesh.creation.icosphere(subdivisions=4)
    wanted = simplify_within(np.asarray(ball.vertices), np.asarray(ball.faces, dtype=np.int32), 0.005)
    shapes = iter([(2, 0), (0, 0), (2, 0)])  # as if the first try made a handle
    monkeypatch.setattr(refine, "_shape", lambda *_: next(shapes))
    found = simplify_within(np.asarray(ball.vertices), np.asarray(ball.faces, dtype=np.int32), 0.01)
    np.testing.assert_array_equal(found[1], wanted[1])
    np.testing.assert_allclose(found[0], wanted[0])


def test_a_mesh_stays_whole_whose_topology_would_change_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    shapes = iter([(2, 0), (0, 0), (0, 0), (0, 0)])
    monkeypatch.setattr(refine, "_shape", lambda *_: next(shapes))
    faces = np.asarray(ball.faces, dtype=np.int32)
    assert simplify_within(np.asarray(ball.vertices), faces, 0.01)[1] is faces
