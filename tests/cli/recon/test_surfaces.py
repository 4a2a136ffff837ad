from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

import art_levelset
from art_levelset.cli.main import build_parser
from art_levelset.cli.main import main as command_line
from art_levelset.cli.recon import FORMATS, PAPER_STEPS, QUALITIES
from art_levelset.cli.recon.surfaces import PRESETS
from art_levelset.models import fc_2
from art_levelset.recon import Reconstruction, paper, reconstruct
from art_levelset.recon.cloud.clouds import Frame, Points, check_cloud, unit_frame
from art_levelset.recon.cloud.planes import Planes
from art_levelset.recon.fitting import checkpoint, quality

from ...nursing import Nursery
from .quick import QUICK, Balls, OneError, main, two_balls


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sphere does not need many samples a step, nor small steps."""
    monkeypatch.setitem(PRESETS, "default", partial(reconstruct, batch_size=256, learning_rate=2e-3))


def test_a_scan_becomes_a_mesh(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, preview = scan.with_name("reference.stl"), scan.with_name("a.png")
    trimesh.creation.icosphere(subdivisions=4).export(reference)
    assert main([str(scan), *QUICK, "--preview", str(preview), "--reference", str(reference)]) == 0
    output = scan.with_name("scan.mesh.ply")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("nearest sample x 10^3: Chamfer ")
    chamfer = float(lines[1].removeprefix("to the surface x 10^3: Chamfer ").split(",")[0])
    assert chamfer < 30
    assert lines[2].startswith("to the surface / reference's diagonal x 10^3: Chamfer L1 ")
    assert lines[3].startswith("normal consistency 0.9")
    assert lines[4:6] == ["mesh: 1 part, genus 0, watertight", "reference: 1 part, genus 0, watertight"]
    assert lines[6].startswith("points: all 3,000 within 0.")
    assert lines[7].startswith("Wrote in ")
    assert lines[8:] == [f"  {output}", f"  {preview}"]
    mesh = trimesh.load(output, force="mesh")
    assert mesh.is_watertight
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 1).mean() < 0.05
    assert preview.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in scan.parent.iterdir()) == sorted(
        ["scan.npy", "scan.mesh.ply", "reference.stl", "a.png"]
    )


def test_a_survey_with_strays(
    tmp_path: Path, sphere_points: Points, one_error: OneError, capsys: pytest.CaptureFixture[str]
) -> None:
    strays = np.random.default_rng(0).uniform(-900, 900, (12, 3))
    easts, norths, heights = np.concatenate([sphere_points, strays]).T
    scan = tmp_path / "survey.csv"
    np.savetxt(scan, np.stack([np.arange(len(easts)), norths, easts, heights], axis=1), fmt="%.6f", delimiter=",")
    assert "--columns 3,2,4 if northing, easting and elevation do" in one_error(main, [str(scan)])
    assert "--columns must be three different numbers" in one_error(main, [str(scan), "--columns", "1,2"])
    report = tmp_path / "a.json"
    assert main([str(scan), *QUICK, "--columns", "3,2,4", "--json", str(report)]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("to the cloud / diagonal x 10^3: Chamfer ")
    assert line.endswith(" (12 outliers do not count)")
    cloud = json.loads(report.read_text(encoding="utf-8"))["cloud"]
    assert cloud["outliers"] == 12
    assert cloud["relative"] < 30
    assert np.abs(np.linalg.norm(trimesh.load(tmp_path / "survey.mesh.ply").vertices, axis=1) - 1).mean() < 0.05


def test_everything_that_can_be_written(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = scan.parent
    far = np.load(scan) + np.array([1e6, -2e6, 3e6])
    np.save(scan, far)
    trimesh.creation.icosphere(subdivisions=3).apply_translation([1e6, -2e6, 3e6]).export(folder / "reference.obj")
    options = {"--reference": "reference.obj", "--heat-map": "heat.ply", "--json": "a.json", "--save": "a.pt"}
    options["--html"] = "a.html"
    files = [text for option, name in options.items() for text in (option, str(folder / name))]
    assert main([str(scan), *QUICK, *files, "--trim", "0.5", "--parts", "1"]) == 0
    mesh, heat = (trimesh.load(folder / name, process=False) for name in ("scan.mesh.ply", "heat.ply"))
    np.testing.assert_array_equal(heat.vertices, mesh.vertices)
    assert mesh.visual.kind is None
    assert heat.visual.kind == "vertex"
    assert len(np.unique(heat.visual.vertex_colors, axis=0)) > 20
    found = json.loads((folder / "a.json").read_text())
    assert found["settings"]["trim"] == 0.5
    assert found["settings"]["scan"] == str(scan)
    assert found["points"] == 3000
    assert found["attempts"] == []  # so few steps are not judged
    assert found["mesh"]["faces"] == len(mesh.faces)
    assert found["mesh"]["genus"] == 0
    assert found["mesh"]["watertight"] is True
    assert found["reference"]["parts"] == 1
    diagonal = found["distances"]["diagonal"]
    assert diagonal == pytest.approx(np.sqrt(12), rel=0.01)
    expected = 1e3 * found["distances"]["chamfer_to_surface"] / diagonal
    assert found["relative"]["chamfer_to_surface"] == pytest.approx(expected)
    assert set(found["seconds"]) == {"read", "fit", "mesh", "compare", "heat map", "total"}
    back = Reconstruction.load(folder / "a.pt")
    assert np.abs(back.sdf(mesh.vertices)).mean() < 1e-3
    assert capsys.readouterr().out.splitlines()[-5:] == [
        f"  {folder / name}" for name in ("scan.mesh.ply", "heat.ply", "a.html", "a.pt", "a.json")
    ]


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".off"])
def test_georeferenced_scans_keep_their_millimetres(
    tmp_path: Path,
    sphere_points: Points,
    suffix: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An object of 30 cm, of which coordinates have seven digits before the point: all from the file to the file."""
    size, origin = 0.15, np.array([500_000.125, 5_000_000.25, 100.5])

    def fitted(points: Points, **_: object) -> Reconstruction:
        frame = unit_frame(check_cloud(points))
        unit = frame.to_unit(points)
        return Reconstruction(Balls(), frame, Planes(unit, np.zeros_like(unit), 0.05))

    monkeypatch.setitem(PRESETS, "default", fitted)
    scan = tmp_path / "scan.csv"
    poles = np.array([[-1.0, 0, 0], [1, 0, 0], [-0.5, 0.5, 0], [-0.5, -0.5, 0], [-0.5, 0, 0.5], [-0.5, 0, -0.5]])
    points = np.vstack([two_balls(sphere_points), poles])  # which make a box of known centre
    np.savetxt(scan, size * points + origin, fmt="%.6f", delimiter=",", header="E,N,H", comments="")
    assert main([str(scan), *QUICK, "-o", str(tmp_path / f"a{suffix}"), "--parts", "1"]) == 0
    mesh = trimesh.load(tmp_path / f"a{suffix}", force="mesh", process=False)
    radii = np.linalg.norm(mesh.vertices - (origin - [0.5 * size, 0, 0]), axis=1)
    np.testing.assert_allclose(radii, 0.5 * size, rtol=0, atol=1e-4)
    assert len(np.unique(mesh.vertices[:, 1])) > len(mesh.vertices) / 4
    assert "  1,501 in x 500000.1850 to 500000.2750, y 5000000.2" in capsys.readouterr().out


def faces_of_balls(
    argv: list[str], folder: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch, colours: object = None
) -> int:
    """How many triangles `recon` makes of two balls, where the planes' error is a hundredth."""

    def fitted(points: Points, **_: object) -> Reconstruction:
        away = points / np.linalg.norm(points, axis=1, keepdims=True)
        planes = Planes(points, away, 0.05, 0.01)
        return Reconstruction(Balls(), Frame(np.zeros(3), 1.0), planes, points=points)

    monkeypatch.setitem(PRESETS, "default", fitted)
    trimesh.PointCloud(two_balls(sphere_points), colors=colours).export(folder / "scan.ply")
    assert main([str(folder / "scan.ply"), "--resolution", "64", *argv]) == 0
    mesh = trimesh.load(folder / "scan.mesh.ply", force="mesh", process=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 4
    return len(mesh.faces)


def test_there_are_no_more_triangles_than_the_noise_is_worth(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, whole, few = (
        faces_of_balls(argv, tmp_path, sphere_points, monkeypatch)
        for argv in ([], ["--faces", "all"], ["--faces", "200"])
    )
    assert 180 < few <= 200 < usual < 0.5 * whole


def test_colours_keep_their_vertices(tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = np.full((len(two_balls(sphere_points)), 3), 99, dtype=np.uint8)
    coloured = faces_of_balls([], tmp_path, sphere_points, monkeypatch, colours)
    assert coloured == faces_of_balls(["--faces", "all"], tmp_path, sphere_points, monkeypatch)


def test_edges_are_sharp_unless_they_shall_not_be(
    tmp_path: Path, sphere_points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    mesh = Reconstruction.mesh

    def recorded(self: Reconstruction, *args: Any, **options: Any) -> trimesh.Trimesh:
        seen.append(options["sharp"])
        return mesh(self, *args, **options)

    monkeypatch.setattr(Reconstruction, "mesh", recorded)
    for argv in ([], ["--smooth"]):
        faces_of_balls(argv, tmp_path, sphere_points, monkeypatch)
    assert seen == [True, False]


def test_detail_far_from_the_origin_survives(scan: Path) -> None:
    far = np.load(scan) + np.array([1e6, -2e6, 3e6])
    np.save(scan, far)
    assert main([str(scan), *QUICK]) == 0
    mesh = trimesh.load(scan.with_name("scan.mesh.ply"), process=False)
    radii = np.linalg.norm(mesh.vertices - [1e6, -2e6, 3e6], axis=1)
    assert np.abs(radii - 1).mean() < 0.05
    assert len(np.unique(mesh.vertices[:, 0])) > len(mesh.vertices) / 4


def test_colours_are_carried_over(tmp_path: Path, few_points: Points, capsys: pytest.CaptureFixture[str]) -> None:
    colours = np.where(few_points[:, :1] > 0, [[250, 10, 10]], [[10, 10, 250]])
    trimesh.PointCloud(few_points, colors=colours).export(tmp_path / "scan.ply")
    assert main([str(tmp_path / "scan.ply"), *QUICK]) == 0
    mesh = trimesh.load(tmp_path / "scan.mesh.ply", process=False)
    far = np.abs(mesh.vertices[:, 0]) > 0.3
    assert far.sum() > 100
    red = mesh.visual.vertex_colors[:, 0] > mesh.visual.vertex_colors[:, 2]
    np.testing.assert_array_equal(red[far], mesh.vertices[far, 0] > 0)
    distance, topology, *_ = capsys.readouterr().out.splitlines()
    assert distance.startswith("to the cloud / diagonal x 10^3: Chamfer ")
    assert topology == "mesh: 1 part, genus 0, watertight"


def test_presets(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def fit(points: Points, **settings: Any) -> object:
        steps.append(settings["steps"])
        raise ValueError("seen")

    for preset, argv in (("default", []), ("paper", ["--preset", "paper"]), ("paper", ["--preset", "paper", *QUICK])):
        monkeypatch.setitem(PRESETS, preset, fit)
        assert main([str(scan), *argv]) == 2
    assert steps == [200, 5000, 40]


def test_the_setting_of_the_paper(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(fc_2, width=32)
    monkeypatch.setattr("art_levelset.recon.paper.fc_2", small)
    np.save(scan, np.load(scan)[:500])
    saved = scan.with_name("a.pt")
    assert main([str(scan), *QUICK, "--preset", "paper", "--steps", "3", "--save", str(saved)]) == 0
    assert len(trimesh.load(scan.with_name("scan.mesh.ply"), force="mesh").faces) > 500
    back = Reconstruction.load(saved, small())
    assert back.sdf([[0, 0, 0], [2, 2, 2]])[0] < 0 < back.sdf([[0, 0, 0], [2, 2, 2]])[1]


def test_the_scan_is_not_overwritten(scan: Path, one_error: OneError) -> None:
    cloud = scan.with_suffix(".ply")
    trimesh.PointCloud(np.load(scan)).export(cloud)
    before = cloud.read_bytes()
    assert "is also the scan itself" in one_error(main, [str(cloud), *QUICK, "-o", str(cloud)])
    assert cloud.read_bytes() == before


def test_the_output_can_be_chosen(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.obj", "b.stl"):
        assert main([str(scan), "--steps", "1", "--resolution", "16", "-o", str(scan.with_name(name))]) == 0
        assert len(trimesh.load(scan.with_name(name), force="mesh").faces) > 50
        assert capsys.readouterr().out.splitlines()[-1] == f"  {scan.with_name(name)}"
    assert not scan.with_name("scan.mesh.ply").exists()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((20, 3), np.nan), "it has no points, but 20 with NaN or infinite coordinates"),
        (np.ones((20, 3)), "points: all points are equal"),
        (np.eye(4, 3), "points: need at least 10, got 4"),
        (np.ones((20, 2)), "the points must have the shape (n, 3), got (20, 2)"),
        (np.ones(20), "the points must have the shape (n, 3), got (20,)"),
    ],
)
def test_bad_clouds(points: Points, message: str, tmp_path: Path, one_error: OneError) -> None:
    np.save(tmp_path / "scan.npy", points)
    assert message in one_error(main, [str(tmp_path / "scan.npy")])
    assert [path.name for path in tmp_path.iterdir()] == ["scan.npy"]


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("scan.ply", None, "No such file"),
        ("scan.ply", b"garbage", "cannot be read as .ply"),
        ("scan.ply", b"", "cannot be read as .ply"),
        ("scan.jpg", b"", "unsupported suffix '.jpg'"),
    ],
)
def test_bad_files(name: str, contents: bytes | None, message: str, tmp_path: Path, one_error: OneError) -> None:
    path = tmp_path / name
    if contents is not None:
        path.write_bytes(contents)
    before = list(tmp_path.iterdir())
    line = one_error(main, [str(path)])
    assert message in line
    assert name in line
    assert list(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--resolution", "7"], "--resolution must be an integer >= 8, got 7"),
        (["--resolution", "many"], "--resolution must be an integer, got 'many'"),
        (["--steps", "0"], "--steps must be an integer >= 1, got 0"),
        (["--seed", "-1"], "--seed must be an integer >= 0, got -1"),
        (["--device", "abacus"], "--device must be cpu, cuda or cuda:N, got 'abacus'"),
        (["-o", "mesh.txt"], "--output: cannot write a mesh as '.txt'"),
        (["-o", "mesh"], "--output: cannot write a mesh as ''"),
        (["-o", "mesh.gltf"], "--output: cannot write a mesh as '.gltf'"),
        (["--faces", "3"], "--faces must be an integer >= 4, got 3"),
        (["--faces", "few"], "--faces must be a number of triangles or all, got 'few'"),
        (["--parts", "0"], "--parts must be an integer >= 1, got 0"),
        (["--trim", "0"], "--trim must be a finite number > 0, got 0.0"),
        (["--trim", "1", "--open"], "--trim and --open: only one of them can be given"),
        (["--trim", "nan"], "--trim must be a finite number > 0, got nan"),
        (["--heat-map", "a.ply"], "--heat-map needs a --reference"),
        (["--heat-map", "a.obj", "--reference", "b.ply"], "--heat-map: must be a .ply file, got a.obj"),
        (["--html", "a.htm"], "--html: must be a .html file, got a.htm"),
        (["--json", "scan.npy"], "--json must be a .json file or -, got 'scan.npy'"),
        (["--save", "b.ply", "-o", "b.ply"], "--save: b.ply is also --output"),
        (["--preview", "a.jpg"], "--preview: must be a .png file, got a.jpg"),
        (["--reference", "missing.ply"], "missing.ply"),
        (["--reference", "scan.npy"], "--reference: scan.npy cannot be read"),
        (["--reference", "cloud.ply"], "--reference: cloud.ply has no triangles"),
        (["--quality", "best"], "--quality must be one of draft, standard, fine"),
        (["--quality", "draft", "--preset", "paper"], "--quality: the preset paper does not have it"),
        (["--time-budget", "0s"], "--time-budget must be a time such as 60s, 2m or 1h, got '0s'"),
        (["--time-budget", "soon"], "--time-budget must be a time such as 60s, 2m or 1h, got 'soon'"),
        (["--checkpoint", "fit.pt", "--preset", "paper"], "--checkpoint: the preset paper does not have it"),
        (["--checkpoint", "none/fit.pt"], "--checkpoint: none/fit.pt: the folder none does not exist"),
        (["--checkpoint", "cloud.ply"], "checkpoint: cloud.ply cannot be read"),
        (["--use-normals"], "--use-normals: scan.npy has no normals"),
        (["--use-sensors"], "--use-sensors: scan.npy does not say where its points were seen from"),
        (
            ["--use-sensors", "--viewpoint", "0", "0", "0"],
            "--viewpoint and --use-sensors: only one of them can be given",
        ),
        (["--viewpoint", "0", "nan", "0"], "--viewpoint must be three finite numbers, got [0.0, nan, 0.0]"),
        (["--viewpoint", "0", "0", "1", "--preset", "paper"], "--viewpoint: the preset paper does not have it"),
        (["--preset", "quick"], "--preset must be one of default, paper, got 'quick'"),
        (["--fast"], "there is no option --fast: did you mean --faces?"),
    ],
)
def test_bad_arguments(
    argv: list[str], message: str, scan: Path, monkeypatch: pytest.MonkeyPatch, one_error: OneError
) -> None:
    monkeypatch.chdir(scan.parent)
    trimesh.PointCloud(np.eye(3)).export("cloud.ply")
    before = sorted(scan.parent.iterdir())
    assert message in one_error(main, [scan.name, *argv])
    assert sorted(scan.parent.iterdir()) == before


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("0.5h", 1800)])
def test_times(text: str, seconds: float) -> None:
    assert build_parser().parse_args(["recon", "a.ply", "--time-budget", text]).time_budget == seconds


def test_a_checkpoint_goes_when_all_is_written(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [str(scan), *QUICK, "--checkpoint", str(scan.with_name("{stem}.pt"))]
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Reconstruction, "mesh", lambda *_, **__: 1 / 0)  # killed after the fit
        with pytest.raises(ZeroDivisionError):
            main(argv)
    assert scan.with_suffix(".pt").exists()
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", lambda *_: 1 / 0)  # no step is made again
        assert main(argv) == 0
    assert sorted(path.name for path in scan.parent.iterdir()) == ["scan.mesh.ply", "scan.npy"]


@pytest.fixture
def _little_room() -> Iterator[None]:
    """No file can be longer than a small mesh, as on a disk that is nearly full."""
    resource = pytest.importorskip("resource", reason="limits of POSIX systems")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_little_room")
def test_a_full_disk_is_one_line_and_no_file(scan: Path, one_error: OneError) -> None:
    argv = [str(scan), "--steps", "2", "--resolution", "16", "--quiet", "--save", str(scan.with_name("a.pt"))]
    assert "File too large), nor can it anywhere else" in one_error(main, argv)
    assert sorted(path.suffix for path in scan.parent.iterdir()) == [".npy", ".ply"]


@pytest.mark.usefixtures("_little_room")
def test_a_fit_goes_on_where_its_checkpoint_has_no_room(
    scan: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    argv = [str(scan), "--steps", "2", "--resolution", "16", "--quiet", "--checkpoint", str(scan.with_name("a.pt"))]
    assert main(argv) == 0
    assert "a.pt cannot be written (File too large); the fit goes on" in caplog.text
    assert sorted(path.suffix for path in scan.parent.iterdir()) == [".npy", ".ply"]


def test_a_time_budget_and_normals_reach_the_fit(scan: Path, one_error: OneError) -> None:
    points = np.load(scan)
    np.savez(scan.with_suffix(".npz"), points=points, normals=np.random.default_rng(5).standard_normal(points.shape))
    line = one_error(main, [str(scan.with_suffix(".npz")), "--use-normals"])
    assert line.startswith("normals: neighbouring ones agree")
    line = one_error(main, [str(scan), "--time-budget", "0.00001s"])
    assert line.startswith("--time-budget: 1e-05 s are too few")


def test_sensors_reach_the_fit(scan: Path, monkeypatch: pytest.MonkeyPatch, one_error: OneError) -> None:
    seen: list[Any] = []

    def stop(points: Any, *, sensors: Any = None, **_: Any) -> None:
        seen.append(sensors)
        raise ValueError("enough")

    monkeypatch.setitem(PRESETS, "default", stop)
    points = np.load(scan)
    above = points + np.array([0.0, 0.0, 9.0])
    np.savez(scan.with_suffix(".npz"), points=points, sensors=above)
    assert one_error(main, [str(scan), "--viewpoint", "-1", "2e3", "0.5"]) == "enough"
    assert one_error(main, [str(scan.with_suffix(".npz")), "--use-sensors"]) == "enough"
    assert one_error(main, [str(scan.with_suffix(".npz"))]) == "enough"
    assert seen[0] == [-1.0, 2000.0, 0.5]
    np.testing.assert_array_equal(seen[1], above)
    assert seen[2] is None


def test_the_help_is_that_of_surfaces(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command_line(["recon", "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: art-levelset recon SCAN ... [options]\n")
    assert "--resolution" in printed
    assert "--csv" not in printed


def test_the_help_names_what_is_so(one_error: OneError, tmp_path: Path) -> None:
    assert one_error(main, [str(tmp_path / "a.jpg")]).endswith(f"use one of {FORMATS}")
    assert {name: kind.steps for name, kind in quality.QUALITIES.items()} == QUALITIES
    assert paper.STEPS == PAPER_STEPS


def test_the_module_runs(nursery: Nursery, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.ply")
    package = Path(art_levelset.__file__).parent
    for module, argv in (("recon/__main__.py", [missing]), ("__main__.py", ["recon", missing])):
        ended = nursery.run(argv, tmp_path, program=str(package / module))
        assert ended.status == 2
        assert ended.err.startswith("art-levelset recon: error: ")
        assert ended.err.count("\n") == 1
