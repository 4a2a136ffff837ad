"""Links of the pages that leave docs/: what they lead to comes along, and they are written anew for the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(<?([^)>#\s]*)(#[^)>\s]*)?>?\)")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def copies(root: Path) -> dict[str, Path]:
    """
    The files outside docs/ that the pages lead to, and those that these lead to.

    :param root: The repository.
    :return: From the file's place on the site to the file.
    """
    found: dict[str, Path] = {}
    pages = sorted((root / "docs").rglob("*.md"))
    while pages:
        page = pages.pop()
        for target in targets(page):
            file = (page.parent / target).resolve()
            place = place_of(root, file)
            if place is None or not file.is_file() or place in found or not place.startswith("repository/"):
                continue
            found[place] = file
            if file.suffix == ".md":
                pages.append(file)
    return found


def targets(page: Path) -> Iterator[str]:
    """
    Where the relative links of a page lead.

    :param page: A Markdown file.
    :return: The targets, without anchors.
    """
    for i, part in enumerate(FENCE.split(page.read_text(encoding="utf-8"))):
        if i % 2 == 0:
            yield from (match[2] for match in LINK.finditer(part) if match[2] and not re.match(r"[a-z]+:", match[2]))


def place_of(root: Path, file: Path) -> str | None:
    """
    Where a file of the repository is on the site.

    :param root: The repository.
    :param file: The file.
    :return: Its place as mkdocs counts, with .md at the end of pages; None for what the site does not have.
    """
    if not file.is_relative_to(root):
        return None
    parts = file.relative_to(root).as_posix()
    if parts == "README.md":
        return "index.md"
    if parts.startswith("docs/"):
        return parts.removeprefix("docs/")
    if parts.startswith("art_levelset/") and parts.endswith(".py"):
        return "reference/" + parts.removeprefix("art_levelset/").replace("__init__.py", "index.py")[:-3] + ".md"
    return f"repository/{parts}"


def rewritten(root: Path, page: Path, place: str, text: str, names: Mapping[str, str]) -> str:
    """
    A page with its links as they are on the site.

    :param root: The repository.
    :param page: The file of the page.
    :param place: Its place on the site.
    :param text: Its Markdown.
    :param names: From the names that code in the page gives ("core.fields.Field") to their anchors in the reference.
    :return: The Markdown. A link to a folder has become its text; to a module with a name, a link to that name.
    """

    def one(match: re.Match[str]) -> str:
        label, target, anchor = match[1], match[2], match[3] or ""
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        name = label[1:-1].strip("`")
        if target.endswith(".py") and name in names:
            return f"{label}[{names[name]}]"
        file = (page.parent / target).resolve()
        where = place_of(root, file)
        if where is None or file.is_dir():
            return label[1:-1]
        return f"{label}({posixpath.relpath(where, posixpath.dirname(place) or '.')}{anchor})"

    def code(match: re.Match[str]) -> str:
        name = match[1].split("(")[0].removeprefix("art_levelset.")
        return f"[{match[0]}][{names[name]}]" if name in names else match[0]

    parts = FENCE.split(text)
    for i in range(0, len(parts), 2):
        linked = LINK.sub(one, parts[i])
        pieces = re.split(r"(\[(?:[^\[\]]|\[[^\]]*\])*\](?:\([^)]*\)|\[[^\]]*\]))", linked)
        parts[i] = "".join(piece if j % 2 else re.sub(r"`([^`\n]+)`", code, piece) for j, piece in enumerate(pieces))
    return "".join(parts)
