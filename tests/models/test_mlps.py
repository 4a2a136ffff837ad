from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from art_levelset.models import SkipMLP, fc_1, fc_2


def test_fc_1_has_four_linear_layers() -> None:
    model = fc_1(3, 2)
    assert [(layer.in_features, layer.out_features) for layer in model if isinstance(layer, nn.Linear)] == [
        (3, 512),
        (512, 512),
        (512, 512),
        (512, 2),
    ]
    assert sum(isinstance(layer, nn.ReLU) for layer in model) == 3
    assert isinstance(model[-1], nn.Linear)
    assert model(torch.rand(7, 3)).shape == (7, 2)


def test_fc_2_joins_the_input_in_after_its_fourth_layer() -> None:
    model = fc_2()
    assert isinstance(model, SkipMLP)
    assert [tuple(layer.weight.shape) for layer in model.first] == [(512, 3), (512, 512), (512, 512), (509, 512)]
    assert [tuple(layer.weight.shape) for layer in model.second] == [(512, 512)] * 4
    with torch.no_grad():
        for parameter in model.first.parameters():
            parameter.zero_()
    points = torch.randn(9, 3)
    assert model(points).std() > 0.01, "with the first half dead the points come in through the skip connection alone"


@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_fc_2_starts_as_the_distance_to_a_sphere(radius: float) -> None:
    torch.manual_seed(1)
    directions = nn.functional.normalize(torch.randn(500, 3), dim=1)
    lengths = torch.linspace(0.2, 2.0, 500).unsqueeze(1)
    with torch.no_grad():
        slopes = torch.stack([(fc_2(radius=radius)(directions * lengths) + radius) / lengths for _ in range(5)])
    assert slopes.mean().item() == pytest.approx(1.0, abs=0.1)
    assert slopes.std().item() < 0.15


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (fc_1, {"in_features": 0}, "in_features must be an integer >= 1"),
        (fc_1, {"out_features": 0}, "out_features must be an integer >= 1"),
        (fc_1, {"width": -3}, "width must be an integer >= 1"),
        (fc_2, {"in_features": 0}, "in_features must be an integer >= 1"),
        (fc_2, {"in_features": 8, "width": 8}, r"width must exceed in_features \(8\), got 8"),
        (fc_2, {"radius": 0.0}, "radius must be a finite number > 0"),
        (fc_2, {"radius": float("nan")}, "radius must be a finite number > 0"),
    ],
)
def test_bad_input(build: Callable[..., nn.Module], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)
