from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from art_levelset.attacks.boundary import nearest_misclassified
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
@pytest.mark.parametrize("limit", [10, 45])
def test_no_sample_costs_more_gradients_than_allowed(norm: float, limit: int) -> None:
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
    assert max(spent) == limit
    limited, free = found(x, y, limit)[0], found(x, y, None)[0]
    assert limited.mean() > free.mean() * 0.999
    assert limited.mean() < free.mean() * 1.1
