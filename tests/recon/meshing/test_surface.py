from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor, nn

from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.meshing.surface import HandleRemoval, Surface
from art_levelset.recon.reconstruction import Reconstruction

REACH = 0.16


class Slab(nn.Module):
    """The signed distance to a slab."""

    def __init__(self) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor([0.6, 0.6, 0.05]))

    def forward(self, points: Tensor) -> Tensor:
        outside = points.abs() - self.size
        slab = torch.linalg.vector_norm(outside.clamp_min(0), dim=1) + outside.amax(dim=1).clamp_max(0)
        return slab[:, None]


def seen() -> Planes:
    """The planes of the slab but for those near its axis."""
    grid = np.linspace(-0.58, 0.58, 40)
    top = np.stack(np.meshgrid(grid, grid, [0.05]), axis=-1).reshape(-1, 3)
    top = top[np.linalg.norm(top[:, :2], axis=1) > 0.3]
    up = np.tile([0.0, 0.0, 1.0], (len(top), 1))
    return Planes(np.concatenate([top, top * [1, 1, -1]]), np.concatenate([up, -up]), REACH)


def slab(shift: float = 0.0) -> Reconstruction:
    """It, shifted in the middle, where nobody saw it."""
    removal = HandleRemoval().with_one(np.array([0.02, 0.01, 0.045]), shift) if shift else HandleRemoval()
    return Reconstruction(Slab(), Frame(np.zeros(3), 1.0), seen(), handle_removal=removal)


def directions() -> Points:
    points: Points = np.random.default_rng(0).standard_normal((2000, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("shift", [-0.02, 0.02])
def test_a_shift_is_where_nothing_is_seen(shift: float) -> None:
    surface, shifted = slab(), slab(shift)
    place = shifted.handle_removal.centres
    assert shifted.sdf(place) - surface.sdf(place) == pytest.approx(shift, rel=0.01)

    def above(z: float) -> float:
        """F_1 over the place."""
        bump = (1 - ((z - 0.045) / (4 * shift)) ** 2) ** 2 * (1 - ((z - 0.05) / (4 * shift)) ** 2)
        return z - 0.05 + shift * bump

    assert shifted.project(place)[0, 2] == pytest.approx(brentq(above, 0.02, 0.08), abs=1e-4)
    beside, far, away = np.array([[0.5, 0.5, 0.05]]), np.array([[0.0, 0.0, 0.8]]), place + np.array([0.0, 0.081, 0.0])
    for unchanged in (beside, far, away):
        np.testing.assert_array_equal(shifted.sdf(unchanged), surface.sdf(unchanged))


def uneven_ball(wrong: float) -> Reconstruction:
    """A ball that a fit has made too large, and its planes."""
    return Reconstruction(Ball(0.5 + wrong), Frame(np.zeros(3), 1.0), Planes(0.5 * directions(), directions(), REACH))


class Ball(nn.Module):
    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(radius))

    def forward(self, points: Tensor) -> Tensor:
        return torch.linalg.vector_norm(points, dim=1, keepdim=True) - self.radius


@pytest.mark.parametrize(("wrong", "left"), [(0.004, 0.0), (-0.004, 0.0), (0.03, 0.02), (0.0, 0.0)])
def test_what_a_fit_has_left_over_is_corrected(wrong: float, left: float) -> None:
    """Up to 0.01."""
    corrected = replace(uneven_ball(wrong), correction=0.01).mesh(64)
    assert np.linalg.norm(corrected.vertices, axis=1).mean() - 0.5 == pytest.approx(left, abs=1e-3)
    assert corrected.euler_number == 2


def test_without_data_nothing_is_corrected() -> None:
    ball = uneven_ball(0.004)
    below = ball.planes.centres[:, 2] < 0
    half = replace(ball, planes=Planes(ball.planes.centres[below], ball.planes.normals[below], REACH))
    vertices = replace(half, correction=0.01).mesh(64).vertices
    radii = np.linalg.norm(vertices, axis=1)
    assert radii[vertices[:, 2] < -0.02].mean() == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(radii[vertices[:, 2] > REACH], 0.504, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.03, 0.03), st.floats(0.3, 0.7), st.integers(0, 2**31))
def test_a_correction_makes_no_sheets(wrong: float, radius: float, seed: int) -> None:
    """Signs change only where F is no larger than the correction."""
    ball = uneven_ball(wrong)
    places = np.random.default_rng(seed).standard_normal((200, 3))
    places *= radius / np.linalg.norm(places, axis=1, keepdims=True)
    before, after = ball.sdf(places), replace(ball, correction=0.01).sdf(places)
    assert (np.abs(before[np.sign(before) != np.sign(after)]) <= 0.01 + 1e-6).all()
    assert np.abs(after - before).max() <= 0.01 + 1e-6


def test_what_is_corrected_has_a_gradient() -> None:
    ball = uneven_ball(0.004)
    surface = Surface(ball.network.double(), ball.planes, 0.01, HandleRemoval())
    points = torch.tensor([[0.0, 0.0, 0.503], [0.0, 0.49, 0.1]], dtype=torch.float64, requires_grad=True)
    (gradients,) = torch.autograd.grad(surface(points).sum(), points)
    expected = torch.nn.functional.normalize(points.detach(), dim=1)
    torch.testing.assert_close(gradients, expected, atol=0.06, rtol=0)


def test_what_is_shifted_has_a_gradient() -> None:
    removal = HandleRemoval().with_one(np.array([0.05, 0.0, 0.05]), -0.04).with_one(np.array([0.1, 0.05, 0.02]), 0.02)
    surface = Surface(Slab().double(), seen(), 0.0, removal)
    points = torch.tensor(
        [[0.11, 0.1, 0.07], [0.05, 0.0, 0.04], [0.17, -0.05, 0.03]], dtype=torch.float64, requires_grad=True
    )
    assert torch.autograd.gradcheck(surface, (points,))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.005, 0.05), st.booleans(), st.floats(-0.1, 0.1))
def test_the_order_of_values_stays(size: float, outwards: bool, place: float) -> None:
    """What a shift makes of a value grows with it, so no sheets appear."""
    surface = Surface(Slab().double(), seen(), 0.0, HandleRemoval())
    points = torch.full((401, 3), place, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    values = torch.linspace(-0.3, 0.3, 401, dtype=torch.float64)
    changed = surface.shift_values(points, values, np.array([0.02, 0.0, 0.03]), size if outwards else -size)
    assert (changed.diff() > 0).all()


def test_the_corrections_are_kept_in_the_file(tmp_path: Path) -> None:
    changed = replace(slab(-0.02), correction=0.005)
    changed.save(tmp_path / "slab.pt")
    back = Reconstruction.load(tmp_path / "slab.pt", network=Slab())
    places = np.random.default_rng(0).uniform(-0.3, 0.3, (500, 3))
    np.testing.assert_array_equal(back.sdf(places), changed.sdf(places))
    assert (back.handle_removal.shifts.tolist(), back.correction) == ([-0.02], 0.005)


def test_the_names_in_the_file_are_those_of_older_files(tmp_path: Path) -> None:
    slab(-0.02).save(tmp_path / "slab.pt")
    contents = torch.load(tmp_path / "slab.pt", weights_only=True)
    assert contents["format"] == "art-levelset reconstruction 3"
    names = {"format", "network", "settings", "weights", "frame", "planes", "correction", "repairs"}
    assert {*contents} == {*names, "points"}
    assert {*contents["repairs"]} == {"places", "shifts"}
    torch.save({name: contents[name] for name in names}, tmp_path / "older.pt")
    older = Reconstruction.load(tmp_path / "older.pt", network=Slab())
    assert older.points.shape == (0, 3)
    assert older.sdf([[0.1, 0.2, 0.3]]) == slab(-0.02).sdf([[0.1, 0.2, 0.3]])
