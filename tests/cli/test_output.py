"""What the verbs let out: one JSON document, results alone with --quiet, a log with --verbose, bars on a terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import struct
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from trimesh.creation import box

from art_levelset.cli.main import main
from art_levelset.cli.output import Output, as_json
from art_levelset.cli.recon import curves, surfaces
from art_levelset.evaluation.datasets import digits
from art_levelset.evaluation.record import write_record
from art_levelset.experiments import demo
from art_levelset.models import convnet_2a
from art_levelset.recon import reconstruct
from art_levelset.recon.cloud.clouds import Points
from art_levelset.recon.curves.fit import reconstruct_curve
from art_levelset.recon.curves.result import CurveReconstruction

from ..evaluation.invented import record
from .test_main import FOUND

PAGE = Path(__file__).parents[2] / "docs" / "command_line.md"
NETWORK = ["--arch", "convnet2a", "--data", "few.npz", "--eps", "0.15"]
TRAIN = ["train", *NETWORK, "--batch-size", "20", "--nb-epochs", "1", "--trainer", "madry"]
EVALUATE = ["evaluate", *NETWORK, "--max-iter", "2", "--attacks", "pgd-margin", "--model", "weights.pth"]
RECON = ["recon", "a.npy", "--steps", "1", "--resolution", "16"]
CURVE = ["recon", "--curve", "ring.npy"]
COMMANDS = {
    "demo": ["demo"],
    "train": TRAIN,
    "evaluate": EVALUATE,
    "leaderboard": ["leaderboard", "records"],
    "exact": ["exact", "box.ply", "-o", "box.pt"],
    "recon": RECON,
    "recon --curve": CURVE,
}
each_verb = pytest.mark.parametrize("verb", COMMANDS)


FIRST_LINES = {
    "demo": r"Handwritten digits",
    "train": r"epoch +loss",
    "evaluate": r" +accuracy +95% interval",
    "leaderboard": r"mnist, Linf, eps 0.3\b",
    "exact": r"faces 12, planes",
    "recon": r"to the cloud / diagonal",
    "recon --curve": r"\d+ pieces?, length",
}


def circle(count: int = 300) -> Points:
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, count)
    noise = np.random.default_rng(1).normal(0, 0.01, (count, 3))
    found: Points = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1) + noise
    return found


@pytest.fixture(scope="module")
def curve() -> CurveReconstruction:
    return reconstruct_curve(circle(), verbose=False)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with something small for each verb."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "run", lambda *_, **__: FOUND)
    monkeypatch.setitem(surfaces.PRESETS, "default", partial(reconstruct, batch_size=64))
    torch.save(convnet_2a(10, (1, 8, 8)).state_dict(), "weights.pth")
    (x, y), _ = digits()
    np.savez("few.npz", x_train=x[:60, 0], y_train=y[:60], x_test=x[:20, 0], y_test=y[:20])
    Path("records").mkdir()
    write_record(record("A", 0.8), "records/A.json")
    box().export("box.ply")
    sphere = np.random.default_rng(0).standard_normal((300, 3))
    np.save("a.npy", sphere / np.linalg.norm(sphere, axis=1, keepdims=True))
    np.save("ring.npy", circle())


@pytest.fixture
def _fitted(curve: CurveReconstruction, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve of the circle, without fitting it again."""
    monkeypatch.setattr(curves, "reconstruct_curve", lambda *_, **__: curve)


def documented(verb: str) -> set[str]:
    """The keys that the page gives a verb: those of its row that stand in front of "with", ";", and so on."""
    (row,) = re.findall(rf"^\| {re.escape(verb)} \| (.*) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return set(re.findall(r"`(\w+)`", row))


@each_verb
@pytest.mark.usefixtures("_fitted")
def test_the_document_is_alone_on_stdout(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMANDS[verb], "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["verb"] == verb.split()[0]
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", document["version"])
    assert re.search(FIRST_LINES[verb], captured.err, flags=re.MULTILINE), "what people read"
    if verb != "demo":
        assert all(Path(file).exists() for file in document["files"])
    own = document.keys() - {"verb", "version", "files"}
    assert own <= documented(verb)
    assert documented(verb) - own <= {
        "recon": {"reference", "distances", "relative"},
        "exact": {"mesh"},
        "demo": {"eps_train", "attack_steps", "seed", "digits", "figure1", "scan"},  # of an invented demonstration
        "leaderboard": {"dataset", "threat_model", "eps", "rows"},  # one level below
    }.get(verb, set())


def test_the_keys_of_the_demonstration() -> None:
    assert documented("demo") == {"eps", "eps_train", "attack_steps", "seed", "digits", "figure1", "scan", "seconds"}


@each_verb
@pytest.mark.usefixtures("_fitted")
def test_quiet_leaves_the_results_and_a_file_has_the_document(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMANDS[verb], "--quiet", "--json", "all.json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert re.match(FIRST_LINES[verb], captured.out)
    assert not re.search(r"^wrote|^Wrote|art-levelset", captured.out, flags=re.MULTILINE)
    assert json.loads(Path("all.json").read_text(encoding="utf-8"))["verb"] == verb.split()[0]


def test_quiet_leaves_the_document_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMANDS["leaderboard"], "--quiet", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["boards"]


def test_an_exact_network_as_a_mesh(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exact", "box.ply", "-o", "box.pt", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["exact", "box.pt", "-o", "back.ply", "--resolution", "10", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == ["back.ply"]
    assert document["mesh"].keys() == {"vertices", "triangles", "components"}


def test_of_several_scans(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RECON, "missing.npy", "--json", "-"]) == 1
    document = json.loads(capsys.readouterr().out)
    done, failed = document["scans"]
    assert (done["scan"], done["error"], done["files"]) == ("a.npy", None, ["a.mesh.ply"])
    assert documented("recon") - done.keys() == {"reference", "distances", "relative"}
    assert (failed["scan"], failed["files"]) == ("missing.npy", [])
    assert "No such file" in failed["error"]
    assert document["files"] == ["a.mesh.ply"]
    assert main([*RECON, "missing.npy", "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["scan", "a.npy", "missing.npy"]


def test_the_record_is_that_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EVALUATE, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["record"] == json.loads(Path("record.json").read_text(encoding="utf-8"))
    assert document["failed"] is None


def test_the_rows_of_a_leaderboard(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "records", "--json", "-"]) == 0
    (board,) = json.loads(capsys.readouterr().out)["boards"]
    (row,) = board["rows"]
    assert board.keys() - {"rows"} < documented("leaderboard")
    assert (row["rank"], row["name"], row["worst_case"]) == (1, "A", 0.8)
    sentence = PAGE.read_text(encoding="utf-8").partition("A row of a leaderboard has ")[2].partition(";")[0]
    assert re.findall(r"`(\w+)`", sentence) == list(row)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            [*RECON, "--json", "a.npy"],
            "--json must be a .json file or -, got 'a.npy'; put --json last, or write --json -",
        ),
        (["leaderboard", "--json", "records"], "--json must be a .json file or -, got 'records'"),
        (["leaderboard", "records", "--json", "no/all.json"], "--json: no/all.json: the folder no does not exist"),
        ([*EVALUATE, "--json", "record.json"], "--json: record.json is also --output"),
        ([*EVALUATE, "-o", "weights.pth"], "--output must be another file than --model, got weights.pth"),
        ([*EVALUATE, "--data", "a.npy", "-o", "./a.npy"], "--output must be another file than --data, got a.npy"),
        (["train", "--data", "a.npy", "-o", "a.npy"], "--output must be another file than --data, got a.npy"),
        ([*RECON, "--reference", "b.ply", "-o", "b.ply"], "--output: b.ply is also the --reference itself"),
        ([*RECON, "--reference", "b.ply", "--heat-map", "b.ply"], "--heat-map: b.ply is also the --reference itself"),
        ([*RECON, "b.npy", "--json", "all.json"], "--json: all.json is one file for 2 scans: write {stem} in it"),
        (["demo", "--quiet", "--verbose"], "argument -v/--verbose: not allowed with argument -q/--quiet"),
    ],
)
def test_documents_that_have_no_place(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().iterdir())
    try:
        status: object = main(argv)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    (line,) = captured.err.splitlines()
    assert message in line
    assert sorted(Path().iterdir()) == before


def test_an_error_leaves_stdout_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recon", "missing.npy", "--json"]) == 2
    assert capsys.readouterr() == ("", "art-levelset recon: error: missing.npy: No such file or directory\n")


def test_several_processes_have_one_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main([*RECON, "--json", "-"]) == 2
    assert "--json: 2 processes have one standard output" in capsys.readouterr().err


def test_numbers_that_json_has_not() -> None:
    document = {"a": float("nan"), "b": [float("inf"), 1.5, True, None], "c": {"d": (Path("x"), "y")}}
    assert json.loads(as_json(document)) == {"a": None, "b": [None, 1.5, True, None], "c": {"d": ["x", "y"]}}


def test_verbose_is_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    package = logging.getLogger("art_levelset")
    before = package.level, list(package.handlers)
    command = ["leaderboard", "records", "--markdown", "board.md"]
    assert main(command) == 0
    assert capsys.readouterr().err == ""
    assert main([*command, "-v"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(maxsplit=3)[3] for line in lines][1:] == ["wrote board.md"]
    assert re.match(r"\d\d:\d\d:\d\d INFO art_levelset.cli.main: art-levelset \S+ \(torch ", lines[0])
    assert main([*command, "-vv"]) == 0
    text = capsys.readouterr().err
    assert "DEBUG art_levelset.cli.main: --markdown board.md, " in text
    assert (package.level, package.handlers) == before


def test_the_log_says_what_is_read_and_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RECON, "-v"]) == 0
    text = capsys.readouterr().err
    for message in ("a.npy has 300 points", "300 points, ", "fit took ", "wrote a.mesh.ply"):
        assert f": {message}" in text


def test_warnings_are_lines_unless_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def warn(*_: Any, **__: Any) -> Any:
        logging.getLogger("art_levelset.experiments").warning("few %s", "points")
        return FOUND

    monkeypatch.setattr(demo, "run", warn)
    assert main(["demo"]) == 0
    assert capsys.readouterr().err == "art-levelset demo: warning: few points\n"
    assert main(["demo", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_results_and_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output("fly", quiet=True)
    output.result("a result")
    output.remark("a remark")
    assert not output.bars
    assert capsys.readouterr() == ("a result\n", "")


class Terminal:
    """The error stream of the process as a terminal of 80 columns, and what is written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._stream = os.fdopen(theirs, "w", encoding="utf-8")
        self._seen = b""
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        monkeypatch.setattr(sys, "stderr", self._stream)

    def _read(self) -> None:
        with suppress(OSError):  # how the end of a terminal is told on Linux
            while part := os.read(self._ours, 65536):
                self._seen += part

    def text(self) -> str:
        self._stream.close()
        self._reader.join()
        os.close(self._ours)
        return self._seen.decode()


def test_bars_are_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TRAIN) == 0
    assert capsys.readouterr().err == ""
    with monkeypatch.context() as patch:
        terminal = Terminal(patch)
        assert main(TRAIN) == 0
        assert re.search(r"\rMadry: .* \d+/\d+ \[", terminal.text())
    with monkeypatch.context() as patch:
        terminal = Terminal(patch)
        assert main([*TRAIN, "--quiet"]) == 0
        assert terminal.text() == ""
