"""
Records that can be compared, ranked: one board for each data set, threat model and radius.

As tables for the terminal and in Markdown; :mod:`art_levelset.evaluation.page` makes a page of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from art_levelset.core.balls import THREAT_MODELS
from art_levelset.evaluation.record import Record, percent
from art_levelset.evaluation.rendering import interval_in_percent, markdown_text, rendered, web_address

if TYPE_CHECKING:
    from markupsafe import Markup

ESTIMATE_MARK = "\N{ALMOST EQUAL TO}"
"""What stands before an accuracy that is estimated."""

NOTE = (
    "Accuracies in percent. Worst case: right under every attack and repeat; its 95% interval beside it.\n"
    "Masking: checks for masked gradients. A model that fails one, or is unreliable, may be weaker than it looks."
)

ESTIMATED = f"{ESTIMATE_MARK}: estimated from AutoAttack on a part of the samples; the interval is for their drawing."
"""What is said below boards on which an accuracy is estimated."""

NOTE_EXTERNAL = "* A lower figure than the worst case measured here, found by others: its source is in the record."
"""A further line of the note, where a record has such a figure."""

_ORDER = tuple(THREAT_MODELS)
_HEADINGS = ("", "model", "clean", "worst case", "95% interval", "AutoAttack", "samples", "masking")
_NAME = 1
_ALIGNED_LEFT = (_NAME, 7)
_COLUMNS = 100
_GAP = 2


@dataclass(frozen=True)
class Board:
    """
    The records of one data set, threat model and radius.

    :param dataset: The data set.
    :param threat_model: "Linf", "L2" or "L1".
    :param eps: The radius, as the best record writes it.
    :param entries: Rank and record, best first; records of the same robust accuracy share a rank.
    """

    dataset: str
    threat_model: str
    eps: str
    entries: tuple[tuple[int, Record], ...]

    def as_dict(self) -> dict[str, Any]:
        """
        The board for a program.

        :return: `dataset`, `threat_model`, `eps` and `rows`, best first; accuracies are in [0, 1].
        """
        rows = [
            {
                "rank": rank,
                "name": record.name,
                "architecture": record.architecture,
                "clean": record.clean,
                "robust": record.robust,
                "worst_case": record.own_robust,
                "interval": list(record.robust_interval),
                "external": float(record.external) / 100 if record.external else None,
                "external_source": record.external_source,
                "autoattack": float(record.autoattack_acc) / 100 if record.autoattack_acc else None,
                "autoattack_estimate": None if record.estimate is None else record.estimate.accuracy,
                "autoattack_interval": None if record.estimate is None else list(record.estimate.interval),
                "n_examples": record.n_examples,
                "masking": masking_in_short(record),
                "unreliable": record.unreliable,
            }
            for rank, record in self.entries
        ]
        return {"dataset": self.dataset, "threat_model": self.threat_model, "eps": self.eps, "rows": rows}


def boards(records: Iterable[Record]) -> list[Board]:
    """
    Rank records by their robust accuracy, and by the clean one where that is the same.

    The robust accuracy is that of the worst case, or a lower one that others have found.

    :param records: At least one, in any order.
    :return: The boards, by data set, threat model and radius.
    :raises ValueError: If there is no record.
    """

    def kind(record: Record) -> tuple[str, int, float]:
        return record.dataset, _ORDER.index(record.threat_model), record.radius

    best_first = sorted(records, key=lambda record: (-record.robust, -record.clean, record.name))
    if not best_first:
        raise ValueError("records must not be empty")
    return [_board(list(group)) for _, group in groupby(sorted(best_first, key=kind), key=kind)]


def _board(best_first: list[Record]) -> Board:
    accuracies = [record.robust for record in best_first]
    entries = tuple((1 + accuracies.index(record.robust), record) for record in best_first)
    best = best_first[0]
    return Board(best.dataset, best.threat_model, best.eps, entries)


def text(records: Iterable[Record]) -> str:
    """
    The leaderboard for a terminal, at most 100 columns wide.

    :param records: At least one.
    :return: A table for each data set, threat model and radius.
    :raises ValueError: If there is no record.
    """
    parts = []
    records = list(records)
    for board in boards(records):
        rows = [_HEADINGS, *(_row(rank, record, record.name) for rank, record in board.entries)]
        widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        others = sum(widths) - widths[_NAME] + _GAP * (len(widths) - 1)
        widths[_NAME] = max(len(_HEADINGS[_NAME]), min(widths[_NAME], _COLUMNS - others))
        lines = [(" " * _GAP).join(map(_cell, row, widths, range(len(row)))).rstrip() for row in rows]
        title = f"{board.dataset}, {board.threat_model}, eps {board.eps}"
        parts.append("\n".join([_shortened(title, _COLUMNS), *lines]))
    return "\n\n".join([*parts, _note(records)])


def markdown(records: Iterable[Record]) -> str:
    """
    The leaderboard in Markdown, as GitHub renders it.

    :param records: At least one.
    :return: A heading and a table for each data set, threat model and radius.
    :raises ValueError: If there is no record.
    """
    records = list(records)
    tables = [
        (board, [_row(rank, record, _linked(record)) for rank, record in board.entries]) for board in boards(records)
    ]
    content = rendered(
        "leaderboard.md", boards=tables, headings=_HEADINGS, aligned_left=_ALIGNED_LEFT, note=_note(records)
    )
    return f"{content}\n"


def masking_in_short(record: Record) -> str:
    """
    The verdict of the checks for masked gradients.

    :param record: The record.
    :return: "unreliable" if the record says so itself, else "fails 2 of 9", "passes", or "-" where nothing was judged.
    """
    if record.unreliable:
        return "unreliable"
    judged = [check for check in record.masking or () if check.verdict != "not judged"]
    if not judged:
        return "-"
    return f"fails {len(record.failed_checks)} of {len(judged)}" if record.failed_checks else "passes"


def worst_in_short(record: Record) -> str:
    """
    The accuracy that ranks a model.

    :param record: The record.
    :return: In percent, with a mark where AutoAttack's part in it is estimated, or where others have found it.
    """
    if record.found_by_others:
        return f"{percent(record.robust)}*"
    return f"{'' if record.estimate is None else ESTIMATE_MARK}{percent(record.robust)}"


def autoattack_in_short(record: Record) -> str:
    """
    AutoAttack's accuracy, as it was measured on all samples or else estimated.

    :param record: The record.
    :return: In percent, an estimate with a mark and its interval; "" where there is none.
    """
    if record.autoattack_acc or record.estimate is None:
        return record.autoattack_acc
    return f"{ESTIMATE_MARK}{percent(record.estimate.accuracy)} {interval_in_percent(record.estimate.interval)}"


def _note(records: Iterable[Record]) -> str:
    records = list(records)
    estimated = any(record.estimate is not None for record in records)
    external = any(record.found_by_others for record in records)
    return "\n".join([NOTE, *[ESTIMATED] * estimated, *[NOTE_EXTERNAL] * external])


def _row(rank: int, record: Record, name: str) -> Sequence[str]:
    return (
        str(rank),
        name,
        record.clean_acc,
        worst_in_short(record),
        "-" if record.found_by_others else interval_in_percent(record.robust_interval),
        autoattack_in_short(record) or "-",
        str(record.n_examples),
        masking_in_short(record),
    )


def _linked(record: Record) -> Markup:
    """The name as Markdown, with a link if there is an address, in which nothing is left to escape."""
    from markupsafe import Markup

    name, address = markdown_text(record.name), web_address(record.link)
    return Markup("[{}](<{}>)").format(name, Markup(address)) if address else name


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
