"""
Damaged files, and files that say what they must not: a right answer or one clear error, within bounds.

All readers together have 300 cases; `pytest tests/hostile --fuzz-cases 10000` makes it more.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .damage import HOSTILE, TENSORS, Change, Edit, changed, changes, damaged, edits, outcome
from .readers import Reader, content_of, readers, summary

READERS = readers()
CASES = {each.name: each for each in READERS}
CHANGEABLE = [each.name for each in READERS if each.write is not None]
TESTS = sum((1 + (each.write is not None)) / each.share for each in READERS)


def cases(config: pytest.Config, share: int) -> Any:
    """So many cases for each of the tests of a reader."""
    total = config.getoption("--fuzz-cases")
    return settings(
        max_examples=max(round(total / TESTS / share), 1),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def count(config: pytest.Config, name: str, counts: Counter[str]) -> None:
    """For the table in the documentation: what became of the cases, a line of JSON for each test."""
    path = config.getoption("--fuzz-counts")
    if path is not None:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"reader": name, **counts}) + "\n")


@pytest.mark.parametrize("name", CASES)
def test_damaged_bytes(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    reader = CASES[name]
    path, right = tmp_path / f"file{reader.suffix}", tmp_path / f"right{reader.suffix}"
    right.write_bytes(content_of(reader))
    content, paths = right.read_bytes(), _others(reader, tmp_path)
    answers = [outcome(partial(reader.read, other), str(other.with_suffix(""))) for other in (right, *paths)]
    assert answers[0][0], answers[0][1]
    expected = {summary(found) for is_read, found in answers if is_read}
    others = [other.read_bytes() for other in paths]
    counts = Counter(cases=0, read=0, refused=0)

    @cases(pytestconfig, reader.share)
    @given(edits, st.integers(0, len(others) - 1))
    def check(made: list[Edit], other: int) -> None:
        path.write_bytes(damaged(content, made, others[other]))
        is_read, found = outcome(lambda: reader.read(path), str(path.with_suffix("")))
        counts.update(cases=1, read=is_read, refused=not is_read)
        if is_read and reader.whole:
            assert summary(found) in expected, "it was read wrongly"

    check()
    count(pytestconfig, name, counts)


@pytest.mark.parametrize("name", CHANGEABLE)
def test_changed_contents(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    reader = CASES[name]
    path = tmp_path / f"file{reader.suffix}"
    values = HOSTILE if reader.suffix in (".json", ".npz") else HOSTILE + TENSORS
    counts = Counter(cases=0, read=0, refused=0)

    assert reader.contents is not None
    right = reader.contents()

    @cases(pytestconfig, reader.share)
    @given(changes)
    def check(made: list[Change]) -> None:
        assert reader.write is not None
        try:
            reader.write(changed(right, made, values), path)
        except (ValueError, OverflowError, RecursionError, TypeError):
            return  # that cannot be written
        is_read, _ = outcome(lambda: reader.read(path), str(path.with_suffix("")))
        counts.update(cases=1, read=is_read, refused=not is_read)

    check()
    count(pytestconfig, name, counts)


def _others(reader: Reader, folder: Path) -> list[Path]:
    paths = []
    for number, other in enumerate(READERS):
        if other.suffix == reader.suffix:
            paths.append(folder / f"other-{number}{other.suffix}")
            paths[-1].write_bytes(content_of(other))
    return paths
