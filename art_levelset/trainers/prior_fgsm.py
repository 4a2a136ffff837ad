"""
FGSM-PGI: adversarial training with one step of the sign of the gradient, from where the sample's last step ended.

With delta_j the perturbation of sample j in the epoch before (a random one in the first), and Proj on to the ball of
radius eps in L_inf and the box of valid inputs, a visit makes

    delta_j' = Proj(delta_j + alpha sign(D_x CE(f(x_j + delta_j), y_j)))

and the loss is

    1/N sum_j [CE(f(x_j + delta_j'), y_j) + lambda/C |f(x_j + delta_j') - f(x_j + delta_j)|_2^2],

C the number of classes, with the gradient of both outputs. The prior perturbation is a good start, and the second term
keeps the network from what makes single-step training collapse: outputs that differ much over one step.

This is the paper's FGSM-EP, whose prior is that of the last epoch. The average over the classes is the published
code's; the paper writes the squared norm. Its label smoothing and its restart of the perturbations after many epochs
are left out. Perturbations are kept as :class:`art_levelset.trainers.tracking.Offsets`. They need samples that are
known again: without an order (generators), or with augmentation that does more than move pixels, each step begins at
random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.checks import check_not_negative
from art_levelset.core.ascent import ascend
from art_levelset.core.balls import walls
from art_levelset.core.modes import evaluating
from art_levelset.tensors import check_form
from art_levelset.trainers.adversarial import Found, PGDTrainer, accuracy
from art_levelset.trainers.tracking import Offsets


class FGSMPGITrainer(PGDTrainer):
    """
    Adversarial training with one step from the sample's last perturbation, in L_inf.

    | Paper link: https://arxiv.org/abs/2207.08859

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset.trainers import FGSMPGITrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = FGSMPGITrainer(classifier, eps=0.05, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        eps: float,
        *,
        eps_step: float | None = None,
        lam: float = 10.0,
        **options: Any,
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer. Its `clip_values` bound the points.
        :param eps: Radius of the L_inf ball, > 0, in units of the raw inputs.
        :param eps_step: alpha, the length of the step, > 0; None for `eps`.
        :param lam: lambda >= 0, the weight of the change of the outputs.
        :param options: `warmup`, `seed`, `ema_decay`, `max_grad_norm` and `execution`, as for :class:`PGDTrainer`.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        step = eps if eps_step is None else eps_step
        super().__init__(classifier, eps, eps_step=step, max_iter=1, norm=math.inf, num_random_init=1, **options)
        check_not_negative("lam", lam)
        self.lam = lam
        self._perturbations: Offsets | None = None

    def find(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Found:
        """
        Where the step begins and ends, which is remembered.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        :return: The beginnings and the ends, (batch, ...) each.
        """
        radius = self.radii(x)
        start = x + self.draw(lambda count: self._offsets(x, count))
        if self._perturbations is not None and rows is not None:
            start = self._perturbations.start(x, rows, radius, start, self._moves)
        start = torch.clamp(start, *walls(self.box, x))
        with evaluating(self.network):
            points = ascend(
                lambda moved: functional.cross_entropy(self.searched_network(moved), y, reduction="none"),
                x,
                eps=radius,
                step=self.steps(x),
                max_iter=1,
                box=self.box,
                start=start,
            )
        if self._perturbations is not None and rows is not None:
            self._perturbations.store(x, rows, points, radius, self._moves)
        return start, points

    def loss_at(
        self, network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, found: Found
    ) -> tuple[Tensor, dict[str, float]]:
        """
        The cross-entropy at the end of the step, and the change of the outputs along it.

        :param network: The network.
        :param x: Not used.
        :param y: Integer labels, (batch,).
        :param found: Where the steps begin and end.
        :return: The loss, and the metrics `robust_accuracy` and `change`, the mean squared change of the outputs.
        """
        start, points = found
        before, logits = network(start), network(points)
        change = functional.mse_loss(logits, before)
        loss = functional.cross_entropy(logits, y) + self.lam * change
        return loss, {"robust_accuracy": accuracy(logits, y), "change": change.item()}

    @property
    def remembers(self) -> bool:
        """Where the steps end."""
        return True

    def begin_fit(self, samples: int | None) -> None:
        """
        Make room for the perturbations, or go on from those of an earlier `fit` of as many samples.

        :param samples: Samples of the data set; None where batches come without their numbers.
        """
        shape = tuple(self.classifier.input_shape)
        if samples is None:
            self._perturbations = None
        elif self._perturbations is None or not self._perturbations.fits(samples, shape):
            self._perturbations = Offsets(samples, shape)

    def end_epoch(self) -> None:
        """Tell all processes the perturbations."""
        if self._perturbations is not None:
            self._perturbations.merge(self._world)

    def state_dict(self) -> dict[str, Any]:
        """
        The state between two epochs of a `fit`.

        :return: That of the loop, and the perturbations.
        """
        offsets = None if self._perturbations is None else self._perturbations.state_dict()
        return {**super().state_dict(), "trainer": {"offsets": offsets}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a state.

        :param state: What :meth:`state_dict` returned.
        :raises ValueError: If the network is another.
        """
        super().load_state_dict(state)
        check_form("trainer", state["trainer"], self.state_dict()["trainer"])
        if self._perturbations is not None:
            self._perturbations.load_state_dict(state["trainer"]["offsets"])
