"""Sharp edges: planes put back to their faces, vertices on creases, and triangles divided along them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon import Reconstruction
from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.quiet import heights_over, with_quiet_normals
from art_levelset.recon.meshing.creases import sharpen
from art_levelset.recon.meshing.splitting import crossings_of, meeting_points, split_triangles
from art_levelset.recon.meshing.topology import Faces, euler_number, open_edges

REACH = 0.25


def blurred_cube(noise: float = 0.0) -> Planes:
    """Planes of a cube of side 2, about half of a reach apart; what is nearer to an edge than that is blurred."""
    ticks = np.linspace(-1, 1, 17)[:-1] + 1 / 16
    a, b = (grid.ravel() for grid in np.meshgrid(ticks, ticks))
    draw = np.random.default_rng(0)
    centres, normals = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            place = np.insert(np.stack([a, b], axis=1) + 0.02 * draw.standard_normal((len(a), 2)), axis, sign, axis=1)
            # The mean of the normals of the faces that are near.
            normal = np.sign(place) * np.maximum(np.abs(place) - (1 - REACH / 2), 0)
            length = np.linalg.norm(normal, axis=1, keepdims=True)
            normals.append(normal / length)
            centres.append(place - 0.3 * (length - REACH / 2) * normals[-1])
    moved = np.concatenate(centres)
    moved += noise * draw.standard_normal(moved.shape)
    return Planes(moved, np.concatenate(normals), REACH, noise)


def round_cube(cells: int = 40) -> tuple[Points, Faces]:
    """Its mesh, with rounded edges."""
    mesh = trimesh.creation.box(extents=(2, 2, 2))
    while len(mesh.faces) < 6 * cells**2:
        mesh = mesh.subdivide()
    inner = np.clip(mesh.vertices, -0.85, 0.85)
    away = mesh.vertices - inner
    rounded = inner + 0.15 * away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    return rounded, np.asarray(mesh.faces, dtype=np.int32)


def ball(count: int = 1500) -> Planes:
    places = np.arange(count) + 0.5
    height, angle = 1 - 2 * places / count, np.pi * (1 + 5**0.5) * places
    across = np.sqrt(1 - height**2)
    points = np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)
    return Planes(points, points, REACH)


def test_heights_over_planes_of_a_sphere_are_exact() -> None:
    on = np.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8]])
    assert heights_over(on[1] - on[0], on[0], on[1]) == pytest.approx(0.0, abs=1e-12)
    assert heights_over(np.array([0.3, 0.1, 0.2]), on[0], on[0]) == pytest.approx(0.2)


def test_blurred_planes_are_put_back_to_their_faces() -> None:
    planes = blurred_cube()
    assert (np.abs(planes.normals).max(axis=1) < 0.985).mean() > 0.2
    faces = with_quiet_normals(planes)
    assert np.abs(faces.normals).max(axis=1).min() > 0.99
    assert np.abs(np.abs(faces.centres).max(axis=1) - 1).max() < 0.03


def test_planes_of_a_ball_stay() -> None:
    planes = ball()
    quiet = with_quiet_normals(planes)
    assert np.einsum("ni,ni->n", quiet.normals, planes.normals).min() > np.cos(np.radians(5))
    assert np.abs(np.linalg.norm(quiet.centres, axis=1) - 1).max() < 0.01


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_a_cube_gets_its_edges(noise: float) -> None:
    vertices, triangles = round_cube()
    found = sharpen(vertices, triangles, blurred_cube(noise), 0.1)
    assert len(found.vertices) > len(vertices)
    mesh = trimesh.Trimesh(found.vertices, found.triangles, process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(8.0, rel=0.01)
    assert trimesh.Trimesh(vertices, triangles).volume < 7.9  # as it was
    upright = np.abs(mesh.face_normals).max(axis=1) > np.cos(np.radians(10))
    assert mesh.area_faces[upright].sum() > 0.97 * mesh.area
    inserted = np.sort(np.abs(found.vertices[len(vertices) :]), axis=1)
    assert np.median(np.abs(inserted[:, 1:] - 1)) < 0.01  # on two faces


class RoundCube(torch.nn.Module):
    """The signed distance to the cube with rounded edges."""

    def __init__(self) -> None:
        super().__init__()
        self.radius = torch.nn.Parameter(torch.tensor(0.15))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        over = points.abs() - (1 - self.radius)
        outside = torch.linalg.vector_norm(over.clamp_min(0), dim=1) + over.max(dim=1).values.clamp_max(0)
        return (outside - self.radius)[:, None]


def test_a_sharp_mesh_of_few_triangles() -> None:
    reconstruction = Reconstruction(RoundCube(), Frame(np.zeros(3), 10.0), blurred_cube())
    whole, few = (reconstruction.mesh(40, sharp=True, tolerance=tolerance) for tolerance in (None, 0.1))
    assert len(few.faces) < 0.3 * len(whole.faces)
    for mesh in (whole, few):
        assert mesh.is_watertight
        assert mesh.euler_number == 2
        upright = np.abs(mesh.face_normals).max(axis=1) > np.cos(np.radians(10))
        assert mesh.area_faces[upright].sum() > 0.95 * mesh.area
        assert np.einsum("ni,ni->n", mesh.vertex_normals, mesh.vertices).min() > 0


def test_a_ball_stays_as_it_is() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    vertices, triangles = np.array(mesh.vertices), np.asarray(mesh.faces, dtype=np.int32)
    found = sharpen(vertices, triangles, ball(), 0.1)
    assert found.vertices is vertices
    assert found.triangles is triangles


def test_noise_hides_edges() -> None:
    vertices, triangles = round_cube(20)
    planes = blurred_cube()
    draw = np.random.default_rng(1)
    normals = planes.normals + 0.5 * draw.standard_normal(planes.normals.shape)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = sharpen(vertices, triangles, Planes(planes.centres, normals, REACH, 0.1), 0.1)
    assert len(found.vertices) == len(vertices)


def test_where_planes_meet() -> None:
    points = np.array([[[1.0, 0.2, 0.3], [0.4, 1.0, 0.5], [0.1, 0.3, 1.0]]])
    corner = meeting_points(points, np.eye(3)[None], np.full((1, 3), 0.9), 1.0)
    np.testing.assert_allclose(corner, 1.0, atol=1e-3)
    edge = meeting_points(points[:, :2], np.eye(3)[None, :2], np.array([[0.9, 0.9, 0.4]]), 1.0)
    np.testing.assert_allclose(edge, [[1.0, 1.0, 0.4]], atol=1e-3)
    held = meeting_points(points[:, :2], np.eye(3)[None, :2], np.array([[0.9, 0.9, 0.4]]), 0.05)
    assert np.linalg.norm(held - [[0.9, 0.9, 0.4]]) == pytest.approx(0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_divided_triangles_have_the_same_topology_and_area(seed: int, share: float) -> None:
    draw = np.random.default_rng(seed)
    mesh = trimesh.creation.icosphere(subdivisions=2)
    vertices, triangles = np.array(mesh.vertices), np.asarray(mesh.faces, dtype=np.int32)[: draw.integers(2, 320)]
    crossings = crossings_of(triangles)
    crossed = draw.random(len(crossings.ends)) < share
    normals = np.tile([0.0, 0.0, 1.0], (len(vertices), 1))
    found = split_triangles(vertices, normals, triangles, crossings, crossed, 1e-12)  # in the middles of edges
    full = int(crossed[crossings.edges].all(axis=1).sum())
    assert len(found.vertices) == len(vertices) + crossed.sum() + full
    size = len(found.vertices)
    assert euler_number(found.triangles, size) == euler_number(triangles, len(vertices))
    on_border = np.bincount(crossings.edges.ravel(), minlength=len(crossed)) == 1
    assert open_edges(found.triangles, size) == (on_border * (1 + crossed)).sum()
    parts, whole = (
        trimesh.Trimesh(of, faces, process=False)
        for of, faces in ((found.vertices, found.triangles), (vertices, triangles))
    )
    assert parts.area == pytest.approx(whole.area, rel=1e-9)
    np.testing.assert_allclose(parts.area_faces @ parts.face_normals, whole.area_faces @ whole.face_normals, atol=1e-9)
