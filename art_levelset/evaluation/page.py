"""The leaderboard as one HTML page that needs nothing else: no network, no library, and no script to be read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from art_levelset.evaluation.leaderboard import Board, autoattack_in_short, boards, worst_in_short
from art_levelset.evaluation.margin_plot import Line, lowest, margin_plot
from art_levelset.evaluation.record import Record
from art_levelset.evaluation.rendering import COLOURS, rendered, source

if TYPE_CHECKING:
    from markupsafe import Markup

TITLE = "Robustness leaderboard"

_NORMS = {"Linf": "L∞", "L2": "L2", "L1": "L1"}
_COLUMNS = (("rank", "#"), ("name", "Model"), ("clean", "Clean"), ("worst", "Worst case"), ("autoattack", "AutoAttack"))
_VERDICTS = {"pass": ("✓", "passes"), "fail": ("✕", "fails"), "not judged": ("–", "not judged")}


def html(records: Iterable[Record]) -> str:
    """
    The leaderboard as a page: a sortable table for each data set, threat model and radius, filters, and everything that
    a record holds at a click on the model.

    Whatever comes from a record is escaped; links lead to http and https addresses only. The page forbids the browser
    every script and style but its own, and every connection.

    :param records: At least one.
    :return: The page.
    :raises ValueError: If there is no record.
    """
    ranked = boards(records)
    page = rendered(
        "page.html",
        title=TITLE,
        style=source("page.css"),
        script=source("page.js"),
        boards=ranked,
        datasets={board.dataset: board.dataset for board in ranked},
        threats={board.threat_model: _NORMS[board.threat_model] for board in ranked},
        norms=_NORMS,
        columns=_COLUMNS,
        verdicts=_VERDICTS,
        drawn=COLOURS,
        hashed=_hashed,
        about=_about,
        searched=_searched,
        made_with=_made_with,
        curves=_curves,
        comparison=_comparison,
        worst_in_short=worst_in_short,
        autoattack_in_short=autoattack_in_short,
    )
    return f"{page.strip()}\n"


def _hashed(text: str) -> Markup:
    """A script or style as the page's policy names it; its base64 and its quotes need no escaping."""
    from markupsafe import Markup

    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")


def _about(record: Record) -> str:
    facts = (record.architecture, record.venue, f"{record.n_examples:,}\N{NO-BREAK SPACE}samples")
    return " · ".join(filter(None, facts))


def _searched(record: Record) -> str:
    return " ".join((record.authors, record.footnote, *(attack.name for attack in record.attacks)))


def _made_with(record: Record) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.versions.items())


def _curves(record: Record) -> Markup:
    lines = [Line(curve, i) for i, curve in enumerate(record.margin_curves)]
    return margin_plot(lines, record.radius, f"Margin curves of {record.name}")


def _comparison(board: Board, number: int) -> Markup | None:
    """The lowest curve of each of the best models; None if they have none."""
    lines = [
        Line(lowest(record.margin_curves), i, f"model-{number}-{i}")
        for i, (_, record) in enumerate(board.entries[:COLOURS])
        if record.margin_curves
    ]
    if not lines:
        return None
    return margin_plot(lines, board.entries[0][1].radius, f"Margin curves of the models on {board.dataset}")
