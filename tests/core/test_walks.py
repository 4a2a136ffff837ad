"""The walk stays on the level set and forgets its start for the uniform distribution."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from art_levelset.core.samples import Status
from art_levelset.core.walks import walk

from .networks import affine, mlp

DOUBLE = torch.float64


def sphere(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1) - 1


def torus(x: Tensor) -> Tensor:
    return torch.hypot(torch.hypot(x[:, 0], x[:, 1]) - 1, x[:, 2]) - 0.5


def test_moments_of_a_sphere_in_ten_dimensions() -> None:
    walked = walk(sphere, torch.eye(10, dtype=DOUBLE)[:1].repeat(1500, 1), 40, 0.35)
    points = walked.samples.points
    assert walked.samples.converged.all()
    assert sphere(points).abs().max() <= 1e-5
    assert 0.3 < walked.accepted.mean() < 0.95
    error = 1 / math.sqrt(1500)
    assert points.mean(dim=0).abs().max() < 4 * math.sqrt(0.1) * error
    # Var x_i^2 = 2 (d - 1) / (d^2 (d + 2))
    assert (points.square().mean(dim=0) - 0.1).abs().max() < 4 * math.sqrt(18 / 1200) * error
    assert points[:, 0].pow(4).mean() == pytest.approx(3 / 120, rel=0.25)


def test_the_density_on_a_torus_is_that_of_its_area() -> None:
    """E cos(phi) = r / 2R around the tube, E cos(2 phi) = 0; a walk with projections comes out elsewhere."""
    walked = walk(torus, torch.tensor([[1.5, 0.0, 0.0]], dtype=DOUBLE).repeat(2000, 1), 30, 0.7)
    points = walked.samples.points
    cosine = (points[:, :2].norm(dim=1) - 1) / 0.5
    error = 0.71 / math.sqrt(2000)
    assert cosine.mean().item() == pytest.approx(0.25, abs=4 * error)
    assert (2 * cosine.square() - 1).mean().item() == pytest.approx(0, abs=4 * error)
    around = torch.atan2(points[:, 1], points[:, 0])
    assert torch.stack([around.cos(), around.sin()]).mean(dim=1).abs().max() < 4 * error


def test_a_circle_in_space_as_two_equations() -> None:
    """l = 2: an ellipse, whose length, not its angle, is to be uniform."""

    def ellipse(x: Tensor) -> Tensor:
        return torch.stack([(x[:, 0] / 3).square() + x[:, 1].square() - 1, x[:, 2] - 0.5 * x[:, 0]], dim=1)

    walked = walk(ellipse, torch.tensor([[3.0, 0.0, 1.5]], dtype=DOUBLE).repeat(1000, 1), 40, 1.3)
    assert ellipse(walked.samples.points).abs().max() <= 1e-5
    angles = torch.linspace(0, 2 * math.pi, 100_001, dtype=DOUBLE)[:-1]
    speed = (1.25 * (3 * angles.sin()).square() + angles.cos().square()).sqrt()
    true = ((3 * angles.cos()).abs() * speed).sum() / speed.sum()
    assert walked.samples.points[:, 0].abs().mean().item() == pytest.approx(true.item(), abs=4 * 0.9 / math.sqrt(1000))


def test_steps_that_leave_the_box_are_refused() -> None:
    line = affine(torch.tensor([[1.0, -1.0]], dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE))
    walked = walk(line, torch.full((1500, 2), 0.1, dtype=DOUBLE), 60, 0.7, box=(0.0, 1.0))
    along = walked.samples.points[:, 0]
    assert ((along >= 0) & (along <= 1)).all()
    assert along.mean().item() == pytest.approx(0.5, abs=4 * 0.29 / math.sqrt(1500))
    assert along.var().item() == pytest.approx(1 / 12, rel=0.12)


def test_walks_whose_start_fails_stay_and_others_are_not_disturbed() -> None:
    starts = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, -3.0]], dtype=DOUBLE)
    walked = walk(lambda x: x.square().sum(dim=1) - 1, starts, 25, 0.5)
    assert walked.samples.status.tolist() == [Status.CONVERGED, Status.ZERO_GRADIENT, Status.CONVERGED]
    assert walked.samples.points[1].tolist() == [0.0, 0.0]
    assert walked.accepted[1] == 0
    assert (walked.accepted[[0, 2]] > 0).all()
    torch.testing.assert_close(walked.samples.values[:, 0], walked.samples.points.square().sum(dim=1) - 1)
    torch.testing.assert_close(walked.samples.jacobians[:, 0], 2 * walked.samples.points)


def test_images_levels_and_seeds() -> None:
    module = mlp(4, 1)
    starts = torch.randn(30, 2, 2, dtype=DOUBLE)
    level = module(starts.flatten(1)).median().item()
    one, same, other = (
        walk(lambda x: module(x.flatten(1)), starts, 5, 0.2, level=level, seed=seed) for seed in (0, 0, 1)
    )
    assert one.samples.points.shape == starts.shape
    arrived = one.samples.converged
    assert arrived.sum() > 20
    assert (one.samples.values[arrived] - level).abs().max() <= 1e-5
    assert torch.equal(one.samples.points, same.samples.points)
    assert not torch.equal(one.samples.points, other.samples.points)
    assert len(walk(sphere, starts[:0].flatten(1), 3, 0.1).samples) == 0
    assert walk(sphere, starts.flatten(1), 0, 0.1).accepted.tolist() == [0.0] * 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nb_steps": -1}, "nb_steps must be an integer >= 0"),
        ({"step": 0.0}, "step must be a finite number > 0"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"tol": -1.0}, "tol must be a finite number >= 0"),
        ({"points": torch.zeros(3)}, "points must have the shape"),
        ({"field": lambda x: x, "points": torch.ones(3, 2)}, "field: a walk needs l < d"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        walk(**{"field": sphere, "points": torch.ones(2, 2), "nb_steps": 1, "step": 0.1, **arguments})
