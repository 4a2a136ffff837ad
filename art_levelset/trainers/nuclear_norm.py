"""
NuAT: one-step adversarial training with the nuclear norm of the change of a batch's logits.

With X the B samples of a batch, X' their perturbed ones, f(X) the (B, classes) matrix of logits, and |.|_* the nuclear
norm, the sum of the singular values, the loss and the quantity that the search makes large are

    1/B [sum_j CE(f(x_j), y_j) + lambda |f(X') - f(X)|_*],   1/B [sum_j CE(f(x_j'), y_j) + lambda |f(X') - f(X)|_*].

The search begins at x_j + eps/2 s with signs s drawn at random, and makes one step of the sign of the gradient, as long
as the radius, back into ball and box. The nuclear norm bounds the Frobenius norm, and it is large where samples change
in many independent ways: so one step finds perturbations of more kinds than with the cross-entropy.

As in the paper lambda grows linearly from 0 in the course of the training. The published code leaves the nuclear norm
out of the search in every second batch; here it is always there. A sample's point depends on the others of its batch.
With several processes the norm is that of each one's share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.nn import functional

from art_levelset.checks import check_not_negative
from art_levelset.core.ascent import ascend
from art_levelset.core.modes import evaluating
from art_levelset.trainers.adversarial import Found, PGDTrainer, accuracy


class NuATTrainer(PGDTrainer):
    """
    Nuclear-norm adversarial training, in L_inf.

    | Paper link: https://proceedings.neurips.cc/paper/2021/hash/62889e73828c756c961c5a6d6c01a463-Abstract.html

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset.trainers import NuATTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = NuATTrainer(classifier, eps=0.05, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(
        self, classifier: PyTorchClassifier, eps: float, *, lam: float = 4.5, lam_warmup: float = 0.9, **options: Any
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer. Its `clip_values` bound the points.
        :param eps: Radius of the L_inf ball, and length of the step, > 0, in units of the raw inputs.
        :param lam: lambda >= 0, the weight of the nuclear norm at the end.
        :param lam_warmup: The part of a `fit`, in [0, 1], in which it grows linearly from 0.
        :param options: `warmup`, `seed`, `ema_decay`, `max_grad_norm` and `execution`, as for :class:`PGDTrainer`.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier cannot be trained; the message names it.
        """
        super().__init__(classifier, eps, eps_step=eps, max_iter=1, norm=math.inf, num_random_init=1, **options)
        check_not_negative("lam", lam)
        if not 0 <= lam_warmup <= 1:
            raise ValueError(f"lam_warmup must be in [0, 1], got {lam_warmup}")
        self.lam = lam
        self.lam_warmup = lam_warmup

    def find(self, x: Tensor, y: Tensor, rows: Tensor | None) -> Found:
        """
        The points one step from the noise.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: Not used.
        :return: The points, (batch, ...).
        """
        radius = self.radii(x)
        noise = self.growth * self.eps / 2 * self.draw(lambda count: self._offsets(x, count)).sign()
        weight = self._weight
        with evaluating(self.network):
            with torch.no_grad():
                logits = self.searched_network(x)

            def losses(points: Tensor) -> Tensor:
                moved = self.searched_network(points)
                return functional.cross_entropy(moved, y, reduction="none") + weight * nuclear_change(logits, moved)

            return (ascend(losses, x, eps=radius, step=radius, max_iter=1, box=self.box, start=x + noise),)

    def loss_at(
        self, network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, found: Found
    ) -> tuple[Tensor, dict[str, float]]:
        """
        The cross-entropy at the samples, and the nuclear norm of the change of the logits.

        :param network: The network.
        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param found: The points.
        :return: The loss, and the metrics `accuracy`, `robust_accuracy` and `nuclear`, the norm over the batch's size.
        """
        (points,) = found
        logits, moved = network(x), network(points)
        change = nuclear_change(logits, moved)
        loss = functional.cross_entropy(logits, y) + self._weight * change
        metrics = {"accuracy": accuracy(logits, y), "robust_accuracy": accuracy(moved, y), "nuclear": change.item()}
        return loss, metrics

    @property
    def _weight(self) -> float:
        """lambda, as far as it has grown."""
        fraction = self.progress.fraction
        return self.lam * (1.0 if fraction >= self.lam_warmup else fraction / self.lam_warmup)


def nuclear_change(logits: Tensor, moved: Tensor) -> Tensor:
    """
    The nuclear norm of the change of a batch's logits, over the batch's size.

    :param logits: Logits, (batch, classes).
    :param moved: Those of the perturbed batch, (batch, classes).
    :return: |moved - logits|_* / batch, a scalar, >= 0; not finite where a logit is not.

    >>> nuclear_change(torch.zeros(2, 2), torch.tensor([[3.0, 0.0], [0.0, -1.0]]))
    tensor(2.)
    """
    change = moved - logits
    if not bool(torch.isfinite(change).all()):
        return change.sum()  # singular values would not be found
    norm: Tensor = torch.linalg.matrix_norm(change, ord="nuc")
    return norm / len(logits)
