"""
Adversarial training, the baselines of the level-set trainers: Madry's and TRADES on the loop that they share.

Both minimise a loss at points that maximise another one in the ball B of radius eps around each sample, within the
box of valid inputs:

    Madry:   1/N sum_j CE(f(x_j'), y_j),                              x_j' = argmax_B CE(f(.), y_j),
    TRADES:  1/N sum_j CE(f(x_j), y_j) + beta KL(p(x_j) | p(x_j')),   x_j' = argmax_B KL(p(x_j) | p(.)),

p the softmax of the logits f. The maximum is sought by projected gradient ascent from a uniformly random point of the
ball (TRADES' published code starts a thousandth away from the sample), in evaluation mode: each sample's points depend
on that sample alone, and dropout and batch statistics take no part. The loss itself is evaluated in training mode,
TRADES' at the samples and at the points one after the other, and BatchNorm's running statistics follow these passes,
after the clean batch. So does TRADES' published code, but for the clean batch, and so do ART's trainers. Madry's code
searches in training mode; here the search faces the network that an attacker will face. With several processes each
one's batch statistics are those of its own share, as with DistributedDataParallel.

What differs between adversarial trainers is where the points are, :meth:`PGDTrainer.find`, and the loss there,
:meth:`PGDTrainer.loss_at`.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.checks import check_count, check_not_negative, check_positive
from art_levelset.core.ascent import ascend
from art_levelset.core.balls import check_norm, column, random_in_ball
from art_levelset.core.modes import evaluating, training
from art_levelset.core.statistics import Statistics
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.execution import Execution

Losses = Callable[[Tensor], Tensor]
"""Of logits, (batch, classes): one loss a sample, (batch,)."""

Found: TypeAlias = "tuple[Tensor, ...]"
"""What a search has found for a batch: tensors with one row a sample."""


class PGDTrainer(LoopTrainer, abc.ABC):
    """Base of the adversarial trainers: the search for points of high loss, and a loss at what it has found."""

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float,
        *,
        eps_step: float | None = None,
        max_iter: int = 10,
        norm: float = math.inf,
        num_random_init: int = 1,
        warmup: float = 0.0,
        seed: int | None = None,
        ema_decay: float | None = None,
        max_grad_norm: float | None = None,
        execution: Execution = Execution(),
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer. Its `clip_values` bound the search.
        :param eps: Radius of the ball, > 0, in units of the raw inputs.
        :param eps_step: Length of a step in the same norm, > 0; None for 2.5 eps / max_iter.
        :param max_iter: Number of steps, >= 1.
        :param norm: `math.inf` or 2.
        :param num_random_init: Number of random starts, of which the one that ends with the highest loss counts; 0 to
               start at the sample.
        :param warmup: The part of each `fit`, in [0, 1], in which radius and steps grow linearly to their full length.
        :param seed: As for :class:`LoopTrainer`, and so are the last three.
        :param ema_decay: The decay of an average of the weights.
        :param max_grad_norm: The largest norm of a step's gradient.
        :param execution: How the search is executed.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        super().__init__(classifier, seed=seed, ema_decay=ema_decay, max_grad_norm=max_grad_norm, execution=execution)
        check_norm(norm)
        check_count("max_iter", max_iter)
        self.eps = eps
        self.eps_step = 2.5 * eps / max_iter if eps_step is None else eps_step
        check_positive("eps", self.eps)
        check_positive("eps_step", self.eps_step)
        if num_random_init:
            check_count("num_random_init", num_random_init)
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup must be in [0, 1], got {warmup}")
        self.max_iter = max_iter
        self.norm = norm
        self.num_random_init = num_random_init
        self.warmup = warmup

    def statistics(self, x: Tensor) -> Statistics:
        """
        None: the loss is computed in training mode, which has its own.

        :param x: Not used.
        :return: An empty mapping.
        """
        return {}

    @abc.abstractmethod
    def find(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Found:
        """
        Search the balls around the samples.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        :return: The points, (batch, ...), and whatever else the loss needs, without gradients.
        """

    @abc.abstractmethod
    def loss_at(
        self, network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, found: Found
    ) -> tuple[Tensor, dict[str, float]]:
        """
        The loss at what has been found.

        :param network: The network, in training mode.
        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param found: What :meth:`find` returned for them.
        :return: The loss and its metrics.
        """

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """
        Search, and the loss at what is found.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        :return: The loss and its metrics.
        """
        found = self.find(x, y, rows)
        with training(self.network, self._frozen):
            return self.loss_at(self.trained_network, x, y, found)

    def _search(self, x: Tensor, losses: Losses) -> Tensor:
        """Where projected gradient ascent on the losses ends, in the balls around x, (batch, ...)."""
        points, best = x, x.new_full((len(x),), -math.inf)
        with evaluating(self.network):
            for _ in range(max(self.num_random_init, 1)):
                found = self._ascend(x, losses)
                if self.num_random_init <= 1:
                    return found
                with torch.no_grad():
                    reached = losses(self.searched_network(found))
                points = torch.where(column(reached > best, x), found, points)
                best = torch.maximum(reached, best)
        return points

    @property
    def growth(self) -> float:
        """Radius and steps as a part of their full length, in (0, 1]; the first step already has a radius."""
        fraction = self.progress.fraction
        return 1.0 if fraction >= self.warmup else max(fraction / self.warmup, 1e-2)

    def radii(self, x: Tensor) -> Tensor:
        """
        The radii of the balls, as far as they have grown.

        :param x: Raw inputs, (batch, ...).
        :return: (batch,), > 0.
        """
        return x.new_full((len(x),), self.growth * self.eps)

    def steps(self, x: Tensor) -> Tensor:
        """
        The lengths of a search step, as far as they have grown.

        :param x: Raw inputs, (batch, ...).
        :return: (batch,), > 0.
        """
        return x.new_full((len(x),), self.growth * self.eps_step)

    def _ascend(self, x: Tensor, losses: Losses) -> Tensor:
        return ascend(
            lambda points: losses(self.searched_network(points)),
            x,
            eps=self.radii(x),
            step=self.steps(x),
            max_iter=self.max_iter,
            norm=self.norm,
            box=self.box,
            start=x + self.draw(lambda count: self._offsets(x, count)) if self.num_random_init else None,
        )

    def _offsets(self, x: Tensor, count: int) -> Tensor:
        """Random points of the balls around zero, (count, ...)."""
        centres = x.new_zeros(count, *x.shape[1:])
        return random_in_ball(centres, self.radii(centres), self.norm, self.randomness)


class MadryTrainer(PGDTrainer):
    """
    Adversarial training on the points of highest cross-entropy.

    | Paper link: https://arxiv.org/abs/1706.06083

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset import MadryTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = MadryTrainer(classifier, eps=0.05, max_iter=4, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def find(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Found:
        """
        The points of highest cross-entropy.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: Not used.
        :return: The points, (batch, ...).
        """
        return (self._search(x, lambda logits: functional.cross_entropy(logits, y, reduction="none")),)

    def loss_at(
        self, network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, found: Found
    ) -> tuple[Tensor, dict[str, float]]:
        """
        The cross-entropy at the points.

        :param network: The network.
        :param x: Not used.
        :param y: Integer labels, (batch,).
        :param found: The points.
        :return: The loss, and the metric `robust_accuracy`.
        """
        (points,) = found
        logits = network(points)
        return functional.cross_entropy(logits, y), {"robust_accuracy": accuracy(logits, y)}


class TRADESTrainer(PGDTrainer):
    """
    TRADES: cross-entropy at the samples, and the largest Kullback-Leibler divergence in the balls around them.

    | Paper link: https://arxiv.org/abs/1901.08573

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset import TRADESTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = TRADESTrainer(classifier, eps=0.05, max_iter=4, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(self, classifier: PyTorchClassifier, eps: float, *, beta: float = 6.0, **options: Any) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer.
        :param eps: Radius of the ball, > 0, in units of the raw inputs.
        :param beta: The weight of the divergence, >= 0.
        :param options: As for :class:`PGDTrainer`; `num_random_init` is at least 1, as the divergence has no gradient
               at the sample itself.
        :raises ValueError: If a number is out of range.
        """
        super().__init__(classifier, eps, **options)
        check_not_negative("beta", beta)
        if self.num_random_init < 1:
            raise ValueError(
                f"num_random_init must be >= 1, got {self.num_random_init}: at the sample itself the "
                "divergence has no gradient"
            )
        self.beta = beta

    def find(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Found:
        """
        The points of highest divergence.

        :param x: Raw inputs, (batch, ...).
        :param y: Not used.
        :param rows: Not used.
        :return: The points, (batch, ...).
        """
        with torch.no_grad(), evaluating(self.network):
            target = self.network(x).log_softmax(dim=1)
        return (self._search(x, lambda logits: divergences(target, logits.log_softmax(dim=1))),)

    def loss_at(
        self, network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, found: Found
    ) -> tuple[Tensor, dict[str, float]]:
        """
        The cross-entropy at the samples and the divergences.

        :param network: The network.
        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param found: The points.
        :return: The loss, and the metrics `accuracy` and `robust_accuracy`.
        """
        (points,) = found
        logits, near = network(x), network(points)
        divergence = divergences(logits.log_softmax(dim=1), near.log_softmax(dim=1)).mean()
        loss = functional.cross_entropy(logits, y) + self.beta * divergence
        return loss, {"accuracy": accuracy(logits, y), "robust_accuracy": accuracy(near, y)}


def divergences(target: Tensor, other: Tensor) -> Tensor:
    """
    The Kullback-Leibler divergences KL(p | q) = sum_i p_i (log p_i - log q_i).

    :param target: log p, (batch, classes).
    :param other: log q, (batch, classes).
    :return: (batch,), >= 0 up to rounding.
    """
    return (target.exp() * (target - other)).sum(dim=1)


def accuracy(logits: Tensor, y: Tensor) -> float:
    """
    The part of the samples that are classified right.

    :param logits: (batch, classes).
    :param y: Integer labels, (batch,).
    :return: In [0, 1].
    """
    return (logits.argmax(dim=1) == y).float().mean().item()
