"""Sharp edges: planes put back to their faces, vertices on creases, and triangles divided along them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon import Reconstruction
from art_levelset.recon.cloud.clouds import Frame, Points, unit
from art_levelset.recon.cloud.faces import OnFaces, points_on_faces
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.meshing.creases import sharpen
from art_levelset.recon.meshing.splitting import crossings_of, meeting_points, split_triangles, unfolded
from art_levelset.recon.meshing.topology import Faces, euler_number, open_edges

REACH = 0.25


def cube(noise: float = 0.0) -> Points:
    """Points of a cube of side 2; noise in spacings."""
    draw = np.random.default_rng(0)
    axis, sign = draw.integers(0, 3, 6000), draw.choice([-1.0, 1.0], 6000)
    points = draw.uniform(-1, 1, (6000, 3))
    points[np.arange(6000), axis] = sign
    return points + noise * np.sqrt(24 / 6000) * draw.standard_normal(points.shape)


def on_faces(points: Points, normals: Points | None = None) -> OnFaces:
    return points_on_faces(points, Planes(points, unit(points) if normals is None else normals, REACH))


def of_faces(points: Points) -> Points:
    """The outward normals of the cube's faces."""
    return np.where(np.abs(points) == np.abs(points).max(axis=1, keepdims=True), np.sign(points), 0.0)


def round_cube(cells: int = 40) -> tuple[Points, Faces]:
    """Its mesh, with rounded edges."""
    mesh = trimesh.creation.box(extents=(2, 2, 2))
    while len(mesh.faces) < 6 * cells**2:
        mesh = mesh.subdivide()
    inner = np.clip(mesh.vertices, -0.85, 0.85)
    away = mesh.vertices - inner
    rounded = inner + 0.15 * away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    return rounded, np.asarray(mesh.faces, dtype=np.int32)


def ball(count: int = 1500, noise: float = 0.1) -> Points:
    draw = np.random.default_rng(0)
    points = unit(draw.standard_normal((count, 3)))
    return points + noise * np.sqrt(4 * np.pi / count) * draw.standard_normal((count, 3))


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
def test_a_cube_gets_its_edges(noise: float) -> None:
    vertices, triangles = round_cube()
    points = cube(noise)
    found = sharpen(vertices, triangles, on_faces(points, of_faces(points)), points, 0.1)
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
    points = cube()
    planes = Planes(points, of_faces(points), REACH)
    reconstruction = Reconstruction(RoundCube(), Frame(np.zeros(3), 10.0), planes, points=points)
    whole, few = (reconstruction.mesh(40, sharp=True, tolerance=tolerance) for tolerance in (None, 0.1))
    assert len(few.faces) < 0.3 * len(whole.faces)
    for mesh in (whole, few):
        assert mesh.is_watertight
        assert mesh.euler_number == 2
        upright = np.abs(mesh.face_normals).max(axis=1) > np.cos(np.radians(10))
        assert mesh.area_faces[upright].sum() > 0.95 * mesh.area
        assert np.einsum("ni,ni->n", mesh.vertex_normals, mesh.vertices).min() > 0


@pytest.mark.parametrize(("count", "noise"), [(300, 0.1), (1500, 0.0), (1500, 0.01), (1500, 0.1), (1500, 0.3)])
def test_a_ball_stays_as_it_is(count: int, noise: float) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    vertices, triangles = np.array(mesh.vertices), np.asarray(mesh.faces, dtype=np.int32)
    points = ball(count, noise)
    found = sharpen(vertices, triangles, on_faces(points), points, 0.1)
    assert found.vertices is vertices
    assert found.triangles is triangles


@pytest.mark.parametrize(
    ("radius", "noise"),
    [(3.0, (0.1, 0.1)), (4.0, (0.0, 0.0)), (4.0, (0.03, 0.03)), (5.0, (0.1, 0.1)), (5.0, (0.1, 0.3))],
)
def test_a_tube_of_few_spacings_stays_as_it_is(radius: float, noise: tuple[float, float]) -> None:
    """Also where one half of it is noisier than the other."""
    count = 4000
    spacing = 4 * np.pi**2 * radius / count  # of a ring of radius 1
    mesh = trimesh.creation.torus(1, radius * spacing, major_sections=128, minor_sections=32)
    draw = np.random.default_rng(0)
    around, along = draw.uniform(0, 2 * np.pi, (2, count))
    middle = np.stack([np.cos(around), np.sin(around), 0 * around], axis=1)
    outwards = np.cos(along)[:, None] * middle + np.stack([0 * along, 0 * along, np.sin(along)], axis=1)
    errors = spacing * np.where(middle[:, :1] < 0, *noise) * draw.standard_normal((count, 3))
    points = middle + radius * spacing * outwards + errors
    faces = points_on_faces(points, Planes(points, outwards, 2.7 * spacing))
    vertices, triangles = np.array(mesh.vertices), np.asarray(mesh.faces, dtype=np.int32)
    found = sharpen(vertices, triangles, faces, points, 0.1)
    assert found.vertices is vertices
    assert found.triangles is triangles


def test_noise_hides_edges() -> None:
    vertices, triangles = round_cube(20)
    points = cube(1.0)
    assert sharpen(vertices, triangles, on_faces(points, of_faces(points)), points, 0.1).vertices is vertices


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


def test_folded_triangles_are_unfolded() -> None:
    # A fan around one vertex in the plane, which has been moved over the fan's border, and up.
    angles = np.linspace(0, 2 * np.pi, 7)[:-1]
    border = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    origins = np.concatenate([np.zeros((1, 3)), border])
    triangles = np.array([[0, 1 + k, 1 + (k + 1) % 6] for k in range(6)], dtype=np.int32)
    moved = origins.copy()
    moved[0] = 1.5, 0.4, 0.2
    upwards = np.tile([0.0, 0.0, 1.0], (7, 1))
    found = unfolded(moved, origins, triangles, upwards)
    np.testing.assert_array_equal(found[1:], border)
    np.testing.assert_allclose(found[0], moved[0] / 2)  # half of the way is inside
    heights = np.cross(found[triangles[:, 1]] - found[0], found[triangles[:, 2]] - found[0])[:, 2]
    assert (heights > 0).all()
    np.testing.assert_array_equal(unfolded(found, origins, triangles, upwards), found)
