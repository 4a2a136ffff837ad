"""docs/architecture.md shows the folders and the imports that the code has, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .test_import_rules import ALLOWED, GROUND, IMPORTS, PACKAGE, part

PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
ROOMS = {f"recon.{path.parent.name}" for path in PACKAGE.glob("recon/*/__init__.py")}


def table(names: Iterable[str]) -> dict[str, str]:
    """The last cell of the rows of these folders."""
    rows = re.findall(r"^\| `([\w.]+)` \|.*\|(.*)\|$", PAGE, flags=re.MULTILINE)
    return {name: imports.strip() for name, imports in rows if name in names}


def test_the_picture_shows_the_imports_between_folders() -> None:
    drawn = set(re.findall(r"^ +(\w+) --> (\w+)$", PAGE, flags=re.MULTILINE))
    real = {
        (part(item.file), target)
        for item in IMPORTS
        if (target := [*item.module.split("."), ""][1]) in FOLDERS and item.module.startswith("art_levelset.")
    }
    real = {(source, target) for source, target in real if source in FOLDERS and source != target}
    assert drawn == real - {("recon", "cli")}  # recon/__main__.py starts the command line


def test_the_picture_and_the_table_have_every_folder() -> None:
    assert set(re.findall(r"^ +(\w+)\[", PAGE, flags=re.MULTILINE)) == FOLDERS
    assert set(table(FOLDERS)) == FOLDERS
    assert set(re.findall(r"`art_levelset\.(\w+)` \(", PAGE)) == GROUND


def test_the_table_has_the_rules() -> None:
    rules = {**ALLOWED, "experiments": {"cli"}, "cli": set()}  # all but cli; everything
    assert {folder: set(re.findall(r"`(\w+)`", imports)) for folder, imports in table(FOLDERS).items()} == {
        folder: rules[folder] for folder in FOLDERS
    }


def test_the_rooms_of_the_reconstruction_import_only_those_before_them() -> None:
    rules = {room: set(re.findall(r"`([\w.]+)`", imports)) for room, imports in table(ROOMS).items()}
    assert set(rules) == ROOMS
    used: dict[str, set[str]] = {room: set() for room in ROOMS}
    for item in IMPORTS:
        room = ".".join(item.file.relative_to(PACKAGE).with_suffix("").parts[:2])
        target = ".".join(item.module.split(".")[1:3])
        if room in ROOMS and target in ROOMS and room != target:
            used[room].add(target)
    assert used == rules
    earlier: set[str] = set()
    for room, imports in rules.items():
        assert imports <= earlier
        earlier.add(room)
