"""
What a trainer is made of: the classifier, its network as searches and losses see it, what is random, the settings and
the state; and the hooks of the loop, of which a trainer must fill one, the loss of a batch.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import torch
from art.defences.trainer.trainer import Trainer
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_levelset.attacks.art_classifier import check_classifier
from art_levelset.attacks.inputs import class_logits
from art_levelset.attacks.protocol import Attack
from art_levelset.checks import check_seed
from art_levelset.core.balls import Box
from art_levelset.core.statistics import Statistics, batch_statistics
from art_levelset.distributed import World
from art_levelset.tensors import check_form, load_optimizer
from art_levelset.trainers.augmentation import Moves
from art_levelset.trainers.averaging import ExponentialAverage, check_decay
from art_levelset.trainers.callbacks import Progress
from art_levelset.trainers.door import CopyingNetwork, box_of_classifier, check_optimizer
from art_levelset.trainers.execution import Execution


class TrainerHooks(Trainer, abc.ABC):  # type: ignore[misc]  # ART is not typed
    """
    Base of the loop, :class:`art_levelset.trainers.base.LoopTrainer`.

    A subclass returns the loss of a batch from :meth:`batch_loss`. Its public attributes are settings, which a
    continued run must share; what it remembers between batches belongs in attributes with an underscore and, for
    checkpoints, in :meth:`state_dict`.

    :param classifier: An ART PyTorchClassifier with an optimizer.
    :param seed: Seed of all that is random, >= 0; None to draw it from torch's global generator.
    :param ema_decay: The decay of an exponential moving average of the weights, in [0, 1), such as 0.999; None for no
           average. Validation looks at the average, and `fit` leaves it in the classifier: a further `fit` starts from
           it, while one that goes on from a checkpoint has the weights themselves.
    :param max_grad_norm: The largest L_2 norm of a step's gradient, > 0, to which a longer one is scaled; None for no
           limit.
    :param execution: How the passes of the search are executed.
    :raises TypeError: If the classifier is no PyTorchClassifier.
    :raises ValueError: If it has no optimizer that makes a step from one gradient, its preprocessing cannot be
            differentiated, or a number is out of range.
    """

    def __init__(
        self,
        classifier: PyTorchClassifier,
        *,
        seed: int | None = None,
        ema_decay: float | None = None,
        max_grad_norm: float | None = None,
        execution: Execution = Execution(),
    ) -> None:
        check_classifier(classifier)
        check_optimizer(classifier.optimizer)
        super().__init__(classifier)
        if ema_decay is not None:
            check_decay(ema_decay)
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be positive, got {max_grad_norm}")
        if seed is not None:
            check_seed(seed)
        execution.check(classifier.device)
        self.seed = int(torch.randint(2**62, ())) if seed is None else seed
        self.ema_decay = ema_decay
        self.max_grad_norm = max_grad_norm
        self.execution = execution
        self.history: list[dict[str, float]] = []
        """The metrics of each epoch trained so far."""
        self.progress = Progress()
        self._seed_is_given = seed is not None
        self._network = CopyingNetwork(classifier)
        self._box = box_of_classifier(classifier)
        self._searched_network = execution.searched(self._network)
        self._trained_network = execution.trained(self._network)
        self._randomness = torch.Generator(classifier.device).manual_seed(self.seed)
        self._average: ExponentialAverage | None = None
        self._frozen: frozenset[nn.Module] = frozenset()
        self._follows = False
        self._moves: Moves | None = None
        self._world = World()
        self._union = 0
        self._warned = False
        self._network_is_checked = False

    @abc.abstractmethod
    def batch_loss(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[Tensor | None, dict[str, float]]:
        """
        The loss of one batch, or of this process's share of it. Random numbers come from :attr:`randomness`, through
        :meth:`draw`; searches use :attr:`searched_network` in place of :attr:`network`, and losses that need no exact
        level :attr:`trained_network`.

        :param x: Raw inputs, (batch, ...), float32, on the classifier's device.
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        :return: The loss, a mean over the samples, or None where no sample has a gradient, and metrics of the batch,
                 means over its samples, `accuracy` among them where there may be no gradient.
        """

    def default_validation_attack(self) -> Attack | None:
        """
        The attack on validation data where `fit` is given none.

        :return: The attack, or None for no attack.
        """
        return None

    def check_outputs(self, outputs: Any, count: int) -> None:
        """
        Check what the network returns, before it is trained for the first time: logits of the classifier's classes.

        :param outputs: What it has returned for some samples.
        :param count: Their number.
        :raises TypeError: If it is no tensor of floating-point numbers.
        :raises ValueError: If its shape is another, or it holds probabilities.
        """
        class_logits(outputs, count, self.classifier.nb_classes)

    @property
    def remembers(self) -> bool:
        """Whether points near the samples are kept from one visit to the next: these follow what augmentations move."""
        return False

    def begin_fit(self, samples: int | None) -> None:
        """
        Before training, also before a checkpoint is read.

        :param samples: Samples of the data set; None where batches come without their numbers, or augmentations do more
               than move the entries of samples, or there is one and nothing that follows it.
        """

    def begin_step(self, x: Tensor, y: Tensor, rows: Tensor | None) -> None:
        """
        Before :meth:`batch_loss`, in all processes: also in those without a share, where that one is not called.

        :param x: Raw inputs, (batch, ...), of this process's share, which may be empty.
        :param y: Integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,); None for generators.
        """

    def end_epoch(self) -> None:
        """After the batches of an epoch, in all processes."""

    def statistics(self, x: Tensor) -> Statistics:
        """
        What BatchNorm layers normalise by while :meth:`batch_loss` computes the loss, in passes in evaluation mode.

        :param x: The batch, or this process's share of it.
        :return: The statistics of the clean batch, differentiable in the parameters, which the running ones follow.
        """
        total = self._world.sum if self._world.size > 1 else None
        return batch_statistics(self._network, x, total, self._frozen)

    def draw(self, draw: Callable[[int], Tensor]) -> Tensor:
        """
        Random rows for the samples of :meth:`batch_loss`, the same however many processes share the batch.

        :param draw: Called with the size of the union batch, returns one row a sample of it.
        :return: The rows of this process's samples.
        """
        return draw(self._union)[self._world.share(self._union)]

    @property
    def network(self) -> nn.Module:
        """The classifier's network behind its preprocessing, as its attacker sees it: (batch, ...) -> outputs."""
        return self._network

    @property
    def searched_network(self) -> nn.Module:
        """The network as searches evaluate it, see :class:`Execution`."""
        return self._searched_network

    @property
    def trained_network(self) -> nn.Module:
        """The network as a loss evaluates it that needs no exact level."""
        return self._trained_network

    @property
    def box(self) -> Box | None:
        """The box of valid inputs: numbers, or float32 tensors that broadcast to an input; None for all values."""
        return self._box

    @property
    def randomness(self) -> torch.Generator:
        """The generator of all that is random in a step, on the classifier's device."""
        return self._randomness

    @property
    def seed_is_given(self) -> bool:
        """Whether the seed was given, rather than drawn."""
        return self._seed_is_given

    def settings(self) -> dict[str, Any]:
        """
        What must not change between a run and its continuation.

        :return: The trainer's public attributes by name.
        """
        given = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        kept = {name: value for name, value in given.items() if name not in ("history", "progress", "seed")}
        return {"trainer": type(self).__name__, **kept}

    def state_dict(self) -> dict[str, Any]:
        """
        The state between two epochs of a `fit`.

        :return: Tensors, numbers, strings, and lists and dictionaries of them, to be written or copied before training
                 goes on; under "trainer", what a subclass remembers between its batches.
        """
        return {
            "seed": self.seed,
            "history": self.history,
            "network": self._network.state_dict(),
            "optimizer": self.classifier.optimizer.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "trainer": {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a state.

        :param state: What :meth:`state_dict` returned.
        :raises ValueError: If the network is another.
        """
        try:
            self._network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ValueError(f"classifier: its model is not the one that was trained: {error}") from None
        check_seed(state["seed"])
        for epoch in state["history"]:
            check_form("history", epoch, dict.fromkeys(epoch, 0.0))
        self.seed = state["seed"]
        self.history[:] = state["history"]
        load_optimizer(self.classifier.optimizer, state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
