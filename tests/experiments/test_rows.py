"""The file of an experiment's rows: found again, replaced, refused."""

from __future__ import annotations

import json

import pytest

from art_levelset.experiments.__main__ import main
from art_levelset.experiments.rows import Rows


def test_a_killed_experiment_finds_its_rows_again(tmp_path):
    path = tmp_path / "new" / "table.json"
    rows = Rows(path, {"radius": 0.3, "seeds": (0, 1)})
    rows.add({"name": "a", "seed": 0, "accuracy": 0.5})
    rows.add({"name": "a", "seed": 1, "accuracy": 0.75})
    again = Rows(path, {"radius": 0.3, "seeds": (0, 1)})
    assert again.find(name="a", seed=1) == {"name": "a", "seed": 1, "accuracy": 0.75}
    assert again.find(name="b", seed=1) is None
    assert len(again.select(name="a")) == 2


def test_a_row_takes_the_place_of_one_of_its_key(tmp_path):
    rows = Rows(tmp_path / "table.json", {})
    for accuracy in (0.25, 0.5):
        rows.add({"name": "a", "seed": 0, "accuracy": accuracy})
    assert json.loads(rows.path.read_text())["rows"] == [{"name": "a", "seed": 0, "accuracy": 0.5}]


def test_other_settings_and_other_files_are_refused_and_kept(tmp_path):
    path = tmp_path / "table.json"
    Rows(path, {"steps": 3}).add({"name": "a", "seed": 0})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="output.*other settings.*steps"):
        Rows(path, {"steps": 4})
    assert path.read_bytes() == before
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="output.*no file of an experiment's rows"):
        Rows(path, {"steps": 3})


def test_a_short_version_leaves_the_results_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["universality", "--fast"]) == 0
    assert (tmp_path / "demo-output" / "universality" / "universality.json").exists()
    assert not (tmp_path / "results").exists()
