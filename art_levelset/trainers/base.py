"""
The training loop that all trainers share: epochs of batches, a progress bar, schedules, validation and the history.

A trainer adds one thing, :meth:`LoopTrainer.batch_loss`, the loss of a batch. The steps around it may be overridden as
well: :meth:`~LoopTrainer.fit` makes epochs, :meth:`~LoopTrainer.epoch` makes steps, and :meth:`~LoopTrainer.step` makes
a step of the optimizer, in which BatchNorm normalises by what :meth:`~LoopTrainer.statistics` returns.

The network stays in the mode it was in: every pass of a level-set loss runs in evaluation mode. There BatchNorm
normalises by the statistics of the clean batch, as functions of the parameters, and the running statistics, by which
the trained network normalises, follow them. Layers that the caller has frozen keep theirs: those in evaluation mode
while other layers of the model are in training mode as `fit` begins, and those whose parameters have no gradient.

All that is random in a step (augmentation, random starts) comes from one generator whose state is a function of the
seed, the epoch and the step, and the order of the samples is one of the seed and the epoch: where training starts from
a given state, it goes on in the same way.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.data_generators import DataGenerator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from art_levelset.attacks.batches import COUNTED, check_batch
from art_levelset.attacks.protocol import Attack
from art_levelset.core.statistics import frozen_layers, normalising
from art_levelset.distributed import world
from art_levelset.progress import progress_bar
from art_levelset.trainers.augmentation import Augmentation, augmented, followed, only_moves
from art_levelset.trainers.averaging import ExponentialAverage
from art_levelset.trainers.batches import ArrayBatches, Batch, Batches, GeneratedBatches
from art_levelset.trainers.callbacks import Callback, StopTraining
from art_levelset.trainers.checkpoints import Checkpoints
from art_levelset.trainers.door import check_in_box, check_inputs, check_network, checked_labels
from art_levelset.trainers.hooks import TrainerHooks
from art_levelset.trainers.metrics import Means, plain, validate
from art_levelset.trainers.runs import UNLIMITED, Data, Options, Run

logger = logging.getLogger(__name__)

_FEW = 8
"""Samples by which the network's outputs are checked."""

_TRAINED = 16
"""Bytes that training takes for each parameter beside itself: its gradient, what Adam keeps, and a copy."""

_PASSES = 2.25
"""Passes that a step keeps together: of the samples, of what was searched for from them, and a part for the losses."""


class LoopTrainer(TrainerHooks):
    """
    Base of the trainers: trains an ART classifier's own model with its own optimizer.

    A subclass returns the loss of a batch from `batch_loss`; :class:`~art_levelset.trainers.hooks.TrainerHooks` has the
    parameters of the constructor, and what else may be overridden.

    >>> import numpy as np, torch
    >>> from art.estimators.classification import PyTorchClassifier
    >>> class PlainTrainer(LoopTrainer):
    ...     def batch_loss(self, x, y, rows):
    ...         logits = self.trained_network(x)
    ...         accuracy = (logits.argmax(dim=1) == y).float().mean().item()
    ...         return torch.nn.functional.cross_entropy(logits, y), {"accuracy": accuracy}
    >>> model = torch.nn.Linear(2, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> classifier = PyTorchClassifier(
    ...     model, torch.nn.CrossEntropyLoss(), (2,), 2, optimizer=optimizer, device_type="cpu"
    ... )
    >>> trainer = PlainTrainer(classifier, seed=0)
    >>> trainer.fit(np.eye(2), np.arange(2), nb_epochs=3, verbose=False)
    >>> [int(metrics["epoch"]) for metrics in trainer.history]
    [1, 2, 3]
    """

    def fit(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        validation_data: Data | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: Any = None,
        *,
        augmentation: Augmentation | None = None,
        validation_attack: Attack | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint_dir: str | Path | None = None,
        csv_file: str | Path | None = None,
        tensorboard_dir: str | Path | None = None,
        verbose: bool = True,
    ) -> None:
        """
        Train the classifier. Called again, training goes on and the history grows.

        With several processes (torch.distributed), each is given all of the data and takes its share of every batch.

        :param x: Training inputs, raw as the classifier's `predict` takes them, (n, *input_shape). Not changed.
        :param y: Labels, integers (n,) or one-hot (n, nb_classes).
        :param validation_data: (x, y) whose accuracy is measured after each epoch.
        :param batch_size: Samples a step, of all processes together, >= 1.
        :param nb_epochs: Passes over the data, >= 1.
        :param scheduler: A learning-rate scheduler: anything with a `step()`, called after each epoch.
        :param augmentation: Called as `augmentation(x, generator)` with each batch of raw inputs, a tensor on the
               device; returns another of the same shape.
        :param validation_attack: Called as `attack(network, x, y) -> x_adv`: validation data is attacked by it as
               well. None for the trainer's own, if it has one.
        :param callbacks: Called in their order.
        :param checkpoint_dir: A folder for checkpoints, written after each epoch. If it has some, training goes on from
               them to `nb_epochs` in all, as if it had never been interrupted: on a CPU, to the same bits.
        :param csv_file: A file for the history, one row an epoch.
        :param tensorboard_dir: A folder for TensorBoard's logs of the history.
        :param verbose: Show a progress bar.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If a shape or number is out of range, or the checkpoints are damaged or of a run with other
                settings, or there is no memory for so large batches; the message names the argument.
        """
        inputs, targets = self._checked(x, y, "x", "y")
        batches = ArrayBatches(inputs, targets, batch_size)
        self._check_memory(inputs, batch_size)
        self.fit_generator(
            batches,
            nb_epochs,
            scheduler,
            validation_data,
            augmentation=augmentation,
            validation_attack=validation_attack,
            callbacks=callbacks,
            checkpoint_dir=checkpoint_dir,
            csv_file=csv_file,
            tensorboard_dir=tensorboard_dir,
            verbose=verbose,
        )

    def fit_generator(
        self,
        generator: DataGenerator | DataLoader[Any] | Batches,
        nb_epochs: int = 20,
        scheduler: Any = None,
        validation_data: Data | None = None,
        *,
        augmentation: Augmentation | None = None,
        validation_attack: Attack | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoint_dir: str | Path | None = None,
        csv_file: str | Path | None = None,
        tensorboard_dir: str | Path | None = None,
        verbose: bool = True,
    ) -> None:
        """
        Train the classifier on batches from a generator. With several processes, the main one's batches are shared.

        :param generator: An ART data generator whose `size` is known, a PyTorch DataLoader of pairs (x, y), or of a
               :class:`~art_levelset.trainers.batches.Numbered` data set, or :class:`Batches`, which are not checked.
        :param nb_epochs: Passes over the generator, >= 1.
        :param scheduler: As for :meth:`fit`, and so are the other arguments.
        :param validation_data: (x, y).
        :param augmentation: For each batch.
        :param validation_attack: For the validation data.
        :param callbacks: Called in their order.
        :param checkpoint_dir: A folder for checkpoints. A DataLoader goes on in the same way as without interruption if
               its order comes from torch's global generator or from its own; an ART generator starts anew.
        :param csv_file: A file for the history.
        :param tensorboard_dir: A folder for TensorBoard's logs.
        :param verbose: Show a progress bar.
        :raises TypeError: If an argument is of another type.
        :raises ValueError: If the generator's length is unknown, or its batches do not fit the classifier.
        """
        options = Options(
            nb_epochs,
            scheduler,
            validation_data,
            augmentation,
            validation_attack,
            callbacks,
            checkpoint_dir,
            csv_file,
            tensorboard_dir,
            verbose,
        )
        batches: Batches
        if isinstance(generator, Batches):
            batches = generator
        else:
            check = partial(self._checked, x_name="generator: x", y_name="generator: y")
            batches = GeneratedBatches(generator, check, world())
        self._train(batches, options)

    def predict(self, x: NDArray[Any], batch_size: int = 128) -> NDArray[np.float32]:
        """
        Predict with the trained classifier.

        :param x: Raw inputs, (n, *input_shape).
        :param batch_size: Samples a pass.
        :return: The classifier's outputs, (n, nb_classes).
        """
        inputs = np.array(x, np.float32)  # a copy, as networks may write to their input
        outputs: NDArray[np.float32] = self.classifier.predict(inputs, batch_size=batch_size)
        return outputs

    def epoch(self, run: Run, callbacks: Sequence[Callback], bar: tqdm[Any]) -> dict[str, float]:
        """
        One pass over the data: a :meth:`step` for each batch.

        :param run: The run that the epoch belongs to.
        :param callbacks: Called before each step.
        :param bar: The progress bar.
        :return: The epoch's metrics, of all processes.
        :raises StopTraining: If a callback asks for it before the first step; before a later one the epoch ends there.
        """
        epoch, nb_batches = len(self.history), run.batches.nb_batches
        learning_rate = float(self.classifier.optimizer.param_groups[0]["lr"])
        started, without_gradient, means = time.perf_counter(), 0, Means()
        for number, batch in enumerate(run.batches.epoch(self.seed, epoch)):
            self.progress = run.progress(epoch + number / nb_batches)
            self._randomness.manual_seed(_step_seed(self.seed, epoch, number))
            if self._world.any(_asked([partial(callback.on_batch_begin, self) for callback in callbacks])):
                if number == 0:
                    raise StopTraining
                run.interrupted = True
                break
            x, y, rows = self._share(batch, run.options.augmentation)
            stepped, metrics = self.step(x, y, rows)
            without_gradient += not stepped
            means.add({"loss": 0.0, **metrics}, len(x))
            bar.set_postfix(self._postfix(means()), refresh=False)
            bar.update()
        self.end_epoch()
        found = self._world.mean(means(), means.samples)
        if not run.interrupted and without_gradient == nb_batches and found["accuracy"] < 1.0 and not self._warned:
            self._warned = True
            logger.warning(
                "%s: no sample of a whole epoch had a gradient at an accuracy of %.1f%%: the network is constant "
                "around the data and training it further changes nothing",
                type(self).__name__,
                100 * found["accuracy"],
            )
        return {"epoch": epoch + 1, "learning_rate": learning_rate, **found, "seconds": time.perf_counter() - started}

    def step(self, x: Tensor, y: Tensor, rows: Tensor | None) -> tuple[bool, dict[str, float]]:
        """
        One step of the optimizer, with the gradient of :meth:`batch_loss` for the union batch.

        :param x: This process's share of the batch, (batch, ...), on the device.
        :param y: Its integer labels, (batch,).
        :param rows: The samples' numbers in the data set, (batch,), or None.
        :return: Whether the optimizer took a step, and the metrics of the share.
        :raises FloatingPointError: If the loss or its gradient is not finite.
        """
        statistics = self.statistics(x)
        with normalising(statistics), _enough_samples(len(x)):
            self.begin_step(x, y, rows)
            loss, metrics = self.batch_loss(x, y, rows) if len(x) else (None, {})
        if not self._world.any(loss is not None):
            return False, metrics
        optimizer = self.classifier.optimizer
        optimizer.zero_grad()
        value = 0.0 if loss is None else loss.item()
        if loss is None and statistics:  # they are everyone's: each process takes part in their gradient
            loss = 0.0 * torch.cat([torch.cat(moments) for moments in statistics.values()]).sum()
        if loss is not None:
            (loss * (len(x) / self._union)).backward()  # type: ignore[no-untyped-call]
        parameters = list(self._network.parameters())
        self._world.sum_gradients(parameters)
        gradients = [part.grad for part in parameters if part.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in gradients])).item()
        if self._world.any(not (math.isfinite(value) and math.isfinite(norm))):
            raise FloatingPointError(
                f"the loss ({value}) or its gradient ({norm}) is not finite after {len(self.history)} epochs; the "
                "parameters are those of the step before. A lower learning rate may help"
            )
        if self.max_grad_norm is not None and norm > self.max_grad_norm:
            for gradient in gradients:
                gradient.mul_(self.max_grad_norm / norm)
        optimizer.step()
        if self._average is not None:
            self._average.update()
        return True, {"loss": value, **metrics, "gradient_norm": norm}

    def _train(self, batches: Batches, options: Options) -> None:
        validation = options.validation_data and self._checked(
            *options.validation_data, "validation_data: x", "validation_data: y"
        )
        attack = options.validation_attack or self.default_validation_attack()
        self._world = world()
        self._world.align(self._network)
        self.seed = self._world.broadcast(self.seed)
        self._frozen = frozen_layers(self._network)
        self._average = None if self.ema_decay is None else ExponentialAverage(self._network, self.ema_decay)
        callbacks = [*options.callbacks, *(options.logs() if self._world.main else ())]
        for callback in callbacks:
            callback.reset()
        self._follows = self._can_follow(options.augmentation)
        known = options.augmentation is None or self._follows
        self.begin_fit(batches.settings.get("samples") if known else None)
        checkpoints = None if options.checkpoint_dir is None else Checkpoints(options.checkpoint_dir, self._world)
        with nullcontext() if checkpoints is None else checkpoints.claimed():
            self._to_end(Run(self, batches, options, checkpoints), callbacks, validation, attack)

    def _to_end(self, run: Run, callbacks: Sequence[Callback], validation: Data | None, attack: Attack | None) -> None:
        options = run.options
        run.begin()
        self.progress = run.progress(len(self.history))
        for callback in callbacks:
            callback.on_train_begin(self)
        with self.execution.laid_out(self._network, self.classifier.optimizer), self._bar(run) as bar:
            try:
                while run.left:
                    number = len(self.history) - run.first + 1
                    of_all = f"/{options.nb_epochs}" if options.nb_epochs < UNLIMITED else ""
                    bar.set_description(f"{self._name} epoch {number}{of_all}")
                    metrics = self.epoch(run, callbacks, bar)
                    self._check_finite()
                    if options.scheduler is not None:
                        options.scheduler.step()
                    with self._deployed():
                        if validation:
                            device = self.classifier.device
                            metrics |= validate(self._network, *validation, attack, self._world, device)
                        self.history.append(metrics)
                        self.progress = run.progress(len(self.history))
                        calls = [partial(callback.on_epoch_end, self, metrics) for callback in callbacks]
                        run.stopped |= self._world.any(_asked(calls))
                        metrics.update({name: plain(value) for name, value in metrics.items()})
                    run.save()
                    logger.info("epoch %d: %s", len(self.history), metrics)
            except StopTraining:
                logger.info("stopped in epoch %d", len(self.history) + 1)
        if self._average is not None:
            self._average.deploy()
        for callback in callbacks:
            callback.on_train_end(self)

    def _check_finite(self) -> None:
        """A step may be too long though its gradient is finite; such a network is neither kept nor trained further."""
        for name, value in self._network.state_dict().items():
            if not torch.isfinite(value).all():
                raise FloatingPointError(
                    f"{name} of the network is not finite after {len(self.history) + 1} epochs. A lower learning rate "
                    "may help"
                )

    def _share(self, batch: Batch, augmentation: Augmentation | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """This process's part of a batch, on the device. The whole batch is augmented: so it does not depend on it."""
        device = self.classifier.device
        self._union = len(batch.x)
        share = self._world.share(self._union)
        self._moves = None
        if augmentation is None:
            x = torch.tensor(batch.x[share], dtype=torch.float32, device=device)
        else:
            inputs = torch.tensor(batch.x, dtype=torch.float32, device=device)
            if self._follows and batch.rows is not None:
                x, moves = followed(inputs, augmentation, self._randomness)
                self._moves = moves.select(share)
            else:
                x = augmented(inputs, augmentation, self._randomness)
            x = x[share]
        y = torch.tensor(batch.y[share], device=device)
        return x, y, None if batch.rows is None else torch.tensor(batch.rows[share], device=device)

    def _can_follow(self, augmentation: Augmentation | None) -> bool:
        """Whether what is remembered of samples goes with them through an augmentation."""
        if augmentation is None or not self.remembers:
            return False
        return only_moves(augmentation, tuple(self.classifier.input_shape), self.classifier.device)

    def _deployed(self) -> AbstractContextManager[None]:
        """The classifier with the weights that `fit` would leave behind."""
        return nullcontext() if self._average is None else self._average.deployed()

    def _bar(self, run: Run) -> tqdm[Any]:
        done, nb_epochs, nb_batches = len(self.history) - run.first, run.options.nb_epochs, run.batches.nb_batches
        return progress_bar(
            total=nb_epochs * nb_batches if nb_epochs < UNLIMITED else None,
            initial=min(done, nb_epochs) * nb_batches,
            unit="batch",
            verbose=run.options.verbose and self._world.main,
            desc=self._name,
        )

    @property
    def _name(self) -> str:
        return type(self).__name__.removesuffix("Trainer")

    def _postfix(self, means: dict[str, float]) -> dict[str, str]:
        last = self.history[-1] if self.history else {}
        validation = {key.replace("validation", "val"): value for key, value in last.items() if "validation" in key}
        return {key: f"{value:.3f}" for key, value in (means | validation).items()}

    def _checked(self, x: Any, y: Any, x_name: str, y_name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        inputs = check_inputs(x, self.classifier.input_shape, x_name)
        targets = checked_labels(y, len(inputs), self.classifier.nb_classes, y_name)
        check_in_box(inputs, self._box, x_name)
        if not self._network_is_checked:
            few = torch.tensor(inputs[:_FEW], dtype=torch.float32, device=self.classifier.device)
            check_network(self._network, few, self.check_outputs)
            self._network_is_checked = True
        return inputs, targets

    def _check_memory(self, inputs: NDArray[Any], batch_size: int) -> None:
        few = torch.tensor(inputs[:COUNTED], dtype=torch.float32, device=self.classifier.device)
        fixed = _TRAINED * sum(part.numel() for part in self._network.parameters() if part.requires_grad)
        check_batch(
            self._network, few, batch_size, most=len(inputs), processes=self._world.size, passes=_PASSES, fixed=fixed
        )


@contextmanager
def _enough_samples(count: int) -> Iterator[None]:
    """Say what to do where a layer of BatchNorm cannot normalise a batch."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"batch_size: BatchNorm cannot normalise a batch of {count} sample: choose another batch_size, so that "
            "the last batch has more than one, or leave a sample out"
        ) from error


def _asked(calls: Sequence[Callable[[], None]]) -> bool:
    """Make all calls; whether one of them asks for training to stop."""
    stop = False
    for call in calls:
        try:
            call()
        except StopTraining:
            stop = True
    return stop


def _step_seed(seed: int, epoch: int, number: int) -> int:
    # The epoch's shuffling has the entropy (seed, epoch), and a trailing zero would not make another one of it.
    return int(np.random.SeedSequence((seed, epoch, number + 1)).generate_state(1, np.uint64)[0])
