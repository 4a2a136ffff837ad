from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.division import divide


def members(places: Points, low: Points, high: Points) -> Points:
    """Which places are in which cells, (n, cells)."""
    found: Points = ((places[:, None] >= low) & (places[:, None] < high)).all(axis=2)
    return found


def test_a_row_of_points_is_cut_across() -> None:
    points = np.array([[float(i), 0.0, 0.0] for i in range(8)])
    low, high = divide(points, 4)
    np.testing.assert_array_equal(low[:, 0], [-np.inf, 2, 4, 6])
    np.testing.assert_array_equal(high[:, 0], [2, 4, 6, np.inf])
    assert np.isinf(low[:, 1:]).all()
    assert np.isinf(high[:, 1:]).all()


def test_a_single_cell_is_all_of_space() -> None:
    low, high = divide(np.zeros((1, 3)), 1)
    assert (low == -np.inf).all()
    assert (high == np.inf).all()


@given(number=st.integers(1, 9), seed=st.integers(0, 100), flat=st.booleans())
@settings(max_examples=40, deadline=None)
def test_cells_share_points_evenly_and_space_without_gaps(number: int, seed: int, flat: bool) -> None:
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(500, 3)) * [1, 1, 0 if flat else 0.5]
    low, high = divide(points, number)
    shares = members(points, low, high)
    assert (shares.sum(axis=1) == 1).all()
    assert np.abs(shares.sum(axis=0) - 500 / number).max() <= 5
    anywhere = generator.uniform(-9, 9, (200, 3))
    assert (members(anywhere, low, high).sum(axis=1) == 1).all()
    corners = np.vstack([low[np.isfinite(low).all(axis=1)], points])
    assert (members(corners, low, high).sum(axis=1) == 1).all()


@given(
    points=arrays(np.int64, (30, 3), elements=st.integers(0, 2)).map(lambda rows: np.unique(rows, axis=0)),
    number=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_no_cell_is_empty_where_coordinates_repeat(points: Points, number: int) -> None:
    number = max(1, min(number, len(points) // 9))
    low, high = divide(points.astype(np.float64), number)
    assert (members(points, low, high).sum(axis=0) > 0).all()


def test_too_few_points() -> None:
    with pytest.raises(ValueError, match="number must be at most that of the points, got 3 for 2"):
        divide(np.eye(3)[:2], 3)
