"""
The geometric SVM (Section 3.1, eq. 11): soft-margin SVM training of a network for two classes, in input space.

A step projects each sample x_j to a point p_j of the zero level set and p_j on to points q_j of the +1 and -1 level
sets, by generalized Newton steps. With their sample networks, d = L_2 and Delta_j = min |p_j - q_j| over the two,

    1/N sum_j max(0, 1 - sign(y_j F(x_j)) |x_j - p_j| / Delta_j) + lambda/N sum_j Delta_j^alpha.

A projection that fails ends on another level, F(p_j) = c. The paper goes on with that level; here the distance is
also brought to the level asked for in proportion, |x - p| |F(x) - 0| / |F(x) - F(p)|, which is 1 times the distance
where the projection converged, and exact for an affine F: so a network that does not take the values 0 and +-1 yet is
trained too.
"""

from __future__ import annotations

import math

import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor

from art_levelset.core.distances import lp_distance
from art_levelset.core.fields import Field
from art_levelset.core.losses import geometric_svm_loss
from art_levelset.core.modes import evaluating
from art_levelset.core.projection import project
from art_levelset.core.sample_network import SampleNetwork
from art_levelset.trainers._loop import LevelSetTrainer


class GeometricSVMTrainer(LevelSetTrainer):
    """
    Train a classifier of two classes for a wide margin in input space (eq. 11).

    F is the network's one logit, or the difference of its two, positive for class 1.

    | Paper link: https://arxiv.org/abs/1905.11911
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        lam: float = 0.01,
        *,
        alpha: float = -2.0,
        max_iter: int = 20,
        seed: int | None = None,
    ) -> None:
        """
        Create a trainer.

        :param classifier: An ART PyTorchClassifier of two classes with an optimizer; its model returns one logit or
               two.
        :param lam: lambda, >= 0: the weight of the margin term. The paper uses 0.001 in Figure 1 and up to 0.2 on
               MNIST.
        :param alpha: The exponent of the margin term, < 0; -2 is the SVM's for an affine network.
        :param max_iter: The largest number of Newton steps of a projection, >= 1.
        :param seed: Seed of the shuffling; None to draw it from torch's global generator.
        :raises TypeError: If the classifier is no PyTorchClassifier.
        :raises ValueError: If a number is out of range, or the classifier has not two classes or no optimizer.
        """
        super().__init__(classifier, seed)
        if classifier.nb_classes != 2:
            raise ValueError(f"classifier must have two classes, got {classifier.nb_classes}")
        if not (lam >= 0 and math.isfinite(lam)):
            raise ValueError(f"lam must be >= 0 and finite, got {lam}")
        if not (alpha < 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be negative and finite, got {alpha}")
        if max_iter < 1:
            raise ValueError(f"max_iter must be >= 1, got {max_iter}")
        self.lam = lam
        self.alpha = alpha
        self.max_iter = max_iter
        self._field = Field(self._score, self._network)

    def _score(self, x: Tensor) -> Tensor:
        outputs: Tensor = self._network(x)
        if outputs.dim() == 1 or outputs.shape[1] == 1:
            return outputs.reshape(-1)
        return outputs[:, 1] - outputs[:, 0]

    def _batch_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor | None, dict[str, float]]:
        signs = (2 * y - 1).to(x.dtype)
        with torch.no_grad(), evaluating(self._network):
            values = self._field(x).squeeze(1)
        moving, ends, converged = self._boundary(x, 0.0)
        distances = lp_distance(x, moving) * _proportion(values, ends, 0.0)
        margins = []
        for level in (1.0, -1.0):
            other, other_ends, _ = self._boundary(moving.detach(), level)
            margins.append(lp_distance(moving, other) * _proportion(ends, other_ends, level))
        margin = torch.minimum(*margins)
        usable = torch.isfinite(distances.detach()) & torch.isfinite(margin.detach()) & (margin.detach() > 0)
        figures = {
            "accuracy": (signs * values > 0).float().mean().item(),
            "projected": converged.float().mean().item(),
            "margin": margin.detach()[usable].mean().item() if bool(usable.any()) else 0.0,
        }
        if not bool(usable.any()):
            return None, figures
        kept = (values[usable], signs[usable], distances[usable], margin[usable])
        return geometric_svm_loss(*kept, self.lam, self.alpha, total=len(x)), figures

    def _boundary(self, points: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
        """p(theta) of the points projected to a level, F there, and which of them converged."""
        samples = project(self._field, points, level, max_iter=self.max_iter, backtracking=True)
        moving: Tensor = SampleNetwork(self._field)(samples)
        return moving, samples.values.squeeze(1), samples.converged


def _proportion(before: Tensor, after: Tensor, level: float) -> Tensor:
    """The way to a level over the way travelled, in values of F; infinite where F has not moved."""
    return ((before - level) / (before - after)).abs()
