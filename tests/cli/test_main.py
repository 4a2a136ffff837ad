from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import art_levelset
from art_levelset.cli.main import main
from art_levelset.experiments import demo


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "art-levelset: error: the following arguments are required: VERB"),
        (["fly"], "art-levelset: error: argument VERB: invalid choice: 'fly'"),
        (["demo", "--seed", "x"], "art-levelset demo: error: argument --seed: invalid int value: 'x'"),
        (["demo", "--fast"], "art-levelset: error: unrecognized arguments: --fast"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert one_line(capsys).startswith(message)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"art-levelset {art_levelset.__version__}\n"


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "demo" in out
    assert "recon" in out


def test_bad_input_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", str(tmp_path / "out"), "--seed", "-1"]) == 2
    assert one_line(capsys) == "art-levelset demo: error: seed must be >= 0, got -1"
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    assert main(["demo", "-o", str(tmp_path / "file")]) == 2
    assert one_line(capsys).startswith("art-levelset demo: error: [Errno 17] File exists")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ImportError("no module\nhere"), 2, "art-levelset demo: error: no module here"),
        (TypeError("x must be a number"), 2, "art-levelset demo: error: x must be a number"),
        (KeyboardInterrupt(), 130, "art-levelset demo: interrupted"),
    ],
)
def test_errors_of_a_verb(
    error: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(demo, "run", fail)
    assert main(["demo"]) == status
    assert one_line(capsys) == message


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(demo, "run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["demo"])


def test_python_m(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["art_levelset", "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("art_levelset", run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("art-levelset ")
