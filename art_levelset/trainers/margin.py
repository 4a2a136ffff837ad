"""
Robust training by control of the decision boundary (Section 3.2, eq. 12), and what follows from it.

F_j = f_{y_j} - max_{i != y_j} f_i is the margin of the label of a sample x_j ("hard"), or its smooth version with
log-sum-exp for the maximum ("soft"). A step, for a batch, searches the eps_j-ball of each sample for the lowest F_j and
then controls a level set of F_j near the sample, in one of three ways: :mod:`~art_levelset.trainers.levels`, the
default, and :mod:`~art_levelset.trainers.linearised` at the ends of the searches, by values and by distances, or
:mod:`~art_levelset.trainers.distances`, the paper's, at boundary points.

Searches of the first two are tracked (:class:`Offsets`): a search goes on where the sample's last one ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.attacks.pgd import decaying_steps, pgd
from art_levelset.attacks.protocol import Attack
from art_levelset.checks import check_count, check_not_negative, check_positive
from art_levelset.core.balls import check_norm, column, random_in_ball
from art_levelset.core.fields import margin_field, soft_margin_field
from art_levelset.core.modes import evaluating
from art_levelset.tensors import check_form
from art_levelset.trainers.base import LoopTrainer
from art_levelset.trainers.distances import distance_loss
from art_levelset.trainers.execution import Execution
from art_levelset.trainers.levels import EVERY, level_loss
from art_levelset.trainers.linearised import linearised_loss
from art_levelset.trainers.schedules import Schedule, check_schedule, value_at
from art_levelset.trainers.search import Loss, Search, values_of
from art_levelset.trainers.tracking import Offsets

TRACKED_STEPS = 3
"""Of a search that goes on where the last one ended. With one step more epochs fit into the same time, and PGD sees
nothing wrong with them, but Square finds examples that the searches miss."""

UNTRACKED_STEPS = 10

_BOUNDARIES = {"hard": margin_field, "soft": soft_margin_field}

_AT_ENDS = ("logit", "linearised")
"""Losses at the ends of the searches."""

_VALIDATION_STEPS = 20


class LevelSetMarginTrainer(LoopTrainer):
    """
    Train a classifier so that its decision boundary keeps a distance from the samples (eq. 12).

    With the defaults, `fit` needs an optimizer with a learning rate for training from scratch, such as Adam with 1e-3
    or more; :class:`art_levelset.trainers.schedules.Trapezoid` with a peak of 5e-3 makes the most of few epochs on
    MNIST. The paper's own runs are in :mod:`art_levelset.trainers.presets`.

    | Paper link: https://arxiv.org/abs/1905.11911

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset import LevelSetMarginTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = LevelSetMarginTrainer(classifier, eps=0.05, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
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
        distance: Literal["logit", "linearised", "rho", "lp"] = "logit",
        boundary: Literal["soft", "hard"] | None = None,
        projection: Literal["false_position", "newton"] = "false_position",
        sharpness: float = 8.0,
        consistency: float = 0.0,
        eps_step: Schedule | None = None,
        eps_step_incorrect: Schedule | None = None,
        max_iter: int | None = None,
        halvings: Sequence[int] = (),
        tracked: float | None = None,
        offsets_dir: str | Path | None = None,
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
        :param distance: "logit" for levels; "linearised" for eq. 12 with a smooth hinge on linearised distances; "rho",
               the coordinate distance of Section 3.2 (for L_inf), or "lp", the L_norm distance, for eq. 12 itself.
        :param boundary: The field: "hard", the paper's, or "soft"; None for hard with "rho" and "lp", else soft.
        :param projection: How the boundary point of "rho" and "lp" is found: on the segment from the sample to the sign
               change, or by generalized Newton steps from the sign change.
        :param sharpness: Of the hinge of "linearised", > 0, in units of one over the radius that `eps` ends with.
        :param consistency: Of "logit", >= 0: the weight of the mean squared change of F_j from where a search begins to
               where it ends; 0.5 for searches of one long step (`max_iter=1`, `eps_step=eps`).
        :param eps_step: The length of a search step, > 0; None for eps / 3 with tracked searches, 2.5 eps / max_iter
               with distances or `eps_step_incorrect`, and otherwise for lengths that fall to nearly 0 in the course of
               a search, of which the first is eps / 2 to 2 eps, as chance has it for each sample.
        :param eps_step_incorrect: That for wrongly classified samples; None for the same part of their eps.
        :param max_iter: The largest number of search steps a sample, >= 1; None for 3 with tracked searches and
               10 otherwise. With distances, a sample stops when it has crossed.
        :param halvings: Of "logit", numbers of steps, rising and less than `max_iter`, after which a search that begins
               anew goes on for only the half of the batch whose F_j is lowest; those that the first halving leaves out
               have no part in the loss. (1, 3) makes a step less than half as costly. It is for problems of which
               nearly all samples can be withstood, as of MNIST: elsewhere the network becomes unsure.
        :param tracked: Whether a search begins where the sample's last one ended rather than at random, or the part of
               each `fit`, in [0, 1], in which it does, from the beginning on; None for all of it with "logit" and
               "linearised" without halvings, and otherwise for none. It needs samples that are known again: without an
               order (generators), or with augmentation that does more than move pixels, searches begin at random.
        :param offsets_dir: A folder for the ends of tracked searches, one byte an entry of a sample, in a file that is
               gone with the process; None to keep them in main memory.
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
        self.boundary = boundary or ("soft" if distance in _AT_ENDS else "hard")
        self.projection = projection
        self.sharpness = sharpness
        self.consistency = consistency
        self.eps_step = eps_step
        self.eps_step_incorrect = eps_step_incorrect
        self.tracked = float(distance in _AT_ENDS and not len(halvings)) if tracked is None else tracked
        self.max_iter = max_iter
        self.halvings = tuple(halvings)
        self.warmup = warmup
        self.burn_in = burn_in
        self._check_params()
        self._field = _BOUNDARIES[self.boundary]
        self._objective = self._objective_of(distance)
        self._offsets_dir = None if offsets_dir is None else Path(offsets_dir)
        if self._offsets_dir is not None and not self._offsets_dir.is_dir():
            raise ValueError(f"offsets_dir must be a folder, got {self._offsets_dir}")
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
        check_positive("sharpness", self.sharpness)
        check_not_negative("consistency", self.consistency)
        if self.consistency and self.distance != "logit":
            raise ValueError(f"consistency is for distance 'logit', got {self.distance!r}")
        self._check_halvings()
        for name, known in (
            ("distance", (*_AT_ENDS, "rho", "lp")),
            ("boundary", tuple(_BOUNDARIES)),
            ("projection", ("false_position", "newton")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.distance == "rho" and self.norm != math.inf:
            raise ValueError(f"distance 'rho' belongs to norm inf; for norm {self.norm} use 'lp'")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must be in [0, 1], got {self.warmup}")
        if not 0 <= self.tracked <= 1:
            raise ValueError(f"tracked must be in [0, 1], got {self.tracked}")
        if not 0 <= self.burn_in < 1:
            raise ValueError(f"burn_in must be in [0, 1), got {self.burn_in}")
        if self.classifier.nb_classes < 2:
            raise ValueError(f"classifier: the margin needs at least two classes, got {self.classifier.nb_classes}")

    def _check_halvings(self) -> None:
        if not self.halvings:
            return
        for count in self.halvings:
            check_count("halvings", count)
        most = UNTRACKED_STEPS if self.max_iter is None else self.max_iter
        if list(self.halvings) != sorted({*self.halvings} & {*range(most)}):
            raise ValueError(f"halvings must be rising numbers of steps below {most}, got {self.halvings}")
        for name, other in (("distance", self.distance != "logit"), ("consistency", self.consistency > 0)):
            if other:
                raise ValueError(
                    f"halvings are for distance 'logit' without consistency, got {name} {getattr(self, name)!r}"
                )
        if self.tracked == 1:
            raise ValueError("halvings are of searches that begin anew: tracked must be less than 1")

    def _objective_of(self, distance: Literal["logit", "linearised", "rho", "lp"]) -> Callable[[Search], Loss]:
        if distance == "logit":
            return partial(level_loss, consistency=self.consistency)
        if distance == "linearised":
            return partial(linearised_loss, sharpness=self.sharpness / value_at(self.eps, math.inf))
        return partial(distance_loss, distance=distance, projection=self.projection)

    def default_validation_attack(self) -> Attack:
        """
        PGD on the margin, with the trainer's norm and the radius that its schedule ends with.

        :return: The attack.
        """
        eps = value_at(self.eps, math.inf)
        return partial(
            pgd,
            eps=eps,
            eps_step=decaying_steps(eps, _VALIDATION_STEPS),
            max_iter=_VALIDATION_STEPS,
            loss="margin",
            norm=self.norm,
            clip_values=self.box,
        )

    @property
    def remembers(self) -> bool:
        """Whether searches are tracked, at least at first."""
        return self.tracked > 0

    def begin_fit(self, samples: int | None) -> None:
        """
        Make room for the ends of searches, or go on from those of an earlier `fit` of as many samples that tracked all.

        :param samples: Samples of the data set; None where batches come without their numbers.
        """
        shape = tuple(self.classifier.input_shape)
        if not self.remembers or samples is None:
            self._offsets = None
        elif self.tracked < 1 or self._offsets is None or not self._offsets.fits(samples, shape):
            self._offsets = Offsets(samples, shape, self._offsets_dir)

    def end_epoch(self) -> None:
        """Tell all processes where searches have ended."""
        if self._offsets is not None:
            self._offsets.merge(self._world)

    def state_dict(self) -> dict[str, Any]:
        """
        The state between two epochs of a `fit`.

        :return: That of the loop, how far the radii have grown, and where searches have ended.
        """
        offsets = None if self._offsets is None else self._offsets.state_dict()
        return {**super().state_dict(), "trainer": {"grown": self._grown, "offsets": offsets}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a state.

        :param state: What :meth:`state_dict` returned.
        :raises ValueError: If the network is another.
        """
        super().load_state_dict(state)
        check_form("trainer", state["trainer"], self.state_dict()["trainer"])
        self._grown = state["trainer"]["grown"]
        if self._offsets is not None:
            self._offsets.load_state_dict(state["trainer"]["offsets"])

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Loss:
        """
        The loss of levels or of distances; the cross-entropy while burning in.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        :return: The loss, and its metrics.
        """
        growth = self._growth()
        if growth == 0:
            with evaluating(self.network):
                logits = self.trained_network(x)
            return functional.cross_entropy(logits, y), {}
        return self._objective(self._search(x, y, rows, growth))

    def _search(self, x: Tensor, y: Tensor, rows: Tensor | None, growth: float) -> Search:
        field = self._field(self.network, y)
        values = values_of(field, x) if self._sides_differ() else None
        correct = None if values is None else values > 0
        eps = growth * self._each(x, correct, self.eps, self.eps_incorrect)
        return Search(
            x=x,
            field=field,
            searched=self._field(self.searched_network, y),
            trained=self._field(self.trained_network, y),
            start=self._start(x, rows, eps),
            eps=eps,
            step=self._steps(correct, eps, growth),
            weights=self._each(x, correct, self.lam, self.lam_incorrect),
            max_iter=self._max_iter,
            norm=self.norm,
            box=self.box,
            values=values,
            remember=None if rows is None else self._remembering(x, rows, eps),
            halvings=self._halvings,
            goes_on=self._lower_half,
            watched=self._watched() if self.consistency else None,
        )

    def _growth(self) -> float:
        """The radii as a part of their full size; 0 while burning in. What has grown in a `fit` stays for the next."""
        beyond = self.progress.fraction - self.burn_in
        if beyond >= 0:
            # The first step after the burn-in already has a radius.
            grown = 1.0 if beyond >= self.warmup else max(beyond / self.warmup, 1e-2)
            self._grown = max(self._grown, grown)
        return self._grown

    def _sides_differ(self) -> bool:
        """Whether correctly and wrongly classified samples have other numbers."""
        return self.eps_incorrect is not None or self.eps_step_incorrect is not None or self.lam != self.lam_incorrect

    def _each(self, x: Tensor, correct: Tensor | None, right: Schedule, wrong: Schedule | None) -> Tensor:
        """One number a sample, (batch,)."""
        value = value_at(right, self.progress.epochs)
        if correct is None or wrong is None:
            return x.new_full((len(x),), value)
        return torch.where(correct, value, value_at(wrong, self.progress.epochs)).to(x.dtype)

    def _steps(self, correct: Tensor | None, eps: Tensor, growth: float) -> Tensor:
        """Lengths of a search step, (batch,), or of each, (max_iter, batch)."""
        given = self.eps_step is not None or self.eps_step_incorrect is not None
        if not given and not self._tracking and self.distance in _AT_ENDS:
            return self._falling(eps)
        if self.eps_step is None:
            steps = eps * (1 / 3 if self._tracking else 2.5 / self._max_iter)
        else:
            part = value_at(self.eps_step, self.progress.epochs) / value_at(self.eps, self.progress.epochs)
            steps = eps * part
        if correct is None or self.eps_step_incorrect is None:
            return steps
        return torch.where(correct, steps, growth * value_at(self.eps_step_incorrect, self.progress.epochs))

    def _falling(self, eps: Tensor) -> Tensor:
        """Lengths that fall to nearly 0, (max_iter, batch); the first is half a radius to two, as chance has it."""
        device = self.randomness.device
        powers = self.draw(lambda count: 2 * torch.rand(count, generator=self.randomness, device=device) - 1)
        shares = 1 - torch.arange(self._max_iter, dtype=eps.dtype, device=eps.device) / self._max_iter
        return shares.unsqueeze(1) * (eps * 2**powers)

    @property
    def _max_iter(self) -> int:
        if self.max_iter is not None:
            return self.max_iter
        return TRACKED_STEPS if self._tracking else UNTRACKED_STEPS

    @property
    def _tracking(self) -> bool:
        """Whether searches are tracked now."""
        return self._offsets is not None and (self.tracked == 1 or self.progress.fraction < self.tracked)

    @property
    def _halvings(self) -> tuple[int, ...]:
        """Where searches are halved now; not where a process without samples cannot tell which ones are low."""
        return () if self._tracking or self._union < self._world.size else self.halvings

    def _lower_half(self, values: Tensor) -> Tensor:
        """Which samples are in the lower half of those of the union batch with a finite value, (batch,), bool."""
        union = values.new_zeros(self._union)
        union[self._world.share(self._union)] = values
        union = self._world.sum(union)
        bound = union.kthvalue((int(union.isfinite().sum()) + 1) // 2 or 1).values
        return ~(values > bound)  # not a number: it goes on, and the step is refused

    def _start(self, x: Tensor, rows: Tensor | None, eps: Tensor) -> Tensor:
        offsets = self.draw(lambda count: self._random_offsets(x, count))
        start = x + column(eps, x) * offsets
        if self._offsets is None or not self._tracking or rows is None:
            return start
        return self._offsets.start(x, rows, eps, start, self._moves)

    def _watched(self) -> Tensor:
        """What samples count that stand for the batch, one in four, as chance has it, (batch,)."""

        def drawn(count: int) -> Tensor:
            order = torch.randperm(count, generator=self.randomness, device=self.randomness.device)
            return torch.where(order % EVERY == 0, count / math.ceil(count / EVERY), 0.0)

        return self.draw(drawn)

    def _random_offsets(self, x: Tensor, count: int) -> Tensor:
        centres = x.new_zeros(count, *x.shape[1:])
        return random_in_ball(centres, x.new_ones(count), self.norm, self.randomness)

    def _remembering(self, x: Tensor, rows: Tensor, eps: Tensor) -> Callable[[Tensor], None] | None:
        offsets, moves = self._offsets if self._tracking else None, self._moves
        return None if offsets is None else lambda ends: offsets.store(x, rows, ends, eps, moves)
