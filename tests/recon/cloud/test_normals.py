from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from art_levelset.recon import GridNetwork, reconstruct
from art_levelset.recon.cloud.clouds import Points, check_normals
from art_levelset.recon.cloud.orientation import Indicator, indicator_of, orient, votes_of_normals
from art_levelset.recon.cloud.planes import Planes, fit_planes

CPU = torch.device("cpu")
INNER = 0.55


@pytest.fixture(scope="module")
def shell() -> tuple[Points, Points]:
    """The points and the outward normals of a hollow ball: nothing but the normals says that it is hollow."""
    directions = np.random.default_rng(0).standard_normal((4000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.where(np.arange(len(directions)) < 3000, 1.0, INNER)[:, None]
    return radii * directions, np.where(radii == 1, directions, -directions)


@pytest.fixture(scope="module")
def planes(shell: tuple[Points, Points]) -> Planes:
    return fit_planes(shell[0])


def oriented(planes: Planes, points: Points, normals: Points) -> tuple[Planes, Indicator]:
    planes = orient(planes, CPU, votes_of_normals(planes, points, check_normals(normals, len(points))))
    return planes, indicator_of(planes, CPU)


def outwards(planes: Planes) -> float:
    """The part of the planes of the hollow ball that point outwards."""
    radii = np.linalg.norm(planes.centres, axis=1)
    sides = np.where(radii > (1 + INNER) / 2, 1, -1) * (planes.centres * planes.normals).sum(axis=1)
    return float((sides > 0).mean())


def wrong(normals: Points, case: str) -> Points:
    """What normals are like in practice."""
    generator = np.random.default_rng(1)
    if case == "noisy":
        return normals + 0.4 * generator.standard_normal(normals.shape)
    if case == "a quarter turned round":
        return np.where(generator.random((len(normals), 1)) < 0.25, -normals, normals)
    if case == "some missing":
        return np.where(generator.random((len(normals), 1)) < 0.5, [[0.0, np.nan, np.inf]], normals)
    if case == "a side missing":
        return np.where(np.abs(normals[:, 2:]) > 0.7, 0.0, normals)
    return 1e200 * normals


@pytest.mark.parametrize("case", ["noisy", "a quarter turned round", "some missing", "a side missing", "very long"])
def test_planes_are_turned_to_the_side_of_the_normals(case: str, shell: tuple[Points, Points], planes: Planes) -> None:
    points, normals = shell
    shuffled = planes.flipped(np.random.default_rng(0).random(len(planes)) < 0.5)
    found, indicator = oriented(shuffled, points, wrong(normals, case))
    assert outwards(found) > 0.999
    middles = torch.tensor([[0.0, 0, 0], [0, 0.3, 0], [0, 0, 0.77], [-0.77, 0, 0], [0, 1.15, 0]])
    inside = [False, False, True, True, False]
    assert ((indicator(middles) - 0.5).abs() > 0.25).all()
    assert (indicator(middles) > 0.5).tolist() == inside


def test_normals_that_point_inwards_are_turned_round(
    shell: tuple[Points, Points], planes: Planes, caplog: pytest.LogCaptureFixture
) -> None:
    points, normals = shell
    with caplog.at_level(logging.WARNING):
        found, _ = oriented(planes, points, wrong(-normals, "a side missing"))
    assert outwards(found) > 0.999
    assert caplog.messages == ["normals: they point inwards, all are turned round"]


def test_the_side_of_an_open_sheet_is_what_it_is_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    generator = np.random.default_rng(0)
    points = generator.uniform(-1, 1, (3000, 3)) * [1, 1, 0.0]
    points[:, 2] = 0.1 * np.sin(4 * points[:, 0])
    planes = fit_planes(points)
    for side in (-1.0, 1.0):
        found, _ = oriented(planes, points, np.tile([0, 0, side], (len(points), 1)))
        assert (side * found.normals[:, 2] > 0).mean() > 0.999
    assert not caplog.messages


@pytest.mark.parametrize("case", ["at random", "of any sign"])
def test_normals_that_say_nothing_are_refused(case: str, shell: tuple[Points, Points], planes: Planes) -> None:
    points, normals = shell
    generator = np.random.default_rng(1)
    signs = np.where(generator.random((len(points), 1)) < 0.5, -1, 1)
    useless = generator.standard_normal(points.shape) if case == "at random" else signs * normals
    with pytest.raises(ValueError, match=r"normals: neighbouring ones agree .* on \d+% of the surface only"):
        oriented(planes, points, useless)


@pytest.mark.parametrize(
    ("normals", "message"),
    [
        (np.zeros((300, 2)), r"normals must have the shape of the points, \(300, 3\), got \(300, 2\)"),
        (np.ones((299, 3)), r"normals must have the shape of the points, \(300, 3\), got \(299, 3\)"),
        (np.zeros((300, 3)), "normals: all are zero, NaN or infinite"),
        ("up", "normals must be an array of numbers"),
    ],
)
def test_bad_normals(normals: Any, message: str, few_points: Points) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(few_points, normals=normals)


def test_a_hollow_ball(shell: tuple[Points, Points]) -> None:
    points, normals = shell
    place = np.array([1e5, 0.0, -1e5])
    network = GridNetwork((8, 16, 32), (4, 4, 4), generator=torch.Generator().manual_seed(0))
    result = reconstruct(
        30 * points + place,
        normals=np.asarray(wrong(normals, "some missing"), dtype=np.float32),
        network=network,
        steps=120,
        batch_size=512,
        learning_rate=5e-3,
        verbose=False,
    )
    found = result.sdf(place + 30 * np.array([[0.0, 0, 0], [0, 0, 0.77], [0.77, 0, 0]]))
    assert found[0] > 5
    assert (found[1:] < -3).all()
    mesh = result.mesh(48)
    assert mesh.body_count == 2
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 30**3 * (1 - INNER**3), rel=0.03)
