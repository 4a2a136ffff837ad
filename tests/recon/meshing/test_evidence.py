"""Whether points speak for a change of a mesh."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.meshing.evidence import spoken_for
from art_levelset.recon.meshing.topology import Faces

Heights = Callable[[Points, Points], Points]

PLACES = np.array([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])


def sheet(heights: Heights) -> tuple[Points, Faces]:
    """A grid of 41 x 41 over [-1, 1]^2, so high, and its triangles."""
    side = np.linspace(-1, 1, 41)
    x, y = np.meshgrid(side, side, indexing="ij")
    corner = np.arange(41 * 41, dtype=np.int32).reshape(41, 41)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return np.stack([x, y, heights(x, y)], axis=2).reshape(-1, 3), triangles


def flat(x: Points, y: Points) -> Points:
    return 0 * x


def roof(x: Points, y: Points) -> Points:
    """With a ridge 0.1 high at x = 1/2."""
    return 0.1 * np.maximum(1 - np.abs(x - 0.5) / 0.25, 0)


def points_of(heights: Heights, noise: float, seed: int = 0) -> Points:
    draw = np.random.default_rng(seed)
    x, y = draw.uniform(-1, 1, (2, 20_000))
    return np.stack([x, y, heights(x, y)], axis=1) + noise * draw.standard_normal((20_000, 3))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.002, 0.03))
def test_points_speak_for_what_they_lie_on(seed: int, noise: float) -> None:
    before, after = sheet(flat), sheet(roof)
    there = spoken_for(points_of(roof, noise, seed), PLACES, 0.25, before, after)
    np.testing.assert_array_equal(there, [True, True])  # on the left nothing changes
    gone = spoken_for(points_of(flat, noise, seed), PLACES, 0.25, before, after)
    np.testing.assert_array_equal(gone, [True, False])


def test_a_change_that_explains_nothing_is_not_spoken_for() -> None:
    def high(x: Points, y: Points) -> Points:
        return 5 * roof(x, y)

    points = points_of(high, 0.01)
    there = spoken_for(points, PLACES, 0.25, sheet(flat), sheet(roof))
    np.testing.assert_array_equal(there, [True, False])  # nearer, but far from it all the same


@pytest.mark.parametrize("place", [[0.0, 0.0, 3.0], [5.0, 0.0, 0.0]])
def test_no_point_speaks_for_what_none_is_near(place: list[float]) -> None:
    found = spoken_for(points_of(flat, 0.01), np.array([place]), 0.25, sheet(flat), sheet(flat))
    np.testing.assert_array_equal(found, [False])


def test_segments_among_the_triangles() -> None:
    vertices, triangles = sheet(flat)
    with_segments = vertices, np.concatenate([triangles, triangles[:, [0, 1, 1]]])
    found = spoken_for(points_of(flat, 0.01), PLACES, 0.25, (vertices, triangles), with_segments)
    assert found.all()
