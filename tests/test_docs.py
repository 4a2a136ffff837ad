"""The pages of the root and of docs/: the names that they give exist, and their Markdown links lead somewhere."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FACE = [path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"]  # which names what there was
PAGES = sorted(
    [*FACE, *(ROOT / name / "README.md" for name in ("examples", "releases")), *(ROOT / "docs").rglob("*.md")]
)
FOLDERS = sorted(path.parent.name for path in (ROOT / "art_levelset").glob("*/__init__.py"))
NAME = re.compile(rf"`(?:art_levelset\.)?((?:{'|'.join(FOLDERS)})(?:\.\w+)*)[`(]")


def exists(name: str) -> bool:
    """Whether the package has a module or something else of that name."""
    parts = name.split(".")
    value = importlib.import_module(f"art_levelset.{parts[0]}")
    for i, part in enumerate(parts[1:], start=2):
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = importlib.import_module(".".join(["art_levelset", *parts[:i]]))
            except ModuleNotFoundError:
                return False
    return True


def test_the_check_sees_names() -> None:
    assert exists("core.fields.Field")
    assert exists("recon.reconstruct")
    assert not exists("core.fields.Nothing")
    assert not exists("core.nothing")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_names_in_a_page_exist(page: Path) -> None:
    names = set(NAME.findall(page.read_text(encoding="utf-8")))
    assert [name for name in sorted(names) if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_in_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(<?([^)>#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []
