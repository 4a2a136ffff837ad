from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from matplotlib.image import imread
from trimesh.creation import icosphere

from art_levelset.core.hypersurfaces import is_inside
from art_levelset.core.universality import exact_network
from art_levelset.experiments import universality
from art_levelset.experiments.__main__ import main

from ..core.shapes import around, on_facets, winding_number


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A ball with two holes."""
    ball = icosphere(subdivisions=3)
    height = ball.triangles_center[:, 2]
    ball.update_faces((height < 0.9) & (height > -0.8))
    ball.remove_unreferenced_vertices()
    ball.export(tmp_path / "ball.ply")
    return tmp_path / "ball.ply"


def test_all_of_it_works(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "universality.json"
    done = {"name": "bumps, 1 subdivisions", "on_surface": 0, "wrong": 0, "points": 500}
    done |= dict.fromkeys(("faces", "planes", "pieces", "units", "depth", "weights", "seconds"), 0)
    finished = {"settings": {"resolution": 16, "samples": 500}, "rows": [done]}
    output.write_text(json.dumps(finished), encoding="utf-8")
    assert main(["universality", "--fast", "-o", str(output), "--scan", str(scan)]) == 0
    out = capsys.readouterr().out
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert rows[0] == done  # it is not made again
    assert len(out.splitlines()) == 2 + len(rows) == 2 + 14
    assert all(row["wrong"] == 0 and row["on_surface"] < 1e-14 and row["points"] == 500 for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert by_name["cube"]["planes"] == 6
    assert by_name["nested cubes"]["faces"] == 420
    assert "back" not in by_name["star, 5 tips"]
    assert by_name["ball, 125"]["back"] < 0.01
    assert imread(output.with_suffix(".png")).shape[1] > 1000


def test_holes_are_closed(scan: Path) -> None:
    opened = trimesh.load_mesh(scan)
    assert not opened.is_watertight
    mesh = universality.closed(opened)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi, rel=0.1)
    assert len(universality.closed(mesh).faces) == len(mesh.faces)


def test_bunny(data_dir: Path) -> None:
    """The scan of the bunny, closed and simplified to 500 faces."""
    scan = trimesh.load_mesh(data_dir / "scans" / "bunny_reference.ply")
    mesh = universality.simplified(universality.closed(scan), 500)
    network = exact_network(mesh)
    shape = torch.tensor(mesh.vertices.tolist(), dtype=torch.float64), torch.tensor(mesh.faces.tolist())
    points = around(shape, 1500)
    assert network.size.faces >= 490
    assert network.size.units < 6 * network.size.faces
    with torch.no_grad():
        inside = network(points)[:, 0] > 0
        assert torch.equal(inside, winding_number(points, shape) != 0)
        assert torch.equal(inside, is_inside(points, shape))
        assert network(on_facets(shape, 1500)).abs().max() <= 1e-9 * mesh.scale
