from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from art_levelset.recon.console import (
    FORMATS,
    PROGRAM,
    check_device,
    check_files,
    exit_status,
    in_one_line,
    write_files,
)
from art_levelset.recon.reading import read_cloud


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("two\n  lines"), 2, "error: two lines"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device"),
        (ImportError("needs laspy"), 2, "error: needs laspy"),
        (MemoryError(), 2, "error: MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_stops_a_command(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(raising(error)) == status
    assert capsys.readouterr() == ("", f"{PROGRAM}: {line}\n")


def test_mistakes_of_ours_are_not_hidden() -> None:
    assert exit_status(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        exit_status(raising(ZeroDivisionError()))
    assert in_one_line(ZeroDivisionError("division by\nzero")) == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.jpg", "--heat-map: must be a .png, .ply file, got a.jpg"),
        ("folder.ply", "--heat-map: folder.ply is a directory"),
        ("nowhere/a.ply", "--heat-map: there is no directory nowhere"),
        ("./scan.ply", "--heat-map: scan.ply is also the scan itself"),
    ],
)
def test_files_that_cannot_be_written(path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.ply").mkdir()
    arguments = Namespace(scan=Path("scan.ply"), heat_map=Path(path))
    with pytest.raises(ValueError) as caught:
        check_files(arguments, {"heat_map": (".png", ".ply")}, {Path("scan.ply").resolve(): "the scan itself"})
    assert str(caught.value) == message


def test_no_file_is_written_twice(tmp_path: Path) -> None:
    arguments = Namespace(scan=Path("scan.ply"), first=tmp_path / "a.ply", none=None, second=tmp_path / "a.ply")
    taken: dict[Path, str] = {}
    with pytest.raises(ValueError, match=r"^--second: .*a\.ply is also --first of scan\.ply$"):
        check_files(arguments, {"first": (), "none": (), "second": ()}, taken)
    assert list(taken) == [tmp_path.resolve() / "a.ply"]


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half of it")
        raise OSError("No space left on device")

    arguments = Namespace(a=tmp_path / "a.txt", none=None, b=tmp_path / "b.txt")
    arguments.b.write_text("before")
    with pytest.raises(OSError, match="No space left"):
        write_files(arguments, {"a": lambda path: path.write_text("all"), "none": fail, "b": fail})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "all", "b.txt": "before"}
    assert write_files(arguments, {"none": fail, "a": lambda path: path.write_text("new")}) == [arguments.a]
    assert arguments.a.read_text() == "new"


def test_devices() -> None:
    check_device("cpu")
    with pytest.raises(ValueError, match="^--device: 'abacus' cannot be used: "):
        check_device("abacus")


def test_the_help_names_what_can_be_read() -> None:
    with pytest.raises(ValueError, match=f"use one of {FORMATS}$"):
        read_cloud("a.jpg")
