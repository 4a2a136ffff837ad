from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import art_levelset
from art_levelset.cli.main import main
from art_levelset.experiments import demo
from art_levelset.experiments.demo import Demonstration, Robustness, Surface

FOUND = Demonstration(
    [Robustness("cross-entropy", 0.9, 0.1, 0.1, 2.0)],
    [],
    Surface(1000, 2000, True, 2, 9.0),
    [Path("demo.json")],
    12.0,
    {"eps": 0.15},
)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "art-levelset: error: the following arguments are required: VERB"),
        (
            ["fly"],
            "art-levelset: error: VERB must be one of demo, train, evaluate, merge, leaderboard, exact, recon, got "
            "'fly'",
        ),
        (["demo", "--seed", "x"], "art-levelset demo: error: --seed must be an integer, got 'x'"),
        (
            ["demo", "--fast"],
            "art-levelset demo: error: there is no option --fast; art-levelset demo --help lists them",
        ),
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
    libraries = f"torch {metadata.version('torch')}, ART {metadata.version('adversarial-robustness-toolbox')}"
    version = f"{art_levelset.__version__} ({libraries}, Python {platform.python_version()})"
    assert capsys.readouterr().out == f"art-levelset {version}\n"


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "demo" in out
    assert "recon" in out


def test_bad_input_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", str(tmp_path / "out"), "--seed", "-1"]) == 2
    assert one_line(capsys) == "art-levelset demo: error: --seed must be an integer >= 0, got -1"
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    assert main(["demo", "-o", str(tmp_path / "file")]) == 2
    assert one_line(capsys).endswith("file is a file")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ImportError("no module\nhere"), 2, "art-levelset demo: error: no module here"),
        (OSError(28, "No space left on device"), 2, "art-levelset demo: error: [Errno 28] No space left on device"),
        (FloatingPointError("the loss is nan"), 2, "art-levelset demo: error: the loss is nan"),
        (MemoryError(), 2, "art-levelset demo: error: MemoryError"),
        (KeyboardInterrupt("half is kept"), 130, "art-levelset demo: interrupted; half is kept"),
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


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TypeError("a bug"), KeyError("a bug")])
def test_other_errors_keep_their_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(demo, "run", fail)
    with pytest.raises(type(error), match="a bug"):
        main(["demo"])


@pytest.mark.parametrize("verb", ["demo", "train", "evaluate", "leaderboard", "recon"])
def test_every_verb_has_one_name(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: art-levelset {verb} ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "-1"], "--seed must be an integer >= 0, got -1"),
        (["--device", "abacus"], "--device must be cpu, cuda or cuda:N, got 'abacus'"),
        (["--device", "cuda:99"], "--device: there is no cuda:99"),
    ],
)
@pytest.mark.parametrize(
    "verb",
    [
        ["train", "--data", "digits", "--arch", "convnet2a", "--eps", "0.1"],
        ["evaluate", "--model", "a.pth", "--arch", "convnet2a", "--data", "digits", "--eps", "0.1"],
        ["recon", "a.ply"],
        ["recon", "--curve", "a.ply"],
    ],
)
def test_seed_and_device_are_checked_first(
    verb: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, *options]) == 2
    assert one_line(capsys).startswith(f"art-levelset {verb[0]}: error: {message}")


def test_python_m() -> None:
    command = [sys.executable, "-m", "art_levelset", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("art-levelset ")


def test_the_demo_prints_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(folder: Path, *, seed: int, verbose: bool) -> Demonstration:
        given.append((folder, seed, verbose))
        return FOUND

    given: list[tuple[Path, int, bool]] = []
    monkeypatch.setattr(demo, "run", run)
    assert main(["demo", "-o", str(tmp_path), "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"{FOUND.report()}\n"
    assert main(["demo", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{FOUND.tables()}\n"
    assert given == [(tmp_path, 3, True), (Path("demo-output"), 0, False)]
