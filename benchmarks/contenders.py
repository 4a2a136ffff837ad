"""The trainers that the training benchmarks compare, each with a network and an optimizer of its own."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
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
from art_levelset.experiments.equal_budget import Whole
from art_levelset.trainers.adversarial import MadryTrainer, TRADESTrainer
from art_levelset.trainers.execution import Execution
from art_levelset.trainers.presets import PRESETS


@dataclass(frozen=True)
class Contender:
    """
    A trainer and the network that it trains.

    :param network: The network.
    :param optimizer: Of its parameters.
    :param trainer: Anything with ART's `fit`.
    :param options: What else its `fit` takes.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    trainer: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Go back to given weights, with an optimizer that has made no step."""
        self.network.load_state_dict(weights)
        self.optimizer.state.clear()

    def fit(self, x: NDArray[np.float32], y: NDArray[np.int64], batch_size: int, nb_epochs: int = 1) -> None:
        """Train, without the progress bars of the trainers that always have one."""
        with contextlib.redirect_stderr(io.StringIO()):
            self.trainer.fit(x, y, batch_size=batch_size, nb_epochs=nb_epochs, **self.options)


def contenders(
    model: nn.Module,
    input_shape: tuple[int, ...],
    nb_classes: int,
    eps: float,
    steps: int,
    names: Collection[str] | None = None,
    grown: bool = False,
) -> dict[str, Contender]:
    """
    The contenders, those of this package first, each with Adam at a learning rate of 0.001; but our default, however
    it is executed, has the schedule of its preset for MNIST.

    :param model: The network, of images in [0, 1]; each gets a copy of it.
    :param input_shape: The shape of one image.
    :param nb_classes: The number of classes.
    :param eps: The radius to defend against. The paper's settings are those of its MNIST runs, scaled from 0.3 to it.
    :param steps: The search steps of a sample; our own default makes three, the paper's settings have 40.
    :param names: Which contenders; None for all.
    :param grown: Whether our trainer leaves out its burn-in and warm-up, as it does in later epochs.
    :return: By name.
    """
    attack = {"eps": eps, "eps_step": 2.5 * eps / steps, "max_iter": steps}
    paper = dict(PRESETS["paper-mnist"].options)
    for radius in ("eps", "eps_incorrect", "eps_step", "eps_step_incorrect"):
        paper[radius] *= eps / 0.3

    def authors(own: PyTorchClassifier) -> AuthorsProcedure:
        return AuthorsProcedure(
            own.model, own.optimizer, paper["eps"], paper["eps_incorrect"], paper["eps_step_incorrect"]
        )

    def art_trades(own: PyTorchClassifier) -> AdversarialTrainerTRADESPyTorch:
        search = ProjectedGradientDescent(own, **attack, num_random_init=1, batch_size=128, verbose=False)
        return AdversarialTrainerTRADESPyTorch(own, search, beta=6.0)

    fast = Execution(bf16=True, channels_last=True)
    executions = {
        "level sets": Execution(),
        "level sets, channels last": Execution(channels_last=True),
        "level sets, bf16": fast,
        "level sets, bf16, compiled": replace(fast, compile=True),
    }
    start: dict[str, Any] = {"warmup": 0.0, "burn_in": 0.0} if grown else {}
    makers: dict[str, Callable[[PyTorchClassifier], Any]] = {
        **{
            name: partial(LevelSetMarginTrainer, eps=eps, execution=execution, **start)
            for name, execution in executions.items()
        },
        "level sets, steps": lambda own: LevelSetMarginTrainer(own, eps, max_iter=steps, **start),
        "level sets, steps, bf16": lambda own: LevelSetMarginTrainer(own, eps, max_iter=steps, execution=fast, **start),
        "level sets, paper": lambda own: LevelSetMarginTrainer(own, **paper),
        "Madry": lambda own: MadryTrainer(own, **attack),
        "TRADES": lambda own: TRADESTrainer(own, **attack),
        "authors": authors,
        "ART Madry": lambda own: AdversarialTrainerMadryPGD(own, **attack),
        "ART TRADES": art_trades,
    }
    found = {}
    for name, make in makers.items():
        if names is not None and name not in names:
            continue
        network = copy.deepcopy(model)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        classifier = PyTorchClassifier(
            Whole(network),
            nn.CrossEntropyLoss(),
            input_shape,
            nb_classes,
            optimizer,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        _, schedule = PRESETS["mnist"].schedule(optimizer)
        options = {"callbacks": schedule} if name in executions else {}
        found[name] = Contender(network, optimizer, make(classifier), options)
    return found
