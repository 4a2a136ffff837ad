"""Full, read-only and vanished places, and runs that want the same one: really made, where this machine lets us."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from art_levelset.cli.main import main
from art_levelset.files import (
    KeptElsewhere,
    check_folder,
    check_place,
    claim,
    keep,
    remove_unfinished,
    replacing,
    write_text,
)

from ..nursing import Nursery


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own in a folder."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user cannot mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 256 KiB, which is filled up."""
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=256k", "tmpfs") as folder:
        fill(folder)
        yield folder


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody can write in, root neither."""
    with mounted(tmp_path / "read-only", "-t", "tmpfs", "-o", "size=256k,ro", "tmpfs") as folder:
        yield folder


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


TRAIN = ["train", "--data", "digits", "--arch", "convnet2a", "--eps", "0.1"]
EVALUATE = ["evaluate", "--model", "m", "--arch", "convnet2a", "--data", "d", "--eps", "1"]
VERBS = {
    "train -o": [*TRAIN, "-o", "{}/weights.pth"],
    "train --csv": [*TRAIN, "--csv", "{}/epochs.csv"],
    "train --plot": [*TRAIN, "--plot", "{}/plot.png"],
    "train --checkpoint-dir": [*TRAIN, "--checkpoint-dir", "{}/kept"],
    "train --tensorboard": [*TRAIN, "--tensorboard", "{}/logs"],
    "evaluate -o": [*EVALUATE, "-o", "{}/record.json"],
    "evaluate --resume": [*EVALUATE, "--resume", "{}/work"],
    "leaderboard --html": ["leaderboard", "nowhere", "--html", "{}/board.html"],
    "leaderboard --markdown": ["leaderboard", "nowhere", "--markdown", "{}/board.md"],
    "exact": ["exact", "mesh.ply", "-o", "{}/network.pt"],
    "demo": ["demo", "-o", "{}/demo"],
    "recon -o": ["recon", "scan.ply", "-o", "{}/mesh.ply"],
    "recon --output-dir": ["recon", "scan.ply", "--output-dir", "{}/meshes"],
    "recon --preview": ["recon", "scan.ply", "--preview", "{}/picture.png"],
    "recon --html": ["recon", "scan.ply", "--html", "{}/page.html"],
    "recon --json": ["recon", "scan.ply", "--json", "{}/metrics.json"],
    "recon --save": ["recon", "scan.ply", "--save", "{}/fit.pt"],
    "recon --checkpoint": ["recon", "scan.ply", "--checkpoint", "{}/fit.pt"],
    "recon --curve --csv": ["recon", "--curve", "scan.ply", "--csv", "{}/curve.csv"],
}


def error_of(argv: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that cannot write in a folder, before it has looked at anything else."""
    before = sorted(place.iterdir()) if place.is_dir() else None
    assert main([argument.replace("{}", str(place)) for argument in argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert (sorted(place.iterdir()) if place.is_dir() else None) == before
    return line


@pytest.mark.parametrize("verb", list(VERBS))
def test_a_place_is_tried_out_before_the_work(
    verb: str,
    full: Path,
    read_only: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No space left on device" in error_of(VERBS[verb], full, capsys)
    assert "Read-only file system" in error_of(VERBS[verb], read_only, capsys)
    (tmp_path / "file").touch()
    line = error_of(VERBS[verb], tmp_path / "file", capsys)
    assert "is a file" in line or "the folder" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full", "read-only"]


def test_an_output_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"):
        check_place(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        check_folder(tmp_path / "file" / "inside")
    check_folder(tmp_path / "to" / "be" / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become another user")
def test_a_folder_of_another_user(nursery: Nursery, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        argv = [
            "train",
            "--data",
            "digits",
            "--arch",
            "convnet2a",
            "-o",
            f"{name}/weights.pth",
        ]  # imports nothing before
        end = nursery.run(argv, Path("/"), before="import os; os.setuid(65534)")
        (line,) = end.lines()
        assert line.startswith("art-levelset train: error: --output: ")
        assert line.endswith(f"{name}/weights.pth cannot be written: Permission denied")


def test_a_result_whose_disk_is_full_goes_elsewhere(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeptElsewhere, match="No space left on device") as found:
        keep(full / "a.txt", lambda path: path.write_bytes(b"work" * 100_000))
    assert found.value.place == tmp_path / "a.txt"
    assert found.value.place.read_bytes() == b"work" * 100_000
    assert [path.name for path in full.iterdir()] == ["filling"]


def test_a_result_replaces_nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_text("mine", "a.txt")
    with pytest.raises(KeptElsewhere, match="does not exist") as found:
        keep("gone/a.txt", lambda path: path.write_text("work"))
    assert (Path("a.txt").read_text(), found.value.place.read_text()) == ("mine", "work")


def test_a_result_that_fits_nowhere(tmp_path: Path, nursery: Nursery, few_digits: Path) -> None:
    """Under RLIMIT_FSIZE, which no other place escapes: one line, and no half file."""
    before = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (20000, r.getrlimit(r.RLIMIT_FSIZE)[1]))"
    argv = ["train", "--data", str(few_digits), "--arch", "convnet2a", "--eps", "0.1", "--nb-epochs", "1"]
    end = nursery.run(argv, tmp_path, before=before)
    assert end.status == 2
    (line,) = end.lines()
    assert "weights.pth cannot be written (File too large), nor can it anywhere else" in line
    assert not list(tmp_path.glob("*.pth"))


def test_a_training_whose_folders_are_gone(nursery: Nursery, few_digits: Path, tmp_path: Path) -> None:
    """Output and checkpoints vanish in the first epoch: the training goes on, and its weights are in the folder."""
    before = (
        "import shutil; from art_levelset.cli.epochs import EpochTable\n"
        "EpochTable.on_epoch_end = lambda *_: shutil.rmtree('out', ignore_errors=True)"
    )
    (tmp_path / "out").mkdir()
    argv = ["train", "--data", str(few_digits), "--arch", "convnet2a", "--eps", "0.1", "--nb-epochs", "2"]
    files = ["-o", "out/weights.pth", "--checkpoint-dir", "out/kept", "--csv", "out/epochs.csv"]
    end = nursery.run([*argv, *files], tmp_path, before=before)
    assert end.status == 2
    line = end.lines()[-1]
    assert f"out/weights.pth: the folder out does not exist): it is in {tmp_path / 'weights.pth'}" in line
    assert "the checkpoint of epoch 2 cannot be written" in end.err
    assert "Traceback" not in end.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.png", "weights.pth", "weights.yaml"]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text("through the pipe", pipe)
        assert os.read(reader, 100) == b"through the pipe"
    finally:
        os.close(reader)
    write_text("", "/dev/null")
    assert Path("/dev/null").is_char_device()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_stays_and_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "far" / "file.txt")
    write_text("new", tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "far" / "file.txt").read_text() == "new"


def test_two_runs_of_one_output(nursery: Nursery, few_digits: Path, tmp_path: Path) -> None:
    argv = ["train", "--data", str(few_digits), "--arch", "convnet2a", "--eps", "0.1", "--nb-epochs", "100000"]
    first = nursery.start([*argv, "--checkpoint-dir", "kept"], tmp_path)
    first.until(lambda: list(tmp_path.glob("kept/epoch-000001-*.pt")))
    same_output = nursery.run(argv, tmp_path)
    line = f"weights.pth is being written by another run, process {first.pid}"
    assert (same_output.status, [found.endswith(line) for found in same_output.lines()]) == (2, [True])
    same_folder = nursery.run([*argv, "-o", "other.pth", "--checkpoint-dir", "kept"], tmp_path)
    line = f"kept/checkpoints is being written by another run, process {first.pid}"
    assert (same_folder.status, [found.endswith(line) for found in same_folder.lines()]) == (2, [True])
    first.kill(signal.SIGKILL)
    first.end()
    again = [*argv[:-1], "1", "--checkpoint-dir", "kept"]
    assert nursery.run([*argv[:-1], "1"], tmp_path).status == 0, "a killed run keeps nobody out"
    assert nursery.run(again, tmp_path).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "weights.png", "weights.pth", "weights.yaml"]
    assert not list(tmp_path.rglob(".*"))


def test_two_runs_of_one_reconstruction(nursery: Nursery, sphere: Path, tmp_path: Path) -> None:
    argv = ["recon", str(sphere), "--steps", "100000", "--quiet"]
    files = ["-o", "a.ply", "--checkpoint", "fit.pt"]
    first = nursery.start([*argv, *files], tmp_path)
    first.until((tmp_path / ".fit.pt.lock").exists)
    second = nursery.run([*argv, "-o", "b.ply", "--checkpoint", "fit.pt"], tmp_path)
    line = f"fit.pt is being written by another run, process {first.pid}"
    assert [found.endswith(line) for found in second.lines()] == [True]
    first.kill(signal.SIGINT)
    first.end()
    assert list(tmp_path.iterdir()) == []


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("first")
        remove_unfinished(tmp_path, "*")
        write_text("second", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "first"
    both = claim(tmp_path / "b.txt", None, tmp_path / "a.txt")
    with claim(tmp_path / "a.txt"), pytest.raises(BlockingIOError, match="by another run, process"), both:
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
