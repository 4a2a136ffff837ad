from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.polylines import Polyline, distance_to
from art_levelset.recon.curves.samples import half_solid_angle, winding_field


def turns(loop: Points, curves: list[Polyline]) -> float:
    """How often the field winds on the way along a closed loop."""
    angles = half_solid_angle(np.concatenate([loop, loop[:1]]), curves)
    steps = np.angle(np.exp(1j * np.diff(angles)))
    return float(steps.sum() / (2 * np.pi))


def around(curve: Polyline, index: int, radius: float) -> Points:
    """A small circle around a point of a curve."""
    tangent = curve.tangents[index]
    across = np.linalg.svd(tangent[None])[2][1:]
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    return curve.points[index] + radius * (np.cos(angle) * across[0] + np.sin(angle) * across[1])


def same_angle(one: Points, other: Points, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(np.exp(1j * one), np.exp(1j * other), atol=atol)


def test_a_circle_seen_from_its_axis(known: Any) -> None:
    height = np.array([-3.0, -1.0, -0.2, 0.4, 1.0, 5.0])
    places = height[:, None] * [0, 0, 1]
    cap = 2 * np.pi * (1 - np.abs(height) / np.hypot(1, height)) * np.sign(height)
    same_angle(half_solid_angle(places, [known.circle()]), -cap / 2, atol=1e-4)


def test_a_square_seen_from_the_centre_of_a_cube() -> None:
    square = Polyline(np.array([[1.0, 1, 1], [-1, 1, 1], [-1, -1, 1], [1, -1, 1]]), True)
    assert abs(half_solid_angle(np.zeros((1, 3)), [square])[0]) == pytest.approx(4 * np.pi / 6 / 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 399), st.sampled_from(["circle", "trefoil", "figure_eight"]))
def test_the_field_winds_once_around_each_point(known: Any, index: int, name: str) -> None:
    curve = getattr(known, name)()
    assert abs(turns(around(curve, 10 * index, 0.1), [curve])) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_field_does_not_wind_beside_the_curve(known: Any, seed: int) -> None:
    curve = known.trefoil()
    place = np.random.default_rng(seed).uniform(-3, 3, 3)
    radius = 0.5 * float(distance_to(place[None], [curve])[0])
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    loop = place + radius * (np.cos(angle) * [1, 0, 0] + np.sin(angle) * [0, 0.6, 0.8])
    assert turns(loop, [curve.resampled(0.1)]) == pytest.approx(0)


def test_a_link_winds_around_both_of_its_rings(known: Any) -> None:
    one = known.circle()
    other = Polyline(one.points[:, [0, 2, 1]] + [1, 0, 0], True)
    for ring in (one, other):
        assert abs(turns(around(ring, 700, 0.1), [one, other])) == pytest.approx(1)
    places = np.random.default_rng(0).uniform(-2, 2, (20, 3))
    both = half_solid_angle(places, [one, other])
    same_angle(both, half_solid_angle(places, [one]) + half_solid_angle(places, [other]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_motions_keep_the_solid_angle_and_reversal_negates_it(seed: int) -> None:
    generator = np.random.default_rng(seed)
    polygon = generator.standard_normal((7, 3))
    places = 2 * generator.standard_normal((10, 3))
    before = half_solid_angle(places, [Polyline(polygon, True)])
    turn = Rotation.random(random_state=seed).as_matrix()
    moved = half_solid_angle(3 * places @ turn.T + 1, [Polyline(3 * polygon @ turn.T + 1, True)])
    same_angle(moved, before, atol=1e-6)
    same_angle(half_solid_angle(places, [Polyline(polygon[::-1], True)]), -before, atol=1e-6)
    same_angle(half_solid_angle(places, [Polyline(np.roll(polygon, 3, axis=0), True)]), before, atol=1e-6)


def test_the_field_vanishes_on_the_curve_only(known: Any) -> None:
    curve = known.circle()
    places = np.random.default_rng(0).uniform(-1.3, 1.3, (200, 3))
    field = winding_field(places, [curve], 0.25)
    distances = np.hypot(np.linalg.norm(places[:, :2], axis=1) - 1, places[:, 2])
    np.testing.assert_allclose(np.linalg.norm(field, axis=1), 0.25 * np.tanh(distances / 0.25), atol=1e-5)
