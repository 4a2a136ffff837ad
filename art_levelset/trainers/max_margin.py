"""
MMA: each sample is trained at its own shortest successful perturbation.

For a correctly classified sample x_j, projected gradient ascent in the ball of radius eps_j around it gives a direction
u_j, and bisection along the ray x_j + s u_j, up to a little beyond d_max, the least s = d_j at which the label is lost.
With w the weight of the clean loss, S the correctly and R the wrongly classified samples of a batch,

    w/N sum_j CE(f(x_j), y_j) + (1 - w)/N [sum_{S: d_j < d_max} CE(f(x_j + d_j u_j), y_j) + sum_R CE(f(x_j), y_j)].

The paper shows that a step down the loss at the nearest boundary point makes the margin d_j larger; a margin of d_max
is enough, and such a sample counts no more. The radius eps_j of the search is the margin that the last visit found, so
it grows with the sample's own margin, from `eps_min` on.

The search goes up log sum_{i != y} exp f_i - f_y, the paper's soft margin with the other sign. Which samples are
correctly classified, and where the ray leaves the label, is told by the margin itself; the published code takes the
soft one there, too, whose boundary is nearer. Margins are kept for samples that have numbers: with generators or
augmentation each search has the radius `eps_min`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.checks import check_count, check_positive
from art_levelset.core.ascent import ascend
from art_levelset.core.balls import Box, column, walls
from art_levelset.core.fields import Field, margin_field, soft_margin_field
from art_levelset.core.modes import evaluating
from art_levelset.tensors import check_form
from art_levelset.trainers.adversarial import Found, PGDTrainer, accuracy
from art_levelset.trainers.search import values_of
from art_levelset.trainers.tracking import Margins

BEYOND = 1.05
"""How far rays are followed, in units of d_max."""


def first_crossing(
    field: Field, x: Tensor, directions: Tensor, first: Tensor, farthest: float, bisections: int, box: Box | None = None
) -> Tensor:
    """
    How far from each sample F ceases to be positive along a ray, by bisection.

    :param field: F, one value a sample, positive at the samples.
    :param x: The samples, (batch, ...).
    :param directions: u, (batch, ...).
    :param first: The first distance to look at, (batch,), in (0, farthest].
    :param farthest: Where a ray ends, > 0.
    :param bisections: How often the bracket is halved after that, >= 0.
    :param box: The box into which points are brought, or None.
    :return: The upper ends of the brackets, (batch,), where F is not positive: `farthest` where F is positive at all
             that was looked at.
    """
    low, high = torch.zeros_like(first), torch.full_like(first, farthest)
    distances = first
    for _ in range(bisections + 1):
        inside = values_of(field, along(x, directions, distances, box)) > 0
        low, high = torch.where(inside, distances, low), torch.where(inside, high, distances)
        distances = (low + high) / 2
    return high


def along(x: Tensor, directions: Tensor, distances: Tensor, box: Box | None) -> Tensor:
    """
    Points of rays, brought into the box.

    :param x: Where the rays begin, (batch, ...).
    :param directions: Their directions, (batch, ...).
    :param distances: How far to go, (batch,).
    :param box: The box, or None.
    :return: (batch, ...).
    """
    return torch.clamp(x + column(distances, x) * directions, *walls(box, x))


class MMATrainer(PGDTrainer):
    """
    Max-margin adversarial training: each sample at the nearest point where its label is lost.

    | Paper link: https://arxiv.org/abs/1812.02637

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset.trainers import MMATrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = MMATrainer(classifier, eps=0.1, max_iter=4, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float,
        *,
        eps_min: float | None = None,
        eps_step: float | None = None,
        max_iter: int = 10,
        bisections: int = 10,
        clean: float = 1 / 3,
        norm: float = math.inf,
        **options: Any,
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer. Its `clip_values` bound search and ray.
        :param eps: d_max, the margin that is enough, > 0, in units of the raw inputs. The paper takes half as much
               again as the radius that the network shall withstand, or more.
        :param eps_min: The smallest radius of a search, in (0, eps]; None for a tenth of `eps`.
        :param eps_step: Length of a search step where the radius is `eps`, > 0, and in proportion elsewhere; None for
               2.5 eps / max_iter.
        :param max_iter: Number of search steps, >= 1.
        :param bisections: How often the bracket of the margin is halved, >= 1.
        :param clean: w, the weight of the loss at the samples, in [0, 1].
        :param norm: `math.inf` or 2.
        :param options: `seed`, `ema_decay`, `max_grad_norm` and `execution`, as for :class:`PGDTrainer`.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        own: dict[str, Any] = {"num_random_init": 1, "warmup": 0.0}  # the radii grow with the margins
        super().__init__(classifier, eps, eps_step=eps_step, max_iter=max_iter, norm=norm, **own, **options)
        self.eps_min = eps / 10 if eps_min is None else eps_min
        check_positive("eps_min", self.eps_min)
        if self.eps_min > eps:
            raise ValueError(f"eps_min must not exceed eps, {eps}, got {eps_min}")
        check_count("bisections", bisections)
        if not 0 <= clean <= 1:
            raise ValueError(f"clean must be in [0, 1], got {clean}")
        self.bisections = bisections
        self.clean = clean
        self._margins: Margins | None = None

    def find(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Found:
        """
        Each sample's shortest successful perturbation, whose length is remembered.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        :return: The points, (batch, ...), and their distances, (batch,): wrongly classified samples themselves, and 0.
        """
        field = margin_field(self.network, y)
        correct = values_of(field, x) > 0
        offsets = self.draw(lambda count: self._offsets(x, count))
        points, distances = x.clone(), x.new_zeros(len(x))
        if bool(correct.any()):
            radii = torch.full_like(distances, self.eps_min)
            if self._margins is not None and rows is not None:
                radii = torch.maximum(self._margins.of(rows), radii)
            centres, radii = x[correct], radii[correct]
            directions = self._directions(centres, y[correct], radii, offsets[correct])
            distances[correct] = first_crossing(
                field.select(correct), centres, directions, radii, BEYOND * self.eps, self.bisections, self.box
            )
            points[correct] = along(centres, directions, distances[correct], self.box)
        if self._margins is not None and rows is not None:
            self._margins.store(rows, distances)
        return points, distances

    def loss_at(
        self, network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, found: Found
    ) -> tuple[Tensor, dict[str, float]]:
        """
        The cross-entropy at the samples, and at the points that are nearer than d_max.

        :param network: The network.
        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param found: The points and their distances.
        :return: The loss, and the metrics `accuracy` and `margin`, the mean distance.
        """
        points, distances = found
        logits, there = network(x), network(points)
        losses = functional.cross_entropy(there, y, reduction="none")
        margin_loss = losses[distances < self.eps].sum() / len(x)
        loss = self.clean * functional.cross_entropy(logits, y) + (1 - self.clean) * margin_loss
        return loss, {"accuracy": accuracy(logits, y), "margin": distances.mean().item()}

    def _directions(self, x: Tensor, y: Tensor, radii: Tensor, offsets: Tensor) -> Tensor:
        """From the samples to where the searches end, of unit length; zero where they end at the sample."""
        field = soft_margin_field(self.searched_network, y)
        with evaluating(self.network):
            ends = ascend(
                lambda points: -field(points).squeeze(1),
                x,
                eps=radii,
                step=radii * (self.eps_step / self.eps),
                max_iter=self.max_iter,
                norm=self.norm,
                box=self.box,
                start=x + column(radii / self.eps, x) * offsets,
            )
        lengths = torch.linalg.vector_norm((ends - x).flatten(1), self.norm, dim=1)
        return (ends - x) / column(torch.where(lengths > 0, lengths, 1.0), x)

    def begin_fit(self, samples: int | None) -> None:
        """
        Make room for the margins, or go on from those of an earlier `fit` of as many samples.

        :param samples: Samples of the data set; None where batches come without their numbers.
        """
        if samples is None:
            self._margins = None
        elif self._margins is None or len(self._margins) != samples:
            self._margins = Margins(samples)

    def end_epoch(self) -> None:
        """Tell all processes the margins."""
        if self._margins is not None:
            self._margins.merge(self._world)

    def state_dict(self) -> dict[str, Any]:
        """
        The state between two epochs of a `fit`.

        :return: That of the loop, and the margins.
        """
        margins = None if self._margins is None else self._margins.state_dict()
        return {**super().state_dict(), "trainer": {"margins": margins}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a state.

        :param state: What :meth:`state_dict` returned.
        :raises ValueError: If the network is another.
        """
        super().load_state_dict(state)
        check_form("trainer", state["trainer"], self.state_dict()["trainer"])
        if self._margins is not None:
            self._margins.load_state_dict(state["trainer"]["margins"])
