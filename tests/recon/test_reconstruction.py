"""What a reconstruction's mesh, projection and file are, on surfaces known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trimesh import Trimesh
from trimesh.grouping import group_rows

from art_levelset.recon import Reconstruction
from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.fitting.judgement import Judgement
from art_levelset.recon.meshing.refine import polish_vertices, simplify_mesh
from art_levelset.recon.meshing.topology import label_components, largest_components, without_short_edges

OFFSET, SCALE = np.array([1e6, -2e6, 3e6]), 4.0


class Balls(nn.Module):
    """The signed distance to the nearest of some balls, bent a little: F is zero where that is."""

    def __init__(self, balls: Sequence[tuple[Sequence[float], float]]) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([centre for centre, _ in balls]))
        self.radii = nn.Parameter(torch.tensor([radius for _, radius in balls]))

    def forward(self, points: Tensor) -> Tensor:
        distances = torch.linalg.vector_norm(points[:, None] - self.centres, dim=2) - self.radii
        nearest = distances.min(dim=1, keepdim=True).values
        return nearest + 0.3 * nearest**2


def on_sphere(count: int) -> Points:
    points: Points = np.random.default_rng(0).standard_normal((count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def of_balls(*balls: tuple[Sequence[float], float]) -> Reconstruction:
    directions = on_sphere(4000)
    centres = np.concatenate([directions * radius + centre for centre, radius in balls])
    planes = Planes(centres, np.tile(directions, (len(balls), 1)), 0.05)
    return Reconstruction(Balls(balls), Frame(OFFSET, SCALE), planes)


BALL = of_balls(((0.0, 0.0, 0.0), 0.83))


def errors(vertices: Points, radius: float = 0.83) -> Points:
    return np.abs(np.linalg.norm(vertices - OFFSET, axis=1) / SCALE - radius)


def test_a_fit_is_rejected_if_all_attempts_have_failed() -> None:
    good, bad, worse = Judgement(0.01, 0.0), Judgement(0.1, 0.0), Judgement(0.1, 0.03)
    assert BALL.rejected is None  # it was not judged
    assert replace(BALL, attempts=(bad, good)).rejected is None
    assert replace(BALL, attempts=(worse, bad)).rejected == bad


def test_polished_vertices_are_on_the_surface() -> None:
    rough, fine = BALL.mesh(24, polish=False), BALL.mesh(24)
    cell = 2 * (0.83 + 0.08) / 24
    np.testing.assert_array_equal(fine.faces, rough.faces)
    assert errors(rough.vertices).mean() > 1e-4
    assert errors(fine.vertices).max() < 1e-3 * cell
    assert np.linalg.norm(fine.vertices - rough.vertices, axis=1).max() < 0.5 * cell * SCALE
    assert fine.is_watertight
    assert fine.euler_number == 2
    assert fine.volume > 0


@pytest.mark.parametrize(("radius", "planes", "parts"), [(0.04, 60, 1), (0.04, 120, 2), (0.06, 60, 2)])
def test_a_part_smaller_than_a_neighbourhood_needs_many_planes(radius: float, planes: int, parts: int) -> None:
    """Neighbourhoods have a diameter of 0.1."""
    pair = of_balls(((-0.3, 0.0, 0.0), 0.5), ((0.5, 0.0, 0.0), radius))
    some = replace(pair, planes=pair.planes.chosen(np.arange(8000) < 4000 + planes))
    assert some.mesh(64).body_count == parts


def test_no_vertex_moves_further_than_half_a_cell() -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, points: Tensor) -> Tensor:
            radius = torch.linalg.vector_norm(points, dim=1, keepdim=True) - 0.8
            return self.weight * torch.where(radius > 0, radius * 1e-3, torch.tanh(radius * 50))

    uneven = Reconstruction(Uneven(), BALL.frame, BALL.planes)
    rough, fine = uneven.mesh(24, polish=False), uneven.mesh(24)
    moved = np.linalg.norm(fine.vertices - rough.vertices, axis=1)
    assert moved.max() <= 0.5 * SCALE * 2 * (0.83 + 0.08) / 24
    assert moved.max() > 0


def test_neighbours_stay_apart() -> None:
    class Sphere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.radius = nn.Parameter(torch.tensor(0.5))

        def forward(self, points: Tensor) -> Tensor:
            return torch.linalg.vector_norm(points, dim=1, keepdim=True) - self.radius

    above = np.array([[0.0, 0.0, 0.52], [0.0, 0.0, 0.48], [0.1, 0.0, 0.49]])  # the first two project to one point
    moved = polish_vertices(Sphere(), above, np.array([[0, 1, 2]]), 0.1)
    np.testing.assert_array_equal(moved[:2], above[:2])
    assert np.linalg.norm(moved[2]) == pytest.approx(0.5, abs=1e-5)


def test_short_edges_are_collapsed_where_the_mesh_stays_closed() -> None:
    # An octahedron whose top is a triangle of almost no size.
    top = np.array([[0.0, 0, 1], [1e-9, 0, 1], [0, 1e-9, 1]])
    around = np.array([[np.cos(angle), np.sin(angle), 0] for angle in 2 * np.pi * np.arange(3) / 3])
    vertices = np.concatenate([top, around, [[0, 0, -1.0]]])
    cap = [[0, 1, 2], [3, 4, 0], [4, 1, 0], [4, 5, 1], [5, 2, 1], [5, 3, 2], [3, 0, 2]]
    triangles = np.array([*cap, [4, 3, 6], [5, 4, 6], [3, 5, 6]])
    closed = without_short_edges(vertices, triangles, 1e-6)
    assert len(closed) == 6
    assert len(np.unique(closed)) == 5
    np.testing.assert_array_equal(without_short_edges(vertices, triangles, 1e-12), triangles)
    opened = triangles[:-1]
    np.testing.assert_array_equal(without_short_edges(vertices, opened, 1e-6), opened)


def test_vertex_normals_are_those_of_the_surface() -> None:
    mesh = BALL.mesh(24)
    outwards = (mesh.vertices - OFFSET) / np.linalg.norm(mesh.vertices - OFFSET, axis=1, keepdims=True)
    np.testing.assert_allclose(mesh.vertex_normals, outwards, atol=1e-5)


def test_trimming_opens_the_mesh_where_there_are_no_data() -> None:
    upper = BALL.planes.centres[:, 2] > 0
    half = replace(BALL, planes=Planes(BALL.planes.centres[upper], BALL.planes.normals[upper], 0.05))
    whole, mesh = half.mesh(32), half.mesh(32, trim=0.5)
    assert half.mesh(32, trim=100.0).is_watertight == whole.is_watertight
    assert not mesh.is_watertight
    assert label_components(mesh.faces)[0] == 1
    heights = (mesh.vertices[:, 2] - OFFSET[2]) / SCALE
    assert -0.5 / SCALE - 0.04 < heights.min() < -0.5 / SCALE + 0.1
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)


def test_only_the_largest_parts() -> None:
    three = of_balls(((-0.5, 0, 0), 0.3), ((0.5, 0, 0), 0.4), ((0.0, 0.8, 0.5), 0.2))
    assert three.mesh(48).body_count == 3
    one, two = three.mesh(48, parts=1), three.mesh(48, parts=2)
    assert one.body_count == 1
    assert two.body_count == 2
    assert one.centroid == pytest.approx(OFFSET + np.array([0.5, 0, 0]) * SCALE, abs=0.02)
    assert two.area == pytest.approx(4 * np.pi * (0.3**2 + 0.4**2) * SCALE**2, rel=0.02)
    assert three.mesh(48, parts=9).body_count == 3


def test_the_largest_parts_are_those_of_what_trimming_leaves() -> None:
    caps = np.abs(BALL.planes.centres[:, 2]) > 0.4 * 0.83
    ball = replace(BALL, planes=BALL.planes.chosen(caps))
    assert ball.mesh(32, parts=1).body_count == 1
    assert ball.mesh(32, trim=0.1).body_count == 2
    assert ball.mesh(32, trim=0.1, parts=1).body_count == 1


def test_the_largest_part_has_the_largest_area_not_the_most_triangles() -> None:
    vertices = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5], [1, 1, 5]], dtype=float)
    faces = np.array([[3, 4, 5], [4, 6, 5], [0, 1, 2]])
    assert largest_components(vertices, faces, 1).tolist() == [False, False, True]


def test_fewer_faces() -> None:
    mesh = BALL.mesh(48, faces=1000)
    assert 900 < len(mesh.faces) <= 1000
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert errors(mesh.vertices).max() < 0.01
    assert (mesh.vertex_normals * (mesh.vertices - OFFSET)).sum(axis=1).min() > 0
    assert len(BALL.mesh(12, faces=10**6).faces) == len(BALL.mesh(12).faces)


def test_flaps_of_the_simplification_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = BALL.mesh(12)
    extra = len(mesh.vertices)
    edge = mesh.faces[0, :2].tolist()
    flap = [[*edge, extra], [*edge[::-1], extra]]

    def simplify(*_: object, **__: object) -> tuple[Points, Points]:
        return np.concatenate([mesh.vertices, mesh.vertices[:1] * 2]), np.concatenate([mesh.faces, flap])

    monkeypatch.setattr("fast_simplification.simplify", simplify)
    vertices, faces = simplify_mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces), 10)
    np.testing.assert_array_equal(vertices, mesh.vertices)
    np.testing.assert_array_equal(faces, mesh.faces)


def test_no_more_faces_than_the_tolerance_needs() -> None:
    whole, mesh = BALL.mesh(48), BALL.mesh(48, tolerance=0.01 * SCALE)
    assert len(mesh.faces) < 0.5 * len(whole.faces)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert errors(mesh.vertices).max() < 1e-5  # on the zero set again
    assert errors(mesh.triangles_center).max() < 0.01
    outwards = (mesh.vertices - OFFSET) / np.linalg.norm(mesh.vertices - OFFSET, axis=1, keepdims=True)
    np.testing.assert_allclose(mesh.vertex_normals, outwards, atol=1e-5)
    assert errors(BALL.mesh(48, tolerance=0.01 * SCALE, polish=False).vertices).max() > 1e-4


def test_the_border_that_trim_leaves_stays() -> None:
    half = replace(BALL, planes=BALL.planes.chosen(BALL.planes.centres[:, 2] > 0))
    whole, mesh = (half.mesh(32, trim=1.0, tolerance=tolerance) for tolerance in (None, 0.02))
    assert len(mesh.faces) < 0.8 * len(whole.faces)
    assert (mesh.euler_number, whole.euler_number) == (1, 1)
    ends = [{tuple(vertex) for vertex in of.vertices[np.unique(border(of))].round(4)} for of in (whole, mesh)]
    assert ends[0] == ends[1]


def test_sharp_edges_need_the_points(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sharp: the points of the cloud are needed"):
        BALL.mesh(24, sharp=True)
    replace(BALL, points=np.float32(BALL.planes.centres).astype(np.float64)).save(tmp_path / "ball.pt")
    back = Reconstruction.load(tmp_path / "ball.pt", network=Balls([((0.0, 0.0, 0.0), 1.0)]))
    np.testing.assert_array_equal(back.points, np.float32(BALL.planes.centres))


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.full((20, 3), 1e30)])
def test_a_file_with_impossible_points_is_damaged(points: Points, tmp_path: Path) -> None:
    replace(BALL, points=points).save(tmp_path / "ball.pt")
    with pytest.raises(ValueError, match="damaged reconstruction .*points must be none"):
        Reconstruction.load(tmp_path / "ball.pt", network=Balls([((0.0, 0.0, 0.0), 1.0)]))


def test_points_that_coincide_have_no_edges() -> None:
    piled = replace(BALL, points=np.repeat(BALL.planes.centres[:30], 30, axis=0))
    assert piled.mesh(24, sharp=True).is_watertight


def test_a_ball_has_no_sharp_edges() -> None:
    ball = replace(BALL, points=BALL.planes.centres)
    mesh, sharp = ball.mesh(24), ball.mesh(24, sharp=True)
    np.testing.assert_array_equal(mesh.vertices, sharp.vertices)
    np.testing.assert_array_equal(mesh.faces, sharp.faces)
    np.testing.assert_array_equal(mesh.vertex_normals, sharp.vertex_normals)


def border(mesh: Trimesh) -> Points:
    edges: Points = mesh.edges_sorted[group_rows(mesh.edges_sorted, require_count=1)]
    return edges


def test_what_the_noise_hides() -> None:
    noisy = replace(BALL, planes=replace(BALL.planes, error=0.002))
    assert noisy.noise_tolerance == pytest.approx(0.002 * SCALE)
    assert BALL.noise_tolerance == pytest.approx(BALL.planes.reach / 400 * SCALE)  # there is no noise


def test_bad_numbers() -> None:
    with pytest.raises(ValueError, match="parts must be an integer >= 1, got 0"):
        BALL.mesh(16, parts=0)
    with pytest.raises(ValueError, match="faces must be an integer >= 4, got 3"):
        BALL.mesh(16, faces=3)
    with pytest.raises(ValueError, match="faces and tolerance: only one of them can be given"):
        BALL.mesh(16, faces=100, tolerance=0.1)
    for tolerance in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match=f"tolerance must be a finite number > 0, got {tolerance}"):
            BALL.mesh(16, tolerance=tolerance)
    for trim in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"trim must be a finite number > 0, got {trim}"):
            BALL.mesh(16, trim=trim)
    far = replace(BALL, planes=Planes(BALL.planes.centres[:1] * 1.1, BALL.planes.normals[:1], 0.01))
    with pytest.raises(ValueError, match="trim: nothing of the surface is within"):
        replace(far, planes=replace(far.planes, reach=1e-6)).mesh(16, trim=1e-5)


def test_projection_finds_the_nearest_points() -> None:
    two = of_balls(((-0.5, 0, 0), 0.3), ((0.5, 0, 0), 0.4))
    directions = on_sphere(300)
    places = OFFSET + SCALE * (np.array([0.5, 0, 0]) + directions * np.linspace(0.3, 0.55, 300)[:, None])
    own = (directions[:, 0] > 0) | (np.abs(directions[:, 1]) > 0.7)  # nearer to this ball than to the other one
    expected = OFFSET + SCALE * (np.array([0.5, 0, 0]) + directions * 0.4)
    np.testing.assert_allclose(two.project(places)[own], expected[own], rtol=0, atol=2e-5)


def test_projection_is_perpendicular_where_the_gradient_alone_would_not_lead_there() -> None:
    class Ellipsoid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.axes = nn.Parameter(torch.tensor([0.9, 0.6, 0.4]))

        def forward(self, points: Tensor) -> Tensor:
            return torch.linalg.vector_norm(points / self.axes, dim=1, keepdim=True) * 0.5 - 0.5

    surface = Reconstruction(Ellipsoid(), Frame(np.zeros(3), 1.0), BALL.planes)
    points = on_sphere(200) * [1.1, 0.7, 0.5]
    assert np.abs(surface.sdf(points)).max() > 0.05
    nearest = surface.project(points)
    normals = nearest / np.array([0.9, 0.6, 0.4]) ** 2
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offset = points - nearest
    aside = offset - (offset * normals).sum(axis=1, keepdims=True) * normals
    np.testing.assert_allclose(np.linalg.norm(nearest / [0.9, 0.6, 0.4], axis=1), 1, atol=1e-5)
    assert np.linalg.norm(aside, axis=1).max() < 0.01 * np.linalg.norm(offset, axis=1).mean()


def test_projection_says_where_it_fails() -> None:
    class Nowhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(1))

        def forward(self, points: Tensor) -> Tensor:
            return self.one + (points**2).sum(dim=1, keepdim=True)

    assert np.isnan(Reconstruction(Nowhere(), BALL.frame, BALL.planes).project(OFFSET + on_sphere(5))).all()
    with pytest.raises(ValueError, match=r"points must have the shape \(n, 3\), got \(3,\)"):
        BALL.project([0.0, 0.0, 0.0])


def test_a_file_brings_everything_back(sphere: Reconstruction, far_away: Points, tmp_path: Path) -> None:
    sphere.save(tmp_path / "sphere.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["sphere.pt"]
    back = Reconstruction.load(tmp_path / "sphere.pt")
    places = far_away + 6 * on_sphere(50)
    np.testing.assert_array_equal(back.sdf(places), sphere.sdf(places))
    np.testing.assert_array_equal(back.mesh(24).vertices, sphere.mesh(24).vertices)


def test_a_file_of_ones_own_network(tmp_path: Path) -> None:
    BALL.save(tmp_path / "ball.pt")
    with pytest.raises(ValueError, match="ball.pt has the weights of a network of your own, give the network"):
        Reconstruction.load(tmp_path / "ball.pt")
    other = Balls([((1.0, 1.0, 1.0), 0.1)])
    back = Reconstruction.load(tmp_path / "ball.pt", other)
    assert back.network is other
    np.testing.assert_array_equal(back.sdf(OFFSET + on_sphere(9)), BALL.sdf(OFFSET + on_sphere(9)))
    with pytest.raises(ValueError, match="network: the weights in .* are those of another network"):
        Reconstruction.load(tmp_path / "ball.pt", nn.Linear(3, 1))


def test_files_that_are_no_reconstructions(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for contents in (b"", b"not a file of torch"):
        path.write_bytes(contents)
        with pytest.raises(ValueError, match="a.pt: is not a reconstruction"):
            Reconstruction.load(path)
    torch.save(BALL.network, path)  # a pickled network, which could run code
    with pytest.raises(ValueError, match="a.pt: is not a reconstruction"):
        Reconstruction.load(path)
    torch.save({"format": "another"}, path)
    with pytest.raises(ValueError, match="a.pt: is not a reconstruction of this version"):
        Reconstruction.load(path)
    with pytest.raises(FileNotFoundError):
        Reconstruction.load(tmp_path / "missing.pt")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    write = Path.write_bytes

    def fail(target: Path, content: bytes) -> None:
        write(target, content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        BALL.save(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]
