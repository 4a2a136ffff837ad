"""Enclosures contain F on whole cells, are exact where F is affine, and close in quadratically."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from art_levelset.core.enclosures import lipschitz_bound, lipschitz_enclosure, network_enclosure

from .networks import affine, mlp, properties

DOUBLE = torch.float64
ACTIVATIONS = (nn.ReLU, nn.Softplus, nn.Tanh)


def points_of(centres: Tensor, half: Tensor, count: int = 200) -> Tensor:
    """Random points of each cell, its corners' diagonal among them, (n, count, d)."""
    unit = 2 * torch.rand(len(centres), count, centres.shape[1], dtype=DOUBLE) - 1
    unit[:, 0], unit[:, 1] = 1.0, -1.0
    return centres[:, None] + half * unit


@properties
@given(st.integers(0, 10**6), st.sampled_from(ACTIVATIONS), st.integers(1, 4), st.floats(1e-3, 2.0))
def test_the_bounds_contain_f(seed: int, activation: type[nn.Module], dimension: int, size: float) -> None:
    torch.manual_seed(seed)
    module = mlp(dimension, 1, activation)
    centres, half = torch.randn(5, dimension, dtype=DOUBLE), size * torch.rand(dimension, dtype=DOUBLE)
    places = points_of(centres, half)
    values = module(places.flatten(0, 1)).reshape(5, -1)
    for enclosure in (network_enclosure(module), lipschitz_enclosure(module, lipschitz_bound(module))):
        low, high = enclosure(centres, half)
        assert (low[:, None] <= values + 1e-12).all()
        assert (values <= high[:, None] + 1e-12).all()


def test_an_affine_function_is_enclosed_exactly() -> None:
    weight, bias = torch.tensor([[2.0, -3.0]], dtype=DOUBLE), torch.tensor([1.0], dtype=DOUBLE)
    low, high = network_enclosure(affine(weight, bias))(
        torch.tensor([[1.0, 1.0]], dtype=DOUBLE), torch.tensor([0.5, 0.1], dtype=DOUBLE)
    )
    assert (low.item(), high.item()) == pytest.approx((0 - 1.3, 0 + 1.3))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_bounds_close_in_as_the_square_of_the_size(activation: type[nn.Module]) -> None:
    """Beyond the range of F itself; a ReLU network is affine in small cells, and has no excess there at all."""
    torch.manual_seed(0)
    module, centres = mlp(2, 1, activation), torch.randn(50, 2, dtype=DOUBLE)
    excess = []
    for size in (0.1, 0.01):
        half = torch.full((2,), size, dtype=DOUBLE)
        low, high = network_enclosure(module)(centres, half)
        values = module(points_of(centres, half, 2000).flatten(0, 1)).reshape(50, -1)
        corners = torch.stack([centres + half * torch.tensor(signs) for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1))])
        values = torch.cat([values, module(corners.flatten(0, 1)).reshape(4, -1).T], dim=1)
        excess.append(((high - low) - (values.amax(1) - values.amin(1))).median().item())
    assert excess[1] <= excess[0] / 50 + 1e-12


def test_the_lipschitz_constant_of_known_networks() -> None:
    scaled = nn.Sequential(affine(3 * torch.eye(2), torch.zeros(2)), nn.ReLU(), nn.Sequential(nn.Linear(2, 1)))
    scaled[2][0].load_state_dict({"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.zeros(1)})
    assert lipschitz_bound(scaled) == pytest.approx(15.0)
    low, high = lipschitz_enclosure(scaled, 15.0)(torch.zeros(1, 2), torch.tensor([0.3, 0.4]))
    assert (low.item(), high.item()) == pytest.approx((-7.5, 7.5))


def test_beyond_its_threshold_softplus_is_enclosed_too() -> None:
    module = nn.Sequential(affine(torch.eye(1, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)), nn.Softplus(threshold=2.0))
    module.append(affine(torch.eye(1, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)))
    low, high = network_enclosure(module)(torch.tensor([[2.0]], dtype=DOUBLE), torch.tensor([1e-6], dtype=DOUBLE))
    for value in (2 - 1e-7, 2 + 1e-7):  # where it jumps
        assert low.item() <= module(torch.tensor([[value]], dtype=DOUBLE)).item() <= high.item()
    assert high.item() - low.item() < 3 * math.log1p(math.exp(-2.0))


def test_no_cells() -> None:
    low, high = network_enclosure(mlp(2, 1))(torch.zeros(0, 2, dtype=DOUBLE), torch.ones(2, dtype=DOUBLE))
    assert low.shape == high.shape == (0,)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1)), "module: a Sigmoid is no layer"),
        (nn.Sequential(nn.Linear(2, 2)), "module must end with a linear layer with one output"),
        (nn.Sequential(nn.Linear(2, 1), nn.ReLU()), "module must end with a linear layer"),
        (nn.Sequential(), "module must end with a linear layer"),
    ],
)
def test_networks_that_cannot_be_enclosed(module: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network_enclosure(module)


def test_bad_constants_and_fields() -> None:
    with pytest.raises(ValueError, match="constant must be a finite number >= 0"):
        lipschitz_enclosure(mlp(2, 1), -1.0)
    with pytest.raises(ValueError, match="field must be scalar"):
        lipschitz_enclosure(mlp(2, 2), 1.0)(torch.zeros(1, 2, dtype=DOUBLE), torch.ones(2, dtype=DOUBLE))


def test_what_one_activation_leaves_open_the_next_one_takes_into_account() -> None:
    """relu(relu(x) - 1/2) on [-1, 1]: the middle of the cell and the slopes alone know nothing of what is above 0."""
    layers = nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)
    with torch.no_grad():
        for layer, bias in zip(layers[::2], (0.0, -0.5, 0.0), strict=True):
            layer.weight.fill_(1.0)
            layer.bias.fill_(bias)
    low, high = network_enclosure(nn.Sequential(*layers))(torch.zeros(1, 1), torch.ones(1))
    assert low.item() <= 0
    assert high.item() >= 0.5
