from __future__ import annotations

from pathlib import Path

import pytest

from art_levelset.cli.main import main
from art_levelset.evaluation.leaderboard import markdown, text
from art_levelset.evaluation.page import html
from art_levelset.evaluation.record import write_record

from ..evaluation.invented import record

RECORDS = [record("A", 0.8), record("B", 0.9)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    folder.mkdir()
    for made in RECORDS:
        write_record(made, folder / f"{made.name}.json")
    return folder


def failure(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_the_table_and_its_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "board.md", tmp_path / "board.html"
    assert main(["leaderboard", str(folder), "--markdown", str(files[0]), "--html", str(files[1])]) == 0
    assert capsys.readouterr().out == f"{text(RECORDS)}\n"
    assert [file.read_text(encoding="utf-8") for file in files] == [markdown(RECORDS), html(RECORDS)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board.html", "board.md", "records"]


def test_the_table_alone_writes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("mnist, Linf, eps 0.3\n")
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_several_folders_are_one_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_record(record("C", 0.7), other / "C.json")
    assert main(["leaderboard", str(folder), str(other)]) == 0
    assert capsys.readouterr().out == f"{text([*RECORDS, record('C', 0.7)])}\n"


def test_a_folder_counts_once(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert main(["leaderboard", str(folder), str(folder / ".." / "records"), str(tmp_path / "link")]) == 0
    assert capsys.readouterr().out == f"{text(RECORDS)}\n"


def test_documents_are_no_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = folder.parent / "documents"
    others.mkdir()
    assert main(["leaderboard", str(folder), "--json", str(others / "board.json")]) == 0
    capsys.readouterr()
    assert main(["leaderboard", str(others)]) == 2
    assert failure(capsys) == f"art-levelset leaderboard: error: {others} holds no record (*.json)"
    (others / "board.json").rename(folder / "board.json")
    assert main(["leaderboard", str(folder)]) == 0
    assert capsys.readouterr().out == f"{text(RECORDS)}\n"


@pytest.mark.parametrize("option", ["--json", "--markdown", "--html"])
def test_no_file_is_written_that_would_be_taken_for_a_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.chdir(folder)
    for records in (str(folder), "."):
        assert main(["leaderboard", records, option, "board.json"]) == 2
        assert failure(capsys) == (
            f"art-levelset leaderboard: error: {option} must not be among the records, where every .json file is one, "
            "got board.json"
        )
    assert main(["leaderboard", ".", option, "../board.json"]) == 0
    assert main(["leaderboard", "."]) == 0


@pytest.mark.parametrize("missing", ["missing", ""])
def test_no_records(missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(tmp_path / missing), "--html", str(tmp_path / "board.html")]) == 2
    assert failure(capsys).startswith(f"art-levelset leaderboard: error: {tmp_path / missing} ")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_record_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "C.json").write_text('{"format": "art-levelset/evaluation", "version": 7}')
    assert main(["leaderboard", str(folder), "--markdown", str(tmp_path / "board.md")]) == 2
    assert failure(capsys) == f"art-levelset leaderboard: error: {folder / 'C.json'}: version must be 1, got 7"
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_a_file_that_cannot_be_written_leaves_the_other_unwritten(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html_file = tmp_path / "missing" / "board.html"
    assert main(["leaderboard", str(folder), "--markdown", str(tmp_path / "board.md"), "--html", str(html_file)]) == 2
    assert failure(capsys) == (
        f"art-levelset leaderboard: error: --html: {html_file}: the folder {html_file.parent} does not exist"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["records"]
