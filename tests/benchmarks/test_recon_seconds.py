"""Error against seconds, on a small sphere and without PyMeshLab."""

from __future__ import annotations

import importlib
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh

from art_levelset.experiments import table2
from art_levelset.models import fc_2

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setitem(sys.modules, "pymeshlab", None)
    return importlib.import_module("recon_seconds")


@pytest.fixture
def files(tmp_path):
    """A cloud of the unit sphere, the sphere, and where the results go."""
    directions = np.random.default_rng(0).standard_normal((400, 3))
    np.save(tmp_path / "ball.npy", directions / np.linalg.norm(directions, axis=1, keepdims=True))
    trimesh.creation.icosphere(subdivisions=3).export(tmp_path / "reference.ply")
    return [*(str(tmp_path / name) for name in ("ball.npy", "reference.ply")), "-o", str(tmp_path / "seconds.json")]


def test_a_small_sphere(benchmark, files, tmp_path, monkeypatch, capsys, ticking):
    ticking(0.05)
    monkeypatch.setattr(table2, "RESOLUTION", 24)
    monkeypatch.setattr(table2, "PAPER_RESOLUTION", 8)
    monkeypatch.setattr(benchmark, "compare", partial(benchmark.compare, samples=1000))
    monkeypatch.setattr("art_levelset.recon.paper.fc_2", partial(fc_2, width=16))
    options = [*files, "--picture", str(tmp_path / "seconds.png"), "--paper-budgets", "1"]
    benchmark.main([*options, "--budgets", "1e-6", "3"])
    printed = capsys.readouterr().out
    for name in ("Poisson 7", "Poisson 8", "Poisson 9", "ball pivoting", "RIMLS"):
        assert f"{name}: left out: this comparison needs PyMeshLab: pip install pymeshlab" in printed
    results = json.loads((tmp_path / "seconds.json").read_text())
    short, paper, long = results["rows"]
    assert (short["method"], short["budget"]) == ("level set", 1e-6)
    assert short["failed"].startswith("time_budget: 1e-06 s are too few")
    assert (paper["method"], paper["budget"]) == ("the paper's setting", 1.0)
    assert (long["euler"], long["parts"]) == (2, 1)
    assert long["chamfer"] < 10 < paper["chamfer"] < 200
    assert 1 <= paper["seconds"] < 1.2
    assert 3 <= long["seconds"] < 3.2
    assert (tmp_path / "seconds.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(benchmark, "compare", lambda *_: 1 / 0)  # nothing is measured again
    benchmark.main([*options, "--budgets", "3"])
    assert json.loads((tmp_path / "seconds.json").read_text()) == results
    with pytest.raises(SystemExit):
        benchmark.main([*options, "--seed", "1"])
    assert "results of another scan or seed" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ball.npy",
        "reference.ply",
        "seconds.json",
        "seconds.png",
    ]


def test_a_missing_folder_is_noticed_before_anything_is_measured(benchmark, files, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "read_points", lambda *_: 1 / 0)
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        benchmark.main([*files, "--picture", str(tmp_path / "none" / "a.png")])


def test_others_can_be_chosen(benchmark, files, capsys):
    benchmark.main([*files, "--budgets", "--others", "Poisson 8"])
    assert "Poisson 8: left out" in (printed := capsys.readouterr().out)
    assert "Poisson 7" not in printed
