"""What is told of narrow handles: of discs with a hole through them, whose points saw its wall or did not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes, fit_planes
from art_levelset.recon.meshing import handle_records, handles
from art_levelset.recon.meshing.handle_records import (
    BRIDGE,
    CLOSED,
    CUT,
    DATA,
    LEFT,
    MANY,
    PARTS,
    SPOKEN_FOR,
    TUNNEL,
    Handle,
    are_spoken_for,
    count_speakers,
    describe,
    records,
)
from art_levelset.recon.reconstruction import Reconstruction

FRAME = Frame(np.array([100.0, 0.0, -5.0]), 10.0)
HEIGHT = 0.05
"""Half of the thickness of the disc."""

FLARE = 4.0
"""The radius of its hole at a height z is larger by so many z^2."""


class Disc(nn.Module):
    """A disc of radius 0.6 with a round hole through it, which is narrowest in the middle."""

    def __init__(self, hole: float) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(0.6))
        self.hole = hole

    def forward(self, points: Tensor) -> Tensor:
        radius = torch.linalg.vector_norm(points[:, :2], dim=1)
        sides = radius - self.radius, points[:, 2].abs() - HEIGHT, self.hole + FLARE * points[:, 2] ** 2 - radius
        return torch.stack(sides, dim=1).amax(dim=1, keepdim=True)


def cloud_of_disc(hole: float, unseen: float, wall: int) -> tuple[Points, Points]:
    """Points of both faces but for those near the axis, and of the wall of the hole, and their outward normals."""
    draw = np.random.default_rng(0)
    flat = draw.uniform(-0.6, 0.6, (6000, 2))
    distance = np.linalg.norm(flat, axis=1)
    flat = flat[(distance > unseen) & (distance < 0.6)]
    side = np.where(np.arange(len(flat)) % 2, 1.0, -1.0)
    around, along = draw.uniform(0, 2 * np.pi, wall), draw.uniform(-HEIGHT, HEIGHT, wall)
    outwards = np.stack([np.cos(around), np.sin(around), 0 * around], axis=1)
    walls = (hole + FLARE * along**2)[:, None] * outwards + along[:, None] * [0, 0, 1]
    points = np.concatenate([np.column_stack([flat, HEIGHT * side]), walls])
    return points, np.concatenate([side[:, None] * [0.0, 0.0, 1.0], -outwards])


def planes_of(points: Points, normals: Points) -> Planes:
    """The planes that are fitted to a cloud, turned as its normals say."""
    planes = fit_planes(points)
    nearest = ((planes.centres[:, None] - points) ** 2).sum(axis=2).argmin(axis=1)
    return replace(planes.flipped(np.einsum("ni,ni->n", planes.normals, normals[nearest]) < 0), error=0.002)


def bored(hole: float, unseen: float, wall: int = 0) -> Reconstruction:
    """The disc, and the planes of such a cloud, without the handles that these do not speak for."""
    planes = planes_of(*cloud_of_disc(hole, unseen, wall))
    return Reconstruction(Disc(hole), FRAME, planes).without_handles()


def test_a_pinhole_that_was_closed_is_told() -> None:
    result = bored(0.012, unseen=0.0)
    assert result.handles
    (first, *others) = result.handles
    assert (first.kind, first.decision, first.why) == (TUNNEL, CLOSED, "")
    assert [handle for handle in others if handle.decision != LEFT] == []
    place = FRAME.to_unit(np.array([first.place]))[0]
    assert np.linalg.norm(place[:2]) < 0.012
    assert abs(place[2]) < 0.01
    assert first.width == pytest.approx(2 * 0.012 * FRAME.scale, rel=0.3)
    assert first.depth == pytest.approx(first.width / FRAME.scale / 2 / 0.002)
    assert first.planes_for == 0
    assert first.planes_against > 0


@pytest.mark.parametrize(("enough", "why"), [(MANY, SPOKEN_FOR), (1000, DATA)])
def test_a_hole_that_points_outline_is_told_to_be_left(enough: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow enough to be tried, and kept for its wall: for its planes, and without their word as shifts stop there."""
    monkeypatch.setattr(handle_records, "MANY", enough)
    result = bored(0.015, unseen=0.025, wall=400)
    assert not len(result.handle_removal)
    assert {(handle.kind, handle.decision, handle.why) for handle in result.handles} == {(TUNNEL, LEFT, why)}
    assert max(handle.planes_for for handle in result.handles) >= 5
    assert all(np.hypot(handle.place[0] - 100, handle.place[1]) < 0.1 for handle in result.handles)
    assert len(result.handles) < 20


def test_what_would_change_the_number_of_parts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([1, *99 * [2]])
    monkeypatch.setattr(handles, "_count_components", lambda values: next(counts))
    result = bored(0.012, unseen=0.0)
    assert not len(result.handle_removal)
    assert (TUNNEL, LEFT, PARTS) in {(handle.kind, handle.decision, handle.why) for handle in result.handles}


def test_a_hole_that_points_outline_stays_however_narrow_f_has_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wall was seen at twice the radius, from where shifts in the middle are not stopped."""
    points, normals = cloud_of_disc(0.028, 0.04, 400)
    planes = planes_of(points, normals)
    pinched = Reconstruction(Disc(0.012), FRAME, planes)
    kept = pinched.without_handles()
    assert not len(kept.handle_removal)
    (handle,) = kept.handles
    assert (handle.kind, handle.decision, handle.why, handle.planes_against) == (TUNNEL, LEFT, SPOKEN_FOR, 0)
    assert handle.planes_for >= MANY
    monkeypatch.setattr(handle_records, "MANY", handle.planes_for + 1)
    assert [handle.decision for handle in pinched.without_handles().handles] == [CLOSED]


def test_planes_against_a_handle_leave_it_to_the_shifts() -> None:
    kept = are_spoken_for(np.array([MANY, MANY, MANY - 1]), np.array([0, 1, 0]))
    assert kept.tolist() == [True, False, False]


class Sheet(nn.Module):
    """A disc whose thickness has a saddle in its middle, so that F has one there, and that is no handle."""

    def __init__(self) -> None:
        super().__init__()
        self.thinnest = nn.Parameter(torch.tensor(0.01))

    def forward(self, points: Tensor) -> Tensor:
        thickness = self.thinnest + 0.3 * (points[:, 0] ** 2 - points[:, 1] ** 2)
        sides = torch.linalg.vector_norm(points[:, :2], dim=1) - 0.15, points[:, 2].abs() - thickness
        return torch.stack(sides, dim=1).amax(dim=1, keepdim=True)


def test_a_saddle_that_is_no_handle_is_not_told() -> None:
    ring = np.linspace(0, 2 * np.pi, 40)
    outwards = np.stack([np.cos(ring), np.sin(ring), 0 * ring], axis=1)
    sheet = Reconstruction(Sheet(), FRAME, Planes(0.15 * outwards, outwards, 0.08))
    grid = sheet._box()
    values = handles._near_zero(sheet._values, handles.Grid(grid[0], 0.01, np.array([46, 46, 16])), 0.04)
    _, levels = handles._tunnels_and_bridges(values, 0.03)
    assert (levels < 0).any()
    assert sheet.without_handles().handles == ()


def test_planes_speak_about_what_they_face() -> None:
    up = np.array([[0.0, 0.0, 1.0]])
    planes = Planes(np.zeros((1, 3)), up, 0.1, 0.01)
    places = np.array(
        [
            [0.0, 0.0, 0.05],  # in front
            [0.0, 0.0, -0.05],  # behind
            [0.04, 0.0, 0.05],  # under 39 degrees
            [0.06, 0.0, 0.05],  # under 50 degrees
            [0.0, 0.0, 0.21],  # too far away
            [0.0, 0.0, 0.015],  # within the noise
        ]
    )
    outside, inside = count_speakers(places, planes)
    assert outside.tolist() == [1, 0, 1, 0, 0, 0]
    assert inside.tolist() == [0, 1, 0, 0, 0, 0]


def test_who_is_twice_as_far_away_as_another_one_is_not_asked() -> None:
    """The middle of a deep hole is behind the faces that it goes through."""
    middle, walls = np.zeros((1, 3)), 0.05 * np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    mouths = np.array([[0.07, 0.0, 0.08], [-0.07, 0.0, 0.08]])
    up = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    planes = Planes(np.vstack([walls, mouths]), np.vstack([-walls / 0.05, up]), 0.1, 0.001)
    outside, inside = count_speakers(middle, planes)
    assert (outside.tolist(), inside.tolist()) == ([4], [0])
    nearer = replace(planes, centres=np.vstack([walls, 0.9 * mouths]))
    assert count_speakers(middle, nearer)[1].tolist() == [2]
    assert count_speakers(middle, planes.chosen(np.arange(6) > 3))[1].tolist() == [2]


def test_records_are_in_the_coordinates_of_the_scan() -> None:
    planes = Planes(np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]]), 0.1)
    places, values = np.array([[0.0, 0.0, 0.05], [0.0, 0.0, 0.05]]), np.array([0.01, -0.02])
    tunnel, bridge = records(places, values, [(CLOSED, ""), (LEFT, DATA)], planes, FRAME)
    assert tunnel == Handle(TUNNEL, CLOSED, "", (100.0, 0.0, -4.5), pytest.approx(0.2), None, 1, 0)
    assert bridge == Handle(BRIDGE, LEFT, DATA, (100.0, 0.0, -4.5), pytest.approx(0.4), None, 0, 1)
    cut = replace(bridge, decision=CUT)
    assert describe([tunnel, cut, cut, bridge]) == "narrow handles: 1 tunnel closed, 2 bridges cut"
    assert describe([cut]) == "narrow handles: 1 bridge cut"
    assert describe([bridge]) == describe([]) == ""
