from __future__ import annotations

import sys

import pytest

from art_levelset import progress
from art_levelset.progress import progress_bar


class Terminal:
    """A stream that somebody looks at."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_bars_are_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar(range(3))) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress_bar(range(3), verbose=False)) == [0, 1, 2]
    assert terminal.text == ""
    with progress_bar(total=3, unit="sample") as bar:
        bar.update(3)
    assert "3/3" in terminal.text


def test_bars_are_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not progress.shown(True)
    monkeypatch.setattr(progress, "_IN_NOTEBOOK", True)
    assert progress.shown(True)
    assert not progress.shown(False)
