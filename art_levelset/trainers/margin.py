"""
Robust training by control of the decision boundary (Section 3.2, eq. 12).

A step, for a batch (x_j, y_j) with the label margins F_j = f_{y_j} - max_{i != y_j} f_i:

1. look for a sign change of F_j in the eps_j-ball of x_j (:func:`seek_crossing`);
2. find the boundary point p_j on the segment to it (:func:`false_position`);
3. make it differentiable in the parameters, p_j(theta) (:func:`attach`, eq. 9), and minimise
   1/N sum_j lambda_j max(0, eps_j - sign(F_j) d(x_j, p_j(theta))).

A correctly classified sample without a sign change is far enough from the boundary: its term is zero. A *wrongly*
classified one without a sign change is the opposite, its term is the largest of all, but it has no boundary point to
be pulled by. Left out, training from scratch dies: within a few steps the network predicts one class everywhere, no
sample finds a sign change, and the loss is zero for ever. Here its distance is that to the linearised boundary, |F_j|
/ |D_xF_j|_q (one generalized Newton step for L_2; the step of the dual norm for others): the same equation, with the
distance to the nearest boundary point that is known. It needs no other loss to start from.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

from art_levelset.adapters._bridge import clip_box
from art_levelset.core.balls import check_norm
from art_levelset.core.bracketing import false_position
from art_levelset.core.crossing import seek_crossing
from art_levelset.core.distances import linearised_distance, lp_distance, rho
from art_levelset.core.fields import Field, jacobians_of, margin
from art_levelset.core.losses import margin_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.sample_network import attach
from art_levelset.core.samples import Status
from art_levelset.trainers._loop import LoopTrainer
from art_levelset.trainers.execution import Execution

_LEAST_SPEED = 1e-3
"""The least |D_xF|_q of the linearised distance: the authors' bound on the gradient norm in their sample network."""


class LevelSetMarginTrainer(LoopTrainer):
    """
    Train a classifier so that its decision boundary keeps the distance eps from the samples (eq. 12).

    | Paper link: https://arxiv.org/abs/1905.11911
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float,
        *,
        eps_incorrect: float | None = None,
        lam: float = 1.0,
        norm: float = math.inf,
        distance: Literal["rho", "lp"] = "rho",
        eps_step: float | None = None,
        max_iter: int = 10,
        seed: int | None = None,
        ema_decay: float | None = None,
        max_grad_norm: float | None = None,
        execution: Execution = Execution(),
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer. Its `clip_values` bound the search.
        :param eps: eps_j of correctly classified samples, > 0, in units of the raw inputs: the distance to keep. The
               paper trains with a somewhat larger one than it defends against (0.4 for 0.3).
        :param eps_incorrect: eps_j of wrongly classified samples; None for `eps`.
        :param lam: lambda_j of correctly classified samples, >= 0; that of wrongly classified ones is 1.
        :param norm: `math.inf` or 2: the norm of the ball that is searched.
        :param distance: "rho", the coordinate distance of Section 3.2 (for L_inf), or "lp", the L_norm distance.
        :param eps_step: The length of a search step for correctly classified samples, > 0, scaled by
               eps_incorrect / eps for the others; None for 2.5 eps / max_iter.
        :param max_iter: The largest number of search steps a sample, >= 1. A sample stops when it has crossed.
        :param seed: Seed of all that is random, >= 0; None to draw it from torch's global generator.
        :param ema_decay: The decay of a moving average of the weights, in [0, 1); None for no average.
        :param max_grad_norm: The largest L_2 norm of a step's gradient, > 0; None for no limit.
        :param execution: How the passes of the search are executed.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        super().__init__(classifier, seed=seed, ema_decay=ema_decay, max_grad_norm=max_grad_norm, execution=execution)
        self.eps = eps
        self.eps_incorrect = eps if eps_incorrect is None else eps_incorrect
        self.lam = lam
        self.norm = norm
        self.distance = distance
        self.max_iter = max_iter
        self.eps_step = 2.5 * eps / max(max_iter, 1) if eps_step is None else eps_step
        self._check_params()
        self._box = clip_box(classifier)

    def _check_params(self) -> None:
        check_norm(self.norm)
        for name in ("eps", "eps_incorrect", "eps_step"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not (self.lam >= 0 and math.isfinite(self.lam)):
            raise ValueError(f"lam must be >= 0 and finite, got {self.lam}")
        if self.max_iter < 1:
            raise ValueError(f"max_iter must be >= 1, got {self.max_iter}")
        if self.distance not in ("rho", "lp"):
            raise ValueError(f"distance must be 'rho' or 'lp', got {self.distance!r}")
        if self.distance == "rho" and self.norm != math.inf:
            raise ValueError(f"distance 'rho' belongs to norm inf; for norm {self.norm} use 'lp'")
        if self.classifier.nb_classes < 2:
            raise ValueError(f"classifier: the margin needs at least two classes, got {self.classifier.nb_classes}")

    def _batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor | None, dict[str, float]]:
        field = margin(self._network, y)
        with torch.no_grad(), evaluating(field.module):
            values = field(x).squeeze(1)
        correct = values > 0
        eps = torch.where(correct, self.eps, self.eps_incorrect).to(x.dtype)
        ends, crossed = seek_crossing(
            margin(self._searched, y),
            x,
            eps=eps,
            step=eps * (self.eps_step / self.eps),
            max_iter=self.max_iter,
            norm=self.norm,
            box=self._box,
            generator=self._randomness,
        )
        figures = {"accuracy": correct.float().mean().item(), "crossed": crossed.float().mean().item()}
        losses = []
        for measure, reached in (
            (self._boundary_distances, crossed),
            (self._linearised_distances, ~correct & ~crossed),
        ):
            found = torch.nonzero(reached).squeeze(1)
            if len(found):
                found, distances = measure(field, x, ends, found)
            if len(found):
                weights = torch.where(correct[found], self.lam, 1.0)
                losses.append(margin_loss(values[found], distances, eps[found], weights, total=len(x)))
        return (torch.stack(losses).sum() if losses else None), figures

    def _boundary_distances(self, field: Field, x: Tensor, ends: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of the samples that crossed, those whose boundary point was found, and d(x, p(theta)) of them."""
        zeros = false_position(field.select(rows), x[rows], ends[rows])
        # A stalled one is bracketed to neighbouring floating-point numbers: nearer to the boundary than rounding.
        found = zeros.converged | (zeros.status == Status.STALLED)
        rows = rows[found]
        moving, jacobians = attach(field.select(rows), zeros.points[found])
        if self.distance == "rho":
            return rows, rho(x[rows], moving, jacobians)
        return rows, lp_distance(x[rows], moving, self.norm)

    def _linearised_distances(self, field: Field, x: Tensor, ends: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of the wrong samples that did not cross, those with a gradient, and their linearised distances."""
        leaves = x[rows].requires_grad_()
        with torch.enable_grad(), evaluating(field.module):
            values = field.select(rows)(leaves)
            jacobians = jacobians_of(values, leaves, retain_graph=True)
        steep = (jacobians != 0).flatten(1).any(dim=1)
        return rows[steep], linearised_distance(values[steep], jacobians[steep], self.norm, floor=_LEAST_SPEED)
