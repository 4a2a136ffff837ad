from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from trimesh.creation import box, icosphere

from art_levelset.cli.main import main
from art_levelset.recon import exact
from art_levelset.recon.inspect.metrics import compare


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A ball in a box, which is a hole in it."""
    path = tmp_path / "shell.ply"
    (box(extents=[2, 3, 4]) + icosphere(subdivisions=1, radius=0.8)).export(path)
    return path


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_there_and_back(shell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, mesh = tmp_path / "network.pt", tmp_path / "back.ply"
    assert main(["exact", str(shell), "-o", str(network)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("faces 92, planes 86, pieces ")
    assert re.search(r"^hidden units \d+ in \d+ layers, parameters \d+ \(not zero\), [\d.]+ s$", out, re.MULTILINE)
    assert re.search(r"^on the surface: \|F\| <= [\d.]+e-1[456] of the diagonal$", out, re.MULTILINE)
    assert out.endswith("off the surface: 0 wrong signs at 10000 points\n")
    assert main(["exact", str(network), "-o", str(mesh), "--resolution", "40"]) == 0
    assert re.fullmatch(r"vertices \d+, triangles \d+, components 2\n", capsys.readouterr().out)
    back, given = trimesh.load_mesh(mesh, process=False), trimesh.load_mesh(shell)
    assert back.is_watertight
    assert compare(back, given, samples=2000).chamfer_to_surface < 0.1 * 4 / 40
    assert back.volume == pytest.approx(24 - icosphere(subdivisions=1, radius=0.8).volume, rel=0.02)


def test_bad_input_is_one_line_and_status_2(shell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = tmp_path / "network.pt"
    begin = "art-levelset exact: error: "
    assert main(["exact", str(shell), "-o", str(tmp_path / "other.ply")]) == 2
    assert failure(capsys).startswith(f"{begin}--output: one of ")
    assert main(["exact", str(shell), "-o", str(network), "--resolution", "32"]) == 2
    assert failure(capsys) == f"{begin}--resolution is for networks, and {shell} is none"
    assert main(["exact", str(network), "-o", str(shell), "--max-units", "9"]) == 2
    assert failure(capsys) == f"{begin}--max-units is for meshes, and {network} is none"
    assert main(["exact", str(shell), "-o", str(network), "--max-units", "90"]) == 2
    assert failure(capsys).startswith(f"{begin}mesh: a network for 86 planes has about 516 units")
    assert main(["exact", str(shell), "-o", str(tmp_path / "missing" / "network.pt")]) == 2
    assert "does not exist" in failure(capsys)
    opened = trimesh.load_mesh(shell)
    opened.update_faces(np.arange(len(opened.faces)) > 0)
    opened.export(tmp_path / "open.ply")
    assert main(["exact", str(tmp_path / "open.ply"), "-o", str(network)]) == 2
    assert failure(capsys) == f"{begin}mesh is not watertight: 3 of its edges belong to an odd number of faces"
    assert not network.exists()


def test_a_network_that_does_not_agree_is_status_1(
    shell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "agreement", lambda network, mesh: exact.Agreement(1e-3, 7, 10_000))
    assert main(["exact", str(shell), "-o", str(tmp_path / "network.pt")]) == 1
    captured = capsys.readouterr()
    assert captured.out.endswith("7 wrong signs at 10000 points\n")
    assert captured.err == "the network does not agree with the mesh, which may overlap itself\n"
