"""Projection: Lemma 1, closed forms, the convergence of Newton's method, and a status for every way to fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from art_levelset import LevelSetSamples, SampleNetwork, Status, descend, margin_field, project

from .networks import Recorded, affine, full_jacobians, mlp, properties, smooth

Search = Callable[..., LevelSetSamples]

DOUBLE = torch.float64
SEARCHES = [
    pytest.param(project, id="newton"),
    pytest.param(partial(project, backtracking=True), id="backtracking"),
    pytest.param(partial(descend, step=0.5), id="descend"),
]


def length(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def squared(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(dim=1)


def on_rows(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=DOUBLE).unsqueeze(1)


# Lemma 1


def nearest(weight: Tensor, bias: Tensor, points: Tensor, levels: Tensor) -> Tensor:
    """The orthogonal projection on {A x + b = c}: the least-norm solution of A (p - x) = c - b - A x."""
    moves = [
        np.linalg.lstsq(weight.numpy(), (c - bias - weight @ x).numpy(), rcond=None)[0]
        for x, c in zip(points, levels, strict=True)
    ]
    return points + torch.from_numpy(np.stack(moves))


@properties
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 4))
def test_lemma_1_one_step_is_the_orthogonal_projection(seed: int, count: int, more: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, generator=generator, dtype=DOUBLE)
    orthogonal = torch.linalg.qr(draw(count + more, count)).Q.T
    weight = (orthogonal + 0.1 * draw(count, count + more)) * 10 ** draw(count, 1)
    bias, points, levels = draw(count), draw(6, count + more), draw(6, count)
    samples = project(affine(weight, bias), points, levels, max_iter=1, tol=1e-9)
    assert samples.converged.all()
    assert samples.iterations.tolist() == [1] * 6
    torch.testing.assert_close(samples.points, nearest(weight, bias, points, levels), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_levels_are_a_number_or_one_a_sample_or_one_a_value(count: int) -> None:
    weight, bias, points = (
        torch.randn(count, 5, dtype=DOUBLE),
        torch.randn(count, dtype=DOUBLE),
        torch.randn(4, 5).double(),
    )
    some = torch.randn(4, dtype=DOUBLE)
    every = torch.randn(4, count, dtype=DOUBLE)
    for level, full in [
        (0.7, torch.full((4, count), 0.7, dtype=DOUBLE)),
        (2, torch.full((4, count), 2.0, dtype=DOUBLE)),
        (torch.tensor(-0.3), torch.full((4, count), -0.3, dtype=DOUBLE)),
        (some, some.unsqueeze(1).expand(4, count)),
        (some.unsqueeze(1), some.unsqueeze(1).expand(4, count)),
        (every, every),
    ]:
        samples = project(affine(weight, bias), points, level, max_iter=2, tol=1e-7)
        assert samples.converged.all()
        torch.testing.assert_close(samples.points, nearest(weight, bias, points, full), atol=1e-6, rtol=0.0)
        torch.testing.assert_close(samples.values, full, atol=1e-7, rtol=0.0)


def test_a_single_point_on_several_coordinates_is_found_with_as_many_values() -> None:
    samples = project(lambda x: x**3, torch.full((2, 3), 1.5, dtype=DOUBLE), torch.tensor([1.0, 8.0]))
    torch.testing.assert_close(samples.points, on_rows(1.0, 2.0).expand(2, 3), atol=1e-5, rtol=0.0)


# Closed forms


@pytest.mark.parametrize("search", [project, partial(descend, step=0.4)])
def test_the_distance_to_the_origin_moves_along_rays(search: Search) -> None:
    points = torch.randn(10, 2, 3, dtype=DOUBLE)
    samples = search(length, points, 1.5)
    assert samples.converged.all()
    units = points / length(points).reshape(-1, 1, 1)
    torch.testing.assert_close(samples.points, 1.5 * units, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(samples.jacobians, units.unsqueeze(1), atol=1e-5, rtol=0.0)


def test_newton_on_the_distance_needs_one_step() -> None:
    assert project(length, torch.randn(10, 3, dtype=DOUBLE), 1.5).iterations.tolist() == [1] * 10


def test_values_and_jacobians_are_those_at_the_points() -> None:
    module, points = smooth("mlp", 2)
    samples = project(module, points, 0.1, max_iter=3)
    torch.testing.assert_close(samples.values, module(samples.points).detach())
    torch.testing.assert_close(samples.jacobians, full_jacobians(module, samples.points).detach())


def test_newton_converges_quadratically() -> None:
    # On |x|^2 = 1 the radius r = 1 + e follows e_next = e^2 / (2 r).
    errors = [
        float(length(project(squared, torch.tensor([[1.2, -1.6]], dtype=DOUBLE), 1.0, max_iter=k, tol=0.0).points)) - 1
        for k in range(6)
    ]
    assert errors[0] == pytest.approx(1.0)
    for error, following in pairwise(errors):
        assert following == pytest.approx(error**2 / (2 * (1 + error)), abs=1e-15)
    assert errors[5] < 1e-9


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_newton_converges_quadratically_on_a_network(outputs: int) -> None:
    module, points = smooth("mlp", outputs)
    level = module(points + 0.3 * torch.randn_like(points)).detach()
    residuals = [(project(module, points, level, max_iter=k, tol=0.0).values - level).norm(dim=1) for k in range(7)]
    assert (residuals[-1] < 1e-14).all()
    constants = [after / before**2 for before, after in pairwise(residuals)]
    reached = [before > 1e-6 for before in residuals]
    assert max(float(c[r].max()) for c, r in zip(constants, reached, strict=False) if r.any()) < 10


# The box


@properties
@given(st.integers(0, 10**6), st.floats(0.02, 0.98))
def test_affine_level_in_a_box_is_met_at_the_nearest_point(seed: int, part: float) -> None:
    # The nearest point of {w.x = c} in the box is clamp(x + t w) for the t that reaches the level (its KKT conditions).
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(5, generator=generator, dtype=DOUBLE)
    points = torch.rand(4, 5, generator=generator, dtype=DOUBLE)
    lowest, highest = w.clamp(max=0).sum(), w.clamp(min=0).sum()
    level = lowest + part * (highest - lowest)
    samples = project(lambda x: x @ w, points, float(level), box=(0.0, 1.0), tol=1e-10, max_iter=12)
    assert samples.converged.all()
    assert ((samples.points >= 0) & (samples.points <= 1)).all()
    before, after = torch.full((4, 1), -1e4, dtype=DOUBLE), torch.full((4, 1), 1e4, dtype=DOUBLE)
    for _ in range(100):
        middle = (before + after) / 2
        under = (points + middle * w).clamp(0, 1) @ w < level
        before, after = torch.where(under[:, None], middle, before), torch.where(under[:, None], after, middle)
    torch.testing.assert_close(samples.points, (points + after * w).clamp(0, 1), atol=1e-8, rtol=0.0)


def test_the_wall_is_slid_along() -> None:
    # From the centre the step to x + 2 y = 2.8 leaves through y = 1, then x goes on to 0.8.
    samples = project(lambda x: x[:, 0] + 2 * x[:, 1], torch.full((1, 2), 0.5, dtype=DOUBLE), 2.8, box=(0, 1))
    torch.testing.assert_close(samples.points, torch.tensor([[0.8, 1.0]], dtype=DOUBLE))
    assert samples.points[0, 1] == 1.0
    assert samples.iterations.tolist() == [2]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(("level", "corner"), [(3.0, 1.0), (-1.0, 0.0)])
def test_a_level_outside_the_box_ends_at_its_wall(search: Search, level: float, corner: float) -> None:
    samples = search(lambda x: x.sum(1), torch.tensor([[0.3, 0.9]], dtype=DOUBLE), level, box=(0.0, 1.0))
    assert samples.status.tolist() == [Status.LEFT_DOMAIN]
    assert torch.equal(samples.points, torch.full((1, 2), corner, dtype=DOUBLE))


@pytest.mark.parametrize("search", SEARCHES)
def test_no_pass_leaves_the_box(search: Search) -> None:
    module, points = smooth("mlp", 1, batch=20)
    low, high = torch.tensor([-0.5, -1.0, -1.5, -0.1], dtype=DOUBLE), 0.8
    recorded = Recorded(module)
    level = module(points).detach().quantile(0.9)
    samples = search(recorded.field, points, level, box=(low, high))
    for tried in [*recorded.passes, samples.points]:
        assert ((tried >= low) & (tried <= high)).all()
    assert samples.converged.any()
    assert any(((tried == low) | (tried == high)).any() for tried in recorded.passes[1:])


def test_the_start_is_clamped_into_the_box() -> None:
    points = torch.tensor([[3.0, -2.0]])
    samples = project(lambda x: x[:, 0], points, max_iter=0, box=(torch.tensor(0.0), torch.tensor([1.0])))
    assert samples.points.tolist() == [[1.0, 0.0]]
    assert points.tolist() == [[3.0, -2.0]]


# Backtracking and descent


def test_backtracking_converges_where_newton_runs_away() -> None:
    # Newton's method on arctan diverges from |x| > 1.39.
    starts = on_rows(3.0, -30.0, 1.0)
    plain = project(lambda x: torch.atan(x[:, 0]), starts, tol=1e-10)
    assert plain.converged.tolist() == [False, False, True]
    damped = project(lambda x: torch.atan(x[:, 0]), starts, tol=1e-10, backtracking=True, max_iter=60)
    assert damped.converged.all()
    torch.testing.assert_close(damped.points, torch.zeros(3, 1, dtype=DOUBLE), atol=1e-9, rtol=0.0)


def test_backtracking_returns_from_where_f_is_no_number() -> None:
    start = on_rows(1.0)
    plain = project(lambda x: x.sqrt(), start, 0.1)
    assert plain.status.tolist() == [Status.NOT_FINITE]
    assert torch.equal(plain.points, start)
    assert plain.values.tolist() == [[1.0]]
    damped = project(lambda x: x.sqrt(), start, 0.1, backtracking=True)
    assert damped.converged.all()
    torch.testing.assert_close(damped.points, on_rows(0.01), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("search", SEARCHES[1:])
def test_the_residual_never_grows(search: Search) -> None:
    module, points = smooth("mlp", 2, batch=10)
    residuals = [search(module, points, 0.3, max_iter=k, tol=0.0).values.sub(0.3).norm(dim=1) for k in range(12)]
    for before, after in pairwise(residuals):
        assert (after <= before).all()
    assert (residuals[-1] < residuals[0]).all()


@pytest.mark.parametrize("step", [1e-6, 1e-3, 0.1])
def test_descent_makes_steps_of_the_length_asked_for(step: float) -> None:
    # |grad |F - c|| = 1 for the distance to the origin.
    samples = descend(length, torch.tensor([[60.0, 80.0]], dtype=DOUBLE), 1.0, step=step, max_iter=7)
    assert samples.status.tolist() == [Status.MAX_ITER]
    torch.testing.assert_close(samples.values, torch.tensor([[100 - 7 * step]], dtype=DOUBLE))


def test_descent_halves_steps_that_are_too_long() -> None:
    samples = descend(length, torch.tensor([[3.0, 4.0]], dtype=DOUBLE), 1.0, step=1000.0)
    assert samples.converged.all()
    torch.testing.assert_close(samples.points, torch.tensor([[0.6, 0.8]], dtype=DOUBLE), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("outputs", [1, 2])
def test_descent_finds_the_levels_of_a_network(outputs: int) -> None:
    module, points = smooth("mlp", outputs)
    level = module(points + 0.2 * torch.randn_like(points)).detach()
    samples = descend(module, points, level, step=1.0, max_iter=1000, tol=1e-6)
    assert samples.converged.all()
    torch.testing.assert_close(module(samples.points).detach(), level, atol=1e-6, rtol=0.0)


# What a search costs


@pytest.mark.parametrize("search", SEARCHES)
def test_only_unfinished_samples_are_evaluated(search: Search) -> None:
    points = torch.cat([torch.eye(1, 3).double(), torch.randn(8, 3, dtype=DOUBLE), torch.zeros(1, 3, dtype=DOUBLE)])
    recorded = Recorded(squared)
    samples = search(recorded.field, points, 1.0, max_iter=25, tol=1e-2)
    assert recorded.rows[0] == 10
    assert recorded.rows[1:] == [int((samples.iterations >= k).sum()) for k in range(1, len(recorded.rows))]
    assert samples.iterations[0] == samples.iterations[-1] == 0
    assert len(samples.iterations.unique()) > 2
    assert max(samples.iterations) == len(recorded.rows) - 1


def test_labels_follow_the_unfinished_samples() -> None:
    module, points = mlp(4, 5), torch.randn(20, 4, dtype=DOUBLE)
    labels = module(points).argmax(1)
    samples = project(margin_field(module, labels), points, tol=1e-8)
    assert samples.converged.sum() > 10
    assert len(samples.iterations.unique()) > 1
    own = module(samples.points).detach()
    gaps = own.gather(1, labels[:, None]).squeeze(1) - own.scatter(1, labels[:, None], -math.inf).amax(1)
    assert (gaps[samples.converged].abs() <= 1e-8 + 1e-14).all()


@pytest.mark.parametrize("search", SEARCHES)
def test_no_iterations_only_evaluate(search: Search) -> None:
    points = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    recorded = Recorded(length)
    samples = search(recorded.field, points, 1.0, max_iter=0)
    assert samples.status.tolist() == [Status.CONVERGED, Status.MAX_ITER]
    assert samples.iterations.tolist() == [0, 0]
    assert torch.equal(samples.points, points)
    assert samples.values.tolist() == [[1.0], [2.0]]
    assert samples.jacobians.tolist() == [[[1.0, 0.0]], [[1.0, 0.0]]]
    assert recorded.rows == [2]


# Every way to fail has a status

FAILURES = [
    pytest.param(lambda x: torch.relu(x[:, 0]), [-1.0, 0.0], 1.0, Status.ZERO_GRADIENT, id="dead ReLU"),
    pytest.param(lambda x: torch.ones(len(x)), [1.0, 0.0], 1.0, Status.ZERO_GRADIENT, id="constant on the level"),
    pytest.param(lambda x: x[:, 0] ** 2, [0.0, 0.0], 1.0, Status.ZERO_GRADIENT, id="minimum"),
    pytest.param(lambda x: x[:, 0] ** 2, [0.0, 0.0], 0.0, Status.ZERO_GRADIENT, id="singular level"),
    pytest.param(lambda x: 1e-40 * x[:, 0], [1.0, 0.0], 1.0, Status.ZERO_GRADIENT, id="subnormal gradient"),
    pytest.param(lambda x: x[:, :1] * torch.tensor([1.0, 2.0]), [0.0, 0.0], 0.0, Status.RANK_DEFICIENT, id="on level"),
    pytest.param(lambda x: x[:, :1] * torch.tensor([1.0, 2.0]), [0.0, 0.0], 1.0, Status.RANK_DEFICIENT, id="parallel"),
    pytest.param(lambda x: x * torch.tensor([1.0, 0.0]), [2.0, 0.0], 1.0, Status.RANK_DEFICIENT, id="a constant value"),
    pytest.param(lambda x: x[:, 0], [math.nan, 0.0], 0.0, Status.NOT_FINITE, id="point no number"),
    pytest.param(lambda x: x[:, 0], [math.inf, 0.0], 0.0, Status.NOT_FINITE, id="infinite point"),
    pytest.param(lambda x: x[:, 0], [0.0, math.nan], 0.0, Status.NOT_FINITE, id="point no number where F ignores it"),
    pytest.param(lambda x: x[:, 0] / 0, [1.0, 0.0], 0.0, Status.NOT_FINITE, id="infinite F"),
    pytest.param(lambda x: x[:, 0] * math.nan, [1.0, 0.0], 0.0, Status.NOT_FINITE, id="F no number"),
    pytest.param(lambda x: x[:, 0].abs().sqrt(), [0.0, 0.0], 1.0, Status.NOT_FINITE, id="Jacobian no number"),
    pytest.param(lambda x: x[:, 0].abs().sqrt(), [0.0, 0.0], 0.0, Status.NOT_FINITE, id="no number on the level"),
    pytest.param(lambda x: x[:, 0], [1.0, 0.0], math.nan, Status.NOT_FINITE, id="level no number"),
    pytest.param(lambda x: x[:, 0], [1.0, 0.0], math.inf, Status.NOT_FINITE, id="infinite level"),
    pytest.param(lambda x: 1e-3 * torch.tanh(x[:, 0]), [1.0, 0.0], 2.0, None, id="level never taken"),
    pytest.param(lambda x: x[:, 0] ** 2 + 1, [1.5, 0.0], 0.0, None, id="x^2 + 1 = 0"),
]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(("field", "point", "level", "status"), FAILURES)
def test_failures_have_a_status_and_leave_the_others_alone(
    search: Search, field: Callable[[Tensor], Tensor], point: list[float], level: float, status: Status | None
) -> None:
    samples = search(field, torch.tensor([point]), level, max_iter=12)
    assert not samples.converged.any()
    if status is not None:
        assert [Status(code) for code in samples.status.tolist()] == [status]
    # Beside a sample of another kind nothing changes.
    both = search(field, torch.tensor([[0.25, 0.5], point]), level, max_iter=12)
    assert both.status[1] == samples.status[0]
    torch.testing.assert_close(both.points[1], samples.points[0], equal_nan=True)


def test_a_failed_sample_carries_its_last_finite_point() -> None:
    # The first step overflows x in float32, where F is still finite.
    samples = project(lambda x: torch.tanh(x[:, 0] * 1e-30), on_rows(1e25).float(), 1e10)
    assert samples.status.tolist() == [Status.NOT_FINITE]
    assert samples.points.tolist() == on_rows(1e25).float().tolist()


@pytest.mark.parametrize("search", SEARCHES[1:])
def test_a_tolerance_below_rounding_stalls(search: Search) -> None:
    samples = search(lambda x: x[:, 0] ** 2, on_rows(1.0), 2.0, tol=0.0, max_iter=300)
    assert samples.status.tolist() == [Status.STALLED]
    assert float(samples.points) == pytest.approx(math.sqrt(2), abs=1e-15)


def test_too_few_iterations() -> None:
    samples = project(lambda x: x[:, 0] ** 2, on_rows(100.0), 1.0, max_iter=3)
    assert samples.status.tolist() == [Status.MAX_ITER]
    assert samples.iterations.tolist() == [3]


@pytest.mark.parametrize("search", SEARCHES)
def test_an_empty_batch_has_no_samples(search: Search) -> None:
    samples = search(mlp(4, 2), torch.zeros(0, 4, dtype=DOUBLE), box=(0, 1))
    assert len(samples) == 0
    assert samples.points.shape == (0, 4)
    assert samples.values.shape == (0, 2)
    assert samples.jacobians.shape == (0, 2, 4)
    assert samples.status.shape == samples.iterations.shape == samples.converged.shape == (0,)


@properties
@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(-3, 3), st.booleans(), st.sampled_from(range(len(SEARCHES))))
def test_converged_means_on_the_level(seed: int, outputs: int, level: float, boxed: bool, which: int) -> None:
    torch.manual_seed(seed)
    module, points = mlp(3, outputs, torch.nn.ReLU if seed % 2 else torch.nn.Tanh), 2 * torch.randn(12, 3, dtype=DOUBLE)
    (search,) = SEARCHES[which].values
    samples = search(module, points, level, max_iter=30, tol=1e-6, box=(-2.0, 2.0) if boxed else None)
    gaps = (module(samples.points) - level).abs().amax(1)
    assert (gaps[samples.converged] <= 1e-6 + 1e-13).all()
    assert (
        (gaps[~samples.converged] > 1e-6 - 1e-13)
        .logical_or(
            torch.isin(samples.status[~samples.converged], torch.tensor([Status.ZERO_GRADIENT, Status.RANK_DEFICIENT]))
        )
        .all()
    )
    assert not boxed or (samples.points.abs() <= 2).all()


# Dtypes, modes of autograd, independence


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype(search: Search, dtype: torch.dtype) -> None:
    tol = 8 * torch.finfo(dtype).eps
    points = torch.tensor([[3.0, 4.0], [0.0, 0.5]], dtype=dtype)
    samples = search(length, points, 2.0, tol=tol)
    assert samples.converged.all()
    assert samples.points.dtype == samples.values.dtype == samples.jacobians.dtype == dtype
    want = torch.tensor([[1.2, 1.6], [0.0, 2.0]], dtype=DOUBLE)
    torch.testing.assert_close(samples.points.double(), want, atol=2 * tol, rtol=0.0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_mode_of_autograd_makes_no_difference(mode: Callable[[], torch.no_grad]) -> None:
    module, points = mlp(4, 3), torch.randn(6, 4, dtype=DOUBLE)
    want = project(margin_field(module, torch.arange(6) % 3), points)
    with mode():
        samples = project(margin_field(module, torch.arange(6) % 3), points.clone())
    assert torch.equal(samples.points, want.points)
    assert torch.equal(samples.status, want.status)
    assert not samples.points.requires_grad
    SampleNetwork(margin_field(module, torch.arange(6) % 3))(samples).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


@properties
@given(st.integers(0, 10**6), st.sampled_from(range(len(SEARCHES))))
def test_samples_do_not_see_each_other(seed: int, which: int) -> None:
    points = 3 * torch.randn(7, 2, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    (search,) = SEARCHES[which].values

    def wave(x: Tensor) -> Tensor:
        return torch.sin(x[:, 0]) * x[:, 1] + 0.1 * x[:, 0] ** 3

    together = search(wave, points, 0.7, box=(-2.5, 2.5))
    for i, point in enumerate(points):
        alone = search(wave, point.unsqueeze(0), 0.7, box=(-2.5, 2.5))
        assert together.status[i] == alone.status[0]
        assert together.iterations[i] == alone.iterations[0]
        torch.testing.assert_close(together.points[i], alone.points[0], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("search", SEARCHES)
def test_the_points_given_are_not_changed_and_runs_agree(search: Search) -> None:
    module, points = smooth("convnet", 2)
    kept = points.clone().requires_grad_()
    first, second = (search(module, kept, 0.2, max_iter=4, box=(-1, 1)) for _ in range(2))
    assert torch.equal(kept.detach(), points)
    assert kept.requires_grad
    assert kept.grad is None
    assert torch.equal(first.points, second.points)
    assert first.points.data_ptr() != kept.data_ptr()


@pytest.mark.parametrize("box", [None, (-9.0, 9.0)])
def test_the_samples_own_their_memory(box: tuple[float, float] | None) -> None:
    points = torch.ones(2, 2)
    samples = project(length, points, max_iter=0, box=box)
    points.zero_()
    assert torch.equal(samples.points, torch.ones(2, 2))


# Bad input


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"points": [[1.0, 2.0]]}, TypeError, "points must be a torch.Tensor, got list"),
        ({"points": torch.ones(3, 2).long()}, ValueError, "points must be floating point"),
        ({"points": torch.ones(3)}, ValueError, r"points must have the shape \(batch, \.\.\.\)"),
        ({"field": 3}, TypeError, "field must be a Field"),
        ({"field": lambda x: torch.cat([x, x], 1)}, ValueError, "field: 4 values at points with 2 coordinates"),
        ({"level": torch.ones(2)}, ValueError, "level must be a number or have the shape"),
        ({"level": torch.ones(3, 2)}, ValueError, "level must be a number or have the shape"),
        ({"level": torch.ones(3, 1, 1)}, ValueError, "level must be a number or have the shape"),
        ({"max_iter": -1}, ValueError, "max_iter must be an integer >= 0, got -1"),
        ({"tol": -1e-9}, ValueError, "tol must be a finite number >= 0, got"),
        ({"tol": math.nan}, ValueError, "tol must be a finite number >= 0, got"),
        ({"box": (1.0, 0.0)}, ValueError, "box: low must not exceed high"),
        ({"box": (math.nan, 0.0)}, ValueError, "box: low must not exceed high"),
        ({"box": (torch.zeros(3), 1.0)}, ValueError, "box must broadcast to the shape"),
        ({"box": (0.0, torch.ones(3, 2))}, ValueError, "box must broadcast to the shape"),
        ({"box": (0.0, 1.0, 2.0)}, ValueError, "box must be a pair"),
        ({"box": 1.0}, ValueError, "box must be a pair"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_named(search: Search, arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        search(**{"field": lambda x: x[:, 0], "points": torch.ones(3, 2), **arguments})


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan])
def test_descent_needs_a_positive_step(step: float) -> None:
    with pytest.raises(ValueError, match="step must be a finite number > 0"):
        descend(length, torch.ones(1, 2), step=step)


@pytest.mark.parametrize("box", [None, (-3.0, 3.0), (-0.5, 0.5)])
def test_samples_are_gone_on_from_without_a_second_evaluation(box):
    calls = []

    def sphere(x):
        calls.append(len(x))
        return torch.linalg.vector_norm(x, dim=1) - 1

    points = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = project(sphere, points, 0.25, box=box)
    once = sum(calls)
    samples = project(sphere, points, max_iter=0)
    calls.clear()
    found = project(sphere, samples, 0.25, box=box)
    inside = box is None or bool((points.abs() <= box[1]).all())
    assert sum(calls) == (once - 7 if inside else once)
    for name in ("points", "values", "jacobians", "status", "iterations"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    assert torch.equal(samples.points, points)


def test_the_level_is_zero_where_none_is_given() -> None:
    plane, start = affine(torch.ones(1, 2), torch.tensor([-1.0])), torch.tensor([[3.0, 4.0]])
    for found in (project(plane, start), descend(plane, start, step=1.0)):
        torch.testing.assert_close(found.points, torch.tensor([[0.0, 1.0]]))
