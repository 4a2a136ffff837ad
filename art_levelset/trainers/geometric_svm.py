"""
The geometric SVM (Section 3.1, eq. 11): soft-margin SVM training of a network for two classes, in input space.

A step projects each sample x_j to a point p_j of the zero level set and p_j on to points q_j of the +1 and -1 level
sets, by generalized Newton steps. With their sample networks, d = L_2 and Delta_j = min |p_j - q_j| over the two,

    1/N sum_j max(0, 1 - sign(y_j F(x_j)) |x_j - p_j| / Delta_j) + lambda/N sum_j Delta_j^alpha.

A sample whose projections fail (a network that is still nearly constant does not take the values 0 and +-1 anywhere
near) keeps its term with F linearised at the sample, one Newton step: d = |F| / |D_xF|, Delta = 1 / |D_xF|, so d /
Delta = |F(x_j)| and the term is the ordinary hinge. Left out, or kept on the level that its projection ended on,
training can come to rest in a constant classifier, from which no projection leads anywhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

from art_levelset.checks import check_count, check_not_negative
from art_levelset.core.distances import lp_distance
from art_levelset.core.fields import Field
from art_levelset.core.losses import geometric_svm_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.sample_network import SampleNetwork
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.execution import Execution


class GeometricSVMTrainer(LoopTrainer):
    """
    Train a classifier of two classes for a wide margin in input space (eq. 11).

    F is the network's one logit, or the difference of its two, positive for class 1.

    | Paper link: https://arxiv.org/abs/1905.11911

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset import GeometricSVMTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = GeometricSVMTrainer(classifier, lam=0.001, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        lam: float = 0.01,
        *,
        alpha: float = -2.0,
        max_iter: int = 20,
        seed: int | None = None,
        ema_decay: float | None = None,
        max_grad_norm: float | None = None,
        execution: Execution = Execution(),
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier of two classes with an optimizer; its model returns one logit or
               two.
        :param lam: lambda, >= 0: the weight of the margin term. The paper uses 0.001 in Figure 1 and up to 0.2 on
               MNIST.
        :param alpha: The exponent of the margin term, < 0; -2 is the SVM's for an affine network.
        :param max_iter: The largest number of Newton steps of a projection, >= 1.
        :param seed: Seed of all that is random, >= 0; None to draw it from torch's global generator.
        :param ema_decay: The decay of a moving average of the weights, in [0, 1); None for no average.
        :param max_grad_norm: The largest L_2 norm of a step's gradient, > 0; None for no limit.
        :param execution: How passes are executed; projections are always exact, so only the layout matters.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier has not two classes or no optimizer.
        """
        super().__init__(classifier, seed=seed, ema_decay=ema_decay, max_grad_norm=max_grad_norm, execution=execution)
        if classifier.nb_classes != 2:
            raise ValueError(f"classifier must have two classes, got {classifier.nb_classes}")
        check_not_negative("lam", lam)
        if not (alpha < 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be negative and finite, got {alpha}")
        check_count("max_iter", max_iter)
        self.lam = lam
        self.alpha = alpha
        self.max_iter = max_iter
        self._field = Field(self._score, self.network)

    def check_outputs(self, outputs: Any, count: int) -> None:
        """
        Check what the network returns, before it is trained: one logit, or two.

        :param outputs: What it has returned for some samples.
        :param count: Their number.
        :raises TypeError: If it is no tensor of floating-point numbers.
        :raises ValueError: If its shape is another, or it holds probabilities.
        """
        if not isinstance(outputs, Tensor) or outputs.shape not in ((count,), (count, 1)):
            super().check_outputs(outputs, count)

    def _score(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x)
        if outputs.dim() == 1 or outputs.shape[1] == 1:
            return outputs.reshape(-1)
        return outputs[:, 1] - outputs[:, 0]

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """
        Eq. 11.

        :param x: Raw inputs, (batch, ...).
        :param y: Labels, 0 or 1, (batch,).
        :param rows: Not used.
        :return: The loss, and the metrics `accuracy`, `projected` and `margin`.
        """
        signs = (2 * y - 1).to(x.dtype)
        with torch.no_grad(), evaluating(self.network):
            values = self._field(x).squeeze(1)
        samples = project(self._field, x, max_iter=self.max_iter, backtracking=True)
        reached = torch.nonzero(samples.converged).squeeze(1)
        moving: Tensor = SampleNetwork(self._field)(samples.select(reached))
        margins = torch.minimum(self._distances(moving, 1.0), self._distances(moving, -1.0))
        wide = torch.isfinite(margins.detach()) & (margins.detach() > 0)
        reached, moving, margins = reached[wide], moving[wide], margins[wide]
        left = torch.ones(len(x), dtype=torch.bool, device=x.device).index_fill(0, reached, False)
        metrics = {
            "accuracy": (signs * values > 0).float().mean().item(),
            "projected": 1.0 - left.float().mean().item(),
            "margin": margins.detach().mean().item() if len(reached) else 0.0,
        }
        distances = lp_distance(x[reached], moving)
        loss = geometric_svm_loss(values[reached], signs[reached], distances, margins, self.lam, self.alpha, len(x))
        if bool(left.any()):
            with evaluating(self.network):
                scores = self._field(x[left]).squeeze(1)
            ones = torch.ones_like(scores)
            loss = loss + geometric_svm_loss(scores, signs[left], scores.abs(), ones, 0.0, self.alpha, len(x))
        return loss, metrics

    def _distances(self, points: Tensor, level: float) -> Tensor:
        """From p(theta) to the sample of another level set that it is projected to; infinite where that fails."""
        samples = project(self._field, points.detach(), level, max_iter=self.max_iter, backtracking=True)
        distances = lp_distance(points, SampleNetwork(self._field)(samples))
        return torch.where(samples.converged, distances, torch.inf)
