"""
Boundary distances: how far each sample is from the decision boundary, and robust accuracy as a function of the radius.

The distances are upper bounds, those of misclassified points: searched for on the level sets of the network
(:mod:`art_levelset.attacks.boundary`), or found by a family of attacks of growing radius.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from art_levelset.attacks.boundary import nearest_misclassified
from art_levelset.attacks.effort import Effort, measured
from art_levelset.attacks.inputs import Array, ClipValues, check_classes, class_logits
from art_levelset.attacks.memo import Memo
from art_levelset.attacks.network import DetachedNetwork, seeded
from art_levelset.attacks.protocol import Attack, outcome_of, reseeded, seed_of
from art_levelset.attacks.subject import Subject
from art_levelset.attacks.work import Arrays, Piece, batches_of, check_complete, finished
from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.balls import check_norm
from art_levelset.core.distances import lp_distance
from art_levelset.core.modes import evaluating
from art_levelset.evaluation.accuracy import correct
from art_levelset.evaluation.record import MarginCurve
from art_levelset.progress import progress_bar

GRID = 100
"""Intervals of a margin curve, unless its radii are given."""

CELL = 200
"""Samples, or a batch where that is more, that are bisected together: those with the same radius are one call."""


@dataclass(frozen=True, eq=False)
class BoundaryDistances:
    """
    Distances to misclassified points.

    :param distances: (n,), float32: 0 where the sample itself is misclassified, infinite where nothing was found.
    :param points: The misclassified points, (n, ...), as the network sees them; the sample where nothing was found.
           Those of bfloat16 are float32.
    :param effort: What finding them cost.
    """

    distances: NDArray[np.float32]
    points: NDArray[Any]
    effort: Effort


def boundary_distances(
    model: Any,
    x: Array,
    y: Array,
    *,
    norm: float = math.inf,
    clip_values: ClipValues | None = (0.0, 1.0),
    max_iter: int = 40,
    max_gradients: int | None = None,
    batch_size: int = 500,
    seed: int = 0,
    memo: Memo | None = None,
    verbose: bool = True,
) -> BoundaryDistances:
    """
    Search the decision boundary for the point nearest to each sample.

    A sample costs about `max_iter` + 12 gradients and 20 more forward passes, or `max_gradients`. With a memo on disk a
    killed search goes on after the last finished batch.

    :param model: A network (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
    :param x: Samples, (n, ...), floating point, within `clip_values`.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param norm: The norm of the distance, `math.inf` or 2.
    :param clip_values: Smallest and largest valid input; None where every value is valid.
    :param max_iter: Steps along the boundary, >= 1.
    :param max_gradients: What a sample may cost, >= 2, for comparisons at equal cost: fewer classes are tried at first,
           and there are fewer steps. Only where no misclassified point is found soon it costs more. None: no limit.
    :param batch_size: Samples searched for at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept; nowhere by default.
    :param verbose: Whether to show a progress bar.
    :return: The distances.
    :raises ValueError: If there is no sample, a shape, label or number is out of range, or the network's gradients are
            not numbers.
    :raises MissingPieces: If the memo has a fixed share of the work, and that of others is not there.
    :raises TypeError: If an argument is of another type.
    """
    _check(batch_size, seed)
    check_norm(norm)
    check_count("max_iter", max_iter)
    if max_gradients is not None:
        check_count("max_gradients", max_gradients, least=2)
    subject = _filled(Subject.of(model, x, y, clip_values=clip_values))
    run: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "memo": memo or Memo(), "verbose": verbose}
    found = searched_distances(subject, norm=norm, max_iter=max_iter, max_gradients=max_gradients, **run)
    check_complete(run["memo"])
    return found


def searched_distances(
    subject: Subject,
    *,
    norm: float,
    max_iter: int,
    max_gradients: int | None = None,
    batch_size: int,
    seed: int,
    memo: Memo,
    verbose: bool,
) -> BoundaryDistances:
    """
    :func:`boundary_distances` of a checked subject.

    :param subject: The network, samples, labels and box.
    :param norm: The norm of the distance, `math.inf` or 2.
    :param max_iter: Steps along the boundary, >= 1.
    :param max_gradients: What a sample may cost, >= 2, or None.
    :param batch_size: Samples searched for at a time, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept.
    :param verbose: Whether to show a progress bar.
    :return: The distances.
    :raises ValueError: If the network's gradients are not numbers, or it returns no logits for the labels.
    """
    cells = batches_of(np.arange(len(subject)), batch_size)
    pieces = [
        _searching(subject, rows, cell, norm, max_iter, max_gradients, seed_of(seed, 0, cell * batch_size), memo)
        for cell, rows in enumerate(cells)
    ]
    nearest = _array(subject.x.to(subject.dtype)).copy()
    distances, effort = np.full(len(subject), np.inf, dtype=np.float32), Effort()
    with progress_bar(total=len(subject), desc="distances", unit="sample", verbose=verbose) as progress:
        for rows, part in zip(cells, finished(pieces, memo), strict=True):
            progress.update(len(rows))
            if part is not None:  # else another shard's
                distances[rows], nearest[rows] = part["distances"], part["points"]
                effort.add(Effort.of(part["effort"]))
    return BoundaryDistances(distances, nearest, effort)


def attack_distances(
    model: Any,
    x: Array,
    y: Array,
    family: Callable[[float], Attack],
    *,
    largest: float,
    halvings: int = 8,
    norm: float = math.inf,
    batch_size: int = 500,
    seed: int = 0,
    memo: Memo | None = None,
    verbose: bool = True,
) -> BoundaryDistances:
    """
    Bisect for the smallest radius at which an attack breaks each sample.

    Each round attacks the samples that are not decided yet, those with the same radius together, and a sample that
    breaks is as far as its example. With a memo on disk a killed search goes on after the last finished batch.

    :param model: A network (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
    :param x: Samples, (n, ...), floating point.
    :param y: Labels, (n,) integers or (n, classes) one-hot.
    :param family: Called as `family(eps)`; returns the attack of that radius, for instance
           `lambda eps: functools.partial(pgd, eps=eps)`.
    :param largest: Radii below this one are tried, multiples of largest / 2^halvings; > 0.
    :param halvings: Rounds, >= 1.
    :param norm: The norm of the distance.
    :param batch_size: Samples in one call of an attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept; nowhere by default.
    :param verbose: Whether to show a progress bar.
    :return: The distances.
    :raises ValueError: If there is no sample, a shape, label or number is out of range, or an attack returns another
            shape than it was given.
    :raises MissingPieces: If the memo has a fixed share of the work, and that of others is not there.
    :raises TypeError: If an argument is of another type.
    """
    _check(batch_size, seed)
    check_count("halvings", halvings)
    check_positive("largest", largest)
    subject = _filled(Subject.of(model, x, y))
    run: dict[str, Any] = {"batch_size": batch_size, "seed": seed, "memo": memo or Memo(), "verbose": verbose}
    found = bisected_distances(subject, family, largest=largest, halvings=halvings, norm=norm, **run)
    check_complete(run["memo"])
    return found


def bisected_distances(
    subject: Subject,
    family: Callable[[float], Attack],
    *,
    largest: float,
    halvings: int = 8,
    norm: float,
    batch_size: int,
    seed: int,
    memo: Memo,
    verbose: bool,
) -> BoundaryDistances:
    """
    :func:`attack_distances` of a checked subject.

    :param subject: The network, samples and labels.
    :param family: The attack of each radius.
    :param largest: Radii below this one are tried, > 0.
    :param halvings: Rounds, >= 1.
    :param norm: The norm of the distance.
    :param batch_size: Samples in one call of an attack, >= 1.
    :param seed: Seed of everything random, >= 0.
    :param memo: Where finished batches are kept.
    :param verbose: Whether to show a progress bar.
    :return: The distances.
    :raises ValueError: If an attack returns another shape than it was given.
    """
    effort, interval = Effort(), largest / 2**halvings
    nearest = _array(subject.x).copy()
    with seeded(seed, subject.device):
        right = correct(subject, batch_size=batch_size).numpy()
    distances = np.where(right, np.inf, 0.0).astype(np.float32)
    # In intervals: withstands the attack of the lower radius, and is broken by that of the upper one.
    lower, upper = np.zeros(len(right), dtype=np.int64), np.full(len(right), 2**halvings)
    cells = batches_of(np.arange(len(right)), max(CELL, batch_size))
    with progress_bar(total=halvings * int(right.sum()), desc="radii", unit="sample", verbose=verbose) as progress:
        for _ in range(halvings):
            middle = (lower + upper) // 2
            open_rows = right & (upper - lower > 1)
            progress.update(int((right & ~open_rows).sum()))
            tried = [
                (cell, step, number, some)
                for cell, rows in enumerate(cells)
                for step in np.unique(middle[rows][open_rows[rows]]).tolist()
                for number, some in enumerate(batches_of(rows[open_rows[rows] & (middle[rows] == step)], batch_size))
            ]
            pieces = [
                _attacking(
                    subject,
                    some,
                    cell,
                    family(step * interval),
                    eps=step * interval,
                    norm=norm,
                    seed=seed_of(seed, step, int(cells[cell][0]) + number * batch_size),
                    memo=memo,
                )
                for cell, step, number, some in tried
            ]
            for (_, step, _, some), part in zip(tried, finished(pieces, memo), strict=True):
                progress.update(len(some))
                if part is None:  # another shard's, which are not followed
                    right[some] = False
                    continue
                effort.add(Effort.of(part["effort"]))
                broken, far = some[part["broken"]], part["distances"]
                lower[np.setdiff1d(some, broken)] = step
                closer = far < distances[broken]
                distances[broken[closer]], nearest[broken[closer]] = far[closer], part["points"][closer]
                upper[broken] = np.minimum(step, np.ceil(far / interval)).astype(np.int64)
    return BoundaryDistances(distances, nearest, effort)


def margin_curve(distances: Array, eps: Sequence[float] | None = None, *, name: str) -> MarginCurve:
    """
    Robust accuracy as a function of the radius: the share of samples farther from the boundary than each radius.

    :param distances: (n,), >= 0, infinite where no misclassified point is known.
    :param eps: The radii, >= 0, increasing; evenly spaced from 0 to beyond the largest finite distance by default.
    :param name: What found the distances.
    :return: The curve. At radius 0 it is the accuracy.
    :raises ValueError: If there is no distance, or one or a radius is out of range.
    """
    values = np.sort(np.asarray(distances, dtype=np.float64))
    if values.ndim != 1 or not len(values) or not values[0] >= 0 or np.isnan(values[-1]):
        raise ValueError("distances must be numbers >= 0, (n,), at least one")
    if eps is None:
        largest = max(values[np.isfinite(values)], default=0.0)
        eps = np.linspace(0, 1.05 * largest or 1.0, GRID + 1).tolist()
    farther = 1 - np.searchsorted(values, np.asarray(eps, dtype=np.float64), side="right") / len(values)
    return MarginCurve(name=name, eps=tuple(eps), accuracy=tuple(farther.tolist()))


def _searching(
    subject: Subject,
    rows: NDArray[np.intp],
    cell: int,
    norm: float,
    max_iter: int,
    max_gradients: int | None,
    seed: int,
    memo: Memo,
) -> Piece:
    """One batch of :func:`searched_distances`."""
    batch = subject.select(torch.from_numpy(rows))
    about = ["boundary", str(norm), batch.clip_values, max_iter, max_gradients, seed]
    return Piece(
        memo.key(batch.network_sha256, batch.x, batch.y, *about),
        cell,
        partial(_searched, subject, rows, norm, max_iter, max_gradients, seed),
        {"distances": ("f", (len(batch),)), "points": ("f", tuple(batch.x.shape)), "effort": ("f", (3,))},
    )


def _searched(
    subject: Subject, rows: NDArray[np.intp], norm: float, max_iter: int, max_gradients: int | None, seed: int
) -> Arrays:
    batch = subject.select(torch.from_numpy(rows))
    x, y = batch.inputs(), batch.y.to(batch.device)
    faced, generator = DetachedNetwork(batch.network), torch.Generator(x.device).manual_seed(seed)
    with (
        torch.inference_mode(False),
        seeded(seed, x.device),
        evaluating(batch.network),
        measured(faced) as effort,
    ):
        with torch.no_grad():
            check_classes(y, class_logits(faced(x), len(y)).shape[1])
        box = batch.clip_values
        run: dict[str, Any] = {"norm": norm, "max_iter": max_iter, "max_gradients": max_gradients}
        found = nearest_misclassified(faced, x, y, box=box, generator=generator, **run)
    return {
        "distances": found.distances.cpu().float().numpy(),
        "points": _array(found.points),
        "effort": effort.array(),
    }


def _attacking(
    subject: Subject,
    rows: NDArray[np.intp],
    cell: int,
    attack: Attack,
    *,
    eps: float,
    norm: float,
    seed: int,
    memo: Memo,
) -> Piece:
    """One call of an attack: which samples it breaks, how far and where."""
    batch = subject.select(torch.from_numpy(rows))
    some: tuple[int | None, ...] = (None, *batch.x.shape[1:])
    return Piece(
        memo.key("distances", batch.network_sha256, batch.x, batch.y, attack, seed, eps, str(norm)),
        cell,
        partial(_attacked, subject, rows, attack, norm, seed),
        {"broken": ("b", (len(batch),)), "distances": ("f", (None,)), "points": ("f", some), "effort": ("f", (3,))},
    )


def _attacked(subject: Subject, rows: NDArray[np.intp], attack: Attack, norm: float, seed: int) -> Arrays:
    batch = subject.select(torch.from_numpy(rows))
    with seeded(seed, batch.device):
        outcome = outcome_of(reseeded(attack, seed), batch.network, batch.x, batch.y)
        broken = ~correct(batch.at(outcome.examples), batch_size=len(batch))
    examples = outcome.examples.detach().to(batch.x)[broken.to(batch.x.device)]
    return {
        "broken": broken.numpy(),
        "distances": lp_distance(batch.x[broken.to(batch.x.device)], examples, norm).float().cpu().numpy(),
        "points": _array(examples),
        "effort": outcome.effort.array(),
    }


def _array(points: Tensor) -> NDArray[Any]:
    """Points as an array, in float32 where they are in bfloat16, which NumPy has not."""
    points = points.detach().cpu()
    return (points.float() if points.dtype == torch.bfloat16 else points).numpy()


def _check(batch_size: int, seed: int) -> None:
    check_count("batch_size", batch_size)
    check_seed(seed)


def _filled(subject: Subject) -> Subject:
    if not len(subject):
        raise ValueError("x holds no sample: distances need at least one")
    return subject
