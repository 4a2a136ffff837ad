"""The file beside a record: every figure follows from it, and what is no such file is refused."""

from __future__ import annotations

import hashlib
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from art_levelset import untrusted
from art_levelset.attacks.pgd import pgd
from art_levelset.evaluation import Report, evaluate
from art_levelset.evaluation.outcomes import read_outcomes, recompute, write_outcomes
from art_levelset.evaluation.record import Record, read_record, write_record
from art_levelset.evaluation.record_outcomes import OutcomesFile

ABOUT = {"name": "a network", "dataset": "noise", "architecture": "linear", "outcomes_file": "record.outcomes.npz"}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """Three attacks two times, with margin curves; and AutoAttack estimated from a part."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    x = torch.rand(60, 1, 4, 4)
    y = model(x).argmax(dim=1)
    y[::10] = (y[::10] + 1) % 4
    short = partial(pgd, eps=0.05, max_iter=3)
    attacks = {"a": short, "b": partial(short, loss="margin"), "weak": partial(short, max_iter=1)}
    run: dict[str, Any] = {"verbose": False, "batch_size": 25}
    return {
        "margins": evaluate(model, x, y, attacks, margins=True, repeats=2, max_iter=3, **run),
        "attacks": evaluate(model, x, y, attacks, **run),
    }


@pytest.fixture(scope="module")
def record(reports: dict[str, Report]) -> Record:
    return reports["margins"].record(**ABOUT)


@pytest.mark.parametrize("kind", ["margins", "attacks"])
def test_every_figure_is_computed_again(reports: dict[str, Report], kind: str, tmp_path: Path) -> None:
    record = reports[kind].record(**ABOUT)
    write_record(record, tmp_path / "record.json")
    write_outcomes(reports[kind].outcomes(), tmp_path / "record.outcomes.npz")
    record = read_record(tmp_path / "record.json")
    outcomes = read_outcomes(record, tmp_path)
    assert 0 < record.worst_case.accuracy < record.clean < 1
    assert recompute(record, outcomes) == record


def test_a_wrong_figure_is_found(reports: dict[str, Report], record: Record) -> None:
    outcomes = reports["margins"].outcomes()
    for name, value in [
        ("clean_acc", "99.00"),
        ("worst_case", record.worst_case.model_copy(update={"accuracy": 0.0})),
        ("attacks", (record.attacks[0].model_copy(update={"accuracy": 0.1}), *record.attacks[1:])),
        (
            "margin_curves",
            (record.margin_curves[0].model_copy(update={"accuracy": (0.0,) * 61}), record.margin_curves[1]),
        ),
    ]:
        wrong = record.model_copy(update={name: value})
        assert recompute(wrong, outcomes) == record != wrong


def test_what_it_says_of_an_image(reports: dict[str, Report], record: Record) -> None:
    report, arrays = reports["margins"], reports["margins"].outcomes().arrays
    assert arrays["position"].tolist() == list(range(60))
    assert not arrays["clean"][::10].any()
    assert arrays["right"].shape == arrays["distance"].shape == (3, 2, 60)
    broken = arrays["clean"] & ~arrays["right"]
    assert (arrays["distance"][broken] <= 0.05 + 1e-6).all()
    assert (arrays["distance"][:, :, ~arrays["clean"]] == 0).all()
    assert np.isinf(arrays["distance"][arrays["right"]]).all()
    assert arrays["label"].tolist() == report.labels.tolist()


def test_the_same_outcomes_are_the_same_file(reports: dict[str, Report]) -> None:
    assert reports["attacks"].outcomes().contents() == reports["attacks"].outcomes().contents()
    assert reports["attacks"].outcomes().sha256() != reports["margins"].outcomes().sha256()


def test_another_file_is_refused(reports: dict[str, Report], record: Record, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no file"):
        read_outcomes(record.model_copy(update={"outcomes": None}), tmp_path)
    with pytest.raises(FileNotFoundError):
        read_outcomes(record, tmp_path)
    write_outcomes(reports["attacks"].outcomes(), tmp_path / "record.outcomes.npz")
    with pytest.raises(ValueError, match="its SHA-256 is another one"):
        read_outcomes(record, tmp_path)
    with pytest.raises(ValueError, match="the margin curves are not those of the record"):
        recompute(record, reports["attacks"].outcomes())


@pytest.mark.parametrize("name", ["../up.npz", "a/b.npz", "a\\b.npz", "record.json", "", ".npz\n"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="file"):
        OutcomesFile(file=name, sha256="ab" * 32)


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "no clean": ({"clean": None}, "'clean' is missing"),
    "one more": ({"surprise": np.zeros(3)}, "surprise"),
    "shorter": ({"label": np.zeros(3, dtype=np.int64)}, "label must be of kind 'i'"),
    "floats": ({"broken_by": np.zeros((3, 2, 60))}, "broken_by must be of kind 'i'"),
    "no attack": ({"right": np.zeros((0, 2, 60), dtype=bool)}, "right must be"),
    "flat": ({"right": np.zeros(60, dtype=bool)}, "right must be"),
    "a member that is not there": ({"broken_by": np.full((3, 2, 60), 7)}, "broken_by must be in"),
    "negative": ({"distance": np.full((3, 2, 60), -1.0)}, "distance must be >= 0"),
    "not a number": ({"distance": np.full((3, 2, 60), np.nan)}, "distance must be >= 0"),
    "right though wrong": ({"right": np.ones((3, 2, 60), dtype=bool)}, "right must not be true"),
    "half an estimate": ({"stratum": np.zeros(60, dtype=np.int64)}, "missing"),
    "a single number": ({"clean": np.array(True)}, "position must be of kind"),
    "a position below 0": ({"position": np.full(60, -1)}, "position must be in"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_contents_are_refused(reports: dict[str, Report], record: Record, case: str, tmp_path: Path) -> None:
    changes, message = HOSTILE[case]
    arrays = {**reports["margins"].outcomes().arrays, **changes}
    file = io.BytesIO()
    np.savez_compressed(file, **{name: array for name, array in arrays.items() if array is not None})
    _refused(record, file.getvalue(), message, tmp_path)


def test_hostile_files_are_refused(
    record: Record, reports: dict[str, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No archive, one that is cut off, Python objects, and zeros that would fill the memory."""
    _refused(record, b"PK nothing", "is not an .npz file", tmp_path)
    _refused(record, reports["margins"].outcomes().contents()[:-100], "is not an .npz file", tmp_path)
    file = io.BytesIO()
    np.savez(file, clean=np.array([{}], dtype=object))
    _refused(record, file.getvalue(), "Python objects", tmp_path)
    file = io.BytesIO()
    np.savez_compressed(file, clean=np.zeros(1 << 20, dtype=bool))
    monkeypatch.setattr(untrusted, "FREE", 1 << 10)
    _refused(record, file.getvalue(), "claims to hold", tmp_path)


def _refused(record: Record, content: bytes, message: str, folder: Path) -> None:
    outcomes = OutcomesFile(file="bad.npz", sha256=hashlib.sha256(content).hexdigest())
    (folder / "bad.npz").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_outcomes(record.model_copy(update={"outcomes": outcomes}), folder)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)
