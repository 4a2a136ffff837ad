"""What is free between sensors and points: beams in closed form, properties, and the indicator function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.orientation import Indicator
from art_levelset.recon.cloud.sensors import PASSES, carved, check_sensors, directions_to, free_nodes

SHAPE = 52, 44, 36
CELL = 0.05


def positions() -> Points:
    """Of the nodes, (a, b, c, 3)."""
    axes = [CELL * (np.arange(count) - count / 2) for count in SHAPE]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def test_one_position_or_one_for_each() -> None:
    np.testing.assert_array_equal(check_sensors([1, 2, 3], 2), [[1, 2, 3], [1, 2, 3]])
    each = torch.tensor([[1.0, 2.0, 3.0], [4.0, float("inf"), 6.0]])
    np.testing.assert_array_equal(check_sensors(each, 2), [[1, 2, 3], [np.nan] * 3])


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ("here", "^sensors must be an array of numbers"),
        ([1.0, 2.0], r"^sensors must have the shape \(3,\) or that of the points, \(4, 3\), got \(2,\)"),
        (np.zeros((3, 3)), r"got \(3, 3\)"),
        ([np.nan, 0.0, 0.0], "^sensors: all are NaN or infinite"),
    ],
)
def test_bad_sensors(sensors: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sensors(sensors, 4)


def test_directions() -> None:
    points = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    sensors = np.array([[4.0, 4.0, 0.0], [0.0, 0.0, -2.0], [np.nan] * 3, [5.0, 5.0, 5.0]])
    expected = [[0.6, 0.8, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(directions_to(points, sensors), expected)


@pytest.mark.parametrize("start", [-50.0, -0.9])
def test_a_beam_along_an_axis_is_free_up_to_the_margin(start: float) -> None:
    """From (start, 0, 0) to (0.5, 0, 0), several times: free are the nodes within a cell of it, along each axis."""
    points = np.tile([0.5, 0.0, 0.0], (PASSES, 1))
    sensors = np.tile([start, 0.0, 0.0], (PASSES, 1))
    free = free_nodes(points, sensors, SHAPE, CELL, margin=0.2)
    x, y, z = np.moveaxis(positions(), -1, 0)
    inside = (np.abs(y) < 1.5 * CELL) & (np.abs(z) < 1.5 * CELL)
    begin = max(start, -1.3)
    assert free[inside & (x > begin + CELL) & (x < 0.3 - CELL)].all()
    assert not free[~inside | (x < begin - 2 * CELL) | (x > 0.3 + 2 * CELL)].any()


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-1.2, 1.2)] * 3), st.tuples(*[st.floats(-1.2, 1.2)] * 3))
def test_a_single_segment_may_be_that_of_a_stray(end: tuple[float, ...], sensor: tuple[float, ...]) -> None:
    assert not free_nodes(np.array([end]), np.array([sensor]), SHAPE, CELL, margin=0.0).any()


def test_segments_that_say_nothing() -> None:
    """No sensor, one at its point, one nearer than the margin, one whose way does not meet the grid."""
    points = np.array([[0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [9.0, 9.0, 9.0]]).repeat(PASSES, axis=0)
    sensors = np.array([[np.nan] * 3, [0.5, 0.0, 0.0], [0.45, 0.0, 0.0], [9.0, -9.0, 9.0]]).repeat(PASSES, axis=0)
    assert not free_nodes(points, sensors, SHAPE, CELL, margin=0.1).any()
    assert not free_nodes(points[:0], sensors[:0], SHAPE, CELL, margin=0.1).any()


coordinates = st.floats(-3.0, 3.0, allow_subnormal=False)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-1.0, 1.0)] * 3), min_size=1, max_size=4),
    st.tuples(coordinates, coordinates, coordinates),
    st.floats(0.0, 0.5),
)
def test_what_is_free_is_near_a_segment(
    ends: list[tuple[float, ...]], sensor: tuple[float, ...], margin: float
) -> None:
    points = np.array(ends).repeat(PASSES, axis=0)
    found = positions()[free_nodes(points, np.tile(sensor, (len(points), 1)), SHAPE, CELL, margin)]
    nearest = np.full(len(found), np.inf)
    for way in np.array(ends) - sensor:
        length = max(float(np.linalg.norm(way)), 1e-12)
        if length >= margin:
            along = ((found - sensor) @ way / length).clip(0, length - margin)
            nearest = np.minimum(nearest, np.linalg.norm(found - sensor - along[:, None] * way / length, axis=1))
    assert (nearest <= 1.5 * np.sqrt(3) * CELL + 1e-9).all()


@pytest.mark.parametrize("within", [False, True])
def test_what_is_free_is_on_the_side_of_most_of_it(within: bool) -> None:
    """A ball of radius 1, seen from afar, and from within: a pocket of the other sign is gone where it is free."""
    places = positions()
    radii = np.linalg.norm(places, axis=-1)
    chi = (radii < 1.0).astype(np.float32)
    pocket = (np.abs(places - [0.5 if within else -1.1, 0.0, 0.0]) < 1.6 * CELL).all(axis=-1)
    chi[pocket] = 1 - chi[pocket]
    directions = np.random.default_rng(0).standard_normal((20_000, 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    if not within:
        points = points[points[:, 0] < -0.5]
    sensors = np.tile([0.0 if within else -9.0, 0.0, 0.0], (len(points), 1))
    found = carved(Indicator(torch.as_tensor(chi), CELL), points, sensors, margin=0.05).nodes.numpy()
    assert (found[pocket] == (1.0 if within else 0.0)).all()
    solid = radii < 1.0 if within else radii > 1.0
    assert (found[solid & ~pocket] == chi[solid & ~pocket]).all()
    assert (found[radii < 0.9] == 1.0).all()
    assert (found[radii > 1.1] == 0.0).all()


def test_nothing_free_is_the_same_indicator() -> None:
    indicator = Indicator(torch.zeros(8, 8, 8), 0.3)
    assert carved(indicator, np.zeros((3, 3)), np.full((3, 3), np.nan), 0.1) is indicator
