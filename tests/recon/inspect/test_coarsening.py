from __future__ import annotations

import numpy as np
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon.inspect.coarsening import coarsened, merged_in_cells


def test_vertices_in_a_cell_become_their_mean() -> None:
    """Two triangles of four cells, one of them within a cell, and a fourth that becomes a copy of the first."""
    vertices = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [1.5, 0.5, 0.5], [0.5, 1.5, 0.5], [0.2, 0.1, 0.1]])
    faces = np.array([[0, 2, 3], [0, 1, 4], [3, 1, 2]])
    merged, kept = merged_in_cells(vertices, faces, 1.0)
    np.testing.assert_allclose(merged, [[0.2, 0.1, 0.1], [0.5, 1.5, 0.5], [1.5, 0.5, 0.5]])
    np.testing.assert_array_equal(kept, [[0, 2, 1]])


def test_sheets_that_face_each_other_stay_two() -> None:
    vertices = np.array(
        [[0.5, 0.5, 0.2], [1.5, 0.5, 0.2], [0.5, 1.5, 0.2], [0.5, 0.5, 0.1], [1.5, 0.5, 0.1], [0.5, 1.5, 0.1]]
    )
    _, kept = merged_in_cells(vertices, np.array([[0, 1, 2], [3, 5, 4]]), 1.0)
    assert kept.tolist() == [[0, 1, 2], [0, 2, 1]] or kept.tolist() == [[0, 2, 1], [0, 1, 2]]


def test_what_fits_is_not_touched() -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices, faces = coarsened(ball.vertices, ball.faces, lambda *_: True, 0.5)
    assert vertices is ball.vertices
    assert faces is ball.faces


@settings(max_examples=15, deadline=None)
@given(st.integers(100, 4000), st.floats(1e-3, 0.2), st.booleans())
def test_any_mesh_becomes_small_enough_and_stays_in_its_place(most: int, cell: float, soup: bool) -> None:
    """Other columns are averaged as the positions are."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    vertices, faces = (ball.vertices, ball.faces)
    if soup:
        vertices, faces = vertices[faces.ravel()], np.arange(faces.size).reshape(-1, 3)
    columns = np.hstack([vertices, 2 * vertices + 1])
    merged, kept = coarsened(columns, faces, lambda v, f: v + f <= most, cell)
    assert len(kept) > 0
    assert len(merged) + len(kept) <= most
    assert kept.max() == len(merged) - 1
    np.testing.assert_allclose(merged[:, 3:], 2 * merged[:, :3] + 1)
    assert np.abs(np.linalg.norm(merged[:, :3], axis=1) - 1).max() < 0.5
    area = trimesh.Trimesh(merged[:, :3], kept, process=False).area
    assert 0.5 < area / ball.area < 1.05
