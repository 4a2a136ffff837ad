from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from art_levelset.recon.curves.polylines import Polyline
from art_levelset.recon.curves.spline import principal_curve


@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_it_averages_the_noise(known: Any, noise: float) -> None:
    truth = known.circle()
    cloud = known.sample(truth, 1000, noise, np.random.default_rng(0))
    rough = Polyline(1.03 * truth.points[::100], True)
    smooth = principal_curve(cloud, rough, 0.2)
    assert smooth.line.closed
    assert smooth.noise == pytest.approx(noise * known.diagonal(truth), rel=0.1)
    assert known.errors([smooth.line], truth).chamfer < 0.15 * noise


def test_an_open_line_reaches_its_ends() -> None:
    generator = np.random.default_rng(0)
    places = generator.uniform(0, 1, 800)
    truth = np.stack([places, places**2, 0 * places], axis=1)
    rough = Polyline(np.stack([np.linspace(0.1, 0.9, 9), np.linspace(0.1, 0.9, 9) ** 2, np.zeros(9)], axis=1), False)
    line = principal_curve(truth + 0.003 * generator.standard_normal(truth.shape), rough, 0.1).line
    assert not line.closed
    ends = line.points[np.argsort(line.points[[0, -1], 0]) * -1]
    np.testing.assert_allclose(ends, [[0, 0, 0], [1, 1, 0]], atol=0.015)
    assert np.abs(line.points[:, 1] - line.points[:, 0] ** 2).max() < 0.01


def test_a_gap_of_a_circle_is_bridged_roundly(known: Any) -> None:
    truth = known.circle()
    cloud = known.sample(truth, 600, 0.002, np.random.default_rng(0), gap=(0.4, 0.6))
    keep = (np.arange(40) < 16) | (np.arange(40) >= 24)
    line = principal_curve(cloud, Polyline(truth.points[::100][keep], True), 0.15).line
    radii = np.linalg.norm(line.points, axis=1)
    assert radii.min() > 0.85
    assert radii.max() < 1.15


def test_far_points_have_little_say(known: Any) -> None:
    truth = known.circle()
    cloud = known.sample(truth, 1000, 0.003, np.random.default_rng(0))
    cloud[:50] *= 1.3
    smooth = principal_curve(cloud, Polyline(truth.points[::50], True), 0.2)
    assert known.errors([smooth.line], truth).chamfer < 0.0015


def test_points_without_noise() -> None:
    places = np.linspace([0.0, 0, 0], [1, 2, 3], 60)
    smooth = principal_curve(places[::-1], Polyline(places[::6], False), 0.4)
    assert smooth.noise < 1e-6
    assert smooth.line.length == pytest.approx(np.sqrt(14), rel=1e-4)
