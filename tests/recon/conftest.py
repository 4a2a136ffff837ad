"""Clouds of known surfaces, and two small reconstructions that several tests look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from art_levelset.recon import Reconstruction, reconstruct
from art_levelset.recon.clouds import Points


def sphere_cloud(count: int) -> Points:
    directions: Points = np.random.default_rng(0).standard_normal((count, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.fixture
def one_error(capsys: pytest.CaptureFixture[str]) -> Callable[[Callable[[Sequence[str]], int], Sequence[str]], str]:
    """Runs a failing command and returns the one line that it writes."""

    def run(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> str:
        try:
            status: object = main(argv)
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        assert status == 2
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith("python -m art_levelset.recon: error: ")
        return line.removeprefix("python -m art_levelset.recon: error: ")

    return run


@pytest.fixture
def scan(tmp_path: Path, sphere_points: Points) -> Path:
    """A file of the points of a sphere, alone in a directory."""
    path = tmp_path / "scan.npy"
    np.save(path, sphere_points)
    return path


@pytest.fixture(scope="session")
def far_away() -> Points:
    """The centre of the sphere reconstruction."""
    return np.array([1e6, -2e6, 3e6])


@pytest.fixture(scope="session")
def sphere_points() -> Points:
    """3,000 points of the unit sphere."""
    return sphere_cloud(3000)


@pytest.fixture(scope="session")
def few_points() -> Points:
    """300 points of an ellipsoid."""
    return sphere_cloud(300) * [1.0, 0.7, 0.6]


@pytest.fixture(scope="session")
def sphere(far_away: Points, sphere_points: Points) -> Reconstruction:
    """A sphere of radius 5 far away, from points with 1% noise."""
    radii = 5 * (1 + 0.01 * np.random.default_rng(1).standard_normal((len(sphere_points), 1)))
    return reconstruct(sphere_points * radii + far_away, steps=150, batch_size=2048, verbose=False)


@pytest.fixture(scope="session")
def torus() -> Reconstruction:
    """The torus of radii 1 and 0.35 about the z-axis, from 4,000 points."""
    generator = np.random.default_rng(0)
    u, v = generator.uniform(0, 2 * np.pi, (2, 20_000))
    uniform = generator.random(20_000) < (1 + 0.35 * np.cos(v)) / 1.35
    u, v = u[uniform][:4000], v[uniform][:4000]
    ring = 1 + 0.35 * np.cos(v)
    points = np.stack([ring * np.cos(u), ring * np.sin(u), 0.35 * np.sin(v)], axis=1)
    return reconstruct(points, steps=150, batch_size=2048, verbose=False)
