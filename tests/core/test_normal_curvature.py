"""The curvature in one direction: Euler's formula, extremes by the power method, derivatives, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset import margin_field
from art_levelset.core.curvature import principal_curvatures, shape_operators
from art_levelset.core.normal_curvature import most_curved_directions, normal_curvature

from .networks import mlp, properties

DOUBLE = torch.float64


def saddle(x: Tensor) -> Tensor:
    return x[:, 2] - 1.5 * x[:, 0] ** 2 + 0.5 * x[:, 1] ** 2


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(200 + seed))


@pytest.mark.parametrize("scale", [None, 0.1])
def test_eulers_formula(scale: float | None) -> None:
    """Kappa turns with the angle as k_1 cos^2 + k_2 sin^2; what a direction has of the normal does not count."""
    angles = torch.linspace(0, 3, 9, dtype=DOUBLE)
    directions = torch.stack([torch.cos(angles), torch.sin(angles), torch.full_like(angles, 0.7)], dim=1)
    found = normal_curvature(saddle, torch.zeros(9, 3, dtype=DOUBLE), directions, scale=scale)
    torch.testing.assert_close(found, -3 * torch.cos(angles) ** 2 + torch.sin(angles) ** 2)


@properties
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_it_is_the_form_of_the_shape_operator_and_between_the_principal_curvatures(dimension: int, seed: int) -> None:
    torch.manual_seed(seed)
    module, points, directions = mlp(dimension, 1), drawn(3, dimension, seed=seed), drawn(3, dimension, seed=seed + 1)
    with torch.no_grad():
        found = normal_curvature(module, points, directions)
        operators, extremes = shape_operators(module, points), principal_curvatures(module, points)
    want = torch.einsum("ni,nij,nj->n", directions, operators, directions)
    normals = torch.autograd.functional.jacobian(lambda x: module(x).sum(), points)
    normals = nn.functional.normalize(normals, dim=1)
    tangents = directions - (directions * normals).sum(dim=1, keepdim=True) * normals
    torch.testing.assert_close(found, want / tangents.square().sum(dim=1), rtol=1e-6, atol=1e-9)
    assert (found >= extremes[:, 0] - 1e-9).all()
    assert (found <= extremes[:, -1] + 1e-9).all()


@pytest.mark.parametrize("scale", [None, 1e-3])
def test_the_power_method_finds_the_largest_curvature(scale: float | None) -> None:
    module, points = mlp(6, 1), drawn(20, 6)
    start = drawn(20, 6, seed=1)
    directions = most_curved_directions(module, points, start, max_iter=200, scale=scale)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(20, dtype=DOUBLE))
    assert not directions.requires_grad
    with torch.no_grad():
        found = normal_curvature(module, points, directions).abs()
        want = principal_curvatures(module, points).abs().amax(dim=1)
        first = normal_curvature(module, points, start).abs()
    torch.testing.assert_close(found, want, rtol=1e-2, atol=1e-3)
    once = normal_curvature(module, points, most_curved_directions(module, points, start, max_iter=1)).abs()
    assert once.mean() > first.mean()


def test_labels_images_creases_and_places_without_gradients() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    images, labels, start = drawn(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]), drawn(4, 3, 2, 2, seed=1)
    field = margin_field(module, labels)
    directions = most_curved_directions(field, images, start, scale=0.5)
    assert directions.shape == images.shape
    found = normal_curvature(field, images, directions, scale=0.5)
    for i in range(4):
        one = slice(i, i + 1)
        alone = margin_field(module, labels[one])
        direction = most_curved_directions(alone, images[one], start[one], scale=0.5)
        torch.testing.assert_close(direction, directions[one])
        torch.testing.assert_close(normal_curvature(alone, images[one], direction, scale=0.5), found[one])
    with pytest.warns(UserWarning, match="creases"):
        normal_curvature(field, images, start)

    def cone(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=1)

    points, ways = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert normal_curvature(cone, points, ways).isnan().tolist() == [True, False]
    assert most_curved_directions(cone, points, ways).isnan().any(dim=1).tolist() == [True, False]
    flat = most_curved_directions(lambda x: x[:, 0] - 1, points, ways)
    torch.testing.assert_close(flat[1], torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("scale", [None, 0.3])
def test_gradcheck(scale: float | None) -> None:
    directions = drawn(3, 3, seed=3)

    def function(x: Tensor, w: Tensor) -> Tensor:
        return normal_curvature(
            lambda p: (w * p**2).sum(dim=1) + torch.sin(p[:, 0] * p[:, 1] * w[2]), x, directions, scale=scale
        )

    weights = torch.tensor([1.0, -0.5, 2.0], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(function, (drawn(3, 3).requires_grad_(), weights))


def test_bad_input() -> None:
    points = drawn(4, 3)
    with pytest.raises(ValueError, match=r"directions must have the shape \(4, 3\), got \(4, 2\)"):
        normal_curvature(saddle, points, drawn(4, 2))
    with pytest.raises(ValueError, match="scale must be a finite number > 0, got 0"):
        normal_curvature(saddle, points, points, scale=0)
    with pytest.raises(ValueError, match="max_iter must be an integer >= 1, got 0"):
        most_curved_directions(saddle, points, points, max_iter=0)
    with pytest.raises(ValueError, match="scale must be a finite number > 0, got nan"):
        most_curved_directions(saddle, points, points, scale=math.nan)
