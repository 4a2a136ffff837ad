from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from art_levelset.cli.recon.files import check_files, write_files


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.jpg", "--heat-map: must be a .png, .ply file, got a.jpg"),
        ("folder.ply", "--heat-map: folder.ply is a folder"),
        ("nowhere/a.ply", "--heat-map: nowhere/a.ply: the folder nowhere does not exist"),
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
