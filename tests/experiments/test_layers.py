from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from torch import Tensor, nn

from art_levelset.core.fields import margin_field, values_and_jacobians
from art_levelset.core.layers import layer_field
from art_levelset.experiments import layers
from art_levelset.experiments.__main__ import main
from art_levelset.experiments.layers import certificates, unit_distances, unit_loss


def network(width: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)).double()


def in_ball(x: Tensor, eps: float, count: int) -> Tensor:
    """Points on the spheres of radius eps and within them, (count, n, 2, 3)."""
    directions = torch.randn(count, *x.shape, dtype=x.dtype)
    length = directions.flatten(2).norm(dim=2)[:, :, None, None]
    return x + eps * torch.rand(count, len(x), 1, 1, dtype=x.dtype).sqrt() * directions / length


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
def test_certificates_hold_in_the_ball_and_are_margins_at_its_centre(eps: float) -> None:
    model, x = network(), torch.randn(8, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        y = model(x).argmax(dim=1)
        bounds, unstable = certificates(model, x, y, eps)
        margins = margin_field(model, y)(x).squeeze(1)
        for points in in_ball(x, eps, 500):
            assert (margin_field(model, y)(points).squeeze(1) >= bounds - 1e-12).all()
    if eps == 0:
        torch.testing.assert_close(bounds, margins)
        assert not unstable.any()
    else:
        assert (bounds < margins).all()
        assert torch.equal(unstable, (unit_distances(model, "1", x) < eps).double().sum(dim=1))


def test_a_certificate_without_unstable_units_is_exact() -> None:
    deep, flat = network(), nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double()
    x = torch.randn(8, 2, 3, dtype=torch.float64)
    y = torch.arange(8) % 3
    eps = 0.999 * float(unit_distances(deep, "1", x).min())
    for model in (deep, flat):
        bounds, unstable = certificates(model, x, y, eps)
        assert not unstable.any()
        pairs = [y, *((y + shift) % 3 for shift in (1, 2))]
        outputs, jacobians = values_and_jacobians(model, x)
        rows = torch.arange(8)
        gaps = [
            (outputs[rows, pairs[0]] - outputs[rows, other])
            - eps * (jacobians[rows, pairs[0]] - jacobians[rows, other]).flatten(1).norm(dim=1)
            for other in pairs[1:]
        ]
        torch.testing.assert_close(bounds, torch.minimum(*gaps))


def test_distances_to_units_are_those_to_hyperplanes() -> None:
    model, x = network(), torch.randn(5, 2, 3, dtype=torch.float64)
    weight, bias = model[1].weight.detach(), model[1].bias.detach()
    expected = (x.flatten(1) @ weight.T + bias).abs() / weight.norm(dim=1)
    torch.testing.assert_close(unit_distances(model, "1", x), expected)


def test_the_loss_of_units_is_eq_12_of_the_nearest() -> None:
    model, x, eps = network(), torch.randn(5, 2, 3, dtype=torch.float64), 0.8
    weight, bias = model[1].weight, model[1].bias
    nearest = ((x.flatten(1) @ weight.T + bias).abs() / weight.norm(dim=1)).topk(4, dim=1, largest=False).values
    expected = torch.relu(eps - nearest).sum() / 20
    loss = unit_loss(model, "1", x, eps, 4)
    assert loss is not None
    torch.testing.assert_close(loss, expected)
    # For an affine field the sample network's derivative of the distance is the distance's own.
    parts = [torch.autograd.grad(value, (weight, bias)) for value in (loss, expected)]
    torch.testing.assert_close(*parts)
    assert unit_loss(model, "1", x, 0.5 * nearest.min().item(), 4) is None


def test_a_step_against_the_loss_moves_the_level_sets_of_a_deeper_layer_away() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 6), nn.Softplus(), nn.Linear(6, 2)).double()
    x = torch.randn(10, 4, dtype=torch.float64)
    eps = float(unit_distances(model, "2", x).median())
    loss = unit_loss(model, "2", x, eps, 2)
    assert loss is not None
    loss.backward()
    assert model[4].weight.grad is None
    before = layer_field(model, "2", lambda output: output)(x).detach()
    with torch.no_grad():
        for parameter in model[:3].parameters():
            parameter -= 1e-3 * parameter.grad
    after = unit_loss(model, "2", x, eps, 2)
    assert after is not None
    assert after < loss
    assert not torch.equal(layer_field(model, "2", lambda output: output)(x), before)


def test_a_short_run_and_the_rest_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "layers.json"
    assert main(["layers", "--fast", "-o", str(path)]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in rows] == list(layers.WAYS)
    for row in rows:
        assert row["certified"][0] <= row["pgd"][0] <= row["clean"]
        assert f"| {row['name']} | {100 * row['clean']:.1f} [" in printed
    assert imread(tmp_path / "layers.png").shape[1] > 500
    written = path.read_text()
    assert main(["layers", "--fast", "-o", str(path)]) == 0
    assert path.read_text() == written
    assert main(["layers", "--epochs", "0", "-o", str(path)]) == 2
    assert "epochs must be" in capsys.readouterr().err
