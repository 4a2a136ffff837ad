"""The zero sets of functions that can be written down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.trace import Traced, trace

WALL = 1.3


def traced(function: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]], count: int = 200) -> Traced:
    generator = torch.Generator().manual_seed(0)
    seeds = WALL * (2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1)
    return trace(lambda x: torch.stack(function(*x.T), dim=1), seeds, step=0.05, wall=WALL)


def circle(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    return x**2 + y**2 + z**2 - 1, z


@pytest.mark.parametrize("count", [1, 2, 500])
def test_a_circle(count: int) -> None:
    result = traced(circle, count)
    (line,) = result.lines
    assert line.closed
    assert line.length == pytest.approx(2 * np.pi, rel=1e-3)
    np.testing.assert_allclose(np.linalg.norm(line.points, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(line.points[:, 2], 0, atol=1e-5)
    assert len(result.junctions) == 0


def test_no_seed_is_missed_where_a_step_ends() -> None:
    # Circles above each other, each with two seeds that are outside of it by less than the tolerance: the second step
    # from the first seed ends a little before the other one, or a little after it.
    height = torch.arange(-12, 13, dtype=torch.float64) / 10
    angle = -torch.linspace(1.996, 2.004, len(height), dtype=torch.float64) * np.arctan(0.05)
    firsts = torch.stack([torch.ones_like(height), torch.zeros_like(height), height], dim=1)
    seconds = torch.stack([angle.cos(), angle.sin(), height], dim=1)
    seeds = torch.cat([firsts, seconds]) * torch.tensor([1.0004, 1.0004, 1.0])

    def circles(p: Tensor) -> Tensor:
        turn = 20 * np.pi
        return torch.stack([(p[:, 0] ** 2 + p[:, 1] ** 2 - 1) / 100, torch.sin(turn * p[:, 2]) / turn], dim=1)

    lines = trace(circles, seeds, step=0.05, wall=WALL).lines
    assert [line.closed for line in lines] == [True] * len(height)
    assert [line.length for line in lines] == pytest.approx([2 * np.pi] * len(height), rel=1e-3)


def test_two_circles() -> None:
    result = traced(lambda x, y, z: ((x**2 + y**2 - 1) * (x**2 + y**2 - 0.25), z))
    assert [line.closed for line in result.lines] == [True, True]
    assert sorted(line.length for line in result.lines) == pytest.approx([np.pi, 2 * np.pi], rel=2e-3)


def test_a_line_from_wall_to_wall() -> None:
    (line,) = traced(lambda x, y, z: (x - 0.1, z + 0.2 * y)).lines
    assert not line.closed
    assert line.length == pytest.approx(2 * WALL * np.sqrt(1.04), abs=2e-3)
    np.testing.assert_allclose(np.sort(np.abs(line.points[[0, -1], 1])), WALL, atol=2e-3)


def test_a_crossing_is_a_junction_of_four_lines() -> None:
    result = traced(lambda x, y, z: (x * y, z))
    assert [line.closed for line in result.lines] == [False] * 4
    for line in result.lines:
        assert line.length == pytest.approx(WALL, abs=0.01)
    np.testing.assert_allclose(result.junctions, np.zeros((1, 3)), atol=0.05)


def test_the_double_point_of_vivianis_curve() -> None:
    result = traced(lambda x, y, z: (x**2 + y**2 + z**2 - 1, (x - 0.5) ** 2 + y**2 - 0.25))
    assert len(result.lines) == 2
    np.testing.assert_allclose(result.junctions, [[1, 0, 0]], atol=0.05)
    # 2 sqrt(2) times the complete elliptic integral E of the parameter 1/2, twice: 4 sqrt(2) E(1/2) = 7.6404.
    assert sum(line.length for line in result.lines) == pytest.approx(7.6404, abs=0.02)


def test_close_strands_of_a_helix_stay_apart() -> None:
    def helix(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        angle = 2 * np.pi * z / 0.2
        return x - torch.cos(angle), y - torch.sin(angle)

    (line,) = traced(helix).lines
    turns = 2 * WALL / 0.2
    assert line.length == pytest.approx(turns * np.hypot(2 * np.pi, 0.2), rel=2e-3)


def test_the_order_follows_the_tangent() -> None:
    line = traced(circle).lines[0]
    steps: Points = np.diff(line.chain, axis=0)
    # The cross product of the gradients 2 x and e_z.
    tangents = np.cross(line.points, [0.0, 0.0, 1.0])
    assert ((steps * tangents).sum(axis=1) > 0).all()


def test_an_empty_zero_set() -> None:
    result = traced(lambda x, y, z: (x**2 + 1, z))
    assert result.lines == []
    assert result.junctions.shape == (0, 3)


def test_bad_arguments() -> None:
    seeds = torch.zeros(1, 3)
    with pytest.raises(ValueError, match="step must be a finite number > 0, got 0.0"):
        trace(lambda x: x[:, :2], seeds, step=0.0, wall=1.0)
    with pytest.raises(ValueError, match="a curve needs two values, got 1"):
        trace(lambda x: x[:, :1], seeds, step=0.1, wall=1.0)
