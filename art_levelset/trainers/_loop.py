"""
The training loop that all trainers share: epochs of batches, a progress bar, schedules, validation and the history.

A trainer adds one thing, the loss of a batch. The network stays in the mode it was in: every pass of a level-set loss
runs in evaluation mode, and BatchNorm's running statistics, which those passes use, follow the clean batches.
"""

from __future__ import annotations

import abc
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from art.data_generators import DataGenerator
from art.defences.trainer.trainer import Trainer
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from art_levelset.adapters._bridge import AttackedNetwork, check_classifier
from art_levelset.core.modes import evaluating, refresh_statistics
from art_levelset.trainers._arrays import check_inputs, integer_labels

logger = logging.getLogger(__name__)

Batches = Iterator[tuple[NDArray[Any], NDArray[np.int64]]]


class LevelSetTrainer(Trainer, abc.ABC):  # type: ignore[misc]  # ART is not typed
    """
    Base of the level-set trainers: trains an ART classifier's own model with its own optimizer.

    :param classifier: An ART PyTorchClassifier with an optimizer.
    :param seed: Seed of the shuffling and of the random starts; None to draw it from torch's global generator.
    :raises TypeError: If the classifier is no PyTorchClassifier.
    :raises ValueError: If it has no optimizer, or its preprocessing cannot be differentiated.
    """

    def __init__(self, classifier: PyTorchClassifier, seed: int | None) -> None:
        check_classifier(classifier)
        super().__init__(classifier)
        self.history: list[dict[str, float]] = []
        """The figures of each epoch trained so far."""
        self._network = AttackedNetwork(classifier)
        self._warned = False
        seed = int(torch.randint(2**62, ())) if seed is None else seed
        self._shuffling = np.random.default_rng(seed)
        self._randomness = torch.Generator(classifier.device).manual_seed(seed)

    @abc.abstractmethod
    def _batch_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor | None, dict[str, float]]:
        """
        The loss of one batch.

        :param x: Raw inputs, (batch, ...), float32, on the classifier's device.
        :param y: Integer labels, (batch,).
        :return: The loss, or None where no sample has a gradient, and figures of the batch, means over its samples,
                 `accuracy` among them.
        """

    def fit(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        validation_data: tuple[NDArray[Any], NDArray[Any]] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: Any = None,
        verbose: bool = True,
    ) -> None:
        """
        Train the classifier. Called again, training goes on and the history grows.

        :param x: Training inputs, raw as the classifier's `predict` takes them, (n, *input_shape). Not changed.
        :param y: Labels, integers (n,) or one-hot (n, nb_classes).
        :param validation_data: (x, y) whose accuracy is measured after each epoch.
        :param batch_size: Samples a step, >= 1.
        :param nb_epochs: Passes over the data, >= 1.
        :param scheduler: A learning-rate scheduler: anything with a `step()`, called after each epoch.
        :param verbose: Show a progress bar.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If a shape or number is out of range; the message names the argument.
        """
        inputs, labels = self._checked(x, y, "x", "y")
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")

        def batches() -> Batches:
            order = self._shuffling.permutation(len(inputs))
            for first in range(0, len(inputs), batch_size):
                rows = order[first : first + batch_size]
                yield inputs[rows], labels[rows]

        nb_batches = math.ceil(len(inputs) / batch_size)
        self._train(batches, nb_batches, nb_epochs, scheduler, validation_data, verbose)

    def fit_generator(
        self,
        generator: DataGenerator,
        nb_epochs: int = 20,
        scheduler: Any = None,
        validation_data: tuple[NDArray[Any], NDArray[Any]] | None = None,
        verbose: bool = True,
    ) -> None:
        """
        Train the classifier on batches from an ART data generator.

        :param generator: The generator; its `size` must be known.
        :param nb_epochs: Passes over `generator.size` samples, >= 1.
        :param scheduler: As for :meth:`fit`.
        :param validation_data: As for :meth:`fit`.
        :param verbose: Show a progress bar.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If the generator's size is unknown, or its batches do not fit the classifier.
        """
        if not isinstance(generator, DataGenerator):
            raise TypeError(f"generator must be an art DataGenerator, got {type(generator).__name__}")
        if generator.size is None:
            raise ValueError("generator.size is None: the length of an epoch must be known")
        nb_batches = math.ceil(generator.size / generator.batch_size)

        def batches() -> Batches:
            for _ in range(nb_batches):
                x, y = generator.get_batch()
                yield self._checked(x, y, "generator: x", "generator: y")

        self._train(batches, nb_batches, nb_epochs, scheduler, validation_data, verbose)

    def predict(self, x: NDArray[Any], batch_size: int = 128) -> NDArray[np.float32]:
        """
        Predict with the trained classifier.

        :param x: Raw inputs, (n, *input_shape).
        :param batch_size: Samples a pass.
        :return: The classifier's outputs, (n, nb_classes).
        """
        outputs: NDArray[np.float32] = self.classifier.predict(np.asarray(x, np.float32), batch_size=batch_size)
        return outputs

    def _train(
        self,
        batches: Callable[[], Batches],
        nb_batches: int,
        nb_epochs: int,
        scheduler: Any,
        validation_data: tuple[NDArray[Any], NDArray[Any]] | None,
        verbose: bool,
    ) -> None:
        if nb_epochs < 1:
            raise ValueError(f"nb_epochs must be >= 1, got {nb_epochs}")
        if scheduler is not None and not callable(getattr(scheduler, "step", None)):
            raise ValueError(f"scheduler must have a step() method, got {type(scheduler).__name__}")
        validation = (
            None
            if validation_data is None
            else self._checked(*validation_data, "validation_data: x", "validation_data: y")
        )
        name = type(self).__name__.removesuffix("Trainer")
        with tqdm(total=nb_epochs * nb_batches, unit="batch", disable=not verbose, desc=name) as bar:
            for epoch in range(1, nb_epochs + 1):
                bar.set_description(f"{name} epoch {epoch}/{nb_epochs}")
                figures = self._epoch(batches(), bar)
                if scheduler is not None:
                    scheduler.step()
                if validation is not None:
                    figures["validation_accuracy"] = self._accuracy(*validation)
                self.history.append(figures)
                logger.info("epoch %d/%d: %s", epoch, nb_epochs, figures)

    def _epoch(self, batches: Batches, bar: tqdm[Any]) -> dict[str, float]:
        started, sums, count, without_gradient, nb_batches = time.perf_counter(), {"loss": 0.0}, 0, 0, 0
        for inputs, labels in batches:
            x = torch.as_tensor(np.asarray(inputs, np.float32), device=self.classifier.device)
            y = torch.as_tensor(labels, device=self.classifier.device)
            loss, figures = self._step(x, y)
            without_gradient += loss is None
            nb_batches += 1
            for key, value in {"loss": loss or 0.0, **figures}.items():
                sums[key] = sums.get(key, 0.0) + value * len(x)
            count += len(x)
            bar.set_postfix({key: f"{value / count:.3f}" for key, value in sums.items()}, refresh=False)
            bar.update()
        means = {key: value / count for key, value in sums.items()}
        if without_gradient == nb_batches and means["accuracy"] < 1.0 and not self._warned:
            self._warned = True
            logger.warning(
                "%s: no sample of a whole epoch had a gradient at an accuracy of %.1f%%: the network is constant "
                "around the data and training it further changes nothing",
                type(self).__name__,
                100 * means["accuracy"],
            )
        return {**means, "seconds": time.perf_counter() - started}

    def _step(self, x: Tensor, y: Tensor) -> tuple[float | None, dict[str, float]]:
        refresh_statistics(self._network, x)
        loss, figures = self._batch_loss(x, y)
        if loss is None:
            return None, figures
        value = loss.item()
        optimizer = self.classifier.optimizer
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [part.grad for part in self._network.parameters() if part.grad is not None]
        if not (math.isfinite(value) and all(bool(torch.isfinite(gradient).all()) for gradient in gradients)):
            raise FloatingPointError(
                f"the loss ({value}) or its gradient is not finite after {len(self.history)} epochs; the parameters "
                "are those of the step before. A lower learning rate may help"
            )
        optimizer.step()
        return value, figures

    def _accuracy(self, x: NDArray[Any], labels: NDArray[np.int64]) -> float:
        with evaluating(self._network):  # ART's predict would leave it in evaluation mode
            outputs = self.predict(x)
        found = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > 0
        return float((found == labels).mean())

    def _checked(self, x: Any, y: Any, x_name: str, y_name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        inputs = check_inputs(x, self.classifier.input_shape, x_name)
        return inputs, integer_labels(y, len(inputs), self.classifier.nb_classes, y_name)
