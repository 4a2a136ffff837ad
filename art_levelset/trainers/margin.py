"""
Robust training by control of the decision boundary (Section 3.2, eq. 12), and what follows from it.

F_j = f_{y_j} - max_{i != y_j} f_i is the margin of the label of a sample x_j ("hard"), or its smooth version with
log-sum-exp for the maximum ("soft"). A step, for a batch, searches the eps_j-ball of each sample for the lowest F_j and
then controls a level set of F_j near the sample, in one of two ways.

**Distances** (`distance="rho"` or `"lp"`: the paper's).

1. Where the search has found a sign change, :func:`false_position` (or :func:`project`) finds the boundary point p_j.
2. It is made differentiable in the parameters, p_j(theta) (:func:`attach`, eq. 9), and the loss is
   1/N sum_j lambda_j max(0, eps_j - sign(F_j) d(x_j, p_j(theta))).

A correctly classified sample without a sign change is far enough from the boundary: its term is zero. A *wrongly*
classified one without a sign change is the opposite, its term is the largest of all, but it has no boundary point to
be pulled by. Left out, training from scratch dies: within a few steps the network predicts one class everywhere, no
sample finds a sign change, and the loss is zero for ever. Here its distance is that to the linearised boundary, |F_j|
/ |D_xF_j|_q (one generalized Newton step for L_2; the step of the dual norm for others): the same equation, with the
distance to the nearest boundary point that is known. It needs no other loss to start from.

**Levels** (`distance="logit"`, the default). p_j is where the search ends, on the level set {F_j = c_j} that passes
there, and the loss is 1/N sum_j lambda_j log(1 + exp(-F_j(p_j))): :func:`logistic_margin_loss`. Its gradient moves that
level set away from the sample, as eq. 12 moves the zero level set (eq. 8 does not ask for c = 0), with two
differences: the weight |D_xF_j|_q of MMA in place of 1, and a smooth hinge, so every sample takes part in every step
and the logits keep a scale. Search and loss share their passes, and searches are tracked (:class:`Offsets`): a search
goes on where the sample's last one ended, and the backward pass of the loss gives it one more step for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.attacks.art_classifier import clip_box
from art_levelset.attacks.pgd import decaying_steps, pgd
from art_levelset.attacks.protocol import Attack
from art_levelset.checks import check_count
from art_levelset.core.ascent import ascend, seek_crossing
from art_levelset.core.balls import check_norm, column, random_in_ball, steepest
from art_levelset.core.bracketing import false_position
from art_levelset.core.distances import linearised_distance, lp_distance, rho
from art_levelset.core.fields import Field, jacobians_of, margin_field, soft_margin_field
from art_levelset.core.losses import logistic_margin_loss, margin_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.sample_network import attach
from art_levelset.core.samples import Status
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.execution import Execution
from art_levelset.trainers.schedules import Schedule, check_schedule, value_at
from art_levelset.trainers.tracking import Offsets

_LEAST_SPEED = 1e-3
"""The least |D_xF|_q of the linearised distance: the authors' bound on the gradient norm in their sample network."""

TRACKED_STEPS = 3
"""Of a search that goes on where the last one ended. With one step more epochs fit into the same time, and PGD sees
nothing wrong with them, but Square finds examples that the searches miss."""

UNTRACKED_STEPS = 10

_BOUNDARIES = {"hard": margin_field, "soft": soft_margin_field}

_VALIDATION_STEPS = 20


class LevelSetMarginTrainer(LoopTrainer):
    """
    Train a classifier so that its decision boundary keeps a distance from the samples (eq. 12).

    With the defaults, `fit` needs an optimizer with a learning rate for training from scratch, such as Adam with 1e-3
    or more; :class:`art_levelset.trainers.schedules.Trapezoid` with a peak of 5e-3 makes the most of few epochs on
    MNIST. The paper's own runs are in :mod:`art_levelset.trainers.presets`.

    | Paper link: https://arxiv.org/abs/1905.11911
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: Schedule,
        *,
        eps_incorrect: Schedule | None = None,
        lam: Schedule = 1.0,
        lam_incorrect: Schedule = 1.0,
        norm: float = math.inf,
        distance: Literal["logit", "rho", "lp"] = "logit",
        boundary: Literal["soft", "hard"] | None = None,
        projection: Literal["false_position", "newton"] = "false_position",
        eps_step: Schedule | None = None,
        eps_step_incorrect: Schedule | None = None,
        max_iter: int | None = None,
        tracked: bool | None = None,
        warmup: float = 0.3,
        burn_in: float = 0.03,
        seed: int | None = None,
        ema_decay: float | None = None,
        max_grad_norm: float | None = 1.0,
        execution: Execution = Execution(),
    ) -> None:
        """
        Create a trainer.

        Radii, weights and steps are numbers, or functions of the epochs done
        (:class:`art_levelset.trainers.schedules.Linear`).

        :param classifier: An ART PyTorchClassifier with an optimizer. Its `clip_values` bound the search.
        :param eps: eps_j of correctly classified samples, > 0, in units of the raw inputs: the distance to keep, and
               the radius of the search.
        :param eps_incorrect: eps_j of wrongly classified samples; None for `eps`.
        :param lam: lambda_j of correctly classified samples, >= 0.
        :param lam_incorrect: lambda_j of wrongly classified samples, >= 0.
        :param norm: `math.inf` or 2: the norm of the ball that is searched.
        :param distance: "logit" for levels; "rho", the coordinate distance of Section 3.2 (for L_inf), or "lp", the
               L_norm distance, for eq. 12.
        :param boundary: The field: "hard", the paper's, or "soft"; None for soft with "logit" and hard with distances.
        :param projection: How a distance's boundary point is found: on the segment from the sample to the sign change,
               or by generalized Newton steps from the sign change. Not used with "logit".
        :param eps_step: The length of a search step, > 0; None for eps / 3 with tracked searches and 2.5 eps / max_iter
               otherwise.
        :param eps_step_incorrect: That for wrongly classified samples; None for the same part of their eps.
        :param max_iter: The largest number of search steps a sample, >= 1; None for 3 with tracked searches and
               10 otherwise. With distances, a sample stops when it has crossed.
        :param tracked: Whether a search begins where the sample's last one ended rather than at random; None for yes
               with "logit". It needs samples that stay the same: without an order (generators) or with augmentation,
               searches begin at random.
        :param warmup: The part of the first `fit`, in [0, 1], in which the radii grow linearly from zero.
        :param burn_in: The part of the first `fit`, in [0, 1), that is ordinary training with the cross-entropy, before
               the radii begin to grow.
        :param seed: Seed of all that is random, >= 0; None to draw it from torch's global generator.
        :param ema_decay: The decay of an average of the weights; see :class:`LoopTrainer`.
        :param max_grad_norm: The largest L_2 norm of a step's gradient; None for no limit.
        :param execution: How the passes of the search are executed.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        super().__init__(classifier, seed=seed, ema_decay=ema_decay, max_grad_norm=max_grad_norm, execution=execution)
        self.eps = eps
        self.eps_incorrect = eps_incorrect
        self.lam = lam
        self.lam_incorrect = lam_incorrect
        self.norm = norm
        self.distance = distance
        self.boundary = boundary or ("soft" if distance == "logit" else "hard")
        self.projection = projection
        self.eps_step = eps_step
        self.eps_step_incorrect = eps_step_incorrect
        self.tracked = distance == "logit" if tracked is None else tracked
        self.max_iter = max_iter
        self.warmup = warmup
        self.burn_in = burn_in
        self._check_params()
        self._box = clip_box(classifier)
        self._field = _BOUNDARIES[self.boundary]
        self._grown = 0.0
        self._offsets: Offsets | None = None

    def _check_params(self) -> None:
        check_norm(self.norm)
        check_schedule("eps", self.eps)
        for name in ("eps_incorrect", "eps_step", "eps_step_incorrect"):
            if getattr(self, name) is not None:
                check_schedule(name, getattr(self, name))
        for name in ("lam", "lam_incorrect"):
            check_schedule(name, getattr(self, name), strict=False)
        if self.max_iter is not None:
            check_count("max_iter", self.max_iter)
        for name, known in (
            ("distance", ("logit", "rho", "lp")),
            ("boundary", tuple(_BOUNDARIES)),
            ("projection", ("false_position", "newton")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.distance == "rho" and self.norm != math.inf:
            raise ValueError(f"distance 'rho' belongs to norm inf; for norm {self.norm} use 'lp'")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be in [0, 1], got {self.warmup}")
        if not 0 <= self.burn_in < 1:
            raise ValueError(f"burn_in must be in [0, 1), got {self.burn_in}")
        if self.classifier.nb_classes < 2:
            raise ValueError(f"classifier: the margin needs at least two classes, got {self.classifier.nb_classes}")

    def _default_validation_attack(self) -> Attack:
        eps = value_at(self.eps, math.inf)
        box = self.classifier.clip_values
        return partial(
            pgd,
            eps=eps,
            eps_step=decaying_steps(eps, _VALIDATION_STEPS),
            max_iter=_VALIDATION_STEPS,
            loss="margin",
            norm=self.norm,
            clip_values=None if box is None else tuple(box),
        )

    def _begin(self, samples: int | None) -> None:
        shape = tuple(self.classifier.input_shape)
        if not self.tracked or samples is None:
            self._offsets = None
        elif self._offsets is None or not self._offsets.fits(samples, shape):
            self._offsets = Offsets(samples, shape)

    def _end_epoch(self) -> None:
        if self._offsets is not None:
            self._offsets.merge(self._world)

    def _state_dict(self) -> dict[str, Any]:
        return {"grown": self._grown, "offsets": None if self._offsets is None else self._offsets.state_dict()}

    def _load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._grown = state["grown"]
        if self._offsets is not None:
            self._offsets.load_state_dict(state["offsets"])

    def _batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor | None, dict[str, float]]:
        growth = self._growth()
        if growth == 0:
            return self._cross_entropy(x, y)
        correct, values = None, None
        if self.distance != "logit" or self._sides_differ():
            with torch.no_grad(), evaluating(self._network):
                values = self._field(self._network, y)(x).squeeze(1)
            correct = values > 0
        eps = growth * self._each(x, correct, self.eps, self.eps_incorrect)
        step = self._steps(x, correct, eps, growth)
        weights = self._each(x, correct, self.lam, self.lam_incorrect)
        start = self._start(x, rows, eps)
        if values is None or correct is None or self.distance == "logit":
            return self._level_loss(x, y, rows, eps, step, weights, start)
        return self._distance_loss(x, y, rows, eps, step, weights, start, values, correct)

    def _growth(self) -> float:
        """The radii as a part of their full size; 0 while burning in. What has grown in a `fit` stays for the next."""
        beyond = self.progress.fraction - self.burn_in
        if beyond >= 0:
            # The first step after the burn-in already has a radius.
            grown = 1.0 if beyond >= self.warmup else max(beyond / self.warmup, 1e-2)
            self._grown = max(self._grown, grown)
        return self._grown

    def _cross_entropy(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, float]]:
        with evaluating(self._network):
            logits = self._trained(x)
        return functional.cross_entropy(logits, y), {}

    def _sides_differ(self) -> bool:
        """Whether correctly and wrongly classified samples have other numbers."""
        return self.eps_incorrect is not None or self.eps_step_incorrect is not None or self.lam != self.lam_incorrect

    def _each(self, x: Tensor, correct: Tensor | None, right: Schedule, wrong: Schedule | None) -> Tensor:
        """One number a sample, (batch,)."""
        value = value_at(right, self.progress.epochs)
        if correct is None or wrong is None:
            return x.new_full((len(x),), value)
        return torch.where(correct, value, value_at(wrong, self.progress.epochs)).to(x.dtype)

    def _steps(self, x: Tensor, correct: Tensor | None, eps: Tensor, growth: float) -> Tensor:
        """Lengths of a search step, (batch,)."""
        if self.eps_step is None:
            steps = eps * (1 / 3 if self._offsets is not None else 2.5 / self._max_iter)
        else:
            part = value_at(self.eps_step, self.progress.epochs) / value_at(self.eps, self.progress.epochs)
            steps = eps * part
        if correct is None or self.eps_step_incorrect is None:
            return steps
        return torch.where(correct, steps, growth * value_at(self.eps_step_incorrect, self.progress.epochs))

    @property
    def _max_iter(self) -> int:
        if self.max_iter is not None:
            return self.max_iter
        return TRACKED_STEPS if self._offsets is not None else UNTRACKED_STEPS

    def _start(self, x: Tensor, rows: Tensor | None, eps: Tensor) -> Tensor:
        offsets = self._drawn(lambda count: self._random_offsets(x, count))
        start = x + column(eps, x) * offsets
        return start if self._offsets is None or rows is None else self._offsets.start(x, rows, eps, start)

    def _random_offsets(self, x: Tensor, count: int) -> Tensor:
        centres = x.new_zeros(count, *x.shape[1:])
        return random_in_ball(centres, x.new_ones(count), self.norm, self._randomness)

    def _remember(self, x: Tensor, rows: Tensor | None, ends: Tensor, eps: Tensor) -> None:
        if self._offsets is not None and rows is not None:
            self._offsets.store(x, rows, ends, eps)

    def _level_loss(
        self, x: Tensor, y: Tensor, rows: Tensor | None, eps: Tensor, step: Tensor, weights: Tensor, start: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The logistic loss at the ends of the searches, which its backward pass moves one step further."""
        searched = self._field(self._searched, y)
        with evaluating(self._network):
            ends = ascend(
                lambda points: -searched(points).squeeze(1),
                x,
                eps=eps,
                step=step,
                max_iter=self._max_iter,
                norm=self.norm,
                box=self._box,
                start=start,
            )
            if self._offsets is not None:
                ends.requires_grad_().register_hook(  # type: ignore[no-untyped-call]
                    lambda gradients: self._remember(
                        x, rows, ends.detach() + column(step, x) * steepest(gradients, self.norm), eps
                    )
                )
            values = self._field(self._trained, y)(ends).squeeze(1)
        stands = (values.detach() > 0).float().mean().item()
        figures = {"robust_accuracy": stands, "crossed": 1.0 - stands, "margin": values.detach().mean().item()}
        return logistic_margin_loss(values, weights), figures

    def _distance_loss(
        self,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        eps: Tensor,
        step: Tensor,
        weights: Tensor,
        start: Tensor,
        values: Tensor,
        correct: Tensor,
    ) -> tuple[Tensor | None, dict[str, float]]:
        """Eq. 12, with distances to boundary points where there are some."""
        field = self._field(self._network, y)
        ends, crossed = seek_crossing(
            self._field(self._searched, y),
            x,
            eps=eps,
            step=step,
            max_iter=self._max_iter,
            norm=self.norm,
            box=self._box,
            start=start,
        )
        self._remember(x, rows, ends, eps)
        margins = torch.where(correct, eps, 0.0)
        losses = []
        for measure, reached in (
            (self._boundary_distances, crossed),
            (self._linearised_distances, ~correct & ~crossed),
        ):
            found = torch.nonzero(reached).squeeze(1)
            if len(found):
                found, distances = measure(field, x, ends, found)
            if len(found):
                losses.append(margin_loss(values[found], distances, eps[found], weights[found], total=len(x)))
                margins[found] = values[found].sign() * distances.detach()
        figures = {
            "accuracy": correct.float().mean().item(),
            "crossed": crossed.float().mean().item(),
            "margin": margins.mean().item(),
        }
        return (torch.stack(losses).sum() if losses else None), figures

    def _boundary_distances(self, field: Field, x: Tensor, ends: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of the samples that crossed, those whose boundary point was found, and d(x, p(theta)) of them."""
        if self.projection == "newton":
            samples = project(field.select(rows), ends[rows], box=self._box)
            found, points = samples.converged, samples.points
        else:
            zeros = false_position(field.select(rows), x[rows], ends[rows])
            # A stalled one is bracketed to neighbouring floating-point numbers: nearer to the boundary than rounding.
            found, points = zeros.converged | (zeros.status == Status.STALLED), zeros.points
        rows = rows[found]
        moving, jacobians = attach(field.select(rows), points[found])
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
