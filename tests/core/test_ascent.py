"""Steepest ascent in a ball: corners of linear functions, ball and box, starts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from art_levelset.core.ascent import ascend

WEIGHT = torch.tensor([1.0, -2.0, 0.5, 3.0])


def linear(points: torch.Tensor) -> torch.Tensor:
    return points @ WEIGHT


def test_of_a_linear_function_it_ends_in_the_corner_or_on_the_gradient() -> None:
    points, eps = torch.randn(5, 4), torch.rand(5) + 0.1
    corner = ascend(linear, points, eps=eps, step=eps / 3, max_iter=7)
    torch.testing.assert_close(corner, points + eps[:, None] * WEIGHT.sign())
    pole = ascend(linear, points, eps=eps, step=eps / 3, max_iter=200, norm=2, start=points + 0.01)
    torch.testing.assert_close(pole, points + eps[:, None] * WEIGHT / WEIGHT.norm(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", [math.inf, 2])
def test_each_step_has_its_own_length(norm: float) -> None:
    points, lengths = torch.randn(5, 4), torch.rand(3, 5)
    ends = ascend(linear, points, eps=torch.full((5,), 10.0), step=lengths, max_iter=3, norm=norm)
    direction = WEIGHT.sign() if norm == math.inf else WEIGHT / WEIGHT.norm()
    torch.testing.assert_close(ends, points + lengths.sum(dim=0)[:, None] * direction)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([math.inf, 2]), st.booleans(), st.integers(0, 6))
def test_it_stays_in_ball_and_box(seed: int, norm: float, boxed: bool, max_iter: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    points = torch.rand(6, 4, generator=generator)
    eps = torch.rand(6, generator=generator)
    start = points + torch.randn(6, 4, generator=generator)
    box = (0.0, 1.0) if boxed else None
    ends = ascend(
        lambda x: network(x)[:, 0], points, eps=eps, step=eps, max_iter=max_iter, norm=norm, box=box, start=start
    )
    offsets = torch.linalg.vector_norm(ends - points, ord=norm, dim=1)
    assert (offsets <= eps * (1 + 1e-5) + 1e-6).all()
    assert not boxed or bool(((ends >= 0) & (ends <= 1)).all())
    assert not ends.requires_grad


def test_it_leaves_the_parameters_alone_and_needs_no_caller_gradients() -> None:
    network = nn.Linear(4, 1)
    with torch.no_grad():
        ends = ascend(lambda x: network(x)[:, 0], torch.zeros(2, 4), eps=torch.ones(2), step=torch.ones(2), max_iter=1)
    torch.testing.assert_close(ends, network.weight.detach().sign().expand(2, 4))
    assert network.weight.grad is None


def test_no_steps_from_no_start_are_the_samples() -> None:
    points = torch.rand(3, 4)
    assert torch.equal(ascend(linear, points, eps=torch.ones(3), step=torch.ones(3), max_iter=0), points)


def test_another_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm"):
        ascend(linear, torch.zeros(1, 4), eps=torch.ones(1), step=torch.ones(1), max_iter=1, norm=1)


@pytest.mark.parametrize("norm", [math.inf, 2])
def test_it_begins_at_the_start_brought_into_ball_and_box(norm: float) -> None:
    points, start = torch.zeros(1, 4), torch.tensor([[0.1, -0.2, 0.05, 9.0]])
    settings = {"eps": torch.full((1,), 10.0), "step": torch.ones(1), "norm": norm, "box": (-0.15, 1.0)}
    begun = ascend(linear, points, max_iter=0, start=start, **settings)
    torch.testing.assert_close(begun, torch.tensor([[0.1, -0.15, 0.05, 1.0]]))

    def hills(x: torch.Tensor) -> torch.Tensor:  # two, and a valley between them
        return -(x.square() - 1).square().sum(dim=1)

    one, other = (
        ascend(hills, points[:, :1], eps=torch.full((1,), 3.0), step=torch.full((1,), 0.01), max_iter=150, start=start)
        for start in (torch.tensor([[0.2]]), torch.tensor([[-0.2]]))
    )
    assert one.item() == pytest.approx(1, abs=0.011)
    assert other.item() == pytest.approx(-1, abs=0.011)
