"""
N-FGSM: adversarial training with one step of the sign of the gradient, from a point in strong noise.

    x_j' = x_j + eta_j + alpha sign(D_x CE(f(x_j + eta_j), y_j)),   eta_j uniform in [-k eps, k eps]^d,

and the loss is 1/N sum_j CE(f(x_j'), y_j). The noise reaches beyond the ball of radius eps, and the point is not
brought back into it. Training with a single step and less noise often ends in catastrophic overfitting: robust against
that step, and against no attack of several. The noise, as augmentation of the data, prevents it up to larger radii.

Noise and point stay in the box of valid inputs, as in the published code. There, the gradient is taken in training
mode; here in evaluation mode, as in all searches of :mod:`art_levelset.trainers.adversarial`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.checks import check_not_negative
from art_levelset.core.ascent import ascend
from art_levelset.core.balls import walls
from art_levelset.core.modes import evaluating
from art_levelset.trainers.adversarial import Found, MadryTrainer


class NFGSMTrainer(MadryTrainer):
    """
    Adversarial training with one step from strong noise, in L_inf.

    | Paper link: https://arxiv.org/abs/2202.01181

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset.trainers import NFGSMTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = NFGSMTrainer(classifier, eps=0.05, seed=0)
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
        noise: float = 2.0,
        **options: Any,
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer. Its `clip_values` bound noise and points.
        :param eps: Radius of the L_inf ball that the network shall withstand, > 0, in units of the raw inputs.
        :param eps_step: alpha, the length of the step, > 0; None for `eps`.
        :param noise: k >= 0, the largest entry of the noise in units of `eps`.
        :param options: `warmup`, `seed`, `ema_decay`, `max_grad_norm` and `execution`, as for :class:`MadryTrainer`.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        step = eps if eps_step is None else eps_step
        super().__init__(classifier, eps, eps_step=step, max_iter=1, norm=math.inf, num_random_init=1, **options)
        check_not_negative("noise", noise)
        self.noise = noise

    def find(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Found:
        """
        The points one step from the noise.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: Not used.
        :return: The points, (batch, ...).
        """
        noisy = x + self.noise * self.draw(lambda count: self._offsets(x, count))
        noisy = torch.clamp(noisy, *walls(self.box, x))
        length = self.steps(x)
        with evaluating(self.network):
            points = ascend(
                lambda moved: functional.cross_entropy(self.searched_network(moved), y, reduction="none"),
                noisy,
                eps=length,
                step=length,
                max_iter=1,
                box=self.box,
            )
        return (points,)
