"""Records that can be compared, ranked: one board for each data set, threat model and radius."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from art_levelset.evaluation.fields import Interval
from art_levelset.evaluation.record import Record

THREAT_MODELS = ("Linf", "L2", "L1")


@dataclass(frozen=True)
class Board:
    """
    The records of one data set, threat model and radius.

    :param dataset: The data set.
    :param threat_model: "Linf", "L2" or "L1".
    :param eps: The radius, as the best record writes it.
    :param entries: Rank and record, best first; records of the same worst-case accuracy share a rank.
    """

    dataset: str
    threat_model: str
    eps: str
    entries: tuple[tuple[int, Record], ...]


def boards(records: Iterable[Record]) -> list[Board]:
    """
    Rank records by their worst-case accuracy, and by the clean one where that is the same.

    :param records: At least one, in any order.
    :return: The boards, by data set, threat model and radius.
    :raises ValueError: If there is no record.
    """

    def kind(record: Record) -> tuple[str, int, float]:
        return record.dataset, THREAT_MODELS.index(record.threat_model), record.radius

    best_first = sorted(records, key=lambda record: (-record.worst_case.accuracy, -record.clean, record.name))
    if not best_first:
        raise ValueError("records must not be empty")
    return [_board(list(group)) for _, group in groupby(sorted(best_first, key=kind), key=kind)]


def _board(best_first: list[Record]) -> Board:
    accuracies = [record.worst_case.accuracy for record in best_first]
    entries = tuple((1 + accuracies.index(record.worst_case.accuracy), record) for record in best_first)
    best = best_first[0]
    return Board(best.dataset, best.threat_model, best.eps, entries)


def interval_in_percent(interval: Interval) -> str:
    """
    An interval of fractions as text.

    :param interval: Low and high, in [0, 1].
    :return: In percent with one decimal, for instance "[89.6, 93.1]".
    """
    low, high = interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


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
