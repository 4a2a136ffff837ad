from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from art_levelset.experiments import figure1
from art_levelset.experiments.__main__ import main


def test_the_points_leave_room_for_the_distance_asked_for() -> None:
    x, y = figure1.points()
    assert x.shape == (16, 2)
    assert x.min() >= 0
    assert x.max() <= 0.5
    assert set(y) == {0, 1}
    between = np.abs(x[y == 0][:, None] - x[y == 1][None]).max(axis=2)
    assert between.min() > 2 * figure1.EPS


def test_distances_of_a_known_boundary() -> None:
    ticks = np.linspace(-0.05, 0.55, 301)
    across, _ = np.meshgrid(ticks, ticks)
    (line,) = figure1._curves(across - 0.2, 0.0)
    np.testing.assert_allclose(line[:, 0], 0.2, atol=1e-12)
    assert figure1._curves(across + 1, 0.0) == []
    dense = figure1._densely([line])
    assert len(dense) == 8 * (len(line) - 1)
    np.testing.assert_allclose(dense[:, 0], 0.2, atol=1e-12)


def test_the_four_panels_in_few_steps(tmp_path: Path) -> None:
    panels = figure1.draw_continued(tmp_path / "figure1.png", nb_epochs=3, verbose=False)
    assert [panel.name for panel in panels] == list("abcd")
    assert (tmp_path / "figure1.png").read_bytes().startswith(b"\x89PNG")
    assert all(panel.distance_inf <= panel.distance_2 for panel in panels)
    json.dumps([panel.metrics() for panel in panels], allow_nan=False)


def test_the_paper_s_training_writes_rows_that_are_not_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["figure1", "--fast", "-o", str(tmp_path / "figure1.json")]
    assert main(call) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "figure1.json").read_text())["rows"]
    assert sorted((row["start"], row["panel"]) for row in rows) == sorted(product(("continued", "random"), "abcd"))
    assert {row["seed"] for row in rows} == {0}
    assert sum("seconds" in row for row in rows) == 4
    assert len(printed.splitlines()) == 2 + 8
    picture = imread(tmp_path / "figure1.png")
    assert 1.5 < picture.shape[1] / picture.shape[0] < 2, "two rows of four panels"

    monkeypatch.setattr(figure1, "train_from_random_start", None)
    assert main(call) == 0
    assert capsys.readouterr().out == printed


def test_the_panels_of_a_seed_start_from_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure1, "_TRAINING", {name: (name, 1e-3, lambda *_: lambda *_, **__: None) for name in "ab"})
    start = [
        figure1.train_from_random_start(name, seed, 1).state_dict() for name, seed in (("a", 1), ("b", 1), ("a", 2))
    ]
    assert all(torch.equal(start[0][name], start[1][name]) for name in start[0])
    assert not torch.equal(start[0]["0.weight"], start[2]["0.weight"])


def test_the_table_counts_the_seeds_that_keep_the_distance() -> None:
    kept = {"start": "random", "panel": "b", "seed": 0, "training": "b", "accuracy": 1.0, "seconds": 3.0}
    far, near = {"distance_inf": 0.04, "distance_2": 0.05}, {"distance_inf": 0.02, "distance_2": 0.03}
    wrong = {**kept, **far, "accuracy": 0.9}
    line = figure1.table([{**kept, **far}, {**kept, **near, "seconds": 5.0}, wrong]).splitlines()[-1]
    assert line == "| random | (b) b | 96.7 | 0.0333 ± 0.0115 | 0.0433 ± 0.0115 | 1 of 3 | 4 | 3 |"
    assert "| inf | inf |" in figure1.table([{**kept, "distance_inf": None, "distance_2": None}])


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--nb-epochs", "0"], "nb_epochs must be"), (["--seeds", "-1"], "seed must be")],
)
def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert main(["figure1", "-o", str(tmp_path / "f.json"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "networks").exists()
