"""What a record says of AutoAttack's estimated accuracy, and of the file with what became of each image."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from art_levelset.evaluation.fields import (
    Checked,
    Count,
    Filled,
    Flag,
    Interval,
    NotNegative,
    Parameters,
    Positive,
    Sha256,
    Share,
    Text,
    check_interval,
    ordered,
)

_ROUNDING = 1e-9


class DrawnStratum(Checked, frozen=True):
    """
    Images that were drawn alike for AutoAttack.

    :param name: What they have in common.
    :param n_examples: How many there are, >= 1.
    :param known_broken: Whether other attacks have broken them.
    :param pilot: How many were drawn at first, <= n_examples.
    :param pilot_broken: How many of these AutoAttack broke.
    :param drawn: How many of the others were drawn then.
    :param broken: How many of these AutoAttack broke.
    :raises ValueError: If a number is out of range.
    """

    name: Filled
    n_examples: Positive
    known_broken: Flag = False
    pilot: Positive
    pilot_broken: Count
    drawn: Count
    broken: Count

    @model_validator(mode="after")
    def _check(self) -> DrawnStratum:
        left = self.n_examples - self.pilot
        if left < self.drawn or (left > 0) != (self.drawn > 0):
            raise ValueError(f"drawn must be in [1, {left}] where images are left after the pilot, got {self.drawn}")
        if self.pilot_broken > self.pilot or self.broken > self.drawn:
            raise ValueError("pilot_broken and broken must not exceed pilot and drawn")
        return self


class Estimate(Checked, frozen=True):
    """
    AutoAttack's accuracy on all images, estimated from AutoAttack on some of them.

    :param parameters: What AutoAttack was, JSON values.
    :param accuracy: AutoAttack's own accuracy, in [0, 1].
    :param interval: Its 95% interval for the drawing, low and high: for these images.
    :param worst_case: The accuracy under AutoAttack and the attacks of the record together; at most `accuracy`.
    :param worst_case_interval: Its 95% interval for the drawing.
    :param asked: Half the length of the interval that was asked for, > 0.
    :param drawn: Images that AutoAttack was run on.
    :param strata: The strata that they were drawn from, with different names; all other images are misclassified as
           they are.
    :param seconds: Wall time of AutoAttack.
    :param forward_passes: Samples passed through the network.
    :param gradient_evaluations: Samples whose gradient was computed.
    :param full_seconds: What AutoAttack would take on all images, about.
    :param full_forward_passes: The samples that it would pass through the network, about.
    :param full_gradient_evaluations: The samples whose gradient it would compute, about.
    :param notes: What a reader has to know.
    :raises ValueError: If a value is out of range or contradicts another.
    """

    parameters: Parameters
    accuracy: Share
    interval: Interval
    worst_case: Share
    worst_case_interval: Interval
    asked: Annotated[NotNegative, Field(gt=0)]
    drawn: Count
    strata: Annotated[tuple[DrawnStratum, ...], BeforeValidator(ordered)]
    seconds: NotNegative
    forward_passes: Count
    gradient_evaluations: Count
    full_seconds: NotNegative
    full_forward_passes: Count
    full_gradient_evaluations: Count
    notes: Annotated[tuple[Text, ...], BeforeValidator(ordered)] = ()

    @model_validator(mode="after")
    def _check(self) -> Estimate:
        check_interval("interval", self.interval, self.accuracy, _ROUNDING)
        check_interval("worst_case_interval", self.worst_case_interval, self.worst_case, _ROUNDING)
        if self.worst_case > self.accuracy + _ROUNDING:
            raise ValueError(f"worst_case must not exceed accuracy, {self.accuracy:.4g}, got {self.worst_case:.4g}")
        if len({one.name for one in self.strata}) < len(self.strata):
            raise ValueError("strata must have different names")
        if self.drawn != (counted := sum(one.pilot + one.drawn for one in self.strata)):
            raise ValueError(f"drawn must be what the strata's add up to, {counted}, got {self.drawn}")
        return self


class OutcomesFile(Checked, frozen=True):
    """
    The file, beside the record's, with what became of each image (:mod:`art_levelset.evaluation.outcomes`).

    :param file: Its name, without a folder, ending in ".npz".
    :param sha256: Its hash, 64 hexadecimal digits.
    :raises ValueError: If it is no such name or no hash.
    """

    file: Annotated[Filled, Field(pattern=r"^[^/\\]+\.npz$")]
    sha256: Sha256
