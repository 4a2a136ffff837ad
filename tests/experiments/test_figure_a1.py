from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from art_levelset.experiments import figure_a1
from art_levelset.experiments.__main__ import main


@pytest.fixture
def truth() -> figure_a1.Truth:
    """The circle of radius 0.2 as the level set, once as a curve and once as a network that is nearly that."""
    angles = np.linspace(0, 2 * np.pi, 2001)
    circle = 0.2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    class Circle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.square().sum(dim=1, keepdim=True) - 0.04) / 0.4

    return figure_a1.Truth(torch.zeros(1, 2), torch.zeros(1), nn.Sequential(Circle()), [circle])


def test_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "figureA1.json"
    assert main(["figureA1", "--fast", "--seeds", "1", "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    assert set(rows) == set(figure_a1.ALL)
    ours = rows[figure_a1.EVENLY]
    for distance in ("hausdorff", "chamfer"):
        assert all(rows[name][distance] > ours[distance] for name in figure_a1.NAMES[:-2])
        assert rows[figure_a1.MORE][distance] < ours[distance]
    for name, radius in figure_a1.RADII.items():
        covered = rows[name]
        assert covered["reached"]
        assert covered["hausdorff"] <= covered["certified"] <= radius
    assert rows[figure_a1.CERTIFIED]["hausdorff"] <= rows[figure_a1.CERTIFIED]["certified"] <= 0.06
    assert f"| {1e3 * ours['chamfer']:.2f} ± 0.00 |" in printed
    assert "contain the true part: " in printed
    assert imread(output.with_suffix(".png")).shape[1] == 1280
    before = output.read_text()
    assert main(["figureA1", "--fast", "--seeds", "1", "-o", str(output)]) == 0  # nothing is computed again
    assert output.read_text() == before
    assert capsys.readouterr().out == printed


def test_distances_of_known_samples(truth: figure_a1.Truth) -> None:
    angles = torch.arange(10) * 2 * math.pi / 10
    polygon = 0.2 * torch.stack([angles.cos(), angles.sin()], dim=1)
    found = figure_a1.distances(polygon, truth.dense)
    assert found["hausdorff"] == pytest.approx(0.4 * math.sin(math.pi / 20), rel=1e-3)
    mean = 0.4 * (1 - math.cos(math.pi / 20)) * 2 / (math.pi / 10)  # of 0.4 sin(phi / 2), phi <= pi / 10
    assert found["covering"] == pytest.approx(mean, rel=1e-3)
    assert found["chamfer"] == pytest.approx(mean / 2, rel=1e-2)
    off = figure_a1.distances(torch.tensor([[0.0, 0.3]]), truth.dense)
    assert off["hausdorff"] == pytest.approx(0.5, rel=1e-3)


def test_uniform_points_of_the_level_set(truth: figure_a1.Truth) -> None:
    points = truth.uniform(4000, torch.Generator().manual_seed(0))
    assert truth.length == pytest.approx(0.4 * math.pi, rel=1e-4)
    assert (points.norm(dim=1) - 0.2).abs().max() < 1e-5
    assert points.mean(dim=0).abs().max() < 4 * 0.15 / math.sqrt(4000)


@pytest.mark.parametrize("name", figure_a1.NAMES)
def test_every_row_has_so_many_samples_in_the_box(truth: figure_a1.Truth, name: str) -> None:
    starts, samples, passes = figure_a1.starts_and_samples(name, truth, 50, 3)
    assert starts.shape == samples.shape == (50, 2)
    assert (samples.norm(dim=1) - 0.2).abs().max() < 1e-4
    assert passes >= 100  # a value with its gradient for each, at least
    offsets = (starts - samples).norm(dim=1)
    if "0.01" in name:
        assert 0.002 < offsets.mean() < 0.02
    if name in (figure_a1.EVENLY, figure_a1.MORE):
        assert 50 * 4 <= passes < 17**2 + 50 * 12


def test_bad_numbers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figureA1", "--seeds", "0", "-o", str(tmp_path / "a.json")]) == 2
    assert "seeds must be an integer >= 1" in capsys.readouterr().err
