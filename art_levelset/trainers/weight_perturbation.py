"""
Adversarial weight perturbation (AWP): the gradient is taken where the weights, too, have been moved against the loss.

With L the loss of an adversarial trainer at the points x' that it has found, and theta_l the weights of a layer,

    v_l = gamma |theta_l| D_l L(theta; x') / |D_l L(theta; x')|,   theta <- theta - rate D L(theta + v; x'),

|.| the Euclidean norm of all entries. A minimum in which the loss stays low for all weights within gamma of its own,
relative to their length, is flat, and networks with flat minima lose less from training to test data. The layers are
the tensors of two or more dimensions: biases and the scales of BatchNorm stay where they are.

Each step takes one more forward and backward pass of the loss, and none of the search. The weights themselves are never
moved: the passes are given theta + v in their place, so nothing has to be put back, and an average of the weights
(`ema_decay`) sees theta alone. The optimizer, with its weight decay, starts from theta; the published code lets it
start from theta + v. The first pass leaves BatchNorm's running statistics alone, the second is what they follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor
from torch.func import functional_call

from art_levelset.checks import check_positive
from art_levelset.core.modes import training
from art_levelset.trainers.adversarial import Found, MadryTrainer, PGDTrainer, TRADESTrainer


def perturbation(weight: Tensor, gradient: Tensor, gamma: float) -> Tensor:
    """
    Where a layer's weights move to raise the loss.

    :param weight: theta_l, any shape.
    :param gradient: D_l L, of the same shape.
    :param gamma: The length of the move in units of the weights' own.
    :return: v_l, of that shape; zero where the gradient is zero.

    >>> perturbation(torch.tensor([3.0, 4.0]), torch.tensor([0.0, -2.0]), gamma=0.1)
    tensor([ 0.0000, -0.5000])
    """
    length = torch.linalg.vector_norm(gradient)
    moved: Tensor = gradient * (gamma * torch.linalg.vector_norm(weight) / torch.where(length > 0, length, 1.0))
    return moved


class WeightPerturbationTrainer(PGDTrainer):
    """Base of the trainers with adversarial weight perturbation, to be put before the trainer that it changes."""

    def __init__(self, classifier: PyTorchClassifier, eps: float, *, gamma: float, **options: Any) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer.
        :param eps: Radius of the ball, > 0, in units of the raw inputs.
        :param gamma: How far each layer's weights move, > 0, in units of their own length.
        :param options: As for the trainer without perturbation.
        :raises ValueError: If a number is out of range.
        """
        super().__init__(classifier, eps, **options)
        check_positive("gamma", gamma)
        self.gamma = gamma
        self._found: Found = ()
        self._moved: Mapping[str, Tensor] = {}

    def begin_step(self, x: Tensor, y: Tensor, rows: Tensor | None) -> None:
        """
        Search, and move the weights against the loss of the union batch at what is found.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        """
        self._found = self.find(x, y, rows) if len(x) else ()
        named = self.trained_network.named_parameters()
        weights = {name: weight for name, weight in named if weight.requires_grad and weight.dim() > 1}
        gradients = self._gradients(weights, x, y)
        self._moved = {
            name: weight + perturbation(weight.detach(), gradient, self.gamma)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }

    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """
        The loss at what :meth:`begin_step` has found, with the weights moved.

        :param x: Raw inputs, (batch, ...).
        :param y: Integer labels, (batch,).
        :param rows: Not used.
        :return: The loss and its metrics.
        """
        with training(self.network, self._frozen):
            return self.loss_at(self._with(self._moved), x, y, self._found)

    def _gradients(self, weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
        """Those of the union batch's loss; running statistics stay as they are."""
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        parts = [torch.zeros_like(weight) for weight in leaves.values()]
        if len(x) and leaves:
            buffers = {name: buffer.clone() for name, buffer in self.trained_network.named_buffers()}
            with training(self.network, self._frozen):
                loss, _ = self.loss_at(self._with({**leaves, **buffers}), x, y, self._found)
            share = loss * (len(x) / self._union)
            parts = list(torch.autograd.grad(share, list(leaves.values()), allow_unused=True, materialize_grads=True))
        return [self._world.sum(part) for part in parts]

    def _with(self, tensors: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The network with other tensors in the place of its own."""
        network = self.trained_network

        def outputs(points: Tensor) -> Tensor:
            found: Tensor = functional_call(network, dict(tensors), (points,))
            return found

        return outputs


class MadryAWPTrainer(WeightPerturbationTrainer, MadryTrainer):
    """
    Madry's adversarial training with adversarial weight perturbation (AT-AWP).

    | Paper link: https://arxiv.org/abs/2004.05884

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset.trainers import MadryAWPTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = MadryAWPTrainer(classifier, eps=0.05, max_iter=4, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(self, classifier: PyTorchClassifier, eps: float, *, gamma: float = 0.01, **options: Any) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer.
        :param eps: Radius of the ball, > 0, in units of the raw inputs.
        :param gamma: How far each layer's weights move, > 0, in units of their own length.
        :param options: As for :class:`MadryTrainer`.
        :raises ValueError: If a number is out of range.
        """
        super().__init__(classifier, eps, gamma=gamma, **options)


class TRADESAWPTrainer(WeightPerturbationTrainer, TRADESTrainer):
    """
    TRADES with adversarial weight perturbation (TRADES-AWP); `ema_decay` gives it an average of the weights as well.

    | Paper link: https://arxiv.org/abs/2004.05884

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> from art_levelset.trainers import TRADESAWPTrainer
    >>> x = np.random.default_rng(0).uniform(size=(64, 2)).astype(np.float32)
    >>> y = (x.sum(axis=1) > 1).astype(int)
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, clip_values=(0, 1), device_type="cpu"
    ... )
    >>> trainer = TRADESAWPTrainer(classifier, eps=0.05, max_iter=4, ema_decay=0.9, seed=0)
    >>> trainer.fit(x, y, batch_size=16, nb_epochs=10, verbose=False)
    >>> bool((trainer.predict(x).argmax(axis=1) == y).mean() > 0.9)
    True
    """

    def __init__(self, classifier: PyTorchClassifier, eps: float, *, gamma: float = 0.005, **options: Any) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier with an optimizer.
        :param eps: Radius of the ball, > 0, in units of the raw inputs.
        :param gamma: How far each layer's weights move, > 0, in units of their own length.
        :param options: As for :class:`TRADESTrainer`, `beta` among them.
        :raises ValueError: If a number is out of range.
        """
        super().__init__(classifier, eps, gamma=gamma, **options)
