"""Examples run: each script with `--fast`, each notebook's cells with FAST=1; and they keep to their sizes."""

from __future__ import annotations

import ast
import importlib.util
import json
import logging
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trimesh
from matplotlib import pyplot
from PIL import Image

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NEEDED = {
    "lidar_facade": ("laspy",),
    "robustbench_zoo": ("robustbench", "pyautoattack"),
    "torchattacks_attack": ("torchattacks",),
}
"""Libraries beyond the package's own."""

SAID = {
    "art_dropin": ["AdversarialTrainerMadryPGD", "LevelSetMarginTrainer"],
    "cifar10_resnet18": ["worst case"],
    "leaderboard": ["level sets 0.2", "cross entropy"],
    "level_sets_animation": ["3 frames"],
    "lidar_facade": ["2,000 points"],
    "noisy_curve": ["1 piece (closed)"],
    "robustbench_zoo": ["worst case"],
    "scan_to_print": ["watertight", "100.0 mm", "1 part"],
    "torch_only": ["off by"],
    "torchattacks_attack": ["torchattacks.PGD leaves", "Torchattacks Square", "worst case"],
}
"""What each script prints."""

WRITTEN = {
    "cifar10_resnet18": ["cifar10-run", "cifar10.csv", "cifar10.pth"],
    "leaderboard": ["board", "board.html", "board.md", "models"],
    "level_sets_animation": ["level_sets.gif"],
    "lidar_facade": ["facade.las", "facade.mesh.ply", "facade.mesh.png"],
    "noisy_curve": ["knot.csv", "knot.png"],
    "scan_to_print": ["print.png", "print.stl"],
    "torch_only": ["star.png"],
}
"""The files that each script leaves, and no others."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST", "1")
    monkeypatch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    logger = logging.getLogger("art_levelset")  # a notebook silences it
    level = logger.level
    yield
    logger.setLevel(level)


def test_there_are_enough_of_them_and_all_are_listed() -> None:
    assert len(SCRIPTS) >= 8
    assert len(NOTEBOOKS) >= 4
    assert {script.stem for script in SCRIPTS} == SAID.keys()
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (*SCRIPTS, *NOTEBOOKS) if f"]({path.name})" not in page] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_says_how_it_is_called(script: Path) -> None:
    source = script.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 60
    said = ast.get_docstring(ast.parse(source))
    assert said is not None
    assert f"python examples/{script.name}" in said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in NEEDED.get(script.stem, ()):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    monkeypatch.setattr(sys, "argv", [str(script), "--fast"])
    runpy.run_path(str(script), run_name="__main__")
    pyplot.close("all")
    printed = capsys.readouterr().out
    assert [text for text in SAID[script.stem] if text not in printed] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == WRITTEN.get(script.stem, [])
    for picture in [*tmp_path.glob("*.png"), *tmp_path.glob("*.gif")]:
        with Image.open(picture) as image:
            low, high = image.convert("L").getextrema()
        assert (picture.name, low < high) == (picture.name, True)
    for model in tmp_path.glob("*.stl"):  # closed, in millimetres, on the plate of the printer
        mesh = trimesh.load(model)
        assert mesh.is_volume
        assert mesh.bounds[0] == pytest.approx([0, 0, 0], abs=1e-3)
        assert mesh.extents[2] == pytest.approx(100, abs=1e-3)


def cells(notebook: Path) -> list[dict[str, Any]]:
    """The code cells of a notebook."""
    contents = json.loads(notebook.read_text(encoding="utf-8"))
    return [cell for cell in contents["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_clean_and_was_run_from_the_top(notebook: Path) -> None:
    assert notebook.stat().st_size < 300_000
    contents = json.loads(notebook.read_text(encoding="utf-8"))
    assert (contents["nbformat"], contents["nbformat_minor"] >= 5) == (4, True)
    assert contents["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert all(cell["metadata"] == {} for cell in contents["cells"])
    identifiers = [cell["id"] for cell in contents["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    assert contents["cells"][0]["cell_type"] == "markdown"
    run = cells(notebook)
    assert [cell["execution_count"] for cell in run] == list(range(1, len(run) + 1))
    outputs = [output for cell in run for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"display_data", "execute_result", "stream"}
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "/home/" not in notebook.read_text(encoding="utf-8")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells(notebook), start=1):
        exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)
    assert names["FAST"] is True
    pyplot.close("all")
