"""Early stopping: when it stops, and whose weights stay."""

from __future__ import annotations

import pytest
import torch

from art_levelset.trainers.callbacks import Callback, EarlyStopping

from .noisy import NoisyTrainer, random_data, small_classifier, weights


class Scripted(Callback):
    """Gives each epoch a figure, and keeps the weights it was measured with."""

    def __init__(self, *figures):
        self.figures, self.weights = figures, []

    def on_epoch_end(self, trainer, figures):
        figures["scripted"] = self.figures[trainer.progress.epoch - 1]
        self.weights.append(weights(trainer))


@pytest.mark.parametrize("ema_decay", [None, 0.8])
def test_stops_and_restores_the_best_weights(ema_decay):
    script = Scripted(0.1, 0.5, 0.3, 0.5, 0.9)
    trainer = NoisyTrainer(small_classifier(), seed=0, ema_decay=ema_decay)
    callbacks = [script, EarlyStopping("scripted", patience=2)]
    trainer.fit(*random_data(), nb_epochs=5, callbacks=callbacks, verbose=False)
    assert len(trainer.history) == 4
    assert torch.equal(weights(trainer), script.weights[1])
    assert not torch.equal(weights(trainer), script.weights[3])


def test_goes_on_while_the_figure_grows():
    script = Scripted(0.1, 0.0, 0.2, 0.1, 0.3)
    trainer = NoisyTrainer(small_classifier(), seed=0)
    callbacks = [script, EarlyStopping("scripted", patience=2)]
    trainer.fit(*random_data(), nb_epochs=5, callbacks=callbacks, verbose=False)
    assert len(trainer.history) == 5
    assert torch.equal(weights(trainer), script.weights[4])


def test_a_figure_that_is_not_a_number_is_no_best_one():
    script = Scripted(0.1, float("nan"), float("nan"))
    trainer = NoisyTrainer(small_classifier(), seed=0)
    trainer.fit(*random_data(), nb_epochs=3, callbacks=[script, EarlyStopping("scripted", 2)], verbose=False)
    assert torch.equal(weights(trainer), script.weights[0])


def test_a_figure_that_is_not_measured():
    trainer = NoisyTrainer(small_classifier(), seed=0)
    with pytest.raises(ValueError, match="validation_robust_accuracy"):
        trainer.fit(*random_data(), nb_epochs=1, callbacks=[EarlyStopping()], verbose=False)


def test_bad_patience():
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)
