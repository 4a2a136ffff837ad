"""
One evaluation as a JSON file: the fields of RobustBench's `model_info` files under their names, and what was measured.

RobustBench's fields (link ... unreliable) describe the model; accuracies there are percent strings such as "88.50", and
"" where nothing was reported or AutoAttack was not run. In the others accuracies are fractions, and intervals are their
95% confidence intervals.

| Paper link: https://arxiv.org/abs/2010.09670
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeAlias

from art_levelset.evaluation.calibration import Calibration
from art_levelset.evaluation.schema import Checked, check_different, check_filled, check_within, from_mapping
from art_levelset.files import write_text

FORMAT = "art-levelset/evaluation"
VERSION = 1

Interval: TypeAlias = tuple[float, float]

_ROUNDING = 1e-9
_PERCENT_ROUNDING = 5.1e-5
_PERCENT = re.compile(r"\d{1,3}(\.\d{1,4})?", re.ASCII)
_RADIUS = re.compile(r"\d{1,9}(\.\d{1,20})?(e-\d{1,2})?|\d{1,9}/\d{1,9}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBERS_ON_LINES = re.compile(r'\[\n\s+([^\[\]{}"]*?)\n\s*\]')


@dataclass(frozen=True, kw_only=True)
class AttackResult(Checked):
    """
    What one attack left of the accuracy, and what it cost.

    :param name: The attack's name in this record.
    :param parameters: Its parameters, JSON values.
    :param accuracy: Accuracy under the attack, in [0, 1]: the mean over the repeats.
    :param interval: Its 95% interval, low and high.
    :param deviation: Standard deviation over the repeats; None for a single one.
    :param repeats: Runs with different seeds, >= 1.
    :param n_examples: Samples attacked, >= 1: the first ones of the record's.
    :param seconds: Wall time of all repeats.
    :param forward_passes: Samples passed through the network.
    :param gradient_evaluations: Samples whose gradient was computed.
    :param notes: What a reader has to know, for instance that the logits were rescaled.
    :raises ValueError: If a value is out of range.
    :raises TypeError: If a value is of another type.
    """

    name: str
    parameters: dict[str, Any]
    accuracy: float
    interval: Interval
    deviation: float | None = None
    repeats: int = 1
    n_examples: int
    seconds: float
    forward_passes: int
    gradient_evaluations: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filled(name=self.name)
        _check_interval("interval", self.interval, self.accuracy, _ROUNDING)
        check_within(1, math.inf, repeats=self.repeats, n_examples=self.n_examples)
        check_within(
            0,
            math.inf,
            seconds=self.seconds,
            forward_passes=self.forward_passes,
            gradient_evaluations=self.gradient_evaluations,
        )
        if (self.deviation is None) != (self.repeats == 1):
            raise ValueError(f"deviation must be null for one repeat and a number for more, got {self.deviation}")
        if self.deviation is not None:
            check_within(0, math.inf, deviation=self.deviation)


@dataclass(frozen=True, kw_only=True)
class WorstCase(Checked):
    """
    The fraction of samples that no attack broke in any repeat.

    :param accuracy: In [0, 1].
    :param interval: Its 95% interval, low and high.
    :raises ValueError: If a value is out of range.
    """

    accuracy: float
    interval: Interval

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_interval("interval", self.interval, self.accuracy, _ROUNDING)


@dataclass(frozen=True, kw_only=True)
class MarginCurve(Checked):
    """
    Robust accuracy as a function of the radius.

    :param name: What measured the distances to the boundary.
    :param eps: Radii, >= 0, strictly increasing.
    :param accuracy: The fraction of samples still classified right at each, never increasing.
    :raises ValueError: If there is no radius, or they and the accuracies are not as above.
    """

    name: str
    eps: tuple[float, ...]
    accuracy: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filled(name=self.name)
        if not self.eps or len(self.eps) != len(self.accuracy):
            raise ValueError(f"accuracy must have a value for each eps, got {len(self.accuracy)} for {len(self.eps)}")
        check_within(0, 1, accuracy=self.accuracy)
        check_within(0, math.inf, eps=self.eps)
        if any(after <= before for before, after in zip(self.eps, self.eps[1:], strict=False)):
            raise ValueError("eps must be strictly increasing")
        if any(after > before for before, after in zip(self.accuracy, self.accuracy[1:], strict=False)):
            raise ValueError("accuracy must never increase with eps")


@dataclass(frozen=True, kw_only=True)
class MaskingCheck(Checked):
    """
    One check for masked gradients and its verdict.

    :param check: Its name.
    :param verdict: "pass", "fail" or "not judged".
    :param statement: What was found, in a sentence.
    :param value: The number that was judged, if there is one.
    :raises ValueError: If the verdict is another one, or a text is empty.
    """

    check: str
    verdict: Literal["pass", "fail", "not judged"]
    statement: str
    value: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filled(check=self.check, statement=self.statement)


@dataclass(frozen=True, kw_only=True)
class DataUsed(Checked):
    """
    Which samples were evaluated.

    :param sha256: Hash of the samples and labels, 64 hexadecimal digits.
    :param first: Position of the first one in the test set, >= 0.
    :param n_examples: How many, >= 1.
    :raises ValueError: If a value is out of range.
    """

    sha256: str
    first: int = 0
    n_examples: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_hash("sha256", self.sha256)
        check_within(0, math.inf, first=self.first)
        check_within(1, math.inf, n_examples=self.n_examples)


@dataclass(frozen=True, kw_only=True)
class Weights(Checked):
    """
    Which weights were evaluated.

    :param sha256: Hash of the file, 64 hexadecimal digits.
    :raises ValueError: If it is no hash.
    """

    sha256: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_hash("sha256", self.sha256)


@dataclass(frozen=True, kw_only=True)
class Record(Checked):
    """
    One evaluation of one model.

    :param link: Where the model is described; "" if nowhere.
    :param name: The model's name.
    :param authors: Its authors.
    :param additional_data: Whether it was trained on more than the data set.
    :param number_forward_passes: Forward passes through the network that one prediction takes, >= 1.
    :param dataset: The data set's name, for instance "mnist".
    :param venue: Where it was published.
    :param architecture: The network.
    :param eps: Radius of the attacks as text, a decimal or a fraction: "0.3", "8/255".
    :param clean_acc: Accuracy without attack in percent, for instance "99.35".
    :param reported: The robust accuracy that its authors report, in percent; "" if none.
    :param autoattack_acc: The robust accuracy by AutoAttack in percent; "" if it was not run.
    :param footnote: A remark.
    :param unreliable: Whether the evaluation is known to overestimate the robustness.
    :param threat_model: The norm of the ball: "Linf", "L2" or "L1".
    :param n_examples: Samples evaluated, >= 1.
    :param clean_interval: 95% interval of the clean accuracy.
    :param attacks: At least one, with different names.
    :param worst_case: The per-sample worst case over all attacks and repeats.
    :param margin_curves: With different names.
    :param masking: The checks for masked gradients; None if they were not made.
    :param calibration: How calibrated the model is on the samples as they are; None if it was not measured.
    :param seed: The seed, >= 0.
    :param versions: Versions of the libraries by name.
    :param data: The samples.
    :param weights: The weights; None where they come from no file.
    :param created: ISO 8601 date and time, UTC.
    :raises ValueError: If a value is out of range or contradicts another.
    :raises TypeError: If a value is of another type.
    """

    link: str = ""
    name: str
    authors: str = ""
    additional_data: bool = False
    number_forward_passes: int = 1
    dataset: str
    venue: str = ""
    architecture: str
    eps: str
    clean_acc: str
    reported: str = ""
    autoattack_acc: str = ""
    footnote: str = ""
    unreliable: bool = False
    threat_model: Literal["Linf", "L2", "L1"]
    n_examples: int
    clean_interval: Interval
    attacks: tuple[AttackResult, ...]
    worst_case: WorstCase
    margin_curves: tuple[MarginCurve, ...] = ()
    masking: tuple[MaskingCheck, ...] | None = None
    calibration: Calibration | None = None
    seed: int
    versions: dict[str, str]
    data: DataUsed
    weights: Weights | None = None
    created: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filled(name=self.name, dataset=self.dataset, architecture=self.architecture)
        check_within(1, math.inf, number_forward_passes=self.number_forward_passes, n_examples=self.n_examples)
        check_within(0, math.inf, seed=self.seed)
        _check_radius(self.eps)
        for field in ("clean_acc", "reported", "autoattack_acc"):
            _check_percent(field, getattr(self, field), optional=field != "clean_acc")
        _check_interval("clean_interval", self.clean_interval, self.clean, _PERCENT_ROUNDING)
        _check_time(self.created)
        if not self.attacks:
            raise ValueError("attacks must not be empty")
        check_different("attacks", [attack.name for attack in self.attacks])
        check_different("margin_curves", [curve.name for curve in self.margin_curves])
        if self.data.n_examples != self.n_examples:
            raise ValueError(f"data.n_examples must be n_examples, {self.n_examples}, got {self.data.n_examples}")
        self._check_order()

    @property
    def radius(self) -> float:
        """The radius of the attacks as a number."""
        return float(Fraction(self.eps))

    @property
    def clean(self) -> float:
        """The clean accuracy as a fraction."""
        return float(self.clean_acc) / 100

    @property
    def failed_checks(self) -> tuple[MaskingCheck, ...]:
        """The checks for masked gradients that the model fails."""
        return tuple(check for check in self.masking or () if check.verdict == "fail")

    def _check_order(self) -> None:
        """On the same samples: worst case <= accuracy under an attack <= clean accuracy."""
        if self.worst_case.accuracy > self.clean + _PERCENT_ROUNDING:
            raise ValueError(f"worst_case.accuracy must not exceed clean_acc, got {self.worst_case.accuracy}")
        for i, attack in enumerate(self.attacks):
            if attack.n_examples > self.n_examples:
                raise ValueError(f"attacks[{i}].n_examples must not exceed n_examples, got {attack.n_examples}")
            if attack.n_examples == self.n_examples and not (
                self.worst_case.accuracy - _ROUNDING <= attack.accuracy <= self.clean + _PERCENT_ROUNDING
            ):
                raise ValueError(
                    f"attacks[{i}].accuracy must lie between the worst case, {self.worst_case.accuracy:.4g}, and the "
                    f"clean accuracy, {self.clean:.4g}, got {attack.accuracy:.4g}"
                )


def percent(fraction: float) -> str:
    """
    A fraction as RobustBench writes accuracies.

    :param fraction: In [0, 1].
    :return: Percent with two decimals, for instance "88.50".
    :raises ValueError: If it is not in [0, 1].
    """
    check_within(0, 1, fraction=fraction)
    return f"{100 * fraction:.2f}"


def write_record(record: Record, path: str | Path) -> None:
    """
    Write a record; the file is there completely or not at all.

    :param record: The record.
    :param path: The file, in a folder that exists; an existing file is replaced.
    :raises TypeError: If it is not a record.
    :raises OSError: If the file cannot be written.
    """
    if not isinstance(record, Record):
        raise TypeError(f"record must be a Record, got {type(record).__name__}")
    content = {"format": FORMAT, "version": VERSION, **asdict(record)}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS_ON_LINES.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    write_text(f"{text}\n", path)


def read_record(path: str | Path) -> Record:
    """
    Read and check a record.

    :param path: The file.
    :return: The record.
    :raises ValueError: If the file is no such record, of an unknown version or has an unknown field; the message names
            the file and the field.
    :raises OSError: If the file cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        fields = json.loads(content.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique_fields)
        return _from_json(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply for a record") from error


def read_records(folder: str | Path) -> list[Record]:
    """
    Read all records of a folder, in the order of their file names.

    :param folder: A folder with `*.json` files, all of them records.
    :return: The records, at least one.
    :raises ValueError: If there is none, or a file is no record; the message names it.
    :raises OSError: If there is no such folder, or a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ValueError(f"{folder} holds no record (*.json)")
    return [read_record(path) for path in paths]


def _from_json(fields: Any) -> Record:
    if not isinstance(fields, Mapping) or fields.get("format") != FORMAT:
        raise ValueError(f"format must be {FORMAT!r}: this is no record of an evaluation")
    version = fields.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"version must be {VERSION}, got {version!r:.80}")
    return from_mapping(Record, {name: value for name, value in fields.items() if name not in ("format", "version")})


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of a record")


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_different("the fields of an object", [name for name, _ in pairs])
    return dict(pairs)


def _check_interval(name: str, interval: Interval, accuracy: float, rounding: float) -> None:
    check_within(0, 1, accuracy=accuracy, **{name: interval})
    low, high = interval
    if not low <= high:
        raise ValueError(f"{name} must be (low, high) with low <= high, got {interval}")
    if not low - rounding <= accuracy <= high + rounding:
        raise ValueError(f"{name} must hold the accuracy {accuracy:.6g}, got {interval}")


def _check_percent(name: str, value: str, *, optional: bool) -> None:
    if optional and not value:
        return
    if not _PERCENT.fullmatch(value) or float(value) > 100:
        raise ValueError(f'{name} must be percent as text such as "88.50", got {value!r:.80}')


def _check_radius(eps: str) -> None:
    numerator, _, denominator = eps.partition("/")
    if not _RADIUS.fullmatch(eps) or not float(numerator) > 0 or not float(denominator or 1) > 0:
        raise ValueError(f'eps must be a number > 0 as text such as "0.3" or "8/255", got {eps!r:.80}')


def _check_time(created: str) -> None:
    try:
        offset = datetime.fromisoformat(re.sub("Z$", "+00:00", created)).utcoffset()
    except ValueError:
        offset = None
    if offset != timedelta(0):
        raise ValueError(f"created must be an ISO 8601 date and time in UTC, got {created!r:.80}")


def _check_hash(name: str, value: str) -> None:
    if not _SHA256.fullmatch(value):
        raise ValueError(f"{name} must be 64 hexadecimal digits, got {value!r:.80}")
