"""The scenes that sensors are measured on, and what is called free, against their construction."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import trimesh

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("seen_from")
    monkeypatch.setattr(module, "DENSE", 20_000)
    return module


def test_the_slab_has_four_holes(benchmark):
    mesh = benchmark.slab()
    assert mesh.is_watertight
    assert mesh.euler_number == 2 - 2 * 4
    assert mesh.volume == pytest.approx(0.5 * (16 - 4 * 0.8**2), rel=0.01)


def test_a_camera_sees_the_front(benchmark):
    """Of a ball from far away: what faces the camera, once a pixel, up to the noise."""
    ball = trimesh.creation.icosphere(4, 1.0)
    scan = benchmark.scan_of([ball], [(50.0, 0.0, 0.0)], 0.002)
    assert 100 < len(scan.points) <= np.pi * (1 / 50 / 0.002 + 2) ** 2
    assert (scan.points[:, 0] > -0.2).all()
    assert np.linalg.norm(scan.points, axis=1) == pytest.approx(np.ones(len(scan.points)), abs=0.02)
    assert (scan.sensors == [50.0, 0.0, 0.0]).all()
    again = benchmark.scan_of([ball], [(50.0, 0.0, 0.0)], 0.002)
    np.testing.assert_array_equal(scan.points, again.points)


def test_what_is_free_is_before_what_was_seen(benchmark):
    wall = np.stack([np.zeros(400), *np.random.default_rng(0).uniform(-0.02, 0.02, (2, 400))], axis=1)
    scan = benchmark.Scan(wall, wall, np.tile([1.0, 0.0, 0.0], (400, 1)))
    places = np.array([[0.5, 0.0, 0.0], [0.05, 0.0, 0.0], [-0.5, 0.0, 0.0], [0.5, 0.4, 0.0]])
    found = [benchmark.in_free_space(place[None], scan, 0.1) for place in places]
    assert found == [1.0, 0.0, 0.0, 0.0], "free, too near, behind, not looked at"
