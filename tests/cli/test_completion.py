"""The scripts of --print-completion: bash takes its own and completes with it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from art_levelset.cli.completion import script
from art_levelset.cli.main import SHELLS, build_parser, main

BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="needs bash")

ASK = """
source "$1"; shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
completion=$(complete -p art-levelset | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$completion" art-levelset "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def printed(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["--print-completion", shell])
    assert stop.value.code == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "art-levelset"
    path.write_text(script(build_parser(), build_parser(curve=True), "bash"))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("scan.ply", "images.npz"):
        (tmp_path / name).touch()
    (tmp_path / "records").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_options_and_choices(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(shell, capsys)
    for word in ("art-levelset", "leaderboard", "--output-dir", "autoattack-plus", "geometric-svm"):
        assert word in text
    if shell != "tcsh":  # which completes the options with values only
        assert "--time-budget" in text
        assert "--closed" in text


@needs_bash
def test_bash_takes_its_script(bash_script: Path) -> None:
    found = subprocess.run([str(BASH), "-n", str(bash_script)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@needs_bash
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("le", {"leaderboard"}),
        ("re", {"recon"}),
        ("--vers", {"--version"}),
        ("--print-completion z", {"zsh"}),
        ("evaluate --ep", {"--eps", "--eps-step"}),
        ("evaluate --arch convnet4a", {"convnet4a", "convnet4a-released"}),
        ("evaluate --arch resnet18 --threat-model L", {"Linf", "L2", "L1"}),
        ("evaluate --attacks pgd-ce autoattack-p", {"autoattack-plus", "autoattack-partial"}),
        ("evaluate --arch im", {"images.npz"}),
        ("train --arch convnet2", {"convnet2a", "convnet2b"}),
        ("train --arch im", {"images.npz"}),
        ("evaluate --data mn", {"mnist"}),
        ("evaluate --data im", {"images.npz"}),
        ("evaluate --data-root ", {"records"}),
        ("train --trainer ma", {"madry", "madry-awp"}),
        ("train --preset paper-m", {"paper-mnist"}),
        ("leaderboard re", {"records"}),
        ("recon sc", {"scan.ply"}),
        ("recon --steps 3 --reference sc", {"scan.ply"}),
        ("recon --output-dir ", {"records"}),
        ("recon --clo", {"--closed"}),
        ("exact sc", {"scan.ply"}),
    ],
)
def test_bash_completes(words: str, completions: set[str], bash_script: Path) -> None:
    command = [str(BASH), "--norc", "-c", ASK, "bash", str(bash_script), "art-levelset", *words.split(" ")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) == completions
