from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.meshing import surface
from art_levelset.recon.meshing.handles import ASIDE, find_handle_removal
from art_levelset.recon.patchwork import Patchwork
from art_levelset.recon.reconstruction import Reconstruction

REACH = 0.16


def parts_and_euler_number(reconstruction: Reconstruction) -> tuple[int, int]:
    mesh = reconstruction.mesh(256)
    return mesh.body_count, mesh.euler_number


class Disc(nn.Module):
    """A disc with a round hole through it, of slope 1 at most."""

    def __init__(self, hole: float) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor([0.6, 0.05]))
        self.hole = hole

    def forward(self, points: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(points[:, :2], dim=1)
        sides = radius - self.size[0], points[:, 2].abs() - self.size[1], self.hole - radius
        return torch.stack(sides, dim=1).amax(dim=1, keepdim=True)


def disc(hole: float, unseen: float) -> Reconstruction:
    """It, and the planes of its faces but for those within a distance of its axis."""
    grid = np.linspace(-0.58, 0.58, 40)
    top = np.stack(np.meshgrid(grid, grid, [0.05]), axis=-1).reshape(-1, 3)
    radius = np.linalg.norm(top[:, :2], axis=1)
    top = top[(radius > unseen) & (radius < 0.6)]
    up = np.tile([0.0, 0.0, 1.0], (len(top), 1))
    planes = Planes(np.concatenate([top, top * [1, 1, -1]]), np.concatenate([up, -up]), REACH)
    return Reconstruction(Disc(hole), Frame(np.zeros(3), 1.0), planes)


def test_a_pinhole_that_nobody_saw_is_closed() -> None:
    pinhole = disc(0.015, unseen=0.12)
    assert parts_and_euler_number(pinhole) == (1, 0)
    closed = pinhole.without_handles()
    assert parts_and_euler_number(closed) == (1, 2)
    assert closed.mesh(128).euler_number == 2
    assert np.linalg.norm(closed.handle_removal.centres[:, :2], axis=1).max() < 0.015
    assert (closed.handle_removal.shifts < 0).all()
    assert len(closed.without_handles().handle_removal) == len(closed.handle_removal)  # instead of those it had


def test_a_larger_hole_stays() -> None:
    assert not len(disc(0.09, unseen=0.15).without_handles().handle_removal)


@pytest.mark.parametrize("hole", [0.015, 0.03, 0.05])
def test_a_hole_whose_wall_was_seen_stays(hole: float) -> None:
    """However many shifts would close it if only the faces had been seen."""
    bored = disc(hole, unseen=hole + 0.005)
    around = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    inwards = np.tile(-np.stack([np.cos(around), np.sin(around), 0 * around], axis=1), (5, 1))
    heights = np.repeat(np.linspace(-0.045, 0.045, 5), len(around))[:, None]
    wall = -hole * inwards + heights * [0.0, 0.0, 1.0]
    planes = bored.planes
    centres, normals = np.concatenate([planes.centres, wall]), np.concatenate([planes.normals, inwards])
    assert not len(replace(bored, planes=Planes(centres, normals, REACH)).without_handles().handle_removal)


def test_a_pinhole_between_faces_that_were_seen_is_closed() -> None:
    """The planes over it say that it is solid."""
    closed = disc(0.015, unseen=0.0).without_handles()
    assert len(closed.handle_removal)
    assert parts_and_euler_number(closed) == (1, 2)


def test_a_few_planes_across_a_slit_do_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearer to each other than half of their reach, they may be two faces that have changed places."""
    bored = disc(0.015, unseen=0.12)
    outwards = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    wall = [0.015 * outwards + [0.0, 0.0, height] for height in (-0.04, -0.02, 0.0, 0.02, 0.04)]
    centres = np.concatenate([bored.planes.centres, *wall])
    normals = np.concatenate([bored.planes.normals, *len(wall) * [-outwards]])
    seen = replace(bored, planes=Planes(centres, normals, REACH))
    assert parts_and_euler_number(seen.without_handles()) == (1, 2)
    monkeypatch.setattr(surface, "in_narrow_slits", lambda planes: np.zeros(len(planes), dtype=bool))
    assert parts_and_euler_number(seen.without_handles()) == (1, 0)


class Ring(nn.Module):
    """A ring that is thin at one place."""

    def __init__(self, thinnest: float) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(0.6))
        self.thinnest = thinnest

    def forward(self, points: Tensor) -> Tensor:
        from_axis = torch.linalg.vector_norm(points[:, :2], dim=1) - self.radius
        along = self.radius * torch.atan2(points[:, 1], points[:, 0]).abs()
        tube = (self.thinnest + (0.5 * along - 0.02).clamp_min(0)).clamp_max(0.12)
        return (torch.hypot(from_axis, points[:, 2]) - tube)[:, None]


def ring(thinnest: float) -> Reconstruction:
    """It, and planes of the thick part."""
    around, about = np.random.default_rng(0).uniform(-np.pi, np.pi, (2, 6000))
    around = around[np.abs(around) > 0.5]
    about = about[: len(around)]
    spoke = np.stack([np.cos(around), np.sin(around), 0 * around], axis=1)
    normals = np.cos(about)[:, None] * spoke + np.sin(about)[:, None] * [0.0, 0.0, 1.0]
    return Reconstruction(Ring(thinnest), Frame(np.zeros(3), 1.0), Planes(0.6 * spoke + 0.12 * normals, normals, REACH))


def test_a_bridge_that_nobody_saw_is_broken() -> None:
    bridged = ring(0.02)
    assert parts_and_euler_number(bridged) == (1, 0)
    broken = bridged.without_handles()
    assert parts_and_euler_number(broken) == (1, 2)
    np.testing.assert_allclose(broken.handle_removal.centres[0], [0.6, 0, 0], atol=0.04)
    assert (broken.handle_removal.shifts > 0).all()


def test_a_thick_bridge_stays() -> None:
    assert not len(ring(0.08).without_handles().handle_removal)


class Pair(nn.Module):
    """Two balls, which touch if the gap is negative."""

    def __init__(self, gap: float) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([[-0.4 - gap / 2, 0.0, 0.0], [0.4 + gap / 2, 0.0, 0.0]]))

    def forward(self, points: Tensor) -> Tensor:
        return torch.linalg.vector_norm(points[:, None] - self.centres, dim=2).amin(dim=1, keepdim=True) - 0.4


@pytest.mark.parametrize(("gap", "parts"), [(-0.01, 1), (0.01, 2)])
def test_the_number_of_parts_stays(gap: float, parts: int) -> None:
    directions: Points = np.random.default_rng(0).standard_normal((2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shells = [0.4 * directions + [side * (0.4 + gap / 2), 0, 0] for side in (-1.0, 1.0)]
    cloud = np.concatenate([shell[np.abs(shell[:, 0]) > 0.15] for shell in shells])
    pair = Reconstruction(Pair(gap), Frame(np.zeros(3), 1.0), Planes(cloud, cloud, REACH))
    assert not len(pair.without_handles().handle_removal)
    assert parts_and_euler_number(pair) == (parts, 2 * parts)


def in_blocks(whole: Reconstruction, place: float) -> Reconstruction:
    """The same function as that of two blocks, on both sides of x = place."""
    left, right = [-9.0, -9.0, -9.0, place, 9.0, 9.0], [place, -9.0, -9.0, 9.0, 9.0, 9.0]
    box, frame = [-1.0] * 3 + [1.0] * 3, [0.0, 0.0, 0.0, 1.0]
    patchwork = Patchwork([left, right], [box, box], [frame, frame], overlap=0.1)
    patchwork.networks = nn.ModuleList([whole.network, whole.network])
    return replace(whole, network=patchwork)


@pytest.mark.parametrize("place", [-0.3, 0.001, 0.3])
def test_each_block_looks_for_its_own_handles(place: float) -> None:
    pinhole = disc(0.015, unseen=0.12)
    closed = in_blocks(pinhole, place).without_handles()
    assert parts_and_euler_number(closed) == (1, 2)
    assert [handle.decision for handle in closed.handles].count("closed") == len(closed.handle_removal) > 0
    assert np.linalg.norm(closed.handle_removal.centres[:, :2], axis=1).max() < 0.015
    widths = [handle.width for handle in closed.handles]
    assert widths == sorted(widths)


def test_a_part_is_looked_at_alone() -> None:
    pinhole = disc(0.015, unseen=0.12)
    low, high = np.array([-0.7, -0.7, -0.15]), np.array([0.7, 0.7, 0.15])
    for last, closed in ((-0.05, False), (0.05, True)):
        part = low, np.array([last, *high[1:]])
        plain = surface.Surface(pinhole.network, pinhole.planes, 0.0, surface.HandleRemoval())
        removal, tried = find_handle_removal(plain, pinhole._values, *part, ASIDE * REACH)
        assert bool(len(removal)) == closed
        assert ((tried.places >= part[0]) & (tried.places < part[1])).all()
