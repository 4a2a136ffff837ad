"""Attack suites: several attacks, each repeated, and the samples that survive them, with what it cost."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from art_levelset.adapters.autoattack import LOGGER
from art_levelset.attacks.effort import Effort
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.network import seeded
from art_levelset.attacks.protocol import Attack, Outcome, outcome_of, parameters_of, reseeded, seed_of
from art_levelset.attacks.subject import Subject
from art_levelset.attacks.work import Arrays, Piece, batches_of, finished
from art_levelset.core.distances import lp_distance
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
    :param broken_by: Which attack of an ensemble broke each sample, (repeats, n): its place among the names of
           `survivors` without "clean"; -1 where none did, and for a single attack.
    :param distances: The distance of each sample to the nearest misclassified point that the attack found, (repeats, n)
           float32: 0 where the sample itself is misclassified, infinite where none was found. Only a search for the
           boundary finds points outside the ball.
    """

    name: str
    parameters: Mapping[str, Any]
    right: RobustMask
    effort: Effort
    survivors: Mapping[str, float]
    notes: tuple[str, ...]
    broken_by: NDArray[np.int64]
    distances: NDArray[np.float32]

    @property
    def members(self) -> tuple[str, ...]:
        """The names of an ensemble's attacks, in their order."""
        return tuple(name for name in self.survivors if name != "clean")

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
    norm: float = math.inf,
    among: RobustMask | None = None,
) -> tuple[RobustMask, Iterator[Attacked]]:
    """
    Run an attack suite on a subject, checked, each attack `repeats` times and when its result is asked for.

    Samples that are misclassified as they are count as broken and are not attacked. Each call of an attack has a seed
    of its own, made from `seed`, the repeat and the batch. Processes with the same folder of finished batches share
    the work; one with a fixed share counts the samples of others as broken until they are there.

    :param subject: The network, samples and labels.
    :param attacks: Attacks by name.
    :param repeats: How often each is run, >= 1.
    :param batch_size: Samples in one call of an attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept.
    :param verbose: Whether to show a progress bar.
    :param norm: The norm of the distances.
    :param among: The samples to attack of those classified right, (n,), all by default; the others count as broken.
           The batches are those of all, without the others.
    :return: Whether each sample is classified right as it is, (n,), and how the network fares under each attack; a step
             of this raises ValueError if the attack returns another shape than it was given.
    :raises ValueError: If the network returns no logits for the labels.
    """
    with seeded(seed, subject.device):
        clean: RobustMask = correct(subject, batch_size=batch_size).numpy()
    wanted = clean if among is None else clean & among
    task = Task(subject, seed, memo, norm)
    work = {name: _cells(clean, wanted, max(batch_size, _together(attack))) for name, attack in attacks.items()}

    def results() -> Iterator[Attacked]:
        total = len(attacks) * repeats * int(wanted.sum())
        pieces = [
            piece_of(task, attack, rows, cell, seed_of(seed, repeat, first))
            for name, attack in attacks.items()
            for repeat in range(repeats)
            for cell, (first, rows) in enumerate(work[name])
            if len(rows)
        ]
        found = finished(pieces, memo)
        with progress_bar(total=total, unit="sample", verbose=verbose) as progress:
            for name, attack in attacks.items():
                progress.set_description(name)
                batches = [rows for _, rows in work[name] if len(rows)]
                yield _attacked(name, attack, task, batches, repeats, found, progress)

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
class Task:
    """
    What attacks are run on.

    :param subject: The network, samples and labels.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept.
    :param norm: The norm of distances.
    """

    subject: Subject
    seed: int
    memo: Memo
    norm: float


def piece_of(task: Task, attack: Attack, rows: NDArray[np.intp], cell: int, seed: int) -> Piece:
    """
    One call of an attack, as a piece of work.

    :param task: What it is run on.
    :param attack: The attack.
    :param rows: The samples, (batch,).
    :param cell: The number of the batch.
    :param seed: The seed of this call, >= 0.
    :return: The piece, which gives what became of each sample: `right`, `broken_by` and `distances`, (batch,), as in
             :class:`Attacked`; the `effort` (3,), how many are left after each of an ensemble's `members`, as
             `survivors`, and `notes`.
    """
    places = torch.from_numpy(rows)
    batch = task.subject.select(places)
    texts: tuple[str, tuple[None]] = ("U", (None,))
    counts: tuple[str, tuple[None]] = ("i", (None,))
    one = (len(rows),)
    return Piece(
        task.memo.key("suite", batch.network_sha256, batch.x, batch.y, attack, seed, str(task.norm)),
        cell,
        functools.partial(_batch, attack, task.subject, places, seed, task.norm),
        {
            "right": ("b", one),
            "broken_by": ("i", one),
            "distances": ("f", one),
            "effort": ("f", (3,)),
            "members": texts,
            "survivors": counts,
            "notes": texts,
        },
    )


def _together(attack: Attack) -> int:
    """How many samples an attack wants in one call, if it says so."""
    return int(getattr(attack, "together", 1))


def _cells(clean: RobustMask, wanted: RobustMask, batch_size: int) -> list[tuple[int, NDArray[np.intp]]]:
    """The batches of what is classified right, each with the place of its first sample; the others are left out."""
    batches = batches_of(np.flatnonzero(clean), batch_size)
    return [(cell * batch_size, rows[wanted[rows]]) for cell, rows in enumerate(batches)]


def _attacked(
    name: str,
    attack: Attack,
    task: Task,
    batches: Sequence[NDArray[np.intp]],
    repeats: int,
    results: Iterator[Arrays | None],
    progress: tqdm[Any],
) -> Attacked:
    """All repeats of one attack, of the results of all batches."""
    right = np.zeros((repeats, len(task.subject)), dtype=bool)
    broken_by = np.full(right.shape, -1, dtype=np.int64)
    distances = np.zeros(right.shape, dtype=np.float32)
    effort, survivors, notes = Effort(), dict[str, int](), list[str]()
    for repeat in range(repeats):
        for rows in batches:
            found = next(results)
            progress.update(len(rows))
            if found is None:  # another shard's
                continue
            right[repeat, rows] = found["right"]
            broken_by[repeat, rows], distances[repeat, rows] = found["broken_by"], found["distances"]
            effort.add(Effort.of(found["effort"]))
            for member, count in zip(found["members"].tolist(), found["survivors"].tolist(), strict=True):
                survivors[member] = survivors.get(member, 0) + count
            notes += found["notes"].tolist()
    fractions = {member: count / right.size for member, count in survivors.items()}
    return Attacked(name, settings_of(attack), right, effort, fractions, merged(notes), broken_by, distances)


def _batch(attack: Attack, subject: Subject, rows: Tensor, seed: int, norm: float) -> Arrays:
    batch = subject.select(rows)
    with _warnings_noted() as notes, seeded(seed, batch.device):
        outcome = outcome_of(reseeded(attack, seed), batch.network, batch.x, batch.y)
        right = correct(batch.at(outcome.examples), batch_size=len(batch)).numpy()
    return {
        "right": right,
        "broken_by": _breaking(outcome, right),
        "distances": _distances(outcome, right, batch, norm),
        "effort": outcome.effort.array(),
        "members": np.array(list(outcome.survivors), dtype=np.str_),
        "survivors": np.array(list(outcome.survivors.values()), dtype=np.int64),
        "notes": np.array(notes, dtype=np.str_),
    }


def _breaking(outcome: Outcome[Tensor], right: RobustMask) -> NDArray[np.int64]:
    """Which member of an ensemble broke each sample; none where the example does not count."""
    if outcome.broken_by is None:
        return np.full(len(right), -1, dtype=np.int64)
    return np.where(right, -1, outcome.broken_by.cpu().numpy()).astype(np.int64)


def _distances(outcome: Outcome[Tensor], right: RobustMask, batch: Subject, norm: float) -> NDArray[np.float32]:
    """How far the nearest misclassified point is: one that was searched for, or the example."""
    far = lp_distance(batch.x, outcome.examples.detach().to(batch.x), norm).float().cpu().numpy()
    distances: NDArray[np.float32] = np.where(right, np.float32(math.inf), far)
    if outcome.distances is not None:
        distances = np.minimum(distances, outcome.distances.float().cpu().numpy())
    return distances


def merged(notes: Iterable[str]) -> tuple[str, ...]:
    """
    The notes of several calls, each once; where its arguments count, with the sums of the counts.

    :param notes: As the pieces of :func:`piece_of` have them.
    :return: Sentences.
    """
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
