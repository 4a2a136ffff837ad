"""The README's Python blocks run, in order and in one namespace; its commands are those of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from art_levelset.cli.main import main
from art_levelset.evaluation.record import read_records

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_blocks_and_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["report"].clean.mean() > 0.5
    assert len(names["points"]) > 500
    assert names["loss"].item() > 0.3
    assert all(torch.isfinite(parameter.grad).all() for parameter in names["network"].parameters())
    (tmp_path / "board").mkdir()
    commands = re.findall(r"^art-levelset (?:evaluate|leaderboard) .*$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        few = ["--nb-examples", "120"] if "evaluate" in command else []  # what masking is judged by at least
        assert main([*command.split()[1:], *few]) == 0
    assert read_records(tmp_path / "board")[0].clean > 0.5
    assert "digits" in (tmp_path / "board.md").read_text(encoding="utf-8")
    assert "</html>" in (tmp_path / "board.html").read_text(encoding="utf-8")


def test_it_is_a_welcome() -> None:
    """Measurements are in docs/results."""
    assert len(README.split()) <= 700


def test_the_plain_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = [line.strip() for line in makefile.splitlines() if line.startswith("\t")]
    commands = [line.replace("$(BIN)", ".venv/bin") for line in recipes]
    for plain in re.findall(r"^\.venv/bin/.*$", README, flags=re.MULTILINE):
        assert plain in commands
