from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.recon.clouds import Frame, Points
from art_levelset.recon.planes import Planes
from art_levelset.recon.reconstruction import Reconstruction
from art_levelset.recon.surface import Surface, simplest

REACH = 0.16


class Wall(nn.Module):
    """The signed distance to a slab, with a round hole in its middle; of a negative radius: none."""

    def __init__(self, hole: float) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor([0.6, 0.6, 0.05]))
        self.hole = hole

    def forward(self, points: Tensor) -> Tensor:
        outside = points.abs() - self.size
        slab = torch.linalg.vector_norm(outside.clamp_min(0), dim=1) + outside.amax(dim=1).clamp_max(0)
        hole = self.hole - torch.linalg.vector_norm(points[:, :2], dim=1)
        return torch.maximum(slab, hole)[:, None]


def seen(unseen: float) -> Planes:
    """The planes of the slab but for those within a distance of its axis."""
    grid = np.linspace(-0.58, 0.58, 40)
    top = np.stack(np.meshgrid(grid, grid, [0.05]), axis=-1).reshape(-1, 3)
    top = top[np.linalg.norm(top[:, :2], axis=1) > unseen]
    up = np.tile([0.0, 0.0, 1.0], (len(top), 1))
    return Planes(np.concatenate([top, top * [1, 1, -1]]), np.concatenate([up, -up]), REACH)


def wall(hole: float, unseen: float) -> Reconstruction:
    return Reconstruction(Wall(hole), Frame(np.zeros(3), 1.0), seen(unseen))


def test_a_pinhole_that_nobody_saw_is_closed() -> None:
    pinhole = wall(0.015, unseen=0.12)
    assert pinhole.parts_and_euler_number() == (1, 0)
    shift = simplest(pinhole)
    assert -REACH / 8 <= shift < 0
    closed = replace(pinhole, shift=shift)
    assert closed.parts_and_euler_number() == (1, 2)
    assert closed.mesh(128).euler_number == 2


@pytest.mark.parametrize(
    ("hole", "unseen"), [(0.015, 0.0), (0.09, 0.12)], ids=["the scanner saw it", "it is larger than what is tried"]
)
def test_other_holes_stay(hole: float, unseen: float) -> None:
    surface = wall(hole, unseen)
    assert simplest(surface) == 0


def test_a_shift_that_leaves_most_handles_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reconstruction = wall(0.015, unseen=0.12)
    euler_numbers = {0.0: -4, -1 / 16: -2, 1 / 16: -8, -1 / 8: -2, 1 / 8: -8}
    monkeypatch.setattr(
        Reconstruction, "parts_and_euler_number", lambda self, _: (1, euler_numbers[self.shift / self.planes.reach])
    )
    assert simplest(reconstruction) == 0
    euler_numbers[-1 / 8] = 0  # one handle, not three
    assert simplest(reconstruction) == -REACH / 8


class Pair(nn.Module):
    """Two balls, which touch if the gap is negative."""

    def __init__(self, gap: float) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([[-0.4 - gap / 2, 0.0, 0.0], [0.4 + gap / 2, 0.0, 0.0]]))

    def forward(self, points: Tensor) -> Tensor:
        return torch.linalg.vector_norm(points[:, None] - self.centres, dim=2).amin(dim=1, keepdim=True) - 0.4


def directions() -> Points:
    points: Points = np.random.default_rng(0).standard_normal((2000, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize(("gap", "parts"), [(-0.005, 1), (0.005, 2)])
def test_the_number_of_parts_stays(gap: float, parts: int) -> None:
    shells = [0.4 * directions() + [side * (0.4 + gap / 2), 0, 0] for side in (-1.0, 1.0)]
    cloud = np.concatenate([shell[np.abs(shell[:, 0]) > 0.15] for shell in shells])
    planes = Planes(cloud, cloud, REACH)
    touching = Reconstruction(Pair(gap), Frame(np.zeros(3), 1.0), planes)
    found = replace(touching, shift=simplest(touching))
    assert found.parts_and_euler_number() == (parts, 2 * parts)


@pytest.mark.parametrize("shift", [-0.02, 0.02])
def test_the_shift_is_where_nothing_is_seen(shift: float) -> None:
    surface = wall(-1.0, unseen=0.3)
    shifted = replace(surface, shift=shift)
    beside, away = np.array([[0.5, 0.5, 0.05]]), np.array([[0.02, 0.01, 0.045]])
    np.testing.assert_array_equal(shifted.sdf(beside), surface.sdf(beside))
    assert shifted.sdf(away) - surface.sdf(away) == pytest.approx(shift, rel=0.01)
    far = np.array([[0.0, 0.0, 0.8]])
    np.testing.assert_array_equal(shifted.sdf(far), surface.sdf(far))
    # F + s (1 - (F / 4s)^2) is zero where F = -0.944 s.
    assert shifted.project(away)[0, 2] == pytest.approx(0.05 - 0.944 * shift, abs=1e-4)


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
    surface = Surface(ball.network.double(), ball.planes, 0.01, 0.0)
    points = torch.tensor([[0.0, 0.0, 0.503], [0.0, 0.49, 0.1]], dtype=torch.float64, requires_grad=True)
    (gradients,) = torch.autograd.grad(surface(points).sum(), points)
    expected = torch.nn.functional.normalize(points.detach(), dim=1)
    torch.testing.assert_close(gradients, expected, atol=0.06, rtol=0)


def test_what_is_shifted_has_a_gradient() -> None:
    surface = Surface(Wall(-1.0).double(), seen(0.3), 0.0, -0.02)
    points = torch.tensor(
        [[0.21, 0.2, 0.07], [0.05, 0.0, 0.04], [0.27, -0.1, 0.03]], dtype=torch.float64, requires_grad=True
    )
    assert torch.autograd.gradcheck(surface, (points,))


def test_the_order_of_level_sets_stays() -> None:
    """Along a line outwards F_s grows as F does, so no sheets appear."""
    heights = np.linspace(0.001, 0.3, 400)
    values = replace(wall(-1.0, unseen=0.3), shift=0.02).sdf(np.stack([0 * heights, 0 * heights, heights], axis=1))
    assert (np.diff(values) > 0).all()


def test_the_corrections_are_kept_in_the_file(tmp_path: Path) -> None:
    shifted = replace(wall(0.01, unseen=0.12), shift=-0.01, correction=0.005)
    shifted.save(tmp_path / "wall.pt")
    back = Reconstruction.load(tmp_path / "wall.pt", network=Wall(0.01))
    places = np.random.default_rng(0).uniform(-0.3, 0.3, (500, 3))
    np.testing.assert_array_equal(back.sdf(places), shifted.sdf(places))
    assert (back.shift, back.correction) == (-0.01, 0.005)
