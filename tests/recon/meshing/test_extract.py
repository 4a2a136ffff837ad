from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing import topology
from art_levelset.recon.meshing.extract import zero_set
from art_levelset.recon.meshing.topology import label_components, short_edges, supported_components

LOW, HIGH = np.array([-1.0, -1.2, -0.9]), np.array([1.1, 1.0, 1.3])


def torus(points: Points) -> NDArray[np.float32]:
    ring = np.hypot(points[:, 0], points[:, 1]) - 0.6
    return (np.hypot(ring, points[:, 2]) - 0.2).astype(np.float32)


@pytest.mark.parametrize("resolution", [33, 64])
def test_a_torus(resolution: int) -> None:
    vertices, faces = zero_set(torus, LOW, HIGH, resolution, verbose=False)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    step = 2.2 / resolution
    assert np.abs(torus(vertices)).max() < step**2 / 0.4
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.6 * 0.2**2, rel=0.1)


def test_a_level_set_outside_the_box() -> None:
    with pytest.raises(ValueError, match="the reconstruction is empty"):
        zero_set(lambda points: torus(points) + 2, LOW, HIGH, 32, verbose=False)


@pytest.mark.parametrize("slope", [0.0, -1.0, float("nan")])
def test_a_bad_slope(slope: float) -> None:
    with pytest.raises(ValueError, match="slope must be a finite number > 0, got"):
        zero_set(torus, LOW, HIGH, 32, slope=slope, verbose=False)


def test_components_without_data_are_told_from_the_others() -> None:
    balls = [trimesh.creation.icosphere(subdivisions=1, radius=r).apply_translation([x, 0, 0]) for r, x in
             ((1.0, 0.0), (0.1, 0.0), (0.5, 5.0))]  # fmt: skip
    mesh = trimesh.util.concatenate(balls)
    data = np.concatenate([balls[0].vertices, balls[2].vertices[:10]])
    for smallest, third in ((0.9, True), (1.1, False)):  # its diameter is 1
        kept = supported_components(np.asarray(mesh.vertices), np.asarray(mesh.faces), data, 0.05, smallest, 11)
        assert kept.tolist() == [True] * 80 + [False] * 80 + [third] * 80


def test_a_small_component_is_kept_if_many_data_are_beside_it() -> None:
    large, small = (trimesh.creation.icosphere(subdivisions=1, radius=r) for r in (1.0, 0.25))
    small.apply_translation([4.0, 0, 0])
    mesh = trimesh.util.concatenate([large, small])
    near, far = small.vertices[:20], small.vertices[:20] + np.array([0.8, 0, 0])
    for beside, many, kept in ((near, 20, True), (near, 21, False), (far, 20, False)):
        data = np.concatenate([large.vertices, beside])
        found = supported_components(np.asarray(mesh.vertices), np.asarray(mesh.faces), data, 0.05, 0.6, many)
        assert found.tolist() == [True] * 80 + [kept] * 80


def test_the_part_that_most_data_speak_for_is_never_left_out() -> None:
    balls = [trimesh.creation.icosphere(subdivisions=1, radius=r).apply_translation([x, 0, 0]) for r, x in
             ((0.5, 0.0), (1.0, 5.0))]  # fmt: skip
    mesh = trimesh.util.concatenate(balls)
    kept = supported_components(np.asarray(mesh.vertices), np.asarray(mesh.faces), balls[0].vertices, 0.05, 9.0, 11)
    assert kept.tolist() == [True] * 80 + [False] * 80


triangles = st.lists(st.permutations(range(12)).map(lambda corners: corners[:3]), max_size=12).map(
    lambda rows: np.array(rows, dtype=np.int64).reshape(-1, 3)
)


@pytest.fixture(autouse=True, scope="module")
def _few_triangles_at_a_time() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topology, "CHUNK", 3)
        yield


@given(triangles)
def test_connected_components_are_those_that_corners_join(faces: NDArray[np.int64]) -> None:
    groups: list[set[int]] = []
    for face in faces.tolist():
        touching = [group for group in groups if group & set(face)]
        groups = [group for group in groups if group not in touching] + [set(face).union(*touching)]
    groups.sort(key=min)
    count, part = label_components(faces)
    assert count == len(groups)
    assert part.tolist() == [next(i for i, group in enumerate(groups) if face[0] in group) for face in faces.tolist()]


@given(triangles, st.floats(0, 2))
def test_short_edges_are_shorter(faces: NDArray[np.int64], shortest: float) -> None:
    places = np.random.default_rng(0).random((12, 3))
    edges = [edge for face in faces.tolist() for edge in combinations(face, 2)]
    expected = [(i, j) for i, j in edges if np.linalg.norm(places[i] - places[j]) < shortest]
    assert sorted(map(tuple, short_edges(places, faces, shortest).tolist())) == sorted(expected)


def test_a_mesh_does_not_depend_on_how_many_triangles_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = zero_set(torus, LOW, HIGH, 33, verbose=False)
    by_three = topology.without_short_edges(vertices, faces, 0.01)
    monkeypatch.setattr(topology, "CHUNK", len(faces))
    at_once = topology.without_short_edges(vertices, faces, 0.01)
    assert 0 < len(at_once) < len(faces)
    np.testing.assert_array_equal(by_three, at_once)
