"""What is told of a mesh: on a terminal, in the JSON document and by the exit status."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from art_levelset.cli.recon import surfaces
from art_levelset.cli.recon.surfaces import PRESETS
from art_levelset.recon import Reconstruction, reconstruct
from art_levelset.recon.cloud.clouds import Frame, Points
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.fitting import attempts
from art_levelset.recon.fitting.judgement import Judgement
from art_levelset.recon.inspect.accounting import CUT
from art_levelset.recon.meshing.handle_records import BRIDGE, CLOSED, DATA, LEFT, TUNNEL, Handle

from .quick import QUICK, Balls, main, two_balls


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sphere does not need many samples a step, nor small steps."""
    monkeypatch.setitem(PRESETS, "default", partial(reconstruct, batch_size=256, learning_rate=2e-3))


def fitted_to_two_balls(points: Points, *judgements: Judgement) -> Reconstruction:
    frame = Frame(np.zeros(3), 1.0)
    return Reconstruction(Balls(), frame, Planes(points, np.zeros_like(points), 0.05), attempts=judgements)


def test_an_open_sheet_ends_where_its_points_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A square grid in the unit frame; the mesh would go on to a box that is 0.08 larger."""
    flat = torch.nn.Linear(3, 1)
    with torch.no_grad():
        flat.weight.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
        flat.bias.zero_()
    x, y = np.meshgrid(np.linspace(-0.9, 0.9, 61), np.linspace(-0.9, 0.9, 61))
    points = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3)
    planes = Planes(points, np.tile([0.0, 0.0, 1.0], (len(points), 1)), 0.05)
    made = Reconstruction(flat, Frame(np.zeros(3), 1.0), planes)
    monkeypatch.setitem(PRESETS, "default", lambda points, **_: made)
    scan, report = tmp_path / "flat.npy", tmp_path / "a.json"
    np.save(scan, points)
    ends = {}
    for options in ([], ["--open"], ["--trim", "9"]):
        assert main([str(scan), "--resolution", "64", "--quiet", "--json", str(report), *options]) == 0
        assert "surface: an open sheet, which ends where the points do" in capsys.readouterr().out
        assert json.loads(report.read_text(encoding="utf-8"))["sheet"] is True
        ends[tuple(options)] = float(np.abs(trimesh.load(tmp_path / "flat.mesh.ply").vertices).max())
    assert ends[()] == ends["--open",] < 0.9 + 0.05
    assert ends["--trim", "9"] > 0.97


def test_points_are_not_dropped_in_silence(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "default", lambda points, **_: fitted_to_two_balls(points))
    scan, report = tmp_path / "two.npy", tmp_path / "a.json"
    np.save(scan, two_balls(sphere_points))
    assert main([str(scan), *QUICK, "--json", str(report)]) == 0
    captured = capsys.readouterr()
    assert json.loads(report.read_text(encoding="utf-8"))["account"]["far"] == 0
    assert captured.out.splitlines()[2].startswith("points: all 4,500 within 0.")
    assert "warning" not in captured.err
    assert main([str(scan), *QUICK, "--parts", "1", "--json", str(report)]) == 0
    captured = capsys.readouterr()
    told = json.loads(report.read_text(encoding="utf-8"))["account"]
    (cluster,) = told["clusters"]
    assert (told["points"], told["far"], told["scattered"], cluster["points"]) == (4500, 1500, 0, 1500)
    assert told["reasons"] == {CUT: 1500}
    assert told["share"] == pytest.approx(1 / 3)
    np.testing.assert_allclose([cluster["low"], cluster["high"]], [[0.4, -0.3, -0.3], [1.0, 0.3, 0.3]], atol=0.01)
    lines = captured.out.splitlines()
    assert lines[2].startswith("points: 1,500 of 4,500 (33.33%) farther than 0.")
    assert lines[2].endswith(" from the surface, 1 cluster")
    assert lines[3].startswith("  1,500 in x 0.4")
    (warning,) = (line for line in captured.err.splitlines() if "warning" in line)
    assert warning.startswith(f"art-levelset recon: warning: {scan}: points: 1,500 of 4,500 (33.33%) farther")
    assert warning.endswith(CUT)


def test_the_attempts_are_told(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judgements = [Judgement(0.3, 0.0), Judgement(0.01, 0.0)]
    monkeypatch.setattr(attempts, "FEWEST_STEPS", 1)
    left = iter(judgements)
    monkeypatch.setattr(attempts, "judge", lambda *_, **__: next(left))
    assert main([str(scan), "--steps", "1", "--resolution", "16", "--json", str(scan.with_name("a.json"))]) == 0
    assert json.loads(scan.with_name("a.json").read_text())["attempts"] == [
        {"missed": 0.3, "astray": 0.0, "failed": True},
        {"missed": 0.01, "astray": 0.0, "failed": False},
    ]


def test_what_was_done_about_handles_is_told(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = Handle(TUNNEL, CLOSED, "", (1.0, 2.0, 3.0), 0.5, None, 0, 7)
    left = Handle(BRIDGE, LEFT, DATA, (4.0, 5.0, 6.0), 0.25, 12.5, 3, 1)
    two = replace(fitted_to_two_balls(two_balls(sphere_points)), handles=(closed, left))
    monkeypatch.setitem(PRESETS, "default", lambda points, **_: two)
    scan, report = tmp_path / "two.npy", tmp_path / "a.json"
    np.save(scan, two_balls(sphere_points))
    assert main([str(scan), *QUICK, "--json", str(report)]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "narrow handles: 1 tunnel closed"
    first, second = json.loads(report.read_text(encoding="utf-8"))["handles"]
    assert (first["decision"], first["place"], first["depth"]) == ("closed", [1.0, 2.0, 3.0], None)
    assert second == {
        "kind": "bridge",
        "decision": "left",
        "why": "no shift that data allow removes it",
        "place": [4.0, 5.0, 6.0],
        "width": 0.25,
        "depth": 12.5,
        "planes_for": 3,
        "planes_against": 1,
    }


def test_what_is_no_point_is_told(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "default", lambda points, **_: fitted_to_two_balls(points))
    points = np.vstack([two_balls(sphere_points), np.zeros((30, 3)), np.full((12, 3), np.nan)])
    folder, report = tmp_path / "camera", tmp_path / "a.json"
    folder.mkdir()
    with gzip.open(folder / "a.npy.gz", "wb") as file:
        np.save(file, points)
    (folder / "all.conf").write_text("bmesh a.npy.gz 0 0 0 0 0 0 1\n")
    for scan, name in ((folder / "a.npy.gz", folder / "a.mesh.ply"), (folder, tmp_path / "camera.mesh.ply")):
        assert main([str(scan), *QUICK, "--json", str(report)]) == 0
        assert json.loads(report.read_text(encoding="utf-8"))["left_out"] == {"invalid": 12, "zeros": 30}
        line = capsys.readouterr().out.splitlines()[3]
        assert line.startswith("no points: 12 with NaN or infinite coordinates and 30 at exactly (0, 0, 0), as cameras")
        assert name.exists()


def test_means_are_told_of(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And all counts are of points."""
    given: list[object] = []

    def fitted(points: Points, *, counts: object = None, **_: object) -> Reconstruction:
        given.append(counts)
        return fitted_to_two_balls(points)

    monkeypatch.setitem(PRESETS, "default", fitted)
    monkeypatch.setattr(surfaces, "MOST_POINTS", len(sphere_points))
    scan, report = tmp_path / "a.npy", tmp_path / "a.json"
    np.save(scan, two_balls(sphere_points))
    count = len(two_balls(sphere_points))
    assert main([str(scan), *QUICK, "--json", str(report)]) == 0
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["points"] == told["account"]["points"] == count
    assert told["means"] == len(np.asarray(given[0])) <= len(sphere_points)
    line = f"points: used as their means in the {told['means']:,} cells of a grid"
    assert line in capsys.readouterr().out.splitlines()


def test_a_rejected_fit_is_told_at_the_end(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts = Judgement(0.3, 0.0), Judgement(0.12, 0.002)
    monkeypatch.setitem(PRESETS, "default", lambda points, **_: fitted_to_two_balls(points, *attempts))
    scan, report = tmp_path / "two.npy", tmp_path / "a.json"
    np.save(scan, two_balls(sphere_points))
    assert main([str(scan), *QUICK, "--json", str(report)]) == 3
    assert (tmp_path / "two.mesh.ply").exists()
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["rejected"] is True
    assert [attempt["missed"] for attempt in told["attempts"]] == [0.3, 0.12]
    captured = capsys.readouterr()
    why = "rejected, for it misses 12.0% of the planes (at most 5% may be)"
    assert captured.out.splitlines()[3].startswith(f"fit: {why}")
    assert captured.err.splitlines()[-1].startswith(f"art-levelset recon: error: {scan}: the fit is {why}")
    assert captured.err.splitlines()[-1].endswith("; the files are written all the same")
    assert main([str(scan), *QUICK, "--quiet"]) == 3
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"fit: {why}")
    second_is_good = Judgement(0.3, 0.0), Judgement(0.01, 0.002)
    monkeypatch.setitem(PRESETS, "default", lambda points, **_: fitted_to_two_balls(points, *second_is_good))
    assert main([str(scan), *QUICK, "--json", str(report)]) == 0
    assert json.loads(report.read_text(encoding="utf-8"))["rejected"] is False
    assert "error" not in capsys.readouterr().err


def test_rejected_fits_of_several_scans(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = iter([Judgement(0.3, 0.0), Judgement(0.01, 0.0)] * 2)
    monkeypatch.setitem(PRESETS, "default", lambda points, **_: fitted_to_two_balls(points, next(left)))
    scans = [tmp_path / name for name in ("a.npy", "b.npy")]
    for scan in scans:
        np.save(scan, two_balls(sphere_points))
    assert main([*map(str, scans), *QUICK]) == 3
    captured = capsys.readouterr()
    first, second, _, *rows = captured.out.splitlines()
    assert first.startswith(f"[1 of 2] {scans[0]}: ")
    assert first.endswith(" s, rejected")
    assert not second.endswith("rejected")
    assert [row.split()[-1] for row in rows] == ["rejected", "accepted"]
    (error,) = (line for line in captured.err.splitlines() if "error" in line)
    assert error.startswith(f"art-levelset recon: error: {scans[0]}: the fit is rejected, for it misses 30.0% ")
    assert main([*map(str, scans), str(tmp_path / "none.npy"), *QUICK]) == 1  # a failure is worse
