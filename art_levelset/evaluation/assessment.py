"""The whole evaluation of one model: calibration, attacks, margins, checks for masked gradients; as text and record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from art_levelset.attacks.inputs import Array
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import Attack
from art_levelset.evaluation.calibration import Calibration, calibration
from art_levelset.evaluation.distances import attack_distances, boundary_distances, margin_curve
from art_levelset.evaluation.masking import Diagnosis, diagnose
from art_levelset.evaluation.record import MarginCurve, Record
from art_levelset.evaluation.suite import Report, evaluate

CURVE = 1.5
"""How far the margin curves reach, in radii of the attacks."""

POINTS = 60
"""Radii of a margin curve besides 0."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """
    What was found of one model.

    :param report: What it withstands.
    :param curves: Its robust accuracy as a function of the radius; empty where not measured.
    :param diagnosis: The checks for masked gradients; None where not made.
    :param calibration: How calibrated it is.
    """

    report: Report
    curves: tuple[MarginCurve, ...]
    diagnosis: Diagnosis | None
    calibration: Calibration

    def record(self, **about: Any) -> Record:
        """
        The assessment as a record.

        :param about: The fields that :meth:`art_levelset.evaluation.suite.Report.record` asks for.
        :return: The record.
        :raises ValueError: If a field is missing or out of range.
        """
        checks = None if self.diagnosis is None else self.diagnosis.checks
        return self.report.record(margin_curves=self.curves, masking=checks, calibration=self.calibration, **about)

    def text(self) -> str:
        """
        The assessment as text.

        :return: The table of attacks, and below it the calibration and the checks.
        """
        parts = [self.report.table(), self.calibration.text()]
        return "\n\n".join([*parts, *([] if self.diagnosis is None else [self.diagnosis.report()])])


def assess(
    model: Any,
    x: Array,
    y: Array,
    attacks: Mapping[str, Attack],
    *,
    eps: float,
    norm: float,
    clip_values: tuple[float, float] = (0.0, 1.0),
    eps_step: float | None = None,
    max_iter: int = 40,
    margins: bool = False,
    masking: bool = False,
    sources: Mapping[str, Any] | None = None,
    gradient_free: Attack | None = None,
    repeats: int = 1,
    batch_size: int = 500,
    seed: int = 0,
    memo: Memo | None = None,
    verbose: bool = True,
) -> Assessment:
    """
    Evaluate a model under attacks and, where asked, measure its margins and look for masked gradients. Its calibration
    is always measured: that takes one forward pass.

    :param model: A network (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
    :param x: Samples, (n, ...), floating point, within `clip_values`.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param attacks: Attacks by name, for :func:`art_levelset.evaluation.suite.evaluate`.
    :param eps: Radius of the attacks, > 0; the margin curves reach half as far again.
    :param norm: The norm of the ball: `math.inf`, 2 or 1; the margins know the first two.
    :param clip_values: Smallest and largest valid input.
    :param eps_step: Length of a step of the checks' PGD; 2.5 * eps / max_iter by default.
    :param max_iter: Steps of the checks' PGD and of the searches for the boundary, >= 2.
    :param margins: Whether to measure the margins: by the search for the boundary, and by bisected margin PGD.
    :param masking: Whether to look for masked gradients (:func:`art_levelset.evaluation.masking.diagnose`).
    :param sources: Other models, whose attacks the checks transfer.
    :param gradient_free: An attack without gradients, for the checks.
    :param repeats: How often each attack is run, >= 1.
    :param batch_size: Samples in one call of an attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished work is kept; nowhere by default.
    :param verbose: Whether to show progress bars.
    :return: What was found.
    :raises ValueError: If a shape, label or number is out of range, or a logit is not finite.
    :raises TypeError: If an argument is of another type.
    """
    calibrated = calibration(model, x, y, batch_size=batch_size)
    run: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "memo": memo, "verbose": verbose}
    report = evaluate(model, x, y, attacks, repeats=repeats, **run)
    curves: list[MarginCurve] = []
    if margins:
        family = partial(pgd, norm=norm, loss="margin", max_iter=max_iter, clip_values=clip_values)
        bisected = attack_distances(
            model,
            x,
            y,
            lambda radius: partial(family, eps=radius, stop_when_broken=True),
            largest=CURVE * eps,
            norm=norm,
            **run,
        )
        searched = boundary_distances(model, x, y, norm=norm, clip_values=clip_values, max_iter=max_iter, **run)
        radii = np.linspace(0, CURVE * eps, POINTS + 1).tolist()
        for name, found in {"boundary search": searched, "margin PGD, bisected": bisected}.items():
            curves.append(margin_curve(found.distances, radii, name=name))
    diagnosis = None
    if masking:
        diagnosis = diagnose(
            model,
            x,
            y,
            eps=eps,
            norm=norm,
            clip_values=clip_values,
            eps_step=eps_step,
            max_iter=max_iter,
            sources=sources,
            gradient_free=gradient_free,
            **run,
        )
    return Assessment(report, tuple(curves), diagnosis, calibrated)
