from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from art_levelset.evaluation.loss_surface import LossSurface, loss_surface


def affine(scale: float = 1.0) -> tuple[nn.Linear, Tensor, Tensor]:
    network = nn.Linear(6, 3)
    network.weight.data *= scale
    network.bias.data *= scale
    x = 0.4 + 0.2 * torch.rand(2, 6)
    return network, x, network(x).argmax(dim=1)


@pytest.mark.parametrize("norm", [math.inf, 2])
def test_an_affine_network_in_closed_form(norm: float) -> None:
    network, x, y = affine()
    surface = loss_surface(network, x, y, eps=0.05, norm=norm, grid=11, batch_size=50)
    assert surface.margin.shape == surface.cross_entropy.shape == (2, 11, 11)
    np.testing.assert_allclose(surface.offsets, np.arange(-5, 6) / 100)
    logits = network(x).detach()
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    np.testing.assert_allclose(surface.margin[:, 5, 5], (others.amax(dim=1) - own[:, 0]).numpy(), rtol=1e-4)
    np.testing.assert_allclose(
        surface.cross_entropy[:, 5, 5], functional.cross_entropy(logits, y, reduction="none").numpy(), rtol=1e-4
    )
    slopes = network.weight[others.argmax(dim=1)] - network.weight[y]
    dual = slopes.abs().sum(dim=1) if norm == math.inf else slopes.norm(dim=1)
    rise = surface.margin[:, 5, 6] - surface.margin[:, 5, 5]
    np.testing.assert_allclose(rise, 0.01 * dual.detach().numpy(), rtol=1e-3)
    assert (np.diff(surface.margin[:, 5]) > 0).all()


def test_points_stay_in_the_box_and_directions_follow_the_seed() -> None:
    seen: list[Tensor] = []
    network, x, y = affine()
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    first = loss_surface(network, x, y, eps=0.7, grid=5, seed=1)
    assert torch.cat(seen).min() == 0
    assert torch.cat(seen).max() == 1
    again, other = (loss_surface(network, x, y, eps=0.7, grid=5, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(first.margin, again.margin)
    assert (first.margin[:, 0] != other.margin[:, 0]).any()
    np.testing.assert_array_equal(first.margin[:, 2], other.margin[:, 2])


def test_huge_logits_leave_a_flat_cross_entropy_on_a_sloping_margin() -> None:
    network, x, y = affine(1e4)
    surface = loss_surface(network, x, y, eps=0.001, grid=5)
    assert (surface.cross_entropy == 0).all()
    assert (np.diff(surface.margin[:, 2]) > 0).all()


@pytest.mark.parametrize(("scale", "eps"), [(1.0, 0.5), (1e4, 0.001)])
def test_the_picture(scale: float, eps: float, tmp_path: Path) -> None:
    network, x, y = affine(scale)
    loss_surface(network, x, y, eps=eps, grid=9).plot(tmp_path / "surface.png")
    assert (tmp_path / "surface.png").read_bytes().startswith(b"\x89PNG")


def test_a_constant_network_is_drawn_too(tmp_path: Path) -> None:
    flat = np.zeros((1, 3, 3))
    LossSurface(np.linspace(-1, 1, 3), flat, flat - 1).plot(tmp_path / "flat.svg")
    assert "</svg>" in (tmp_path / "flat.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": 0}, "eps must be"),
        ({"eps": math.inf}, "eps must be"),
        ({"norm": 3}, "norm must be"),
        ({"grid": 1}, "grid must be odd and at least 3"),
        ({"grid": 4}, "grid must be odd and at least 3"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"clip_values": (1, 0)}, "clip_values must be"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    network, x, y = affine()
    with pytest.raises(ValueError, match=message):
        loss_surface(network, x, y, **{"eps": 0.1, **changes})


def test_no_sample() -> None:
    network, x, y = affine()
    with pytest.raises(ValueError, match="x holds no sample"):
        loss_surface(network, x[:0], y[:0], eps=0.1)
