from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from matplotlib.image import imread

from art_levelset.experiments import atlas, table2
from art_levelset.experiments.__main__ import main
from art_levelset.models import fc_2
from art_levelset.recon import Reconstruction, compare, reconstruct
from art_levelset.recon.cloud.clouds import Points

Run = Callable[..., int]


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """A cloud of the unit sphere and the sphere."""
    directions = np.random.default_rng(0).standard_normal((400, 3))
    np.save(tmp_path / "ball.npy", directions / np.linalg.norm(directions, axis=1, keepdims=True))
    trimesh.creation.icosphere(subdivisions=4).export(tmp_path / "reference.ply")
    return [str(tmp_path / name) for name in ("ball.npy", "reference.ply")]


@pytest.fixture
def run(pair: list[str], tmp_path: Path) -> Run:
    """Runs the experiment with its results in one folder."""

    def call(*options: str, files: list[str] = pair) -> int:
        places = ["--work-dir", str(tmp_path / "work"), "-o", str(tmp_path / "table2.json")]
        return main(["table2", *files, *places, *options])

    return call


def balls(points: Points, seconds: float, seed: int) -> trimesh.Trimesh:
    """In place of a fit: a sphere that is too large by 0.1, or with the seed 1 by 0.2."""
    assert points.shape == (400, 3)
    return trimesh.creation.icosphere(subdivisions=4, radius=1 + 0.1 * (seed + 1))


def test_offsets_of_known_surfaces() -> None:
    low = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    floor = table2.nearest_samples(low, low)
    intensity = table2.SAMPLES  # of a Poisson process in the plane, nearly
    assert floor["l2"] == pytest.approx(0.5 / np.sqrt(intensity), rel=0.03)
    assert floor["l1"] / floor["l2"] == pytest.approx(np.sqrt(np.pi / 2), rel=0.01)  # areas of a diamond and a disc
    high = low.copy().apply_translation([0, 0, 0.5])
    found = table2.nearest_samples(low, high)
    assert found["l2"] == pytest.approx(0.5, rel=1e-3)
    assert found["l1"] == pytest.approx(0.5 + floor["l1"], rel=1e-3)
    assert found["l2"] == pytest.approx(compare(low, high).chamfer)


def test_rows_are_measured_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table2, "ROWS", {"level sets": balls})
    monkeypatch.setattr(table2, "SAMPLES", 2000)
    assert run("--seeds", "0", "1") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "| ball | L1 | L2 | to the surface / diagonal | seconds | seeds |"
    results = json.loads((tmp_path / "table2.json").read_text())
    floor, *rows = results["rows"]
    assert floor["name"] == "floor"
    assert floor["l2"] == pytest.approx(0.5 * np.sqrt(4 * np.pi / table2.SAMPLES), rel=0.05)
    assert floor["l1"] / floor["l2"] == pytest.approx(1.47, rel=0.02)
    for row, gap in zip(rows, (0.1, 0.2), strict=True):
        assert row["exact"] == pytest.approx(gap / np.sqrt(12), rel=0.03)
        assert gap < row["l2"] < gap + floor["l2"]
    mean = 1e3 * np.mean([row["l2"] for row in rows])
    assert f"| {mean:.3f} |" in printed.splitlines()[-1]

    monkeypatch.setattr(table2, "ROWS", {"level sets": lambda *_: 1 / 0})
    assert run("--seeds", "0", "1") == 0
    assert capsys.readouterr().out == printed
    assert json.loads((tmp_path / "table2.json").read_text()) == results
    for mesh in (tmp_path / "work").iterdir():
        mesh.unlink()
    with pytest.raises(ZeroDivisionError):
        run()


def test_all_rows_and_their_picture(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticking: Callable[[float], None]
) -> None:
    ticking(0.02)

    def in_few_steps(points: Points, time_budget: float, clock: object, **others: Any) -> Reconstruction:
        return reconstruct(points, steps=20, **others)  # for in a second nothing is set up

    monkeypatch.setattr(table2, "reconstruct", in_few_steps)
    monkeypatch.setattr("art_levelset.recon.paper.fc_2", partial(fc_2, width=16))
    monkeypatch.setattr(table2, "RESOLUTION", 24)
    monkeypatch.setattr(table2, "PAPER_RESOLUTION", 8)
    monkeypatch.setattr(table2, "PAPER_BATCH", 20)
    monkeypatch.setattr(table2, "SAMPLES", 300)
    monkeypatch.setattr(atlas, "VERTICES", 1000)
    monkeypatch.setattr(atlas, "SUBDIVISIONS", 3)
    assert run("--seconds", "1") == 0
    rows = json.loads((tmp_path / "table2.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["floor", *table2.ROWS]
    errors = {row["name"]: row["exact"] for row in rows[1:]}
    assert errors["level sets"] < 0.02
    assert max(errors.values()) < 0.2
    assert all(1 <= row["seconds"] < 1.1 for row in rows[1:-1])
    picture = imread(tmp_path / "table2.png")
    assert picture.shape[1] > 4 * picture.shape[0]
    assert len(list((tmp_path / "work").iterdir())) == 5


def test_the_fast_version(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    ticking: Callable[[float], None],
) -> None:
    ticking(0.02)
    monkeypatch.setattr(atlas, "VERTICES", 1000)
    assert main(["table2", "--fast", "-o", str(tmp_path / "fast.json")]) == 0
    assert "| level sets |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "fast.json").read_text())["rows"]
    errors = {row["name"]: row["exact"] for row in rows[1:]}
    assert list(errors) == list(table2.FAST)
    assert errors["level sets"] < 0.03
    assert (tmp_path / "fast.png").exists()


def test_bad_input(run: Run, pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text('{"settings": {"seconds": 1.0}, "rows": []}')
    np.save(tmp_path / "no_mesh.npy", np.eye(3))
    cases: list[tuple[list[str], list[str], str]] = [
        (["--rows", "magic"], pair, "rows: 'magic' is none of AtlasNet-style, 1 sphere,"),
        (["--seconds", "0"], pair, "seconds must be positive, got 0.0"),
        (["--seeds", "-1"], pair, "seeds must be >= 0, got -1"),
        ([], pair[:1], "files: every scan needs a reference, got 1 files"),
        ([], pair + pair, "files: two scans have the same name"),
        ([], [pair[0], str(tmp_path / "none.ply")], "none.ply"),
        ([], [pair[0], str(tmp_path / "no_mesh.npy")], "no_mesh.npy cannot be read, use one of .glb"),
        (["-o", str(tmp_path / "other.json")], pair, 'has rows of other settings: {"seconds": 1.0}'),
    ]
    for options, files, message in cases:
        assert run(*options, files=files) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "table2.json").exists()
