from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from art_levelset.attacks.balls import Balls
from art_levelset.core.balls import NAMES

CPU = torch.device("cpu")


def exact_distances(points: Tensor, x: Tensor, norm: float) -> np.ndarray:
    offsets = points.flatten(1).double().numpy().astype(np.longdouble)
    offsets -= x.flatten(1).double().numpy().astype(np.longdouble)
    return np.abs(offsets).max(axis=1) if norm == math.inf else (np.abs(offsets) ** int(norm)).sum(1) ** (1 / norm)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    eps=st.just(0.0) | st.floats(0.01, 5),
    norm=st.sampled_from(list(NAMES)),
    own=st.sampled_from([torch.float16, torch.float32, torch.float64]),
    computed=st.sampled_from([torch.float32, torch.float64]),
    high=st.floats(0.5, 300),
    bounded=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_points_are_inside_to_the_last_digit(
    eps: float, norm: float, own: torch.dtype, computed: torch.dtype, high: float, bounded: bool, seed: int
) -> None:
    assume(eps > 0 or torch.finfo(own).eps >= torch.finfo(computed).eps)  # else x itself is outside, rounded
    generator = torch.Generator().manual_seed(seed)
    high = torch.tensor(high, dtype=torch.float16).item()
    x = (high * torch.rand(6, 2, 20, generator=generator, dtype=torch.float64)).to(own)
    balls = Balls.around(x, eps, norm, (0.0, high) if bounded else None, CPU, computed)
    gradients = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(computed)
    points = balls.random(generator)
    for moved in (points, balls.step(points, gradients, 0.7 * eps), balls.step(points, gradients, 3 * eps)):
        assert moved.dtype == computed
        rounded = moved.to(own)
        for found in (moved, rounded) if own != torch.float64 else (rounded,):
            assert exact_distances(found, x, norm).max() <= eps
        if bounded:
            assert rounded.min() >= 0
            assert rounded.max() <= high


@pytest.mark.parametrize("norm", NAMES)
def test_steps_reach_the_surface_of_the_ball(norm: float) -> None:
    x = torch.rand(5, 30)
    balls = Balls.around(x, 0.4, norm, None, CPU, torch.float32)
    far = balls.step(x, torch.randn(5, 30), 2.0)
    np.testing.assert_allclose(exact_distances(far, x, norm), 0.4, rtol=1e-4)


@pytest.mark.parametrize("norm", NAMES)
def test_a_part_of_the_balls(norm: float) -> None:
    x, gradients = torch.rand(5, 4), torch.randn(5, 4)
    balls = Balls.around(x, 0.3, norm, (0.0, 1.0), CPU, torch.float32)
    rows = torch.tensor([True, False, True, True, False])
    expected = balls.step(x, gradients, 0.5)[rows]
    assert torch.equal(balls.select(rows).step(x[rows], gradients[rows], 0.5), expected)
