"""The search for a sign change: for a linear F it succeeds exactly where one exists in the ball."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from art_levelset import Field, Status, false_position, margin_field
from art_levelset.core.ascent import seek_crossing

from .networks import Recorded, mlp, properties

DOUBLE = torch.float64
NORMS = [2, math.inf]


def dual_length(w: Tensor, norm: float) -> Tensor:
    return torch.linalg.vector_norm(w, 1 if norm == math.inf else 2)


@properties
@given(st.integers(0, 10**6), st.sampled_from(NORMS))
def test_a_linear_function_changes_sign_iff_its_level_is_nearer_than_eps(seed: int, norm: float) -> None:
    # In the eps-ball of a norm F = w.x takes just the values F(x) +- eps |w|_dual.
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(6, generator=generator, dtype=DOUBLE)
    ratio = torch.tensor([0.05, 0.5, 0.95, 1.05, 2.0, -0.05, -0.5, -0.95, -1.05, -2.0], dtype=DOUBLE)
    eps = 0.1 + torch.rand(10, generator=generator, dtype=DOUBLE)
    points = torch.randn(10, 6, generator=generator, dtype=DOUBLE)
    points += ((ratio * eps * dual_length(w, norm) - points @ w) / (w @ w)).unsqueeze(1) * w
    found, crossed = seek_crossing(
        lambda x: x @ w, points, eps=eps, step=eps / 5, max_iter=100, norm=norm, generator=generator
    )
    assert crossed.tolist() == (ratio.abs() < 1).tolist()
    assert torch.equal(crossed, (points @ w) * (found @ w) < 0)


@properties
@given(st.integers(0, 10**6), st.sampled_from(NORMS), st.booleans())
def test_the_search_stays_in_the_ball_and_in_the_box(seed: int, norm: float, boxed: bool) -> None:
    torch.manual_seed(seed)
    module, points, eps = mlp(4, 1), torch.rand(12, 4, dtype=DOUBLE), 0.05 + torch.rand(12, dtype=DOUBLE)
    recorded = Recorded(module)
    box = (torch.tensor([0.0, 0.0, 0.1, 0.0], dtype=DOUBLE), 1.0) if boxed else None
    points = points.clamp(min=0.1)
    found, _ = seek_crossing(recorded.field, points, eps=eps, step=0.2, max_iter=8, norm=norm, box=box)
    assert (torch.linalg.vector_norm(found - points, norm, dim=1) <= eps + 1e-12).all()
    if boxed:
        for tried in [*recorded.passes, found]:
            assert (tried >= box[0]).all()
            assert (tried <= 1.0).all()


def test_a_sample_that_has_crossed_costs_nothing_more() -> None:
    rows: list[int] = []

    def counting(x: Tensor, distance: Tensor) -> Tensor:
        rows.append(len(x))
        return x[:, 0] + distance

    # From x = 0 with steps 0.1 the start lies in [-eps, eps]: the nearer the level, the sooner it is crossed.
    distances = torch.tensor([0.05, 0.55, 0.95, 3.0], dtype=DOUBLE)
    points = torch.zeros(4, 1, dtype=DOUBLE)
    field = Field(counting, per_sample=(distances,))
    found, crossed = seek_crossing(field, points, eps=1.0, step=0.1, max_iter=30)
    assert crossed.tolist() == [True, True, True, False]
    assert rows[:2] == [4, 4]
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert len(rows) == 32  # at the points, at the start and after each step
    assert rows[-1] == 1
    assert torch.equal((found[:, 0] + distances) < 0, crossed)
    # No sample goes on after its crossing: it is within one step of the level, unless it crossed at the start.
    assert (found[1:3, 0] + distances[1:3] >= -0.1 - 1e-12).all()


def test_all_crossed_ends_the_search() -> None:
    recorded = Recorded(lambda x: x[:, 0])
    _, crossed = seek_crossing(recorded.field, torch.full((5, 2), 1e-9), eps=1.0, step=0.5, max_iter=100)
    assert crossed.all()
    assert len(recorded.rows) < 6


def test_every_sample_has_its_own_radius_and_step() -> None:
    points = torch.ones(3, 1, dtype=DOUBLE)
    found, crossed = seek_crossing(
        lambda x: x[:, 0],
        points,
        eps=torch.tensor([0.5, 0.99, 1.01]),
        step=torch.tensor([0.1, 0.1, 1e-6]),
        max_iter=30,
        generator=torch.Generator().manual_seed(3),
    )
    assert crossed.tolist() == [False, False, False]
    torch.testing.assert_close(found[:2, 0], torch.tensor([0.5, 0.01], dtype=DOUBLE), atol=1e-7, rtol=0.0)
    assert found[2] > 0.0
    _, crossed = seek_crossing(lambda x: x[:, 0], points, eps=torch.tensor([0.5, 0.99, 1.01]), step=0.1, max_iter=30)
    assert crossed.tolist() == [False, False, True]


def test_no_steps_look_at_the_random_start_only() -> None:
    recorded = Recorded(lambda x: x[:, 0])
    points = torch.zeros(50, 2) + 0.5
    found, crossed = seek_crossing(recorded.field, points, eps=1.0, step=0.1, max_iter=0)
    assert recorded.rows == [50, 50]
    assert torch.equal(found, recorded.passes[1])
    assert torch.equal(crossed, found[:, 0] < 0)
    assert 0 < crossed.sum() < 50


def test_a_point_on_the_level_has_no_other_side() -> None:
    _, crossed = seek_crossing(lambda x: x[:, 0], torch.zeros(3, 2), eps=1.0, step=0.1, max_iter=3)
    assert not crossed.any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_does_not_cross_or_does_not_converge(value: float) -> None:
    points = torch.tensor([[value, 0.5], [0.5, value], [0.5, 0.5]])
    found, crossed = seek_crossing(lambda x: x[:, 0], points, eps=1.0, step=0.2, max_iter=20)
    assert not crossed[0]
    assert crossed[2]
    crossings = false_position(lambda x: x[:, 0], points, found)
    assert crossings.status.tolist() == [Status.NOT_FINITE, Status.NOT_FINITE, Status.CONVERGED]


def test_tiny_gradients_still_lead_across() -> None:
    for norm in NORMS:
        _, crossed = seek_crossing(lambda x: 1e-30 * x.sum(1), torch.full((4, 3), 0.2), eps=1.0, step=0.1, norm=norm)
        assert crossed.all()


def test_a_generator_decides_the_search_and_the_points_stay() -> None:
    module, points = mlp(4, 3), torch.randn(8, 4, dtype=DOUBLE)
    kept = points.clone()
    runs = [
        seek_crossing(
            margin_field(module, torch.arange(8) % 3), points, eps=0.5, step=0.1, max_iter=5, norm=norm,
            generator=torch.Generator().manual_seed(seed),
        )[0]
        for norm in NORMS
        for seed in (1, 1, 2)
    ]  # fmt: skip
    for same, again, other in (runs[:3], runs[3:]):
        assert torch.equal(same, again)
        assert not torch.equal(same, other)
    assert torch.equal(points, kept)


def test_labels_follow_in_inference_mode_too() -> None:
    module, points = mlp(4, 3), torch.randn(30, 4, dtype=DOUBLE)
    labels = module(points).argmax(1)
    with torch.inference_mode():
        found, crossed = seek_crossing(margin_field(module, labels), points, eps=2.0, step=0.2)
    assert torch.equal(module(found.clone()).argmax(1) != labels, crossed)
    assert crossed.sum() > 5


def test_empty_batch() -> None:
    found, crossed = seek_crossing(mlp(4, 1), torch.zeros(0, 4).double(), eps=1.0, step=0.1)
    assert found.shape == (0, 4)
    assert crossed.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"points": [[1.0]]}, TypeError, "points must be a torch.Tensor"),
        ({"points": torch.ones(3)}, ValueError, "points must have the shape"),
        ({"field": lambda x: x}, ValueError, r"field must be scalar \(l = 1\)"),
        ({"field": "F"}, TypeError, "field must be a Field"),
        ({"eps": 0.0}, ValueError, "eps must be positive"),
        ({"eps": -0.3}, ValueError, "eps must be positive"),
        ({"eps": math.nan}, ValueError, "eps must be positive"),
        ({"eps": math.inf}, ValueError, "eps must be positive and finite"),
        ({"eps": torch.tensor([0.1, 0.0, 0.1])}, ValueError, "eps must be positive"),
        ({"eps": torch.ones(2)}, ValueError, r"eps must be a number or have the shape \(3,\)"),
        ({"eps": torch.ones(3, 1)}, ValueError, r"eps must be a number or have the shape \(3,\)"),
        ({"step": 0.0}, ValueError, "step must be positive"),
        ({"step": torch.ones(4)}, ValueError, r"step must be a number or have the shape \(3,\)"),
        ({"max_iter": -1}, ValueError, "max_iter must be an integer >= 0, got -1"),
        ({"norm": 1}, ValueError, "norm must be inf or 2"),
        ({"box": (1.0, 0.0)}, ValueError, "box: low must not exceed high"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        seek_crossing(**{"field": lambda x: x[:, 0], "points": torch.ones(3, 2), "eps": 0.1, "step": 0.01, **arguments})


def test_a_given_start_is_where_the_search_begins() -> None:
    points = torch.full((3, 2), 0.5)
    start = torch.tensor([[-0.2, 0.5], [0.5, 0.5], [-9.0, 0.5]])
    found, crossed = seek_crossing(lambda x: x[:, 0], points, eps=0.75, step=0.1, max_iter=0, start=start)
    assert crossed.tolist() == [True, False, True]
    torch.testing.assert_close(found, torch.tensor([[-0.2, 0.5], [0.5, 0.5], [-0.25, 0.5]]))
    with pytest.raises(ValueError, match="start"):
        seek_crossing(lambda x: x[:, 0], points, eps=1.0, step=0.1, start=start[:2])
