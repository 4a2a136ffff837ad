from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from art_levelset.recon.curves.polylines import Polyline, spread

SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
seeds = st.integers(0, 10_000)


def walk(seed: int, closed: bool) -> Polyline:
    return Polyline(np.cumsum(np.random.default_rng(seed).standard_normal((12, 3)), axis=0), closed)


def test_lengths() -> None:
    assert Polyline(SQUARE, True).length == 4
    assert Polyline(SQUARE, False).length == 3
    np.testing.assert_array_equal(Polyline(SQUARE, True).parameters, [0, 1, 2, 3, 4])


def test_points_by_length() -> None:
    closed, opened = Polyline(SQUARE, True), Polyline(SQUARE, False)
    np.testing.assert_allclose(
        closed.at(np.array([0.5, 3.5, 4.5, -0.5])), [[0.5, 0, 0], [0, 0.5, 0], [0.5, 0, 0], [0, 0.5, 0]]
    )
    np.testing.assert_allclose(opened.at(np.array([2.5, 9.0, -1.0])), [[0.5, 1, 0], [0, 1, 0], [0, 0, 0]])


def test_tangents() -> None:
    half = np.sqrt(0.5)
    np.testing.assert_allclose(Polyline(SQUARE, True).tangents[:2], [[half, -half, 0], [half, half, 0]])
    np.testing.assert_allclose(Polyline(SQUARE, False).tangents[0], [1, 0, 0])


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans(), st.floats(0.05, 3.0))
def test_resampling_is_even_and_stays_on_the_line(seed: int, closed: bool, spacing: float) -> None:
    line = walk(seed, closed)
    even = line.resampled(spacing)
    assert even.closed == closed
    assert line.project(even.points)[1].max() <= line.length / 2000 + 1e-9
    assert np.diff(even.parameters).max() <= spacing + 1e-9
    if not closed:
        np.testing.assert_allclose(even.points[[0, -1]], line.points[[0, -1]])


@settings(max_examples=30, deadline=None)
@given(seeds, st.booleans())
@example(1022, False)  # the nearest point is an end, beyond a bend
def test_projection_is_the_nearest_point(seed: int, closed: bool) -> None:
    line = walk(seed, closed).resampled(0.3)
    places = 3 * np.random.default_rng(seed + 1).standard_normal((20, 3))
    parameters, distances = line.project(places)
    dense = line.resampled(0.002).points
    best = np.linalg.norm(dense[None] - places[:, None], axis=2).min(axis=1)
    assert (distances >= best - 0.002).all()
    assert (distances**2 <= best**2 + (line.length / 2000) ** 2 + 1e-9).all()
    np.testing.assert_allclose(np.linalg.norm(line.at(parameters) - places, axis=1), distances, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.0, 0.99), st.floats(0.01, 1.0))
def test_a_part_has_the_length_asked_for(seed: int, start: float, share: float) -> None:
    line = walk(seed, True)
    part = line.part(start * line.length, (start + share) * line.length)
    assert not part.closed
    assert part.length == pytest.approx(share * line.length)
    assert line.project(part.points)[1].max() <= line.length / 2000 + 1e-9


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.05, 2.0))
def test_spread_points_cover_and_keep_apart(seed: int, distance: float) -> None:
    points = np.random.default_rng(seed).standard_normal((60, 3))
    chosen = points[spread(points, distance)]
    between = np.linalg.norm(chosen[:, None] - chosen, axis=2) + 9 * np.eye(len(chosen))
    assert between.min() > distance
    assert np.linalg.norm(points[:, None] - chosen, axis=2).min(axis=1).max() <= distance
    assert len(spread(points[:0], distance)) == 0
