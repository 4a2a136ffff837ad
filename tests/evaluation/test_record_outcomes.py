"""Estimates and files of outcomes in records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from art_levelset.evaluation.record import DataUsed, read_record, record_schema, write_record
from art_levelset.evaluation.record_outcomes import DrawnStratum, OutcomesFile

from .invented import estimate, record


def test_an_estimate_is_read_back(tmp_path: Path) -> None:
    outcomes = OutcomesFile(file="record.outcomes.npz", sha256="cd" * 32)
    with_estimate = record(worst=0.9, estimate=estimate(), outcomes=outcomes)
    write_record(with_estimate, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == with_estimate
    content = json.loads((tmp_path / "record.json").read_text())
    Draft202012Validator(record_schema()).validate(content)
    assert with_estimate.robust == 0.895 < with_estimate.worst_case.accuracy


def test_a_record_from_before_there_were_any(tmp_path: Path) -> None:
    write_record(record(), tmp_path / "record.json")
    content = json.loads((tmp_path / "record.json").read_text())
    del content["estimate"], content["outcomes"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert read_record(tmp_path / "old.json") == record()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drawn": 219}, "drawn must be what the strata's add up to, 220"),
        ({"worst_case": 0.95, "worst_case_interval": (0.9, 0.99)}, "worst_case must not exceed accuracy"),
        ({"interval": (0.95, 0.96)}, "interval must hold the accuracy"),
        ({"asked": 0.0}, "asked"),
        ({"strata": (estimate().strata[0],) * 2, "drawn": 40}, "different names"),
    ],
)
def test_an_estimate_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(**changes)


def test_a_stratum_of_which_nothing_is_drawn_is_refused() -> None:
    standing = dict(estimate().strata[1])
    for changes, message in [
        ({"drawn": 0, "broken": 0}, "drawn must be in"),
        ({"drawn": 900}, "drawn must be in"),
        ({"broken": 101}, "must not exceed"),
        ({"pilot": 0}, "pilot"),
    ]:
        with pytest.raises(ValueError, match=message):
            DrawnStratum(**{**standing, **changes})


def test_an_estimate_must_fit_its_record() -> None:
    with pytest.raises(ValueError, match=r"estimate.worst_case must not exceed worst_case"):
        record(worst=0.8, estimate=estimate())
    with pytest.raises(ValueError, match=r"estimate.accuracy must not exceed clean_acc"):
        record(worst=0.9, clean_acc="92.00", clean_interval=(0.9, 0.95), estimate=estimate())
    with pytest.raises(ValueError, match=r"estimate.strata must hold at most n_examples"):
        record(worst=0.9, n_examples=900, data=DataUsed(sha256="ab" * 32, n_examples=900), estimate=estimate())
