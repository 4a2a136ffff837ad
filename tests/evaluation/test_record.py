"""Records: what is written is read back, and what is no record is refused with the field's and the file's name."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from art_levelset.evaluation.calibration import Bin, Calibration
from art_levelset.evaluation.record import (
    AttackResult,
    DataUsed,
    MarginCurve,
    MaskingCheck,
    Record,
    Weights,
    WorstCase,
    percent,
    read_record,
    read_records,
    record_schema,
    write_record,
)

from .invented import attack, curve, masking, record

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "record.schema.json"
PUBLISHED = [
    path
    for path in sorted((ROOT / "results").rglob("*.json"))
    if '"format": "art-levelset/evaluation"' in path.read_text(encoding="utf-8")
]

ROBUSTBENCH = [
    "link",
    "name",
    "authors",
    "additional_data",
    "number_forward_passes",
    "dataset",
    "venue",
    "architecture",
    "eps",
    "clean_acc",
    "reported",
    "autoattack_acc",
    "footnote",
    "unreliable",
    "external",
]

fractions = st.floats(0, 1)
texts = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=20)
names = texts.filter(str.strip)
counts = st.integers(0, 10**15)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def intervals(draw: st.DrawFn) -> tuple[float, tuple[float, float]]:
    low, middle, high = sorted(draw(st.tuples(fractions, fractions, fractions)))
    return middle, (low, high)


@st.composite
def attack_results(draw: st.DrawFn, name: str) -> AttackResult:
    accuracy, interval = draw(intervals())
    repeats = draw(st.integers(1, 5))
    return AttackResult(
        name=name,
        parameters=draw(st.dictionaries(texts, json_values, max_size=3)),
        accuracy=accuracy,
        interval=interval,
        deviation=None if repeats == 1 else draw(st.floats(0, 1)),
        repeats=repeats,
        n_examples=draw(st.integers(1, 999)),
        seconds=draw(st.floats(0, 1e9)),
        forward_passes=draw(counts),
        gradient_evaluations=draw(counts),
        notes=tuple(draw(st.lists(texts, max_size=2))),
    )


@st.composite
def curves(draw: st.DrawFn, name: str) -> MarginCurve:
    eps = sorted(draw(st.sets(st.floats(0, 10), min_size=1, max_size=5)))
    accuracy = draw(st.lists(fractions, min_size=len(eps), max_size=len(eps)))
    return MarginCurve(name=name, eps=tuple(eps), accuracy=tuple(sorted(accuracy, reverse=True)))


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    bins = st.builds(
        Bin, above=fractions, up_to=fractions, count=st.integers(1, 999), confidence=fractions, accuracy=fractions
    )
    numbers = {
        name: draw(fractions) for name in ("accuracy", "confidence", "ece", "adaptive_ece", "tempered_ece", "brier")
    }
    return Calibration(
        **numbers,
        nll=draw(st.floats(0, 1e6)),
        tempered_nll=draw(st.floats(0, 1e6)),
        temperature=draw(st.none() | st.floats(0, 1e6)),
        margin=draw(finite),
        large_margin=draw(finite),
        logit_norm=draw(st.floats(0, 1e6)),
        bins=tuple(draw(st.lists(bins, max_size=3))),
    )


@st.composite
def records(draw: st.DrawFn) -> Record:
    worst, interval = draw(intervals())
    count = draw(st.integers(1000, 10**6))
    checks = st.builds(
        MaskingCheck,
        check=names,
        verdict=st.sampled_from(["pass", "fail", "not judged"]),
        statement=names,
        value=st.none() | finite,
    )
    return Record(
        link=draw(texts),
        name=draw(names),
        authors=draw(texts),
        additional_data=draw(st.booleans()),
        number_forward_passes=draw(st.integers(1, 10)),
        dataset=draw(names),
        venue=draw(texts),
        architecture=draw(names),
        eps=draw(st.sampled_from(["0.3", "8/255", "1", "1e-05"])),
        clean_acc="100.00",
        reported=draw(st.sampled_from(["", "43.17"])),
        autoattack_acc=draw(st.sampled_from(["", "0.0"])),
        footnote=draw(texts),
        unreliable=draw(st.booleans()),
        **draw(st.sampled_from([{}, {"external": "0.0", "external_source": "A. Nobody, 2026"}] if worst > 0 else [{}])),
        threat_model=draw(st.sampled_from(["Linf", "L2", "L1"])),
        n_examples=count,
        clean_interval=(draw(fractions), 1.0),
        attacks=tuple(
            draw(attack_results(name)) for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
        ),
        worst_case=WorstCase(accuracy=worst, interval=interval),
        margin_curves=tuple(draw(curves(name)) for name in draw(st.lists(names, max_size=2, unique=True))),
        masking=draw(st.none() | st.lists(checks, max_size=2).map(tuple)),
        calibration=draw(st.none() | calibrations()),
        seed=draw(counts),
        versions=draw(st.dictionaries(texts, texts, max_size=3)),
        data=DataUsed(sha256=draw(hashes), first=draw(counts), n_examples=count),
        weights=draw(st.none() | st.builds(Weights, sha256=hashes)),
        created=draw(st.sampled_from(["2026-11-22T12:00:00Z", "2026-11-22T12:00:00.125+00:00"])),
    )


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(records())
def test_what_is_written_is_read_back(tmp_path: Path, written: Record) -> None:
    write_record(written, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == written


def test_the_file_begins_with_robustbenchs_fields(tmp_path: Path) -> None:
    write_record(record(), tmp_path / "record.json")
    content = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert list(content)[:17] == ["format", "version", *ROBUSTBENCH]
    assert {type(content[name]) for name in ("eps", "clean_acc", "reported", "autoattack_acc")} == {str}


def test_numbers_of_a_list_stay_on_one_line(tmp_path: Path) -> None:
    write_record(record(footnote="[ 1,  2 ]", margin_curves=(curve(),)), tmp_path / "record.json")
    text = (tmp_path / "record.json").read_text(encoding="utf-8")
    assert '"clean_interval": [0.98, 0.995],\n' in text
    assert '"footnote": "[ 1,  2 ]",\n' in text


def test_numpy_numbers_and_json_objects_are_welcome() -> None:
    made = record(
        n_examples=np.int64(1000), clean_interval=np.array([0.98, 0.995]).tolist(), data=record().data.model_dump()
    )
    assert made == record()
    assert type(made.n_examples) is int
    assert type(attack(accuracy=np.float32(0.5)).accuracy) is float


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match=r"^Record.name cannot be changed$"):
        record().name = "Other"  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"^Record.name cannot be deleted$"):
        del record().name


def test_a_lower_figure_of_others_is_the_robust_accuracy() -> None:
    assert record(worst=0.9).robust == 0.9
    assert record(worst=0.9, external="85.30", external_source="A. Nobody, 2026").robust == pytest.approx(0.853)


def test_numbers_of_a_record() -> None:
    made = record(eps="8/255", masking=masking("zero gradients"))
    assert made.radius == 8 / 255
    assert made.clean == 0.99
    assert [check.check for check in made.failed_checks] == ["zero gradients"]
    assert record().failed_checks == ()
    assert [percent(value) for value in (0, 0.885, 0.99354, 1)] == ["0.00", "88.50", "99.35", "100.00"]
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\], got 88.5"):
        percent(88.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "name: must not be empty"),
        ({"name": "a\nb"}, "name: must be printable text on one line, got 'a\\nb'"),
        ({"name": "\x1b[31m"}, "name: must be printable text"),
        ({"name": "\ud800"}, "name: must be printable text"),
        ({"name": 3}, "name: Input should be a valid string, got 3"),
        ({"additional_data": 1}, "additional_data: Input should be a valid boolean, got 1"),
        ({"number_forward_passes": 0}, "number_forward_passes: Input should be greater than or equal to 1, got 0"),
        ({"n_examples": True}, "n_examples: Input should be a valid integer, got True"),
        ({"n_examples": 1000.0}, "n_examples: Input should be a valid integer, got 1000.0"),
        ({"eps": "0"}, "eps: must be a number > 0 as text"),
        ({"eps": "1/0"}, "eps: must be a number > 0 as text"),
        ({"eps": "1e999999999"}, "eps: must be a number > 0 as text"),
        ({"eps": "nan"}, "eps: must be a number > 0 as text"),
        ({"eps": 0.3}, "eps: Input should be a valid string, got 0.3"),
        ({"clean_acc": ""}, "clean_acc: String should match pattern"),
        ({"clean_acc": "100.01"}, "clean_acc: String should match pattern"),
        ({"reported": "n/a"}, "reported: String should match pattern"),
        ({"autoattack_acc": "-1"}, "autoattack_acc: String should match pattern"),
        ({"autoattack_acc": "٣"}, "autoattack_acc: String should match pattern"),
        ({"external": "low"}, "external: String should match pattern"),
        ({"external": "80.00"}, "external_source must say where external comes from, and only then"),
        ({"external": "80.00", "external_source": " "}, "external_source must say where"),
        ({"external_source": "A. Nobody, 2026"}, "external_source must say where"),
        ({"external": "90.00", "external_source": "A. Nobody"}, "external must be lower than worst_case.accuracy"),
        ({"threat_model": "linf"}, "threat_model: Input should be 'Linf', 'L2' or 'L1', got 'linf'"),
        ({"clean_interval": (0.98,)}, "clean_interval[1]: Field required"),
        ({"clean_interval": (0.98, 0.99, 1)}, "clean_interval: Tuple should have at most 2 items"),
        ({"clean_interval": {0.98, 0.995}}, "clean_interval: must be a list"),
        ({"clean_interval": (0.98, math.nan)}, "clean_interval[1]: Input should be a finite number, got nan"),
        ({"clean_interval": (0.98, 1.1)}, "clean_interval[1]: Input should be less than or equal to 1, got 1.1"),
        ({"clean_interval": (0.995, 0.98)}, "clean_interval must be (low, high)"),
        ({"clean_interval": (0.0, 0.5)}, "clean_interval must hold the accuracy 0.99"),
        ({"attacks": ()}, "attacks: Tuple should have at least 1 item"),
        ({"attacks": attack()}, "attacks: must be a list"),
        ({"attacks": (attack(), attack())}, "attacks must have different names, got 'PGD' twice"),
        ({"attacks": (attack(accuracy=0.8),)}, "attacks[0].accuracy must lie between the worst case, 0.9"),
        ({"attacks": (attack(accuracy=0.999),)}, "attacks[0].accuracy must lie between"),
        ({"attacks": (attack(n_examples=1001),)}, "attacks[0].n_examples must not exceed n_examples"),
        ({"attacks": [{"name": "PGD"}]}, "attacks[0]: parameters: Field required"),
        ({"worst_case": {"accuracy": 0.995, "interval": (0.9, 1)}}, "worst_case.accuracy must not exceed clean_acc"),
        ({"worst_case": {"accuracy": 0.5, "interval": (0.6, 0.7)}}, "worst_case: interval must hold the accuracy 0.5"),
        ({"margin_curves": (curve(), curve())}, "margin_curves must have different names"),
        (
            {"masking": [{"check": "c", "verdict": "ok", "statement": "s"}]},
            "masking[0]: verdict: Input should",
        ),
        ({"masking": [{"check": "", "verdict": "pass", "statement": "s"}]}, "masking[0]: check: must not be empty"),
        ({"calibration": {"accuracy": 0.5}}, "calibration: confidence: Field required"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0, got -1"),
        ({"versions": ["torch"]}, "versions: Input should be a valid dictionary, got ['torch']"),
        ({"versions": {"torch": 2}}, "versions.torch: Input should be a valid string, got 2"),
        ({"versions": {1: "2"}}, "versions[1].[key]: Input should be a valid string, got 1"),
        ({"versions": {"a\nb": 2}}, "'versions.a\\nb.[key]': must be printable"),
        ({"data": {"sha256": "ab" * 32, "n_examples": 999}}, "data.n_examples must be n_examples, 1000, got 999"),
        ({"data": {"sha256": "AB" * 32, "n_examples": 1000}}, "data: sha256: String should match pattern"),
        ({"weights": "ab" * 32}, "weights: Input should be a valid dictionary"),
        ({"weights": {"sha256": "ab"}}, "weights: sha256: String should match pattern"),
        ({"weights": {"sha256": "ab" * 32, "md5": "ab"}}, "weights: md5: Extra inputs are not permitted"),
        ({"created": "yesterday"}, "created: must be an ISO 8601 date and time in UTC"),
        ({"created": "2026-11-22"}, "created: must be an ISO 8601 date and time in UTC"),
        ({"created": "2026-11-22T12:00:00+02:00"}, "created: must be an ISO 8601 date and time in UTC"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        record(**changes)
    assert str(error.value).startswith(message)
    assert str(error.value).isprintable(), "one line"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accuracy": 1.5, "interval": (0, 1)}, "accuracy: Input should be less than or equal to 1, got 1.5"),
        ({"deviation": 0.1}, "deviation must be null for one repeat"),
        ({"repeats": 2}, "deviation must be null for one repeat and a number for more, got None"),
        ({"repeats": 2, "deviation": -0.1}, "deviation: Input should be greater than or equal to 0"),
        ({"seconds": -1}, "seconds: Input should be greater than or equal to 0"),
        ({"seconds": 10**400}, "seconds: Input should be a finite number"),
        ({"gradient_evaluations": 0.5}, "gradient_evaluations: Input should be a valid integer"),
        ({"notes": "one"}, "notes: must be a list, got 'one'"),
        ({"notes": [None]}, r"notes\[0\]: Input should be a valid string, got None"),
        ({"parameters": {"norm": math.inf}}, "parameters: norm must be a finite number, got inf"),
        ({"parameters": {"a": [{"b": object}]}}, r"parameters: a\[0\].b must be a JSON value"),
        ({"parameters": {"a": "\n"}}, "parameters: a must be printable"),
    ],
)
def test_a_wrong_value_of_an_attack_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(**changes)


@pytest.mark.parametrize(
    ("eps", "accuracy", "message"),
    [
        ((), (), "eps: Tuple should have at least 1 item"),
        ((0, 1), (1,), "accuracy must have a value for each eps, got 1 for 2"),
        ((0, 0), (1, 1), "eps must be strictly increasing"),
        ((0, 1), (0.5, 0.6), "accuracy must never increase with eps"),
        ((-1, 0), (1, 1), r"eps\[0\]: Input should be greater than or equal to 0"),
        ((0, 1), (2, 1), r"accuracy\[0\]: Input should be less than or equal to 1"),
    ],
)
def test_a_wrong_margin_curve(eps: tuple[float, ...], accuracy: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarginCurve(name="PGD", eps=eps, accuracy=accuracy)


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def edited(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return edited


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(lambda c: c.update(version=2)), "version must be 1, got 2"),
        (edit(lambda c: c.update(version=True)), "version must be 1, got True"),
        (edit(lambda c: c.pop("version")), "version must be 1, got None"),
        (edit(lambda c: c.update(format="other")), "format must be 'art-levelset/evaluation'"),
        (edit(lambda c: c.pop("format")), "format must be 'art-levelset/evaluation'"),
        (edit(lambda c: c.update(colour="red")), "colour: Extra inputs are not permitted"),
        (edit(lambda c: c["attacks"][0].update(colour="red")), "attacks[0]: colour: Extra inputs are not permitted"),
        (edit(lambda c: c.pop("seed")), "seed: Field required"),
        (edit(lambda c: c.update(name=None)), "name: Input should be a valid string, got None"),
        (lambda text: text.replace("0.98,", "NaN,"), "NaN is no number of a record"),
        (lambda text: text.replace("0.98,", "1e999,"), "clean_interval[0]: Input should be a finite number"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 1'), "the fields of an object must have different"),
        (lambda text: text[:-3], "Expecting"),
        (lambda _: "[]", "format must be"),
        (lambda _: "", "Expecting value"),
        (lambda _: "[" * 100_000, "nested too deeply"),
        (lambda text: text.replace("40,", f"{'[' * 100_000}{']' * 100_000},"), "nested too deeply"),
    ],
)
def test_what_is_no_record_is_refused_with_the_files_name(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    path = tmp_path / "record.json"
    write_record(record(), path)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_record(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert str(error.value).isprintable(), "one line"


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="record.json: 'utf-8' codec"):
        read_record(tmp_path / "record.json")


def test_fields_with_a_default_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(record(), path)
    optional = [name for name, field in Record.model_fields.items() if not field.is_required()]
    path.write_text(edit(lambda c: [c.pop(name) for name in optional])(path.read_text()), encoding="utf-8")
    assert read_record(path) == record()
    assert {"footnote", "unreliable", "masking"} <= set(optional)


def test_a_folder_is_read_in_the_order_of_the_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_record(record(name), tmp_path / f"{name}.json")
    (tmp_path / "notes.txt").touch()
    assert [found.name for found in read_records(tmp_path)] == ["a", "b"]
    (tmp_path / "c.json").touch()
    with pytest.raises(ValueError, match="c.json: Expecting value"):
        read_records(tmp_path)


def test_a_folder_without_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no record"):
        read_records(tmp_path)
    with pytest.raises(NotADirectoryError, match="missing is not a folder"):
        read_records(tmp_path / "missing")


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_record(record("Old"), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()

    def fail(self: Path, target: Path) -> None:
        assert read_record(self) == record("New"), "complete before it gets its name"
        assert self.stat().st_dev == target.parent.stat().st_dev
        raise OSError("the disk is gone")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        write_record(record("New"), path)
    assert read_record(path) == record("Old")
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the folder .*missing does not exist"):
        write_record(record(), tmp_path / "missing" / "record.json")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_record(record(), tmp_path)
    with pytest.raises(TypeError, match="record must be a Record, got dict"):
        write_record(record().model_dump(), tmp_path / "record.json")  # type: ignore[arg-type]


def test_what_records_hold_makes_records_again() -> None:
    assert Record(**dict(record())) == Record(**record().model_dump()) == record()
    with pytest.raises(ValueError, match="seed: Input should be greater than or equal to 0"):
        Record(**{**dict(record()), "seed": -1})


def test_deep_parameters_are_written_and_read(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    written = record(attacks=(attack(parameters={"deep": deep}),))
    write_record(written, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == written


# The published schema.


def test_the_published_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == record_schema(), (
        'python -c "import json; from art_levelset.evaluation.record import record_schema; '
        'print(json.dumps(record_schema(), indent=2))" > docs/record.schema.json'
    )


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_published_records_hold_to_the_schema(path: Path, tmp_path: Path) -> None:
    validator().validate(json.loads(path.read_text(encoding="utf-8")))
    write_record(read_record(path), tmp_path / "record.json")
    validator().validate(json.loads((tmp_path / "record.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"version": 2},
        {"colour": "red"},
        {"name": None},
        {"name": ""},
        {"name": " "},
        {"n_examples": 1000.5},
        {"clean_acc": "100.01"},
        {"threat_model": "linf"},
        {"clean_interval": [0.98]},
        {"attacks": []},
        {"seed": -1},
        {"weights": {"sha256": "ab"}},
    ],
)
def test_the_schema_refuses_what_is_no_record(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_record(record(), tmp_path / "record.json")
    content = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    validator().validate(content)
    assert not validator().is_valid({**content, **changes})
    for name in ("format", "version", "seed"):
        assert not validator().is_valid({key: value for key, value in content.items() if key != name})


def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
