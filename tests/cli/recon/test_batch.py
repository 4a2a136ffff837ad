from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import trimesh

from art_levelset.cli.main import build_parser
from art_levelset.cli.main import main as command_line
from art_levelset.cli.processes import place_among_ranks
from art_levelset.cli.recon.batch import Result, Seconds, work_on_each
from art_levelset.cli.recon.surfaces import SurfaceReport, arguments_of_each, reconstruct_scan

FASTEST = ["--steps", "1", "--resolution", "16"]


def main(argv: list[str]) -> int:
    return command_line(["recon", *argv])


@pytest.fixture
def scans(scan: Path) -> list[Path]:
    """Two scans and one that is none, alone in a directory."""
    paths = [scan.with_name(name) for name in ("a.npy", "bad.npy", "b.npy")]
    np.save(paths[0], np.load(scan))
    paths[1].write_text("nothing")
    shutil.move(scan, paths[2])
    return paths


class Fatal:
    """Ends the process that receives it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)


def test_a_failed_scan_stops_no_other() -> None:
    def work(job: Namespace) -> Result:
        if job.scan == Path("b"):
            raise RuntimeError("out of\nmemory")
        return Result(None, Seconds({"fit": 61.0}), [Path("a.mesh.ply")])  # type: ignore[arg-type]

    ends = list(work_on_each([Namespace(scan=Path(name)) for name in "abc"], work))
    assert [str(end) for end in ends] == ["a: a.mesh.ply in 61 s", "b: failed", "c: a.mesh.ply in 61 s"]
    assert ends[1].error == "RuntimeError: out of memory"


@pytest.mark.slow
def test_processes_of_their_own(scans: list[Path]) -> None:
    jobs = arguments_of_each(build_parser().parse_args(["recon", str(scans[0]), *FASTEST]))
    jobs += arguments_of_each(build_parser().parse_args(["recon", str(scans[2]), "--steps", "1000000"]))
    pending = work_on_each([*jobs, Namespace(scan=Path("fatal"), fatal=Fatal())], reconstruct_scan, processes=3)
    assert isinstance(pending, Generator)
    ends = {end.scan: end for end in islice(pending, 2)}
    assert ends.keys() == {scans[0], Path("fatal")}
    assert ends[Path("fatal")].error == "its process has died with exit code 3"
    result = ends[scans[0]].result
    assert result is not None
    assert result.files == [scans[0].with_name("a.mesh.ply")]
    assert isinstance(result.report, SurfaceReport)
    assert len(trimesh.load(result.files[0], force="mesh").faces) == result.report.faces
    assert len(multiprocessing.active_children()) == 1
    pending.close()  # as an interrupt does
    assert multiprocessing.active_children() == []


def test_a_table_comes_at_the_end(scans: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    before = scans[0].with_name("a.mesh.ply")
    before.write_text("of another run")
    assert main([*map(str, scans), *FASTEST]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith(f"[1 of 3] {scans[0]}: {before} in ")
    assert lines[1] == f"[2 of 3] {scans[1]}: failed"
    assert re.split("  +", lines[3]) == [
        "scan",
        "seconds",
        "faces",
        "parts",
        "genus",
        "watertight",
        "Chamfer x 10^3",
        "fit",
    ]
    table = {row[0]: row[1:] for row in map(str.split, lines[4:])}
    assert table[str(scans[1])] == ["failed"]
    mesh = trimesh.load(before, force="mesh")
    for path in scans[::2]:
        seconds, faces, parts, genus, watertight, chamfer, fit = table[str(path)]
        closed = "yes" if mesh.is_watertight else "no"
        assert (faces, parts, genus, watertight) == (f"{len(mesh.faces):,}", "1", "0", closed)
        assert float(seconds) >= 0
        assert fit == "-"  # so few steps are not judged
        assert 1 < float(chamfer) < 300
    (line,) = (line for line in captured.err.splitlines() if " points: " not in line)  # which unfinished surfaces miss
    assert line.startswith(f"art-levelset recon: error: {scans[1]}: cannot be read as .npy: ")


def test_files_of_several_scans(scans: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = scans[0].with_name("made") / "for it"
    options = ["--output-dir", str(folder), "--json", str(folder / "{stem}.json"), "--save", str(folder / "{stem}.pt")]
    assert main([str(scans[0]), "--seed", "0", str(scans[2]), *FASTEST, *options]) == 0
    assert {path.name for path in folder.iterdir()} == {f"{n}.{s}" for n in "ab" for s in ("mesh.ply", "json", "pt")}
    assert str(scans[2]) in (folder / "b.json").read_text()
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-o", "x.ply"], "--output: x.ply is one file for 2 scans: write {stem} in it, as in {stem}.ply"),
        (
            ["--heat-map", "in/x.ply", "--reference", "r.ply"],
            "--heat-map: in/x.ply is one file for 2 scans: write {stem} in it, as in in/{stem}.ply",
        ),
        (["-o", "{stem}.ply", "--save", "{stem}.ply"], "--save: a.ply is also --output of a.npy"),
        (["-o", "{stem}.npy"], "--output: cannot write a mesh as '.npy'"),
        (["--save", "{stem}.npy"], "--save: a.npy is also the scan itself"),
        (["c/a.npy", "--output-dir", "."], "--output: a.mesh.ply is also --output of a.npy"),
        (["./a.npy"], "--output: a.mesh.ply is also --output of a.npy"),
        (["-o", "{stem}.ply", "--output-dir", "."], "argument --output-dir: not allowed with argument -o/--output"),
        (["--output-dir", "a.npy"], "a.npy is a file"),
        (["--jobs", "0"], "--jobs must be an integer >= 1, got 0"),
        (["--steps", "0"], "--steps must be an integer >= 1, got 0"),
        (["--seed", "-1"], "--seed must be an integer >= 0, got -1"),
    ],
)
def test_bad_arguments(
    argv: list[str],
    message: str,
    scans: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    one_error: Callable[[Callable[[list[str]], int], list[str]], str],
) -> None:
    monkeypatch.chdir(scans[0].parent)
    assert message in one_error(main, ["a.npy", "b.npy", *argv])
    assert len(list(Path().iterdir())) == 3


def test_every_rank_has_its_share(
    scans: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place_among_ranks() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main([*map(str, scans), *FASTEST]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == f"[1 of 1] {scans[1]}: failed"
    assert str(scans[0]) not in captured.out
    assert captured.err.count("error: ") == 1
    assert main([str(scans[0]), *FASTEST]) == 0
    assert capsys.readouterr().out == ""
    assert len(list(scans[0].parent.iterdir())) == 3


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("one", "2"), ("-1", "2"), ("0", "")])
def test_ranks_that_make_no_sense(rank: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ValueError, match=f"RANK must be .* got RANK={rank} and WORLD_SIZE={size}"):
        place_among_ranks()


@pytest.mark.slow
def test_torchrun_lets_every_rank_finish(scans: list[Path]) -> None:
    order = [str(scans[i]) for i in (1, 0)]  # the first rank fails at once
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "art_levelset.recon", *order, *FASTEST, "--steps", "60"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode != 0
    assert f"{scans[1]}: cannot be read" in found.stderr
    assert f"[1 of 1] {scans[0]}: {scans[0].with_name('a.mesh.ply')} in" in found.stdout
