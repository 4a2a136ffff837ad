"""
Training with flat decision boundaries: the cross-entropy, and the curvature of the boundary near each sample.

The paper's conclusion proposes to penalise the curvature of level sets. For a label's margin F_j (eq. 1), each sample
x_j is projected to its zero level set by generalized Newton steps (eq. 4), and the loss is

    1/N sum_j [CE(f(x_j), y_j) + w kappa_j^2],

kappa_j the normal curvature of the decision boundary at the projection p_j, in the direction u_j in which the power
method finds it to be largest: in the plane there is only one direction, and for images most have next to no curvature.
It does not depend on the scale of the logits, unlike that of the loss (CURE). A sample whose projection fails, or ends
further away than `reach`, has the cross-entropy alone.

The gradient is that of kappa at p_j as it stands (*fixed*), so all level sets around p_j become flatter, or, *moving*,
that at p_j(theta) (eq. 9), which follows the boundary alone and costs a third derivative. The first is the default, for
it is what has raised the accuracy: docs/results/curvature.md has the figures.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.checks import check_count, check_not_negative, check_positive
from art_levelset.core.distances import lp_distance
from art_levelset.core.fields import Field, margin_field
from art_levelset.core.modes import evaluating
from art_levelset.core.normal_curvature import most_curved_directions, normal_curvature
from art_levelset.core.projection import project
from art_levelset.core.sample_network import attach
from art_levelset.trainers.base import LoopTrainer

TOLERANCE = 1e-3
"""The largest |F| of a point that counts as one of the boundary."""


class CurvatureTrainer(LoopTrainer):
    """
    Train a classifier by the cross-entropy and the squared curvature of its decision boundary.

    | Paper link: https://arxiv.org/abs/1905.11911

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset.trainers.curvature import CurvatureTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.SiLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, device_type="cpu"
    ... )
    >>> trainer = CurvatureTrainer(classifier, weight=1e-3, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        weight: float,
        *,
        scale: float | None = None,
        reach: float = math.inf,
        moving: bool = False,
        max_iter: int = 10,
        max_iter_direction: int = 1,
        max_grad_norm: float | None = 1.0,
        **options: Any,
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer.
        :param weight: w >= 0, in units of the inputs squared.
        :param scale: The distance, in units of the inputs, over which differences are taken for the curvature: > 0, and
               needed for networks of ReLUs. None for second derivatives.
        :param reach: The largest L_2 distance of a boundary point from its sample, > 0, in units of the inputs.
        :param moving: Whether the boundary points follow the parameters.
        :param max_iter: The largest number of Newton steps of a projection, >= 1.
        :param max_iter_direction: Iterations of the power method, >= 1.
        :param max_grad_norm: As for :class:`LoopTrainer`, and so are the others; near critical points of F curvatures
               are large.
        :param options: `seed`, `ema_decay`, `execution`.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        super().__init__(classifier, max_grad_norm=max_grad_norm, **options)
        check_not_negative("weight", weight)
        if scale is not None:
            check_positive("scale", scale)
        if not reach > 0:
            raise ValueError(f"reach must be > 0, got {reach}")
        check_count("max_iter", max_iter)
        check_count("max_iter_direction", max_iter_direction)
        if classifier.nb_classes < 2:
            raise ValueError(f"classifier: the margin needs at least two classes, got {classifier.nb_classes}")
        self.weight = weight
        self.scale = scale
        self.reach = reach
        self.moving = moving
        self.max_iter = max_iter
        self.max_iter_direction = max_iter_direction

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """
        The cross-entropy and the squared curvatures.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: Not used.
        :return: The loss, and the metrics `accuracy`, `projected`, the part of the samples with a boundary point, and
                 `curvature`, the sum of their |kappa_j| over the number of samples.
        """
        with evaluating(self.network):
            logits = self.trained_network(x)
        loss = functional.cross_entropy(logits, y)
        metrics = {"accuracy": (logits.argmax(dim=1) == y).float().mean().item(), "projected": 0.0, "curvature": 0.0}
        if not self.weight:
            return loss, metrics
        start = self.draw(self._directions)
        curvatures = self._boundary_curvatures(margin_field(self.network, y), x, start)
        metrics["projected"] = len(curvatures) / len(x)
        metrics["curvature"] = curvatures.detach().abs().sum().item() / len(x)
        return loss + self.weight * curvatures.square().sum() / len(x), metrics

    def _boundary_curvatures(self, field: Field, x: Tensor, start: Tensor) -> Tensor:
        """kappa_j of the samples that have a boundary point, (n,)."""
        samples = project(field, x, max_iter=self.max_iter, tol=TOLERANCE, backtracking=True)
        near = samples.converged & (lp_distance(x, samples.points) <= self.reach)
        if not bool(near.any()):
            return x.new_zeros(0)
        field, points = field.select(near), samples.points[near]
        directions = most_curved_directions(
            field, points, start[near], max_iter=self.max_iter_direction, scale=self.scale
        )
        if self.moving:
            points, _ = attach(field, points)
        curvatures = normal_curvature(field, points, directions, scale=self.scale)
        return curvatures[~curvatures.detach().isnan()]

    def _directions(self, count: int) -> Tensor:
        device = self.randomness.device
        return torch.randn(count, *self.classifier.input_shape, generator=self.randomness, device=device)
