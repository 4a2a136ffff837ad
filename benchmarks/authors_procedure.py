"""
Robust training as the paper's authors did it, written anew from what is known of their procedure, to compare with.

For every batch, with F the margin of the label and the network in evaluation mode:

1. a random start in the box of radius eps around each sample, then a fixed number of signed-gradient steps on F toward
   the other sign, clamped to that box and to [0, 1]: all samples, all steps, also those that have crossed;
2. plain false position on the segment to the end, for those whose sign changed: all of them while any |F| is above
   1e-5, up to 40 iterations of three forward passes each. Points with |F| >= 0.1 after that are dropped;
3. D_xF at the others from a pass of its own, the sample network from another one, in training mode, with the squared
   length of D_xF at least 1e-6, and

       1/batch sum_j weight_j max(0, eps_j - sign(F_j) rho_j),

   rho along the coordinate of the largest |D_xF|. Dropped samples count as zero.

Gradients of the search go to the points only: where it is not known what the original spends, nothing is spent here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset.core.fields import label_margin


@dataclass(frozen=True)
class AuthorsProcedure:
    """
    The procedure for one network, with the settings of the paper's MNIST runs.

    :param model: The classifier, of inputs in [0, 1].
    :param optimizer: Of its parameters.
    :param eps_correct: eps_j of correctly classified samples.
    :param eps_wrong: eps_j of the others.
    :param eps_step: The length of a search step, for correctly classified samples times eps_correct / 0.3.
    :param max_iter: The number of search steps.
    :param weight_correct: The weight of correctly classified samples; that of the others is 1.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    eps_correct: float = 0.4
    eps_wrong: float = 0.5
    eps_step: float = 0.01
    max_iter: int = 40
    weight_correct: float = 1.0

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64], batch_size: int = 128, nb_epochs: int = 1) -> None:
        """
        Train on every sample once an epoch, in random order.

        :param x: Images, (n, ...), in [0, 1].
        :param y: Labels, (n,).
        :param batch_size: Samples a step.
        :param nb_epochs: Number of epochs.
        """
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        for _ in range(nb_epochs):
            for rows in torch.randperm(len(inputs)).split(batch_size):
                self.step(inputs[rows], labels[rows])

    def step(self, x: Tensor, y: Tensor) -> int:
        """
        One optimizer step.

        :param x: Images, (batch, ...).
        :param y: Labels, (batch,).
        :return: How many samples had a boundary point.
        """
        self.model.eval()
        with torch.no_grad():
            values = self._margins(x, y)
        correct = values > 0
        eps = torch.where(correct, self.eps_correct, self.eps_wrong)
        ends = self._search(x, y, correct, eps)
        with torch.no_grad():
            rows = torch.nonzero((self._margins(ends, y) > 0) != correct).squeeze(1)
            points, levels = self._false_position(x[rows], ends[rows], y[rows])
        kept = levels.abs() < 0.1
        rows, points = rows[kept], points[kept]
        self.model.train()
        self.optimizer.zero_grad()
        if len(rows):
            distances = self._distances(x[rows], points, y[rows])
            terms = torch.relu(eps[rows] - torch.where(correct[rows], distances, -distances))
            loss = (torch.where(correct[rows], self.weight_correct, 1.0) * terms).sum() / len(x)
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return len(rows)

    def _margins(self, points: Tensor, y: Tensor) -> Tensor:
        return label_margin(self.model(points), y)

    def _search(self, x: Tensor, y: Tensor, correct: Tensor, eps: Tensor) -> Tensor:
        radius = _column(eps, x)
        low, high = (x - radius).clamp(min=0), (x + radius).clamp(max=1)
        scaled = -self.eps_step * self.eps_correct / 0.3
        strides = _column(torch.where(correct, scaled, self.eps_step), x)
        points = torch.clamp(x + radius * (2 * torch.rand_like(x) - 1), low, high)
        for _ in range(self.max_iter):
            points.requires_grad_()
            (gradients,) = torch.autograd.grad(self._margins(points, y).sum(), points)
            points = torch.clamp(points.detach() + strides * gradients.sign(), low, high)
        return points

    def _false_position(self, start: Tensor, end: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        middle, values = start, start.new_zeros(len(start))
        for _ in range(40 if len(start) else 0):
            at_start, at_end = self._margins(start, y), self._margins(end, y)
            middle = start + _column(at_start / (at_start - at_end), start) * (end - start)
            values = self._margins(middle, y)
            if bool((values.abs() <= 1e-5).all()):
                break
            same = _column((values > 0) == (at_start > 0), start)
            start, end = torch.where(same, middle, start), torch.where(same, end, middle)
        return middle, values

    def _distances(self, x: Tensor, points: Tensor, y: Tensor) -> Tensor:
        points.requires_grad_()
        (jacobians,) = torch.autograd.grad(self._margins(points, y).sum(), points)
        points = points.detach()
        values = self._margins(points, y)
        squares = jacobians.flatten(1).square().sum(dim=1).clamp(min=1e-6)
        moving = points - jacobians * _column((values - values.detach()) / squares, points)
        axis = jacobians.flatten(1).abs().argmax(dim=1, keepdim=True)
        return (x - moving).flatten(1).gather(1, axis).squeeze(1).abs()


def _column(rows: Tensor, like: Tensor) -> Tensor:
    return rows.reshape(-1, *(1,) * (like.dim() - 1))
