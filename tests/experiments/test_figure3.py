from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from matplotlib.image import imread

from art_levelset.experiments import atlas, figure3
from art_levelset.experiments.__main__ import main
from art_levelset.experiments.figure3 import CASES, CHARTS, GAP, OURS, Case
from art_levelset.experiments.known_curves import circle, diagonal, spread_out, through_points
from art_levelset.recon.curves.polylines import Polyline, distance_to


def ring(seed: int, *, closed: bool) -> Polyline:
    return circle()


def test_the_closed_spline_goes_smoothly_through_its_points() -> None:
    curve, corners = through_points(3, closed=True), np.random.default_rng(3).uniform(-1, 1, (6, 3))
    assert curve.closed
    assert distance_to(corners, [curve]).max() < 1e-3
    steps = np.diff(np.concatenate([curve.points, curve.points[:2]]), axis=0)
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    assert (directions[1:] * directions[:-1]).sum(axis=1).min() > 0.999
    assert not through_points(3).closed


def test_farthest_points_of_a_line_halve_it() -> None:
    line = np.linspace(0, 1, 65)[:, None] * [1.0, 2.0, 2.0]
    chosen = spread_out(line, 9)
    np.testing.assert_allclose(sorted(np.linalg.norm(chosen, axis=1)), np.linspace(0, 3, 9), atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_clouds_are_noisy_points_of_the_part_with_data(name: str) -> None:
    options = {**CASES[name], "noise": 0.0}
    case = Case(name, seed=1, **options)
    length = case.curve.length
    assert case.cloud.shape == (figure3.POINTS, 3)
    kept = case.curve.part(case.gap * length, length * (1 - 1e-12))
    assert distance_to(case.cloud, [kept]).max() < 1e-5
    assert case.truth.length == pytest.approx(length * (1 if case.closed or not case.gap else 1 - GAP), rel=1e-4)
    noisy = Case(name, seed=1, **{**options, "noise": 0.01})
    away = (noisy.cloud - case.cloud) / diagonal(case.curve)
    assert away.std() == pytest.approx(0.01, rel=0.1)


def test_all_panels_of_a_ball_and_of_circles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figure3, "through_points", ring)
    monkeypatch.setattr(atlas, "VERTICES", 1000)
    directions = np.random.default_rng(0).standard_normal((400, 3))
    np.save(tmp_path / "ball.npy", directions / np.linalg.norm(directions, axis=1, keepdims=True))
    trimesh.creation.icosphere(subdivisions=3).export(tmp_path / "reference.ply")
    output = tmp_path / "figure3.json"
    command = ["figure3", "--fast", "--scans", str(tmp_path / "ball.npy"), "-o", str(output)]
    command += ["--references", str(tmp_path / "reference.ply"), "--work-dir", str(tmp_path / "work")]
    assert main(command) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["name"] for row in rows] == ["ball", "ball", *CASES]
    charts, ours, *curves = rows
    assert (charts["method"], ours["method"]) == (CHARTS, OURS)
    assert (charts["components"], ours["components"]) == (25, 1)
    assert ours["from_cloud"] < 15
    assert ours["chamfer"] < 15
    small, large, completed, opened = curves
    assert all(row["pieces"] == 1 for row in curves)
    assert small["chamfer"] < 8
    assert large["chamfer"] < 15
    assert completed["length"] > 0.9
    assert opened["chamfer"] < 8
    assert completed["gap_mean"] < opened["gap_mean"]
    assert imread(tmp_path / "figure3.png").shape[1] > 700
    written, printed = output.read_text(), capsys.readouterr().out
    monkeypatch.setattr(figure3, "reconstruct_curve", None)
    monkeypatch.setattr(figure3, "fit_atlas", None)
    assert main(command) == 0
    assert output.read_text() == written
    assert capsys.readouterr().out == printed


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["--seconds", "0"], "seconds must be"),
        (["--seeds", "-1"], "seeds must be"),
        (["--references", "a.ply", "b.ply"], "references: need one for each of 1 scans or none"),
        (["--scans", str(tmp_path / "none.ply")], "none.ply"),
    ):
        places = ["--fast", "-o", str(tmp_path / "figure3.json"), "--work-dir", str(tmp_path / "work")]
        assert main(["figure3", *places, *options]) == 2
        assert message in capsys.readouterr().err
