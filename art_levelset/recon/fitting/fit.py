"""One attempt at a fit: the steps of Adam on the loss, their progress and their checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from art_levelset.core.fields import as_field
from art_levelset.progress import progress_bar
from art_levelset.recon.adam import Adam
from art_levelset.recon.fitting.checkpoint import Checkpoint
from art_levelset.recon.fitting.judgement import Attempts
from art_levelset.recon.fitting.loss import Penalties, batch_loss
from art_levelset.recon.fitting.progress import Budget, FitProgress
from art_levelset.recon.fitting.samples import Samples
from art_levelset.recon.network import GridNetwork

logger = logging.getLogger(__name__)

REPORTED = 20
"""Number of steps between two reports of the progress."""

SMOOTHNESS = 1e-5, 300.0
"""Weight of the grids' Dirichlet energy: for exact planes, and by the squared error of the planes (unit frame)."""


def _rate(time: float, held: float) -> float:
    """The learning rate's factor after a part of the fit: a short rise, constant until `held`, then a cosine."""
    rise = min(1.0, 0.05 + 20 * time)
    return rise * (1.0 if time < held else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (time - held) / (1 - held))))


class Fit:
    """
    Minimises the loss (:func:`art_levelset.recon.fitting.loss.batch_loss`) by Adam, until its budget is used up.

    :param network: F, (batch, 3) -> (batch, 1), trained in place.
    :param samples: The random points.
    :param learning_rate: The highest learning rate.
    :param held: The part of the fit for which it is held, in [0, 1).
    :param penalties: What is added to the loss.
    :param budget: What the fit may use.
    :param attempts: The attempts before it.
    """

    def __init__(
        self,
        network: nn.Module,
        samples: Samples,
        learning_rate: float,
        held: float,
        penalties: Penalties,
        budget: Budget,
        attempts: Attempts,
    ) -> None:
        self.network, self.samples, self.budget, self.attempts = network, samples, budget, attempts
        self.learning_rate, self.held, self.penalties = learning_rate, held, penalties
        self.field = as_field(network)
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.smoothness = SMOOTHNESS[0] + SMOOTHNESS[1] * samples.error**2
        self.optimizer = Adam(network.parameters())

    def run(
        self,
        checkpoint: Checkpoint | None,
        callback: Callable[[FitProgress], object] | None,
        scale: float,
        verbose: bool,
        name: str = "fit",
    ) -> bool:
        """
        Make steps until the budget is used up.

        :param checkpoint: Where the state is written, if anywhere.
        :param callback: Called every :data:`REPORTED` steps and after the last one.
        :param scale: The length of the frame's unit, in the scan's units.
        :param verbose: Whether to show a progress bar.
        :param name: What it says.
        :return: Whether the loss stayed finite; where it does not, there are no more steps.
        """
        budget, earlier = self.budget, len(self.attempts.judgements)
        monitor = self.samples.monitor(self.field)
        budget.begin()
        part = budget.part()
        desc = f"{name}, attempt {earlier + 1}" if earlier else name
        with progress_bar(desc=desc, unit="step", total=budget.steps, initial=budget.step, verbose=verbose) as bar:
            while part < 1:
                loss = float(self._step(part))
                if not math.isfinite(loss):
                    return False
                budget.step += 1
                part = budget.part()
                if checkpoint is not None and (checkpoint.due() or part >= 1):
                    self._keep(checkpoint)
                if (verbose or callback is not None) and (part >= 1 or budget.step % REPORTED == 0):
                    distances = (scale * mean for mean in monitor.measure())
                    progress = FitProgress(earlier + 1, budget.step, loss, budget.spent(), budget.left(), *distances)
                    bar.total = round(budget.step / part)
                    bar.set_postfix(loss=f"{progress.loss:.4f}", distance=f"{progress.chamfer:.3g}", refresh=False)
                    if callback is not None:
                        callback(progress)
                bar.update()
        return True

    def _keep(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint; a fit does not end because that has become impossible."""
        try:
            checkpoint.write(self.state_dict())
        except OSError as error:
            logger.warning("%s cannot be written (%s); the fit goes on", checkpoint.path, error.strerror or error)

    def _step(self, part: float) -> Tensor:
        self.optimizer.forget_gradients()
        loss = batch_loss(self.field, self.samples, self.penalties)
        torch.autograd.backward(loss, inputs=self.parameters)  # and not for the samples as well
        if isinstance(self.network, GridNetwork):
            self.network.add_smoothness_gradient(self.smoothness, self.samples.generator)
        self.optimizer.step(self.learning_rate * _rate(part, self.held))
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """
        All that changes from step to step.

        :return: Numbers and tensors, for a checkpoint.
        """
        return {
            "attempts": self.attempts.state_dict(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.samples.generator.get_state(),
            "budget": self.budget.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on from a checkpoint.

        :param state: From :meth:`state_dict`.
        """
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.samples.generator.set_state(state["generator"])
        self.budget.load_state_dict(state["budget"])
