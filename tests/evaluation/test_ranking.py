from __future__ import annotations

import pytest

from art_levelset.evaluation.ranking import boards, interval_in_percent, masking_in_short

from .invented import attack, masking, record


def test_the_worst_case_ranks_and_ties_share_a_rank() -> None:
    low, tied, best = record("Low", 0.5), record("Tied", 0.8, clean_acc="98.50"), record("Best", 0.8)
    (board,) = boards([low, tied, best])
    assert [(rank, entry.name) for rank, entry in board.entries] == [(1, "Best"), (1, "Tied"), (3, "Low")]


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


def test_no_record() -> None:
    with pytest.raises(ValueError, match="records must not be empty"):
        boards([])


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
