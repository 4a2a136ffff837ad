"""Parts of machines, and bones: what is sampled of them, and the table."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("parts")


def test_a_scan_is_in_units_of_the_diagonal(benchmark: ModuleType, tmp_path: Path) -> None:
    trimesh.creation.box((30, 40, 120)).export(tmp_path / "box.stl")
    scan = benchmark.scan_of(tmp_path / "box.stl")
    assert np.linalg.norm(scan.reference.extents) == pytest.approx(1)
    assert len(scan.points) == benchmark.POINTS
    assert scan.spacing**2 * benchmark.POINTS == pytest.approx(scan.reference.area)
    beside = np.abs(np.abs(scan.points) - scan.reference.extents / 2).min(axis=1)
    assert np.sqrt((beside**2).mean()) == pytest.approx(scan.noise, rel=0.1)


def test_of_several_pieces_the_largest_counts(benchmark: ModuleType, tmp_path: Path) -> None:
    box, ball = trimesh.creation.box(), trimesh.creation.icosphere(2, radius=0.1).apply_translation([3, 0, 0])
    trimesh.util.concatenate([ball, box]).export(tmp_path / "two.stl")
    reference = benchmark.scan_of(tmp_path / "two.stl", largest=True).reference
    assert len(reference.faces) == 12
    np.testing.assert_allclose(reference.extents, 1 / np.sqrt(3))


def test_a_smooth_part_has_no_edges(benchmark: ModuleType, tmp_path: Path) -> None:
    trimesh.creation.icosphere(1).export(tmp_path / "ball.stl")
    bends = [
        benchmark.scan_of(tmp_path / "ball.stl", smooth=smooth).reference.face_adjacency_angles.max()
        for smooth in (False, True)
    ]
    assert bends[1] < bends[0] / 3


def test_what_is_no_closed_part(benchmark: ModuleType, tmp_path: Path) -> None:
    box = trimesh.creation.box()
    trimesh.util.concatenate([box, box.copy().apply_translation([3, 0, 0])]).export(tmp_path / "two.stl")
    box.update_faces(np.arange(12) > 0)
    box.export(tmp_path / "open.stl")
    for name in ("two", "open"):
        with pytest.raises(ValueError, match=rf"{name}\.stl is no closed mesh of one piece"):
            benchmark.scan_of(tmp_path / f"{name}.stl")


def test_the_table_has_a_line_for_each_part(benchmark: ModuleType) -> None:
    row = {"part": "a.stl", "right": (1, 2, 1), "betti": (1, 2, 1), "chamfer": 0.25, "seconds": 3.4}
    failed = {"part": "b.stl", "right": (1, 0, 1), "method": "draft", "failed": "no memory", "seconds": 1.0}
    rows = [{**row, "method": "draft"}, {**row, "method": "screened Poisson", "betti": (2, 2, 1)}, failed]
    assert benchmark.table(rows).splitlines() == [
        "| part | right | draft: Betti numbers, Chamfer, seconds | screened Poisson: Betti numbers, Chamfer, seconds |",
        "|---|---|---|---|",
        "| a.stl | 1 2 1 | 1 2 1, 0.250, 3 | 2 2 1, 0.250, 3 |",
        "| b.stl | 1 0 1 | no memory | - |",
    ]


def test_a_run_goes_on_and_draws(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = trimesh.creation.box((1, 2, 3))
    box.export(tmp_path / "box.stl")
    monkeypatch.setitem(benchmark.PARTS, "machines", ("box.stl",))
    calls = []

    def build(points: np.ndarray) -> trimesh.Trimesh:
        calls.append(len(points))
        return benchmark.scan_of(tmp_path / "box.stl").reference

    monkeypatch.setattr(benchmark, "methods", lambda qualities, seed: {"copy": build})
    files = {name: tmp_path / name for name in ("rows.json", "meshes", "all.png")}
    argv = [str(tmp_path), "-o", str(files["rows.json"]), "--meshes", str(files["meshes"])]
    for _ in range(2):
        benchmark.main([*argv, "--picture", str(files["all.png"])])
    assert calls == [benchmark.POINTS]
    (row,) = json.loads(files["rows.json"].read_text())["rows"]
    assert row["betti"] == row["right"] == [1, 0, 1]
    assert row["chamfer"] < 1e-6
    assert files["all.png"].read_bytes().startswith(b"\x89PNG")
