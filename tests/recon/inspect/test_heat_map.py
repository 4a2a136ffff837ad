from __future__ import annotations

import numpy as np
import pytest
import trimesh

from art_levelset.recon.inspect.heat_map import colours, heat_map


def test_the_colours_are_the_distances() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.vertices *= 1 + 0.1 * np.maximum(mesh.vertices[:, 2:], 0)
    coloured, largest = heat_map(mesh, trimesh.creation.icosphere(subdivisions=3))
    assert mesh.visual.kind is None
    assert 0.07 < largest < 0.1
    np.testing.assert_array_equal(coloured.vertices, mesh.vertices)
    red, _, blue = np.asarray(coloured.visual.vertex_colors, dtype=float)[:, :3].T
    top, bottom = mesh.vertices[:, 2] > 1.0, mesh.vertices[:, 2] < -0.1
    assert (red[top] > blue[top]).all()
    assert np.ptp(red[bottom]) < 10
    assert (red[bottom] < 70).all()


def test_equal_surfaces_have_one_colour() -> None:
    np.testing.assert_array_equal(colours(np.zeros(3), 0.0), np.tile(colours(np.zeros(1), 1.0), (3, 1)))


def test_larger_distances_have_the_last_colour() -> None:
    first, last = colours(np.array([2.0, 5.0]), 2.0)
    assert first == pytest.approx(last)
