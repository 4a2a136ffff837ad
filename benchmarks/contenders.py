"""The trainers that the training benchmarks compare, each with a network and an optimizer of its own."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.trainer import AdversarialTrainerMadryPGD, AdversarialTrainerTRADESPyTorch
from art.estimators.classification import PyTorchClassifier
from authors_procedure import AuthorsProcedure
from numpy.typing import NDArray
from torch import Tensor, nn

from art_levelset import LevelSetMarginTrainer
from art_levelset.trainers.adversarial import MadryTrainer, TRADESTrainer


class Whole(nn.Module):
    """A network whose layers are not seen: ART's TRADES trainer fails on an nn.Sequential, whose layers ART returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """The network's outputs."""
        outputs: Tensor = self.network(x)
        return outputs


@dataclass(frozen=True)
class Contender:
    """
    A trainer and the network that it trains.

    :param network: The network.
    :param optimizer: Of its parameters.
    :param trainer: Anything with ART's `fit`.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    trainer: Any

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Go back to given weights, with an optimizer that has made no step."""
        self.network.load_state_dict(weights)
        self.optimizer.state.clear()

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64], batch_size: int, nb_epochs: int = 1) -> None:
        """Train, without the progress bars of the trainers that always have one."""
        with contextlib.redirect_stderr(io.StringIO()):
            self.trainer.fit(x, y, batch_size=batch_size, nb_epochs=nb_epochs)


def contenders(
    model: nn.Module, input_shape: tuple[int, ...], nb_classes: int, eps: float, steps: int, lr: float = 1e-3
) -> dict[str, Contender]:
    """
    Every contender, those of this package first.

    :param model: The network, of images in [0, 1]; each gets a copy of it.
    :param input_shape: The shape of one image.
    :param nb_classes: The number of classes.
    :param eps: The radius to defend against. Level sets are kept as far out as the paper does on MNIST: 4/3 of it, and
           5/3 for wrongly classified samples where the paper's settings count.
    :param steps: The search steps of a sample; the paper's settings have 40 of eps / 30.
    :param lr: Adam's learning rate.
    :return: By name.
    """
    attack = {"eps": eps, "eps_step": 2.5 * eps / steps, "max_iter": steps}
    correct, wrong, small = eps * 4 / 3, eps * 5 / 3, eps / 30

    def art_trades(classifier: PyTorchClassifier) -> AdversarialTrainerTRADESPyTorch:
        search = ProjectedGradientDescent(classifier, **attack, num_random_init=1, batch_size=128, verbose=False)
        return AdversarialTrainerTRADESPyTorch(classifier, search, beta=6.0)

    makers: dict[str, Callable[[PyTorchClassifier], Any]] = {
        "level sets": lambda own: LevelSetMarginTrainer(own, correct, max_iter=steps),
        "level sets, paper": lambda own: LevelSetMarginTrainer(
            own, correct, eps_incorrect=wrong, eps_step=small * 4 / 3, max_iter=40
        ),
        "Madry": lambda own: MadryTrainer(own, **attack),
        "TRADES": lambda own: TRADESTrainer(own, **attack),
        "authors": lambda own: AuthorsProcedure(own.model, own.optimizer, correct, wrong, small),
        "ART Madry": lambda own: AdversarialTrainerMadryPGD(own, **attack),
        "ART TRADES": art_trades,
    }
    found = {}
    for name, make in makers.items():
        network = copy.deepcopy(model)
        optimizer = torch.optim.Adam(network.parameters(), lr)
        classifier = PyTorchClassifier(
            Whole(network),
            nn.CrossEntropyLoss(),
            input_shape,
            nb_classes,
            optimizer,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        found[name] = Contender(network, optimizer, make(classifier))
    return found
