from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh

from art_levelset.cli.main import main
from art_levelset.experiments import demo, figure1


def test_the_digits_are_split_without_overlap() -> None:
    (x, y), (x_test, y_test) = demo.digits(seed=1)
    assert x.shape == (1297, 1, 8, 8)
    assert x_test.shape == (500, 1, 8, 8)
    assert len(y) == 1297
    assert len(y_test) == 500
    assert x.dtype == np.float32
    assert x.min() == 0
    assert x.max() == 1
    assert np.abs(np.bincount(y_test) - 50).max() <= 2
    assert not np.array_equal(demo.digits(seed=2)[1][1], y_test)


def test_the_level_set_trainer_is_more_robust_after_a_few_epochs() -> None:
    plain, robust = demo.compare_on_digits(nb_epochs=6, verbose=False)
    assert (plain.training, robust.training) == ("cross-entropy", "LevelSetMarginTrainer")
    assert plain.clean > 0.85
    assert robust.clean > 0.7
    for row in (plain, robust):
        assert row.clean >= max(row.pgd_cross_entropy, row.pgd_margin)
    assert robust.pgd_cross_entropy > plain.pgd_cross_entropy + 0.1
    assert robust.pgd_margin > plain.pgd_margin + 0.1


def test_nothing_is_left_behind_when_a_part_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ValueError("no digits")

    monkeypatch.setattr(demo, "compare_on_digits", fail)
    with pytest.raises(ValueError, match="no digits"):
        demo.run(tmp_path, verbose=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_whole_demonstration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "compare_on_digits", partial(demo.compare_on_digits, nb_epochs=12))
    monkeypatch.setattr(demo, "reconstruct", partial(demo.reconstruct, steps=20))
    monkeypatch.setattr(demo, "SCAN_RESOLUTION", 64)
    folder = tmp_path / "new" / "folder"
    assert main(["demo", "-o", str(folder), "--seed", "0"]) == 0
    names = ["demo.json", "figure1.png", "scan.mesh.ply", "scan.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [f"  {folder / name}" for name in names]
    found = json.loads((folder / "demo.json").read_text())
    plain, robust = found["digits"]
    assert plain["clean"] > 0.9
    assert robust["clean"] > 0.9
    assert min(robust["pgd_cross_entropy"], robust["pgd_margin"]) > 0.5
    assert max(plain["pgd_cross_entropy"], plain["pgd_margin"]) < 0.3
    figures = {panel["panel"]: panel for panel in found["figure1"]}
    assert {panel["accuracy"] for panel in figures.values()} == {1.0}
    assert max(figures["a"]["distance_inf"], figures["a"]["distance_2"]) < 0.75 * figure1.EPS
    assert figures["b"]["distance_inf"] > 0.95 * figure1.EPS
    assert figures["c"]["distance_2"] > 0.95 * figure1.EPS
    assert figures["d"]["distance_2"] > figures["a"]["distance_2"]
    mesh = trimesh.load(folder / "scan.mesh.ply", force="mesh")
    assert len(mesh.faces) == found["scan"]["triangles"]
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert mesh.euler_number == found["scan"]["euler_number"] == 2
