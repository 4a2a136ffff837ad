"""
One evaluation as a JSON file: the fields of RobustBench's `model_info` files under their names, and what was measured.

RobustBench's fields (link ... external) describe the model; accuracies there are percent strings such as "88.50", and
"" where nothing was reported or AutoAttack was not run. In the others accuracies are fractions, and intervals are their
95% confidence intervals. `docs/record.schema.json` says the same as a JSON schema.

| Paper link: https://arxiv.org/abs/2010.09670
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from art_levelset.evaluation.calibration import Calibration
from art_levelset.evaluation.fields import (
    Checked,
    Count,
    Filled,
    Flag,
    Interval,
    NotNegative,
    Number,
    Parameters,
    Percent,
    PercentOrEmpty,
    Positive,
    Radius,
    Sha256,
    Share,
    Text,
    Time,
    check_interval,
    ordered,
)
from art_levelset.evaluation.record_outcomes import Estimate, OutcomesFile
from art_levelset.files import write_text
from art_levelset.untrusted import read_json

FORMAT = "art-levelset/evaluation"
VERSION = 1

MOST = 1 << 24
"""The most bytes of a record: 16 MiB. Those of this package have some thousands."""

_ROUNDING = 1e-9
_PERCENT_ROUNDING = 5.1e-5
_NUMBERS_ON_LINES = re.compile(r'\[\n\s+([^\[\]{}"]*?)\n\s*\]')


class AttackResult(Checked, frozen=True):
    """
    What one attack left of the accuracy, and what it cost.

    :param name: The attack's name in this record.
    :param parameters: Its parameters, JSON values.
    :param accuracy: Accuracy under the attack, in [0, 1]: the mean over the repeats.
    :param interval: Its 95% interval, low and high.
    :param deviation: Standard deviation over the repeats; None for a single one.
    :param repeats: Runs with different seeds, >= 1.
    :param n_examples: Samples attacked, >= 1: the first ones of the record's.
    :param seconds: Wall time of all repeats; of several processes the sum of what each has spent.
    :param forward_passes: Samples passed through the network.
    :param gradient_evaluations: Samples whose gradient was computed.
    :param notes: What a reader has to know, for instance that the logits were rescaled.
    :raises ValueError: If a value is out of range.
    """

    name: Filled
    parameters: Parameters
    accuracy: Share
    interval: Interval
    deviation: NotNegative | None = None
    repeats: Positive = 1
    n_examples: Positive
    seconds: NotNegative
    forward_passes: Count
    gradient_evaluations: Count
    notes: Annotated[tuple[Text, ...], BeforeValidator(ordered)] = ()

    @model_validator(mode="after")
    def _check(self) -> AttackResult:
        check_interval("interval", self.interval, self.accuracy, _ROUNDING)
        if (self.deviation is None) != (self.repeats == 1):
            raise ValueError(f"deviation must be null for one repeat and a number for more, got {self.deviation}")
        return self


class WorstCase(Checked, frozen=True):
    """
    The fraction of samples that no attack broke in any repeat.

    :param accuracy: In [0, 1].
    :param interval: Its 95% interval, low and high.
    :raises ValueError: If a value is out of range.
    """

    accuracy: Share
    interval: Interval

    @model_validator(mode="after")
    def _check(self) -> WorstCase:
        check_interval("interval", self.interval, self.accuracy, _ROUNDING)
        return self


class MarginCurve(Checked, frozen=True):
    """
    Robust accuracy as a function of the radius.

    :param name: What measured the boundary distances.
    :param eps: Radii, >= 0, strictly increasing.
    :param accuracy: The fraction of samples still classified right at each, never increasing.
    :raises ValueError: If there is no radius, or they and the accuracies are not as above.
    """

    name: Filled
    eps: Annotated[tuple[NotNegative, ...], Field(min_length=1), BeforeValidator(ordered)]
    accuracy: Annotated[tuple[Share, ...], BeforeValidator(ordered)]

    @model_validator(mode="after")
    def _check(self) -> MarginCurve:
        if len(self.eps) != len(self.accuracy):
            raise ValueError(f"accuracy must have a value for each eps, got {len(self.accuracy)} for {len(self.eps)}")
        if any(after <= before for before, after in zip(self.eps, self.eps[1:], strict=False)):
            raise ValueError("eps must be strictly increasing")
        if any(after > before for before, after in zip(self.accuracy, self.accuracy[1:], strict=False)):
            raise ValueError("accuracy must never increase with eps")
        return self


class MaskingCheck(Checked, frozen=True):
    """
    One check for masked gradients and its verdict.

    :param check: Its name.
    :param verdict: "pass", "fail" or "not judged".
    :param statement: What was found, in a sentence.
    :param value: The number that was judged, if there is one.
    :raises ValueError: If the verdict is another one, or a text is empty.
    """

    check: Filled
    verdict: Literal["pass", "fail", "not judged"]
    statement: Filled
    value: Number | None = None

    @property
    def judged(self) -> bool:
        """Whether there was enough to judge."""
        return self.verdict != "not judged"


class DataUsed(Checked, frozen=True):
    """
    Which samples were evaluated.

    :param sha256: Hash of the samples and labels, 64 hexadecimal digits.
    :param first: Position of the first one in the test set, >= 0.
    :param n_examples: How many, >= 1.
    :raises ValueError: If a value is out of range.
    """

    sha256: Sha256
    first: Count = 0
    n_examples: Positive


class Weights(Checked, frozen=True):
    """
    Which weights were evaluated.

    :param sha256: Hash of the file, 64 hexadecimal digits.
    :raises ValueError: If it is no hash.
    """

    sha256: Sha256


class Record(Checked, frozen=True):
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
    :param external: A lower robust accuracy that others have found for the same model and ball, in percent; "" if none
           is known.
    :param external_source: Who found it, and where to read of it; with `external` and only then.
    :param threat_model: The norm of the ball: "Linf", "L2" or "L1".
    :param n_examples: Samples evaluated, >= 1.
    :param clean_interval: 95% interval of the clean accuracy.
    :param attacks: At least one, with different names.
    :param worst_case: The per-sample worst case over all attacks and repeats.
    :param estimate: AutoAttack's accuracy, estimated from some of the samples; None where it was not.
    :param margin_curves: With different names.
    :param masking: The checks for masked gradients; None if they were not made.
    :param calibration: How calibrated the model is on the samples as they are; None if it was not measured.
    :param seed: The seed, >= 0.
    :param versions: Versions of the libraries by name.
    :param data: The samples.
    :param weights: The weights; None where they come from no file.
    :param outcomes: The file with what became of each sample; None where there is none.
    :param created: ISO 8601 date and time, UTC.
    :raises ValueError: If a value is out of range or contradicts another.
    """

    link: Text = ""
    name: Filled
    authors: Text = ""
    additional_data: Flag = False
    number_forward_passes: Positive = 1
    dataset: Filled
    venue: Text = ""
    architecture: Filled
    eps: Radius
    clean_acc: Percent
    reported: PercentOrEmpty = ""
    autoattack_acc: PercentOrEmpty = ""
    footnote: Text = ""
    unreliable: Flag = False
    external: PercentOrEmpty = ""
    external_source: Text = ""
    threat_model: Literal["Linf", "L2", "L1"]
    n_examples: Positive
    clean_interval: Interval
    attacks: Annotated[tuple[AttackResult, ...], Field(min_length=1), BeforeValidator(ordered)]
    worst_case: WorstCase
    estimate: Estimate | None = None
    margin_curves: Annotated[tuple[MarginCurve, ...], BeforeValidator(ordered)] = ()
    masking: Annotated[tuple[MaskingCheck, ...], BeforeValidator(ordered)] | None = None
    calibration: Calibration | None = None
    seed: Count
    versions: dict[Text, Text]
    data: DataUsed
    weights: Weights | None = None
    outcomes: OutcomesFile | None = None
    created: Time

    @model_validator(mode="after")
    def _check(self) -> Record:
        check_interval("clean_interval", self.clean_interval, self.clean, _PERCENT_ROUNDING)
        _check_different("attacks", [attack.name for attack in self.attacks])
        _check_different("margin_curves", [curve.name for curve in self.margin_curves])
        if self.data.n_examples != self.n_examples:
            raise ValueError(f"data.n_examples must be n_examples, {self.n_examples}, got {self.data.n_examples}")
        self._check_order()
        if bool(self.external) != bool(self.external_source.strip()):
            raise ValueError("external_source must say where external comes from, and only then")
        if self.external and self.robust >= self.worst_case.accuracy:
            raise ValueError(f"external must be lower than worst_case.accuracy, got {self.external}")
        return self

    @property
    def radius(self) -> float:
        """The radius of the attacks as a number."""
        return float(Fraction(self.eps))

    @property
    def clean(self) -> float:
        """The clean accuracy as a fraction."""
        return float(self.clean_acc) / 100

    @property
    def robust(self) -> float:
        """The lowest robust accuracy that is known: that found here, or what others have found; it ranks the model."""
        return min(self.own_robust, float(self.external or 100) / 100)

    @property
    def own_robust(self) -> float:
        """The worst case, with AutoAttack's part in it where that is estimated."""
        return self.worst_case.accuracy if self.estimate is None else self.estimate.worst_case

    @property
    def found_by_others(self) -> bool:
        """Whether others have found the lowest robust accuracy."""
        return self.robust < self.own_robust

    @property
    def robust_interval(self) -> Interval:
        """
        The 95% interval of what was found here: for the choice of the samples, or for the drawing of those that
        AutoAttack was run on.
        """
        return self.worst_case.interval if self.estimate is None else self.estimate.worst_case_interval

    @property
    def failed_checks(self) -> tuple[MaskingCheck, ...]:
        """The checks for masked gradients that the model fails."""
        return tuple(check for check in self.masking or () if check.verdict == "fail")

    def _check_order(self) -> None:
        """On the same samples: worst case <= accuracy under an attack <= clean accuracy."""
        if self.estimate is not None:
            inside = sum(one.n_examples for one in self.estimate.strata)
            if inside > self.n_examples:
                raise ValueError(f"estimate.strata must hold at most n_examples samples, got {inside}")
            if self.estimate.accuracy > self.clean + _PERCENT_ROUNDING:
                raise ValueError(f"estimate.accuracy must not exceed clean_acc, got {self.estimate.accuracy}")
            if self.estimate.worst_case > self.worst_case.accuracy + _ROUNDING:
                raise ValueError(f"estimate.worst_case must not exceed worst_case, got {self.estimate.worst_case}")
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
    :return: Percent with two decimals.
    :raises ValueError: If it is not in [0, 1].

    >>> percent(0.885)
    '88.50'
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be in [0, 1], got {fraction}")
    return f"{100 * fraction:.2f}"


def record_schema() -> dict[str, Any]:
    """
    The JSON schema of a record's file: fields, types and ranges; what several fields say together it does not tell.

    :return: The schema, as `docs/record.schema.json` has it.
    """
    schema = Record.model_json_schema()
    constants = {"format": {"const": FORMAT, "type": "string"}, "version": {"const": VERSION, "type": "integer"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "properties": {**constants, **schema["properties"]},
        "required": [*constants, *schema["required"]],
    }


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
    content = {"format": FORMAT, "version": VERSION, **dict(record)}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=dict)
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
    return _checked(_fields(path), path)


def read_records(folder: str | Path) -> list[Record]:
    """
    Read all records of a folder, in the order of their file names.

    :param folder: A folder with `*.json` files, all of them records, or documents of the program's `--json`, which are
           passed over.
    :return: The records, at least one.
    :raises ValueError: If there is none, or a file is no record; the message names it.
    :raises OSError: If there is no such folder, or a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    found = {path: _fields(path) for path in sorted(folder.glob("*.json"))}
    records = [_checked(fields, path) for path, fields in found.items() if not _is_document(fields)]
    if not records:
        raise ValueError(f"{folder} holds no record (*.json)")
    return records


def _fields(path: str | Path) -> Any:
    return read_json(path, MOST, parse_constant=_refuse_constant, object_pairs_hook=_unique_fields)


def _checked(fields: Any, path: str | Path) -> Record:
    try:
        return _from_json(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply") from error


def _is_document(fields: Any) -> bool:
    """Whether these are of what a verb of the program writes with `--json`."""
    return isinstance(fields, Mapping) and {"verb", "version", "files"} <= fields.keys()


def _from_json(fields: Any) -> Record:
    if not isinstance(fields, Mapping) or fields.get("format") != FORMAT:
        raise ValueError(f"format must be {FORMAT!r}: this is no record of an evaluation")
    version = fields.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"version must be {VERSION}, got {version!r:.80}")
    return Record(**{name: value for name, value in fields.items() if name not in ("format", "version")})


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of a record")


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_different("the fields of an object", [name for name, _ in pairs])
    return dict(pairs)


def _check_different(what: str, names: Iterable[str]) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} must have different names, got {name!r:.80} twice")
        seen.add(name)
