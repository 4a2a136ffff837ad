"""A ball before a wall, seen by one depth camera: what sensors say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from art_levelset.recon import reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.fitting import attempts
from art_levelset.recon.fitting.samples import OUTSIDE, Samples

from .conftest import medium

SENSOR = np.array([103.0, 0.5, 0.4])
"""The wall is x = 98.5, and the ball of radius 0.8 is around (100, 0, 0)."""


def depth_image(pixels: int = 70) -> Points:
    """The first thing along each ray."""
    y, z = np.meshgrid(np.linspace(-0.5, 0.5, pixels), np.linspace(-0.5, 0.5, pixels), indexing="ij")
    rays = np.stack([-np.ones(y.size), y.ravel(), z.ravel()], axis=1)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    centre = np.array([100.0, 0.0, 0.0]) - SENSOR
    along = rays @ centre
    inside = along**2 - centre @ centre + 0.8**2
    ball = along - np.sqrt(np.maximum(inside, 0))
    wall = (98.5 - SENSOR[0]) / rays[:, 0]
    return SENSOR + np.where(inside > 0, ball, wall)[:, None] * rays


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Samples]:
    """What the fits draw from."""
    made: list[Samples] = []

    class Kept(Samples):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(attempts, "Samples", Kept)
    return made


def test_planes_face_the_camera_and_the_view_is_free(prepared: list[Samples]) -> None:
    points = depth_image()
    for sensors in (None, SENSOR):
        result = reconstruct(points, sensors=sensors, steps=1, batch_size=64, verbose=False)
    sensor = result.frame.to_unit(SENSOR[None])[0]
    facing = ((sensor - result.planes.centres) * result.planes.normals).sum(axis=1) > 0
    assert facing.all()
    generator = np.random.default_rng(0)
    ends = result.frame.to_unit(points)[generator.choice(len(points), 4000)]
    ways = sensor - ends
    free = ends + generator.uniform(0.15, 0.4, (4000, 1)) * ways
    free = free[(np.abs(free) < 1.0).all(axis=1)]
    blind, seeing = (
        samples.locate(samples.distance.centres.new_tensor(free)).inside.numpy() + 0.5 for samples in prepared
    )
    assert (seeing < OUTSIDE).mean() > 0.995
    assert (blind < OUTSIDE).mean() < 0.97, "without the camera's position some of it is thought to be inside"


def room_without_a_ceiling(count: int = 4000) -> Points:
    """A floor and four walls, a metre wide and high."""
    places = np.random.default_rng(0).uniform(0, 1, (5, count // 5, 2))
    sides = [np.insert(part, axis, where, axis=1) for part, (axis, where) in zip(places, SIDES, strict=True)]
    return np.concatenate(sides)


SIDES = (2, 0.0), (0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0)
"""The axis that a side is normal to, and where on it the side is."""


def test_an_open_room_has_no_lid() -> None:
    points = room_without_a_ceiling()
    result = reconstruct(points, sensors=[0.5, 0.5, 0.7], network=medium(), steps=120, batch_size=512, verbose=False)
    assert not result.is_sheet
    reach, data = 2 * result.open_trim, cKDTree(points)
    closed, opened = result.mesh(40), result.mesh(40, trim=result.open_trim)
    assert data.query(closed.vertices)[0].max() > 2 * reach, "a lid, or the walls of the box"
    assert data.query(opened.vertices)[0].max() < 1.5 * reach
    assert (cKDTree(opened.vertices).query(points)[0] < reach).mean() > 0.98


def test_bad_sensors(sphere_points: Points) -> None:
    with pytest.raises(ValueError, match=r"^sensors must have the shape \(3,\) or that of the points"):
        reconstruct(sphere_points, sensors=np.zeros((3, 3)))


def test_normals_win_over_sensors(sphere_points: Points) -> None:
    """From the centre a sphere is a room; normals say that it is a ball."""
    from_within = reconstruct(sphere_points, sensors=[0.0, 0.0, 0.0], steps=1, batch_size=64, verbose=False)
    with_normals = reconstruct(
        sphere_points, normals=sphere_points, sensors=sphere_points * 5, steps=1, batch_size=64, verbose=False
    )
    for result in (from_within, with_normals):
        assert ((result.planes.normals * result.planes.centres).sum(axis=1) > 0).all()
