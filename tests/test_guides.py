"""
The guides and the quick start: every block runs, prints what the page says, and draws the pictures that it shows.

`DRAW_GUIDES=1 python -m pytest tests/test_guides.py` writes the pictures anew.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from .nursing import Nursery
from .pages import ROOT, blocks_of, differences, images_of, patched, run_page

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
PAGES = [*GUIDES, *(ROOT / "docs").glob("quickstart.md")]

LARGEST = 150_000
"""Bytes of a picture."""

NOT_RUN = {"quickstart.md": 4, "several_processes.md": 4}
"""How many blocks of a page are allowed not to run."""


def coarse(picture: Path) -> NDArray[np.float64]:
    """A picture in 24 x 24 grey pixels, in [0, 1]."""
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGBA").convert("L").resize((24, 24)), dtype=np.float64) / 255


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_run_and_the_pictures_are_theirs(
    page: Path, nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    try:
        wrong = run_page(page, nursery)
    finally:
        plt.close("all")
    assert wrong == []
    for image in images_of(page):
        made = tmp_path / image.name
        assert made.exists(), f"no block of the page writes {image.name}"
        if os.environ.get("DRAW_GUIDES"):
            image.parent.mkdir(exist_ok=True)
            shutil.copy(made, image)
        assert image.stat().st_size < LARGEST
        assert np.abs(coarse(made) - coarse(image)).mean() < 0.05, f"{image.name} shows something else"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_few_blocks_do_not_run(page: Path) -> None:
    reasons = [block.reason for block in blocks_of(page.read_text(encoding="utf-8")) if block.reason]
    assert len(reasons) <= NOT_RUN.get(page.name, 0)
    assert all(len(reason.split()) >= 3 for reason in reasons)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_has_a_picture_and_output(page: Path) -> None:
    kinds = {block.kind for block in blocks_of(page.read_text(encoding="utf-8"))}
    assert "text" in kinds
    assert images_of(page)


def test_output_is_compared() -> None:
    assert differences("clean 97.4%, 12 of 500\n", "clean  95.0%, 12 of 500\n") == []
    assert differences("a ... c 0.50", "a b\nb c 0.52") == []
    assert differences("clean 97.4%", "clean 60.0%") == ["97.4% is shown, 60.0% printed"]
    assert differences("3 pieces", "4 pieces") == ["3 is shown, 4 printed"]
    assert len(differences("robust 0.5", "clean 0.5")) == 1
    assert len(differences("50%", "50")) == 1
    assert differences("[20.3, 36.1] of 3", "[25.0, 40.0] of 3", within=5) == []
    assert differences("[20.3, 36.1] of 3", "[25.0, 40.0] of 2", within=4) == [
        "20.3 is shown, 25.0 printed",
        "3 is shown, 2 printed",
    ]


def test_a_diff_must_fit_in_one_place() -> None:
    assert patched(["a\nb\nc\n", "e\n"], " a\n-b\n+d\n@@\n-c\n") == "a\nd\n"
    assert patched(["a\n", "a\nb\n"], "-a\n") == "b\n"
    with pytest.raises(ValueError, match="fits no block"):
        patched(["a\na\n"], "-a\n+b\n")
    with pytest.raises(ValueError, match="fits no block"):
        patched(["a\n"], "-b\n+c\n")
