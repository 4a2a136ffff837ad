from __future__ import annotations

import numpy as np
import pytest
import trimesh

from art_levelset.recon.meshing.topology import Topology, topology

BALL = trimesh.creation.icosphere(subdivisions=2)
RING = trimesh.creation.torus(1.0, 0.3, major_sections=12, minor_sections=8)


def open_ball(*corners: int) -> trimesh.Trimesh:
    """The ball without the triangles about some vertices."""
    return trimesh.Trimesh(BALL.vertices, BALL.faces[~np.isin(BALL.faces, corners).any(axis=1)], process=False)


@pytest.mark.parametrize(
    ("mesh", "expected"),
    [
        (BALL, Topology(1, 0, 0, True)),
        (RING, Topology(1, 0, 1, True)),
        (trimesh.util.concatenate([RING, BALL, RING]), Topology(3, 0, 2, True)),
        (open_ball(0), Topology(1, 1, 0, False)),
        (open_ball(0, 5), Topology(1, 2, 0, False)),
        (trimesh.Trimesh(RING.vertices, RING.faces[1:], process=False), Topology(1, 1, 1, False)),
        (trimesh.util.concatenate([open_ball(0), RING]), Topology(2, 1, 1, False)),
    ],
    ids=["ball", "ring", "three parts", "bowl", "tube", "torn ring", "bowl and ring"],
)
def test_known_surfaces(mesh: trimesh.Trimesh, expected: Topology) -> None:
    assert topology(mesh) == expected


def test_three_triangles_at_an_edge_are_no_surface() -> None:
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]]
    found = topology(trimesh.Trimesh(vertices, [[0, 1, 2], [0, 1, 3], [0, 1, 4]], process=False))
    assert found.genus is None
    assert str(found).startswith("1 part, no surface, not watertight")


def test_boundaries_that_touch_are_no_surface() -> None:
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]
    assert topology(trimesh.Trimesh(vertices, [[0, 1, 2], [0, 3, 4]], process=False)).genus is None


def test_triangles_turned_round_are_not_watertight() -> None:
    faces = BALL.faces.copy()
    faces[0] = faces[0, ::-1]
    assert not topology(trimesh.Trimesh(BALL.vertices, faces, process=False)).watertight


def test_in_words() -> None:
    assert str(topology(RING)) == "1 part, genus 1, watertight"
    assert str(topology(open_ball(0, 5))) == "1 part, genus 0, not watertight, 2 boundary curves"
