"""
The geometric SVM (Section 3.1, eq. 11): soft-margin SVM training of a network in input space.

F_j is the margin of the label of sample x_j, positive where x_j is classified right: the label's logit less the largest
other one, for two classes +-(f_1 - f_0). (The paper writes y_j F with one F and labels +-1; S_-1 and S_1 change places
with the label, and their minimum does not.) A step projects each x_j to p^t_j on the level sets {F_j = t}, t in {0, 1,
-1}, by generalized Newton steps. With their sample networks, Delta_j = min(d(p^0_j, p^1_j), d(p^0_j, p^-1_j)) and
d = L_norm,

    1/N sum_j max(0, 1 - sign(F_j(x_j)) d(x_j, p^0_j) / Delta_j) + lambda/N sum_j Delta_j^alpha.

A point lies on the level c that its projection has reached, within a tolerance of t or, where it has failed, far from
it (Section 2.1). Delta is measured in distance per unit of F, d(p^0_j, p^t_j) / |c^t_j - c^0_j|, which is the same but
for the tolerance where all succeed, and exact for an affine F wherever they end. But distances to wrong levels must not
decide on which side a sample is: trained by them, a network that is still nearly constant, whose level sets are far
from the data if they are anywhere, learns slowly or comes to rest in a constant classifier. Where one of the three
fails (or x_j is on the boundary, so that d has no gradient), the distance is that of an affine F, |F_j(x_j)| Delta_j,
and d / Delta = |F_j(x_j)|: the ordinary hinge. That alone remains where nothing moves, in a dead network.

With `gamma` the loss is that of Elsayed et al., one Newton step: d_j = |F_j| / |D_xF_j|_q, the distance to F linearised
at the sample (1/norm + 1/q = 1, the denominator a constant for the gradient, as they have it), and

    1/N sum_j max(0, gamma - sign(F_j(x_j)) d_j).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.checks import check_count, check_positive
from art_levelset.core.distances import linearised_distance, lp_distance
from art_levelset.core.fields import Field, jacobians_of, label_margin
from art_levelset.core.losses import geometric_svm_loss, margin_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.sample_network import sample_network
from art_levelset.core.samples import LevelSetSamples
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.execution import Execution
from art_levelset.trainers.schedules import Schedule, check_schedule, value_at

_LEAST_SPEED = 1e-6
"""The least |D_xF|_q of the linearised distance: a dead network's distances stay finite."""

Loss = tuple[Tensor, dict[str, float]]


class GeometricSVMTrainer(LoopTrainer):
    """
    Train a classifier for a wide margin in input space (eq. 11): for people with little data.

    The network has a logit for each class, or one for two classes, positive for class 1. The paper's runs are in
    :mod:`art_levelset.trainers.svm_presets`.

    | Paper link: https://arxiv.org/abs/1905.11911
    | Paper link: https://arxiv.org/abs/1803.05598 (`gamma`)

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
        lam: Schedule = 0.01,
        *,
        alpha: float = -2.0,
        norm: float = 2,
        projection: Literal["sample", "boundary"] = "sample",
        max_iter: int = 20,
        tol: float = 1e-3,
        gamma: float | None = None,
        seed: int | None = None,
        ema_decay: float | None = None,
        max_grad_norm: float | None = None,
        execution: Execution = Execution(),
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer; its model returns a logit for each class, or one
               for two classes.
        :param lam: lambda, >= 0, the weight of the margin term: a number, or a function of the epochs done such as
               :class:`art_levelset.trainers.schedules.Linear`. The paper has 0.001 in Figure 1 and up to 0.2 on MNIST.
        :param alpha: The exponent of the margin term, < 0: -1 in the paper's runs; -2 with norm 2 is the SVM's for an
               affine network.
        :param norm: The norm of the distances d, in [1, inf]: `math.inf` in the paper's runs.
        :param projection: Where the projections to the level sets -1 and 1 start: at the "sample", as the paper
               approximates Delta, or at the "boundary" point p^0, from where they go onwards.
        :param max_iter: The largest number of Newton steps of a projection, >= 1.
        :param tol: |F - t| of a point that counts as being on level t, >= 0.
        :param gamma: The distance to keep in Elsayed et al.'s loss, > 0, in units of the raw inputs; None for eq. 11.
               `lam`, `alpha`, `projection`, `max_iter` and `tol` are then not used.
        :param seed: Seed of all that is random, >= 0; None to draw it from torch's global generator.
        :param ema_decay: The decay of a moving average of the weights, in [0, 1); None for no average.
        :param max_grad_norm: The largest L_2 norm of a step's gradient, > 0; None for no limit.
        :param execution: How passes are executed; projections are always exact, so only the layout matters.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier has no optimizer; the message names it.
        """
        super().__init__(classifier, seed=seed, ema_decay=ema_decay, max_grad_norm=max_grad_norm, execution=execution)
        check_schedule("lam", lam, strict=False)
        if not (alpha < 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be negative and finite, got {alpha}")
        if not norm >= 1:
            raise ValueError(f"norm must be in [1, inf], got {norm}")
        if projection not in ("sample", "boundary"):
            raise ValueError(f"projection must be 'sample' or 'boundary', got {projection!r}")
        check_count("max_iter", max_iter)
        if not 0 <= tol < 1:
            raise ValueError(f"tol must be in [0, 1), the distance between the levels, got {tol}")
        if gamma is not None:
            check_positive("gamma", gamma)
        self.lam = lam
        self.alpha = alpha
        self.norm = norm
        self.projection = projection
        self.max_iter = max_iter
        self.tol = tol
        self.gamma = gamma

    def check_outputs(self, outputs: Any, count: int) -> None:
        """
        Check what the network returns, before it is trained: a logit for each class, or one for two classes.

        :param outputs: What it has returned for some samples.
        :param count: Their number.
        :raises TypeError: If it is no tensor of floating-point numbers.
        :raises ValueError: If its shape is another, or it holds probabilities.
        """
        one = isinstance(outputs, Tensor) and outputs.shape in ((count,), (count, 1))
        if self.classifier.nb_classes != 2 or not one:
            super().check_outputs(outputs, count)

    def _margins(self, x: Tensor, y: Tensor) -> Tensor:
        """F_j, (batch,)."""
        outputs: Tensor = self.network(x)
        if outputs.dim() == 1 or outputs.shape[1] == 1:
            return outputs.reshape(-1) * (2 * y - 1).to(outputs.dtype)
        return label_margin(outputs, y)

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Loss:
        """
        Eq. 11, or Elsayed et al.'s loss.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: Not used.
        :return: The loss, and the metrics `accuracy`, `margin` (Delta, or the distance kept) and `projected`, the part
                 of the samples whose three projections have succeeded.
        """
        field = Field(self._margins, self.network, (y,))
        if self.gamma is not None:
            return linearised_loss(field, x, self.gamma, self.norm)
        at_x = project(field, x, max_iter=0)
        on_boundary, on_levels = self._project(field, at_x)
        lam = value_at(self.lam, self.progress.epochs)
        return svm_loss_at(field, at_x, on_boundary, on_levels, lam=lam, alpha=self.alpha, norm=self.norm)

    def _project(self, field: Field, at_x: LevelSetSamples) -> tuple[LevelSetSamples, LevelSetSamples]:
        """The points p^0, (batch, ...), and p^1 and p^-1, (2 batch, ...)."""
        count, x = len(at_x), at_x.points
        rows = torch.arange(count, device=x.device).repeat(3)
        options: dict[str, Any] = {"max_iter": self.max_iter, "tol": self.tol, "backtracking": True}
        levels = x.new_tensor([0.0, 1.0, -1.0]).repeat_interleave(count)
        if self.projection == "boundary":
            on_boundary = project(field, at_x, **options)
            others = rows[count:]
            return on_boundary, project(field.select(others), on_boundary.select(others), levels[count:], **options)
        samples = project(field.select(rows), at_x.select(rows), levels, **options)
        order = torch.arange(3 * count, device=x.device)
        return samples.select(order[:count]), samples.select(order[count:])


def svm_loss_at(
    field: Field,
    at_x: LevelSetSamples,
    on_boundary: LevelSetSamples,
    on_levels: LevelSetSamples,
    *,
    lam: float,
    alpha: float,
    norm: float,
) -> Loss:
    """
    Eq. 11 of samples whose projections are known, differentiable in the parameters.

    :param field: F_j of the samples.
    :param at_x: The samples themselves, each on its own level F_j(x_j), (batch, ...).
    :param on_boundary: Their projections to the level 0, (batch, ...).
    :param on_levels: Those to the level 1, and after them those to -1, (2 batch, ...).
    :param lam: lambda, >= 0.
    :param alpha: The exponent, < 0.
    :param norm: The norm of the distances, in [1, inf].
    :return: The loss, and the metrics `accuracy`, `margin` and `projected`.
    """
    count, x = len(at_x), at_x.points
    rows = torch.arange(count, device=x.device).repeat(3)
    points = torch.cat([on_boundary.points, on_levels.points])
    jacobians = torch.cat([on_boundary.jacobians, on_levels.jacobians])
    reached = torch.cat([on_boundary.converged, on_levels.converged]).reshape(3, count)
    levels = torch.cat([on_boundary.values, on_levels.values]).reshape(3, count)
    everywhere = reached.all(dim=0)
    moved = (on_boundary.points != x).flatten(1).any(dim=1)
    scores = _scores(field, at_x, ~(everywhere & moved))
    known = torch.isfinite(points.flatten(1)).all(dim=1).reshape(3, count).all(dim=0)
    known &= torch.isfinite(levels).all(dim=0) & (levels[1:] != levels[0]).all(dim=0) & (scores != 0)
    kept = torch.nonzero(known).squeeze(1)

    moving = sample_network(field.select(rows), points, jacobians).reshape(3, count, *x.shape[1:])[:, kept]
    gaps = (levels[1:] - levels[0]).abs()[:, kept]
    sides = torch.stack([lp_distance(moving[0], side, norm) for side in moving[1:]]).div(gaps)
    margins = sides.amin(dim=0)
    values, found = scores[kept], (everywhere & moved)[kept]
    part = torch.where(found, values / (values - levels[0, kept]), 1.0).detach()  # of the way to the level 0 exactly
    distances = torch.where(found, part * lp_distance(x[kept], moving[0], norm), values.abs() * margins)
    signs = torch.ones_like(margins)
    loss = geometric_svm_loss(values, signs, distances, margins, lam, alpha, count)
    if not bool(known.all()):
        loss = loss + functional.relu(1 - scores[~known]).sum() / count
    return loss, {
        "accuracy": (scores.detach() > 0).float().mean().item(),
        "projected": everywhere.float().mean().item(),
        "margin": margins.detach().mean().item() if len(kept) else 0.0,
    }


def linearised_loss(field: Field, x: Tensor, gamma: float, norm: float) -> Loss:
    """
    The large-margin loss of Elsayed et al., differentiable in the parameters.

    :param field: F_j of the samples.
    :param x: The samples, (batch, ...).
    :param gamma: The distance to keep, > 0.
    :param norm: The norm of the distances, in [1, inf].
    :return: The loss, and the metrics `accuracy`, `margin` and `projected` (always 1).
    """
    leaves = x.detach().clone().requires_grad_()
    with torch.enable_grad(), evaluating(field.module):
        values = field(leaves)
        jacobians = jacobians_of(values, leaves, retain_graph=True)
    values = values.squeeze(1)
    distances = linearised_distance(values, jacobians, norm, floor=_LEAST_SPEED)
    return margin_loss(values, distances, gamma), {
        "accuracy": (values.detach() > 0).float().mean().item(),
        "projected": 1.0,
        "margin": distances.detach().mean().item(),
    }


def _scores(field: Field, at_x: LevelSetSamples, rows: Tensor) -> Tensor:
    """F_j(x_j), (batch,); differentiable in the parameters in some rows, where the loss needs it."""
    scores = at_x.values.squeeze(1)
    rows = torch.nonzero(rows).squeeze(1)
    if not len(rows):
        return scores
    with evaluating(field.module):
        return scores.index_put((rows,), field.select(rows)(at_x.points[rows]).squeeze(1))
