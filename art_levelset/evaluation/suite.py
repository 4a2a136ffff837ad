"""Attack suites: several attacks, each repeated, and the samples that survive them, with what it cost."""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from art_levelset.adapters.autoattack import LOGGER
from art_levelset.attacks.effort import Effort
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.protocol import Attack, outcome_of, parameters_of, reseeded, seed_of
from art_levelset.attacks.subject import Subject
from art_levelset.evaluation.accuracy import correct, wilson
from art_levelset.evaluation.record import AttackResult, percent
from art_levelset.identity import describe
from art_levelset.progress import progress_bar

RobustMask: TypeAlias = NDArray[np.bool_]
"""Whether each sample is classified right, (n,)."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """
    How a network fared under one attack.

    :param name: The attack's name in the report.
    :param parameters: What it is (:func:`art_levelset.attacks.protocol.parameters_of`).
    :param right: Whether each sample is classified right after the attack, (repeats, n).
    :param effort: What the attack spent on all repeats.
    :param survivors: Of an ensemble, the fraction that survives each of its attacks, over all repeats.
    :param notes: The warnings it gave.
    """

    name: str
    parameters: Mapping[str, Any]
    right: RobustMask
    effort: Effort
    survivors: Mapping[str, float]
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

        :return: Its metrics.
        """
        members = ", ".join(f"{member} {percent(left)}%" for member, left in self.survivors.items())
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


def run_suite(
    subject: Subject,
    attacks: Mapping[str, Attack],
    *,
    repeats: int,
    batch_size: int,
    seed: int,
    memo: Memo,
    verbose: bool,
) -> tuple[RobustMask, Iterator[Attacked]]:
    """
    Run an attack suite on a subject, checked, each attack `repeats` times and when its result is asked for.

    Samples that are misclassified as they are count as broken and are not attacked. Each call of an attack has a seed
    of its own, made from `seed`, the repeat and the batch.

    :param subject: The network, samples and labels.
    :param attacks: Attacks by name.
    :param repeats: How often each is run, >= 1.
    :param batch_size: Samples in one call of an attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept.
    :param verbose: Whether to show a progress bar.
    :return: Whether each sample is classified right as it is, (n,), and how the network fares under each attack; a step
             of this raises ValueError if the attack returns another shape than it was given.
    :raises ValueError: If the network returns no logits for the labels.
    """
    clean: RobustMask = correct(subject, batch_size=batch_size).numpy()
    task = _Task(subject, np.flatnonzero(clean), seed, memo)

    def results() -> Iterator[Attacked]:
        with progress_bar(total=len(attacks) * repeats * len(task.rows), unit="sample", verbose=verbose) as progress:
            for name, attack in attacks.items():
                progress.set_description(name)
                yield _attacked(name, attack, task, repeats, batch_size, progress)

    return clean, results()


def settings_of(attack: Attack) -> dict[str, Any]:
    """
    What an attack is, with the radius, norm and box that it has where it is not told.

    :param attack: An attack.
    :return: Its parameters (:func:`art_levelset.attacks.protocol.parameters_of`), and a function's defaults of these.
    """
    known = parameters_of(attack)
    if not isinstance(attack, functools.partial):
        return known
    defaults = inspect.signature(attack.func).parameters
    usual = {name: defaults[name].default for name in ("eps", "norm", "clip_values") if name in defaults}
    return {**describe({name: value for name, value in usual.items() if value is not inspect.Parameter.empty}), **known}


@dataclass(frozen=True, eq=False)
class _Task:
    """What all attacks are run on: the samples in `rows` are classified right as they are."""

    subject: Subject
    rows: NDArray[np.intp]
    seed: int
    memo: Memo


def _attacked(name: str, attack: Attack, task: _Task, repeats: int, batch_size: int, progress: tqdm[Any]) -> Attacked:
    """All repeats of one attack."""
    right = np.zeros((repeats, len(task.subject)), dtype=bool)
    effort, survivors, notes = Effort(), dict[str, int](), list[str]()
    for repeat in range(repeats):
        for first in range(0, len(task.rows), batch_size):
            rows = task.rows[first : first + batch_size]
            found = _batch(name, attack, task, rows, seed_of(task.seed, repeat, first))
            right[repeat, rows] = found["right"]
            effort.add(Effort.of(found["effort"]))
            for member, count in zip(found["members"].tolist(), found["survivors"].tolist(), strict=True):
                survivors[member] = survivors.get(member, 0) + count
            notes += found["notes"].tolist()
            progress.update(len(rows))
    fractions = {member: count / right.size for member, count in survivors.items()}
    return Attacked(name, settings_of(attack), right, effort, fractions, _merged(notes))


def _batch(name: str, attack: Attack, task: _Task, rows: NDArray[np.intp], seed: int) -> dict[str, NDArray[Any]]:
    """One call of an attack, recalled where it was made before."""
    batch = task.subject.select(torch.from_numpy(rows))
    key = task.memo.key(batch.network_sha256, batch.x, batch.y, name, attack, seed)
    texts: tuple[str, tuple[None]] = ("U", (None,))
    counts: tuple[str, tuple[None]] = ("i", (None,))
    mask = ("b", (len(rows),))
    known = task.memo.recall(key, right=mask, effort=("f", (3,)), members=texts, survivors=counts, notes=texts)
    if known is not None:
        return known
    with _warnings_noted() as notes:
        outcome = outcome_of(reseeded(attack, seed), batch.network, batch.x, batch.y)
    result = {
        "right": correct(batch.at(outcome.examples), batch_size=len(batch)).numpy(),
        "effort": outcome.effort.array(),
        "members": np.array(list(outcome.survivors), dtype=np.str_),
        "survivors": np.array(list(outcome.survivors.values()), dtype=np.int64),
        "notes": np.array(notes, dtype=np.str_),
    }
    task.memo.store(key, **result)
    return result


def _merged(notes: list[str]) -> tuple[str, ...]:
    """The notes of several calls, each once; where its arguments count, with the sums of the counts."""
    sums: dict[str, list[Any]] = {}
    for note in notes:
        message, *arguments = json.loads(note)
        same = json.dumps([message, *(None if isinstance(value, int) else value for value in arguments)])
        before = sums.setdefault(same, [message, *(0 if isinstance(value, int) else value for value in arguments)])
        before[1:] = [
            value + count if isinstance(count, int) else value
            for value, count in zip(before[1:], arguments, strict=True)
        ]
    texts = (message % tuple(values) if values else message for message, *values in sums.values())
    return tuple(" ".join(text.split()) for text in texts)


@contextmanager
def _warnings_noted() -> Iterator[list[str]]:
    """
    Collect the warnings that attacks log, each once: the message and its arguments, of which whole numbers are counts.
    """
    notes: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(record.args, tuple):
                plain = [value if isinstance(value, (int, float, str)) else str(value) for value in record.args]
                note = json.dumps([str(record.msg), *plain])
            else:
                note = json.dumps([record.getMessage()])
            if note not in notes:
                notes.append(note)

    handler = Noting(logging.WARNING)
    loggers = [logging.getLogger(name) for name in (__package__.partition(".")[0], LOGGER)]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield notes
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
