"""The ranks, and the tables: aligned, narrow enough for a terminal, and never anything but text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from art_levelset.evaluation.leaderboard import (
    ESTIMATED,
    NOTE,
    NOTE_EXTERNAL,
    autoattack_in_short,
    boards,
    markdown,
    masking_in_short,
    text,
)
from art_levelset.evaluation.record import Record
from art_levelset.evaluation.rendering import interval_in_percent, web_address

from .invented import attack, estimate, masking, record

RECORDS = [
    record("Plain", 0.0, clean_acc="98.30"),
    record("Robust", 0.875, autoattack_acc="88.10", link="https://example.org/a(b)|<c>", masking=masking()),
    record("Other", 0.5, dataset="digits", masking=masking("zero gradients")),
]


def test_the_worst_case_ranks_and_ties_share_a_rank() -> None:
    low, tied, best = record("Low", 0.5), record("Tied", 0.8, clean_acc="98.50"), record("Best", 0.8)
    (board,) = boards([low, tied, best])
    assert [(rank, entry.name) for rank, entry in board.entries] == [(1, "Best"), (1, "Tied"), (3, "Low")]


def test_a_lower_figure_of_others_ranks_and_is_marked() -> None:
    refuted = record("Refuted", 0.9, external="70.00", external_source="A. Nobody, 2026")
    honest, tied = record("Honest", 0.8), record("Tied", 0.7)
    (board,) = boards([refuted, honest, tied])
    assert [(rank, entry.name) for rank, entry in board.entries] == [(1, "Honest"), (2, "Refuted"), (2, "Tied")]
    first, second, _ = board.as_dict()["rows"]
    assert (first["robust"], first["external"], first["external_source"]) == (0.8, None, "")
    assert (second["robust"], second["worst_case"], second["external"]) == (0.7, 0.9, 0.7)
    assert second["external_source"] == "A. Nobody, 2026"
    for table in (text([refuted, honest]), markdown([refuted, honest])):
        (row,) = (line for line in table.splitlines() if "Refuted" in line)
        assert "70.00*" in row
        assert "[" not in row, "the interval is that of another figure"
        assert table.splitlines()[-1] == NOTE_EXTERNAL
    assert NOTE_EXTERNAL not in text([honest])


def test_only_what_can_be_compared_shares_a_board() -> None:
    found = boards(
        [
            record("a", threat_model="L2", eps="2"),
            record("b", eps="0.3"),
            record("c", eps="3/10", worst=0.5),
            record("d", eps="0.25"),
            record("e", dataset="cifar10"),
            record("f", threat_model="L1", eps="9"),
        ]
    )
    assert [(board.dataset, board.threat_model, board.eps) for board in found] == [
        ("cifar10", "Linf", "0.3"),
        ("mnist", "Linf", "0.25"),
        ("mnist", "Linf", "0.3"),
        ("mnist", "L2", "2"),
        ("mnist", "L1", "9"),
    ]
    assert [entry.name for _, entry in found[2].entries] == ["b", "c"]


def test_an_interval() -> None:
    assert interval_in_percent((0.0, 0.98765)) == "[0.0, 98.8]"


def test_the_verdict_on_masking() -> None:
    assert masking_in_short(record()) == "-"
    assert masking_in_short(record(masking=())) == "-"
    assert masking_in_short(record(masking=[{"check": "c", "verdict": "not judged", "statement": "s"}])) == "-"
    assert masking_in_short(record(masking=masking())) == "passes"
    assert masking_in_short(record(masking=masking("zero gradients"))) == "fails 1 of 3"
    assert masking_in_short(record(masking=masking(), unreliable=True)) == "unreliable"


def test_a_weak_attack_alone_does_not_rank() -> None:
    strong = record("Strong", 0.6, attacks=(attack(accuracy=0.6),))
    weak = record("Weak", 0.5, attacks=(attack("noise", 0.98), attack("PGD", 0.5)))
    (board,) = boards([weak, strong])
    assert [entry.name for _, entry in board.entries] == ["Strong", "Weak"]


def test_the_table_for_a_terminal() -> None:
    tables = [
        "digits, Linf, eps 0.3",
        "   model  clean  worst case  95% interval  AutoAttack  samples  masking",
        "1  Other  99.00       50.00  [47.0, 53.0]           -     1000  fails 1 of 3",
        "",
        "mnist, Linf, eps 0.3",
        "   model   clean  worst case  95% interval  AutoAttack  samples  masking",
        "1  Robust  99.00       87.50  [84.5, 90.5]       88.10     1000  passes",
        "2  Plain   98.30        0.00    [0.0, 3.0]           -     1000  -",
        "",
    ]
    assert text(RECORDS).splitlines() == [*tables, *NOTE.splitlines()]


@pytest.mark.parametrize("name", ["long " * 40, "水平集" * 40, "e\u0301" * 200])
def test_the_table_fits_a_hundred_columns(name: str) -> None:
    title, headings, first, second, *_ = text(
        [record(name, 0.9, dataset=name), record("Short", 0.8, dataset=name)]
    ).splitlines()
    assert max(map(columns, (title, headings, first, second))) <= 100
    assert "..." in first
    ends = [columns(line[: line.index(column) + len(column)]) for line, column in _ends(headings, first, second)]
    assert len(set(ends)) == 1


def _ends(headings: str, *rows: str) -> list[tuple[str, str]]:
    return [(headings, "clean"), *((row, "99.00") for row in rows)]


def columns(line: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def test_the_table_in_markdown() -> None:
    lines = markdown(RECORDS).splitlines()
    assert lines[0] == "### digits, Linf, eps 0.3"
    assert lines[2].startswith("|  | model | clean | worst case | 95% interval |")
    assert lines[3] == "| --: | :-- | --: | --: | --: | --: | --: | :-- |"
    assert lines[4] == "| 1 | Other | 99.00 | 50.00 | [47.0, 53.0] | - | 1000 | fails 1 of 3 |"
    assert lines[10].startswith("| 1 | [Robust](<https://example.org/a%28b%29%7C%3Cc%3E>) | 99.00 | 87.50 |")
    assert lines[-2:] == NOTE.splitlines()


def test_markdown_shows_what_would_be_markup_as_it_is() -> None:
    name = r"a|b <script> [x](javascript:y) *s* `c` _u_ \ & $m$ ![i](//e)"
    (row,) = (line for line in markdown([record(name, dataset="# <b>")]).splitlines() if line.startswith("| 1"))
    assert row.startswith(
        r"| 1 | a\|b &lt;script&gt; \[x\](javascript:y) \*s\* \`c\` \_u\_ \\ &amp; \$m\$ \!\[i\](//e) | 99.00"
    )
    assert r"### \# &lt;b&gt;, Linf" in markdown([record(dataset="# <b>")])


@pytest.mark.parametrize(
    ("link", "address"),
    [
        ("https://arxiv.org/abs/1905.11911", "https://arxiv.org/abs/1905.11911"),
        ("HTTP://example.org/a%20b?c=d&e#f", "HTTP://example.org/a%20b?c=d&e#f"),
        ('https://example.org/">', "https://example.org/%22%3E"),
        ("", None),
        ("javascript:alert(1)", None),
        (" javascript:alert(1)", None),
        ("javascript://example.org/%0aalert(1)", None),
        ("data:text/html,x", None),
        ("//example.org", None),
        ("https:", None),
        ("https://[", None),
        ("arxiv.org/abs/1905.11911", None),
    ],
)
def test_only_web_addresses_are_linked(link: str, address: str | None) -> None:
    assert web_address(link) == address


@pytest.mark.parametrize("render", [boards, text, markdown])
def test_no_record(render: type[str]) -> None:
    with pytest.raises(ValueError, match="records must not be empty"):
        render([])


class TestEstimates:
    """In the place of AutoAttack's figure, and marked."""

    def test_ranks_by_what_is_left_with_autoattack(self) -> None:
        """Its worst case on the attacks that were run on all samples, 0.9, would have come first."""
        (board,) = boards([record("Estimated", 0.9, estimate=estimate()), record("Measured", 0.897)])
        assert [entry.name for _, entry in board.entries] == ["Measured", "Estimated"]
        row = board.as_dict()["rows"][1]
        assert (row["worst_case"], row["interval"]) == (0.895, [0.88, 0.8975])
        assert (row["autoattack"], row["autoattack_estimate"]) == (None, 0.9415)
        assert row["autoattack_interval"] == [0.92, 0.949]

    @pytest.mark.parametrize("render", [text, markdown])
    def test_are_marked(self, render: Callable[[list[Record]], str]) -> None:
        shown = render([record("Estimated", 0.9, estimate=estimate()), record("Measured", 0.8, autoattack_acc="81.00")])
        assert "\u224894.15" in shown
        assert "\u224889.50" in shown
        assert "[92.0, 94.9]" in shown.replace("\\", "")
        assert "81.00" in shown
        assert "\u224881" not in shown
        assert ESTIMATED in shown

    def test_stay_narrow(self) -> None:
        table, _ = text([record("E" * 90, 0.9, estimate=estimate())]).split("\n\n")
        assert max(map(len, table.splitlines())) == 100

    def test_are_not_spoken_of_where_there_is_none(self) -> None:
        assert ESTIMATED not in text([record()])

    def test_autoattack_on_all_samples_is_preferred(self) -> None:
        assert autoattack_in_short(record(worst=0.9, autoattack_acc="90.50", estimate=estimate())) == "90.50"
