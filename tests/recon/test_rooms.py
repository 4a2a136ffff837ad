"""The rooms of reconstruction lie in one order: none imports what comes after it, and no two files each other."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import art_levelset.recon

HOUSE = Path(art_levelset.recon.__file__).parent
FILES = [file for file in sorted(HOUSE.rglob("*.py")) if file.name != "__main__.py"]
NAME = "art_levelset.recon."

ALLOWED = {
    "adam": set(),
    "trilinear": set(),
    "threads": set(),
    "network": {"trilinear"},
    "patchwork": {"network"},
    "cloud": {"threads", "trilinear"},
    "io": {"cloud"},
    "fitting": {"adam", "cloud", "network", "patchwork"},
    "meshing": {"cloud", "threads"},
    "contents": set(),
    "saving": {"cloud", "contents", "meshing", "network", "patchwork"},
    "reconstruction": {"cloud", "fitting", "meshing", "patchwork", "saving", "threads"},
    "pipeline": {"cloud", "fitting", "meshing", "network", "reconstruction"},
    "paper": {"cloud", "fitting", "reconstruction"},
    "inspect": {"cloud", "io"},
    "curves": {"adam", "cloud", "contents", "io", "inspect"},
    "exact": {"cloud", "contents", "meshing"},
}
"""What each room, or module beside them, may import besides itself."""


def imports_of(file: Path) -> set[str]:
    """The modules of reconstruction that a file imports anywhere, also for its types or within functions."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {module.removeprefix(NAME) for module in modules if module.startswith(NAME)}


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("room", ALLOWED)
def test_no_room_imports_what_comes_after_it(room: str) -> None:
    files = [file for file in FILES if module_of(file).split(".")[0] == room]
    assert files
    imported = {module.split(".")[0] for file in files for module in imports_of(file)}
    assert imported - {room} <= ALLOWED[room]


def test_every_module_is_in_a_room() -> None:
    assert {module_of(file).split(".")[0] for file in FILES} - {"__init__"} == {*ALLOWED}


def test_no_files_import_each_other() -> None:
    sorter = TopologicalSorter({module_of(file): imports_of(file) for file in FILES})
    assert module_of(HOUSE / "pipeline.py") in list(sorter.static_order())
