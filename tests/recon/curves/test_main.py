from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from art_levelset.recon.__main__ import main as surface_main
from art_levelset.recon.clouds import Points
from art_levelset.recon.curves import load_curve
from art_levelset.recon.curves.__main__ import main


@pytest.fixture
def scan(tmp_path: Path, ring_cloud: Points) -> Path:
    path = tmp_path / "ring.xyz"
    np.savetxt(path, ring_cloud, fmt="%.9f")
    return path


OneError = Callable[[Callable[[list[str]], int], list[str]], str]


def test_a_cloud_becomes_a_curve(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, picture, saved = (scan.with_name(name) for name in ("a.csv", "a.png", "a.pt"))
    argv = [str(scan), "--steps", "150", "--quiet", "--csv", str(table), "--preview", str(picture)]
    assert main([*argv, "--save", str(saved)]) == 0
    lines = capsys.readouterr().out.splitlines()
    output = scan.with_name("ring.curve.ply")
    found = re.fullmatch(r"1 piece, length (.*), noise (.*)", lines[0])
    assert found is not None
    assert float(found[1]) == pytest.approx(10 * np.pi, rel=0.02)
    assert re.fullmatch(r"  0: closed, length .*, \d+ vertices", lines[1])
    assert lines[2].startswith("Wrote in ")
    assert lines[3:] == [f"  {output}", f"  {table}", f"  {picture}", f"  {saved}"]
    assert output.read_bytes().startswith(b"ply\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    points = np.loadtxt(table, delimiter=",", skiprows=1)[:, 3:]
    np.testing.assert_array_equal(points, load_curve(saved).pieces[0].points)
    assert len(list(scan.parent.iterdir())) == 5


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-o", "a.stl"], "--output: must be a .ply, .obj, .csv file, got a.stl"),
        (["--csv", "a.txt"], "--csv: must be a .csv file, got a.txt"),
        (["--preview", "a.jpg"], "--preview: must be a .png file, got a.jpg"),
        (["--save", "ring.xyz"], "--save: ring.xyz is also the scan itself"),
        (["-o", "a.csv", "--csv", "a.csv"], "--csv: a.csv is also --output"),
        (["--steps", "1"], "steps must be at least 3, got 1"),
        (["--seed", "-1"], "seed must be >= 0, got -1"),
        (["--open", "--closed"], "argument --closed: not allowed with argument --open"),
        (["--resolution", "64"], "unrecognized arguments: --resolution 64"),
    ],
)
def test_bad_arguments(
    argv: list[str], message: str, scan: Path, monkeypatch: pytest.MonkeyPatch, one_error: OneError
) -> None:
    monkeypatch.chdir(scan.parent)
    assert message in one_error(main, [scan.name, *argv])
    assert [path.name for path in scan.parent.iterdir()] == [scan.name]


def test_bad_clouds(tmp_path: Path, one_error: OneError) -> None:
    np.save(tmp_path / "few.npy", np.eye(3))
    assert "points: need at least 10, got 3" in one_error(main, [str(tmp_path / "few.npy")])
    assert "No such file" in one_error(main, [str(tmp_path / "missing.xyz")])
    assert [path.name for path in tmp_path.iterdir()] == ["few.npy"]


def test_the_surface_command_passes_curves_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert surface_main(["--curve", str(tmp_path / "missing.xyz"), "--quiet"]) == 2
    assert "No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        surface_main(["--curve", "--help"])
    assert "--csv" in capsys.readouterr().out
