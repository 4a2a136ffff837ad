"""The penalties of known fields: closed forms, gradients, and that they are invariant to what they should be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.core.fields import as_field, values_and_jacobians
from art_levelset.core.sample_network import sample_network
from art_levelset.recon.fitting.loss import (
    Penalties,
    attached,
    curvature_penalty,
    eikonal_penalty,
    newton_step,
)
from art_levelset.recon.fitting.samples import WALL

Function = Callable[[Tensor], Tensor]
Penalty = Callable[..., Tensor]


def somewhere(count: int = 200) -> Tensor:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return points[points.norm(dim=1) > 0.3]


def measured(penalty: Penalty, function: Function, points: Tensor) -> float:
    points = points.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(function(points).sum(), points)
    return float(penalty(as_field(function), points.detach(), gradients))


def plane(points: Tensor) -> Tensor:
    return points @ points.new_tensor([0.6, 0.0, 0.8]) - 0.1


def test_the_eikonal_term_of_known_fields() -> None:
    points = somewhere()
    assert measured(eikonal_penalty, lambda x: x.norm(dim=1) - 0.5, points) == pytest.approx(0, abs=1e-8)
    assert measured(eikonal_penalty, lambda x: 3 * plane(x), points) == pytest.approx(4, rel=1e-3)
    slopes = 2 * points.norm(dim=1)
    expected = float(((slopes - 1) ** 2).mean())
    assert measured(eikonal_penalty, lambda x: x.square().sum(dim=1), points) == pytest.approx(expected, rel=1e-3)


def test_the_curvature_of_known_surfaces() -> None:
    points = somewhere()
    inverse = float((1 / points.norm(dim=1)).mean())
    assert measured(curvature_penalty, plane, points) == pytest.approx(0, abs=1e-9)
    assert measured(curvature_penalty, lambda x: x.norm(dim=1) - 0.5, points) == pytest.approx(2 * inverse, rel=0.01)
    assert measured(curvature_penalty, lambda x: 0.5 - x.norm(dim=1), points) == pytest.approx(2 * inverse, rel=0.01)
    around = points[points[:, :2].norm(dim=1) > 0.3]
    inverse = float((1 / around[:, :2].norm(dim=1)).mean())
    assert measured(curvature_penalty, lambda x: x[:, :2].norm(dim=1), around) == pytest.approx(inverse, rel=0.01)
    saddle = points.clone()
    saddle[:, :2] *= 1e-3  # on its axis the curvatures cancel
    assert measured(curvature_penalty, lambda x: x[:, 0] ** 2 - x[:, 1] ** 2 - x[:, 2], saddle) < 1e-3


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 10), st.floats(0.2, 3), st.integers(0, 1000))
def test_curvature_is_that_of_the_level_set_alone(slope: float, radius: float, seed: int) -> None:
    """However steep F is, and however it bends across its level sets; in any direction."""
    directions = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points = radius * nn.functional.normalize(directions, dim=1)

    def steep(x: Tensor) -> Tensor:
        return slope * (x.square().sum(dim=1) - radius**2)

    assert measured(curvature_penalty, steep, points) == pytest.approx(2 / radius, rel=0.01)


@pytest.mark.parametrize("penalty", [eikonal_penalty, curvature_penalty])
def test_gradients_in_the_parameters(penalty: Penalty) -> None:
    points = somewhere(20)
    gradients = torch.randn(len(points), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def function(weight: Tensor) -> Tensor:
        return penalty(as_field(lambda x: torch.sin(x @ weight) + (x @ weight) ** 2), points, gradients)

    weight = torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (weight,))


def test_samples_without_a_direction_do_not_count() -> None:
    points, field = torch.rand(3, 3), as_field(lambda x: x.norm(dim=1))
    gradients = points.clone()
    gradients[1] = 0
    alone = curvature_penalty(field, points[[0, 2]], gradients[[0, 2]])
    assert curvature_penalty(field, points, gradients) == pytest.approx(float(alone))
    assert curvature_penalty(field, points, 0 * points) == 0


def test_each_penalty_has_its_own_samples() -> None:
    points, split = somewhere(101), 40
    field = as_field(lambda x: x.square().sum(dim=1))
    gradients, loss = 2 * points, torch.tensor(1.0, dtype=torch.float64)
    assert Penalties(0.0, 0.0).add_to(loss, field, points, gradients, split) == 1
    eikonal = eikonal_penalty(field, points[split::2], gradients[split::2])
    curvature = curvature_penalty(field, points[:split:2], gradients[:split:2])
    both = Penalties(2.0, 3.0).add_to(loss, field, points, gradients, split)
    assert float(both) == pytest.approx(float(1 + 2 * eikonal + 3 * curvature))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["eikonal", "curvature"])
def test_bad_weights(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a finite number >= 0, got {weight}"):
        Penalties(**{"eikonal": 0.0, "curvature": 0.0, name: weight})


def test_one_evaluation_attaches_samples_as_the_sample_network_does() -> None:
    network = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    points, others = somewhere(40), somewhere(10)
    positions, values, gradients = attached(as_field(network), points, others)
    expected_values, jacobians = values_and_jacobians(network, torch.cat([points, others]))
    torch.testing.assert_close(values, expected_values[:, 0])
    torch.testing.assert_close(gradients, jacobians[: len(points), 0])
    assert torch.equal(positions, points)
    weights, parameters = torch.randn_like(points), tuple(network.parameters())
    expected = sample_network(network, points, jacobians[: len(points)])
    found = torch.autograd.grad((weights * positions).sum(), parameters, allow_unused=True)
    wanted = torch.autograd.grad((weights * expected).sum(), parameters, allow_unused=True)
    torch.testing.assert_close(found, wanted)


def testnewton_step_ends_on_a_plane_and_stays_where_there_is_no_slope() -> None:
    points = somewhere()
    moved = newton_step(as_field(lambda x: 3 * plane(x)), points)
    inside = moved.abs().amax(dim=1) < WALL
    assert inside.any()
    assert float(plane(moved[inside]).abs().max()) < 1e-12
    assert float(moved.abs().max()) <= WALL
    flat = newton_step(as_field(lambda x: torch.ones_like(x[:, :1])), points)
    assert torch.equal(flat, points.clamp(-WALL, WALL))
