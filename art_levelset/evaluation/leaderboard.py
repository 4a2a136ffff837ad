"""Records as ranked tables: for the terminal and in Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from urllib.parse import quote, urlsplit

from art_levelset.evaluation.ranking import boards, interval_in_percent, masking_in_short
from art_levelset.evaluation.record import Record, percent

NOTE = (
    "Accuracies in percent. Worst case: right under every attack and repeat; its 95% interval beside it.\n"
    "Masking: checks for masked gradients. A model that fails one, or is unreliable, may be weaker than it looks."
)

_HEADINGS = ("", "model", "clean", "worst case", "95% interval", "AutoAttack", "samples", "masking")
_NAME = 1
_ALIGNED_LEFT = (_NAME, 7)
_COLUMNS = 100
_GAP = 2
_MARKDOWN = re.compile(r"([\\`*_\[\]|~$#!])")


def text(records: Iterable[Record]) -> str:
    """
    The leaderboard for a terminal, at most 100 columns wide.

    :param records: At least one.
    :return: A table for each data set, threat model and radius.
    :raises ValueError: If there is no record.
    """
    parts = []
    for board in boards(records):
        rows = [_HEADINGS, *(_row(rank, record, record.name) for rank, record in board.entries)]
        widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        others = sum(widths) - widths[_NAME] + _GAP * (len(widths) - 1)
        widths[_NAME] = max(len(_HEADINGS[_NAME]), min(widths[_NAME], _COLUMNS - others))
        lines = [(" " * _GAP).join(map(_cell, row, widths, range(len(row)))).rstrip() for row in rows]
        title = f"{board.dataset}, {board.threat_model}, eps {board.eps}"
        parts.append("\n".join([_shortened(title, _COLUMNS), *lines]))
    return "\n\n".join([*parts, NOTE])


def markdown(records: Iterable[Record]) -> str:
    """
    The leaderboard in Markdown, as GitHub renders it.

    :param records: At least one.
    :return: A heading and a table for each data set, threat model and radius.
    :raises ValueError: If there is no record.
    """
    parts = []
    for board in boards(records):
        title = f"### {_escaped(board.dataset)}, {board.threat_model}, eps {board.eps}\n"
        rule = [":--" if i in _ALIGNED_LEFT else "--:" for i in range(len(_HEADINGS))]
        rows = [_row(rank, record, _linked(record)) for rank, record in board.entries]
        parts.append("\n".join([title, *(f"| {' | '.join(row)} |" for row in (_HEADINGS, rule, *rows))]))
    return "\n\n".join([*parts, NOTE]) + "\n"


def web_address(link: str) -> str | None:
    """
    The address that a page may link to.

    :param link: A record's link.
    :return: The link if it is an http or https address, percent-encoded where it has to be; None otherwise.
    """
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    return quote(link, safe=":/?#@!$&*+,;=%~-._[]")


def _row(rank: int, record: Record, name: str) -> Sequence[str]:
    return (
        str(rank),
        name,
        record.clean_acc,
        percent(record.worst_case.accuracy),
        interval_in_percent(record.worst_case.interval),
        record.autoattack_acc or "-",
        str(record.n_examples),
        masking_in_short(record),
    )


def _linked(record: Record) -> str:
    address = web_address(record.link)
    return f"[{_escaped(record.name)}](<{address}>)" if address else _escaped(record.name)


def _escaped(plain: str) -> str:
    entities = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", entities)


def _shortened(cell: str, width: int) -> str:
    if _width(cell) <= width:
        return cell
    while _width(cell) > width - 3:
        cell = cell[:-1]
    return f"{cell}..."


def _width(cell: str) -> int:
    """Columns of a terminal: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in cell
    )


def _cell(content: str, width: int, column: int) -> str:
    shortened = _shortened(content, width)
    blanks = " " * (width - _width(shortened))
    return shortened + blanks if column in _ALIGNED_LEFT else blanks + shortened
