"""Families of made shapes: their topology and features, their scans, and the rows that are made of them."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from art_levelset.recon.inspect.metrics import distances_to_surface

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = ("bracket", "chain", "fins", "gear", "lattice", "limbs", "plate", "ring", "shells", "tubes")


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("made_shapes")


@pytest.fixture
def scans(shapes: ModuleType) -> ModuleType:
    return importlib.import_module("virtual_scans")


@pytest.fixture
def benchmark(scans: ModuleType) -> ModuleType:
    return importlib.import_module("families")


@pytest.fixture
def coarse(shapes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meshes of a few thousand triangles, which have the same topology."""
    monkeypatch.setattr(shapes, "CELLS", 2.5)
    monkeypatch.setattr(shapes, "COARSEST", 24)


def independent_betti(mesh: trimesh.Trimesh) -> tuple[int, int, int]:
    """By union of the ends of edges, and by counting vertices, edges and triangles of closed surfaces."""
    parent = list(range(len(mesh.vertices)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    sides = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, counts = np.unique(sides, axis=0, return_counts=True)
    assert (counts == 2).all()
    for one, other in edges.tolist():
        parent[root(one)] = root(other)
    used = np.unique(mesh.faces).tolist()
    parts = len({root(i) for i in used})
    return parts, 2 * parts - (len(used) - len(edges) + len(mesh.faces)), parts


def test_all_families_are_tested(shapes: ModuleType) -> None:
    assert tuple(sorted(shapes.FAMILIES)) == NAMES


@pytest.mark.parametrize("family", NAMES)
def test_the_topology_is_that_of_the_construction(shapes: ModuleType, coarse: None, family: str) -> None:
    for seed in range(3):
        shape = shapes.made(family, seed)
        mesh = shape.mesh()
        assert independent_betti(mesh) == shape.betti
        assert mesh.volume > 0  # normals outwards
        assert (np.abs(mesh.vertices) <= np.array(shape.half) + 1e-6).all()


def test_a_mesh_of_another_topology_is_an_error(shapes: ModuleType) -> None:
    hole = {"hole": 1.0}
    wrong = shapes.Shape(0.05, shapes.ball(1.0), (1.0, 1.0, 1.0), 1, 1, hole)
    with pytest.raises(ValueError, match=r"^the mesh has the Betti numbers \(1, 0, 1\) instead of \(1, 2, 1\)$"):
        wrong.mesh()


def test_an_unknown_family_is_an_error(shapes: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"^family must be one of plate, ring, .*, got 'cup'$"):
        shapes.made("cup", 0)


@pytest.mark.parametrize("family", NAMES)
def test_a_seed_determines_a_shape(shapes: ModuleType, family: str) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    first, again, other = (shapes.made(family, seed) for seed in (0, 0, 1))
    assert first.widths == again.widths
    assert first.widths != other.widths
    assert np.array_equal(first.solid(points), again.solid(points))


@pytest.mark.parametrize("family", NAMES)
def test_no_solid_is_steeper_than_one(shapes: ModuleType, family: str) -> None:
    draw = np.random.default_rng(0)
    one, other = draw.uniform(-1.5, 1.5, (2, 2000, 3))
    other = np.concatenate([one[:1000] + 0.02 * draw.standard_normal((1000, 3)), other[1000:]])
    solid = shapes.made(family, 0).solid
    assert (np.abs(solid(one) - solid(other)) <= np.linalg.norm(one - other, axis=1) + 1e-12).all()


def test_parts_of_solids_have_their_distances(shapes: ModuleType) -> None:
    points = np.array([[2.0, 0.0, 0.0], [2.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    assert shapes.box((1.0, 2.0, 3.0))(points).tolist() == pytest.approx([1.0, math.sqrt(2), -1.0])
    assert shapes.cylinder(2, 1.0, 0.5)(points).tolist() == pytest.approx([1.0, math.sqrt(13) - 1, -0.5])
    assert shapes.cylinder(0, 1.0, math.inf)(points).tolist() == pytest.approx([-1.0, 2.0, -1.0])
    assert shapes.torus(2, 1.0, 0.25)(points).tolist() == pytest.approx([0.75, math.sqrt(13) - 1.25, 0.75])
    assert shapes.capsule((0, 0, 0), (0, 3, 0), 0.5)(points).tolist() == pytest.approx([1.5, 1.5, -0.5])
    assert shapes.below((1, 1, 0), 1.0)(points).tolist() == pytest.approx([math.sqrt(2) - 1, 5 / math.sqrt(2) - 1, -1])


def crossings(solid: Any, start: list[float], end: list[float]) -> list[float]:
    """The lengths of the pieces of a segment outside of a solid that have the solid on both of their sides."""
    steps = np.linspace(0, 1, 200_001)
    outside = solid(np.asarray(start) + steps[:, None] * np.subtract(end, start)) > 0
    changes = np.flatnonzero(np.diff(outside.astype(int)))
    lengths = np.diff(changes) * float(np.linalg.norm(np.subtract(end, start))) / 200_000
    return [float(length) for length, first in zip(lengths, changes, strict=False) if not outside[first]]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gaps_and_walls_of_fins_are_as_recorded(shapes: ModuleType, seed: int) -> None:
    shape = shapes.made("fins", seed)
    gaps = crossings(shape.solid, [-1.5, 0.1, 0.4], [1.5, 0.1, 0.4])
    assert gaps == pytest.approx([shape.widths["gap"]] * len(gaps), abs=1e-4)
    inside = crossings(lambda points: -shape.solid(points), [-1.5, 0.1, 0.4], [1.5, 0.1, 0.4])
    assert inside[1:-1] == pytest.approx([shape.widths["wall"]] * (len(inside) - 2), abs=1e-4)
    assert gaps


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_links_of_a_chain_are_as_far_apart_as_recorded(shapes: ModuleType, seed: int) -> None:
    """The circles in the middles of neighbouring tubes, by brute force."""
    shape = shapes.made("chain", seed)
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    tube = shape.widths["tube"]
    radius = shape.half[1] - tube / 2
    places = np.linspace(-1, 1, shape.parts) * (shape.half[0] - radius - tube / 2)
    circle = radius * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    circles = [(circle if i % 2 == 0 else circle[:, [0, 2, 1]]) + [x, 0, 0] for i, x in enumerate(places)]
    assert np.abs(shape.solid(np.concatenate(circles)) + tube / 2).max() < 1e-9  # the circles are in the middles
    for name, step in (("gap", 1), ("next", 2)):
        found = [cKDTree(circles[i]).query(circles[i + step])[0].min() - tube for i in range(shape.parts - step)]
        assert found == pytest.approx([shape.widths.get(name)] * len(found), abs=1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gap_between_teeth_is_as_recorded(shapes: ModuleType, seed: int) -> None:
    """Between the places where the sides of two teeth leave the circle of radius 0.8."""
    shape = shapes.made("gear", seed)
    half_tooth, half_gap = (math.asin(shape.widths[name] / 1.6) for name in ("tooth", "gap"))
    teeth = math.pi / (half_tooth + half_gap)
    assert teeth == pytest.approx(round(teeth))

    def corner(angle: float) -> list[float]:
        return [0.8 * math.cos(angle), 0.8 * math.sin(angle), 0.0]

    first, second = corner(half_tooth), corner(half_tooth + 2 * half_gap)
    assert math.dist(first, second) == pytest.approx(shape.widths["gap"])
    assert shape.solid(np.array([first, second])) == pytest.approx(0, abs=1e-9)
    beside = [1.001 * np.array(corner(half_tooth + off * half_gap)) for off in (-0.1, 0.1, 1.9, 2.1)]
    assert (shape.solid(np.array(beside)) > 0).tolist() == [False, True, True, False]


@pytest.mark.parametrize("kind", ["even", "cameras"])
@pytest.mark.parametrize("family", ["plate", "limbs"])
def test_points_lie_on_the_surface_up_to_the_noise(
    shapes: ModuleType, scans: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str, family: str
) -> None:
    shape = shapes.made(family, 1)
    monkeypatch.setattr(shapes, "FEWEST", 1500)
    monkeypatch.setattr(shapes, "MOST", 1500)
    exact, noisy = (scans.scanned(shape, kind, noise, 3) for noise in (0.0, 0.3))
    assert len(exact.points) == len(noisy.points) == 1500
    assert exact.spacing == pytest.approx(math.sqrt(exact.reference.area / 1500))
    assert (exact.noise, noisy.noise) == pytest.approx((0.0, 0.3 * noisy.spacing))
    off = distances_to_surface(exact.points, exact.reference)
    assert off.max() < 0.012  # marching cubes cuts edges
    assert np.quantile(off, 0.9) < 0.001
    off = distances_to_surface(noisy.points, noisy.reference)
    assert 0.3 * noisy.noise < np.median(off) < noisy.noise
    assert off.max() < 5.5 * noisy.noise
    again = scans.scanned(shape, kind, 0.3, 3)
    assert np.array_equal(again.points, noisy.points)
    assert not np.array_equal(scans.scanned(shape, kind, 0.3, 4).points, noisy.points)


def test_cameras_do_not_see_what_something_is_in_front_of(scans: ModuleType, shapes: ModuleType) -> None:
    solid = shapes.union(shapes.ball(0.5, (0, 0, 0.5)), shapes.ball(0.2, (0, 0, -0.6)))
    eye = np.array([0.0, 0.0, 3.0])
    far, rays = scans.depths(solid, eye, 1.2, 60)
    points = eye + far[:, None] * rays
    assert np.abs(solid(points)).max() < 1e-4
    assert points[:, 2].min() > 0.5  # the near half of the near ball hides the small one
    assert len(scans.depths(shapes.ball(0.2, (0, 0, -0.6)), eye, 1.2, 60)[0])


def test_what_no_camera_sees_is_told(shapes: ModuleType, scans: ModuleType) -> None:
    hollow = shapes.without(shapes.ball(1.0), shapes.ball(0.7))
    shape = shapes.Shape(0.1, hollow, (1.0, 1.0, 1.0), 2, 0, {"wall": 0.3})
    assert scans.scanned(shape, "cameras", 0.0, 0).unseen == pytest.approx(0.3, abs=0.05)
    assert scans.scanned(shape, "even", 0.0, 0).unseen < 0.15


def test_an_unknown_scan_is_an_error(scans: ModuleType, shapes: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"^kind must be one of even, cameras, got 'radar'$"):
        scans.scanned(shapes.made("plate", 0), "radar", 0.3, 0)


def test_directions_are_spread_and_rotations_turn(scans: ModuleType) -> None:
    ways = scans.directions(9)
    assert np.linalg.norm(ways, axis=1) == pytest.approx(1)
    assert np.linalg.norm(ways.mean(axis=0)) < 0.1
    turn = scans.rotation(np.random.default_rng(0))
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_betti_numbers_of_an_open_surface(shapes: ModuleType) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    bowl = trimesh.Trimesh(ball.vertices, ball.faces[1:], process=False)
    assert shapes.betti_of(ball) == (1, 0, 1)
    assert shapes.betti_of(bowl) == (1, 0, 0)
    both = trimesh.util.concatenate([bowl, trimesh.creation.torus(3.0, 0.5)])
    assert shapes.betti_of(both) == (2, 2, 1)


def row(family: str, method: str, hole: float, betti: list[int], noise: float = 0.3) -> dict[str, Any]:
    return {
        "family": family,
        "seed": 0,
        "scan": "even",
        "noise": noise,
        "method": method,
        "points": 9000,
        "right": [1, 2, 1],
        "feature": "hole",
        "widths": {"hole": hole},
        "unseen": 2.0,
        "chamfer": 0.5,
        "betti": betti,
        "betti_without_crumbs": [1, 2, 1],
    }


def test_the_table_counts_what_is_right(benchmark: ModuleType) -> None:
    rows = [
        row("ring", "draft", 3.5, [1, 0, 1]),
        row("ring", "draft", 3.7, [1, 2, 1]),
        row("ring", "P", 3.7, [2, 2, 2]),
    ]
    lines = benchmark.table(rows).splitlines()
    assert "| ring | 1/1, 1/2, 2/2, 0.50 | 0/1, 0/1, 1/1, 0.50 |" in lines
    assert [line.split(" | ")[0] for line in lines] == ["| shapes", "|---|---|---|", "| ring", "| even", "| all"]
    assert lines[-1].startswith("| all | 1/1, 1/2, 2/2, 0.50 |")
    first, second = benchmark.failures(rows)
    assert first == (
        "draft, ring 0, even, noise 0.3: (1, 0, 1) instead of (1, 2, 1); hole 3.5, unseen 2.0 spacings, 9000 points"
    )
    assert "(2, 2, 2) instead of (1, 2, 1); wide, hole 3.7" in second
    assert not benchmark.is_wide(row("ring", "draft", 3.7, [1, 2, 1], noise=0.6))


def test_crumbs_are_left_out(benchmark: ModuleType) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    crumb = trimesh.creation.icosphere(subdivisions=1, radius=0.05)
    other = trimesh.creation.icosphere(subdivisions=1, radius=0.3).apply_translation([3, 0, 0])
    mesh = trimesh.util.concatenate([ball, crumb, other])
    assert benchmark.betti_of(mesh) == (3, 0, 3)
    assert benchmark.betti_of(benchmark.without_crumbs(mesh)) == (2, 0, 2)


def test_rows_are_kept_and_drawn(
    benchmark: ModuleType, coarse: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """With the surface itself for a result, a method that fails and one that is not installed."""
    monkeypatch.setattr(
        benchmark, "compare", lambda *_, **__: SimpleNamespace(relative=lambda: {"chamfer_to_surface": 1.0})
    )
    cube = trimesh.creation.box()
    methods = {"draft": lambda points: cube, "poor": lambda points: 1 / 0, "gone": lambda points: missing()}

    def missing() -> None:
        raise ImportError("pip install gone")

    monkeypatch.setattr(benchmark, "methods", lambda qualities, seed: methods)
    options = [
        "-o",
        str(tmp_path / "a.json"),
        "--families",
        "limbs",
        "--scans",
        "even",
        "--seeds",
        "0",
        "--noise",
        "0.3",
    ]
    drawing = ["--meshes", str(tmp_path / "meshes"), "--picture", str(tmp_path / "a.png")]
    benchmark.main([*options, *drawing])
    printed = capsys.readouterr().out
    assert "gone: left out: pip install gone" in printed
    assert "limbs 0, even, noise 0.3, draft: right" in printed
    assert "poor, limbs 0, even, noise 0.3: ZeroDivisionError: division by zero" in printed
    found = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [line["method"] for line in found] == ["draft", "poor"]
    assert (found[0]["right"], found[0]["betti"], found[0]["chamfer"]) == ([1, 0, 1], [1, 0, 1], 1.0)
    assert [path.name for path in (tmp_path / "meshes").iterdir()] == ["limbs-0-even-0.3-draft.ply"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    methods["draft"] = lambda points: 1 / 0  # nothing is measured again
    benchmark.main(options)
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == found
    with pytest.raises(SystemExit):
        benchmark.main([*options, *drawing[2:]])
    assert "--picture needs --meshes" in capsys.readouterr().err
