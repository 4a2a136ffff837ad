from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor, nn
from trimesh.creation import icosphere

from art_levelset.experiments import figure_a2
from art_levelset.experiments.__main__ import main

SIZE = figure_a2.Size(resolution=16, needles=20_000, points=300, grid=45)


class Ball(nn.Module):
    """steepness * (|x| - 0.5)."""

    def __init__(self, steepness: float) -> None:
        super().__init__()
        self.steepness = steepness

    def forward(self, x: Tensor) -> Tensor:
        return self.steepness * (torch.linalg.vector_norm(x, dim=1, keepdim=True) - 0.5)


def test_a_distance_has_no_errors_and_others_have_the_ones_they_have() -> None:
    mesh, larger = icosphere(subdivisions=4, radius=0.5), icosphere(subdivisions=4, radius=0.53)
    exact = figure_a2.measure(Ball(1.0), mesh, larger, SIZE, 0)
    assert exact["slope_near"] < 1e-6
    assert exact["slope_far"] < 1e-6
    for t in figure_a2.LEVELS:
        level = exact["levels"][f"{t:g}"]
        assert level["n"] > 10
        assert level["area"] == pytest.approx(4 * np.pi * (0.5 + t) ** 2, rel=0.5)
        assert level["max"] < 2e-3  # the mesh has flat faces
        wrong = abs(abs(t - 0.03) - abs(t))
        assert level["mean_reference"] == pytest.approx(wrong, abs=2e-3)
    steep = figure_a2.measure(Ball(2.0), mesh, None, SIZE, 0)
    assert steep["slope_near"] == pytest.approx(1.0, abs=1e-5)
    for t in figure_a2.LEVELS:
        level = steep["levels"][f"{t:g}"]
        assert level["mean"] == pytest.approx(abs(t) / 2, abs=2e-3)
        assert "mean_reference" not in level
    table = figure_a2.table([{"name": "steep", "seed": 0, "seconds": None, **steep}])
    assert "| steep |  | 1.000 | 1.000 |" in table
    assert "reference" not in table


def test_a_slice_has_f_and_the_signed_distance() -> None:
    mesh = icosphere(subdivisions=4, radius=0.5)
    mesh.apply_scale([1.0, 0.99, 1.0])
    values, distances, sides = figure_a2.slice_of(Ball(2.0), mesh, SIZE)
    assert sides == (0, 2)
    assert values.shape == distances.shape == (45, 45)
    np.testing.assert_allclose(distances, values / 2, atol=0.01)
    assert values[22, 22] == -1.0


def test_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "ball.npy", icosphere(subdivisions=3).vertices)
    output, work = tmp_path / "figureA2.json", tmp_path / "work"
    icosphere(subdivisions=3).export(tmp_path / "ball.ply")
    files = ["--scan", str(tmp_path / "ball.npy"), "--reference", str(tmp_path / "ball.ply")]
    options = ["figureA2", "--fast", *files, "--work-dir", str(work), "-o", str(output)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    rows = json.loads(output.read_text())["rows"]
    assert [row["name"] for row in rows] == list(figure_a2.ROWS)
    for row in rows:
        assert 0 < row["slope_near"] < 1
        assert row["levels"]["0.05"]["mean"] <= row["levels"]["0.05"]["max"]
    assert "| error to the reference, mean (max) |" in printed
    assert imread(output.with_suffix(".png")).shape == (656, 960, 4)

    for name in figure_a2.ROWS:
        monkeypatch.setitem(figure_a2.ROWS, name, lambda *_, **__: 1 / 0)
    assert main(options) == 0  # the fits are in the work folder, the rows in the output
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--seconds", "0"], "seconds must be a finite number > 0"), (["--seed", "-1"], "seed must be an integer >= 0")],
)
def test_bad_numbers_are_named(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figureA2", *options, "-o", str(tmp_path / "a.json")]) == 2
    assert message in capsys.readouterr().err
