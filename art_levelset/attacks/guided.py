"""
The guided ensemble: attacks of rising cost, each on those of the samples that still stand which are nearest to the
boundary.

AutoAttack spends most of its passes on samples far from the boundary. Here the search of the boundary
(:mod:`art_levelset.attacks.boundary`) tells how far a sample x is at most: d(x) = |p - x|, p its nearest misclassified
point found. How low the margin gets in the ball, as a share of the margin at x, tells it in another way: a few long
steps are enough for that, and masked gradients mislead it less. Every later attack has a share: it is spent on that
share of the standing samples, those that come first by the one number or the other, and improves both. Shares, not
multiples of eps, as masked gradients make all d too large.

1. "steps": a few long steps up the margin from the sample itself, for what falls at once;
2. "boundary": the search of the boundary, whatever the radius; a sample is broken where d(x) <= eps;
3. "glance": five steps up the cross-entropy from a random point, of which the rank of a sample hardly changes later;
4. "cross-entropy": many decaying steps up it;
5. "targets": decaying steps up f_i - f_y, i the classes whose linearised level sets are nearest,
   (f_y - f_i) / |D_x (f_y - f_i)|_* (as in FAB and MALT);
6. "squares": a search without gradients (:mod:`art_levelset.attacks.squares`), the longer the lower it gets;
7. "restarts" and "squares again": more of both on the last few; the latter on those whose margins have been lowered
   most, again as long as that breaks some, which it does where gradients are masked.

In L_2 random starts of the search of the boundary take the place of targets and of most squares, as long as they break
some: each may end elsewhere.

A sample is broken where a misclassified point of the ball has been found, by mistake never; what is left is an upper
bound of the accuracy, as with any attack.

| Paper links: https://arxiv.org/abs/1907.02044 (FAB), https://arxiv.org/abs/2407.02240 (MALT)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_levelset.attacks.balls import Balls
from art_levelset.attacks.boundary import nearest_misclassified, search_elsewhere
from art_levelset.attacks.climbing import Goal, climb, logits_of
from art_levelset.attacks.effort import measured
from art_levelset.attacks.inputs import Array, ClipValues, SameArray, box_of, clamped
from art_levelset.attacks.network import DetachedNetwork
from art_levelset.attacks.pgd import decaying_steps
from art_levelset.attacks.protocol import Outcome, seed_of
from art_levelset.attacks.squares import descend_by_squares, striped
from art_levelset.attacks.subject import Subject
from art_levelset.checks import check_count, check_positive, check_seed
from art_levelset.core.balls import Box, check_norm
from art_levelset.core.distances import lp_distance
from art_levelset.core.fields import label_margin
from art_levelset.core.modes import evaluating

STEPS = 6
"""Steps of the first stage."""

CHUNK = (1000, 100)
"""Samples that pass the network together, elsewhere and on the CPU, where the activations then stay in the cache."""

TARGETS = 3
"""Classes that are targets."""


@dataclass(frozen=True, eq=False)
class Guided:
    """
    The guided ensemble, called as `attack(model, x, y) -> x_adv`.

    :param eps: Radius of the ball, > 0.
    :param norm: `math.inf` or 2.
    :param clip_values: Smallest and largest valid input: numbers, or arrays for each feature or channel.
    :param batch_size: Samples that are ranked by their distances together, >= 1.
    :param seed: Seed of everything random, >= 0.
    :raises ValueError: If a number is out of range.

    >>> import torch
    >>> from art_levelset.attacks.guided import Guided
    >>> model = torch.nn.Linear(2, 2)
    >>> _ = model.load_state_dict({"weight": 2 * torch.eye(2), "bias": torch.zeros(2)})
    >>> x, y = torch.tensor([[0.6, 0.4], [0.1, 0.9]]), torch.tensor([0, 1])
    >>> outcome = Guided(eps=0.3).outcome(model, x, y)  # the samples are 0.1 and 0.4 from the boundary
    >>> outcome.broken_by.tolist(), round(outcome.distances[1].item(), 3)
    ([0, -1], 0.4)
    """

    eps: float
    norm: float = math.inf
    clip_values: ClipValues = (0.0, 1.0)
    batch_size: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive("eps", self.eps)
        check_norm(self.norm)
        box_of(self.clip_values)
        check_count("batch_size", self.batch_size)
        check_seed(self.seed)

    @property
    def together(self) -> int:
        """How many samples a suite should give to one call: those that are ranked together."""
        return self.batch_size

    def __call__(self, model: Any, x: SameArray, y: Array) -> SameArray:
        """
        Attack samples.

        :param model: An nn.Module (batch, ...) -> (batch, classes), or an ART PyTorchClassifier.
        :param x: Samples, (batch, ...), floating point, within `clip_values`.
        :param y: Labels, (batch,) integers or (batch, classes) one-hot.
        :return: As x: misclassified where the ensemble succeeds, x itself elsewhere.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If a shape or value is out of range, or the network's logits or gradients are not finite.
        """
        return self.outcome(model, x, y).examples

    def outcome(self, model: Any, x: SameArray, y: Array) -> Outcome[SameArray]:
        """
        Attack samples, and tell which stage broke each of them, and how near the nearest misclassified point is.

        :param model: As for the attack itself.
        :param x: As for the attack itself.
        :param y: As for the attack itself.
        :return: The examples, their cost, how many samples survive each stage, "clean" at first, the stages that broke
                 them, and the distances found: of a broken sample, that of its example.
        """
        subject = Subject.of(model, x, y, clip_values=self.clip_values)
        network = DetachedNetwork(subject.network)
        parts = []
        with torch.inference_mode(False), evaluating(network), measured(network) as effort:
            for first in range(0, len(subject), self.batch_size):
                parts.append(self._hunt(network, subject.select(slice(first, first + self.batch_size)), first))
        examples, broken_by, distances, clean = (torch.cat(values) for values in zip(*parts, strict=True))
        left = {"clean": int(clean.sum())}
        for place, stage in enumerate(STAGES[self.norm]):
            left[stage.name] = int((clean & ((broken_by < 0) | (broken_by > place))).sum())
        return Outcome(examples.numpy() if isinstance(x, np.ndarray) else examples, effort, left, broken_by, distances)

    def _hunt(self, network: DetachedNetwork, batch: Subject, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The examples, stages and distances of one batch, and which samples are classified right as they are."""
        x, y = batch.inputs(), batch.y.to(batch.device)
        generator = torch.Generator(batch.device).manual_seed(seed_of(self.seed, 0, first))
        balls = Balls.around(batch.x, self.eps, self.norm, batch.clip_values, batch.device, batch.dtype)
        hunt = _Hunt.begun(network, x, y, balls, self.eps, batch.clip_values, generator)
        clean = hunt.stands.clone()
        for place, stage in enumerate(STAGES[self.norm]):
            for _ in range(stage.repeats):
                standing = int(hunt.stands.sum())
                for rows in torch.split(hunt.foremost(stage.share, stage.by), CHUNK[batch.device.type == "cpu"]):
                    if len(rows):
                        with torch.enable_grad():
                            stage.run(hunt, rows, place)
                if int(hunt.stands.sum()) == standing:
                    break
        return (
            clamped(hunt.examples.to(batch.x), batch.clip_values),
            hunt.broken_by.cpu(),
            hunt.distances.cpu(),
            clean.cpu(),
        )


@dataclass(eq=False)
class _Hunt:
    """
    What is known of the samples of a batch.

    :param own_margins: The margins of the samples.
    :param distances: How far the nearest misclassified points found are, in the ball or not.
    :param lowered: The least margins found in the ball, as shares of the samples' own; infinite where not looked for.
    :param classes: The other classes, the most promising first.
    """

    network: DetachedNetwork
    x: Tensor
    y: Tensor
    balls: Balls
    eps: float
    box: Box | None
    generator: torch.Generator
    examples: Tensor
    broken_by: Tensor
    stands: Tensor
    own_margins: Tensor
    distances: Tensor
    lowered: Tensor
    classes: Tensor

    @classmethod
    def begun(
        cls,
        network: DetachedNetwork,
        x: Tensor,
        y: Tensor,
        balls: Balls,
        eps: float,
        box: Box | None,
        generator: torch.Generator,
    ) -> _Hunt:
        with torch.no_grad():
            logits = logits_of(network, x, y)
        stands = logits.argmax(dim=1) == y
        distances = torch.where(stands, torch.inf, 0.0).to(x)
        others = logits.scatter(1, y.unsqueeze(1), -torch.inf).argsort(dim=1, descending=True)[:, :-1]
        none = torch.full_like(y, -1)
        untried = torch.full_like(distances, torch.inf)
        margins = label_margin(logits, y)
        return cls(
            network, x, y, balls, eps, box, generator, x.clone(), none, stands, margins, distances, untried, others
        )

    def foremost(self, share: float, by: tuple[str, ...]) -> Tensor:
        """A share of the samples that stand, rounded up: those that come first by one number or another."""
        rows = self.stands.nonzero().squeeze(1)
        ranks = [getattr(self, field)[rows].argsort(stable=True).argsort() for field in by]
        order = torch.stack(ranks).amin(dim=0).argsort(stable=True)
        return rows[order[: math.ceil(share * len(rows))]].sort().values

    def margins(self, points: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return label_margin(self.network(points), self.y[rows])

    def take(self, rows: Tensor, points: Tensor, place: int) -> None:
        """Note what a stage found: points of the box; those of the ball that are misclassified break their samples."""
        distances = lp_distance(self.x[rows], points, self.balls.norm)
        held = self.balls.select(rows).project(points)
        margins = self.margins(points, rows)
        wrong = margins < 0
        nearer = wrong & (distances < self.distances[rows])
        self.distances[rows[nearer]] = distances[nearer]
        moved = (held != points).flatten(1).any(dim=1)
        self.lowered[rows] = torch.where(
            moved, self.lowered[rows], torch.minimum(self.lowered[rows], margins / self.own_margins[rows])
        )
        within = wrong & ~moved
        near = (wrong & moved & (distances <= self.eps)).nonzero().squeeze(1)  # a rounding error from the ball
        if len(near):
            within[near] = self.margins(held[near], rows[near]) < 0
        broken = rows[within]
        self.examples[broken], self.broken_by[broken], self.stands[broken] = held[within], place, False


def _climbed(
    hunt: _Hunt, rows: Tensor, place: int, *, goal: Any, y: Tensor, lengths: list[float], start: Tensor
) -> None:
    points, _ = climb(hunt.network, goal, hunt.balls.select(rows), y, start, lengths, stop_when_broken=True)
    hunt.take(rows, points, place)


def _steps(hunt: _Hunt, rows: Tensor, place: int) -> None:
    lengths = decaying_steps(hunt.eps, STEPS)
    _climbed(hunt, rows, place, goal=Goal("margin"), y=hunt.y[rows], lengths=lengths, start=hunt.x[rows])


def _boundary(hunt: _Hunt, rows: Tensor, place: int, *, max_iter: int) -> None:
    found = nearest_misclassified(
        hunt.network,
        hunt.x[rows],
        hunt.y[rows],
        norm=hunt.balls.norm,
        box=hunt.box,
        max_iter=max_iter,
        generator=hunt.generator,
    )
    hunt.classes[rows, : found.classes.shape[1]] = found.classes
    crossed = found.distances.isfinite()
    hunt.take(rows[crossed], found.points[crossed], place)


def _elsewhere(hunt: _Hunt, rows: Tensor, place: int, *, max_iter: int) -> None:
    points, distances = search_elsewhere(
        hunt.network,
        hunt.x[rows],
        hunt.y[rows],
        hunt.distances[rows],
        norm=hunt.balls.norm,
        box=hunt.box,
        max_iter=max_iter,
        generator=hunt.generator,
    )
    crossed = distances.isfinite()
    hunt.take(rows[crossed], points[crossed], place)


class _Towards:
    """That samples are misclassified, by raising f_i - f_y for y = (label, i)."""

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        return logits.argmax(dim=1) != y[:, 0]

    def values(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        pairs = logits.gather(1, y)
        return pairs[:, 1] - pairs[:, 0], torch.zeros_like(y[:, 0], dtype=torch.bool)


def _targets(hunt: _Hunt, rows: Tensor, place: int, *, max_iter: int) -> None:
    for target in range(min(TARGETS, hunt.classes.shape[1])):
        left = rows[hunt.stands[rows]]
        y = torch.stack([hunt.y[left], hunt.classes[left, target]], dim=1)
        start = hunt.balls.select(left).random(hunt.generator)
        _climbed(hunt, left, place, goal=_Towards(), y=y, lengths=decaying_steps(hunt.eps, max_iter), start=start)


def _restarts(hunt: _Hunt, rows: Tensor, place: int, *, times: int, goal: Goal, max_iter: int) -> None:
    for _ in range(times):
        left = rows[hunt.stands[rows]]
        start = hunt.balls.select(left).random(hunt.generator)
        lengths = decaying_steps(hunt.eps, max_iter)
        _climbed(hunt, left, place, goal=goal, y=hunt.y[left], lengths=lengths, start=start)


def _squares(hunt: _Hunt, rows: Tensor, place: int, *, queries: int, area: float, halvings: Sequence[int] = ()) -> None:
    balls = hunt.balls.select(rows)
    points, _ = descend_by_squares(
        lambda points, some: hunt.margins(points, rows[some]),
        balls,
        striped(balls, hunt.generator),
        queries=queries,
        area=area,
        generator=hunt.generator,
        halvings=halvings,
    )
    hunt.take(rows, points, place)


@dataclass(frozen=True)
class _Stage:
    """
    One attack of the ensemble.

    :param name: Its name.
    :param share: It is spent on so many of the samples that stand, in (0, 1]: the nearest ones.
    :param run: The attack, `run(hunt, rows, place)`.
    :param by: The numbers, fields of the hunt, that tell which samples come first: those first by any of them.
    :param repeats: How often it is run at most, as long as it breaks a sample.
    """

    name: str
    share: float
    run: Callable[[_Hunt, Tensor, int], None]
    by: tuple[str, ...] = ("distances",)
    repeats: int = 1


_CROSS_ENTROPY = Goal("cross_entropy", rescale=True)
_EITHER = ("distances", "lowered")

STAGES = {
    math.inf: (
        _Stage("steps", 1, _steps),
        _Stage("boundary", 1, partial(_boundary, max_iter=20)),
        _Stage("glance", 1, partial(_restarts, times=1, goal=_CROSS_ENTROPY, max_iter=5)),
        _Stage("cross-entropy", 0.1, partial(_restarts, times=1, goal=_CROSS_ENTROPY, max_iter=100), by=_EITHER),
        _Stage("targets", 0.1, partial(_targets, max_iter=30)),
        _Stage("squares", 0.3, partial(_squares, queries=1000, area=0.8, halvings=(100, 200, 400)), by=_EITHER),
        _Stage("restarts", 0.04, partial(_restarts, times=3, goal=_CROSS_ENTROPY, max_iter=100), by=_EITHER),
        _Stage("squares again", 0.025, partial(_squares, queries=1500, area=0.8), by=("lowered",), repeats=4),
    ),
    2: (
        _Stage("steps", 1, _steps),
        _Stage("boundary", 1, partial(_boundary, max_iter=40)),
        _Stage("cross-entropy", 0.1, partial(_restarts, times=1, goal=_CROSS_ENTROPY, max_iter=100), by=_EITHER),
        _Stage("boundary from elsewhere", 0.4, partial(_elsewhere, max_iter=40), repeats=8),
        _Stage("squares", 0.05, partial(_squares, queries=1000, area=0.8, halvings=(100, 300)), by=_EITHER),
    ),
}
"""The attacks by the norm, in their order. Chosen on test images that no reported figure is of."""
