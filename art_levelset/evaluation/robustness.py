"""The robustness report: several attacks, repeated, per sample, with their costs."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from art_levelset.attacks.effort import Effort
from art_levelset.attacks.inputs import Array, labels, network_of, samples
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Attack, outcome_of, parameters_of, reseeded, seed_of
from art_levelset.checks import check_count, check_seed
from art_levelset.evaluation.accuracy import classified_right, wilson
from art_levelset.evaluation.record import AttackResult, DataUsed, Record, WorstCase, percent
from art_levelset.identity import digest
from art_levelset.versions import versions

Verdicts = NDArray[np.bool_]

_COUNTS = re.compile(r"(\d+) of (\d+) samples")

_LOGGERS = ("art_levelset", "auto-attack")
"""Those whose warnings become notes of the attack that caused them."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """
    How a network fared under one attack.

    :param name: The attack's name in the report.
    :param parameters: What it is (:func:`art_levelset.attacks.protocol.parameters_of`).
    :param right: Whether each sample is classified right after the attack, (repeats, n).
    :param distances: The norm of what the attack added where that broke a sample that was classified right, 0 where it
           was not, infinite where it still is, (repeats, n).
    :param effort: What the attack spent on all repeats.
    :param standing: Of an ensemble, the fraction that stands after each of its attacks, over all repeats.
    :param notes: The warnings it gave.
    """

    name: str
    parameters: Mapping[str, Any]
    right: Verdicts
    distances: NDArray[np.float32]
    effort: Effort
    standing: Mapping[str, float]
    notes: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """The fraction classified right, the mean over the repeats."""
        return float(self.right.mean())

    @property
    def deviation(self) -> float | None:
        """The standard deviation of that fraction over the repeats; None for a single one."""
        return float(self.right.mean(axis=1).std(ddof=1)) if len(self.right) > 1 else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval of the fraction, for the choice of the samples."""
        return wilson(self.accuracy * self.right.shape[1], self.right.shape[1])

    def result(self) -> AttackResult:
        """
        The attack's part of a record.

        :return: Its figures.
        """
        members = ", ".join(f"{member} {percent(left)}%" for member, left in self.standing.items())
        return AttackResult(
            name=self.name,
            parameters=dict(self.parameters),
            accuracy=self.accuracy,
            interval=self.interval,
            deviation=self.deviation,
            repeats=len(self.right),
            n_examples=self.right.shape[1],
            seconds=self.effort.seconds,
            forward_passes=self.effort.forwards,
            gradient_evaluations=self.effort.gradients,
            notes=(*([f"left after each attack: {members}"] if members else []), *self.notes),
        )


@dataclass(frozen=True, eq=False)
class Report:
    """
    What a network withstands.

    :param clean: Whether each sample is classified right as it is, (n,).
    :param attacks: The attacks, in their order.
    :param seed: The seed.
    :param data: The SHA-256 of the samples and labels.
    """

    clean: Verdicts
    attacks: tuple[Attacked, ...]
    seed: int
    data: str

    @property
    def worst(self) -> Verdicts:
        """Whether each sample is classified right as it is and after every attack, in every repeat, (n,)."""
        worst: Verdicts = np.vstack([self.clean, *(attacked.right for attacked in self.attacks)]).min(axis=0)
        return worst

    def record(self, **about: Any) -> Record:
        """
        The report as a record.

        :param about: The other fields of :class:`art_levelset.evaluation.record.Record`: `name`, `dataset`,
               `architecture`, `eps`, `threat_model` and more.
        :return: The record, created now.
        :raises ValueError: If a field is missing or out of range.
        """
        n, clean, worst = len(self.clean), float(self.clean.mean()), float(self.worst.mean())
        ensembles = [one for one in self.attacks if one.parameters.get("name") == "AutoAttack"]
        return Record(
            clean_acc=percent(clean),
            autoattack_acc=percent(ensembles[0].accuracy) if ensembles else "",
            n_examples=n,
            clean_interval=wilson(clean * n, n),
            attacks=tuple(one.result() for one in self.attacks),
            worst_case=WorstCase(accuracy=worst, interval=wilson(worst * n, n)),
            seed=self.seed,
            versions=versions(),
            data=DataUsed(sha256=self.data, n_examples=n),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **about,
        )

    def table(self) -> str:
        """
        The report as text.

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
            lines += [f"  after {member:16}{left:>9.2%}" for member, left in attacked.standing.items()]
            lines += [f"  note: {note}" for note in attacked.notes]
        lines.append(line("worst case", float(self.worst.mean())))
        return "\n".join(lines)


def evaluate(
    classifier: Any,
    x: Array,
    y: Array,
    attacks: Mapping[str, Attack],
    *,
    repeats: int = 1,
    batch_size: int = 500,
    seed: int = 0,
    memo: Memo | None = None,
    verbose: bool = True,
) -> Report:
    """
    Evaluate a network under several attacks.

    Samples that are misclassified as they are count as broken and are not attacked. Each call of an attack has a seed
    of its own, made from `seed`, the repeat and the batch. With a memo on disk a killed evaluation goes on after the
    last finished batch; batches of an attack that is not known by value (:func:`art_levelset.identity.identify`), as a
    closure, are not kept.

    :param classifier: A network (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
    :param x: Samples, (n, ...), floating point.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param attacks: Attacks by name, at least one, each called as `attack(network, x, y)` on batches of tensors.
    :param repeats: How often each attack is run, with different seeds, >= 1.
    :param batch_size: Samples in one call of an attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept; nowhere by default.
    :param verbose: Whether to show a progress bar.
    :return: The report.
    :raises ValueError: If there is no sample or attack, a shape, label or number is out of range, or an attack returns
            another shape than it was given.
    :raises TypeError: If an argument is of another type.
    """
    network = network_of(classifier)
    check_count("repeats", repeats)
    check_count("batch_size", batch_size)
    check_seed(seed)
    if not attacks:
        raise ValueError("attacks must hold at least one attack")
    points, targets = samples(x), labels(y, len(x))
    clean = classified_right(network, points, targets, batch_size=batch_size).numpy()
    if not len(clean):
        raise ValueError("x holds no sample: an evaluation needs at least one")
    task = _Task(network, points, targets, np.flatnonzero(clean), seed, memo or Memo())
    with tqdm(total=len(attacks) * repeats * len(task.rows), unit="sample", disable=not verbose) as progress:
        results: list[Attacked] = []
        for name, attack in attacks.items():
            progress.set_description(name)
            results.append(_attacked(name, attack, task, repeats, batch_size, progress))
    return Report(clean, tuple(results), seed, digest(points, targets))


@dataclass(frozen=True, eq=False)
class _Task:
    """What all attacks are run on: the samples in `rows` are classified right as they are."""

    network: nn.Module
    x: Tensor
    y: Tensor
    rows: NDArray[np.intp]
    seed: int
    memo: Memo


def _attacked(name: str, attack: Attack, task: _Task, repeats: int, batch_size: int, progress: tqdm[Any]) -> Attacked:
    """All repeats of one attack."""
    right = np.zeros((repeats, len(task.y)), dtype=bool)
    distances = np.zeros((repeats, len(task.y)), dtype=np.float32)
    effort, standing, notes = Effort(), dict[str, int](), list[str]()
    for repeat in range(repeats):
        for first in range(0, len(task.rows), batch_size):
            rows = task.rows[first : first + batch_size]
            found = _batch(name, attack, task, rows, seed_of(task.seed, repeat, first))
            right[repeat, rows], distances[repeat, rows] = found["right"], found["distances"]
            effort.add(Effort.of(found["effort"]))
            for member, count in zip(found["members"].tolist(), found["standing"].tolist(), strict=True):
                standing[member] = standing.get(member, 0) + count
            notes += found["notes"].tolist()
            progress.update(len(rows))
    fractions = {member: count / right.size for member, count in standing.items()}
    return Attacked(name, parameters_of(attack), right, distances, effort, fractions, _merged(notes))


def _batch(name: str, attack: Attack, task: _Task, rows: NDArray[np.intp], seed: int) -> dict[str, NDArray[Any]]:
    """One call of an attack, recalled where it was made before."""
    x, y, parameters = task.x[rows], task.y[rows], parameters_of(attack)
    key = task.memo.key(task.network, x, y, name, attack, seed)
    known = task.memo.recall(key)
    if known is not None:
        return known
    with _warnings_noted() as notes:
        outcome = outcome_of(reseeded(attack, seed), task.network, x, y)
    right = classified_right(task.network, outcome.examples, y, batch_size=len(x))
    norm = float(parameters.get("norm", math.inf))
    sizes = torch.linalg.vector_norm((outcome.examples - x).flatten(1).double(), norm, dim=1)
    result = {
        "right": right.numpy(),
        "distances": torch.where(right, math.inf, sizes.cpu()).float().numpy(),
        "effort": outcome.effort.array(),
        "members": np.array(list(outcome.survivors), dtype=np.str_),
        "standing": np.array(list(outcome.survivors.values()), dtype=np.int64),
        "notes": np.array(notes, dtype=np.str_),
    }
    task.memo.store(key, **result)
    return result


def _merged(notes: list[str]) -> tuple[str, ...]:
    """The notes of several calls, each once; those that count samples, with the sums of their counts."""
    sums: dict[tuple[str, str], list[int]] = {}
    for note in notes:
        pieces = _COUNTS.split(note, maxsplit=1)  # the note alone, or before, two counts, after
        counts = sums.setdefault((pieces[0], pieces[-1]), [0, 0])
        for i, count in enumerate(pieces[1:-1]):
            counts[i] += int(count)
    return tuple(f"{before}{a} of {b} samples{after}" if b else before for (before, after), (a, b) in sums.items())


@contextmanager
def _warnings_noted() -> Iterator[list[str]]:
    """Collect the warnings that attacks log, each once."""
    notes: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note = " ".join(record.getMessage().split())
            if note not in notes:
                notes.append(note)

    handler = Noting(logging.WARNING)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield notes
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
