from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks.boundary import nearest_misclassified, search_elsewhere
from art_levelset.attacks.effort import measured

from .tiny import distances


def linear() -> nn.Linear:
    """Two classes, apart by the plane w . x = 0.3."""
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1.0, -2, 0.5, 0]]))
        model.bias.copy_(torch.tensor([0.3, 0.0]))
    return model


def problem() -> tuple[nn.Linear, Tensor, Tensor]:
    model = linear()
    x = 0.3 + 0.4 * torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    return model, x, model(x).argmax(dim=1).detach()


@pytest.mark.parametrize(("norm", "dual"), [(2, 2), (math.inf, 1)])
def test_of_a_plane_it_is_the_nearest_point(norm: float, dual: float) -> None:
    model, x, y = problem()
    y[:3] = 1 - y[:3]
    generator = torch.Generator().manual_seed(0)
    found = nearest_misclassified(model, x, y, norm=norm, box=None, max_iter=20, generator=generator)
    logits = model(x).detach()
    expected = (logits[:, 0] - logits[:, 1]).abs() / torch.linalg.vector_norm(model.weight[1].detach(), dual)
    expected[:3] = 0
    torch.testing.assert_close(found.distances, expected, rtol=1e-3, atol=1e-5)
    assert (model(found.points).argmax(dim=1) != y).all()
    torch.testing.assert_close(distances(found.points, x, norm).float(), found.distances)
    assert torch.equal(found.points[:3], x[:3])


def test_the_box_may_differ_between_features() -> None:
    model, x, y = problem()
    wide = (torch.full((4,), -1.0), torch.full((4,), 2.0))
    narrow = (torch.tensor([0.0, 0.25, 0.0, 0.0]), torch.tensor([1.0, 0.75, 1.0, 1.0]))
    found = {
        name: nearest_misclassified(
            model, x, y, norm=2, box=box, max_iter=20, generator=torch.Generator().manual_seed(0)
        )
        for name, box in {"wide": wide, "narrow": narrow}.items()
    }
    assert (found["narrow"].distances >= found["wide"].distances * (1 - 1e-3)).all()
    reached = found["narrow"].distances.isfinite()
    points = found["narrow"].points[reached]
    assert ((points >= narrow[0]) & (points <= narrow[1])).all()
    assert (model(points).argmax(dim=1) != y[reached]).all()
    assert (found["narrow"].distances > found["wide"].distances * 1.01).any()


class Network(nn.Module):
    """Ten classes of the unit square's points, whose logits bend."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(4 * x)
        return logits


@pytest.mark.parametrize("norm", [2, math.inf])
@pytest.mark.parametrize(("limit", "least"), [(10, 10), (45, 45), (160, 158)])  # 160: three searches of 53
def test_no_sample_costs_more_gradients_than_allowed(norm: float, limit: int, least: int) -> None:
    model = Network().eval()
    x = torch.rand(30, 4, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(dim=1).detach()

    def found(some: Tensor, labels: Tensor, max_gradients: int | None) -> tuple[Tensor, int]:
        with measured(model) as effort:
            points = nearest_misclassified(
                model,
                some,
                labels,
                norm=norm,
                box=(0.0, 1.0),
                max_iter=100,
                generator=torch.Generator().manual_seed(0),
                max_gradients=max_gradients,
            )
        assert (model(points.points).argmax(dim=1) != labels).all()
        return points.distances, effort.gradients

    spent = [found(x[i : i + 1], y[i : i + 1], limit)[1] for i in range(len(x))]
    assert least <= max(spent) <= limit
    limited, free = found(x, y, limit)[0], found(x, y, None)[0]
    assert limited.mean() > free.mean() * 0.999
    assert limited.mean() < free.mean() * 1.1


@pytest.mark.parametrize(("norm", "dual"), [(2, 2), (math.inf, 1)])
@pytest.mark.parametrize("known", [0.01, 3.0, math.inf])
def test_a_search_from_elsewhere_finds_the_nearest_point_of_a_plane(norm: float, dual: float, known: float) -> None:
    model, x, y = problem()
    box = (-2.0, 3.0)
    points, found = search_elsewhere(
        model,
        x,
        y,
        torch.full((len(x),), known),
        norm=norm,
        box=box,
        max_iter=60,
        generator=torch.Generator().manual_seed(0),
    )
    logits = model(x).detach()
    expected = (logits[:, 0] - logits[:, 1]).abs() / torch.linalg.vector_norm(model.weight[1].detach(), dual)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-4)
    assert (model(points).argmax(dim=1) != y).all()
    torch.testing.assert_close(distances(points, x, norm).float(), found)


def test_nothing_is_found_elsewhere_where_all_is_one_class() -> None:
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([1.0, 0.0]))
    x, y = torch.full((3, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    points, found = search_elsewhere(
        model, x, y, torch.ones(3), norm=2, box=(0.0, 1.0), max_iter=5, generator=torch.Generator().manual_seed(0)
    )
    assert found.isinf().all()
    assert torch.equal(points, x)


class TwoDiscs(nn.Module):
    """Class 1 is the unit disc around (3, 0), to which the gradient at 0 leads, and a nearer one around (-2.5, 0)."""

    def forward(self, x: Tensor) -> Tensor:
        to_far = (x - x.new_tensor([3.0, 0.0])).norm(dim=1) - 1
        to_near = 2 * ((x - x.new_tensor([-2.5, 0.0])).norm(dim=1) - 1)
        return torch.stack([torch.minimum(to_far, to_near), torch.zeros_like(to_far)], dim=1)


def test_more_gradients_find_another_part_of_the_boundary() -> None:
    x, y = torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)
    found = {
        limit: nearest_misclassified(
            TwoDiscs(),
            x,
            y,
            norm=2,
            box=(-5.0, 5.0),
            max_iter=limit,
            generator=torch.Generator().manual_seed(0),
            max_gradients=limit,
        ).distances.item()
        for limit in (50, 500)
    }
    assert found[50] == pytest.approx(2, rel=1e-3)
    assert found[500] == pytest.approx(1.5, rel=0.02)
