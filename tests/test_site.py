"""What the site is made of: docstrings as Markdown, links out of docs/, and equations that lead to code and back."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
MATHEMATICS = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")


def tool(name: str) -> ModuleType:
    """A module of tools/docs."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "tools" / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docstrings, outside, tables = tool("docstrings"), tool("outside"), tool("tables")
PLACES = docstrings.places(MATHEMATICS)


def thing(name: str) -> Any:
    """What a path below the package means."""
    path = f"art_levelset.{name}".split(".")
    for size in range(len(path), 0, -1):
        try:
            found = importlib.import_module(".".join(path[:size]))
        except ModuleNotFoundError:
            continue
        for part in path[size:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def sections() -> list[tuple[str, list[str]]]:
    """From each heading's "9", "Theorem 1", ... to the names that its section links to."""
    parts = re.split(r"^(?=##)", MATHEMATICS, flags=re.MULTILINE)
    found = []
    for part in parts:
        place = list(docstrings.places(part))
        if place:
            found.append((place[0], re.findall(r"\[`([\w.]+)`\]\(\.\./art_levelset/", part)))
    return found


def test_every_equation_of_the_paper_is_there() -> None:
    assert {str(number) for number in range(1, 15)} <= set(PLACES)
    assert {"Lemma 1", "Lemma 2", "Theorem 1", "Table 1", "Table 2", "Table B4", "Figure 3", "Figure A2"} <= set(PLACES)
    assert PLACES["9"] == "eq-9-the-sample-network"


@pytest.mark.parametrize(("place", "names"), sections(), ids=lambda value: str(value)[:12])
def test_the_equations_lead_to_code_that_leads_back(place: str, names: list[str]) -> None:
    assert names
    silent = []
    for name in names:
        found = thing(name)
        texts = [found.__doc__ or "", (inspect.getmodule(found) or found).__doc__ or ""]
        if not any(place in docstrings.named(text) for text in texts):
            silent.append(name)
    assert silent == []


def test_what_docstrings_name_is_on_the_page() -> None:
    lost = set()
    for file in sorted((ROOT / "art_levelset").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                named = docstrings.named(ast.get_docstring(node) or "")
                named = {name for name in named if not name.startswith(("Section", "Appendix"))}
                lost |= {f"{file.name}: {name}" for name in named - set(PLACES)}
    assert lost == set()


def test_a_docstring_as_markdown() -> None:
    text = inspect.cleandoc(
        """
        Move :func:`points` by eqs. 4, 5 and eq. 99 (Lemma 1), unlike `eq. 9`; :meth:`_hidden` and :class:`~a.b.Name`:
        - a list,
        - and more.

            eq. 9 = formula

        :param x: The points of
               eq. 9.
        :return: More.

        | Paper link: https://example.org/a_b (the paper), https://example.org/c.

        >>> 1 + 1
        2
        """
    )
    known = {"points": "pkg.points", "a.b.Name": "pkg.a.b.Name"}
    assert docstrings.markdown(text, known.get, PLACES) == "\n".join(
        [
            f"Move [`points`][pkg.points] by [eqs. 4][{PLACES['4']}], [5][{PLACES['5']}] and eq. 99 "
            f"([Lemma 1][{PLACES['Lemma 1']}]), unlike `eq. 9`; `_hidden` and [`Name`][pkg.a.b.Name]:",
            "",
            "- a list,",
            "",
            "- and more.",
            "",
            "    eq. 9 = formula",
            "",
            "Paper: <https://example.org/a_b> (the paper), <https://example.org/c>.",
            "",
            "```pycon",
            ">>> 1 + 1",
            "2",
            "```",
            "",
            ":param x: The points of",
            f"       [eq. 9][{PLACES['9']}].",
            ":return: More.",
        ]
    )


def test_links_that_leave_the_pages(tmp_path: Path) -> None:
    for name in ("docs/guides/a.md", "docs/b.md", "README.md", "results/n.json", "extra/C.md", "extra/d.png", "x/p.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "extra" / "C.md").write_text("![picture](d.png) and [home](../README.md)")
    page = tmp_path / "docs" / "guides" / "a.md"
    (tmp_path / "art_levelset").mkdir()
    (tmp_path / "art_levelset" / "m.py").touch()
    text = (
        "[b](../b.md#there) [home](../../README.md) [n](../../results/n.json) [all](../../results) "
        "[`m.f`](../../art_levelset/m.py) [m](../../art_levelset/m.py) [C](../../extra/C.md) `m.f(x)` `other` "
        "[web](https://example.org/x.md)\n\n```\n[not](../../results/n.json)\n```\n"
    )
    page.write_text(text)
    assert outside.copies(tmp_path) == {
        "repository/results/n.json": tmp_path / "results" / "n.json",
        "repository/extra/C.md": tmp_path / "extra" / "C.md",
        "repository/extra/d.png": tmp_path / "extra" / "d.png",
    }
    assert outside.rewritten(tmp_path, page, "guides/a.md", text, {"m.f": "art_levelset.m.f"}) == (
        "[b](../b.md#there) [home](../index.md) [n](../repository/results/n.json) all "
        "[`m.f`][art_levelset.m.f] [m](../reference/m.md) [C](../repository/extra/C.md) "
        "[`m.f(x)`][art_levelset.m.f] `other` "
        "[web](https://example.org/x.md)\n\n```\n[not](../../results/n.json)\n```\n"
    )
    shutil.rmtree(tmp_path / "results")
    assert "repository/results/n.json" not in outside.copies(tmp_path)


def test_columns_of_prose_have_a_least_width() -> None:
    def table(*cells: str) -> str:
        head = '<thead><tr><th>a</th><th style="text-align: right;">b</th><th>c</th></tr></thead>'
        return f"<table>{head}<tbody><tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr></tbody></table>"

    prose = "a sentence that is longer than a column of numbers"
    wide = tables.with_widths(f"<p>{table('1', prose, '2')}</p>")
    assert re.findall("<th(?: [^>]*)?>", wide) == ["<th>", '<th style="text-align: right; min-width: 11rem;">', "<th>"]
    linked = f'<a href="{"x" * 60}">1</a>'
    assert tables.with_widths(table(linked, "2", "3")) == table(linked, "2", "3")
    assert tables.with_widths(prose) == prose
