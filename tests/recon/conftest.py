"""Clouds of known surfaces, and two small reconstructions that several tests look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_levelset.recon import GridNetwork, Reconstruction, reconstruct
from art_levelset.recon.cloud import scan as prepared
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.cloud.quadrics import Means


def sphere_cloud(count: int) -> Points:
    directions: Points = np.random.default_rng(0).standard_normal((count, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planes of a cloud and their indicator function, which take seconds, are computed once for all tests."""
    for name in ("fit_planes", "orient", "turn_outvoted", "refit_planes", "indicator_of"):
        monkeypatch.setattr(prepared, name, remembered(getattr(prepared, name)))


_PREPARED: dict[tuple[str | bytes, ...], Any] = {}


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: object) -> Any:
        key = (function.__name__, *map(contents, arguments))
        if key not in _PREPARED:
            _PREPARED[key] = function(*arguments)
        return _PREPARED[key]

    return call


def contents(argument: object) -> str | bytes:
    if isinstance(argument, Planes):
        return argument.centres.tobytes() + argument.normals.tobytes()
    if isinstance(argument, Means):
        return argument.counts.tobytes() + str(argument.side).encode()
    return argument.tobytes() if isinstance(argument, np.ndarray) else str(argument)


def medium() -> GridNetwork:
    """Fits surfaces without detail in half of the time of the default one."""
    return GridNetwork((16, 32, 64), (4, 4, 4), generator=torch.Generator().manual_seed(0))


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
        start, message = line.split(": error: ", 1)
        assert start in ("art-levelset", "art-levelset recon", "art-levelset recon --curve")
        return message

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
    points = sphere_points * radii + far_away
    return reconstruct(points, network=medium(), steps=120, batch_size=1024, verbose=False)


@pytest.fixture(scope="session")
def torus() -> Reconstruction:
    """The torus of radii 1 and 0.35 about the z-axis, from 2,000 points."""
    generator = np.random.default_rng(0)
    u, v = generator.uniform(0, 2 * np.pi, (2, 10_000))
    uniform = generator.random(10_000) < (1 + 0.35 * np.cos(v)) / 1.35
    u, v = u[uniform][:2000], v[uniform][:2000]
    ring = 1 + 0.35 * np.cos(v)
    points = np.stack([ring * np.cos(u), ring * np.sin(u), 0.35 * np.sin(v)], axis=1)
    return reconstruct(points, network=medium(), steps=150, batch_size=1024, learning_rate=2e-3, verbose=False)
