"""
Docstrings, as this package writes them, to Markdown, as mkdocstrings reads it.

Roles (:func:`name`) become cross-references, examples (`>>>`) become fenced blocks, "| Paper link:" lines become links,
and the equations and theorems that a docstring names lead to their places in docs/mathematics.md. What follows the
fields (:param x: and so on) goes before them, as a reader of fields would take it for a part of the last one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

ROLE = re.compile(r":(?:func|class|mod|meth|data|attr|exc|obj):`([^`]+)`")
FIELD = re.compile(r":(?:param|return|returns|raises|rtype|type|var|ivar|cvar)\b[^:]*:")
NUMBERED = re.compile(r"\b[Ee]qs?\.[ \n](\d+)((?:(?:, | to | and )\d+)*)\b")
NAMED = re.compile(r"\b(Theorem|Lemma|Table|Figure|Section|Appendix)[ \n]([A-C]?\.?\d+(?:\.\d+)?)\b")
HEADING = re.compile(
    r"^#{2,4} (?:Eqs?\. )?((?:Theorem|Lemma|Table|Figure|Section|Appendix) [A-C]?\.?\d+|\d+)\b.*$", re.MULTILINE
)
CODE = re.compile(
    r"(^```.*?^```$|`[^`]+`|\[[^\]]+\]\[[^\]]+\]|<https?://[^>]+>|<autoref.*?</autoref>)", re.MULTILINE | re.DOTALL
)

Link = Callable[[str], str | None]
"""From a name in a docstring to the path of what it means, or None where the reference does not show that."""


def slug(heading: str) -> str:
    """
    The anchor of a heading, as GitHub makes it.

    :param heading: The text, without its leading signs.
    :return: The anchor.
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def places(mathematics: str) -> dict[str, str]:
    """
    The anchors of docs/mathematics.md.

    :param mathematics: The page.
    :return: From "9", "Theorem 1", "Table B1" and so on to the anchor of its heading.
    """
    return {match[1]: slug(match[0].lstrip("# ")) for match in HEADING.finditer(mathematics)}


def named(text: str) -> set[str]:
    """
    The equations, theorems, tables, figures and sections of the paper that a text names.

    :param text: A docstring.
    :return: "9", "Theorem 1", "Table B1", ...
    """
    numbers = {number for match in NUMBERED.finditer(text) for number in re.findall(r"\d+", match[0])}
    return numbers | {f"{match[1]} {match[2]}" for match in NAMED.finditer(text)}


def markdown(text: str, link: Link, anchors: Mapping[str, str]) -> str:
    """
    A docstring as Markdown, its fields last.

    :param text: The docstring, without indentation.
    :param link: Resolves the names in roles.
    :param anchors: What :func:`places` found.
    :return: The same in Markdown.
    """
    prose, fields = [], []
    for block in blocks(text):
        (fields if FIELD.match(block) else prose).append(block)
    parts = [_block(block, link, anchors) for block in (*prose, *("\n".join(fields),)) if block]
    return "\n\n".join(parts)


def blocks(text: str) -> Iterator[str]:
    """
    The parts of a docstring that blank lines separate; fields and what is indented below them are one part each.

    :param text: The docstring.
    :return: The parts, without the blank lines around them.
    """
    for part in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        lines = part.split("\n")
        starts = [i for i, line in enumerate(lines) if FIELD.match(line)]
        if starts and starts[0] > 0:
            yield "\n".join(lines[: starts[0]])
        if starts:
            yield "\n".join(lines[starts[0] :])
        else:
            yield part


def _block(block: str, link: Link, anchors: Mapping[str, str]) -> str:
    if block.lstrip().startswith(">>> "):
        indent = len(block) - len(block.lstrip())
        lines = [line[indent:] for line in block.split("\n")]
        return "\n".join(["```pycon", *lines, "```"])
    if block.startswith("    "):
        return block
    block = re.sub(r"^\| Paper link: ", "Paper: ", block, flags=re.MULTILINE)
    block = re.sub(r"^\| ", "", block, flags=re.MULTILINE)
    block = re.sub(r"(?<![<\w(])(https?://[^\s,<>]+[^\s,.;<>)])", r"<\1>", block)
    block = re.sub(r"(?<=[^\n])\n(?=(?:[-*]|\d+\.) )", "\n\n", block) if _lists(block) else block
    block = ROLE.sub(lambda match: reference(match[1], link), block)
    pieces = CODE.split(block)
    return "".join(piece if i % 2 else _placed(piece, anchors) for i, piece in enumerate(pieces))


def _lists(block: str) -> bool:
    """Whether a list begins within a block, right after a line of prose."""
    first, *others = block.split("\n")
    item = re.compile(r"(?:[-*]|\d+\.) ")
    return not item.match(first) and any(item.match(line) for line in others)


def reference(name: str, link: Link) -> str:
    """
    A name in a role as Markdown.

    :param name: As it stands in the role; "~" shows the last part only.
    :param link: Resolves it.
    :return: A cross-reference, or the name alone where there is nothing to show.
    """
    shown = name.lstrip("~!").removesuffix("()")
    path = link(shown)
    shown = shown.split(".")[-1] if name.startswith("~") else shown.removeprefix("art_levelset.")
    return f"`{shown}`" if path is None else f"[`{shown}`][{path}]"


def _placed(text: str, anchors: Mapping[str, str]) -> str:
    def numbers(match: re.Match[str]) -> str:
        def one(number: re.Match[str]) -> str:
            return f"[{number[0]}][{anchors[number[0]]}]" if number[0] in anchors else number[0]

        first = re.match(r"\D*\d+", match[0])
        if first is None:  # pragma: no cover - NUMBERED has a number
            return match[0]
        number = re.findall(r"\d+", first[0])[0]
        head = f"[{first[0]}][{anchors[number]}]" if number in anchors else first[0]
        return head + re.sub(r"\d+", one, match[0][first.end() :])

    def name(match: re.Match[str]) -> str:
        anchor = anchors.get(f"{match[1]} {match[2]}")
        return match[0] if anchor is None else f"[{match[0]}][{anchor}]"

    return NAMED.sub(name, NUMBERED.sub(numbers, text))
