"""The whole evaluation of one model: attack suite, calibration, boundary distances, masking; as text and record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from art_levelset.adapters.catalogue import attack_by_name
from art_levelset.attacks.batches import COUNTED, check_batch
from art_levelset.attacks.inputs import Array, ClipValues
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.network import seeded
from art_levelset.attacks.pgd import pgd
from art_levelset.attacks.protocol import Attack
from art_levelset.attacks.subject import Subject
from art_levelset.attacks.work import check_complete
from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.balls import NAMES, check_norm
from art_levelset.evaluation.accuracy import wilson
from art_levelset.evaluation.calibration import Calibration, calibration_of
from art_levelset.evaluation.distances import bisected_distances, margin_curve, searched_distances
from art_levelset.evaluation.estimate import Estimated, estimate
from art_levelset.evaluation.forecast import Forecast, forecast
from art_levelset.evaluation.masking import Diagnosis, DiagnosisSettings, diagnosis_of
from art_levelset.evaluation.outcomes import Outcomes
from art_levelset.evaluation.probes import Probes, probe
from art_levelset.evaluation.record import DataUsed, MarginCurve, Record, WorstCase, percent
from art_levelset.evaluation.record_outcomes import OutcomesFile
from art_levelset.evaluation.suite import Attacked, RobustMask, Task, run_suite, settings_of
from art_levelset.versions import versions

CURVE = 1.5
"""How far the margin curves reach, in radii of the attacks."""

POINTS = 60
"""Radii of a margin curve besides 0."""


@dataclass(frozen=True, eq=False)
class Report:
    """
    What was found of a network.

    :param clean: Whether each sample is classified right as it is, (n,).
    :param attacks: How it fared under each attack, in their order.
    :param seed: The seed.
    :param data: The SHA-256 of the samples and labels.
    :param probes: Whether it is a function with gradients.
    :param calibration: How calibrated it is.
    :param curves: Its robust accuracy as a function of the radius; empty where not measured.
    :param diagnosis: The checks for masked gradients; None where not made.
    :param estimate: What AutoAttack leaves, estimated from some of the samples; None where not asked for.
    :param labels: The labels, (n,).
    :param curve_distances: The boundary distances, (n,), that the margin curves are made of, by their names.
    """

    clean: RobustMask
    attacks: tuple[Attacked, ...]
    seed: int
    data: str
    probes: Probes
    calibration: Calibration
    curves: tuple[MarginCurve, ...] = ()
    diagnosis: Diagnosis | None = None
    estimate: Estimated | None = None
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    curve_distances: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def outcomes(self) -> Outcomes:
        """
        What became of each sample, for a file beside the record.

        :return: The outcomes.
        """
        return Outcomes.of(self.labels, self.clean, self.attacks, self.curve_distances, self.estimate)

    @property
    def distances(self) -> NDArray[np.float32]:
        """The distance of each sample to the nearest misclassified point that an attack found, (n,)."""
        least: NDArray[np.float32] = np.vstack([attacked.distances for attacked in self.attacks]).min(axis=0)
        return least

    @property
    def worst(self) -> RobustMask:
        """Whether each sample is classified right as it is and after every attack, in every repeat, (n,)."""
        worst: RobustMask = np.vstack([self.clean, *(attacked.right for attacked in self.attacks)]).min(axis=0)
        return worst

    def record(self, **about: Any) -> Record:
        """
        The report as a record, made of what was run.

        :param about: The other fields of :class:`art_levelset.evaluation.record.Record`: `name`, `dataset`,
               `architecture` and more. `eps` and `threat_model` are those of the attacks; they must be given where the
               attacks do not say them, and must not contradict them where they do. With the name `outcomes_file` the
               record names that file, to be written beside it with :meth:`outcomes`. A network that the probes doubt is
               `unreliable`, with their findings for a `footnote`.
        :return: The record, created now.
        :raises ValueError: If a field is missing or out of range, or contradicts the attacks.
        """
        n, clean, worst = len(self.clean), float(self.clean.mean()), float(self.worst.mean())
        radius, norm = (_agreed(self.attacks, name) for name in ("eps", "norm"))
        if radius is not None:
            about.setdefault("eps", f"{radius:.12g}")
            _check_stated("eps", about["eps"], _number(about["eps"]), float(radius))
        if norm is not None:
            about.setdefault("threat_model", NAMES[norm])
            _check_stated("threat_model", about["threat_model"], about["threat_model"], NAMES[norm])
        boxes = [one.parameters["clip_values"] for one in self.attacks if one.parameters.get("clip_values")]
        if any(box != boxes[0] for box in boxes):
            raise ValueError(f"clip_values: a record has one box, the attacks have several ({boxes})")
        if notes := self.probes.notes:
            remarks = "; ".join(filter(None, (about.pop("footnote", ""), *notes)))
            about = {"unreliable": True, **about, "footnote": remarks}
        standard = [one for one in self.attacks if _is_standard_autoattack(one)]
        outcomes = self.outcomes().sha256() if (file := about.pop("outcomes_file", None)) else None
        return Record(
            outcomes=None if outcomes is None else OutcomesFile(file=file, sha256=outcomes),
            clean_acc=percent(clean),
            autoattack_acc=percent(standard[0].accuracy) if standard else "",
            n_examples=n,
            clean_interval=wilson(clean * n, n),
            attacks=tuple(one.result() for one in self.attacks),
            worst_case=WorstCase(accuracy=worst, interval=wilson(worst * n, n)),
            estimate=None if self.estimate is None else self.estimate.result(),
            margin_curves=self.curves,
            masking=None if self.diagnosis is None else self.diagnosis.checks,
            calibration=self.calibration,
            seed=self.seed,
            versions=versions(),
            data=DataUsed(sha256=self.data, n_examples=n),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **about,
        )

    def table(self) -> str:
        """
        The attacks as text.

        :return: One line an attack, with its accuracy, 95% interval, deviation and cost, and its notes below.
        """
        n = len(self.clean)
        lines = [f"{'':24}{'accuracy':>9}  {'95% interval':>15}  {'deviation':>9}  {'gradients':>11}  {'seconds':>8}"]

        def line(name: str, right: float, rest: str = "") -> str:
            low, high = wilson(right * n, n)
            return f"{name:24}{right:>9.2%}  {low:>7.2%}-{high:>7.2%}{rest}"

        lines.append(line("clean", float(self.clean.mean())))
        for attacked in self.attacks:
            deviation = "" if attacked.deviation is None else f"{attacked.deviation:.2%}"
            effort = attacked.effort
            rest = f"  {deviation:>9}  {effort.gradients:>11,}  {effort.seconds:>8.1f}"
            lines.append(line(attacked.name, attacked.accuracy, rest))
            lines += [f"  after {member:16}{left:>9.2%}" for member, left in attacked.survivors.items()]
            lines += [f"  note: {note}" for note in attacked.notes]
        lines.append(line("worst case", float(self.worst.mean())))
        lines += [f"  doubtful: {note}" for note in self.probes.notes]
        return "\n".join(lines)

    def text(self) -> str:
        """
        All that was found, as text.

        :return: The table of attacks, and below it the calibration and the checks.
        """
        parts = [self.table(), *([] if self.estimate is None else [self.estimate.text()]), self.calibration.text()]
        return "\n\n".join([*parts, *([] if self.diagnosis is None else [self.diagnosis.report()])])


class IncompleteEvaluation(RuntimeError):
    """
    An attack after the first, or what follows the attacks, has failed; what was found before is not lost.

    :param part: What has failed.
    :param report: The report as far as it goes.
    """

    def __init__(self, part: str, report: Report) -> None:
        super().__init__(part)
        self.part, self.report = part, report

    def __str__(self) -> str:
        """The part, and why it failed."""
        return f"{self.part}: {self.__cause__}"


def evaluate(
    model: Any,
    x: Array,
    y: Array,
    attacks: Mapping[str, Attack] | Sequence[str],
    *,
    eps: float | None = None,
    norm: float | None = None,
    clip_values: ClipValues = (0.0, 1.0),
    eps_step: float | None = None,
    max_iter: int = 40,
    margins: bool = False,
    masking: bool = False,
    sources: Mapping[str, Any] | None = None,
    gradient_free: Attack | None = None,
    autoattack: Literal["estimate"] | None = None,
    interval: float = 0.005,
    repeats: int = 1,
    batch_size: int = 500,
    seed: int = 0,
    memo: Memo | None = None,
    announce: Callable[[Forecast], object] | None = None,
    verbose: bool = True,
) -> Report:
    """
    Evaluate a network: what it withstands, how calibrated it is and, where asked, how far its samples are from the
    decision boundary and whether its gradients are masked. `art-levelset evaluate` does the same.

    Samples that are misclassified as they are count as broken and are not attacked. Each call of an attack has a seed
    of its own, made from `seed`, the repeat and the batch. With a memo on disk a killed evaluation goes on after the
    last finished batch, and processes that are given the same folder share the batches; those of an attack that is not
    known by value (:func:`art_levelset.identity.identify`), as a closure, are not kept. All arguments are checked
    before the first pass.

    :param model: A network (batch, ...) -> (batch, classes) of logits, or an ART PyTorchClassifier.
    :param x: Samples, (n, ...), floating point; within `clip_values` for margins, masking and attacks by name.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param attacks: Attacks by name, at least one, each called as `attack(network, x, y)` on batches of tensors; or the
           names of attacks of :mod:`art_levelset.adapters.catalogue`, which are made with the numbers below.
    :param eps: Radius of the balls, > 0; None for that of the attacks, which must not have another one.
    :param norm: The norm of the balls: `math.inf`, 2 or 1; None for that of the attacks, or `math.inf`.
    :param clip_values: Smallest and largest valid input.
    :param eps_step: Length of a step of attacks by name and of the checks' PGD, > 0; 2.5 * eps / max_iter by default.
    :param max_iter: Steps of attacks by name, of the checks' PGD, and of the searches for the boundary, >= 1; >= 2 for
           the checks.
    :param margins: Whether to measure robust accuracy as a function of the radius, up to 1.5 eps: by the search for the
           boundary, and by bisected margin PGD; for L_inf and L_2.
    :param masking: Whether to look for masked gradients (:func:`art_levelset.evaluation.masking.diagnose`).
    :param sources: Other models, whose attacks the checks transfer.
    :param gradient_free: An attack without gradients, for the checks.
    :param autoattack: "estimate" to estimate the accuracy of standard AutoAttack on all samples from some of them
           (:mod:`art_levelset.evaluation.estimate`), after the attacks and, for L_inf and L_2, the guided ensemble,
           which tells the samples that are near the boundary.
    :param interval: Half the length that the estimate's 95% interval should have, in (0, 0.5): AutoAttack is run on as
           many samples as that needs.
    :param repeats: How often each attack is run, with different seeds, >= 1.
    :param batch_size: Samples in one call of an attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept; nowhere by default.
    :param announce: Called before the first attack with what the evaluation will cost
           (:mod:`art_levelset.evaluation.forecast`), which a short trial tells; None to do without.
    :param verbose: Whether to show progress bars.
    :return: The report.
    :raises ValueError: If there is no sample or attack, a shape, label or number is out of range, an attack has another
            radius or norm than was asked for or returns another shape than it was given, a logit is not finite, the
            logits of a sample depend on the other samples of its batch, or there is no memory for so large batches.
    :raises TypeError: If an argument is of another type.
    :raises IncompleteEvaluation: If an attack after the first, margins or masking fail; it has the report until then.
    :raises MissingPieces: If the memo has a fixed share of the work, which is done, and that of others is not there.

    >>> import torch
    >>> from functools import partial
    >>> from art_levelset import evaluate, pgd
    >>> model = torch.nn.Linear(1, 2)
    >>> _ = model.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]]), "bias": torch.tensor([0.5, -0.5])})
    >>> x, y = torch.tensor([[0.1], [0.45], [0.9]]), torch.tensor([0, 0, 1])
    >>> report = evaluate(model, x, y, {"PGD": partial(pgd, eps=0.1)}, verbose=False)
    >>> report.clean.tolist(), report.worst.tolist()
    ([True, True, True], [True, False, True])
    """
    check_count("repeats", repeats)
    check_count("batch_size", batch_size)
    check_count("max_iter", max_iter)
    check_seed(seed)
    if not attacks:
        raise ValueError("attacks must hold at least one attack")
    if autoattack not in (None, "estimate"):
        raise ValueError(f"autoattack must be 'estimate' or None, got {autoattack!r}")
    if not (math.isfinite(interval) and 0 < interval < 0.5):
        raise ValueError(f"interval must be in (0, 0.5), got {interval}")
    memo = memo or Memo()
    named = not isinstance(attacks, Mapping)
    if eps is not None:
        check_positive("eps", eps)
    if norm is not None:
        check_norm(norm, tuple(NAMES))
    if not isinstance(attacks, Mapping):
        if eps is None:
            raise ValueError("eps must be given for attacks by name")
        made = partial(attack_by_name, eps=eps, norm=math.inf if norm is None else norm, clip_values=clip_values)
        attacks = {name: made(name, eps_step=eps_step, max_iter=max_iter, memo=memo) for name in attacks}
    radius = _same("eps", attacks, eps)
    length = _same("norm", attacks, norm)
    length = math.inf if length is None else length
    settings = autoattacked = None
    if margins or masking or autoattack:
        if radius is None:
            raise ValueError(
                "eps must be given for margins, masking and autoattack where the attacks do not all have the same one"
            )
        check_positive("eps", radius)
    if autoattack and radius is not None:
        own: dict[str, Any] = {"eps": radius, "norm": length, "clip_values": clip_values}
        autoattacked = attack_by_name("autoattack", **own, memo=memo)
        if "guided" not in attacks and length in (math.inf, 2):
            attacks = {**attacks, "guided": attack_by_name("guided", **own)}
    if margins and length not in (math.inf, 2):
        raise ValueError(f"norm must be inf or 2 for margins, got {length:g}")
    if masking and radius is not None:
        settings = DiagnosisSettings(radius, length, eps_step, max_iter, sources or {}, gradient_free)
    subject = Subject.of(model, x, y, clip_values=clip_values if margins or masking or autoattack or named else None)
    if not len(subject):
        raise ValueError("x holds no sample: an evaluation needs at least one")
    check_batch(subject.network, subject.select(slice(0, COUNTED)).inputs(), batch_size, most=len(subject))
    probes = probe(subject, seed=seed)
    with seeded(seed, subject.device):
        calibrated = calibration_of(subject, batch_size=batch_size)
    if announce is not None:
        share = interval if autoattack else None
        measured: dict[str, Any] = {"margins": margins, "masking": masking, "estimate": share}
        announce(forecast(subject, attacks, repeats=repeats, max_iter=max_iter, **measured))
    run: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "memo": memo, "verbose": verbose}
    clean, running = run_suite(subject, attacks, repeats=repeats, norm=length, **run)
    labels = subject.y.cpu().numpy()
    report = Report(clean, (), seed, subject.data_sha256, probes, calibrated, labels=labels)
    try:
        for attacked in running:
            report = replace(report, attacks=(*report.attacks, attacked))
    except Exception as error:
        if not report.attacks:
            raise
        raise IncompleteEvaluation(f"attack {list(attacks)[len(report.attacks)]!r}", report) from error
    if autoattacked is not None and radius is not None:
        try:
            task = Task(subject, seed, memo, length)
            options: dict[str, Any] = {"eps": radius, "reach": interval, "batch_size": batch_size, "verbose": verbose}
            report = replace(
                report, estimate=estimate(task, autoattacked, clean, report.worst, report.distances, **options)
            )
        except Exception as error:
            raise IncompleteEvaluation("estimate of AutoAttack", report) from error
    if margins and radius is not None:
        try:
            curves, far = _curves(subject, radius, length, max_iter, run)
            report = replace(report, curves=curves, curve_distances=far)
        except Exception as error:
            raise IncompleteEvaluation("margins", report) from error
    if settings is not None:
        try:
            report = replace(report, diagnosis=diagnosis_of(subject, settings, **run))
        except Exception as error:
            raise IncompleteEvaluation("masking", report) from error
    check_complete(memo)
    return report


def _curves(
    subject: Subject, eps: float, norm: float, max_iter: int, run: Mapping[str, Any]
) -> tuple[tuple[MarginCurve, ...], dict[str, NDArray[np.float32]]]:
    """Robust accuracy as a function of the radius, measured in two ways, and the distances."""
    family = partial(pgd, norm=norm, loss="margin", max_iter=max_iter, clip_values=subject.clip_values)

    def of_radius(radius: float) -> Attack:
        return partial(family, eps=radius, stop_when_broken=True)

    bisected = bisected_distances(subject, of_radius, largest=CURVE * eps, norm=norm, **run)
    searched = searched_distances(subject, norm=norm, max_iter=max_iter, **run)
    radii = np.linspace(0, CURVE * eps, POINTS + 1).tolist()
    found = {"boundary search": searched.distances, "margin PGD, bisected": bisected.distances}
    return tuple(margin_curve(one, radii, name=name) for name, one in found.items()), found


def _same(name: str, attacks: Mapping[str, Attack], given: float | None) -> float | None:
    """The radius or norm that is given, which attacks must not contradict; else the one that all of them have."""
    found = {attack: _number(value) for attack, value in _stated(name, attacks).items()}
    if given is None:
        values = set(found.values())
        return values.pop() if len(values) == 1 and len(found) == len(attacks) else None
    for attack, value in found.items():
        _check_stated(f"attacks: {attack!r}, {name}", value, value, float(given))
    return given


def _stated(name: str, attacks: Mapping[str, Attack]) -> dict[str, Any]:
    parameters = {attack: settings_of(one) for attack, one in attacks.items()}
    return {attack: values[name] for attack, values in parameters.items() if values.get(name) is not None}


def _agreed(attacks: Sequence[Attacked], name: str) -> float | None:
    """The radius or norm of the attacks that say it; refused where they say different ones."""
    values = {one.name: _number(one.parameters[name]) for one in attacks if name in one.parameters}
    if len(set(values.values())) > 1:
        said = ", ".join(f"{attack!r} {value:g}" for attack, value in values.items())
        raise ValueError(f"{name}: a record has one, the attacks have several ({said})")
    return next(iter(values.values()), None)


def _check_stated(name: str, said: Any, value: Any, right: Any) -> None:
    same = math.isclose(value, right, rel_tol=1e-9) if isinstance(right, float) else value == right
    if not same:
        expected = right if isinstance(right, str) else f"{right:g}"
        raise ValueError(f"{name} must be {expected}, as it is of the others, got {said!r}")


def _number(value: Any) -> float:
    """A radius or norm as a number: 8/255 and inf may be texts."""
    try:
        return float(value)
    except ValueError:
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return math.nan


def _is_standard_autoattack(attacked: Attacked) -> bool:
    """Whether its accuracy is what RobustBench calls AutoAttack's: not that of "plus" or "rand", which are others."""
    return attacked.parameters.get("name") == "AutoAttack" and attacked.parameters.get("version") == "standard"
