from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from art_levelset.cli.main import main as command_line
from art_levelset.cli.recon.curves import CurveReport, Piece
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves import load_curve


def main(argv: list[str]) -> int:
    return command_line(["recon", "--curve", *argv])


@pytest.fixture
def scan(tmp_path: Path, ring_cloud: Points) -> Path:
    path = tmp_path / "ring.xyz"
    np.savetxt(path, ring_cloud, fmt="%.9f")
    return path


@pytest.fixture
def scans(scan: Path) -> list[Path]:
    """Two scans, and between them one that is none."""
    paths = [scan, *(scan.with_name(name) for name in ("bad.npy", "half.npy"))]
    paths[1].write_text("nothing")
    np.save(paths[2], np.loadtxt(scan)[::2])
    return paths


OneError = Callable[[Callable[[list[str]], int], list[str]], str]


def test_a_cloud_becomes_a_curve(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, picture, saved = (scan.with_name(name) for name in ("a.csv", "a.png", "a.pt"))
    argv = [str(scan), "--csv", str(table), "--preview", str(picture)]
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


def test_the_figures_as_a_file(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = scan.with_suffix(".json")
    assert main([str(scan), "--open", "--json", str(figures)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"  {figures}"
    found = json.loads(figures.read_text())
    assert found.keys() >= {"settings", "environment", "points", "seconds", "junctions"}
    assert found["settings"]["scan"] == str(scan)
    assert found["settings"]["closed"] is False
    assert found["points"] == 400
    assert set(found["seconds"]) == {"read", "fit", "total"}
    (piece,) = found["pieces"]
    assert set(piece) == {"closed", "length", "vertices"}
    assert piece["closed"] is False
    assert piece["length"] == found["length"] == pytest.approx(8 * np.pi, rel=0.05)
    assert found["noise"] == pytest.approx(0.01 * 10 * np.sqrt(2), rel=0.3)


def test_what_is_said_of_several_pieces() -> None:
    report = CurveReport([Piece(True, 2.5, 40), Piece(False, 1.25, 20)], 3.75, 0.0123456, [[0.0, 1.0, 2.0]] * 3, False)
    assert report.lines() == [
        "2 pieces, length 3.75, noise 0.0123",
        "  0: closed, length 2.5, 40 vertices",
        "  1: open, length 1.25, 20 vertices",
        "the zero level set can branch at 3 points",
    ]
    expected = {"pieces": "2", "closed": "1", "length": "3.75", "noise": "0.0123", "junctions": "3", "fit": "accepted"}
    assert report.row() == expected


def test_a_piece_that_cannot_be_closed_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A straight line beside a circle: the way back along it would be the line itself."""
    way, angles = np.linspace(0, 1, 120)[:, None], np.linspace(0, 2 * np.pi, 150)
    circle = np.stack([3 + np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    cloud = np.concatenate([way * [1.0, 2.0, 0.0], circle])
    np.savetxt(tmp_path / "both.xyz", cloud + np.random.default_rng(0).normal(scale=1e-3, size=cloud.shape))
    argv = [str(tmp_path / name) for name in ("both.xyz", "curve.pt", "figures.json")]
    assert main([argv[0], "--closed", "--save", argv[1], "--json", argv[2]]) == 3
    captured = capsys.readouterr()
    why = "rejected, for its pieces are not those of the ordered cloud"
    assert f"fit: {why}" in captured.out.splitlines()
    assert captured.err.endswith(f"{argv[0]}: the fit is {why}; the files are written all the same\n")
    assert json.loads((tmp_path / "figures.json").read_text())["rejected"] is True
    assert load_curve(argv[1]).rejected


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_several_scans(jobs: str, scans: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = scans[0].with_name("curves")
    options = ["--jobs", jobs, "--output-dir", str(folder), "--json", str(folder / "{stem}.json")]
    argv = [str(scans[0]), "--seed", "0", *map(str, scans[1:]), *options]
    assert main(argv) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert sorted(line.split(":")[0].split("] ")[1] for line in lines[:3]) == sorted(map(str, scans))
    assert re.split("  +", lines[3]) == ["scan", "seconds", "pieces", "closed", "length", "noise", "junctions", "fit"]
    table = {row[0]: row[1:] for row in map(str.split, lines[4:])}
    assert table[str(scans[1])] == ["failed"]
    for path in scans[::2]:
        found = json.loads((folder / f"{path.stem}.json").read_text())
        assert found["settings"]["scan"] == str(path)
        assert table[str(path)][1:4] == ["1", "1", f"{found['length']:.6g}"]
        assert found["length"] == pytest.approx(10 * np.pi, rel=0.05)
    written = {f"{path.stem}.{suffix}" for path in scans[::2] for suffix in ("curve.ply", "json")}
    assert {path.name for path in folder.iterdir()} == written
    assert re.fullmatch(rf".*error: {re.escape(str(scans[1]))}: cannot be read as .npy: .*\n", captured.err)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-o", "a.stl"], "--output: must be a .ply, .obj, .csv file, got a.stl"),
        (["--csv", "a.txt"], "--csv: must be a .csv file, got a.txt"),
        (["--preview", "a.jpg"], "--preview: must be a .png file, got a.jpg"),
        (["--save", "ring.xyz"], "--save: ring.xyz is also the scan itself"),
        (["-o", "a.csv", "--csv", "a.csv"], "--csv: a.csv is also --output"),
        (["b.xyz", "--seed", "-1"], "--seed must be an integer >= 0, got -1"),
        (["b.xyz", "--csv", "a.csv"], "--csv: a.csv is one file for 2 scans: write {stem} in it, as in {stem}.csv"),
        (["c/ring.npy", "-o", "{stem}.ply"], "--output: ring.ply is also --output of ring.xyz"),
        (["--jobs", "0"], "--jobs must be an integer >= 1, got 0"),
        (["-o", "a.ply", "--output-dir", "."], "argument --output-dir: not allowed with argument -o/--output"),
        (["--open", "--closed"], "argument --closed: not allowed with argument --open"),
        (["--resolution", "64"], "there is no option --resolution; art-levelset recon --curve --help lists them"),
    ],
)
def test_bad_arguments(
    argv: list[str], message: str, scan: Path, monkeypatch: pytest.MonkeyPatch, one_error: OneError
) -> None:
    monkeypatch.chdir(scan.parent)
    assert message in one_error(main, [scan.name, *argv])
    assert [path.name for path in scan.parent.iterdir()] == [scan.name]


def test_columns(scan: Path, one_error: OneError) -> None:
    assert "--columns must be three different numbers" in one_error(main, [str(scan), "--columns", "x,y"])
    assert "there is no column 9, it has 3" in one_error(main, [str(scan), "--columns", "1,2,9"])


def test_bad_clouds(tmp_path: Path, one_error: OneError) -> None:
    np.save(tmp_path / "few.npy", np.eye(4, 3))
    assert "points: need at least 10, got 4" in one_error(main, [str(tmp_path / "few.npy")])
    assert "No such file" in one_error(main, [str(tmp_path / "missing.xyz")])
    assert [path.name for path in tmp_path.iterdir()] == ["few.npy"]


@pytest.mark.parametrize("argv", [["--curve", "{}", "--quiet"], ["{}", "--quiet", "--curve"], ["{}", "--curve"]])
def test_the_place_of_the_option_does_not_matter(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "few.npy", np.eye(4, 3))
    given = [argument.format(tmp_path / "few.npy") for argument in argv]
    assert command_line(["recon", *given, "--csv", str(tmp_path / "a.csv")]) == 2
    assert capsys.readouterr().err == "art-levelset recon: error: points: need at least 10, got 4\n"


def test_the_help_is_that_of_curves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command_line(["recon", "--curve", "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: art-levelset recon --curve SCAN ... [options]\n")
    assert "--csv" in printed
    assert "--resolution" not in printed
