"""What is no file to read: pipes, devices, folders, loops, empty and very large files; and odd names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_levelset.cli.main import main

from .damage import outcome
from .readers import content_of, readers

READERS = {each.name: each for each in readers()}
NOT_FROM_PATHS = {
    "training checkpoint",
    "memory of work",
    *(name for name in READERS if "command" in name or "goes on" in name),
}
"""Those find their files by themselves."""

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs the files of POSIX")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


def empty(path: Path) -> None:
    path.touch()


def sparse(path: Path) -> None:
    """A hundred gigabytes, of which none is on the disk."""
    with path.open("wb") as file:
        file.truncate(100 * 10**9)


def missing(path: Path) -> None:
    """Nothing."""


KINDS = [pipe, device, folder, loop, empty, sparse, missing]
NAMES = ["a b", "a\nb", "\x1b[31ma", "-a", "ä", "a\udcffb", "$\\frac{a$", "%s {0}"]


@pytest.mark.parametrize("name", [name for name in READERS if name not in NOT_FROM_PATHS])
def test_what_is_no_such_file_is_refused(name: str, tmp_path: Path) -> None:
    for kind in KINDS:
        if name in ("rows", "fit checkpoint") and kind in (missing, loop):
            continue  # it is written then, or found to be a loop by the system
        path = tmp_path / f"{kind.__name__}{READERS[name].suffix}"
        kind(path)
        is_read, message = outcome(lambda path=path: READERS[name].read(path), str(path))  # type: ignore[misc]
        assert not is_read, message


@pytest.mark.parametrize("name", [name for name in READERS if name not in NOT_FROM_PATHS])
def test_odd_names_are_names(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    for stem in NAMES:
        path = tmp_path / f"{stem}{reader.suffix}"
        path.write_bytes(content_of(reader))
        is_read, message = outcome(lambda path=path: reader.read(path), stem)  # type: ignore[misc]
        assert is_read, message


def commands(path: dict[str, Path], right: Path, out: str) -> list[list[str]]:
    evaluate = ["evaluate", "--arch", "convnet2a", "--eps", "0.1", f"--output={out}"]
    return [
        [*evaluate, f"--model={path['.pt']}", f"--data={right}"],
        [*evaluate, f"--model={path['.pt']}", f"--data={path['.npz']}"],
        ["train", f"--data={path['.npz']}", "--arch", "convnet2a", "--eps", "0.1", f"--output={out}"],
        ["exact", f"--output={out}.ply", "--", str(path[".pt"])],
        ["exact", f"--output={out}.pt", "--", str(path[".ply"])],
        *(
            ["recon", f"--output={out}.ply", "--", str(path[suffix])]
            for suffix in (".npz", ".npy", ".ply", ".csv", ".stl")
        ),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_says_so_in_one_line(
    kind: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = {suffix: tmp_path / f"-\x1b[31ma\nb{suffix}" for suffix in (".pt", ".npz", ".npy", ".ply", ".csv", ".stl")}
    for each in path.values():
        kind(each)
    right = tmp_path / "right.npz"
    np.savez(right, x_test=np.zeros((2, 8, 8), np.uint8), y_test=np.arange(2))
    for command in commands(path, right, str(tmp_path / "out")):
        is_done, status = outcome(lambda command=command: main(command), "")  # type: ignore[misc]
        assert (is_done, status) == (True, 2), command
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1, err
        assert err.strip().isprintable(), ascii(err)


def test_a_pipe_in_a_folder_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in (pipe, device, folder, loop, empty, sparse):
        records = tmp_path / kind.__name__
        records.mkdir()
        kind(records / "\x1b[31m.json")
        assert outcome(lambda records=records: main(["leaderboard", str(records)]), "") == (True, 2)  # type: ignore[misc]
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert err.strip().isprintable()


def test_a_process_of_its_own(tmp_path: Path) -> None:
    """As a user starts it, with names that are no text and a terminal that knows ASCII only."""
    name = os.fsencode(tmp_path) + b"/\xff\x1b[31m.npz"
    Path(os.fsdecode(name)).write_bytes(b"PK\x03\x04")
    child = subprocess.run(
        [sys.executable, "-m", "art_levelset", "recon", name],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        check=False,
    )
    assert child.returncode == 2
    assert child.stdout == b""
    assert child.stderr.count(b"\n") == 1
    assert b"\x1b" not in child.stderr
    assert b"Traceback" not in child.stderr


def test_pipes_among_checkpoints_and_memory(tmp_path: Path, caplog: Any) -> None:
    from art_levelset.attacks.memo import Memo
    from art_levelset.trainers.checkpoints import Checkpoints

    for kind in (pipe, device, folder, loop, empty, sparse):
        place = tmp_path / kind.__name__
        place.mkdir()
        kind(place / "epoch-000001-0123456789abcdef.pt")
        is_read, message = outcome(lambda place=place: Checkpoints(place).read(), str(place))  # type: ignore[misc]
        assert not is_read, message
        kind(place / f"{'a' * 64}.npz")
        assert outcome(lambda place=place: Memo(place).recall("a" * 64), "") == (True, None)  # type: ignore[misc]
